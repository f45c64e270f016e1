"""The SMART app against an authorization server of another project, and against answers that nobody should send."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from tests.console.pages import text_of_html
from tests.console.smart_ehr import APP, CLIENT, NOBODY, PATIENT, Browser, Ehr, ehr, token_of
from tests.scenarios.build import hook_request
from tests.servers import smart_server
from tests.servers.local import Reply, local_server
from tests.web.test_server import ORDER

OVERDOSE = {"product": "ketamine", "route": "iv", "rate": "5 mg/kg/h", "duration": "24 h", "reason": "pain"}
OTHER = "uncontrolled-pressure"


@pytest.fixture(scope="module")
def around(knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ehr]:
    smart_server.needed()
    with ehr(knowledge, tmp_path_factory.mktemp("ehr")) as running:
        yield running


@pytest.fixture
def browser() -> Browser:
    return Browser()


# Launch -------------------------------------------------------------------------------------------------------------


def test_a_launch_from_the_ehr_shows_its_patient_and_what_a_dose_would_be(around: Ehr, browser: Browser) -> None:
    page = browser.sign_in(around.launching())
    assert "Maja Lindqvist" in page.text
    assert "70 kg" in page.text
    judged = text_of_html(browser.post(page.url, csrf_token=token_of(page), **OVERDOSE).text)
    assert "Critical Rate 5 mg/kg/h is above the ceiling 1" in judged
    assert "5.526 mg/kg/h at ideal weight" in judged
    assert "Continuous rate that is critical in acute pain" in judged


def test_a_launch_on_its_own_lets_the_ehr_ask_for_the_patient(around: Ehr, browser: Browser) -> None:
    page = browser.sign_in(around.launch_url, patient=OTHER)
    assert "192/104" in page.text


def test_it_asks_for_reading_alone_with_pkce_and_for_this_fhir_server(around: Ehr, browser: Browser) -> None:
    sent = browser.get(around.launching(), allow_redirects=False)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(sent.headers["Location"]).query).items()}
    context, *scopes = asked["scope"].split()
    assert context == "launch"
    assert "patient/Observation.rs" in scopes
    assert all(scope.startswith("patient/") and scope.endswith(".rs") for scope in scopes)
    assert (asked["code_challenge_method"], asked["aud"], asked["client_id"]) == ("S256", around.server.fhir, APP)
    assert len(asked["state"]) >= 32
    assert len(asked["code_challenge"]) == 43


def test_the_token_stands_in_no_cookie_page_or_log(
    around: Ehr, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    back = browser.signed_in_at(around.launching())
    page = browser.get(back)
    judged = browser.post(page.url, csrf_token=token_of(page), **OVERDOSE)
    token, (code,) = around.server.tokens()[-1], parse_qs(urlsplit(back).query)["code"]
    shown = [
        page.text,
        judged.text,
        *map(str, page.headers.items()),
        *(str(each.value) for each in browser.session.cookies),
    ]
    for secret in (token, code):
        assert not any(secret in each for each in [*shown, page.url])
        assert secret not in caplog.text
    assert "Lindqvist" not in caplog.text


def test_its_cookie_is_for_this_one_page_and_no_script(around: Ehr, browser: Browser) -> None:
    answer = browser.get(browser.signed_in_at(around.launching()), allow_redirects=False)
    cookie = next(each for each in answer.raw.headers.getlist("Set-Cookie") if "visit" in each)
    parts = {part.strip() for part in cookie.split(";")}
    assert {"HttpOnly", "SameSite=Lax", f"Path={answer.headers['Location']}"} <= parts


# Who is let in ------------------------------------------------------------------------------------------------------


def _refused(answer: requests.Response, why: str) -> None:
    assert answer.status_code == 403
    assert why in text_of_html(answer.text)
    assert "Lindqvist" not in answer.text


def test_a_fhir_server_that_is_none_of_the_clients_is_not_even_asked(around: Ehr, browser: Browser) -> None:
    with local_server(Reply(b"{}")) as foreign:
        for iss in (foreign.base, f"{around.server.fhir}/../x", f"{around.server.fhir}@127.0.0.1:{foreign.port}", ""):
            answer = browser.get(f"{around.launch_url}?{urlencode({'iss': iss, 'launch': 'x'})}")
            _refused(answer, "names a FHIR server that is not one of this client")
        assert foreign.received == []


def test_an_answer_belongs_to_the_browser_that_asked(around: Ehr, browser: Browser) -> None:
    back = browser.signed_in_at(around.launching())
    _refused(Browser().get(back), "not the answer to a sign-in that began in this browser")
    assert browser.get(back).ok
    _refused(browser.get(back), "not the answer to a sign-in that began in this browser")


@pytest.mark.parametrize("state", ["", "made-up", "ü"])
def test_an_answer_with_another_state_is_refused(around: Ehr, browser: Browser, state: str) -> None:
    back = urlsplit(browser.signed_in_at(around.launching()))
    given = {name: value for name, (value,) in parse_qs(back.query).items()}
    url = f"{around.console}{back.path}?{urlencode({**given, 'state': state})}"
    _refused(browser.get(url), "not the answer to a sign-in that began in this browser")


def test_an_answer_of_another_authorization_server_is_refused(around: Ehr, browser: Browser) -> None:
    back = urlsplit(browser.signed_in_at(around.launching()))
    given = {name: value for name, (value,) in parse_qs(back.query).items()}
    url = f"{around.console}{back.path}?{urlencode({**given, 'iss': 'https://other.example'})}"
    _refused(browser.get(url), "comes from another authorization server")


def test_an_answer_that_says_something_twice_is_refused(around: Ehr, browser: Browser) -> None:
    back = browser.signed_in_at(around.launching())
    _refused(browser.get(f"{back}&code=other"), "says something twice")


def test_a_code_that_is_not_the_servers_gives_nothing(around: Ehr, browser: Browser) -> None:
    back = urlsplit(browser.signed_in_at(around.launching()))
    given = {name: value for name, (value,) in parse_qs(back.query).items()}
    url = f"{around.console}{back.path}?{urlencode({**given, 'code': 'guessed'})}"
    _refused(browser.get(url), "gave no token for the code")


def test_what_the_server_refuses_is_said_in_words_of_ours(around: Ehr, browser: Browser) -> None:
    _refused(browser.sign_in(around.launching(), NOBODY), "let nobody in (access_denied)")
    sent = browser.get(around.launching(), allow_redirects=False)
    (state,) = parse_qs(urlsplit(sent.headers["Location"]).query)["state"]
    answer = browser.get(
        f"{around.console}/smart/{CLIENT}/callback?"
        + urlencode({"state": state, "error": "<b>call 555</b>", "error_description": "<script>"})
    )
    _refused(answer, "let nobody in (an error of its own)")
    assert "555" not in answer.text


def test_a_launch_in_which_the_ehr_names_no_patient_shows_nothing(around: Ehr, browser: Browser) -> None:
    _refused(browser.sign_in(around.launch_url), "the EHR named no patient")


def test_a_client_without_the_app_has_no_page(around: Ehr, browser: Browser) -> None:
    for page in ("launch", "callback"):
        assert browser.get(f"{around.console}/smart/other/{page}").status_code == 404


# The open page ------------------------------------------------------------------------------------------------------


def test_another_browser_that_learns_the_address_sees_nothing(around: Ehr, browser: Browser) -> None:
    page = browser.sign_in(around.launching())
    for other in (Browser().get(page.url), Browser().post(page.url, csrf_token=token_of(page), **OVERDOSE)):
        assert other.status_code == 401
        assert "Lindqvist" not in other.text


def test_a_form_without_the_token_of_its_page_does_nothing(around: Ehr, browser: Browser) -> None:
    page, other = browser.sign_in(around.launching()), browser.sign_in(around.launching())
    for token in ("", "x", "ü", token_of(other)):
        answer = browser.post(page.url, csrf_token=token, end="1")
        assert answer.status_code == 403
    assert browser.get(page.url).ok


def test_a_cookie_that_was_there_before_the_launch_opens_nothing(around: Ehr, browser: Browser) -> None:
    browser.session.cookies.set("ketamine-visit", "planted", domain="127.0.0.1", path="/")
    page = browser.sign_in(around.launching())
    planted = Browser()
    planted.session.cookies.set("ketamine-visit", "planted", domain="127.0.0.1", path="/")
    assert planted.get(page.url).status_code == 401
    given = {cookie.value for cookie in browser.session.cookies if cookie.name == "ketamine-visit"}
    assert len(given - {"planted"}) == 1


def test_two_patients_in_one_browser_are_kept_apart(around: Ehr, browser: Browser) -> None:
    first = browser.sign_in(around.launching())
    second = browser.sign_in(around.launching(OTHER))
    dose = {**OVERDOSE, "rate": "0.2 mg/kg/h"}
    one = browser.post(first.url, csrf_token=token_of(first), **dose).text
    assert "Maja Lindqvist" in one
    assert "192/104" not in one
    assert "192/104" in browser.post(second.url, csrf_token=token_of(second), **dose).text


def test_a_chart_that_is_closed_stays_closed(around: Ehr, browser: Browser) -> None:
    page = browser.sign_in(around.launching())
    assert "You can close this window" in browser.post(page.url, csrf_token=token_of(page), end="1").text
    assert browser.get(page.url).status_code == 401
    part = browser.session.post(page.url, headers={"HX-Request": "true"}, timeout=60)
    assert part.headers["HX-Refresh"] == "true"


def test_the_rest_of_the_console_stays_as_it_is(around: Ehr, browser: Browser) -> None:
    assert browser.get(f"{around.console}/").ok
    assert "smart" not in browser.get(f"{around.console}/").text


# The card's link ----------------------------------------------------------------------------------------------------


def test_a_card_leads_to_the_app_of_its_client(around: Ehr, browser: Browser) -> None:
    call = f"{around.service}/cds-services/ketamine-order-select"
    cards = requests.post(call, data=lenient.encode(hook_request(ORDER)), timeout=60).json()["cards"]
    links = [[link for link in card["links"] if link["type"] == "smart"] for card in cards]
    assert links
    link = {"label": "Dose gauge and calculator", "url": around.launch_url, "type": "smart"}
    assert all([{name: each[name] for name in link} for each in found] == [link] for found in links)
    launched = f"{links[0][0]['url']}?iss={around.server.fhir}&launch={around.server.launch(patient=PATIENT)}"
    assert "Maja Lindqvist" in browser.sign_in(launched).text


def test_the_app_takes_over_the_dose_of_the_order_from_whose_card_it_was_launched(
    around: Ehr, browser: Browser
) -> None:
    call = f"{around.service}/cds-services/ketamine-order-select"
    order = {**ORDER, "order": {"rate": "5 mg/kg/h", "for": "24 h"}}
    card, *_ = requests.post(call, data=lenient.encode(hook_request(order)), timeout=60).json()["cards"]
    (link,) = [link for link in card["links"] if link["type"] == "smart"]
    handle = around.server.launch(patient=PATIENT, appContext=link["appContext"])
    page = browser.sign_in(f"{link['url']}?iss={around.server.fhir}&launch={handle}")
    shown = text_of_html(page.text)
    assert "Critical Rate 5 mg/kg/h is above the ceiling 1" in shown
    assert "The dose is that of the order on whose card you were" in shown
    assert 'value="24 h"' in page.text
    other = {**OVERDOSE, "rate": "0.2 mg/kg/h"}
    assert "on whose card" not in browser.post(page.url, csrf_token=token_of(page), anew="1", **other).text


@pytest.mark.parametrize("given", ["<script>", '{"drug":"ketamine","route":"intravenous","rate":{"value":"1"}}', 7])
def test_an_app_context_of_anybody_elses_leaves_the_fields_empty(
    around: Ehr, browser: Browser, given: object
) -> None:
    handle = around.server.launch(patient=PATIENT, appContext=given)  # type: ignore[arg-type]
    page = browser.sign_in(f"{around.launch_url}?iss={around.server.fhir}&launch={handle}")
    assert "Maja Lindqvist" in page.text
    assert "<script>" not in page.text.split("</head>")[1]
    assert "on whose card" not in page.text

"""The fallback on a real FHIR server: what was not prefetched is fetched, and the cards are exactly the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from flask.testing import FlaskClient

from cds_service.cards.model import EXTENSION
from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests import charts
from tests.scenarios.build import NOW, medication_request

from .hapi import Bundle, hapi_server, load_sandbox_patient, load_transaction, needed
from .ketamine_patients import in_good_health, infusion_bag, on_an_infusion
from .local import FOREVER, LocalServer, Received, Reply, Script, local_server
from .ports import unused_port

PAGE_SIZE = 5
TOKEN = "a-token-of-the-ehr"
PATIENCE_MS = 60_000
DEADLINE_MS = 400
MARGIN = 0.1
"""What an answer may take beyond the deadline, in seconds."""

OURS = {"on an infusion": on_an_infusion, "in good health": in_good_health}
FROM_THE_SANDBOX = ("Dirk_Kuhlman", "Tommy_Friesen", "Rudy_Macejkovic", "Trey_Berge")

ORDERS: dict[str, dict[str, Any]] = {
    "a correct infusion": {"rate": "0.2 mg/kg/h"},
    "an infusion above the limit": {"rate": "45 mg/h"},
    "an infusion in mL": {"rate": "40 mL/h", "strength": "500 mg per 250 mL"},
    "a push": {"dose": "60 mg", "push": True},
    "an antidepressant dose": {"dose": "0.6 mg/kg", "over": "40 min", "indication": "depression"},
}
DANGEROUS = {"rate": "1.2 mg/kg/h"}
"""Above the ceiling whatever the patient weighs."""


@dataclass
class Chart:
    """One patient on the server, and what the server says of the patient."""

    patient: str
    encounter: str
    pages: dict[str, list[Bundle]] = field(default_factory=dict)
    """By query key, the pages of its answer; a read has one."""

    @property
    def prefetch(self) -> dict[str, Any]:
        """What a client sends that has read all pages."""
        return {key: _merged(pages) for key, pages in self.pages.items()}

    @property
    def first_pages(self) -> dict[str, Any]:
        """What a client sends that has stopped at the first page."""
        return {key: pages[0] for key, pages in self.pages.items()}

    def request(self, order: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """An order-sign request for a draft in the words of the scenarios."""
        return _request(medication_request((order or DANGEROUS) | {"subject": self.subject}, 1), self, **more)

    @property
    def subject(self) -> str:
        return f"Patient/{self.patient}"


def _merged(pages: list[Bundle]) -> Bundle:
    if pages[0]["resourceType"] != "Bundle":
        return pages[0]
    entries = [entry for page in pages for entry in page.get("entry", ())]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def _request(draft: dict[str, Any], chart: Chart, **more: Any) -> dict[str, Any]:
    return {
        "hook": "order-sign",
        "hookInstance": "0f0f0f0f-1111-4222-8333-444444444444",
        "context": {
            "userId": "Practitioner/pr1",
            "patientId": chart.patient,
            "encounterId": chart.encounter,
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
        },
        **more,
    }


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The base URL of a real FHIR server, with pages so small that most searches need several."""
    needed()
    with hapi_server(PAGE_SIZE) as url:
        yield url


@pytest.fixture(scope="module")
def ehr(server: str) -> Iterator[LocalServer]:
    """The same server through a window at which every request is seen."""
    with local_server(passing_on(server)) as window:
        yield window


@pytest.fixture(scope="module")
def chart(request: pytest.FixtureRequest, server: str, ehr: LocalServer, knowledge: Knowledge) -> Chart:
    """The patient whose name the test gives, loaded once."""
    name: str = request.param
    if name in OURS:
        answer = load_transaction(server, OURS[name](NOW))
        places = [entry["response"]["location"] for entry in answer["entry"]]
        patient = next(place for place in places if "Patient/" in place).split("Patient/")[1].split("/")[0]
    else:
        patient = load_sandbox_patient(server, next(f for f in charts.files() if charts.label(f) == name), NOW)
    return _read(ehr.base, patient, knowledge)


@pytest.fixture(scope="module")
def client(ehr: LocalServer, knowledge: Knowledge) -> FlaskClient:
    """The service, with the server on its allowlist and time enough for a busy machine."""
    return service(knowledge, ehr.base, PATIENCE_MS)


def service(knowledge: Knowledge, allowed: str, deadline_ms: int = DEADLINE_MS) -> FlaskClient:
    settings = Settings(fhir_servers=(allowed,), fhir_deadline_ms=deadline_ms)
    return create_app(settings, knowledge, clock=lambda: NOW).test_client()


def passing_on(upstream: str, wait: Callable[[Received], float] = lambda request: 0) -> Script:
    """Answers of `upstream` with this server's address in the place of its own, each after `wait` seconds."""

    def script(request: Received) -> Reply:
        answer = requests.get(upstream + request.path.removeprefix("/fhir"), timeout=PATIENCE_MS / 1000)
        here = f"http://{request.headers['host']}/fhir"
        return Reply(answer.content.replace(upstream.encode(), here.encode()), answer.status_code, wait=wait(request))

    return script


def _read(base: str, patient: str, knowledge: Knowledge) -> Chart:
    """Run the service's own list of queries, all pages of each, with nothing of the service's client."""
    stays = _get(f"{base}/Encounter?patient={patient}&_sort=-date&_count=1")
    chart = Chart(patient, stays["entry"][0]["resource"]["id"])
    context = {"patientId": chart.patient, "encounterId": chart.encounter}
    for query in knowledge.queries:
        url = query.url(context)
        assert url is not None
        chart.pages[query.key] = list(_pages(urljoin(f"{base}/", url)))
    return chart


def _pages(url: str | None) -> Iterator[Bundle]:
    while url:
        page = _get(url)
        yield page
        url = next((link["url"] for link in page.get("link", ()) if link["relation"] == "next"), None)


def _get(url: str) -> Bundle:
    response = requests.get(url, timeout=60)
    assert response.status_code == requests.codes.ok, response.text
    answer: Bundle = response.json()
    return answer


def _call(client: FlaskClient, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(
        f"/cds-services/ketamine-{body['hook']}", data=lenient.encode(body), content_type="application/json"
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.get_json()
    return answer


def _authorized(base: str) -> dict[str, Any]:
    token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read"}
    return {"fhirServer": base, "fhirAuthorization": token}


def _rules(answer: dict[str, Any]) -> dict[str, str]:
    """Rule -> severity, over all cards."""
    return {
        rule["id"]: rule["severity"] for card in answer["cards"] for rule in card["extension"][EXTENSION]["rules"]
    }


every_patient = pytest.mark.parametrize("chart", [*OURS, *FROM_THE_SANDBOX], indirect=True)


# The same cards -----------------------------------------------------------------------------------------------


@every_patient
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_fallback_gives_the_cards_of_the_prefetch(
    chart: Chart, order: dict[str, Any], client: FlaskClient, ehr: LocalServer
) -> None:
    expected = _call(client, chart.request(order, prefetch=chart.prefetch))
    ehr.received.clear()
    assert _call(client, chart.request(order, **_authorized(ehr.base))) == expected
    assert len(ehr.received) == sum(map(len, chart.pages.values()))
    assert {asked.headers["authorization"] for asked in ehr.received} == {f"Bearer {TOKEN}"}


@every_patient
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_prefetch_that_stops_at_the_first_page_is_read_to_its_end(
    chart: Chart, order: dict[str, Any], client: FlaskClient, ehr: LocalServer
) -> None:
    expected = _call(client, chart.request(order, prefetch=chart.prefetch))
    ehr.received.clear()
    answer = _call(client, chart.request(order, prefetch=chart.first_pages, **_authorized(ehr.base)))
    assert answer == expected
    assert len(ehr.received) == sum(len(pages) - 1 for pages in chart.pages.values())


@pytest.mark.parametrize("chart", ["on an infusion"], indirect=True)
def test_what_stands_on_the_last_page_is_found_and_its_absence_from_a_cut_prefetch_is_said(
    chart: Chart, client: FlaskClient, ehr: LocalServer
) -> None:
    order = ORDERS["a correct infusion"]
    several = {key: len(pages) for key, pages in chart.pages.items() if len(pages) > 1}
    assert several == {"bodySize": 2, "vitalSigns": 3, "conditions": 3}
    fetched = _call(client, chart.request(order, **_authorized(ehr.base)))
    assert _rules(fetched) == {
        "bp-uncontrolled": "critical",
        "duplicate-ketamine-esketamine": "critical",
        "ae-hypertension-tachycardia": "warning",
        "heart-failure": "warning",
    }
    cut = _call(client, chart.request(order, prefetch=chart.first_pages))
    assert "heart-failure" not in _rules(cut)
    assert "heart-failure" in {each["rule"] for each in cut["extension"][EXTENSION]["notChecked"]}
    assert "problem list, vital signs: only its first page was sent" in _could_not_check(cut)


@pytest.mark.parametrize("chart", ["in good health"], indirect=True)
def test_a_correct_order_for_a_healthy_adult_gives_no_card(
    chart: Chart, client: FlaskClient, ehr: LocalServer
) -> None:
    assert _call(client, chart.request(ORDERS["a correct infusion"], **_authorized(ehr.base)))["cards"] == []


@pytest.mark.parametrize("chart", ["in good health"], indirect=True)
def test_order_select_fetches_as_order_sign_does(chart: Chart, client: FlaskClient, ehr: LocalServer) -> None:
    for order in ORDERS.values():
        both = [chart.request(order, prefetch=chart.prefetch), chart.request(order, **_authorized(ehr.base))]
        for each in both:
            each["hook"] = "order-select"
            each["context"]["selections"] = ["MedicationRequest/o1"]
        expected, answer = (_call(client, each) for each in both)
        assert answer == expected


@pytest.mark.parametrize("chart", ["in good health"], indirect=True)
def test_the_server_is_asked_directly_as_well(
    chart: Chart, client: FlaskClient, server: str, knowledge: Knowledge
) -> None:
    direct = service(knowledge, server, PATIENCE_MS)
    for order in ORDERS.values():
        expected = _call(client, chart.request(order, prefetch=chart.prefetch))
        assert _call(direct, chart.request(order, **_authorized(server))) == expected


@pytest.mark.parametrize("chart", ["in good health"], indirect=True)
def test_a_medication_that_is_only_referenced_is_fetched_and_its_strength_counts(
    chart: Chart, client: FlaskClient, server: str, ehr: LocalServer
) -> None:
    created = requests.post(f"{server}/Medication", json=infusion_bag(), timeout=60)
    assert created.status_code == requests.codes.created, created.text
    bag = created.json()
    draft = medication_request({"rate": "40 mL/h", "subject": chart.subject}, 1)
    del draft["medicationCodeableConcept"]
    draft["medicationReference"] = {"reference": f"Medication/{bag['id']}"}
    ehr.received.clear()
    answer = _call(client, _request(draft, chart, **_authorized(ehr.base)))
    assert f"/fhir/Medication/{bag['id']}" in [asked.path for asked in ehr.received]
    assert _rules(answer) == {"rate-exceeds-ceiling": "critical"}
    assert "40 mL/h x 2 mg/mL = 80 mg/h" in answer["cards"][0]["detail"]
    prefetch = chart.prefetch | {"medication": bag}
    assert _call(client, _request(draft, chart, prefetch=prefetch)) == answer


# Servers that fail --------------------------------------------------------------------------------------------


NOBODY = Chart("p1", "e1")


def test_a_server_that_is_not_there_is_said_and_the_dose_is_judged(knowledge: Knowledge) -> None:
    base = f"http://127.0.0.1:{unused_port()}/fhir"
    answer = _in_time(service(knowledge, base), NOBODY.request(**_authorized(base)))
    assert _is_said(answer, "the FHIR server could not be reached")
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"


def test_a_server_that_accepts_and_stays_silent_is_said_and_the_dose_is_judged(knowledge: Knowledge) -> None:
    with local_server(Reply(wait=FOREVER)) as silent:
        answer = _in_time(service(knowledge, silent.base), NOBODY.request(**_authorized(silent.base)))
    assert _is_said(answer, f"the FHIR server did not answer within {DEADLINE_MS} ms")
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"


def test_a_server_that_is_not_allowed_hears_nothing(knowledge: Knowledge) -> None:
    with local_server(Reply(b"{}")) as allowed, local_server(Reply(b"{}")) as other:
        answer = _in_time(service(knowledge, allowed.base), NOBODY.request(**_authorized(other.base)))
        assert (other.received, other.connections) == ([], [])
        assert (allowed.received, allowed.connections) == ([], [])
    assert "the FHIR server that the request names is not on the allowlist" in _could_not_check(answer)
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_the_token_is_said_and_the_dose_is_judged(status: int, knowledge: Knowledge) -> None:
    outcome = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"forbidden"}]}'
    with local_server(Reply(outcome, status)) as refusing:
        answer = _in_time(service(knowledge, refusing.base), NOBODY.request(**_authorized(refusing.base)))
        assert {asked.headers["authorization"] for asked in refusing.received} == {f"Bearer {TOKEN}"}
    assert _is_said(answer, f"the FHIR server answered {status}")
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"


@pytest.mark.parametrize("chart", ["on an infusion"], indirect=True)
def test_a_server_that_is_slow_with_everything_leaves_the_dose(
    chart: Chart, server: str, knowledge: Knowledge
) -> None:
    with local_server(passing_on(server, lambda request: 1.0)) as slow:
        answer = _in_time(service(knowledge, slow.base), chart.request(**_authorized(slow.base)))
    assert f"Nothing could be read from the EHR (the FHIR server did not answer within {DEADLINE_MS} ms)" in (
        _could_not_check(answer)
    )
    assert _rules(answer).keys() >= {"rate-exceeds-ceiling", "weight-missing"}


@pytest.mark.parametrize("chart", ["on an infusion"], indirect=True)
def test_one_search_that_is_slow_costs_only_its_own_answer(chart: Chart, server: str, knowledge: Knowledge) -> None:
    deadline_ms = 3_000  # enough for all but the problem list

    def held_back(request: Received) -> float:
        return FOREVER if "Condition" in request.path else 0

    with local_server(passing_on(server, held_back)) as slow:
        client = service(knowledge, slow.base, deadline_ms)
        answer = _in_time(client, chart.request(**_authorized(slow.base)), deadline_ms)
    assert _is_said(answer, f"the FHIR server did not answer within {deadline_ms} ms")
    assert "vital signs" not in _could_not_check(answer)
    assert "1.2 mg/kg/h x 82 kg = 98.4 mg/h" in "".join(card["detail"] for card in answer["cards"])
    assert _rules(answer).keys() >= {"rate-exceeds-ceiling", "bp-uncontrolled", "duplicate-ketamine-esketamine"}


@pytest.mark.parametrize("chart", ["on an infusion"], indirect=True)
def test_the_pages_that_came_in_time_count(chart: Chart, server: str, knowledge: Knowledge) -> None:
    deadline_ms = 3_000

    def later_pages(request: Received) -> float:
        return FOREVER if "_getpages" in request.path else 0

    with local_server(passing_on(server, later_pages)) as slow:
        client = service(knowledge, slow.base, deadline_ms)
        answer = _in_time(client, chart.request(**_authorized(slow.base)), deadline_ms)
    assert _rules(answer).keys() >= {"rate-exceeds-ceiling", "bp-uncontrolled", "duplicate-ketamine-esketamine"}
    assert _is_said(answer, f"the FHIR server did not answer within {deadline_ms} ms")
    assert "heart-failure" in {each["rule"] for each in answer["extension"][EXTENSION]["notChecked"]}


def _in_time(client: FlaskClient, body: dict[str, Any], deadline_ms: int = DEADLINE_MS) -> dict[str, Any]:
    """The answer, which must not keep the clinician longer than the deadline and the service's own work."""
    _call(client, NOBODY.request())  # the served application is warmed up too, before it listens
    taken = []
    for _ in range(3):  # this machine may be busy with other tests, the service may not be late on its own
        start = time.monotonic()
        answer = _call(client, body)
        taken.append(time.monotonic() - start)
        if taken[-1] < deadline_ms / 1000 + MARGIN:
            return answer
    pytest.fail(f"the answers took {taken} s")


def _is_said(answer: dict[str, Any], why: str) -> bool:
    """Whether the card says of the problem list, or of everything, why it is not known."""
    lines = [line for line in _could_not_check(answer).splitlines() if why in line]
    return any("problem list" in line or "Nothing could be read" in line for line in lines)


def _could_not_check(answer: dict[str, Any]) -> str:
    (card,) = [card for card in answer["cards"] if card["source"]["topic"]["code"] == "could-not-check"]
    detail: str = card["detail"]
    return detail

"""The SMART app and the login by OpenID Connect in a real browser, for which the EHR is another site."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from cds_service.knowledge import Knowledge
from tests.console import browser
from tests.console.browser import opened
from tests.console.smart_ehr import CLINICIAN, LOGIN, LOGIN_SECRET, PHARMACIST, Ehr, ehr
from tests.servers import smart_server
from tests.servers.ports import unused_port

CARD = "#answer .card.critical"


@pytest.fixture(scope="module")
def around(knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ehr]:
    """With a console that only the provider of identities lets people into."""
    browser.needed()
    smart_server.needed()
    folder, provider = tmp_path_factory.mktemp("ehr"), unused_port()
    secret = folder / "secret"
    secret.write_text(LOGIN_SECRET)
    secret.chmod(0o600)
    login: dict[str, Any] = {
        "auth": "off",
        "console": "on",
        "console_oidc_issuer": f"http://localhost:{provider}",
        "console_oidc_client_id": LOGIN,
        "console_oidc_secret_file": str(secret),
        "console_oidc_scope": "openid groups",
        "console_oidc_allowed": ("protocol-owners",),
    }
    with ehr(knowledge, folder, provider=provider, **login) as running:
        yield running


def _sign_in(page: Page, user: str) -> None:
    page.get_by_role("button", name=user).click()


@pytest.mark.parametrize(("width", "name", "dark"), [(1280, "wide", False), (560, "column", True)])
def test_a_clinician_launches_it_and_sees_where_a_dose_lies(
    around: Ehr, chromium: Browser, width: int, name: str, dark: bool
) -> None:
    with opened(chromium, around.launching(), width, dark=dark) as seen:
        _sign_in(seen.page, CLINICIAN)
        expect(seen.page.locator("#facts")).to_contain_text("Maja Lindqvist")
        expect(seen.page).to_have_title("Dose gauge and calculator – Ketamine CDS")
        assert seen.barriers() == []
        seen.page.select_option("#f-route", "iv")
        seen.page.select_option("#f-reason", "pain")
        seen.page.locator("#f-rate").press_sequentially("5 mg/kg/h")
        expect(seen.page.locator(CARD)).to_contain_text("above the ceiling")
        expect(seen.page.locator("#gauges svg.bar")).to_have_attribute(
            "aria-label", "5 mg/kg/h is above 1 (critical)."
        )
        expect(seen.page.locator("#status")).to_contain_text("critical: Rate 5 mg/kg/h")
        box = seen.page.locator(f"{CARD} h3").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 720
        seen.shot(f"smart-{name}")
        assert seen.barriers() == []
        seen.page.fill("#f-rate", "0.2 mg/kg/h")
        expect(seen.page.locator(CARD)).to_have_count(0)


def test_all_of_it_goes_by_keyboard_to_the_end(around: Ehr, chromium: Browser) -> None:
    with opened(chromium, around.launching()) as seen:
        _sign_in(seen.page, CLINICIAN)
        expect(seen.page.locator("#facts")).to_contain_text("Maja Lindqvist")
        seen.page.locator("#f-bolus").focus()
        keys = seen.page.keyboard
        keys.type("1000 mg over 1 min")
        expect(seen.page.locator(CARD)).to_be_visible()
        keys.press("Enter")
        expect(seen.page.locator(CARD)).to_be_visible()
        expect(seen.page.locator("#f-bolus")).to_be_focused()
        seen.page.get_by_role("button", name="Read anew").press("Enter")
        expect(seen.page.locator("#f-bolus")).to_have_value("1000 mg over 1 min")
        expect(seen.page.locator(CARD)).to_be_visible()
        seen.page.get_by_role("button", name="Close this chart").press("Enter")
        expect(seen.page.get_by_role("heading", name="Closed")).to_be_visible()
        assert seen.barriers() == []


def test_on_a_telephone_it_fits(around: Ehr, chromium: Browser) -> None:
    with opened(chromium, around.launching("uncontrolled-pressure"), 390, 844) as seen:
        _sign_in(seen.page, CLINICIAN)
        seen.page.locator("#f-rate").press_sequentially("0.2 mg/kg/h")
        expect(seen.page.locator(CARD)).to_contain_text("192/104")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
        seen.shot("smart-phone")
        assert seen.barriers() == []


def test_what_is_typed_before_the_page_is_ready_is_checked(around: Ehr, chromium: Browser) -> None:
    with opened(chromium, around.launching("uncontrolled-pressure")) as seen:
        held: list[Route] = []
        seen.page.route("**/htmx.min.js*", lambda route: held.append(route))
        _sign_in(seen.page, CLINICIAN)
        seen.page.locator("#f-rate").press_sequentially("0.2 mg/kg/h")
        while not held:
            seen.page.wait_for_timeout(20)
        seen.page.wait_for_timeout(400)
        assert not seen.page.locator(CARD).count()
        held[0].continue_()
        expect(seen.page.locator(CARD)).to_contain_text("192/104")


def test_a_launch_that_is_not_accepted_says_why(around: Ehr, chromium: Browser) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{around.launch_url}?iss=https://other.example/fhir&launch=x")
    expect(page.get_by_role("main")).to_contain_text("names a FHIR server that is not one of this client")
    page.screenshot(path=browser.SHOTS / "smart-refused.png")
    context.close()


def test_a_person_who_comes_back_from_the_provider_is_in(around: Ehr, chromium: Browser) -> None:
    with opened(chromium, f"{around.console}/protocol") as seen:
        assert seen.barriers() == []
        seen.shot("login-openid")
        seen.page.get_by_role("link", name="Log in with your account").click()
        _sign_in(seen.page, PHARMACIST)
        expect(seen.page).to_have_url(f"{around.console}/protocol")
        expect(seen.page.get_by_role("button", name="Log out")).to_be_visible()
        seen.page.get_by_role("button", name="Log out").click()
        expect(seen.page.get_by_role("link", name="Log in with your account")).to_be_visible()

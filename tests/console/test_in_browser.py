"""Order entry as a person uses it: in a real browser, by mouse and by keyboard, at the sizes that EHRs give it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, Route, expect

from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.console import browser
from tests.console.browser import opened
from tests.console.served import Served, listening, served
from tests.servers.ports import unused_port

CARD, OFFER = "#answer .card.critical", "#answer .card.critical .offers button"
TENFOLD = "5 mg/kg/h"


@pytest.fixture(scope="module")
def beside(knowledge: Knowledge) -> Iterator[Served]:
    browser.needed()
    with served(knowledge) as running:
        yield running


def _bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "name"), [(1280, "wide"), (560, "column")])
def test_an_overdose_that_is_typed_shows_its_card_and_button_above_the_fold(
    beside: Served, chromium: Browser, width: int, name: str
) -> None:
    with opened(chromium, beside.console, width) as seen:
        seen.page.locator("#f-rate").press_sequentially(TENFOLD)
        seen.page.locator("#f-duration").press_sequentially("24 h")
        expect(seen.page.locator(CARD)).to_contain_text("above the ceiling")
        assert _bottom(seen.page, OFFER) < 720
        if width == 1280:
            assert seen.page.locator("#answer").bounding_box()["width"] == 560  # type: ignore[index]
        expect(seen.page.locator("#gauges svg.bar")).to_have_attribute(
            "aria-label", "5 mg/kg/h is above 1 (critical)."
        )
        seen.shot(f"order-{name}")
        assert seen.barriers() == []


@pytest.mark.parametrize(("width", "name"), [(1280, "wide"), (560, "column"), (390, "phone")])
def test_a_german_browser_gets_a_german_page_without_barriers(
    beside: Served, chromium: Browser, width: int, name: str
) -> None:
    with opened(chromium, beside.console, width, language="de-CH") as seen:
        seen.page.locator("#f-rate").press_sequentially(TENFOLD)
        expect(seen.page.locator(CARD)).to_contain_text("über der Obergrenze")
        expect(seen.page.locator("html")).to_have_attribute("lang", "de")
        if width >= 560:
            assert _bottom(seen.page, OFFER) < 720
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        seen.shot(f"order-german-{name}")
        assert seen.barriers() == []
        seen.page.get_by_role("link", name="English").click()
        expect(seen.page.locator("html")).to_have_attribute("lang", "en")
        expect(seen.page.locator("#order-title")).to_have_text("Order")


def test_an_offer_that_is_taken_changes_the_order_and_the_card_goes(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console) as seen:
        seen.page.fill("#f-rate", TENFOLD)
        seen.page.locator(OFFER).first.click(timeout=browser.PATIENCE)
        expect(seen.page.locator("#answer .said")).to_contain_text("Done: Change to 0.5 mg/kg/h")
        expect(seen.page.locator("#f-rate")).to_have_value("0.5 mg/kg/h")
        expect(seen.page.locator(CARD)).to_have_count(0)
        expect(seen.page.locator("#answer-title")).to_be_focused()


def test_all_of_it_goes_by_keyboard(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console) as seen:
        keys = seen.page.keyboard
        keys.press("Tab")
        expect(seen.page.get_by_text("Skip to content")).to_be_focused()
        keys.press("Enter")
        for _ in range(5):  # patient, product, route, bolus, rate
            keys.press("Tab")
        expect(seen.page.locator("#f-rate")).to_be_focused()
        keys.type(TENFOLD)
        expect(seen.page.locator(CARD)).to_be_visible()
        keys.press("Enter")
        expect(seen.page.locator("#answer-title")).to_contain_text("At signing")
        expect(seen.page.locator("#status")).to_contain_text("critical: Rate 5 mg/kg/h")
        for _ in range(5):  # duration, indication, as needed, sign, paste
            keys.press("Tab")
        keys.press("Tab")
        expect(seen.page.locator(OFFER).first).to_be_focused()
        keys.press("Enter")
        expect(seen.page.locator("#f-rate")).to_have_value("0.5 mg/kg/h")
        expect(seen.page.locator(CARD)).to_have_count(0)


def test_what_is_said_at_signing_stays_however_fast_one_signs(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console) as seen:
        seen.page.locator("#f-rate").press_sequentially(TENFOLD)
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("#answer-title")).to_contain_text("At signing")
        seen.page.wait_for_timeout(1_000)  # longer than the delay of what was typed
        expect(seen.page.locator("#answer-title")).to_contain_text("At signing")


def test_a_card_is_overridden_with_a_reason(beside: Served, chromium: Browser) -> None:
    with opened(chromium, f"{beside.console}/?patient=uncontrolled-pressure", dark=True) as seen:
        seen.page.fill("#f-rate", "0.2 mg/kg/h")
        seen.page.get_by_role("button", name="Sign").click()
        card = seen.page.locator(CARD)
        expect(card).to_contain_text("192/104", timeout=browser.PATIENCE)
        card.get_by_text("Override").first.click()
        card.get_by_role("combobox").select_option("It is an emergency")
        card.get_by_role("button", name="Override").click()
        expect(seen.page.locator("#answer .said")).to_contain_text("Overridden: Blood pressure 192/104")
        expect(card).to_have_count(0)
        expect(seen.page.locator("#f-reason")).to_have_value("pain")
        expect(seen.page.locator("#answer .card.warning")).to_contain_text("Heart failure")
        seen.shot("order-dark")
        assert seen.barriers() == []


_AS_IT_COMES = """order => new MutationObserver((changes, observer) => {
  const field = document.getElementById("f-written");
  if (field.defaultValue !== "{") return;
  observer.disconnect();
  field.value = order;
  field.dispatchEvent(new Event("input", {bubbles: true}));
}).observe(document.body, {childList: true, subtree: true})"""
"""Type into the form that comes with an answer at the moment at which it comes."""


def test_what_is_typed_into_a_form_as_it_comes_is_checked(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console, 390, 844) as seen:
        seen.page.get_by_text("As FHIR").click()
        seen.page.evaluate(_AS_IT_COMES, _ORDER)
        seen.page.fill("#f-written", "{")
        expect(seen.page.locator(CARD)).to_be_visible()


def test_an_order_that_is_pasted_is_judged_in_place_of_the_fields(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console, 390, 844) as seen:
        seen.page.get_by_text("As FHIR").click()
        seen.page.fill("#f-written", "{")
        expect(seen.page.locator("#answer")).to_contain_text("not readable as JSON")
        seen.page.fill("#f-written", _ORDER)
        expect(seen.page.locator(CARD)).to_be_visible()
        expect(seen.page.locator("#f-rate")).to_be_hidden()
        seen.page.locator(OFFER).first.click()
        expect(seen.page.locator("#f-written")).to_have_value(re.compile(r'"value": 0\.5\b'))
        assert seen.barriers() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_typed_before_the_page_listens_is_checked_and_a_page_alone_asks_nothing(
    beside: Served, chromium: Browser
) -> None:
    with opened(chromium, beside.console) as seen:
        asked: list[str] = []
        held: list[Route] = []
        seen.page.on("request", lambda request: asked.append(request.method))
        seen.page.reload(wait_until="networkidle")
        assert "POST" not in asked
        seen.page.route("**/htmx.min.js*", lambda route: held.append(route))
        seen.page.reload(wait_until="commit")
        seen.page.fill("#f-rate", TENFOLD)
        held[0].continue_()
        expect(seen.page.locator(CARD)).to_be_visible()


_ORDER = """{"resourceType": "MedicationRequest", "status": "draft", "intent": "order",
 "medicationCodeableConcept": {"text": "ketamine"}, "reasonCode": [{"text": "pain"}],
 "dosageInstruction": [{"doseAndRate": [{"rateQuantity": {"value": 5, "unit": "mg/kg/h"}}]}]}"""


_REQUEST = f"""{{"hook": "order-sign", "hookInstance": "5a1d3c9e-0000-4000-8000-000000000002",
 "context": {{"userId": "Practitioner/1", "patientId": "p7",
  "draftOrders": {{"resourceType": "Bundle", "type": "collection", "entry": [{{"resource": {_ORDER}}}]}}}},
 "prefetch": {{"patient": {{"resourceType": "Patient", "id": "p7", "name": [{{"text": "Ida Falk"}}]}}}}}}"""


def test_the_call_is_copied_as_curl(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console) as seen:
        seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        seen.page.fill("#f-bolus", "25 mg over 10 min")
        seen.page.get_by_role("button", name="Copy as curl").click(timeout=browser.PATIENCE)
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith(f"curl -sS {beside.service}/cds-services/ketamine-order-select ")
        assert '"prefetch"' in copied


def test_one_logs_in_by_keyboard_and_without_the_sandbox_a_hook_request_can_be_pasted(
    knowledge: Knowledge, chromium: Browser, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of this site, long enough for a key")
    secret.chmod(0o600)
    port = unused_port()
    guarded = Settings(
        console="on", console_secret_file=str(secret), console_port=port, store="off", port=unused_port()
    )
    running = (
        listening(create_app(guarded, knowledge), guarded.port),
        listening(create_console(guarded, knowledge), port),
    )
    with running[0], running[1], opened(chromium, guarded.console_url) as seen:
        expect(seen.page.locator("#secret")).to_be_focused()
        assert seen.barriers() == []
        seen.page.keyboard.type(secret.read_text())
        seen.page.keyboard.press("Enter")
        expect(seen.page.get_by_text("The sandbox EHR is off")).to_be_visible()
        expect(seen.page.locator("#f-written")).to_be_visible()
        expect(seen.page.locator("#f-rate")).to_be_hidden()
        expect(seen.page.locator("#patient")).to_be_hidden()
        assert seen.barriers() == []
        seen.page.fill("#f-written", _REQUEST)
        expect(seen.page.locator("#facts")).to_contain_text("Ida Falk")
        expect(seen.page.locator(CARD)).to_be_visible()
        assert seen.barriers() == []
        seen.page.get_by_role("button", name="Log out").click()
        expect(seen.page.locator("#secret")).to_be_visible()


@pytest.mark.timing
def test_a_page_is_there_in_half_a_second_and_a_card_150_ms_after_the_last_key(
    beside: Served, chromium: Browser
) -> None:
    """Beside a page that says two letters and does nothing: what that costs is the browser's and the machine's."""
    nothing, paints, cards = [], [], []
    no_op, port = Flask("nothing"), unused_port()
    no_op.add_url_rule("/", view_func=lambda: '<!doctype html><link rel="icon" href="data:,"><p>ok</p>')
    with listening(no_op, port):
        for _ in range(5):
            with opened(chromium, f"http://127.0.0.1:{port}/") as seen:
                nothing.append(seen.page.evaluate(_PAINTED))
            with opened(chromium, beside.console) as seen:
                paints.append(seen.page.evaluate(_PAINTED))
                cards.append(seen.page.evaluate(_CARD_AFTER, TENFOLD) - DEBOUNCE)
    print(
        f"first paint {min(paints):.0f} ms (median {median(paints):.0f}), of a page with nothing {min(nothing):.0f}; "
        f"a card {min(cards):.0f} ms after the last key and its debounce (median {median(cards):.0f})"
    )
    assert min(paints) < 500, (paints, nothing)
    assert min(cards) < 150, cards


DEBOUNCE = 200
_PAINTED = """() => new Promise(resolve => new PerformanceObserver(list => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  if (paint) resolve(paint.startTime);
}).observe({type: "paint", buffered: true}))"""
_CARD_AFTER = """text => new Promise(resolve => {
  const field = document.getElementById("f-rate"), began = performance.now();
  new MutationObserver((_, observer) => {
    if (!document.querySelector("#answer .card.critical")) return;
    observer.disconnect();
    resolve(performance.now() - began);
  }).observe(document.body, {childList: true, subtree: true});
  field.value = text;
  field.dispatchEvent(new InputEvent("input", {bubbles: true}));
})"""

"""Protocol, stewardship and look-up in a real browser: without barriers at any size, and without a complaint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, expect

from cds_service.knowledge import Knowledge
from cds_service.store.records import Card, Finding, UsedFact
from cds_service.store.store import Store
from tests.console import browser
from tests.console.browser import opened
from tests.console.served import Served, served
from tests.retrospect.written import write_report
from tests.store.build import comparison, difference, feedback, finding, invocation

RULE = "rate-exceeds-protocol-max"
CALL = str(uuid4())
"""Whose facts are kept."""
PATHS = {
    "protocol": "/protocol",
    "rule": f"/protocol/rules/{RULE}",
    "disagreements": "/protocol/disagreements",
    "changes": "/protocol/changes",
    "sign-off": "/protocol/sign-off/ketamine",
    "stewardship": "/stewardship",
    "replays": "/replay",
    "replay": "/replay/spring",
    "look-up": "/look-up",
    "call": f"/look-up/{CALL}",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Some weeks of calls until now, half of their cards overridden."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('state') / 'store.sqlite'}")
    now = datetime.now(UTC)
    for number in range(60):
        card, at = str(uuid4()), now - timedelta(hours=12 * number + 1)
        indicator = ("critical", "warning", "info")[number % 3]
        shown = [Card(uuid=card, topic=RULE, indicator=indicator)]
        named = {"id": CALL} if number == 0 else {}
        store.write([invocation(at=at, cards=shown, findings=_findings(card, indicator, at), **named)])
        outcome = "overridden" if number % 2 else "accepted"
        store.add_feedback([feedback(card, outcome=outcome, received_at=at)])
    silenced = difference(was="fired", was_severity="critical", becomes="switched-off", severity=None)
    store.write([comparison(difference(orders=4), silenced, at=now - timedelta(hours=2), dropped=1)])
    yield store
    store.close()


def _findings(card: str, severity: str, at: datetime) -> list[Finding]:
    """One that fired, with what it rested on, and one that could not be told."""
    until = at + timedelta(days=7)
    used = [
        UsedFact(kind="amount", value="0.8", unit="mg/kg/h", until=until),
        UsedFact(kind="weight", value="70", unit="kg", age_minutes=4_000, until=until),
        UsedFact(
            kind="reading", codes=[["obs_sbp", "8480-6"]], value="150", unit="mm[Hg]", age_minutes=40, until=until
        ),
    ]
    untold = {"status": "could-not-tell", "tier": None, "severity": None, "missing": ["vitals"]}
    return [
        finding(card, severity=severity, used=used),
        finding(None, rule="bp-uncontrolled", reason_kind="failed", **untold),
    ]


@pytest.fixture(scope="module")
def beside(knowledge: Knowledge, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    browser.needed()
    reports = tmp_path_factory.mktemp("reports")
    write_report(reports / "spring")
    with served(knowledge, store=f"sqlite:///{store.url.database}", reports=str(reports)) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        *((name, 1280, False) for name in PATHS),
        *((name, 390, True) for name in ("rule", "sign-off", "stewardship", "replay", "call")),
        *((name, 560, False) for name in ("stewardship", "call")),
    ],
)
def test_a_page_has_no_barrier_and_does_not_scroll_sideways(
    beside: Served, chromium: Browser, name: str, width: int, dark: bool
) -> None:
    with opened(chromium, beside.console + PATHS[name], width, dark=dark) as seen:
        expect(seen.page.locator("h1").first).to_be_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        seen.shot(f"{name}-{width}")
        assert seen.barriers() == []


def test_the_report_is_printed_without_what_only_a_screen_needs(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console + PATHS["stewardship"], 720, 1000) as seen:
        seen.page.emulate_media(media="print")
        for hidden in ("nav", "form.filters", "a[download]"):
            expect(seen.page.locator(hidden).first).to_be_hidden()
        expect(seen.page.locator("#marked")).to_be_visible()
        expect(seen.page.get_by_text("Why these figures")).to_be_visible()  # folded on a screen
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        seen.shot("stewardship-print", whole=True)


def test_rules_are_found_while_one_types(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console + "/protocol") as seen:
        seen.page.locator("#q").press_sequentially("theophylline")
        expect(seen.page.locator("#rules")).to_contain_text("Theophylline or aminophylline")
        expect(seen.page.locator("#rules tbody tr")).to_have_count(1)
        assert seen.page.url.endswith("q=theophylline&topic=&severity=")


def test_scenarios_run_with_a_click_and_by_keyboard(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console + PATHS["rule"]) as seen:
        seen.page.get_by_text("Run one").press("Enter")
        seen.page.get_by_role("button", name="A rate of 0.501 mg/kg/h warns").press("Enter")
        expect(seen.page.locator("#ran")).to_contain_text("None of 1 is not as expected")
        expect(seen.page.locator("#ran")).to_contain_text("Change to 0.5 mg/kg/h (35 mg/h)")
        assert seen.barriers() == []


def test_from_a_day_to_the_call_to_the_rule(beside: Served, chromium: Browser) -> None:
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    with opened(chromium, f"{beside.console}/look-up?day={yesterday:%Y-%m-%d}") as seen:
        seen.page.locator("tbody th a").first.click()
        expect(seen.page.locator("h1")).to_contain_text("A call of")
        assert seen.barriers() == []
        seen.page.locator("#rules ~ .wide tbody a").first.click()
        expect(seen.page.locator("h1")).to_contain_text("Rate above the protocol maximum")


def test_from_the_menu_to_a_report_by_keyboard(beside: Served, chromium: Browser) -> None:
    with opened(chromium, beside.console + "/stewardship") as seen:
        seen.page.get_by_role("link", name="Replay", exact=True).press("Enter")
        seen.page.get_by_role("link", name="spring").press("Enter")
        expect(seen.page.locator("h1")).to_contain_text("Replay spring")
        expect(seen.page.locator("#transitions")).to_be_visible()


def test_a_table_is_downloaded(beside: Served, chromium: Browser, tmp_path: Path) -> None:
    with opened(chromium, beside.console + "/stewardship") as seen:
        with seen.page.expect_download() as started:
            seen.page.locator('a[href^="/stewardship/rules.csv"]').click()
        started.value.save_as(tmp_path / "rules.csv")
    assert RULE in (tmp_path / "rules.csv").read_text("utf-8")

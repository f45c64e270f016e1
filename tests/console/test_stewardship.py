"""The committee's page and the look-up: figures that can be read and taken away, and nothing of a patient."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from cds_service.console import plots, stewardship
from cds_service.knowledge import Knowledge
from cds_service.stewardship.rates import Rate
from cds_service.stewardship.report import Row
from cds_service.store.records import Card
from cds_service.store.store import Store
from tests.console.pages import NOW, Pages, pages, text_of
from tests.stewardship.build import RULE, answered
from tests.store.build import comparison, difference, feedback, finding, invocation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def shown(store: Store, knowledge: Knowledge) -> Pages:
    return pages(knowledge, store=f"sqlite:///{store.url.database}")


def _rows(page: Pages, table: str, query: str = "") -> list[dict[str, str]]:
    answer = page.get(f"/stewardship/{table}.csv?{query}")
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(answer.text.splitlines()))


def test_the_committee_sees_how_often_a_rule_was_overridden_with_its_interval(store: Store, shown: Pages) -> None:
    answered(store, *["overridden"] * 12, *["accepted"] * 4, None)
    text = text_of(shown.get("/stewardship"))
    assert "Overridden 75 % 12 of 16 answered · 51–90 %" in text
    assert "I will monitor" not in text
    (row,) = _rows(shown, "rules")
    assert (row["rule"], row["fired"], row["answered"], row["overridden"]) == (RULE, "17", "16", "12")
    assert (row["share"], row["interval_low"], row["interval_high"]) == ("0.75", "0.505", "0.8982")


def test_a_rate_of_few_answers_is_shown_as_such(store: Store, shown: Pages) -> None:
    answered(store, "overridden", "overridden")
    page = shown.get("/stewardship").text
    assert 'class="few"' in page
    assert 'class="rate"' not in page
    assert "Nothing." in text_of(shown.get("/stewardship"))


def test_what_is_to_be_looked_at_stands_on_top_with_how_it_was_found(store: Store, shown: Pages) -> None:
    answered(store, *["overridden"] * 20)
    text = text_of(shown.get("/stewardship?days=7"))
    assert "Rate above the protocol maximum : 100 % of 20 answered cards" in text
    assert "exact two-sided binomial test" in text
    assert "reviews of medication alerts" in text


def test_a_candidate_is_shown_by_client_with_what_was_not_judged(store: Store, shown: Pages) -> None:
    store.write([comparison(difference(orders=4), client="north", dropped=3)])
    text = text_of(shown.get("/stewardship?days=7"))
    assert "north: 2026-11-22 to 2026-11-22" in text
    assert "10 calls judged with 10 orders, 3 not judged (3 dropped, 0 failed)" in text
    assert "interruptive cards for 100 orders 20.0 → 30.0" in text
    assert "Rate above the protocol maximum clear fired warning 4 40 %" in text
    (row,) = _rows(shown, "transitions", "days=7")
    assert (row["client"], row["rule"], row["becomes"], row["orders"]) == ("north", RULE, "fired warning", "4")
    (row,) = _rows(shown, "candidates", "days=7")
    assert (row["calls"], row["dropped"], row["interruptive_candidate"]) == ("10", "3", "3")


def test_of_a_candidate_that_judged_nothing_no_agreement_is_claimed(store: Store, shown: Pages) -> None:
    nothing = {"calls": 0, "orders": 0, "interrupting_live": 0, "interrupting_candidate": 0, "differences": []}
    store.write([comparison(dropped=5, **nothing)])
    text = text_of(shown.get("/stewardship?days=7"))
    assert "No order was judged by both: nothing is known of how they differ" in text
    assert "ended alike" not in text


def test_reasons_have_the_words_of_the_cards(store: Store, shown: Pages, knowledge: Knowledge) -> None:
    offered = knowledge.override_reasons[0]
    (card,) = answered(store, None)
    store.add_feedback([feedback(card, reasons=[[offered.system, offered.code], [None, "other"]])])
    text = text_of(shown.get("/stewardship"))
    assert f"{offered.display} 1" in text
    assert "another reason (other) 1" in text


@pytest.mark.parametrize("table", [*stewardship.TABLES, stewardship.BY_WEEK])
def test_every_table_can_be_downloaded(store: Store, shown: Pages, table: str) -> None:
    answered(store, "overridden", "accepted")
    store.write([invocation(cards=[], findings=[finding(None, status="could-not-tell", missing=["weight"])])])
    store.write([comparison()])
    assert f"/stewardship/{table}.csv" in shown.get("/stewardship").text
    rows = _rows(shown, table)
    assert rows
    assert all(None not in row.values() for row in rows)


def test_why_rules_could_not_be_told_is_shown_by_kind(store: Store, shown: Pages) -> None:
    untold = finding(None, status="could-not-tell", missing=["vitals"], reason_kind="failed")
    store.write([invocation(cards=[], findings=[untold])])
    assert "Why Findings Rules a list failed or did not come whole 1 1" in text_of(shown.get("/stewardship"))
    assert _rows(shown, "kinds") == [{"kind": "failed", "findings": "1", "rules": RULE}]


def test_a_rule_can_be_followed_over_its_weeks(store: Store, shown: Pages) -> None:
    answered(store, "overridden", days_ago=9)
    answered(store, "overridden", "accepted")
    rows = _rows(shown, stewardship.BY_WEEK, "days=28")
    assert [(row["week_of"], row["rule"], row["fired"], row["share"]) for row in rows] == [
        ("2026-11-09", RULE, "1", "1.0"),
        ("2026-11-16", RULE, "2", "0.5"),
    ]


def test_there_is_no_other_table(shown: Pages) -> None:
    assert shown.get("/stewardship/patients.csv").status_code == 404


def test_no_cell_of_a_download_is_a_formula() -> None:
    made = stewardship.as_csv(iter([("=1+1", "+1", "-1", "@a", "a=1", -1)]))
    assert made == "'=1+1,'+1,'-1,'@a,a=1,-1\r\n"


def test_client_service_and_days_are_chosen(store: Store, shown: Pages) -> None:
    answered(store, "overridden", client="north")
    answered(store, "overridden", client="south", days_ago=20)
    assert {row["name"] for row in _rows(shown, "clients")} == {"north", "south"}
    assert {row["name"] for row in _rows(shown, "clients", "days=7")} == {"north"}
    assert {row["name"] for row in _rows(shown, "clients", "client=south")} == {"south"}
    assert _rows(shown, "clients", "until=2026-10-01") == []
    assert len(_rows(shown, "days", "days=28")) == 28


@pytest.mark.parametrize("query", ["days=0", "days=366", "days=x", "until=yesterday", "until=0001-01-01"])
def test_what_is_no_period_is_refused(shown: Pages, query: str) -> None:
    assert shown.get(f"/stewardship?{query}").status_code == 400


def test_a_period_that_ends_later_ends_now(shown: Pages) -> None:
    for last in ("2026-12-06", "9999-12-31"):
        text = text_of(shown.get(f"/stewardship?until={last}&days=7"))
        assert "2026-11-16 to 2026-11-22 15:30 UTC" in text


def test_markup_in_what_a_client_is_called_is_shown_as_text(store: Store, shown: Pages) -> None:
    answered(store, "overridden", client="<script>alert(1)</script>", rule="<b>rule</b>")
    for path in ("/stewardship", "/look-up?day=2026-11-21"):
        page = shown.get(path).text
        assert "<script>alert" not in page
        assert "<b>rule" not in page
        assert "&lt;script&gt;" in page


def test_nothing_recorded_is_said(knowledge: Knowledge, tmp_path: Path) -> None:
    for store in ("off", f"sqlite:///{tmp_path / 'none.sqlite'}"):
        for path in ("/stewardship", "/look-up"):
            answer = pages(knowledge, store=store).get(path)
            assert answer.status_code == 200
            assert "Nothing is recorded" in text_of(answer)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_read_is_said(knowledge: Knowledge, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"x" * 5000)
    shown = pages(knowledge, store=f"sqlite:///{tmp_path / 'store.sqlite'}")
    for path in ("/stewardship", "/stewardship/rules.csv", "/look-up", f"/look-up/{uuid4()}"):
        answer = shown.get(path)
        assert answer.status_code == 503
        assert "cannot be used" in answer.text


# Plots --------------------------------------------------------------------------------------------------------------


def test_the_calendar_has_a_square_for_each_day_on_its_weekday() -> None:
    first = datetime(2026, 11, 18, tzinfo=UTC)
    rate = Rate(0, 0, 0.95, 10)
    days = [Row(f"{first + timedelta(days=number):%Y-%m-%d}", number, number * 5, rate, 0) for number in range(8)]
    plot = plots.calendar(days)
    assert [mark.kind for mark in plot.marks][:2] == ["heat-none", "heat-1"]
    assert plot.marks[-1].kind == "heat-4"
    assert plot.marks[0].y == plot.marks[7].y  # both are Wednesdays
    assert plot.marks[0].x < plot.marks[7].x
    assert plot.marks[3].says == "2026-11-21: 3 calls, 15 cards"


# Why did it fire ----------------------------------------------------------------------------------------------------


def _call(store: Store, knowledge: Knowledge, **changes: object) -> tuple[str, str, str]:
    """(id, hook instance, card) of a call that the protocol loaded here judged."""
    card, instance = str(uuid4()), str(uuid4())
    record = invocation(
        at=NOW - timedelta(days=5),
        hook_instance=instance,
        protocol=knowledge.version(knowledge.protocol.drugs[:1]),
        cards=[Card(uuid=card, topic=RULE, indicator="warning")],
        findings=[
            finding(card),
            finding(
                None, rule="weight-missing", status="could-not-tell", severity=None, tier=None, missing=["weight"]
            ),
        ],
        **changes,
    )
    store.write([record])
    return record.id, instance, card


def test_a_call_is_shown_with_outcomes_limits_cards_and_feedback(
    store: Store, shown: Pages, knowledge: Knowledge
) -> None:
    _, instance, card = _call(store, knowledge)
    store.add_feedback([feedback(card, commented=True)])
    text = text_of(shown.get(f"/look-up?id={instance}"))
    assert "Rate above the protocol maximum warning fired, above warn" in text
    assert "Continuous rate above which the protocol warns: 0.5 mg/kg/h" in text
    assert "No usable weight could not tell weight" in text
    assert "with a comment, which is not kept" in text
    assert re.search(r"\d+ rules were clear, or not asked of these orders", text)
    assert text == text_of(shown.get(f"/look-up?id=urn:uuid:{card.upper()}"))


def test_nothing_of_a_patient_or_an_order_is_on_the_page(store: Store, shown: Pages, knowledge: Knowledge) -> None:
    number, _, _ = _call(store, knowledge)
    page = shown.get(f"/look-up/{number}").text
    assert [digest for digest in ("a" * 32, "b" * 32, "c" * 32, "d" * 32, "4/5", ">56<") if digest in page] == []


def test_another_protocol_that_judged_is_said_and_todays_limits_are_not_shown(
    store: Store, shown: Pages, knowledge: Knowledge
) -> None:
    (card,) = answered(store, "overridden", protocol="0.0.1")
    text = text_of(shown.get(f"/look-up?id={card}"))
    assert "Another protocol judged this call" in text
    assert "0.5 mg/kg/h" not in text
    assert "were clear, or not asked" not in text


def test_the_calls_of_a_day_lead_to_each_of_them(store: Store, shown: Pages, knowledge: Knowledge) -> None:
    number, _, _ = _call(store, knowledge)
    for query in ("day=2026-11-17", f"day=2026-11-17&rule={RULE}", "day=2026-11-17&client=anonymous"):
        assert f'href="/look-up/{number}"' in shown.get(f"/look-up?{query}").text
    for query in ("day=2026-11-18", "day=2026-11-17&rule=pregnancy", "day=2026-11-17&client=other"):
        assert "Nothing of that kind is recorded on this day" in text_of(shown.get(f"/look-up?{query}"))


def test_what_is_not_found_is_said(shown: Pages) -> None:
    assert "That is no identifier" in text_of(shown.get("/look-up?id=Tuesday"))
    assert "No call and no card" in text_of(shown.get(f"/look-up?id={uuid4()}"))
    assert shown.get(f"/look-up/{uuid4()}").status_code == 404
    assert shown.get("/look-up/x").status_code == 404
    assert shown.get("/look-up?day=Tuesday").status_code == 400

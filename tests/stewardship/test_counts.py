"""What the store holds is what the committee is shown, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from cds_service.stewardship import counts
from cds_service.stewardship.choices import choices
from cds_service.stewardship.counts import Period
from cds_service.stewardship.reading import Reader, Reading
from cds_service.stewardship.report import CALLS, Marked, Report, report, rules_by_week
from cds_service.store.store import Store
from tests.stewardship.build import RULE, WEEK, answered
from tests.store.build import NOW, feedback, finding, invocation


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    reader = Reader(url)
    yield reader
    reader.close()


@pytest.fixture
def reading(store: Store, reader: Reader) -> Iterator[Reading]:
    store.migrate()
    with reader.reading() as reading:
        yield reading


def _report(reader: Reader, period: Period = WEEK) -> tuple[Report, Marked]:
    return report(reader, period, choices())


def test_cards_and_what_became_of_them(store: Store, reader: Reader) -> None:
    answered(store, "overridden", "overridden", "accepted", None)
    made, _ = _report(reader)
    assert (made.calls, made.cards, made.interrupting) == (4, 4, 4)
    assert (made.override.count, made.override.of, made.accepted) == (2, 3, 1)
    (row,) = made.rules
    assert (row.rule, row.fired, row.carded, row.override.count, row.accepted) == (RULE, 4, 4, 2, 1)
    (severity,) = made.severities
    assert (severity.name, severity.cards, severity.answered) == ("warning", 4, 3)


def test_the_last_of_two_answers_to_a_card_counts(store: Store, reader: Reader) -> None:
    (card,) = answered(store, "overridden")
    store.add_feedback([feedback(card, outcome="accepted", reasons=[], suggestions=["a"])])
    made, _ = _report(reader)
    assert (made.override.count, made.accepted) == (0, 1)


def test_feedback_of_another_client_is_none_of_a_card(store: Store, reader: Reader) -> None:
    (card,) = answered(store, None)
    store.add_feedback([feedback(card, client="elsewhere")])
    made, _ = _report(reader)
    assert made.override.of == 0


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(store: Store, reader: Reader) -> None:
    answered(store, None, days_ago=7)
    answered(store, None, days_ago=7.01)
    assert _report(reader)[0].calls == 1
    assert _report(reader, replace(WEEK, until=WEEK.since))[0].calls == 0


def test_every_day_has_its_row_in_utc(store: Store, reader: Reader) -> None:
    answered(store, None, days_ago=2)
    made, _ = _report(reader)
    by_day = {row.name: row.cards for row in made.days}
    assert len(by_day) == 8
    assert {day: count for day, count in by_day.items() if count} == {"2026-11-20": 1}
    assert {week.monday: dict(week.cards) for week in made.weeks if week.calls} == {
        date(2026, 11, 16): {"warning": 1}
    }


def test_one_client_or_service_is_chosen_and_the_others_are_still_named(store: Store, reader: Reader) -> None:
    answered(store, "overridden", client="north")
    answered(store, "accepted", None, client="south", service="ketamine-order-select")
    made, _ = _report(reader, replace(WEEK, client="south"))
    assert (made.calls, made.accepted, made.override.count) == (2, 1, 0)
    assert made.known_clients == ("north", "south")
    assert _report(reader, replace(WEEK, service="ketamine-order-sign"))[0].calls == 1
    assert [row.name for row in _report(reader)[0].clients] == ["north", "south"]


def test_in_shadow_mode_nobody_saw_a_card(store: Store, reader: Reader) -> None:
    answered(store, "overridden", shadow=True)
    made, _ = _report(reader)
    assert (made.calls, made.in_shadow, made.cards, made.cards_in_shadow, made.override.of) == (1, 1, 0, 1, 0)
    assert (made.rules[0].fired, made.rules[0].in_shadow) == (0, 1)


def test_reasons_are_counted_one_by_one_and_cards_without_any(store: Store, reader: Reader) -> None:
    first, second, third = answered(store, None, None, None)
    one, other = ["http://example.org/reasons", "emergency"], [None, "other"]
    store.add_feedback([feedback(first, reasons=[one, other]), feedback(second, reasons=[one], commented=True)])
    store.add_feedback([feedback(third, reasons=[])])
    made, _ = _report(reader)
    assert made.reasons == ((("http://example.org/reasons", "emergency"), 2), ((None, "other"), 1))
    assert (made.without_reason, made.commented) == (1, 1)


def test_what_was_missing_is_counted_with_the_rules_that_asked(store: Store, reader: Reader) -> None:
    unknown = {"status": "could-not-tell", "severity": None, "tier": None}
    found = [
        finding(None, **unknown, missing=["weight", "height"]),
        finding(None, **unknown, missing=["weight"], rule="weight-missing"),
    ]
    store.write([invocation(cards=[], findings=found)])
    made, _ = _report(reader)
    assert made.missing == (("weight", 2, (RULE, "weight-missing")), ("height", 1, (RULE,)))
    assert [row.could_not_tell for row in made.rules] == [1, 1]


def test_what_a_filter_changed_and_what_was_kept_quiet_has_its_count(store: Store, reader: Reader) -> None:
    found = [finding(None, filtered="P&T, 2026-11-20: why"), finding(None, status="suppressed", severity=None)]
    store.write([invocation(cards=[], findings=found)])
    (row,) = _report(reader)[0].rules
    assert (row.fired, row.carded, row.filtered, row.suppressed) == (1, 0, 1, 1)


def test_latency_is_told_by_service_in_milliseconds(store: Store, reader: Reader) -> None:
    store.write([invocation(microseconds=each, cards=[], findings=[]) for each in (900, 2_999, 3_000, 450_000)])
    (row,) = _report(reader)[0].latency
    assert (row.calls, row.at, row.longest) == (4, (2, 450, 450), 450)


def test_the_protocols_that_judged_are_named_with_their_days(store: Store, reader: Reader) -> None:
    answered(store, None, days_ago=3, protocol="1.0.0")
    answered(store, None, days_ago=1, protocol="1.1.0", site="Hospital")
    assert _report(reader)[0].protocols == (
        ("1.0.0", date(2026, 11, 19), date(2026, 11, 19)),
        ("1.1.0 with the overlay of Hospital", date(2026, 11, 21), date(2026, 11, 21)),
    )


def test_a_rule_that_is_nearly_always_overridden_is_marked_but_not_one_of_few_answers(
    store: Store, reader: Reader
) -> None:
    answered(store, *["overridden"] * 12, rule="one", days_ago=60)
    answered(store, *["overridden"] * 9, rule="few")
    answered(store, *["overridden"] * 9, "accepted", rule="nine-in-ten")
    _, marked = _report(reader)
    assert [row.rule for row in marked.overridden] == ["one"]


def test_a_rule_whose_rate_jumps_is_marked_and_one_that_falls_silent(store: Store, reader: Reader) -> None:
    def calls(count: int, days_ago: float, rules: dict[str, int]) -> None:
        store.write(
            [
                invocation(
                    at=NOW - timedelta(days=days_ago),
                    cards=[],
                    findings=[finding(None, rule=rule) for rule, often in rules.items() if number < often],
                )
                for number in range(count)
            ]
        )

    for days_ago in range(8, 60, 4):
        calls(20, days_ago, {"usual": 5, "jumps": 1, "falls-silent": 8})
    calls(20, 2, {"usual": 5, "jumps": 12})
    _, marked = _report(reader)
    found = {(each.rule, each.status): each.compared for each in marked.changed}
    assert set(found) == {("jumps", "fired"), ("falls-silent", "fired")}
    assert found["jumps", "fired"].times == pytest.approx(12)
    assert marked.compared == 4  # three rules, and the calls themselves


def test_calls_that_stop_are_marked(store: Store, reader: Reader) -> None:
    for days_ago in range(8, 60, 2):
        store.write([invocation(at=NOW - timedelta(days=days_ago), cards=[], findings=[]) for _ in range(5)])
    _, marked = _report(reader)
    assert CALLS in [each.rule for each in marked.changed]


def test_of_an_empty_store_all_is_none(reading: Reading) -> None:
    assert (counts.calls(reading, WEEK), counts.cards(reading, WEEK), counts.findings(reading, WEEK)) == ([], [], [])


def test_a_report_of_an_empty_store_marks_nothing(store: Store, reader: Reader) -> None:
    store.migrate()
    made, marked = _report(reader)
    assert (made.calls, made.rules, marked.overridden, marked.changed) == (0, (), (), ())


def test_what_could_not_be_told_is_counted_by_the_kind_of_its_gravest_reason(store: Store, reader: Reader) -> None:
    untold = {"status": "could-not-tell", "tier": None, "severity": None, "missing": ["weight"]}
    kinds = ["failed", "failed", "not-sent", None]
    found = [finding(None, rule=f"rule-{number}", reason_kind=kind, **untold) for number, kind in enumerate(kinds)]
    store.write([invocation(at=NOW - timedelta(days=1), cards=[], findings=found)])
    made, _ = _report(reader)
    assert made.kinds[0] == ("failed", 2, ("rule-0", "rule-1"))
    assert set(made.kinds[1:]) == {("not-sent", 1, ("rule-2",)), ("unknown", 1, ("rule-3",))}


def test_each_rule_is_counted_by_week_from_its_monday_on(store: Store, reader: Reader) -> None:
    """NOW is a Sunday: a week ends with it, and the day before its Monday belongs to another."""
    answered(store, "overridden", "accepted", days_ago=0)
    answered(store, "overridden", days_ago=6)
    answered(store, None, days_ago=7)
    rows = rules_by_week(reader, replace(WEEK, since=NOW - timedelta(days=20)), choices())
    assert [(monday, row.rule, row.fired, row.override.count, row.override.of) for monday, row in rows] == [
        (date(2026, 11, 9), RULE, 1, 0, 0),
        (date(2026, 11, 16), RULE, 3, 2, 3),
    ]

"""What a candidate would have changed is shown by client and rule, with how much of it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from cds_service.stewardship.candidates import Candidate
from cds_service.stewardship.choices import choices
from cds_service.stewardship.reading import Reader
from cds_service.stewardship.report import report
from cds_service.store.store import Store
from tests.stewardship.build import WEEK
from tests.store.build import NOW, comparison, difference

SILENT = {"was": "fired", "was_severity": "critical", "becomes": "clear", "severity": None}


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    reader = Reader(url)
    yield reader
    reader.close()


def _candidates(reader: Reader, **period: object) -> tuple[Candidate, ...]:
    return report(reader, replace(WEEK, **period), choices())[0].candidates  # type: ignore[arg-type]


def test_what_was_counted_at_different_moments_is_added_up_with_an_interval(store: Store, reader: Reader) -> None:
    store.write([comparison(difference(orders=3), difference(**SILENT)), comparison(difference(orders=2), dropped=4)])
    (made,) = _candidates(reader)
    assert (made.calls, made.orders, made.dropped, made.failed, made.not_judged) == (20, 20, 4, 0, 4)
    assert (made.per_100(made.interrupting_live), made.per_100(made.interrupting_candidate)) == (20, 30)
    assert [(each.was, each.becomes, each.orders.count) for each in made.transitions] == [
        ("clear", "fired warning", 5),
        ("fired critical", "clear", 1),
    ]
    low, high = made.transitions[0].orders.interval
    assert 0.1 < low < 0.25 < high < 0.5


def test_clients_and_policies_are_told_apart(store: Store, reader: Reader) -> None:
    store.write([comparison(client=client) for client in ("north", "south")])
    store.write([comparison(client="south", candidate="c" * 16)])
    assert [(each.client, each.candidate[0]) for each in _candidates(reader)] == [
        ("north", "b"),
        ("south", "b"),
        ("south", "c"),
    ]
    assert [each.client for each in _candidates(reader, client="north")] == ["north"]


def test_calls_that_nobody_judged_are_no_sign_that_nothing_differs(store: Store, reader: Reader) -> None:
    nothing = {"calls": 0, "orders": 0, "interrupting_live": 0, "interrupting_candidate": 0, "differences": []}
    store.write([comparison(dropped=7, **nothing)])
    (made,) = _candidates(reader)
    assert (made.calls, made.not_judged, made.transitions, made.per_100(0)) == (0, 7, (), None)


def test_what_lies_outside_the_period_does_not_count(store: Store, reader: Reader) -> None:
    store.write([comparison(at=NOW - timedelta(days=8))])
    assert _candidates(reader) == ()

"""What is given together: the time line of an order, sums over steps, and how many doses fall within a span."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.orders.regimen import Step
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.together import (
    Placed,
    by_route,
    doses_within,
    minutes_between,
    placed,
    running_together,
    starting_within,
    total,
)
from tests.orders.build import amounts, quantity, steps
from tests.rules.build import case


def _placed(knowledge: Knowledge, *given: dict[str, Any]) -> list[Placed]:
    found = case(knowledge, order={"steps": list(given)})
    return placed(found.order, steps_at_dosing_weight(found))


def test_a_later_sequence_starts_where_the_longest_before_it_ends(knowledge: Knowledge) -> None:
    found = _placed(
        knowledge,
        {"sequence": 1, "dose": "10 mg", "over": "20 min"},
        {"sequence": 1, "dose": "10 mg", "over": "30 min"},
        {"sequence": 2, "dose": "10 mg"},
    )
    assert [each.at for each in found] == [0, 0, 30]


def test_after_a_step_without_an_end_no_start_is_known(knowledge: Knowledge) -> None:
    found = _placed(knowledge, {"sequence": 1, "rate": "10 mg/h"}, {"sequence": 2, "dose": "10 mg"})
    assert [each.at for each in found] == [0, None]
    assert minutes_between(*found) is None


def test_only_steps_that_start_less_than_the_span_apart_are_within_it(knowledge: Knowledge) -> None:
    found = _placed(
        knowledge,
        {"sequence": 1, "dose": "10 mg", "over": "59 min"},
        {"sequence": 2, "dose": "10 mg", "over": "1 min"},
        {"sequence": 3, "dose": "10 mg"},
    )
    assert [len(each) for each in starting_within(found, Fraction(60))] == [2, 2, 1]


def test_an_unknown_start_counts_as_within(knowledge: Knowledge) -> None:
    found = _placed(knowledge, {"sequence": 1, "rate": "10 mg/h"}, {"sequence": 2, "dose": "10 mg"})
    assert [len(each) for each in starting_within(found, Fraction(60))] == [2, 2]


def test_steps_of_one_sequence_run_together_and_a_later_one_does_not(knowledge: Knowledge) -> None:
    both = _placed(knowledge, {"sequence": 1, "rate": "10 mg/h"}, {"sequence": 1, "rate": "20 mg/h"})
    assert [len(each) for each in running_together(both)] == [2, 2]
    after = _placed(
        knowledge,
        {"sequence": 1, "rate": "10 mg/h", "for": "2 h"},
        {"sequence": 2, "rate": "20 mg/h", "for": "2 h"},
    )
    assert [len(each) for each in running_together(after)] == [1, 1]


def test_intravenous_and_unstated_are_one_route_and_by_mouth_is_another(knowledge: Knowledge) -> None:
    found = _placed(
        knowledge,
        {"dose": "10 mg", "route": "intravenous"},
        {"dose": "10 mg", "route": "unstated"},
        {"dose": "10 mg", "route": "oral"},
    )
    assert sorted(map(len, by_route(found))) == [1, 2]


def _repeated(**elements: Any) -> Step:
    (step,) = steps(doseAndRate=amounts(quantity(10, "mg")), **elements)
    return step


@pytest.mark.parametrize(("hours", "doses"), [(24, 1), (6, 4), (5, 5), (48, 1)])
def test_scheduled_doses_are_counted_up(hours: int, doses: int) -> None:
    step = _repeated(timing={"repeat": {"frequency": 1, "period": hours, "periodUnit": "h"}})
    assert doses_within(step, Fraction(1440)) == doses


def test_no_more_doses_than_the_order_has_and_of_as_needed_ones_one() -> None:
    repeat = {"frequency": 1, "period": 6, "periodUnit": "h"}
    assert doses_within(_repeated(timing={"repeat": {**repeat, "count": 2}}), Fraction(1440)) == 2
    assert doses_within(_repeated(timing={"repeat": repeat}, asNeededBoolean=True), Fraction(1440)) == 1
    assert doses_within(_repeated(), Fraction(1440)) == 1


def test_a_total_is_unknown_as_soon_as_one_part_is(knowledge: Knowledge) -> None:
    known = _placed(knowledge, {"dose": "10 mg"}, {"dose": "20 mg"})
    assert total(known, lambda step: step.mg) == 30
    assert total(known, lambda step: step.mg, times=lambda step: 2) == 60
    unknown = _placed(knowledge, {"dose": "10 mg"}, {"dose": "2 mL"})
    assert total(unknown, lambda step: step.mg) is None

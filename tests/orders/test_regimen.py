"""From a dosage to steps: mg, mg/kg, mg/h and mg/kg/h at 70 kg; whether a step is a bolus, short or continuous."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cds_service import bounds
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Reading, Step, close
from tests.orders.build import CONVENTIONS, KG, amounts, quantity, steps, written
from tests.said import said


def _over(minutes: int) -> dict[str, Any]:
    return {"repeat": {"duration": minutes, "durationUnit": "min"}}


def _one(**elements: Any) -> Step:
    (step,) = steps(**elements)
    return step


@pytest.mark.parametrize(
    ("minutes", "kind"), [(1, "bolus"), (5, "bolus"), (6, "short"), (59, "short"), (60, "continuous")]
)
def test_a_dose_is_classed_by_how_long_it_runs(minutes: int, kind: str) -> None:
    assert _one(doseAndRate=amounts(quantity(35, "mg")), timing=_over(minutes)).kind == kind


def test_a_dose_without_a_duration_is_a_bolus() -> None:
    step = _one(doseAndRate=amounts(quantity(35, "mg")))
    assert (step.kind, step.finite, step.mg, step.mg_per_kg) == ("bolus", True, 35, Fraction(1, 2))


@pytest.mark.parametrize(
    ("rate", "strength"),
    [
        (quantity(35, "mg/h"), None),
        (quantity("0.5", "mg/kg/h"), None),
        (quantity(35, "mL/h"), Fraction(1)),
        (quantity(7, "mL/h"), Fraction(5)),
    ],
)
def test_one_rate_is_the_same_however_it_is_written(rate: dict[str, Any], strength: Fraction | None) -> None:
    step = _one(mg_per_ml=strength, doseAndRate=amounts(rate=rate))
    assert (step.kind, step.finite) == ("continuous", False)
    assert (step.mg_per_hour, step.mg_per_kg_per_hour) == (35, Fraction(1, 2))


def test_without_a_weight_a_rate_per_kg_still_has_its_figure_per_kg() -> None:
    step = _one(kg=None, doseAndRate=amounts(rate=quantity("0.5", "mg/kg/h")))
    assert (step.mg_per_hour, step.mg_per_kg_per_hour) == (None, Fraction(1, 2))


def test_without_a_strength_a_volume_has_no_figure() -> None:
    step = _one(doseAndRate=amounts(rate=quantity(7, "mL/h")))
    assert (step.mg_per_hour, step.mg_per_kg_per_hour) == (None, None)


def test_a_doubted_weight_gives_mg_by_one_and_mg_per_kg_by_the_other() -> None:
    reading = Reading(Body(given_by=Fraction(140), judged_by=KG), None, CONVENTIONS)
    (step,) = regimen([written(doseAndRate=amounts(quantity(1, "mg/kg")))], reading)
    assert (step.mg, step.mg_per_kg) == (140, 2)


def test_a_dose_beside_a_rate_runs_as_long_as_both_say() -> None:
    step = _one(doseAndRate=amounts(quantity(35, "mg"), quantity(70, "mg/h")))
    assert (step.minutes, step.kind, step.contradictions) == (30, "short", ())


def test_dose_rate_and_duration_that_do_not_fit_are_said_and_the_larger_dose_counts() -> None:
    step = _one(doseAndRate=amounts(quantity(35, "mg"), quantity(70, "mg/h")), timing=_over(60))
    assert list(map(said, step.contradictions)) == ["dose, rate and duration do not fit each other"]
    assert (step.mg, step.minutes) == (70, 60)


def test_a_bag_beside_a_rate_is_no_dose() -> None:
    step = _one(mg_per_ml=Fraction(1), doseAndRate=amounts(quantity(50, "mL"), quantity(35, "mL/h")))
    assert (step.kind, step.mg, step.mg_per_hour) == ("continuous", None, 35)


def test_a_ratio_over_less_time_than_lies_between_two_doses_is_a_dose() -> None:
    ratio = [{"rateRatio": {"numerator": quantity(21, "mg"), "denominator": quantity(20, "min")}}]
    step = _one(doseAndRate=ratio, timing={"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}})
    assert (step.kind, step.mg, step.minutes) == ("short", 21, 20)


def test_a_dose_above_the_orders_own_largest_single_dose_contradicts_it() -> None:
    step = _one(doseAndRate=amounts(quantity(35, "mg")), maxDosePerAdministration=quantity(30, "mg"))
    assert list(map(said, step.contradictions)) == ["the dose is above its own largest single dose"]


def test_an_amount_in_words_raises_a_step_and_never_lowers_it() -> None:
    def mg(text: str) -> Fraction | None:
        found = [step.mg for step in steps(doseAndRate=amounts(quantity(35, "mg")), text=text)]
        return max(each for each in found if each is not None)

    assert mg("ketamine 350 mg") == 350
    assert mg("ketamine 3.5 mg") == 35


def test_words_alone_make_a_step_that_is_marked_as_spoken() -> None:
    step = _one(text="ketamine 35 mg IV")
    assert (step.spoken, step.mg) == (True, 35)


def test_of_very_many_amounts_in_words_the_highest_are_judged() -> None:
    """Each step is judged against all others: a text of a thousand doses took a minute."""
    found = steps(text="; ".join(f"{number} mg" for number in [*range(1, 500), 900, *range(500, 1, -1)]))
    assert len(found) == bounds.STEPS
    assert max(step.mg or 0 for step in found) == 900


@pytest.mark.parametrize(("a", "b", "same"), [(100, 105, True), (105, 100, True), (100, 106, False)])
def test_two_statements_are_close_within_the_tolerance_of_the_smaller(a: int, b: int, same: bool) -> None:
    assert close(Fraction(a), Fraction(b), CONVENTIONS.tolerance) is same

"""`previous_rate` and its neighbours: the rate before an order, a slip of units beside it, and a lower rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.orders.regimen import Body
from cds_service.rules.lower_rate import lower_rate
from cds_service.rules.running import PreviousRate, previous_rate
from cds_service.rules.unit_slip import Slip, slips
from tests.rules.build import case

KG = Body.of(Fraction(70))


def _before(knowledge: Knowledge, **patient: Any) -> PreviousRate | None:
    return previous_rate(case(knowledge, order={"rate": "0.3 mg/kg/h"}, patient=patient), KG)


def _given(rate: str, when: str, **more: Any) -> dict[str, Any]:
    return {"rate": rate, "when": when, **more}


def test_the_rate_that_runs_is_the_one_before(knowledge: Knowledge) -> None:
    found = _before(knowledge, running="14 mg/h")
    assert found is not None
    assert (found.running, found.mg_per_hour, found.mg_per_kg_per_hour) == (True, 14, Fraction(1, 5))


def test_of_two_administrations_the_newest_counts(knowledge: Knowledge) -> None:
    found = _before(
        knowledge,
        given=[
            _given("7 mg/h", "9 hours ago", status="completed", ended="5 hours ago"),
            _given("14 mg/h", "4 hours ago", status="completed", ended="1 hours ago"),
        ],
    )
    assert found is not None
    assert (found.running, found.mg_per_hour) == (False, 14)


def test_another_drug_is_no_rate_before(knowledge: Knowledge) -> None:
    morphine = _given("2 mg/h", "4 hours ago", status="in-progress", drug="7052 morphine")
    assert _before(knowledge, given=[morphine]) is None


def _slips(knowledge: Knowledge, rate: str, **patient: Any) -> list[Slip]:
    found = case(knowledge, order={"rate": rate}, patient=patient)
    return list(slips(found, knowledge.protocol.rules["unit-slip-suspected"]))


@pytest.mark.parametrize(
    ("rate", "meant"),
    [
        ("5 mg/kg/h", "ug/kg/min"),
        ("0.2 ug/kg/min", "mg/kg/h"),
        ("0.2 mg/kg/h", None),
        ("5 ug/kg/min", None),
    ],
)
def test_a_number_that_fits_another_unit_is_a_slip(rate: str, meant: str | None, knowledge: Knowledge) -> None:
    assert [slip.meant for slip in _slips(knowledge, rate)] == ([] if meant is None else [meant])


def test_sixty_times_the_rate_that_ran_is_a_slip(knowledge: Knowledge) -> None:
    (slip,) = _slips(knowledge, "420 mg/h", running="7 mg/h")
    assert (slip.tier, slip.ratio) == ("previous-rate", 60)


def test_a_step_down_from_the_rate_that_runs_is_meant(knowledge: Knowledge) -> None:
    assert _slips(knowledge, "0.2 ug/kg/min", running="0.2 mg/kg/h") == []


def _most(knowledge: Knowledge, rate: str, before: Fraction | None = None) -> Fraction:
    """The most that the one rate of an order may be, in mg/kg/h."""
    (ceiling,) = lower_rate(case(knowledge, order={"rate": rate}), before)
    assert ceiling.unit == "mg/kg/h"
    return ceiling.most


def test_a_lower_rate_is_a_fraction_of_the_order(knowledge: Knowledge) -> None:
    fraction = knowledge.limits.book("ketamine", knowledge.protocol.date).number("restart-fraction")
    assert _most(knowledge, "0.4 mg/kg/h") == Fraction("0.4") * fraction


def test_a_lower_rate_is_never_above_the_one_at_which_the_protocol_warns(knowledge: Knowledge) -> None:
    warns = knowledge.limits.book("ketamine", knowledge.protocol.date).number("rate-warn")
    assert _most(knowledge, "5 mg/kg/h") == warns


def test_a_lower_rate_is_taken_of_the_rate_that_did_harm(knowledge: Knowledge) -> None:
    assert _most(knowledge, "0.4 mg/kg/h", Fraction("0.2")) == _most(knowledge, "0.2 mg/kg/h")


def test_of_a_rate_that_cannot_be_told_nothing_may_stay(knowledge: Knowledge) -> None:
    (ceiling,) = lower_rate(case(knowledge, order={"rate": "20 mg/h"}, patient={"weight": "none"}))
    assert ceiling.most == 0


def test_a_dose_that_is_given_once_has_no_lower_rate(knowledge: Knowledge) -> None:
    assert lower_rate(case(knowledge, order={"dose": "20 mg"})) == ()

"""`dosing_weight`: which weight a dose is judged on, when it is doubted, and at which weights it is then judged."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, ideal_weight
from tests.rules.build import case
from tests.said import said

RATE = {"rate": "0.2 mg/kg/h"}


def _weight(knowledge: Knowledge, *weights: Any, **patient: Any) -> DosingWeight:
    given = list(weights) if weights else "none"
    return dosing_weight(case(knowledge, order=RATE, patient={"weight": given, **patient}))


def _bodies(weight: DosingWeight) -> list[tuple[int, int]]:
    return [(int(body.given_by or 0), int(body.judged_by or 0)) for body in weight.bodies]


def test_the_newest_weight_is_the_one(knowledge: Knowledge) -> None:
    found = _weight(knowledge, {"value": "70 kg", "when": "2 days ago"}, {"value": "71 kg", "when": "2 hours ago"})
    assert (found.newest and found.newest.kg, found.doubt, _bodies(found)) == (71, None, [(71, 71)])


def test_a_measured_weight_goes_before_a_newer_stated_one(knowledge: Knowledge) -> None:
    stated = {"value": "80 kg", "basis": "stated", "when": "1 hours ago"}
    found = _weight(knowledge, {"value": "78 kg", "when": "3 days ago"}, stated)
    assert found.newest is not None
    assert (found.newest.kg, found.newest.basis) == (78, "measured")


@pytest.mark.parametrize("kg", ["0.5 kg", "900 kg"])
def test_a_weight_that_no_adult_has_is_doubted_and_nothing_is_judged_by_it(kg: str, knowledge: Knowledge) -> None:
    found = _weight(knowledge, {"value": kg})
    assert found.doubt is not None
    assert "is outside" in said(found.doubt)
    assert not found.usable
    assert found.shown is None
    assert found.bodies[0].judged_by is None


def test_a_weight_in_pounds_entered_as_kilograms_is_judged_by_both(knowledge: Knowledge) -> None:
    found = _weight(knowledge, {"value": "154 kg"}, {"value": "70 kg", "when": "40 days ago"})
    assert found.doubt is not None
    assert "as if pounds had been entered as kilograms" in said(found.doubt)
    assert _bodies(found) == [(154, 154), (154, 70)]


def test_a_change_within_days_is_doubted_and_over_months_it_is_not(knowledge: Knowledge) -> None:
    def doubt(when: str) -> str | None:
        return _weight(knowledge, {"value": "95 kg"}, {"value": "70 kg", "when": when}).doubt

    assert "more than" in said(doubt("1 days ago") or "")
    assert doubt("300 days ago") is None


def test_two_doubted_weights_of_one_moment_are_judged_either_way(knowledge: Knowledge) -> None:
    found = _weight(knowledge, {"value": "154 kg"}, {"value": "70 kg"})
    assert set(_bodies(found)) >= {(154, 70), (70, 154)}


def test_a_newer_weight_that_cannot_be_read_is_remembered(knowledge: Knowledge) -> None:
    odd = {"raw": {"value": 70, "unit": "stone?"}, "when": "1 hours ago"}
    found = _weight(knowledge, {"value": "70 kg", "when": "2 days ago"}, odd)
    assert found.newest is not None
    assert found.newest.kg == 70
    assert len(found.unreadable) == 1


def test_without_a_weight_there_is_a_body_without_one(knowledge: Knowledge) -> None:
    found = _weight(knowledge)
    assert (found.newest, found.usable) == (None, False)
    assert [body.judged_by for body in found.bodies] == [None]


def test_ideal_weight_and_bmi(knowledge: Knowledge) -> None:
    found = ideal_weight(case(knowledge, order=RATE, patient={"height": "180 cm"}), Fraction(130))
    assert found.bmi == Fraction(130) / Fraction("3.24")
    assert found.kg is not None
    assert 74 < found.kg < 76, "Devine: 50 kg and 0.91 kg for each cm above 152.4 cm"


@pytest.mark.parametrize(
    ("patient", "why"),
    [
        ({}, "there is no usable height"),
        ({"height": "120 cm"}, "the height is below"),
        ({"height": "180 cm", "sex": "unknown"}, "the sex is not known"),
    ],
)
def test_ideal_weight_says_why_it_is_not_known(patient: dict[str, Any], why: str, knowledge: Knowledge) -> None:
    found = ideal_weight(case(knowledge, order=RATE, patient=patient), Fraction(130))
    assert found.kg is None
    assert why in said(found.why_not or "")

"""`dosage.read`: which amounts of a dosage count, what each is in exact units, and what cannot be read."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from cds_service.fhir.datatypes import Quantity, Ratio
from cds_service.orders import dosage
from cds_service.terminology.systems import UCUM
from tests.orders.build import amounts, quantity, written
from tests.said import said


def _typed(code: str, value: int) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/dose-rate-type"
    return {"type": {"coding": [{"system": system, "code": code}]}, "doseQuantity": quantity(value, "mg")}


@pytest.mark.parametrize(
    ("dose", "dimension", "value"),
    [
        (quantity(35, "mg"), "mass", 35),
        (quantity(35000, "ug"), "mass", 35),
        (quantity("0.5", "mg/kg"), "mass_per_bodymass", Fraction(1, 2)),
        (quantity(5, "mL"), "volume", 5),
    ],
)
def test_a_dose_is_read_into_the_canonical_unit_of_its_dimension(
    dose: dict[str, Any], dimension: str, value: Fraction
) -> None:
    (found,) = written(doseAndRate=amounts(dose)).dose
    assert (found.dimension, found.value) == (dimension, value)


def test_a_dose_keeps_the_number_and_the_place_of_its_writing() -> None:
    (found,) = written(doseAndRate=amounts(quantity(35000, "ug"))).dose
    assert (found.written, found.unit, found.path) == (35000, "ug", ("doseAndRate", 0, "doseQuantity"))


def test_of_several_entries_the_ordered_one_counts_first() -> None:
    found = written(doseAndRate=[_typed("calculated", 40), _typed("ordered", 35)]).dose
    assert [amount.value for amount in found] == [35, 40]


def test_of_a_range_the_upper_end_is_the_value_and_the_lower_end_is_kept() -> None:
    dose = {"doseRange": {"low": quantity(10, "mg"), "high": quantity(20, "mg")}}
    (found,) = written(doseAndRate=[dose]).dose
    assert (found.value, found.low, found.open_ended) == (20, 10, False)


def test_a_range_without_an_upper_end_is_open() -> None:
    (found,) = written(doseAndRate=[{"doseRange": {"low": quantity(10, "mg")}}]).dose
    assert (found.value, found.open_ended) == (10, True)


def test_a_ratio_is_a_rate_that_remembers_its_time() -> None:
    ratio = {"rateRatio": {"numerator": quantity(21, "mg"), "denominator": quantity(20, "min")}}
    (found,) = written(doseAndRate=[ratio]).rate
    assert (found.dimension, found.value, found.per_minutes) == ("mass_per_time", 63, 20)


@pytest.mark.parametrize(
    ("dose", "says"),
    [
        (quantity(5, "parsec"), "parsec"),
        ({"value": 5}, "has no unit"),
        (quantity(-5, "mg"), "below zero"),
        (quantity(0, "mg"), "is no amount"),
        (quantity(5, "mg", comparator=">"), "not an exact value"),
        ({"unit": "mg"}, "a unit and no value"),
    ],
)
def test_a_dose_that_cannot_be_read_is_a_problem_and_no_amount(dose: dict[str, Any], says: str) -> None:
    found = written(doseAndRate=amounts(dose))
    assert found.dose == ()
    (problem,) = found.problems
    assert says in said(problem.says)
    assert "dose" in problem.where


def test_a_rate_that_cannot_be_read_beside_a_dose_is_remembered() -> None:
    found = written(doseAndRate=amounts(quantity(35, "mg"), quantity(5, "furlong")))
    assert found.rate_refused
    assert found.dose[0].value == 35


def test_where_unit_and_code_disagree_both_amounts_are_kept_and_it_is_said() -> None:
    found = written(doseAndRate=amounts({"value": 5, "unit": "g", "code": "mg", "system": UCUM}))
    assert {amount.value for amount in found.dose} == {5, 5000}
    (against,) = found.contradictions
    assert "its unit says “g”, its code “mg”" in said(against)


@pytest.mark.parametrize(
    "system",
    [None, UCUM, f"{UCUM}/", "HTTPS://UnitsOfMeasure.org|2.1", "urn:oid:2.16.840.1.113883.6.8", "UCUM"],
)
def test_a_code_of_ucum_that_is_no_amount_is_said_however_the_system_is_written(system: str | None) -> None:
    found = written(doseAndRate=amounts({"value": 5, "unit": "mg", "code": "furlong", "system": system}))
    assert [amount.value for amount in found.dose] == [5]
    (against,) = found.contradictions
    assert "its unit says “mg”, its code “furlong”" in said(against)


def test_a_code_of_a_system_of_the_sender_says_nothing_against_the_unit() -> None:
    found = written(doseAndRate=amounts({"value": 5, "unit": "mg", "code": "4711", "system": "urn:x-sender:units"}))
    assert [amount.value for amount in found.dose] == [5]
    assert found.contradictions == ()


def test_a_bag_is_a_container_and_no_dose() -> None:
    found = written(doseAndRate=amounts({"value": 1, "unit": "bag"}))
    assert found.container
    assert found.dose == ()


def test_a_cap_is_an_amount_in_minutes() -> None:
    cap = written(maxDosePerPeriod={"numerator": quantity(20, "mg"), "denominator": quantity(1, "h")}).cap
    assert cap is not None
    assert (cap.amount.value, cap.minutes) == (20, 60)


def test_words_of_text_and_instructions_are_read_for_amounts() -> None:
    found = written(text="ketamine 35 mg IV", patientInstruction="lie down")
    assert found.words == ("ketamine 35 mg IV", "lie down")
    assert [amount.value for amount in found.said.doses] == [35]
    assert not found.has_amount


def test_to_titrate_is_read_from_the_words() -> None:
    assert written(text="titrate to effect").titrate
    assert not written(text="35 mg once").titrate


def test_the_rate_of_an_administration_may_be_zero() -> None:
    zero = Quantity(value=Decimal(0), code="mg/h", system=UCUM)
    found = dosage.read_rate(zero, None)
    assert found is not None
    assert found.value == 0
    assert dosage.read_rate(None, Ratio()) is None


@pytest.mark.parametrize("numerator", [Decimal(0), Decimal(140)])
def test_the_time_of_a_charted_rate_may_not_be_zero(numerator: Decimal) -> None:
    amount, none = Quantity(value=numerator, unit="mg"), Quantity(value=Decimal(0), unit="h")
    assert dosage.read_rate(None, Ratio(numerator=amount, denominator=none)) is None
    hour = Quantity(value=Decimal(1), unit="h")
    found = dosage.read_rate(None, Ratio(numerator=amount, denominator=hour))
    assert found is not None
    assert found.value == numerator

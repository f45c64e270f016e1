"""The fields of an order as FHIR and back, and what is said where they are not understood."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.console.form import Choices, Fields, read, write
from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge

PAIN = Fields(product="ketamine", route="iv", rate="0.2 mg/kg/h", duration="24 h", reason="pain")


@pytest.fixture(scope="module")
def choices(knowledge: Knowledge) -> Choices:
    return Choices.of(knowledge)


def _order(fields: Fields, choices: Choices) -> dict[str, Any]:
    order = write(fields, choices, "standard", "o1").order
    assert order is not None
    decoded: dict[str, Any] = lenient.untyped(lenient.encode(order))
    return decoded


def test_what_is_typed_stands_in_the_order(choices: Choices) -> None:
    order = _order(replace(PAIN, bolus="25 mg over 10 min every 6 h", prn=True), choices)
    bolus, rate = order["dosageInstruction"]
    assert lenient.encode(bolus["doseAndRate"][0]["doseQuantity"]["value"]) == b"25"
    assert bolus["timing"]["repeat"].keys() == {"duration", "durationUnit", "frequency", "period", "periodUnit"}
    assert rate["doseAndRate"][0]["rateQuantity"]["code"] == "mg/kg/h"
    assert rate["timing"]["repeat"]["boundsDuration"]["unit"] == "h"
    assert [each["asNeededBoolean"] for each in (bolus, rate)] == [True, True]
    assert order["subject"] == {"reference": "Patient/standard"}
    assert order["reasonCode"][0]["coding"][0]["display"] == "Acute pain"


@pytest.mark.parametrize(
    "fields",
    [
        PAIN,
        replace(PAIN, route="", reason=""),
        replace(PAIN, rate="", bolus="0.35 mg/kg over 10 min", duration="2 d"),
        replace(PAIN, bolus="25 mg over 10 min every 6 h", rate="14 mg/h", prn=True),
        replace(PAIN, product="ketamine-10-mg-ml", rate="1.4 mL/h", duration=""),
    ],
)
def test_an_order_of_the_form_comes_back_as_its_fields(fields: Fields, choices: Choices) -> None:
    assert read(_order(fields, choices), choices) == fields


AMOUNTS = st.decimals("0.01", "999", places=2).map(lambda number: f"{number.normalize():f}")


@given(AMOUNTS, st.sampled_from(["mg/h", "mg/kg/h", "ug/kg/min", "mL/h"]), st.booleans())
def test_every_rate_comes_back_as_it_was_written(choices: Choices, number: str, unit: str, prn: bool) -> None:
    fields = replace(PAIN, rate=f"{number} {unit}", prn=prn)
    assert read(_order(fields, choices), choices) == fields


@pytest.mark.parametrize(
    "more",
    [
        {"note": [{"text": "slowly"}]},
        {"reasonCode": []},
        {"dosageInstruction": [{"text": "5 mg/kg/h"}]},
        {"dosageInstruction": [{"doseAndRate": [{"rateRange": {"low": {"value": 1}}}]}]},
        {"medicationCodeableConcept": {"text": "ketamine"}},
        {"subject": None},
    ],
)
def test_an_order_that_says_more_than_the_form_is_not_cut_to_its_fields(
    more: dict[str, Any], choices: Choices
) -> None:
    assert read(_order(PAIN, choices) | more, choices) is None


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        (replace(PAIN, rate="fast"), "rate", "the order names no amount"),
        (replace(PAIN, rate="0.2 mg/kg/fortnight"), "rate", "no unit of a dose or a rate"),
        (replace(PAIN, rate="25 mg"), "rate", "a rate has a time in its unit"),
        (replace(PAIN, bolus="25 mg/h", rate=""), "bolus", "that is a rate"),
        (replace(PAIN, rate="0.2 mg/kg/h gently"), "rate", "'gently' is not understood"),
        (replace(PAIN, duration="a while"), "rate", "is not understood"),
    ],
)
def test_what_is_not_understood_is_said_and_no_order_is_made_of_the_rest(
    fields: Fields, field: str, says: str, choices: Choices
) -> None:
    written = write(fields, choices, "standard", "o1")
    assert written.order is None
    assert says in written.faults[field]


def test_nothing_typed_is_no_order_and_no_fault(choices: Choices) -> None:
    written = write(replace(PAIN, rate=""), choices, "standard", "o1")
    assert (written.order, written.faults) == (None, {})

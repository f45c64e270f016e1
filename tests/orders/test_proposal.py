"""`make_edits` and its neighbours: what a suggestion changes in an order's JSON, and what it leaves as it was."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from cds_service.orders.proposal import (
    Edit,
    SetAmount,
    SetCap,
    SetEnd,
    SetMinutes,
    SetProduct,
    SetRate,
    SetReason,
    SetRepeat,
    decimal,
    deletion,
    floored,
    make_edits,
)
from tests.orders.build import amounts, quantity, written

PRODUCT = ("http://www.nlm.nih.gov/research/umls/rxnorm", "6130", "ketamine")


def _edited(edit: Edit, **dosage: Any) -> dict[str, Any]:
    """The one dosage after an edit."""
    order: dict[str, Any] = {"dosageInstruction": [dosage]}
    make_edits(order, [edit])
    found: dict[str, Any] = order["dosageInstruction"][0]
    return found


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [("0.57", "0.05", "0.55"), ("0.55", "0.05", "0.55"), ("0.04", "0.05", "0"), ("36", "5", "35")],
)
def test_a_value_is_floored_to_the_pump_step(value: str, step: str, expected: str) -> None:
    assert floored(Fraction(value), Fraction(step)) == Fraction(expected)


@pytest.mark.parametrize(("value", "shown"), [("35", "35"), ("0.55", "0.55"), ("1000000", "1000000")])
def test_a_decimal_is_written_without_an_exponent(value: str, shown: str) -> None:
    assert str(decimal(Fraction(value))) == shown


def test_an_amount_is_changed_in_the_unit_in_which_it_was_written() -> None:
    given = {"doseAndRate": amounts(rate=quantity(Decimal("0.8"), "mg/kg/h"))}
    (amount,) = written(**given).rate
    edited = _edited(SetAmount(0, amount, Fraction(1, 2)), **given)
    assert edited["doseAndRate"][0]["rateQuantity"] == quantity(Decimal("0.5"), "mg/kg/h")


def test_words_that_state_the_old_figures_go_and_others_stay() -> None:
    given = {
        "doseAndRate": amounts(quantity(70, "mg")),
        "text": "70 mg over 1 h",
        "patientInstruction": "70 mg in the evening",
        "additionalInstruction": [{"text": "lie down"}, {"text": "max 70 mg"}],
        "site": {"text": "left arm"},
    }
    (amount,) = written(**given).dose
    edited = _edited(SetAmount(0, amount, Fraction(35)), **given)
    assert "text" not in edited
    assert "patientInstruction" not in edited
    assert edited["additionalInstruction"] == [{"text": "lie down"}]
    assert edited["site"] == {"text": "left arm"}


def test_other_entries_that_restate_the_changed_dose_go() -> None:
    given = {
        "doseAndRate": [
            {"type": {"coding": [{"code": "ordered"}]}, "doseQuantity": quantity(70, "mg")},
            {"type": {"coding": [{"code": "calculated"}]}, "doseQuantity": quantity(1, "mg/kg")},
        ]
    }
    edited = _edited(SetAmount(0, written(**given).dose[0], Fraction(35)), **given)
    assert [entry["doseQuantity"]["value"] for entry in edited["doseAndRate"]] == [35]


def test_of_a_range_the_high_end_is_set_and_a_low_end_above_it_follows() -> None:
    given = {"doseAndRate": [{"doseRange": {"low": quantity(50, "mg"), "high": quantity(70, "mg")}}]}
    edited = _edited(SetAmount(0, written(**given).dose[0], Fraction(35)), **given)
    dose = edited["doseAndRate"][0]["doseRange"]
    assert (dose["low"]["value"], dose["high"]["value"]) == (35, 35)


def test_a_rate_takes_the_place_of_a_ratio() -> None:
    given = {"doseAndRate": [{"rateRatio": {"numerator": quantity(50, "mg"), "denominator": quantity(1, "h")}}]}
    edited = _edited(SetRate(0, written(**given).rate[0], Fraction(35), "mg/h"), **given)
    assert edited["doseAndRate"] == amounts(rate=quantity(35, "mg/h"))


def test_minutes_replace_a_push() -> None:
    edited = _edited(
        SetMinutes(0, Fraction(40), was_push=True), method={"text": "push"}, doseAndRate=amounts(quantity(35, "mg"))
    )
    assert "method" not in edited
    assert edited["timing"]["repeat"] == {"duration": Decimal(40), "durationUnit": "min"}


def test_a_repeat_replaces_every_other_statement_of_how_often() -> None:
    timing = {"code": {"text": "BID"}, "event": ["2026-11-22"], "repeat": {"timeOfDay": ["08:00:00"], "count": 4}}
    edited = _edited(SetRepeat(0, frequency=1, period=3, unit="d"), timing=timing)
    assert edited["timing"] == {"repeat": {"count": 4, "frequency": 1, "period": 3, "periodUnit": "d"}}


def test_a_cap_is_per_hour_unless_it_keeps_its_period() -> None:
    assert _edited(SetCap(0, Fraction(35)))["maxDosePerPeriod"]["denominator"] == quantity(Decimal(1), "h")
    given = {"numerator": quantity(80, "mg"), "denominator": quantity(4, "h")}
    edited = _edited(SetCap(0, Fraction(35), keeps_period=True), maxDosePerPeriod=given)
    assert edited["maxDosePerPeriod"] == {"numerator": quantity(35, "mg"), "denominator": quantity(4, "h")}


def test_an_end_counts_from_the_start_that_is_written_else_as_a_duration() -> None:
    edited = _edited(
        SetEnd(0, Fraction(24)), timing={"repeat": {"boundsPeriod": {"start": "2026-11-22T10:00:00+01:00"}}}
    )
    assert edited["timing"]["repeat"]["boundsPeriod"]["end"] == "2026-11-23T10:00:00+01:00"
    assert _edited(SetEnd(0, Fraction(24)))["timing"]["repeat"] == {"boundsDuration": quantity(24, "h")}


def test_a_product_takes_its_contained_medication_away_with_the_reference() -> None:
    order = {
        "contained": [{"resourceType": "Medication", "id": "m"}, {"resourceType": "Patient", "id": "p"}],
        "medicationReference": {"reference": "#m"},
    }
    make_edits(order, [SetProduct([PRODUCT], "ketamine 10 mg/mL")])
    assert "medicationReference" not in order
    assert [each["id"] for each in order["contained"]] == ["p"]  # type: ignore[index]
    assert order["medicationCodeableConcept"]["text"] == "ketamine 10 mg/mL"  # type: ignore[call-overload]


def test_a_reason_replaces_the_reasons() -> None:
    order: dict[str, Any] = {"reasonCode": [{"text": "old"}]}
    make_edits(order, [SetReason([("http://snomed.info/sct", "274663001", "Acute pain")], "Acute pain")])
    assert [reason["text"] for reason in order["reasonCode"]] == ["Acute pain"]


def test_an_order_too_broken_to_be_edited_raises() -> None:
    with pytest.raises((KeyError, IndexError, TypeError)):
        make_edits({"dosageInstruction": []}, [SetMinutes(0, Fraction(40))])


@pytest.mark.parametrize(
    "reference", ["", "o1", "MedicationRequest/", "urn:uuid:1", "MedicationRequest/a b", "A/" + "x" * 500]
)
def test_an_order_that_the_client_could_not_find_is_not_offered_for_deletion(reference: str) -> None:
    assert deletion(reference, "ketamine") == []


def test_a_deletion_names_the_order() -> None:
    (proposal,) = deletion("MedicationRequest/o1", "ketamine")
    assert [(action.type, action.resource_id) for action in proposal.actions] == [("delete", "MedicationRequest/o1")]

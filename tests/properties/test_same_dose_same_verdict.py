"""The same dose is judged the same in every unit and every encoding (design.md, decision 7)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.properties import reference, spelling, writing
from tests.properties.asking import DOSE_ROWS, dose_verdict, fired, judged, rank, request, weighed
from tests.properties.counts import examples
from tests.properties.reference import Cap, Dose
from tests.properties.spelling import DOSE_UNITS, RATE_UNITS
from tests.properties.writing import Setting

KETAMINE = writing.medicines_named("ketamine")[0]
PAIN = frozenset({"pain"})
SETTING = Setting(Fraction(75), Fraction(2))


def _asked(dosage: dict[str, Any], medicine: dict[str, Any]) -> dict[str, Any]:
    """An order of racemic ketamine for pain, by vein."""
    dosage = dosage | {"route": writing.concept(*writing.ROUTES["intravenous"])}
    return request(writing.order(medicine, [dosage], ["pain"]), weight=f"{SETTING.kg} kg")


def _bag(mg_per_ml: Fraction) -> dict[str, Any]:
    ratio, beside = next(writing.strengths(mg_per_ml))
    ingredient = {"itemCodeableConcept": KETAMINE, "strength": ratio}
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "infusion"}, "ingredient": [ingredient]}
    return {"medicationReference": {"reference": "#m"}, "contained": [medication | beside]}


@pytest.mark.parametrize("unit", DOSE_UNITS, ids=lambda unit: unit.text)
def test_a_dose_in_every_unit_of_the_table_has_its_verdict(unit: spelling.Unit) -> None:
    for thousandths in (300, 301, 350, 351, 500, 501, 999, 1000, 4500):
        dose = Dose(Fraction(thousandths, 1000))
        quantity = spelling.quantity(spelling.in_unit(dose.per_kg, unit, SETTING.kg, SETTING.mg_per_ml), unit.text)
        asked = _asked({"doseAndRate": [{"doseQuantity": quantity}]}, _bag(SETTING.mg_per_ml))
        assert dose_verdict(asked) == reference.verdict(dose, "ketamine", PAIN, "intravenous"), quantity


@pytest.mark.parametrize("unit", RATE_UNITS, ids=lambda unit: unit.text)
def test_a_rate_in_every_unit_of_the_table_has_its_verdict(unit: spelling.Unit) -> None:
    tried = 0
    for thousandths in (120, 498, 500, 501, 750, 999, 1000, 1002, 3000):
        dose = Dose(Fraction(thousandths, 1000), endless=True)
        number = spelling.in_unit(dose.per_kg, unit, SETTING.kg, SETTING.mg_per_ml)
        quantity = spelling.quantity(number, unit.text)
        if quantity is None:
            continue
        tried += 1
        asked = _asked({"doseAndRate": [{"rateQuantity": quantity}]}, _bag(SETTING.mg_per_ml))
        assert dose_verdict(asked) == reference.verdict(dose, "ketamine", PAIN, "intravenous"), quantity
    assert tried >= 5


@pytest.mark.parametrize("text", spelling.WEIGHTS)
def test_a_weight_in_every_unit_is_the_same_weight(text: str) -> None:
    pounds = 14 * 11
    kg = pounds * spelling.WEIGHTS["lb"]
    quantity = spelling.quantity(kg / spelling.WEIGHTS[text], text)
    assert quantity is not None
    for mg, expected in ((kg / 2, {}), (kg / 2 + Fraction(1, 10**6), {"rate-exceeds-protocol-max": "warning"})):
        rate = spelling.quantity(mg, "mg/h")
        medicine = {"medicationCodeableConcept": KETAMINE}
        order = writing.order(medicine, [{"doseAndRate": [{"rateQuantity": rate}]}], ["pain"])
        assert dose_verdict(request(order, weights=[weighed(quantity)])) == expected


@pytest.mark.parametrize("mg_per_ml", [1, 2, 10, 50])
def test_a_strength_in_every_writing_is_the_same_strength(mg_per_ml: int) -> None:
    for drug_named in writing.medicines_named("ketamine"):
        for ratio, beside in writing.strengths(Fraction(mg_per_ml)):
            ingredient = {"itemCodeableConcept": drug_named, "strength": ratio}
            medication = {"resourceType": "Medication", "id": "m", "ingredient": [ingredient]} | beside
            product = {"medicationReference": {"reference": "#m"}, "contained": [medication]}
            for rate, rule in ((Fraction(1, 2), None), (Fraction(501, 1000), "rate-exceeds-protocol-max")):
                quantity = spelling.quantity(rate * SETTING.kg / mg_per_ml, "mL/h")
                asked = _asked({"doseAndRate": [{"rateQuantity": quantity}]}, product)
                assert dose_verdict(asked) == ({rule: "warning"} if rule else {}), (ratio, drug_named)


@examples(150)
@given(data=st.data(), dose=writing.doses(), setting=writing.settings, drug=writing.drugs, reasons=writing.reasons)
def test_every_writing_of_a_dose_has_the_verdict_of_the_dose(
    data: st.DataObject, dose: Dose, setting: Setting, drug: str, reasons: frozenset[str]
) -> None:
    route = data.draw(writing.vein)
    expected = reference.verdict(dose, drug, reasons, route)
    for _ in range(2):
        order = data.draw(writing.orders(dose, setting, drug, reasons, route))
        weight = weighed(data.draw(writing.weights(setting.kg)))
        hook = data.draw(st.sampled_from(["order-sign", "order-select"]))
        assert dose_verdict(request(order, weights=[weight], hook=hook)) == expected


@st.composite
def _repeated_doses(draw: st.DrawFn) -> Dose:
    """Scheduled or as needed, with or without a cap."""
    interval = Fraction(draw(st.sampled_from([5, 10, 12, 15, 20, 30, 45, 59, 60, 61, 90, 240, 360, 1440])))
    amount = draw(writing.finite_amounts) / draw(st.sampled_from([1, 2, 4]))
    minutes = draw(st.sampled_from([None, *(Fraction(m) for m in (1, 5, 15, 40, 59))]))
    dose = Dose(amount, minutes, interval=interval)
    if not draw(st.booleans()):
        return dose
    cap = Cap(draw(writing.finite_amounts), Fraction(draw(st.sampled_from([10, 20, 30, 60, 240, 1440]))))
    return replace(
        dose,
        as_needed=True,
        interval=draw(st.sampled_from([interval, None])),
        cap=draw(st.sampled_from([cap, None])),
    )


@examples(120)
@given(data=st.data(), dose=_repeated_doses(), setting=writing.settings, drug=writing.drugs, reasons=writing.reasons)
def test_every_writing_of_a_repeated_dose_has_the_verdict_of_the_dose(
    data: st.DataObject, dose: Dose, setting: Setting, drug: str, reasons: frozenset[str]
) -> None:
    route = data.draw(writing.vein)
    order = data.draw(writing.orders(dose, setting, drug, reasons, route))
    weight = weighed(data.draw(writing.weights(setting.kg)))
    expected = reference.verdict(dose, drug, reasons, route)
    assert dose_verdict(request(order, weights=[weight])) == expected


@examples(60)
@given(
    data=st.data(),
    rate=writing.rates_per_hour,
    cap=st.builds(Cap, writing.finite_amounts, st.sampled_from([Fraction(m) for m in (15, 30, 60, 240, 1440)])),
    as_needed=st.booleans(),
    setting=writing.settings,
    drug=writing.drugs,
)
def test_a_cap_beside_a_rate_is_judged_alike_in_every_writing(
    data: st.DataObject, rate: Fraction, cap: Cap, as_needed: bool, setting: Setting, drug: str
) -> None:
    dose = Dose(rate, endless=True, cap=cap, as_needed=as_needed)
    order = data.draw(writing.orders(dose, setting, drug, PAIN, "intravenous"))
    expected = reference.verdict(dose, drug, PAIN, "intravenous")
    assert dose_verdict(request(order, weights=[weighed(data.draw(writing.weights(setting.kg)))])) == expected


@examples(80)
@given(
    data=st.data(),
    steps=st.lists(writing.doses(), min_size=2, max_size=3),
    setting=writing.settings,
    drug=writing.drugs,
    reasons=writing.reasons,
)
def test_steps_are_judged_singly_and_together(
    data: st.DataObject, steps: list[Dose], setting: Setting, drug: str, reasons: frozenset[str]
) -> None:
    """As steps of one order, at once or one after the other, and at once as orders of one group."""
    steps = [replace(step, per_kg=step.per_kg / data.draw(st.sampled_from([1, 2, 4]))) for step in steps]
    dosages = [data.draw(writing.dosages(each, setting, "intravenous", "depression" in reasons)) for each in steps]
    assume(not any("boundsPeriod" in str(dosage) for dosage in dosages))  # it would say when the step starts
    product = data.draw(writing.products(drug, setting.mg_per_ml))
    weights = [weighed(data.draw(writing.weights(setting.kg)))]
    at_once = reference.together(steps, drug, reasons, "intravenous")
    order = writing.order(product, dosages, sorted(reasons))
    assert dose_verdict(request(order, weights=weights)) == at_once
    numbered = [dosage | {"sequence": number} for number, dosage in enumerate(dosages, 1)]
    in_turn = reference.together(steps, drug, reasons, "intravenous", in_sequence=True)
    order = writing.order(product, data.draw(st.permutations(numbered)), sorted(reasons))
    assert dose_verdict(request(order, weights=weights)) == in_turn
    group = {"groupIdentifier": {"system": "urn:example:groups", "value": "g1"}}
    orders = [
        writing.order(product, [dosage], sorted(reasons)) | group | {"id": f"o{number}"}
        for number, dosage in enumerate(dosages)
    ]
    worst: dict[str, str] = {}
    for each in judged(request(*orders, weights=weights)):
        worst |= {r: s for r, s in fired(each, *DOSE_ROWS).items() if rank(s) > rank(worst.get(r))}
    assert worst == at_once


@examples(100)
@given(data=st.data(), amount=writing.finite_amounts, setting=writing.settings, is_rate=st.booleans())
def test_statements_of_one_dose_are_the_ordered_one_if_they_agree_and_the_highest_if_not(
    data: st.DataObject, amount: Fraction, setting: Setting, is_rate: bool
) -> None:
    """Within 5 % of each other, of the smaller, the ordered one is judged; further apart the higher, and row 70."""
    types = data.draw(st.permutations(["ordered", None, "calculated"]))[: data.draw(st.integers(2, 3))]
    percents = [data.draw(st.sampled_from([100, 101, 102, 104, 105, 106, 108, 110, 95, 50, 200])) for _ in types]
    amounts = [amount * percent / 100 for percent in percents]
    entries = []
    for kind, each in zip(types, amounts, strict=True):
        units = writing.exact(each, RATE_UNITS if is_rate else DOSE_UNITS, setting)
        entry: dict[str, Any] = {"rateQuantity" if is_rate else "doseQuantity": data.draw(st.sampled_from(units))}
        entries.append(entry | ({"type": {"text": kind}} if kind else {}))
    first = min(range(len(types)), key=lambda number: ["ordered", None, "calculated"].index(types[number]))
    agree = max(amounts) - min(amounts) <= min(amounts) / 20
    judged_amount = amounts[first] if agree else max(amounts)
    product = data.draw(writing.products("ketamine", setting.mg_per_ml))
    order = writing.order(product, [{"doseAndRate": entries}], ["pain"])
    weight = weighed(data.draw(writing.weights(setting.kg)))
    found = fired(judged(request(order, weights=[weight]))[0])
    expected = reference.verdict(Dose(judged_amount, endless=is_rate), "ketamine", PAIN, "unstated")
    assert {rule: severity for rule, severity in found.items() if rule in DOSE_ROWS} == expected
    assert ("free-text-or-unparseable-dose" in found) == (not agree)


@examples(60)
@given(data=st.data(), dose=writing.doses(), setting=writing.settings, drug=writing.drugs)
def test_other_routes_have_their_own_rows(data: st.DataObject, dose: Dose, setting: Setting, drug: str) -> None:
    route = data.draw(st.sampled_from(["subcutaneous", "intramuscular", "oral", "epidural"]))
    dose = replace(dose, per_kg=dose.per_kg * data.draw(st.sampled_from([1, 4, 10])))
    order = data.draw(writing.orders(dose, setting, drug, PAIN, route))
    expected = reference.verdict(dose, drug, PAIN, route)
    assert dose_verdict(request(order, weights=[weighed(data.draw(writing.weights(setting.kg)))])) == expected


@examples(50)
@given(data=st.data(), millilitres=st.integers(1, 400), setting=writing.settings)
def test_for_depression_a_volume_at_its_rate_is_the_dose_over_the_time_that_it_takes(
    data: st.DataObject, millilitres: int, setting: Setting
) -> None:
    volume, rate = Fraction(millilitres, 4), Fraction(data.draw(st.integers(4, 600)), 4)
    dose = Dose(volume * setting.mg_per_ml / setting.kg, volume / rate * 60)
    entry = {"doseQuantity": spelling.quantity(volume, "mL"), "rateQuantity": spelling.quantity(rate, "mL/h")}
    product = data.draw(writing.products("ketamine", setting.mg_per_ml))
    order = writing.order(product, [{"doseAndRate": [entry]}], ["depression"])
    asked = request(order, weights=[weighed(data.draw(writing.weights(setting.kg)))])
    expected = reference.verdict(dose, "ketamine", frozenset({"depression"}), "unstated")
    assert dose_verdict(asked) == expected

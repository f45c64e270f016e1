"""More of the drug is never judged milder, and a limit lies exactly where the protocol says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.properties import spelling, writing
from tests.properties.asking import dose_verdict, fired, judged, rank, request, weighed, worst
from tests.properties.counts import examples
from tests.properties.reference import NUMBERS, Cap, Dose, limit
from tests.properties.writing import Setting

ROWS = (
    "rate-exceeds-protocol-max",
    "rate-exceeds-ceiling",
    "bolus-above-usual-load",
    "bolus-exceeds-unmonitored-limit",
    "bolus-exceeds-protocol-max",
    "bolus-anaesthetic-range",
    "depression-dose-exceeds",
)
"""Rows 1, 2, 4-7 and 9.

What is monotone is the worst severity over all of them, with the run time held: a dose at a fixed rate runs longer
when it grows, becomes an infusion at 60 minutes, and is then judged by its rate (4a), so there it is not.
"""


# More is never milder ---------------------------------------------------------------------------------------


@st.composite
def _dosage(draw: st.DrawFn, number: int) -> tuple[dict[str, Any], list[str]]:
    """A dosage instruction without its amount, and where amounts go: `dose`, `rate`, with their unit."""
    kind = draw(st.sampled_from(["rate", "dose", "dose over", "rate over", "rate for"]))
    made: dict[str, Any] = {"sequence": draw(st.sampled_from([1, number]))} if draw(st.booleans()) else {}
    of = spelling.RATE_UNITS if kind.startswith("rate") else spelling.DOSE_UNITS
    unit = draw(st.sampled_from(of))
    repeat: dict[str, Any] = {}
    minutes = draw(writing.minutes)
    if kind.endswith("over"):
        repeat = {"duration": spelling.decimal(minutes), "durationUnit": "min"}
    elif kind.endswith("for"):
        repeat = {"boundsDuration": spelling.quantity(minutes, "min")}
    if draw(st.integers(0, 3)) == 0:
        repeat |= {"frequency": 1, "period": draw(st.sampled_from([10, 15, 30, 60, 240])), "periodUnit": "min"}
        made["asNeededBoolean"] = draw(st.booleans())
    if repeat:
        made["timing"] = {"repeat": repeat}
    if kind == "dose" and draw(st.booleans()):
        made["method"] = writing.concept(writing.SNOMED, "420620005", "Push")
    return made, [kind.split()[0], unit.text]


def _with_amount(dosage: dict[str, Any], where: list[str], value: Fraction) -> dict[str, Any]:
    kind, text = where
    return dosage | {"doseAndRate": [{f"{kind}Quantity": spelling.quantity(value, text)}]}


_WEIGHTS = st.one_of(
    writing.bodies.map(lambda kg: [spelling.quantity(kg, "kg")]),
    st.sampled_from([["154", "70"], ["70", "154"], ["85", "70"], ["300", "80"]]).map(
        lambda both: [spelling.quantity(Fraction(each), "kg") for each in both]
    ),
)


@examples(120)
@given(
    data=st.data(),
    steps=st.integers(1, 3),
    drug=writing.drugs,
    reasons=writing.reasons,
    route=st.sampled_from(["intravenous", "unstated", "subcutaneous", "intramuscular"]),
    weights=_WEIGHTS,
    mg_per_ml=st.sampled_from([1, 2, 10, 50]),
)
def test_a_larger_dose_is_never_judged_milder(
    data: st.DataObject,
    steps: int,
    drug: str,
    reasons: frozenset[str],
    route: str,
    weights: list[dict[str, Any]],
    mg_per_ml: int,
) -> None:
    setting = Setting(Fraction(weights[0]["value"]), Fraction(mg_per_ml))
    product = data.draw(writing.products(drug, setting.mg_per_ml))
    weighings = [weighed(q, f"{1 + 9 * i} days ago", i + 1) for i, q in enumerate(weights)]
    smaller, larger = [], []
    for number in range(1, steps + 1):
        dosage, where = data.draw(_dosage(number))
        if route != "unstated":
            dosage["route"] = writing.concept(*writing.ROUTES[route])
        per_kg = data.draw(st.one_of(writing.finite_amounts, writing.rates_per_hour))
        if where[0] == "rate" and "timing" in dosage:
            per_kg *= data.draw(st.sampled_from([1, 4, 20]))
        value = spelling.in_unit(per_kg, spelling.unit(where[1]), setting.kg, setting.mg_per_ml)
        value = Fraction(round(value * 10**12), 10**12)
        more = Fraction(data.draw(st.sampled_from([1000, 1001, 1100, 2000, 17000])), 1000)
        smaller.append(_with_amount(dosage, where, value))
        larger.append(_with_amount(dosage, where, value * more))
    assume(smaller != larger)
    severities = [
        worst(dose_verdict(request(writing.order(product, dosages, sorted(reasons)), weights=weighings)), *ROWS)
        for dosages in (smaller, larger)
    ]
    assert severities[0] <= severities[1]


@examples(60)
@given(data=st.data(), dose=writing.doses(), setting=writing.settings, drug=writing.drugs, reasons=writing.reasons)
def test_a_dose_in_milligrams_is_never_judged_milder_in_a_lighter_patient(
    data: st.DataObject, dose: Dose, setting: Setting, drug: str, reasons: frozenset[str]
) -> None:
    amount = spelling.quantity(dose.per_kg * setting.kg, "mg/h" if dose.endless else "mg")
    dosage: dict[str, Any] = {"doseAndRate": [{"rateQuantity" if dose.endless else "doseQuantity": amount}]}
    if dose.minutes is not None:
        dosage["timing"] = {"repeat": {"duration": spelling.decimal(dose.minutes), "durationUnit": "min"}}
    medicine = {"medicationCodeableConcept": writing.medicines_named(drug)[0]}
    order = writing.order(medicine, [dosage], sorted(reasons))
    lighter = setting.kg - Fraction(data.draw(st.integers(1, 40)), 8)
    severities = [
        worst(dose_verdict(request(order, weights=[weighed(spelling.quantity(kg, "kg") or {})])), *ROWS)
        for kg in (setting.kg, lighter)
    ]
    assert severities[0] <= severities[1]


@examples(40)
@given(data=st.data(), first=writing.finite_amounts, rate=writing.rates_per_hour, drug=writing.drugs)
def test_a_second_order_of_the_group_never_makes_the_first_one_milder(
    data: st.DataObject, first: Fraction, rate: Fraction, drug: str
) -> None:
    group = {"groupIdentifier": {"system": "urn:example:groups", "value": "g1"}}
    medicine = {"medicationCodeableConcept": writing.medicines_named(drug)[0]} | group
    reason = data.draw(st.sampled_from(["pain", "depression"]))
    alone = writing.order(
        medicine, [{"doseAndRate": [{"doseQuantity": spelling.quantity(first, "mg/kg")}]}], [reason]
    )
    dose, infusion = spelling.quantity(rate / 4, "mg/kg"), spelling.quantity(rate, "mg/kg/h")
    entry = data.draw(st.sampled_from([{"doseQuantity": dose}, {"rateQuantity": infusion}]))
    beside = writing.order(medicine, [{"doseAndRate": [entry]}], [reason]) | {"id": "o2"}
    orders = data.draw(st.permutations([alone, beside]))
    together = next(each for each in judged(request(*orders)) if each.order == "MedicationRequest/o1")
    assert worst(dose_verdict(request(alone)), *ROWS) <= worst(fired(together, *ROWS), *ROWS)


# Where a limit lies -----------------------------------------------------------------------------------------

PAIN, DEPRESSION, AGITATION = frozenset({"pain"}), frozenset({"depression"}), frozenset({"agitation"})
BOLUS, INFUSION = Dose(Fraction(0)), Dose(Fraction(0), endless=True)
SESSION = Dose(Fraction(0), Fraction(40))
NEEDED = Dose(Fraction(0), as_needed=True, interval=Fraction(60), cap=Cap(Fraction(9), Fraction(60)))

PASSED = [
    ("rate-warn", INFUSION, PAIN, {}, {"rate-exceeds-protocol-max": "warning"}),
    ("rate-critical", INFUSION, PAIN, {"rate-exceeds-protocol-max": "warning"}, {"rate-exceeds-ceiling": "critical"}),
    ("bolus-info", BOLUS, PAIN, {}, {"bolus-above-usual-load": "info"}),
    (
        "bolus-warn",
        BOLUS,
        PAIN,
        {"bolus-above-usual-load": "info"},
        {"bolus-exceeds-unmonitored-limit": "warning"},
    ),
    (
        "bolus-critical",
        BOLUS,
        PAIN,
        {"bolus-exceeds-unmonitored-limit": "warning"},
        {"bolus-exceeds-protocol-max": "critical"},
    ),
    ("depression-dose-warn", SESSION, DEPRESSION, {}, {"depression-dose-exceeds": "warning"}),
    (
        "depression-dose-critical",
        SESSION,
        DEPRESSION,
        {"depression-dose-exceeds": "warning"},
        {"depression-dose-exceeds": "critical"},
    ),
    (
        "label-max-iv",
        BOLUS,
        AGITATION,
        {"bolus-anaesthetic-range": "warning"},
        {"bolus-anaesthetic-range": "critical"},
    ),
    (
        "uncapped-hour",
        NEEDED,
        PAIN,
        {"bolus-exceeds-unmonitored-limit": "warning"},
        {"bolus-exceeds-protocol-max": "critical", "uncapped-order": "warning"},
    ),
]
"""(limit, dose, reasons, what fires at the limit, what fires just above it)"""

WRITTEN = {
    "rate": ["mg/kg/h", "mg/h", "ug/kg/h", "mL/h", "mL/kg/h", "mg/d", "mg/min"],
    "dose": ["mg/kg", "mg", "ug/kg", "ug", "g", "mL"],
}
SETTING = Setting(Fraction(75), Fraction(2))


def _asked(dose: Dose, unit: str, drug: str, reasons: frozenset[str], route: str = "unstated") -> dict[str, Any]:
    kind = "rate" if dose.endless else "dose"
    number = spelling.in_unit(dose.per_kg, spelling.unit(unit), SETTING.kg, SETTING.mg_per_ml)
    quantity = spelling.quantity(number, unit)
    assert quantity is not None, (dose.per_kg, unit)
    dosage: dict[str, Any] = {"doseAndRate": [{f"{kind}Quantity": quantity}]}
    repeat: dict[str, Any] = {}
    if dose.minutes is not None:
        repeat = {"duration": spelling.decimal(dose.minutes), "durationUnit": "min"}
    if dose.interval is not None:
        repeat |= {"frequency": 1, "period": spelling.decimal(dose.interval), "periodUnit": "min"}
    if repeat:
        dosage["timing"] = {"repeat": repeat}
    if dose.as_needed:
        dosage["asNeededBoolean"] = True
    if dose.cap is not None:
        most, time = spelling.quantity(dose.cap.per_kg, "mg/kg"), spelling.quantity(dose.cap.minutes, "min")
        dosage["maxDosePerPeriod"] = {"numerator": most, "denominator": time}
    if route != "unstated":
        dosage["route"] = writing.concept(*writing.ROUTES[route])
    strength, beside = next(writing.strengths(SETTING.mg_per_ml))
    ingredient = {"itemCodeableConcept": writing.medicines_named(drug)[0], "strength": strength}
    medication = {"resourceType": "Medication", "id": "m", "ingredient": [ingredient]} | beside
    product = {"medicationReference": {"reference": "#m"}, "contained": [medication]}
    return request(writing.order(product, [dosage], sorted(reasons)), weight=f"{SETTING.kg} kg")


@pytest.mark.parametrize("drug", NUMBERS)
@pytest.mark.parametrize(("name", "dose", "reasons", "at", "above"), PASSED, ids=[case[0] for case in PASSED])
def test_a_dose_on_its_limit_passes_and_the_least_above_it_does_not(
    drug: str, name: str, dose: Dose, reasons: frozenset[str], at: dict[str, str], above: dict[str, str]
) -> None:
    if (name, drug) == ("label-max-iv", "esketamine"):
        at = {}  # what is usual for a procedure ends where its label does
    for unit in WRITTEN["rate" if dose.endless else "dose"]:
        assert dose_verdict(_asked(replace(dose, per_kg=limit(drug, name)), unit, drug, reasons)) == at, unit
        for more in (Fraction(3, 10**15), Fraction(3, 10**4), Fraction(3, 200)):
            assert dose_verdict(_asked(replace(dose, per_kg=limit(drug, name) + more), unit, drug, reasons)) == above


REACHED = [
    ("bolus-anaesthetic", "unstated", {"bolus-exceeds-protocol-max": "critical"}),
    ("bolus-anaesthetic", "subcutaneous", {}),
    ("im-anaesthetic", "intramuscular", {}),
]


@pytest.mark.parametrize("drug", NUMBERS)
@pytest.mark.parametrize(("name", "route", "below"), REACHED, ids=[f"{name} {route}" for name, route, _ in REACHED])
def test_the_range_of_induction_begins_on_its_limit(drug: str, name: str, route: str, below: dict[str, str]) -> None:
    for unit in WRITTEN["dose"]:
        start = limit(drug, name)
        asked = _asked(replace(BOLUS, per_kg=start), unit, drug, PAIN, route)
        assert dose_verdict(asked) == {"bolus-anaesthetic-range": "critical"}
        asked = _asked(replace(BOLUS, per_kg=start - Fraction(3, 10**15)), unit, drug, PAIN, route)
        assert dose_verdict(asked) == below


@pytest.mark.parametrize("drug", NUMBERS)
def test_a_push_matters_from_its_least_dose_on(drug: str) -> None:
    push = Dose(limit(drug, "push-dose"), Fraction(9))
    assert dose_verdict(_asked(push, "mg/kg", drug, PAIN)) == {"bolus-push-too-fast": "info"}
    less = replace(push, per_kg=push.per_kg - Fraction(1, 10**15))
    assert dose_verdict(_asked(less, "mg/kg", drug, PAIN)) == {}


LEAST = Fraction(1, 10**9)
TIMES = [
    ("push-minutes", PAIN, {"bolus-push-too-fast": "info"}, {}),
    ("push-minutes-warn", PAIN, {"bolus-push-too-fast": "warning"}, {"bolus-push-too-fast": "info"}),
    ("depression-minutes", DEPRESSION, {"depression-infusion-too-fast": "warning"}, {}),
    (
        "depression-minutes-critical",
        DEPRESSION,
        {"depression-infusion-too-fast": "critical"},
        {"depression-infusion-too-fast": "warning"},
    ),
]


@pytest.mark.parametrize(("name", "reasons", "sooner", "on_time"), TIMES, ids=[case[0] for case in TIMES])
def test_a_run_time_on_its_limit_passes(
    name: str, reasons: frozenset[str], sooner: dict[str, str], on_time: dict[str, str]
) -> None:
    dose = Dose(Fraction(1, 4), limit("ketamine", name))
    assert dose_verdict(_asked(dose, "mg/kg", "ketamine", reasons)) == on_time
    faster = replace(dose, minutes=limit("ketamine", name) - LEAST)
    assert dose_verdict(_asked(faster, "mg/kg", "ketamine", reasons)) == sooner


def test_the_classes_meet_exactly_where_they_should() -> None:
    """Sixty minutes is an infusion, five minutes a bolus, two hours the longest antidepressant dose."""
    for minutes, expected in (
        (Fraction(60) - LEAST, {"bolus-exceeds-protocol-max": "critical"}),
        (Fraction(60), {"rate-exceeds-protocol-max": "warning"}),
    ):
        assert dose_verdict(_asked(Dose(Fraction(3, 4), minutes), "mg/kg", "ketamine", PAIN)) == expected
    for minutes, expected in (
        (Fraction(120), {"depression-dose-exceeds": "critical"}),
        (Fraction(120) + LEAST, {"rate-exceeds-protocol-max": "warning"}),
    ):
        assert dose_verdict(_asked(Dose(Fraction(3, 2), minutes), "mg/kg", "ketamine", DEPRESSION)) == expected
    for minutes, expected in (
        (Fraction(5), "critical"),
        (Fraction(5) + LEAST, None),
    ):
        found = dose_verdict(_asked(Dose(Fraction(1), minutes), "mg/kg", "ketamine", DEPRESSION))
        assert rank(found.get("bolus-anaesthetic-range")) == rank(expected)

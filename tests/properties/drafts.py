"""Orders of ketamine as they may come: any amount, unit, range, timing, cap and route, for any patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from cds_service.rules.judged import Judged
from tests.properties import spelling, writing
from tests.properties.asking import judged, request, weighed

RATES = ["mg/kg/h", "mg/h", "ug/kg/min", "mcg/kg/min", "ug/kg/h", "mL/h", "ml/h", "mg/min",
          "mg/(kg.h)", "mL/kg/h", "g/d"]  # fmt: skip
DOSES = ["mg/kg", "mg", "mg", "ug/kg", "mcg", "mL", "ml", "g"]
_PER_TIME = [("mg", 1, "h"), ("mg", 24, "h"), ("mL", 1, "h"), ("mg/kg", 1, "h"), ("mg", 1, "min"),
             ("ug/kg", 1, "min")]  # fmt: skip

_per_kg = st.one_of(
    st.integers(5, 130).map(lambda n: Fraction(n, 100)),
    st.integers(20, 500).map(lambda n: Fraction(n, 100)),
    st.sampled_from([Fraction(n, 1000) for n in (300, 301, 350, 351, 500, 501, 1000, 4501)]),
)


def rounded(value: Fraction) -> Decimal:
    """To four significant digits, as a clinician would write it."""
    return spelling.plain(Decimal(f"{float(value):.4g}"))


@st.composite
def _quantity(draw: st.DrawFn, per_kg: Fraction, units: list[str], setting: writing.Setting) -> dict[str, Any]:
    text = draw(st.sampled_from(units))
    value = rounded(spelling.in_unit(per_kg, spelling.unit(text), setting.kg, setting.mg_per_ml))
    return {"value": value, "unit": text, "system": writing.UCUM, "code": text}


@st.composite
def _amount(draw: st.DrawFn, kind: str, per_kg: Fraction, setting: writing.Setting) -> dict[str, Any]:
    if kind == "rate" and draw(st.integers(0, 3)) == 0:
        text, number, time = draw(st.sampled_from(_PER_TIME))
        hours = Fraction(number) / (60 if time == "min" else 1)
        above = draw(_quantity(per_kg * hours, [text], setting))
        return {"rateRatio": {"numerator": above, "denominator": {"value": number, "unit": time, "code": time}}}
    high = draw(_quantity(per_kg, RATES if kind == "rate" else DOSES, setting))
    part = draw(st.sampled_from([Fraction(1, 5), Fraction(9, 10)]))
    low = high | {"value": rounded(Fraction(high["value"]) * part)}
    ranges = [{"low": low, "high": high}, {"high": high}, {"low": low}]
    return draw(st.sampled_from([{f"{kind}Quantity": high}] * 5 + [{f"{kind}Range": each} for each in ranges]))


_KINDS = ["rate", "rate", "bag", "dose", "dose", "dose over", "dose over", "rate over", "rate for", "rate until",
          "dose at rate", "dose at rate over", "volume at rate"]  # fmt: skip


@st.composite
def _given(draw: st.DrawFn, setting: writing.Setting) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the amounts, timing.repeat) of one dosage."""
    kind, per_kg = draw(st.sampled_from(_KINDS)), draw(_per_kg)
    minutes = draw(st.sampled_from([1, 2, 5, 6, 9, 10, 15, 30, 35, 40, 60, 90, 240]))
    rate = per_kg * 60 / minutes
    duration = {"duration": minutes, "durationUnit": "min"}
    match kind:
        case "rate":
            return draw(_amount("rate", per_kg, setting)), {}
        case "bag":
            bag = draw(st.sampled_from([{"value": 100, "unit": "mL", "code": "mL"}, {"value": 1, "unit": "bag"}]))
            return {"doseQuantity": bag} | draw(_amount("rate", per_kg, setting)), {}
        case "dose":
            return draw(_amount("dose", per_kg, setting)), {}
        case "dose over":
            return draw(_amount("dose", per_kg, setting)), duration
        case "rate over":
            return draw(_amount("rate", rate, setting)), duration
        case "rate for":
            bounds = {"value": minutes, "unit": "min", "system": writing.UCUM, "code": "min"}
            return draw(_amount("rate", rate, setting)), {"boundsDuration": bounds}
        case "rate until":
            end = f"2026-11-22T{12 + minutes // 60:02}:{minutes % 60:02}:00Z"
            period = {"start": "2026-11-22T12:00:00Z", "end": end}
            return draw(_amount("rate", rate, setting)), {"boundsPeriod": period}
        case "volume at rate":
            volume = draw(_quantity(per_kg, ["mL"], setting))
            return {"doseQuantity": volume, "rateQuantity": draw(_quantity(rate, ["mL/h"], setting))}, {}
    dose = draw(_quantity(per_kg, ["mg", "mg/kg", "ug"], setting))
    speed = draw(_quantity(rate, ["mg/h", "mg/kg/h", "mg/min"], setting))
    return {"doseQuantity": dose, "rateQuantity": speed}, duration if kind.endswith("over") else {}


_TEXTS = ["as ordered", "titrate to comfort", "see protocol"]


_ENDS = [
    {},
    {"boundsDuration": {"value": 3, "unit": "d", "system": writing.UCUM, "code": "d"}},
    {"boundsPeriod": {"start": "2026-11-22T12:00:00Z", "end": "2026-11-25T12:00:00Z"}},
    {"count": 4},
]


@st.composite
def _often(draw: st.DrawFn, repeat: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the dosage says of it, timing.repeat): once, scheduled or as needed."""
    often = draw(st.sampled_from(["once", "once", "once", "scheduled", "as needed", "as needed"]))
    if often == "scheduled" or (often == "as needed" and draw(st.booleans())):
        period = draw(st.sampled_from([5, 15, 30, 60, 240, 1440]))
        repeat = repeat | {"frequency": 1, "period": period, "periodUnit": "min"}
        if not repeat.keys() & {"boundsDuration", "boundsPeriod"}:
            repeat |= draw(st.sampled_from(_ENDS))
    if often != "as needed":
        return {}, repeat
    return draw(st.sampled_from([{"asNeededBoolean": True}, {"asNeededCodeableConcept": {"text": "pain"}}])), repeat


@st.composite
def _entries(draw: st.DrawFn, entry: dict[str, Any], setting: writing.Setting) -> list[dict[str, Any]]:
    """One, or the same dose as it was ordered and as it was calculated."""
    if set(entry) != {"doseQuantity"} or draw(st.integers(0, 3)):
        return [entry]
    unit = spelling.unit(entry["doseQuantity"]["unit"])
    one = spelling.in_unit(Fraction(1), unit, setting.kg, setting.mg_per_ml)
    again = draw(_quantity(Fraction(entry["doseQuantity"]["value"]) / one, DOSES, setting))
    types = draw(st.permutations(["ordered", "calculated"]))
    return [entry | {"type": {"text": types[0]}}, {"type": {"text": types[1]}, "doseQuantity": again}]


@st.composite
def _cap(draw: st.DrawFn, setting: writing.Setting) -> dict[str, Any]:
    per_kg = draw(_per_kg) * draw(st.sampled_from([1, 4, 24]))
    most = draw(_quantity(per_kg, ["mg", "mg/kg", "mL"], setting))
    minutes = draw(st.sampled_from([15, 60, 240, 1440]))
    time = {"value": minutes, "unit": "min", "system": writing.UCUM, "code": "min"}
    return {"maxDosePerPeriod": {"numerator": most, "denominator": time}}


@st.composite
def _dosage(draw: st.DrawFn, number: int, route: str, setting: writing.Setting) -> dict[str, Any]:
    entry, repeat = draw(_given(setting))
    said, repeat = draw(_often(repeat))
    made = {"doseAndRate": draw(_entries(entry, setting))} | said
    if repeat:
        made["timing"] = {"repeat": repeat}
    if draw(st.integers(0, 3)) == 0:
        made |= draw(_cap(setting))
    if route != "unstated":
        made["route"] = writing.concept(*writing.ROUTES[route])
    if draw(st.integers(0, 4)) == 0:
        made["method"] = writing.concept(writing.SNOMED, "420620005", "Push")
    if draw(st.integers(0, 3)) == 0:
        made["text"] = draw(st.sampled_from(_TEXTS))
    if draw(st.integers(0, 5)) == 0:
        made["additionalInstruction"] = [{"text": "into a large vein"}]
        made["patientInstruction"] = "tell the nurse if you feel unwell"
    if draw(st.booleans()):
        made["sequence"] = number
    return made


@st.composite
def _patients(draw: st.DrawFn) -> tuple[dict[str, Any], Fraction]:
    """A patient of build.py, with the weight that doses are written for."""
    pounds = [{"value": "154 kg", "when": "2 hours ago"}, {"value": "70 kg", "when": "10 days ago"}]
    halved = [{"value": "70 kg", "when": "2 hours ago"}, {"value": "154 kg", "when": "10 days ago"}]
    sudden = [{"value": "93.5 kg", "when": "2 hours ago"}, {"value": "80 kg", "when": "1 days ago"}]
    large = {"weight": "140 kg", "height": "165 cm", "sex": draw(st.sampled_from(["female", "male"]))}
    kg = draw(writing.bodies)
    plain = {"weights": [weighed(draw(writing.weights(kg)))]}
    patients: list[tuple[dict[str, Any], Fraction]] = [
        (plain, kg),
        (plain, kg),
        ({"weight": pounds}, Fraction(154)),
        ({"weight": halved}, Fraction(70)),
        ({"weight": sudden}, Fraction(187, 2)),
        ({"weight": "none"}, Fraction(70)),
        ({"weight": "300 kg"}, Fraction(300)),
        (large, Fraction(140)),
        (large, Fraction(70)),
    ]
    patient, written_for = draw(st.sampled_from(patients))
    return patient | {"age": draw(st.sampled_from([45, 45, 70]))}, written_for


@dataclass(frozen=True)
class Asked:
    """The drafts, by their ids, and the patient; a failing one prints no more than that."""

    orders: Mapping[str, Mapping[str, Any]]
    patient: Mapping[str, Any]
    hook: str

    def judged(self) -> list[Judged]:
        return judged(self.request())

    def request(self) -> dict[str, Any]:
        return request(*self.orders.values(), hook=self.hook, **self.patient)

    def taken(self, resource: Mapping[str, Any]) -> Asked:
        """The same with the changed order in the place of the old one."""
        return replace(self, orders={**self.orders, resource["id"]: resource})


@st.composite
def orders_as_they_may_come(draw: st.DrawFn) -> Asked:
    patient, kg = draw(_patients())
    drug, reasons = draw(writing.drugs), draw(writing.reasons)
    setting = writing.Setting(kg, draw(st.sampled_from([Fraction(1), Fraction(2), Fraction(10), Fraction(50)])))
    route = draw(st.sampled_from(["intravenous", "intravenous", "unstated", "push", "subcutaneous", "intramuscular"]))
    group = {"groupIdentifier": {"system": "urn:example:groups", "value": "g1"}}
    orders = {}
    for name in draw(st.sampled_from([["o1"], ["o1"], ["o1"], ["o1", "o2"]])):
        dosages = [draw(_dosage(n, route, setting)) for n in range(1, 1 + draw(st.sampled_from([1, 1, 1, 2])))]
        medicine = draw(writing.products(drug, setting.mg_per_ml))
        if not any(map(writing.has_volume, dosages)) and draw(st.booleans()):
            medicine = {"medicationCodeableConcept": draw(st.sampled_from(writing.medicines_named(drug)))}
        order = writing.order(medicine, dosages, sorted(reasons)) | {"id": name, "priority": "urgent"}
        orders[name] = order | (group if draw(st.booleans()) else {})
    return Asked(orders, patient, draw(st.sampled_from(["order-sign", "order-sign", "order-select"])))

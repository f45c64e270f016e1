"""One dose in every writing: a dose of reference.py as FHIR, exactly, in any unit and any encoding.

A writing is only made where its number is an exact decimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from tests.properties.reference import Dose
from tests.properties.spelling import (
    DOSE_UNITS,
    RATE_UNITS,
    TIME_UNITS,
    VOLUME,
    WEIGHTS,
    Unit,
    decimal,
    in_unit,
    plain,
    quantity,
    unit,
)
from tests.scenarios.build import NOW, PATIENT, REASONS, ROUTES, RXNORM, SNOMED, UCUM, concept

# Writings ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """The body and the bag with which a dose is written."""

    kg: Fraction
    mg_per_ml: Fraction


def exact(per_kg: Fraction, of: list[Unit], setting: Setting, volumes: bool = True) -> list[dict[str, Any]]:
    """The amount as a quantity in each of the units in which it can be written."""
    return [
        made
        for each in of
        if (volumes or not each.volume)
        and (made := quantity(in_unit(per_kg, each, setting.kg, setting.mg_per_ml), each.text)) is not None
    ]


_RATIO_TIMES = [(1, "h"), (24, "h"), (1, "min"), (60, "min"), (3, "h"), (1, "d"), (90, "min"), (30, "s")]


def ratios(per_hour: Fraction, setting: Setting, volumes: bool = True) -> Iterator[dict[str, Any]]:
    """The rate as so much in such a time."""
    for number, text in _RATIO_TIMES:
        denominator = {"value": number, "unit": text, "code": text, "system": UCUM}
        for numerator in exact(per_hour * number * TIME_UNITS[text] / 60, DOSE_UNITS, setting, volumes):
            yield {"numerator": numerator, "denominator": denominator}


def _ranged(kind: str, high: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {f"{kind}Quantity": high}
    yield {f"{kind}Range": {"high": high}}
    yield {f"{kind}Range": {"low": high | {"value": plain(high["value"] / 2)}, "high": high}}


def times(minutes: Fraction) -> list[tuple[Decimal, str]]:
    """A time in every unit in which it can be written."""
    return [
        (plain(written), text)
        for text, factor in TIME_UNITS.items()
        if (written := decimal(minutes / factor)) is not None
    ]


@st.composite
def doses_written(draw: st.DrawFn, per_kg: Fraction, setting: Setting, volumes: bool = True) -> dict[str, Any]:
    made: dict[str, Any] = draw(st.sampled_from(exact(per_kg, DOSE_UNITS, setting, volumes)))
    return draw(st.sampled_from(list(_ranged("dose", made))))


@st.composite
def rates_written(draw: st.DrawFn, per_hour: Fraction, setting: Setting, volumes: bool = True) -> dict[str, Any]:
    by_ratio = list(ratios(per_hour, setting, volumes))
    if by_ratio and draw(st.booleans()):
        return {"rateRatio": draw(st.sampled_from(by_ratio))}
    in_units = exact(per_hour, RATE_UNITS, setting, volumes)
    if not in_units:
        return {"rateRatio": draw(st.sampled_from(by_ratio))}
    return draw(st.sampled_from(list(_ranged("rate", draw(st.sampled_from(in_units))))))


BAGS = [{"value": 1, "unit": "{bag}", "code": "{bag}", "system": UCUM}, {"value": 1, "unit": "bag"},
        {"value": 2, "unit": "syringe"}]  # fmt: skip


@st.composite
def _bag(draw: st.DrawFn, in_millilitres: bool) -> dict[str, Any]:
    """What a rate is drawn from; for depression a volume would be the dose."""
    if in_millilitres and draw(st.booleans()):
        return {"doseQuantity": quantity(Fraction(draw(st.sampled_from([50, 250, 500]))), "mL")}
    return {"doseQuantity": draw(st.sampled_from(BAGS))}


@st.composite
def _duration(draw: st.DrawFn, minutes: Fraction) -> dict[str, Any]:
    number, text = draw(st.sampled_from(times(minutes)))
    return {draw(st.sampled_from(["duration", "durationMax"])): number, "durationUnit": text}


@st.composite
def _bounds(draw: st.DrawFn, minutes: Fraction) -> dict[str, Any]:
    if (minutes * 60).denominator == 1 and draw(st.integers(0, 3)) == 0:
        start = NOW + timedelta(hours=draw(st.integers(0, 9)))
        end = start + timedelta(seconds=int(minutes * 60))
        return {"boundsPeriod": {"start": start.isoformat(), "end": end.isoformat()}}
    number, text = draw(st.sampled_from(times(minutes)))
    bounds = {"value": number, "unit": text, "code": text, "system": UCUM}
    return draw(st.sampled_from([{"boundsDuration": bounds}, {"boundsRange": {"high": bounds}}]))


@st.composite
def _given(draw: st.DrawFn, dose: Dose, setting: Setting, depression: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(doseAndRate, timing.repeat) of a dose in one of its encodings."""
    if dose.endless:
        bag = draw(_bag(not depression)) if draw(st.booleans()) else {}
        return bag | draw(rates_written(dose.per_kg, setting)), {}
    if dose.minutes is None:
        return draw(doses_written(dose.per_kg, setting)), {}
    per_hour = dose.per_kg * 60 / dose.minutes
    ways = ["dose over"]
    if exact(per_hour, RATE_UNITS, setting) or any(ratios(per_hour, setting)):
        ways += ["rate over", "rate for", "bag at a rate over"]
    by_mass = exact(per_hour, RATE_UNITS, setting, volumes=False) or any(ratios(per_hour, setting, volumes=False))
    if by_mass:
        ways += ["dose at a rate", "dose at a rate over"]
    way = draw(st.sampled_from(ways))
    if way == "dose over":
        return draw(doses_written(dose.per_kg, setting)), draw(_duration(dose.minutes))
    if way.startswith("dose"):
        amount = draw(doses_written(dose.per_kg, setting, volumes=False))
        rate = draw(rates_written(per_hour, setting, volumes=False))
        return amount | rate, draw(_duration(dose.minutes)) if way.endswith("over") else {}
    bag = draw(_bag(True)) if way.startswith("bag") else {}
    time = draw(_bounds(dose.minutes)) if way.endswith("for") else draw(_duration(dose.minutes))
    return bag | draw(rates_written(per_hour, setting)), time


@st.composite
def _entries(draw: st.DrawFn, entry: dict[str, Any], dose: Dose, setting: Setting) -> dict[str, Any]:
    """The amounts where they may stand: one entry, two, restated as calculated, or (STU3) on the dosage itself."""
    where = draw(st.sampled_from(["entry", "entry", "typed", "apart", "dosage", "object"]))
    if where == "dosage":
        return dict(entry)
    if where == "object":
        return {"doseAndRate": entry}
    if where == "apart":
        return {"doseAndRate": [{key: value} for key, value in entry.items()]}
    if where == "typed" and set(entry) == {"doseQuantity"}:
        again = {"doseQuantity": draw(st.sampled_from(exact(dose.per_kg, DOSE_UNITS, setting)))}
        kinds = [entry | {"type": {"text": "ordered"}}, again | {"type": {"text": "calculated"}}]
        return {"doseAndRate": draw(st.permutations(kinds))}
    return {"doseAndRate": [entry]}


@st.composite
def _repeated(draw: st.DrawFn, dose: Dose) -> dict[str, Any]:
    if dose.interval is None:
        return {}
    frequency = draw(st.sampled_from([1, 1, 2, 3]))
    number, text = draw(st.sampled_from(times(dose.interval * frequency)))
    return {"frequency": frequency, "period": number, "periodUnit": text}


@st.composite
def _capped(draw: st.DrawFn, dose: Dose, setting: Setting) -> dict[str, Any]:
    if dose.cap is None:
        return {}
    number, text = draw(st.sampled_from(times(dose.cap.minutes)))
    numerator = draw(st.sampled_from(exact(dose.cap.per_kg, DOSE_UNITS, setting)))
    denominator = {"value": number, "unit": text, "code": text, "system": UCUM}
    return {"maxDosePerPeriod": {"numerator": numerator, "denominator": denominator}}


@st.composite
def dosages(draw: st.DrawFn, dose: Dose, setting: Setting, route: str, depression: bool = False) -> dict[str, Any]:
    """One dosage instruction that says the dose."""
    entry, repeat = draw(_given(dose, setting, depression))
    made = draw(_entries(entry, dose, setting))
    if repeat := repeat | draw(_repeated(dose)):
        made["timing"] = {"repeat": repeat}
    if dose.as_needed:
        made |= draw(st.sampled_from([{"asNeededBoolean": True}, {"asNeededCodeableConcept": {"text": "pain"}}]))
    made |= draw(_capped(dose, setting))
    if route != "unstated":
        made["route"] = concept(*ROUTES[route])
    if dose.push:
        made["method"] = concept(SNOMED, "420620005", "Push")
    return made


# Products and weights ------------------------------------------------------------------------------------------

CODINGS = {
    "ketamine": [
        (RXNORM, "6130", "ketamine"),
        (RXNORM, "203184", "KETAMINE HYDROCHLORIDE"),
        (SNOMED, "373464007", "Ketamine (substance)"),
        ("http://www.whocc.no/atc", "N01AX03", "ketamine"),
    ],
    "esketamine": [(RXNORM, "2119365", "esketamine"), ("http://www.whocc.no/atc", "N01AX14", "esketamine")],
}


def medicines_named(drug: str) -> list[dict[str, Any]]:
    """The drug by each of its codes, by two of them, and by its name."""
    named = [concept(*coding) for coding in CODINGS[drug]]
    both = {"coding": [*named[1]["coding"], *named[0]["coding"]]}
    return [*named, both, {"text": drug}, {"coding": [{"display": drug}]}]


def strengths(mg_per_ml: Fraction) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(ingredient.strength, what the Medication says beside it): per mL, per bag, per vial of so many mL."""
    for volume, text in ((1, "mL"), (1, "ml"), (50, "mL"), (500, "mL"), (Fraction(1, 4), "L")):
        millilitres = volume * (1000 if text == "L" else 1)
        for mass in ("mg", "g", "ug", "mcg"):
            numerator = quantity(mg_per_ml * millilitres / unit(mass).factor, mass)
            denominator = quantity(Fraction(volume), text)
            if numerator is not None and denominator is not None:
                yield {"numerator": numerator, "denominator": denominator}, {}
    for container, volume in (("{vial}", 20), ("1", 10), ("{bag}", 250)):
        one = {"value": 1, "unit": container, "system": UCUM, "code": container}
        strength = {"numerator": quantity(mg_per_ml * volume, "mg"), "denominator": one}
        yield strength, {"amount": {"numerator": quantity(Fraction(volume), "mL"), "denominator": one}}


@st.composite
def products(draw: st.DrawFn, drug: str, mg_per_ml: Fraction) -> dict[str, Any]:
    """The medication with a strength, contained in the order."""
    strength, beside = draw(st.sampled_from(list(strengths(mg_per_ml))))
    named = draw(st.sampled_from(medicines_named(drug)))
    ingredients = [{"itemCodeableConcept": named, "strength": strength}]
    if draw(st.booleans()):
        ingredients.append({"itemCodeableConcept": concept(RXNORM, "9863", "sodium chloride")})
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "infusion"}, "ingredient": ingredients}
    return {"medicationReference": {"reference": "#m"}, "contained": [medication | beside]}


def has_volume(dosage: dict[str, Any]) -> bool:
    return any(f"'{text}" in str(dosage) for text in (*VOLUME, "millilitre"))


@st.composite
def orders(
    draw: st.DrawFn, dose: Dose, setting: Setting, drug: str, reasons: frozenset[str], route: str
) -> dict[str, Any]:
    """A MedicationRequest for the dose."""
    dosage = draw(dosages(dose, setting, route, "depression" in reasons))
    if has_volume(dosage) or draw(st.booleans()):
        medicine = draw(products(drug, setting.mg_per_ml))
    else:
        medicine = {"medicationCodeableConcept": draw(st.sampled_from(medicines_named(drug)))}
    return order(medicine, [dosage], draw(st.permutations(sorted(reasons))))


def order(medicine: dict[str, Any], dosage: list[dict[str, Any]], reasons: list[str]) -> dict[str, Any]:
    """A draft, valid but for what the dosage may hold."""
    made = {
        "resourceType": "MedicationRequest",
        "id": "o1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "dosageInstruction": dosage,
    }
    if reasons:
        made["reasonCode"] = [concept(*REASONS[reason]) for reason in reasons]
    return made | medicine


@st.composite
def weights(draw: st.DrawFn, kg: Fraction) -> dict[str, Any]:
    """The weight as a quantity in any unit in which it can be written."""
    return draw(
        st.sampled_from([q for text, factor in WEIGHTS.items() if (q := quantity(kg / factor, text)) is not None])
    )


# What is written -----------------------------------------------------------------------------------------------

bodies = st.one_of(
    st.integers(35 * 2, 200 * 2).map(lambda halves: Fraction(halves, 2)),
    st.integers(80, 440).map(lambda pounds: pounds * Fraction("0.45359237")),
    st.integers(80 * 16, 440 * 16).map(lambda ounces: ounces * Fraction("0.45359237") / 16),
)
"""Plausible adult weights (kg), in kilograms or from whole pounds or ounces."""

settings = st.builds(Setting, bodies, st.sampled_from([Fraction(1), Fraction(2), Fraction(10), Fraction(50)]))
_REASONS = ((), ("pain",), ("depression",), ("pain", "depression"), ("unknown",), ("agitation",))
reasons = st.sampled_from([frozenset(each) for each in _REASONS])
vein = st.sampled_from(["intravenous", "intraosseous", "unstated"])
drugs = st.sampled_from(["ketamine", "ketamine", "esketamine"])

finite_amounts = st.one_of(
    st.integers(1, 200).map(lambda n: Fraction(n, 100)),
    st.integers(1, 4000).map(lambda n: Fraction(n, 1000)),
    st.sampled_from([Fraction(n, 1000) for n in (175, 300, 301, 350, 351, 500, 501, 999, 1000, 1001, 4500, 4501)]),
)
"""mg/kg, with the limits and the steps above them."""

rates_per_hour = st.one_of(
    st.integers(1, 800).map(lambda n: Fraction(3 * n, 1000)),
    st.sampled_from([Fraction(n, 1000) for n in (250, 251, 498, 500, 501, 999, 1000, 1002)]),
)
"""mg/kg/h; threefold thousandths, so that ug/kg/min can say it too."""

minutes = st.one_of(
    st.sampled_from([Fraction(n) for n in (1, 2, 5, 6, 9, 10, 15, 20, 30, 39, 40, 45, 59, 60, 90, 120, 121, 240)]),
    st.integers(1, 300).map(Fraction),
    st.just(Fraction(1, 2)),
)


@st.composite
def doses(draw: st.DrawFn) -> Dose:
    if draw(st.integers(0, 2)) == 0:
        dose = Dose(draw(rates_per_hour), endless=True)
    else:
        dose = Dose(draw(finite_amounts), draw(st.one_of(st.none(), minutes, minutes)), push=draw(st.booleans()))
    return replace(dose, push=dose.push and dose.kind != "continuous")

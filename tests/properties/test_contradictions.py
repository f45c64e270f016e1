"""An order that says two things is judged by the worse of them, says so, and is never repaired by a guess."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cds_service import units
from tests.properties import spelling, writing
from tests.properties.asking import DOSE_ROWS, answered, fired, judged, request, worst
from tests.properties.counts import examples
from tests.properties.reference import Dose, verdict
from tests.properties.spelling import Unit
from tests.properties.writing import UCUM

ROW_70 = "free-text-or-unparseable-dose"
PAIN = frozenset({"pain"})
KETAMINE = {"medicationCodeableConcept": writing.medicines_named("ketamine")[0]}
KG = Fraction(75)
MASS_RATES = [unit for unit in spelling.RATE_UNITS if not unit.volume]
MASS_DOSES = [unit for unit in spelling.DOSE_UNITS if not unit.volume and unit.text not in ("kg", "kgs")]


def _asked(dosage: dict[str, Any], **order: Any) -> dict[str, Any]:
    dosage = dosage | {"route": writing.concept(*writing.ROUTES["intravenous"])}
    return request(writing.order(KETAMINE, [dosage], ["pain"]) | order, weight=f"{KG} kg")


def _expected(per_kg: Fraction, unit: Unit) -> int:
    return worst(verdict(Dose(per_kg, endless=unit.rate), "ketamine", PAIN, "intravenous"))


def _offers_a_change(asked: dict[str, Any]) -> bool:
    actions = (a for card in answered(asked) for s in card.get("suggestions", []) for a in s["actions"])
    return any(a["type"] == "update" and a["resource"]["resourceType"] == "MedicationRequest" for a in actions)


def _per_kg(number: Fraction, unit: Unit) -> Fraction:
    """mg/kg, or mg/kg/h."""
    return number * unit.factor if unit.per_kg else number * unit.factor / KG


numbers = st.integers(1, 999).flatmap(lambda n: st.sampled_from([Fraction(n), Fraction(n, 10), Fraction(n, 1000)]))


@examples(80)
@given(
    data=st.data(), number=numbers, kind=st.sampled_from([("doseQuantity", MASS_DOSES), ("rateQuantity", MASS_RATES)])
)
def test_of_a_unit_and_a_code_the_worse_is_judged(
    data: st.DataObject, number: Fraction, kind: tuple[str, list[Unit]]
) -> None:
    element, choices = kind
    unit, code = data.draw(st.sampled_from(choices)), data.draw(st.sampled_from(choices))
    quantity = {"value": spelling.decimal(number), "unit": unit.text, "code": code.text, "system": UCUM}
    asked = _asked({"doseAndRate": [{element: quantity}]})
    (order,) = judged(asked)
    assert worst(fired(order), *DOSE_ROWS) == max(_expected(_per_kg(number, each), each) for each in (unit, code))
    same = (unit.factor, unit.per_kg) == (code.factor, code.per_kg)
    assert (ROW_70 in fired(order)) != same
    if not same:
        assert not _offers_a_change(asked)


@examples(80)
@given(data=st.data(), low=numbers, high=numbers, kind=st.sampled_from([("dose", MASS_DOSES), ("rate", MASS_RATES)]))
def test_of_a_range_the_higher_end_is_judged_wherever_it_stands(
    data: st.DataObject, low: Fraction, high: Fraction, kind: tuple[str, list[Unit]]
) -> None:
    name, choices = kind
    unit = data.draw(st.sampled_from(choices))
    ends = {
        end: {"value": spelling.decimal(value), "unit": unit.text, "code": unit.text, "system": UCUM}
        for end, value in (("low", low), ("high", high))
    }
    asked = _asked({"doseAndRate": [{f"{name}Range": ends}]})
    (order,) = judged(asked)
    assert worst(fired(order), *DOSE_ROWS) == _expected(_per_kg(max(low, high), unit), unit)
    assert (ROW_70 in fired(order)) == (low > high)
    if low > high:
        assert not _offers_a_change(asked)


@examples(60)
@given(number=numbers, unit=st.sampled_from(MASS_RATES))
def test_a_rate_that_stands_as_a_dose_is_judged_as_the_rate_and_said(number: Fraction, unit: Unit) -> None:
    quantity = {"value": spelling.decimal(number), "unit": unit.text, "code": unit.text, "system": UCUM}
    asked = _asked({"doseAndRate": [{"doseQuantity": quantity}]})
    (order,) = judged(asked)
    assert worst(fired(order), *DOSE_ROWS) == _expected(_per_kg(number, unit), unit)
    assert ROW_70 in fired(order)
    assert not _offers_a_change(asked)


PLACES = {
    "text": lambda words: ({"text": words}, {}),
    "patient instruction": lambda words: ({"patientInstruction": words}, {}),
    "additional instruction": lambda words: ({"additionalInstruction": [{"text": words}]}, {}),
    "additional instruction, coded": lambda words: (
        {"additionalInstruction": [{"coding": [{"display": words}]}]},
        {},
    ),
    "note": lambda words: ({}, {"note": [{"text": words}]}),
}
AROUND = [
    "{}",
    "run at {}",
    "titrate up to {}",
    "max. {}",
    "KETAMINE {}.",
    "({})",
    "start low; may go to {} overnight",
]


@examples(120)
@given(
    data=st.data(),
    structured=numbers,
    said=numbers,
    kind=st.sampled_from([("doseQuantity", MASS_DOSES), ("rateQuantity", MASS_RATES)]),
    place=st.sampled_from(sorted(PLACES)),
    around=st.sampled_from(AROUND),
)
def test_of_words_and_figures_the_worse_is_judged_in_every_unit_and_place(
    data: st.DataObject,
    structured: Fraction,
    said: Fraction,
    kind: tuple[str, list[Unit]],
    place: str,
    around: str,
) -> None:
    element, choices = kind
    own, spoken = data.draw(st.sampled_from(choices)), data.draw(st.sampled_from(choices))
    quantity = {"value": spelling.decimal(structured), "unit": own.text, "code": own.text, "system": UCUM}
    in_dosage, in_order = PLACES[place](around.format(f"{spelling.decimal(said):f} {spoken.text}"))
    asked = _asked({"doseAndRate": [{element: quantity}], **in_dosage}, **in_order)
    (order,) = judged(asked)
    figures, words = _per_kg(structured, own), _per_kg(said, spoken)
    same = abs(figures - words) <= Fraction(5, 100) * min(figures, words)
    readings = [figures] if same else [figures, words]
    assert worst(fired(order), *DOSE_ROWS) >= max(_expected(reading, own) for reading in readings)
    assert (ROW_70 in fired(order)) != same
    if not same:
        assert not _offers_a_change(asked)


@examples(60)
@given(
    minutes=st.sampled_from([5, 10, 15, 20, 30, 45, 60, 90, 360, 1440]),
    amount=st.sampled_from([Fraction(n, 1000) for n in (30, 100, 150, 300)]),
    wording=st.sampled_from(
        ["every {} min", "q{}min", "q {} min", "alle {} Minuten", "toutes les {} minutes", "cada {} minutos",
         "every {} minutes", "EVERY {} MIN"]
    ),
    where=st.sampled_from(["code", "text"]),
)  # fmt: skip
def test_how_often_in_words_is_judged_as_if_it_were_structured(
    minutes: int, amount: Fraction, wording: str, where: str
) -> None:
    often = wording.format(minutes)
    said = {"timing": {"code": {"text": often}}} if where == "code" else {"text": f"{float(amount)} mg/kg {often}"}
    entry = {"doseQuantity": {"value": spelling.decimal(amount), "unit": "mg/kg", "code": "mg/kg", "system": UCUM}}
    found = fired(judged(_asked({"doseAndRate": [entry], **said}))[0])
    dose = Dose(amount, interval=Fraction(minutes))
    assert {rule: s for rule, s in found.items() if rule in DOSE_ROWS} == verdict(
        dose, "ketamine", PAIN, "intravenous"
    )
    assert (ROW_70 in found) == (where == "code")


def test_the_units_of_these_properties_are_of_the_table() -> None:
    assert all(units.dimensions_of(unit.text) for unit in (*MASS_RATES, *MASS_DOSES))

"""Which weight counts, when it is doubted, and that a doubted one is judged together with the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.properties import spelling, writing
from tests.properties.asking import DOSE_ROWS, answered, dose_verdict, fired, judged, request, weighed
from tests.properties.counts import examples
from tests.properties.reference import NUMBERS, SEVERITY, Dose, limit, verdict

DOUBTED = "weight-implausible"
KETAMINE = {"medicationCodeableConcept": writing.medicines_named("ketamine")[0]}


@dataclass(frozen=True)
class Weighing:
    """A weight (kg), so many hours ago."""

    kg: Fraction
    hours: int


def _order(per_kg: Fraction, unit: str, kg: Fraction = Fraction(70), reason: str = "pain") -> dict[str, Any]:
    """A dose or a rate, written for somebody of `kg`."""
    of = spelling.unit(unit)
    amount = spelling.quantity(spelling.in_unit(per_kg, of, kg, Fraction(1)), unit)
    entry = {"rateQuantity" if of.rate else "doseQuantity": amount}
    return writing.order(KETAMINE, [{"doseAndRate": [entry]}], [reason])


def _observed(weighings: Sequence[Weighing], unit: str = "kg") -> list[dict[str, Any]]:
    return [
        weighed(spelling.quantity(each.kg / spelling.WEIGHTS[unit], unit) or {}, f"{each.hours} hours ago", number)
        for number, each in enumerate(weighings, 1)
    ]


# When a weight is doubted, by row 67 ----------------------------------------------------------------------------


def _is_doubted(newest: Weighing, earlier: Sequence[Weighing]) -> bool:
    low, high = NUMBERS["ketamine"]["weight-range"]
    if not low <= newest.kg <= high:
        return True
    if earlier:
        ratio = newest.kg / earlier[0].kg
        for name in ("weight-pounds-ratio", "weight-kilograms-ratio"):
            smallest, largest = NUMBERS["ketamine"][name]
            if smallest <= ratio <= largest:
                return True
    for days, percent in ((2, 10), (30, 20)):
        for before in earlier:
            if before.hours - newest.hours <= days * 24 and abs(newest.kg / before.kg - 1) * 100 > percent:
                return True
    return False


def _bodies(weighings: Sequence[Weighing]) -> list[tuple[Fraction, Fraction]] | None:
    """(the weight that the pump is set by, the weight that the patient has), newest first; None: not usable."""
    newest, *earlier = weighings
    if not _is_doubted(newest, earlier):
        return [(newest.kg, newest.kg)]
    for number, before in enumerate(earlier):
        if not _is_doubted(before, earlier[number + 1 :]):
            return [(newest.kg, newest.kg), (newest.kg, before.kg)]
    return None


_kilograms = st.one_of(
    st.integers(50, 130).map(Fraction),
    st.integers(40, 300).map(Fraction),
    st.sampled_from([Fraction(n) for n in (29, 30, 250, 251, 70, 77, 78, 63, 84, 85, 56, 154, 80, 88)]),
)
_windows = st.sampled_from([47, 48, 49, 50, 719, 720, 721, 722])
_hours = st.one_of(st.integers(1, 100), st.integers(1, 24 * 40), _windows)


@st.composite
def _weighings(draw: st.DrawFn) -> list[Weighing]:
    """One to four, newest first; often the next one is the last one in pounds, or back."""
    hours = sorted(draw(st.lists(_hours, min_size=1, max_size=4, unique=True)))
    found = [Weighing(draw(_kilograms), hours[0])]
    for each in hours[1:]:
        pounds = [found[-1].kg * Fraction(22, 10), found[-1].kg / Fraction(22, 10), found[-1].kg * Fraction(235, 100)]
        near = [found[-1].kg * Fraction(n, 100) for n in (100, 103, 109, 110, 111, 120, 121, 80, 205)]
        found.append(Weighing(draw(st.one_of(_kilograms, st.sampled_from(pounds + near))), each))
    assume(all(spelling.decimal(each.kg) is not None for each in found))
    return found


_units = st.sampled_from(["mg/kg/h", "mg/h", "mg/kg", "mg"])
_amounts = st.one_of(writing.finite_amounts, st.sampled_from([Fraction(n, 10) for n in (2, 3, 5, 6, 11)]))


@examples(120)
@given(data=st.data(), weighings=_weighings(), per_kg=_amounts, unit=_units)
def test_a_doubted_weight_is_said_and_the_worse_verdict_of_both_weights_counts(
    data: st.DataObject, weighings: list[Weighing], per_kg: Fraction, unit: str
) -> None:
    mixed = data.draw(st.permutations(_observed(weighings)))
    (order,) = judged(request(_order(per_kg, unit), weights=mixed))
    found = fired(order)
    assert (DOUBTED in found) == _is_doubted(weighings[0], weighings[1:])
    bodies = _bodies(weighings)
    if bodies is None:
        assert {o.status for o in order.outcomes if o.rule.id in DOSE_ROWS and unit in ("mg", "mg/h")} <= {
            "could-not-tell",
            "clear",
        }
        return
    expected: dict[str, str] = {}
    worst = []
    for pump, patient in bodies:
        mg = per_kg * 70 if unit in ("mg", "mg/h") else per_kg * pump
        dose = Dose(mg / patient, endless=unit.endswith("/h"))
        here = verdict(dose, "ketamine", frozenset({"pain"}), "unstated")
        worst.append(max((SEVERITY[severity] for severity in here.values()), default=0))
        expected |= {r: s for r, s in here.items() if SEVERITY[s] > SEVERITY.get(expected.get(r, ""), 0)}
    assert fired(order, *DOSE_ROWS) == expected
    if len(bodies) > 1:
        assert found[DOUBTED] == ("critical" if len(set(worst)) > 1 else "warning")


@examples(50)
@given(data=st.data(), weighings=_weighings(), per_kg=_amounts, unit=_units)
def test_the_order_of_weights_in_the_prefetch_does_not_matter(
    data: st.DataObject, weighings: list[Weighing], per_kg: Fraction, unit: str
) -> None:
    observed = _observed(weighings)
    order = _order(per_kg, unit)
    first = answered(request(order, weights=observed))
    assert answered(request(order, weights=data.draw(st.permutations(observed)))) == first


@examples(50)
@given(kilograms=st.lists(_kilograms, min_size=2, max_size=3), per_kg=_amounts, unit=_units, on_a_day=st.booleans())
def test_nor_does_it_for_weights_of_the_same_moment(
    kilograms: list[Fraction], per_kg: Fraction, unit: str, on_a_day: bool
) -> None:
    """Two rows of the same minute, or of the same day where the time is not recorded."""
    observed = _observed([Weighing(kg, 2) for kg in kilograms])
    if on_a_day:
        for each in observed:
            each["effectiveDateTime"] = "2026-11-21"
    order = _order(per_kg, unit)
    verdicts = [fired(judged(request(order, weights=each))[0]) for each in (observed, observed[::-1])]
    assert verdicts[0] == verdicts[1]


@examples(30)
@given(kg=st.integers(40, 110), per_kg=_amounts, unit=_units, hours=st.integers(3, 20000))
def test_pounds_entered_as_kilograms_are_found_however_old_the_weight_before_is(
    kg: int, per_kg: Fraction, unit: str, hours: int
) -> None:
    pounds = Fraction(round(kg / Fraction("0.45359237")))
    for newest, before in ((pounds, Fraction(kg)), (Fraction(kg), pounds)):
        observed = _observed([Weighing(newest, 2), Weighing(before, hours)])
        assert DOUBTED in fired(judged(request(_order(per_kg, unit), weights=observed))[0])


@pytest.mark.parametrize("unit", spelling.WEIGHTS)
def test_a_weight_that_is_written_in_its_own_unit_is_not_doubted(unit: str) -> None:
    """154 lb is 69.9 kg and not 154 kg; the weight before it was in kilograms."""
    kg = 154 * spelling.WEIGHTS["lb"]
    quantity = spelling.quantity(kg / spelling.WEIGHTS[unit], unit) or {}
    observed = [weighed(quantity, "2 hours ago", 1), weighed({"value": 70, "unit": "kg"}, "3 days ago", 2)]
    assert DOUBTED not in fired(judged(request(_order(Fraction(1, 2), "mg/kg/h"), weights=observed))[0])


@examples(30)
@given(
    measured=st.one_of(st.none(), st.integers(50, 60)),
    stated=st.one_of(st.none(), st.integers(70, 80)),
    estimated=st.one_of(st.none(), st.integers(90, 100)),
    hours=st.permutations([2, 50, 900]),
)
def test_a_measured_weight_goes_before_a_stated_and_that_before_an_estimated_one(
    measured: int | None, stated: int | None, estimated: int | None, hours: list[int]
) -> None:
    codes = {"29463-7": measured, "3142-7": stated, "8335-2": estimated}
    observed = []
    for (code, kg), ago in zip(codes.items(), hours, strict=True):
        if kg is not None:
            observed.append(weighed({"value": kg, "unit": "kg"}, f"{ago} hours ago", ago))
            observed[-1]["code"]["coding"][0]["code"] = code
    kg = next((kg for kg in codes.values() if kg is not None), None)
    assume(kg is not None)
    assert kg is not None
    for mg, expected in ((Fraction(kg, 2), {}), (Fraction(kg, 2) + LEAST, {"rate-exceeds-protocol-max": "warning"})):
        assert dose_verdict(request(_order(mg, "mg/h", Fraction(1)), weights=observed)) == expected


LEAST = Fraction(1, 10**9)


# Ideal body weight, by Devine -----------------------------------------------------------------------------------


def _ideal(sex: str, cm: Fraction) -> Fraction | None:
    base = limit("ketamine", "ideal-weight-height")
    if cm < base:
        return None
    return limit("ketamine", f"ideal-weight-{sex}") + limit("ketamine", "ideal-weight-per-cm") * (cm - base)


_heights = st.one_of(
    st.integers(1400, 2100).map(lambda mm: (Fraction(mm, 10), f"{mm / 10} cm")),
    st.integers(140, 210).map(lambda cm: (Fraction(cm), f"{cm / 100} m")),
    st.integers(56, 82).map(lambda inches: (inches * Fraction("2.54"), f"{inches} [in_i]")),
    st.just((Fraction("152.4"), "152.4 cm")),
)


@examples(80)
@given(
    sex=st.sampled_from(["female", "male", "other"]),
    height=_heights,
    kg=st.integers(60, 220),
    share=st.one_of(st.integers(30, 160), st.sampled_from([100])),
    case=st.sampled_from(
        [
            ("mg/h", "rate-warn", "pain"),
            ("mg/kg/h", "rate-warn", "pain"),
            ("mg", "bolus-warn", "pain"),
            ("mg/kg", "bolus-warn", "pain"),
            ("mg", "depression-dose-warn", "depression"),
        ]
    ),
)
def test_obesity_is_judged_on_ideal_body_weight(
    sex: str, height: tuple[Fraction, str], kg: int, share: int, case: tuple[str, str, str]
) -> None:
    """`share` percent of the limit on ideal weight; of antidepressant doses, studied on actual weight, it informs."""
    (cm, written), (unit, name, reason) = height, case
    ideal = _ideal(sex, cm) if sex != "other" else None
    divisor = 1 if "kg" in unit else kg
    wanted = limit("ketamine", name) * share / 100 * (ideal or Fraction(60)) / kg
    amount = Fraction(round(wanted * divisor * 10**9), 10**9)
    per_kg = amount / divisor
    order = _order(amount, unit, Fraction(1), reason)
    asked = request(order, weight=f"{kg} kg", height=written, sex="unknown" if sex == "other" else sex)
    (found,) = judged(asked)
    (outcome,) = [each for each in found.outcomes if each.rule.id == "obesity-dosing-weight"]
    obese = kg / (cm / 100) ** 2 >= limit("ketamine", "obesity-bmi")
    if not obese:
        assert outcome.status == "clear"
    elif ideal is None:
        assert outcome.status == "could-not-tell"
    else:
        above = per_kg <= limit("ketamine", name) < per_kg * kg / ideal
        assert (outcome.status == "fired") == above
        assert outcome.severity == (("info" if reason == "depression" else "warning") if above else None)

"""Doses in words raise findings and clear none; whatever a text says, it is read and never breaks anything."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cds_service.orders import text
from tests.properties import spelling, writing
from tests.properties.asking import DOSE_ROWS, answered, fired, judged, rank, request, worst
from tests.properties.counts import examples
from tests.properties.reference import Dose, verdict

IN_WORDS = "free-text-or-unparseable-dose"
PAIN = frozenset({"pain"})
KETAMINE = {"medicationCodeableConcept": writing.medicines_named("ketamine")[0]}


def _asked(says: str, hook: str = "order-sign", **patient: Any) -> dict[str, Any]:
    """An order of ketamine for pain, by vein, that holds nothing but a text."""
    dosage = {"text": says, "route": writing.concept(*writing.ROUTES["intravenous"])}
    return request(writing.order(KETAMINE, [dosage], ["pain"]), hook=hook, **patient)


_words = st.sampled_from(
    ["ketamine", "give", "IV", "bolus", "then", "over", "in", "for", "every", "max", "titrate", "up to", "per hour",
     "kg", "mg", "h", "0.5", "1,000", ".5", "5.", "1e9", "mg/kg/h", "ug/kg/min", "mL/h", "10 mg/mL", "/", "-",
     "\u00b5g", "70 kg", "min", "2 h", "\n", "%", "{bag}", "999999999999 mg", "0 min", "over 0 min", "in 5 minutes"]
)  # fmt: skip
_texts = st.one_of(st.text(), st.lists(_words, min_size=1, max_size=8).map(" ".join), st.lists(_words).map("".join))


@examples(100)
@given(says=_texts, hook=st.sampled_from(["order-sign", "order-select"]), weight=st.sampled_from(["70 kg", "none"]))
@example(says="0", hook="order-sign", weight="70 kg")
@example(says="300 mg/h over 0 min", hook="order-sign", weight="none")
def test_an_order_in_words_alone_is_never_clear_and_never_breaks_anything(says: str, hook: str, weight: str) -> None:
    (order,) = judged(_asked(says, hook, weight=weight))
    if says:
        assert fired(order)[IN_WORDS] == "warning"
    of_the_dose = [outcome for outcome in order.outcomes if outcome.rule.id in DOSE_ROWS]
    assert {outcome.status for outcome in of_the_dose} <= {"fired", "could-not-tell"}
    answered(_asked(says, hook, weight=weight))


@examples(200)
@given(says=_texts)
def test_every_text_is_read(says: str) -> None:
    spoken = text.read(says)
    for quantity in (*spoken.doses, *spoken.rates):
        assert quantity.value >= 0
    assert spoken.minutes is None or spoken.minutes >= 0


# What a text says --------------------------------------------------------------------------------------------


def _spelt(number: Fraction) -> list[str]:
    """A number as people write it: 0.5, .5, 0,5, 0.50, and 1200 or 1,200."""
    written = str(spelling.plain(spelling.decimal(number) or spelling.plain(0)))
    found = [written, written.replace(".", ",")] + ([written + "0"] if "." in written else [])
    if written.startswith("0."):
        found += [written[1:], written[1:].replace(".", ",")]
    if number.denominator == 1 and 1000 <= number < 1000000:
        found.append(f"{int(number):,}")
    return found


_AROUND = [("", ""), ("ketamine ", ""), ("give ", " IV"), ("KETAMINE: ", "."), ("(", ")"), ("at ", ", review in 2 h"),
           ("for 70 kg: ", " IV, may repeat in 90 min")]  # fmt: skip


@st.composite
def _stated(draw: st.DrawFn, number: Fraction, unit: str) -> str:
    before, after = draw(st.sampled_from(_AROUND))
    return f"{before}{draw(st.sampled_from(_spelt(number)))}{draw(st.sampled_from([' ', '', '  ']))}{unit}{after}"


_UNITS = [
    unit
    for unit in (*spelling.RATE_UNITS, *spelling.DOSE_UNITS)
    if not unit.volume and unit.text not in ("kg", "kgs")  # in words, the weight of a patient
]


@pytest.mark.parametrize("unit", _UNITS, ids=lambda unit: unit.text)
def test_a_text_above_a_limit_fires_the_rule_of_the_limit(unit: spelling.Unit) -> None:
    levels = (501, 1002, 4002) if unit.rate else (351, 501, 1002, 4602)
    for thousandths in levels:
        dose = Dose(Fraction(thousandths, 1000), endless=unit.rate)
        number = spelling.in_unit(dose.per_kg, unit, Fraction(75), Fraction(1))
        if (number * 10**6).denominator != 1 or number >= 10**6:
            continue  # nobody writes so many digits
        asked = _asked(f"ketamine {spelling.decimal(number):f} {unit.text}", weight="75 kg")
        expected = verdict(dose, "ketamine", PAIN, "intravenous")
        assert fired(judged(asked)[0], *DOSE_ROWS) == expected, (number, unit.text)


@examples(80)
@given(data=st.data(), rate=writing.rates_per_hour, dose=writing.finite_amounts)
def test_a_stated_dose_or_rate_is_judged_as_if_it_were_structured(
    data: st.DataObject, rate: Fraction, dose: Fraction
) -> None:
    kind = data.draw(st.sampled_from(["rate", "dose", "both"]))
    said, expected = [], []
    if kind != "rate":
        said.append(data.draw(_stated(dose * 75, data.draw(st.sampled_from(["mg", "mg"])))))
        expected.append(Dose(dose))
    if kind != "dose":
        said.append(data.draw(_stated(rate, data.draw(st.sampled_from(["mg/kg/h", "mg/kg/hr", "mg/kg/hour"])))))
        expected.append(Dose(rate, endless=True))
    found = fired(judged(_asked(" ".join(said), weight="75 kg"))[0])
    assert found[IN_WORDS] == "warning"
    for each in expected:
        assert worst(found, *DOSE_ROWS) >= worst(verdict(each, "ketamine", PAIN, "intravenous")), said


@pytest.mark.parametrize("says", ["for a patient of 70 kg", "weight 70 kg", "70kg"])
def test_the_weight_in_a_text_is_no_dose(says: str) -> None:
    assert fired(judged(_asked(f"ketamine 0.2 mg/kg/h, {says}"))[0]) == {IN_WORDS: "warning"}
    entry = {"doseQuantity": {"value": 14, "code": "mg"}}
    order = writing.order(KETAMINE, [{"doseAndRate": [entry], "text": says}], ["pain"])
    assert fired(judged(request(order))[0]) == {}


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("50 mg, may repeat in 90 min", {"bolus-exceeds-protocol-max": "critical"}),
        ("1.5 mg/kg/h, review in 10 min", {"rate-exceeds-ceiling": "critical"}),
        ("1.5 mg/kg/h over 0 min", {"rate-exceeds-ceiling": "critical"}),
        ("0.75 mg/kg IV in 90 min", {}),
        ("18 mg/kg/h over 1 min", {"bolus-push-too-fast": "info"}),
    ],
)
def test_only_the_time_that_a_dose_takes_is_its_time(says: str, expected: dict[str, str]) -> None:
    assert fired(judged(_asked(f"ketamine {says}"))[0], *DOSE_ROWS) == expected


@examples(40)
@given(dose=writing.finite_amounts, minutes=st.integers(1, 59), unit=st.sampled_from(["min", "minutes", "mins"]))
def test_a_stated_dose_over_a_stated_time_is_a_dose_over_that_time(dose: Fraction, minutes: int, unit: str) -> None:
    says = f"ketamine {spelling.decimal(dose):f} mg/kg over {minutes} {unit}"
    found = fired(judged(_asked(says))[0], *DOSE_ROWS)
    assert found == verdict(Dose(dose, Fraction(minutes)), "ketamine", PAIN, "intravenous")


@examples(40)
@given(low=st.integers(1, 9), high=st.integers(10, 40), between=st.sampled_from([" - ", "-", " to ", " \u2013 "]))
def test_of_a_range_in_words_the_upper_end_counts(low: int, high: int, between: str) -> None:
    found = fired(judged(_asked(f"{low / 10}{between}{high / 10} mg/kg/h"))[0], *DOSE_ROWS)
    expected = verdict(Dose(Fraction(high, 10), endless=True), "ketamine", PAIN, "intravenous")
    assert found == expected


@examples(40)
@given(says=_texts, rate=st.integers(1, 30))
def test_a_text_beside_a_structured_dose_makes_nothing_milder(says: str, rate: int) -> None:
    entry = {"rateQuantity": {"value": spelling.decimal(Fraction(rate, 10)), "code": "mg/kg/h"}}
    dosage = {"doseAndRate": [entry]}
    severities = [
        fired(judged(request(writing.order(KETAMINE, [each], ["pain"])))[0], *DOSE_ROWS)
        for each in (dosage, dosage | {"text": says})
    ]
    for rule, severity in severities[0].items():
        assert rank(severities[1].get(rule)) >= rank(severity)


@pytest.mark.parametrize("spelling", ["mg", *(text for text in spelling.SPELLINGS if not {" ", "."} & set(text))])
def test_a_unit_that_only_begins_like_a_known_one_is_no_dose(spelling: str) -> None:
    spoken = text.read(f"ketamine 500 {spelling}x")
    assert not spoken.doses
    assert not spoken.rates

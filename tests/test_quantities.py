"""Numbers with units: exact, whatever the unit, or refused."""

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service import units
from cds_service.units import DIMENSIONS, Unit, UnreadableNumber
from tests.said import said
from tests.test_units import TABLE


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        ("0.5", "mg/kg/h", "1/2"),
        ("8.33", "mcg/kg/min", "0.4998"),
        ("5", "ug/kg/min", "3/10"),
        ("500", "ug/kg/h", "1/2"),
        ("12", "mg/kg/day", "1/2"),
        ("0.1", "mg/kg/min", "6"),
        ("154.32", "lb", "0.45359237 * 154.32"),
        ("68.5", "[in_i]", "173.99"),
        ("1e2", "mg", "100"),
        ("-1", "mg", "-1"),
        ("0.10", "mg", "1/10"),
    ],
)
def test_conversions_that_a_pharmacist_can_check(number: str, text: str, expected: str) -> None:
    wanted = Fraction(1)
    for part in expected.split("*"):
        wanted *= Fraction(part.strip())
    assert units.quantity(number, text).value == wanted


def test_a_sum_of_tenths_meets_its_limit_exactly() -> None:
    """In binary floating point 3 x 0.1 mg is more than 0.3 mg, and a limit that is met would be exceeded."""
    tenth = units.quantity(Decimal("0.1"), "mg/kg", "mass_per_bodymass")
    limit = units.quantity(Decimal("0.3"), "mg/kg", "mass_per_bodymass")
    assert 3 * tenth.value == limit.value
    assert 3 * 0.1 > 0.3


def test_nothing_becomes_a_float_on_its_way() -> None:
    for unit in TABLE:
        assert type(unit.factor) is Fraction
        assert type(units.Quantity(units.exact("0.1") * unit.factor, unit).written) is Fraction


@pytest.mark.parametrize(
    "number",
    ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity", Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")],
)
def test_what_is_not_a_number_is_refused(number: Decimal | str) -> None:
    with pytest.raises(UnreadableNumber) as refused:
        units.quantity(number, "mg")
    assert "is not a number" in said(refused.value.says)


@pytest.mark.parametrize(
    "number", ["", "0,5", "1/2", "five", "0x10", "1 000", "--1", "1e", "½", "1e9999999999999999999"]
)
def test_a_text_that_is_no_decimal_number_is_refused_like_any_other_unreadable_number(number: str) -> None:
    with pytest.raises(UnreadableNumber) as refused:
        units.exact(number)
    assert repr(number) in said(refused.value.says)


@pytest.mark.parametrize(
    "number",
    [
        "1e999999999", "-1e999999999", "1e-999999999", Decimal("1e999999999"), Decimal("1e-999999999"),
        "0e999999999", 10**60, "9" * 41, "9" * 100_000, "1." + "0" * 100_000, "0." + "0" * 100_000 + "1", "1e41",
    ],
    ids=lambda number: f"{number!s:.15}",
)  # fmt: skip
def test_an_absurd_number_is_refused_at_once(number: Decimal | int | str) -> None:
    started = time.thread_time()
    with pytest.raises(UnreadableNumber) as refused:
        units.quantity(number, "mg/kg/h")
    assert "too long" in said(refused.value.says)
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("number", ["1e40", "9" * 40, "0." + "9" * 39, "1e-40", "0", "-0", "0.00", 0, 2**63])
def test_a_long_number_that_can_still_be_handled_is_exact(number: int | str) -> None:
    assert units.exact(number) == Fraction(number)


numbers = st.decimals(min_value=-(10**9), max_value=10**9, places=6, allow_nan=False)
of_one_dimension = st.sampled_from(DIMENSIONS).flatmap(
    lambda name: st.tuples(*[st.sampled_from([unit for unit in TABLE if unit.dimension == name])] * 2)
)


@given(numbers, st.sampled_from(TABLE))
def test_a_quantity_remembers_the_number_as_it_was_written(number: Decimal, unit: Unit) -> None:
    quantity = units.quantity(number, unit.code, unit.dimension)
    assert quantity.written == Fraction(number)
    assert quantity.unit == unit
    assert quantity.dimension == unit.dimension


@given(numbers, of_one_dimension)
def test_the_same_quantity_has_the_same_value_in_every_unit_of_its_dimension(
    number: Decimal, pair: tuple[Unit, Unit]
) -> None:
    one, other = pair
    quantity = units.quantity(number, one.code, one.dimension)
    converted = units.Quantity(quantity.value, other)
    assert converted.written * other.factor == quantity.value
    assert converted.written * other.factor / one.factor == Fraction(number)


@given(numbers, numbers, of_one_dimension)
def test_which_of_two_quantities_is_greater_does_not_depend_on_their_units(
    a: Decimal, b: Decimal, pair: tuple[Unit, Unit]
) -> None:
    one, other = pair
    left, right = (units.quantity(n, one.code, one.dimension) for n in (a, b))
    assert (left.value < right.value) == (a < b)
    assert (left.value / other.factor < right.value / other.factor) == (a < b)


@given(
    st.one_of(
        st.integers(), st.decimals(), st.text(), st.from_regex(r"-?[0-9]{1,50}(\.[0-9]{1,50})?(e-?[0-9]{1,30})?")
    )
)
def test_a_number_is_exact_or_refused_and_nothing_else_happens(number: Decimal | int | str) -> None:
    try:
        value = units.exact(number)
    except UnreadableNumber:
        return
    assert value == Fraction(Decimal(number))

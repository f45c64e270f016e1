"""A figure on a card is short, is no other than it was, and never stands on or across a limit that it does not."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.figures import show
from cds_service.orders import words
from cds_service.orders.dosage import Amount
from tests.properties.counts import examples

_short = st.integers(0, 10**8).map(lambda n: Fraction(n, 10**4))
_any = st.one_of(
    _short,
    st.fractions(min_value=0, max_value=10**6),
    st.fractions(min_value=0, max_value=1, max_denominator=10**40),
    st.builds(Fraction, st.integers(1, 10**6), st.integers(1, 10**30)),
)
_limits = st.lists(st.one_of(_short, st.fractions(min_value=0, max_value=100)), max_size=3)


@st.composite
def _near(draw: st.DrawFn) -> tuple[Fraction, Fraction]:
    """A limit, and a value a hair beside it or on it."""
    limit = draw(st.one_of(_short, st.sampled_from([Fraction(1, 2), Fraction(7, 20), Fraction(1, 3), Fraction(250)])))
    hair = Fraction(draw(st.integers(-3, 3)), 10 ** draw(st.integers(0, 30)) * draw(st.sampled_from([1, 3, 7])))
    return max(limit + hair, Fraction(0)), limit


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("it does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _side(value: Fraction, limit: Fraction) -> int:
    return (value > limit) - (value < limit)


@examples(300)
@given(near=_near(), others=_limits)
def test_a_figure_stands_on_its_own_side_of_every_limit(
    near: tuple[Fraction, Fraction], others: list[Fraction]
) -> None:
    value, limit = near
    with _within(5):
        shown = Fraction(show(value, limit, *others))
    for each in (limit, *others):
        if each != value:
            assert _side(shown, each) == _side(value, each)


@examples(150)
@given(value=_any, limits=_limits)
def test_a_figure_always_ends(value: Fraction, limits: list[Fraction]) -> None:
    """Also where it equals a limit that no decimal can write."""
    with _within(5):
        show(value, *limits, value)


@examples(150)
@given(value=_any, limits=_limits)
def test_a_figure_is_within_half_a_thousandth_of_itself(value: Fraction, limits: list[Fraction]) -> None:
    """Four significant digits, also of a very small number: 0.00035 g/kg must not become 0.0004."""
    assert abs(Fraction(show(value, *limits)) - value) * 2000 <= value


@examples(150)
@given(value=_short, limits=_limits)
def test_a_figure_with_at_most_four_places_is_shown_as_it_is(value: Fraction, limits: list[Fraction]) -> None:
    shown = show(value, *limits)
    assert Fraction(shown) == value
    assert len(shown.partition(".")[2]) <= 4


@examples(150)
@given(value=_any)
def test_a_figure_without_a_limit_is_short(value: Fraction) -> None:
    shown = show(value)
    assert "e" not in shown.lower()
    if Fraction(shown) != value:
        assert len(shown.replace(".", "").lstrip("0")) <= max(4, len(str(int(value))) + 1)


@examples(100)
@given(value=_any, limits=_limits)
def test_a_figure_has_no_trailing_zeros_and_no_bare_point(value: Fraction, limits: list[Fraction]) -> None:
    shown = show(value, *limits)
    whole, point, places = shown.partition(".")
    assert whole == "0" or not whole.startswith("0")
    assert not point or (places and not places.endswith("0"))


@pytest.mark.parametrize("value", ["0.00035", "0.0000125", "1234.56789", "0.001234", "17.5", "9999.99"])
def test_a_written_number_is_said_as_it_was_written(value: str) -> None:
    """What the clinician wrote in a few digits is never said as another number."""
    amount = Amount("mass_per_bodymass", Fraction(value), "g/kg", Fraction(value), "quantity", ())
    said = Decimal(words.amount(amount).partition(" ")[0])
    if len(Decimal(value).as_tuple().digits) <= 4:
        assert said == Decimal(value)


@examples(100)
@given(minutes=st.fractions(min_value=0, max_value=10**5))
def test_a_time_in_words_is_the_time(minutes: Fraction) -> None:
    number, unit = words.duration(minutes).split()
    factor: dict[str, Callable[[Fraction], Fraction]] = {
        "min": lambda n: n,
        "h": lambda n: n * 60,
        "d": lambda n: n * 1440,
    }
    assert abs(factor[unit](Fraction(number)) - minutes) * 2000 <= minutes

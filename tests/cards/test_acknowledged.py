"""Whether a finding got worse since it was overridden: every part by itself, and for any two exposures."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cds_service.cards.acknowledged import Said, no_worse
from cds_service.orders.exposure import Exposure

DOSE = Exposure("iv", ((None, None, Fraction(56), Fraction(4, 5), None),))
THEN = Said("rate-exceeds-protocol-max", "above-warn", "warning", Fraction(4, 5), False, DOSE, frozenset({"w1"}))
FAST = replace(THEN, rule="depression-infusion-too-fast", tier="too-fast", figure=Fraction(32), lower_is_worse=True)
HEART = replace(THEN, rule="heart-failure", tier="chronic", figure=None, facts=frozenset({"c1", "c2"}))


def _dose(*figures: Any) -> Exposure:
    return Exposure("iv", (tuple(None if each is None else Fraction(each) for each in figures),))


@pytest.mark.parametrize(
    ("then", "now", "quiet"),
    [
        (THEN, {}, True),
        (THEN, {"figure": Fraction(7, 10)}, True),
        (THEN, {"figure": Fraction(81, 100)}, False),
        (THEN, {"figure": None}, False),
        (THEN, {"facts": frozenset({"w2"})}, True),
        (THEN, {"severity": "critical"}, False),
        (THEN, {"severity": "info"}, True),
        (THEN, {"severity": "info", "tier": "other"}, True),
        (THEN, {"tier": "other"}, False),
        (THEN, {"rule": "rate-exceeds-ceiling"}, False),
        (THEN, {"severity": None}, False),
        (THEN, {"dose": _dose(None, None, 57, "4/5", None)}, False),
        (THEN, {"dose": _dose(None, None, 55, "4/5", None)}, True),
        (THEN, {"dose": _dose(None, None, 56, None, None)}, False),
        (THEN, {"dose": Exposure("im", DOSE.amounts)}, False),
        (THEN, {"dose": Exposure("iv", DOSE.amounts * 2)}, False),
        (FAST, {"figure": Fraction(33)}, True),
        (FAST, {"figure": Fraction(31)}, False),
        (HEART, {}, True),
        (HEART, {"facts": frozenset({"c1"})}, True),
        (HEART, {"facts": frozenset({"c1", "c2", "c3"})}, False),
        (HEART, {"facts": frozenset({"c3"})}, False),
        (HEART, {"figure": Fraction(1)}, False),
    ],
)
def test_a_finding_is_no_worse_only_where_nothing_of_it_is(then: Said, now: dict[str, Any], quiet: bool) -> None:
    assert no_worse(replace(then, **now), then) is quiet


_FIGURE = st.none() | st.fractions(min_value=0, max_value=100, max_denominator=20)
_STEP = st.tuples(_FIGURE, _FIGURE, _FIGURE, _FIGURE, _FIGURE)
_EXPOSURE = st.builds(Exposure, st.sampled_from(["iv", "im"]), st.lists(_STEP, max_size=2).map(tuple))


@given(_EXPOSURE)
def test_the_same_exposure_is_no_more(exposure: Exposure) -> None:
    assert exposure.is_no_more_than(exposure)


@given(_EXPOSURE, _EXPOSURE)
def test_of_two_exposures_that_are_no_more_than_each_other_there_is_one(one: Exposure, other: Exposure) -> None:
    if one.is_no_more_than(other) and other.is_no_more_than(one):
        assert one == other


@given(_EXPOSURE, _EXPOSURE, _EXPOSURE)
def test_what_is_no_more_than_the_lower_is_no_more_than_the_higher(a: Exposure, b: Exposure, c: Exposure) -> None:
    if a.is_no_more_than(b) and b.is_no_more_than(c):
        assert a.is_no_more_than(c)


@given(_STEP, st.integers(0, 4), st.fractions(min_value=Fraction(1, 20), max_value=10, max_denominator=20))
def test_one_figure_more_is_more(step: tuple[Fraction | None, ...], which: int, more: Fraction) -> None:
    """Of the minutes, one less."""
    figure = step[which]
    if figure is None:
        return
    changed = figure - more if which == 4 else figure + more
    later = Exposure("iv", ((*step[:which], changed, *step[which + 1 :]),))
    assert not later.is_no_more_than(Exposure("iv", (step,)))
    assert Exposure("iv", (step,)).is_no_more_than(later)

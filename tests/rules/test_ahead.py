"""The worst hour of what is ordered together, and what a limit leaves of the order's own doses."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cds_service.rules.ahead import Part, worst_of
from tests.properties.counts import examples

_AMOUNTS = st.integers(1, 50).map(Fraction)
_MINUTES = st.integers(0, 240).map(Fraction)
_PARTS = st.one_of(
    st.builds(Part, _MINUTES, mg=_AMOUNTS, own=st.booleans()),
    # Doses as needed may begin at once; between later starts the hour is tried where a part begins or ends.
    st.builds(
        Part,
        st.just(Fraction(0)),
        mg=_AMOUNTS,
        every=st.sampled_from([Fraction(10), Fraction(45)]),
        own=st.booleans(),
    ),
    st.builds(
        lambda start, rate, runs, own: Part(start, mg_per_hour=rate, end=runs and start + runs, own=own),
        _MINUTES,
        _AMOUNTS,
        st.none() | st.integers(60, 300).map(Fraction),
        st.booleans(),
    ),
)
_OWN = _PARTS.map(lambda part: replace(part, own=True))


@examples(200)
@given(own=_OWN, others=st.lists(_PARTS, max_size=4))
def test_no_hour_of_the_order_comes_to_more_than_its_worst(own: Part, others: list[Part]) -> None:
    parts = [own, *others]
    worst = worst_of(parts).mg
    for begin in map(Fraction, range(0, 360, 7)):
        if any(part.own and part.within_hour(begin) for part in parts):
            assert worst is not None
            assert sum(part.within_hour(begin) for part in parts) <= worst


@examples(200)
@given(own=_OWN, others=st.lists(_PARTS, max_size=4), limit=st.integers(1, 100).map(Fraction))
def test_what_is_left_of_the_own_doses_keeps_within_the_limit(own: Part, others: list[Part], limit: Fraction) -> None:
    parts = [own, *others]
    left = worst_of(parts).part_within(limit)
    lowered = [
        replace(part, mg=part.mg * left, mg_per_hour=part.mg_per_hour * left) if part.own else part for part in parts
    ]
    after = worst_of(lowered).mg
    assert after is not None
    assert left == 0 or after <= limit


def test_a_dose_at_the_end_of_a_rate_is_added_to_the_hour_before_it() -> None:
    rate = Part(Fraction(0), mg_per_hour=Fraction(60), end=Fraction(120))
    worst = worst_of([rate, Part(Fraction(120), mg=Fraction(30), own=True)])
    assert worst.mg == 59 + 30


def test_doses_as_needed_count_up_to_their_maximum() -> None:
    rescue = Part(Fraction(0), mg=Fraction(5), every=Fraction(10), hour_cap=Fraction(20), own=True)
    assert worst_of([rescue, Part(Fraction(0), mg_per_hour=Fraction(7))]).mg == 27

"""The statistics, held against values that others computed and against sums that are exact."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.stewardship.choices import Choices, choices
from cds_service.stewardship.rates import Comparison, Rate, percentile


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombe_1998(count: int, of: int, low: float, high: float) -> None:
    found = Rate(count, of, 0.95, 10).interval
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_an_interval_holds_its_share_and_stays_between_none_and_all(pair: tuple[int, int]) -> None:
    rate = Rate(*pair, 0.95, 10)
    low, high = rate.interval
    assert rate.share is not None
    assert 0 <= low <= rate.share <= high <= 1


def test_of_nothing_no_rate_is_known() -> None:
    rate = Rate(0, 0, 0.95, 10)
    assert (rate.share, rate.interval, rate.is_of_few) == (None, (0.0, 1.0), True)


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_pass() -> None:
    counts = {1: 50, 2: 45, 300: 4, 9000: 1}
    assert [percentile(counts, share) for share in (0.5, 0.95, 0.99, 1)] == [1, 2, 300, 9000]
    assert percentile({}, 0.5) is None


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 500), st.integers(1, 500))
def test_the_chance_is_twice_the_smaller_tail_of_the_binomial(recent: int, before: int, now: int, then: int) -> None:
    all_of_them, share = recent + before, Fraction(now, now + then)
    terms = [comb(all_of_them, k) * share**k * (1 - share) ** (all_of_them - k) for k in range(all_of_them + 1)]
    up, down = sum(terms[recent:]), sum(terms[: recent + 1])
    # Of the two tails the one away from what is expected is looked at; the other is at least about a half.
    tail = up if recent >= share * all_of_them else down
    exact = min(1.0, float(2 * tail)) if all_of_them else 1.0
    assert Comparison(recent, now, before, then).chance == pytest.approx(exact, rel=1e-9)


def test_a_rate_of_many_calls_is_compared_too() -> None:
    same = Comparison(10_000, 100_000, 80_000, 800_000)
    assert same.chance > 0.9
    assert Comparison(13_000, 100_000, 80_000, 800_000).chance < 1e-100


@pytest.mark.parametrize(
    ("compared", "is_changed"),
    [
        (Comparison(30, 100, 80, 800), True),  # three times as often
        (Comparison(15, 100, 80, 800), False),  # half as often again: within what is usual
        (Comparison(2, 10, 8, 80), False),  # twice as often, of a few
        (Comparison(0, 100, 160, 800), True),  # fell silent
        (Comparison(12, 100, 0, 800), True),  # never before
        (Comparison(30, 100, 0, 0), False),  # nothing to compare with
    ],
)
def test_what_is_marked_as_changed(compared: Comparison, is_changed: bool) -> None:
    assert compared.is_changed(by=2, chance=0.001) is is_changed


def test_every_figure_that_a_site_may_choose_has_its_reason() -> None:
    made = choices()
    assert all(len(getattr(made, name).why.split()) > 5 for name in Choices.__struct_fields__)

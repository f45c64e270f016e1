"""The statistics of the pages: a rate with its interval, percentiles, and whether a rate changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `of`, with its Wilson interval; without any, nothing is known, and there is no share."""

    count: int
    of: int
    confidence: float
    few: int
    """Below so many the rate is one of few."""

    @property
    def share(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def is_of_few(self) -> bool:
        return self.of < self.few

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval (Wilson 1927): it stays within 0 and 1 and holds for small numbers, too."""
        if not self.of:
            return 0.0, 1.0
        z = NormalDist().inv_cdf((1 + self.confidence) / 2)
        n, p = self.of, self.count / self.of
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        # None and all are ends of the interval exactly, which rounding would miss by a hair.
        return (middle - half if self.count else 0.0), (middle + half if self.count < n else 1.0)


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The smallest value that at least that share of all do not pass (nearest rank); None without any.

    `counts` holds how often each value occurs.
    """
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How often something was among the calls of the last days, and of the days before."""

    recent: int
    recent_calls: int
    before: int
    before_calls: int

    @property
    def times(self) -> float | None:
        """The recent rate as a multiple of the one before; None where it cannot be told."""
        if not (self.recent_calls and self.before_calls and self.before):
            return None
        return (self.recent / self.recent_calls) / (self.before / self.before_calls)

    @property
    def chance(self) -> float:
        """How often chance alone gives so uneven a split, or a more uneven one.

        An exact two-sided binomial test: of all that occurred, the recent ones are a share that follows from the
        calls alone if the rate is the same. Twice the smaller tail, at most 1.
        """
        calls, all_of_them = self.recent_calls + self.before_calls, self.recent + self.before
        if not (self.recent_calls and self.before_calls and all_of_them):
            return 1.0
        share = self.recent_calls / calls
        is_up = self.recent >= share * all_of_them
        count, part = (self.recent, share) if is_up else (self.before, 1 - share)
        return min(1.0, 2 * _tail(count, all_of_them, part))

    def is_changed(self, by: float, chance: float) -> bool:
        """Whether the rate is `by` times what it was, or that much less, and chance does not explain it."""
        if self.chance > chance:
            return False
        times = self.times
        return times is None or times >= by or times <= 1 / by


def _tail(least: int, of: int, share: float) -> float:
    """The probability of `least` or more of `of`, each with the probability `share` (0 < share < 1).

    `least` is not below what is expected: there the first term may be too small for a float.
    """
    ways = lgamma(of + 1) - lgamma(least + 1) - lgamma(of - least + 1)
    term = exp(ways + least * log(share) + (of - least) * log(1 - share))
    total = 0.0
    for number in range(least, of + 1):
        total += term
        term *= (of - number) / (number + 1) * share / (1 - share)
        if term < total * 1e-15:
            break
    return min(1.0, total)

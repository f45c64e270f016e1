"""For tests whose verdict is a time: a machine that is busy makes some measurements long, and none too short."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 3


def quickest(act: Callable[[], object], times: int = 1, rounds: int = ROUNDS) -> float:
    """Seconds that `act` takes, of the quickest round."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(times):
            act()
        taken.append((time.perf_counter() - start) / times)
    return min(taken)


def beside(act: Callable[[], object], nothing: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Seconds of `act` and of what does nothing, each of its quickest round; the rounds take turns."""
    rounds = [(quickest(act, times, 1), quickest(nothing, times, 1)) for _ in range(ROUNDS)]
    return min(first for first, _ in rounds), min(second for _, second in rounds)


def least(measure: Callable[[], float], enough: float) -> float:
    """The least of up to three measurements; no more of them once one is below `enough`."""
    found = measure()
    for _ in range(ROUNDS - 1):
        if found < enough:
            break
        found = min(found, measure())
    return found

"""Waiting for a state that another thread or process brings about, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

SOON = 300.0
"""Seconds. Only what never comes takes so long; whoever holds something to a shorter time measures it."""
_LOOK = 0.02


def until(holds: Callable[[], object], what: str = "it did not come about", seconds: float = SOON) -> float:
    """Wait until it holds; the seconds that this took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what}, within {seconds} s"
        time.sleep(_LOOK)
    return time.monotonic() - began

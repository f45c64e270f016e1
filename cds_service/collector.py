"""Python's garbage collector, in a process that loads much once and then judges for long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = 50_000, 20, 20
"""To judge an order makes some ten thousand objects, and nearly all of them go without being collected."""


def settle() -> None:
    """Take what is loaded out of collection: else a full one costs more than a request (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def settled() -> Iterator[None]:
    """As `settle`, for a while."""
    before = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)

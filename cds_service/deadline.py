"""When an answer must be ready, the signal that it cannot be any more, and where a long call lets others go first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


class Late(Exception):
    """The time is over. Whoever can say something without the step that was begun lets it go; others pass this on."""


_PAUSE: ContextVar[Callable[[], None] | None] = ContextVar("pause", default=None)


def give_way() -> None:
    """Between two pieces of work: a call that takes long lets shorter ones go first. It changes no answer.

    No stretch of some milliseconds is without one, whatever was sent (tests/test_stretches.py).
    """
    pause = _PAUSE.get()
    if pause is not None:
        pause()


def in_stretches(items: Iterable[T], length: int) -> Iterator[T]:
    """The items, for a loop whose turns are short: after each `length` of them the call gives way."""
    left = iter(items)
    while stretch := [*islice(left, length)]:
        yield from stretch
        give_way()


@contextmanager
def giving_way(pause: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `pause` is what `give_way` does in this thread."""
    token = _PAUSE.set(pause)
    try:
        yield
    finally:
        _PAUSE.reset(token)


class Deadline:
    """A moment on the monotonic clock (seconds). One belongs to one answer and is passed down with it.

    At each look at it the call gives way.
    """

    __slots__ = ("missed", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.missed: str | None = None
        """The first step that was not done in time; None while nothing was left out."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds, not below 0."""
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until

    def check(self, step: str) -> None:
        """Raises Late where the time is over. `step` is a word from a closed list: it stands in logs and metrics."""
        give_way()
        if time.monotonic() >= self.until:
            self.missed = self.missed or step
            raise Late(step)

    def each(self, items: Iterable[T], step: str) -> Iterator[T]:
        """The items, for a loop over what came from outside. Raises Late."""
        for item in items:
            self.check(step)
            yield item


NEVER = Deadline(math.inf)
"""For those who wait as long as it takes."""

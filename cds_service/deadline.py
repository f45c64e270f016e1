"""When an answer must be ready, and the signal that it cannot be any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Late(Exception):
    """The time is over. Whoever can say something without the step that was begun lets it go; others pass this on."""


class Deadline:
    """A moment on the monotonic clock (seconds). One belongs to one answer and is passed down with it.

    `pause` is called at each look at it: there a call that takes long lets shorter ones go first.
    """

    __slots__ = ("missed", "pause", "until")

    def __init__(self, until: float, pause: Callable[[], None] | None = None) -> None:
        self.until = until
        self.pause = pause
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
        if self.pause is not None:
            self.pause()
        if time.monotonic() >= self.until:
            self.missed = self.missed or step
            raise Late(step)

    def each(self, items: Iterable[T], step: str) -> Iterator[T]:
        """The items, for a loop over what came from outside. Raises Late."""
        for item in items:
            if self.pause is not None or time.monotonic() >= self.until:
                self.check(step)
            yield item


NEVER = Deadline(math.inf)
"""For those who wait as long as it takes."""

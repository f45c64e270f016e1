"""What the console keeps for a while in its own memory, under names that nobody can guess: never in a cookie."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Holds at most so many things, each until its time is over; the oldest gives way to a new one."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._held: dict[str, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def put(self, value: T, seconds: float, name: str | None = None) -> str:
        """The name under which the value is kept: a new one of 256 random bits, unless it is given."""
        name = name or secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._held.pop(name, None)
            for old in [each for each, (until, _) in self._held.items() if until <= now]:
                del self._held[old]
            while len(self._held) >= self._most:
                del self._held[next(iter(self._held))]
            self._held[name] = (now + seconds, value)
        return name

    def get(self, name: str) -> T | None:
        with self._lock:
            until, value = self._held.get(name, (0.0, None))
            return value if until > self._clock() else None

    def take(self, name: str) -> T | None:
        """The value, which is then gone: nobody gets it twice."""
        found = self.get(name)
        with self._lock:
            return found if self._held.pop(name, None) is not None else None

"""How often a client may call: a token bucket for each, in each worker process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Bucket:
    """Holds `burst` calls and is refilled by `per_second`. `clock` gives seconds and is replaced only by tests."""

    def __init__(self, per_second: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._calls = float(burst)
        self._at = clock()
        self._lock = threading.Lock()

    def wait(self) -> int:
        """0 where a call may be answered, which it counts; else the whole seconds after which one may."""
        with self._lock:
            now = self._clock()
            self._calls = min(self._burst, self._calls + (now - self._at) * self._per_second)
            self._at = now
            if self._calls >= 1:
                self._calls -= 1
                return 0
            return math.ceil((1 - self._calls) / self._per_second)

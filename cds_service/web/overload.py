"""What a worker takes in hand at once: more is refused before it is read, or answered with a card that says so.

Only calls below /cds-services/ count; health, figures and pages are always answered.
"""

from __future__ import annotations

import threading
import time

from flask import Flask, g, request

from cds_service.hooks.errors import Busy
from cds_service.settings import Settings
from cds_service.web import metrics
from cds_service.web.deployment import Deployment

TURN_SECONDS = 0.2
"""So long a call whose body is read waits for its turn to be judged."""
LARGE = 200_000
"""Bytes from which on a body gives way to those below it. A chart of two weeks in a ward has fewer."""
GIVEN_SECONDS = 0.1
"""What a call with a large body gives of its time to ordinary ones, in all: it must be answered too."""


_LOAD = "ketamine-cds.load"


class Load:
    """The calls that are in progress and the bytes of their bodies, each with a bound."""

    def __init__(self, settings: Settings) -> None:
        self._most_calls = settings.calls_at_once
        self._most_bytes = settings.bytes_in_flight
        self._turns = threading.Semaphore(settings.judged_at_once)
        self._lock = threading.Lock()
        self._calls = 0
        self._bytes = 0
        self._ordinary = 0
        self._quiet = threading.Condition(self._lock)

    def begin(self) -> Held:
        """A call. Raises Busy where there are too many, before anything of it is read."""
        with self._lock:
            if self._calls >= self._most_calls:
                metrics.shed("calls")
                raise Busy
            self._calls += 1
            metrics.in_hand(self._calls, self._bytes)
        return Held(self)

    def grow(self, count: int) -> None:
        """`count` bytes more are about to be read. Raises Busy where they are too many beside those of others."""
        with self._lock:
            if self._bytes and self._bytes + count > self._most_bytes:
                metrics.shed("bytes")
                raise Busy
            self._bytes += count
            metrics.in_hand(self._calls, self._bytes)

    def end(self, count: int) -> None:
        with self._lock:
            self._calls -= 1
            self._bytes -= count
            metrics.in_hand(self._calls, self._bytes)
            if not self._calls:
                self._quiet.notify_all()

    def rest(self, seconds: float) -> bool:
        """Wait until no call is in progress, at most so long; whether none is."""
        if not self._calls:
            return True
        with self._quiet:
            return self._quiet.wait_for(lambda: not self._calls, seconds)

    def turn(self, seconds: float) -> bool:
        return self._turns.acquire(timeout=max(seconds, 0))

    def turn_over(self) -> None:
        self._turns.release()

    def count_ordinary(self, more: int) -> None:
        """So many ordinary calls more, or fewer, are being judged."""
        with self._lock:
            self._ordinary += more
            if not self._ordinary:
                self._quiet.notify_all()

    def give_way(self, seconds: float) -> None:
        """Wait until no ordinary call is being judged, at most so long."""
        if self._ordinary and seconds > 0:
            with self._quiet:
                self._quiet.wait_for(lambda: not self._ordinary, seconds)


class Held:
    """What one call holds of it, until its end."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._bytes = 0
        self._has_turn = False
        self._to_give = GIVEN_SECONDS

    @property
    def is_large(self) -> bool:
        """Whether it gives way to others."""
        return self._bytes >= LARGE

    def grow(self, count: int) -> None:
        """`count` bytes more of the body. Raises Busy."""
        self._load.grow(count)
        self._bytes += count

    def turn(self) -> bool:
        """Whether this call may be judged now; it waits for a moment."""
        self._has_turn = self._load.turn(TURN_SECONDS)
        if not self._has_turn:
            metrics.shed("turn")
        elif not self.is_large:
            self._load.count_ordinary(1)
        return self._has_turn

    def give_way(self) -> None:
        """Let ordinary calls go first, as long as there is time to give."""
        began = time.monotonic()
        self._load.give_way(self._to_give)
        self._to_give -= time.monotonic() - began

    def end(self) -> None:
        if self._has_turn:
            self._load.turn_over()
            if not self.is_large:
                self._load.count_ordinary(-1)
        self._load.end(self._bytes)


def register(app: Flask, deployment: Deployment) -> None:
    """Before the part that authenticates: a refusal must cost next to nothing."""
    load = app.extensions[_LOAD] = Load(deployment.settings)

    @app.before_request
    def begin() -> None:
        if request.method == "POST" and request.path.startswith("/cds-services/"):
            g.held = load.begin()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        held: Held | None = g.pop("held", None)
        if held is not None:
            held.end()


def load_of(app: Flask) -> Load:
    """What this worker has in hand."""
    load: Load = app.extensions[_LOAD]
    return load


def held() -> Held:
    """What the call at hand holds."""
    mine: Held = g.held
    return mine

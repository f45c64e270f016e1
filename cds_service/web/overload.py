"""What a worker takes in hand at once: more is refused before it is read, or answered with a card that says so.

Only calls below /cds-services/ count; health, figures and pages are always answered.
"""

from __future__ import annotations

import threading

from flask import Flask, g, request

from cds_service.hooks.errors import Busy
from cds_service.settings import Settings
from cds_service.web import metrics
from cds_service.web.deployment import Deployment

TURN_SECONDS = 0.2
"""So long a call whose body is read waits for its turn to be judged."""


class Load:
    """The calls that are in progress and the bytes of their bodies, each with a bound."""

    def __init__(self, settings: Settings) -> None:
        self._most_calls = settings.calls_at_once
        self._most_bytes = settings.bytes_in_flight
        self._turns = threading.Semaphore(settings.judged_at_once)
        self._lock = threading.Lock()
        self._calls = 0
        self._bytes = 0

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

    def turn(self, seconds: float) -> bool:
        return self._turns.acquire(timeout=max(seconds, 0))

    def turn_over(self) -> None:
        self._turns.release()


class Held:
    """What one call holds of it, until its end."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._bytes = 0
        self._has_turn = False

    def grow(self, count: int) -> None:
        """`count` bytes more of the body. Raises Busy."""
        self._load.grow(count)
        self._bytes += count

    def turn(self) -> bool:
        """Whether this call may be judged now; it waits for a moment."""
        self._has_turn = self._has_turn or self._load.turn(TURN_SECONDS)
        if not self._has_turn:
            metrics.shed("turn")
        return self._has_turn

    def end(self) -> None:
        if self._has_turn:
            self._load.turn_over()
        self._load.end(self._bytes)


def register(app: Flask, deployment: Deployment) -> None:
    """Before the part that authenticates: a refusal must cost next to nothing."""
    load = Load(deployment.settings)

    @app.before_request
    def begin() -> None:
        if request.method == "POST" and request.path.startswith("/cds-services/"):
            g.held = load.begin()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        held: Held | None = g.pop("held", None)
        if held is not None:
            held.end()


def held() -> Held:
    """What the call at hand holds."""
    mine: Held = g.held
    return mine

"""What a worker takes in hand at once: more is refused before it is read, or answered with a card that says so.

Only calls below /cds-services/ count; health, figures and pages are always answered.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

from flask import Flask, g, request

from cds_service.deadline import giving_way
from cds_service.hooks.errors import Busy
from cds_service.settings import Settings
from cds_service.web import metrics
from cds_service.web.deployment import Deployment

TURN_SECONDS = 0.2
"""So long a call whose body is read waits for its turn to be judged."""
LARGE = 200_000
"""Bytes of a body from which on a call is none of the ordinary ones, which go first. Two weeks have fewer."""
COSTLY_SECONDS = 0.02
"""Of a processor, after which a call is none of them either, however short it is. An order takes a third of it."""
GIVEN_SECONDS = 0.1
"""What a call gives of its time to ordinary ones, in all: it must be answered too."""


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

    def begin(self, size: int = 0) -> Held:
        """A call with a body of so many bytes, as far as its header says. Raises Busy where there are too many,
        before anything of it is read."""
        with self._lock:
            if self._calls >= self._most_calls:
                metrics.shed("calls")
                raise Busy
            self._calls += 1
            metrics.in_hand(self._calls, self._bytes)
        return Held(self, is_ordinary=size < LARGE)

    def grow(self, count: int, own: int) -> None:
        """`count` bytes more are about to be read by a call that has `own`.

        Raises Busy where they are too many beside those of others.
        """
        with self._lock:
            if self._bytes > own and self._bytes + count > self._most_bytes:
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
        """So many ordinary calls more, or fewer, are in progress."""
        with self._lock:
            self._ordinary += more
            if not self._ordinary:
                self._quiet.notify_all()

    @property
    def has_ordinary(self) -> bool:
        """Whether an ordinary call is in progress."""
        return self._ordinary > 0

    def give_way(self, seconds: float) -> None:
        """Wait until no ordinary call is in progress, at most so long."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._ordinary, seconds)


class Held:
    """What one call holds of it, until its end. It is begun in the thread that judges it."""

    def __init__(self, load: Load, is_ordinary: bool) -> None:
        self._load = load
        self._bytes = 0
        self._has_turn = False
        self._is_ordinary = is_ordinary
        self._to_give = GIVEN_SECONDS
        self._used = time.thread_time()
        self._may_be_costly = time.monotonic() + COSTLY_SECONDS
        if is_ordinary:
            load.count_ordinary(1)

    def grow(self, count: int) -> None:
        """`count` bytes more of the body. Raises Busy."""
        self._load.grow(count, self._bytes)
        self._bytes += count
        if self._bytes >= LARGE:
            self._step_back()

    def turn(self) -> bool:
        """Whether this call may be judged now; it waits for a moment."""
        self._has_turn = self._load.turn(TURN_SECONDS)
        if not self._has_turn:
            metrics.shed("turn")
        return self._has_turn

    def give_way(self) -> None:
        """Let ordinary calls go first where this is none, or has cost too much, as long as there is time to give."""
        began = time.monotonic()
        if self._is_ordinary:
            if began < self._may_be_costly or time.thread_time() - self._used < COSTLY_SECONDS:
                return
            self._step_back()
        if self._load.has_ordinary and self._to_give > 0:
            self._load.give_way(self._to_give)
            self._to_give -= time.monotonic() - began

    def end(self) -> None:
        if self._has_turn:
            self._load.turn_over()
        self._step_back()
        self._load.end(self._bytes)

    def _step_back(self) -> None:
        """Be none of the ordinary calls from now on."""
        if self._is_ordinary:
            self._is_ordinary = False
            self._load.count_ordinary(-1)


def register(app: Flask, deployment: Deployment) -> None:
    """Before the part that authenticates: a refusal must cost next to nothing."""
    load = app.extensions[_LOAD] = Load(deployment.settings)

    @app.before_request
    def begin() -> None:
        if request.method == "POST" and request.path.startswith("/cds-services/"):
            with ExitStack() as ends:
                g.held = load.begin(request.content_length or 0)
                ends.callback(g.held.end)
                ends.enter_context(giving_way(g.held.give_way))
                g.ends_of_load = ends.pop_all()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        ends: ExitStack | None = g.pop("ends_of_load", None)
        if ends is not None:
            ends.close()


def load_of(app: Flask) -> Load:
    """What this worker has in hand."""
    load: Load = app.extensions[_LOAD]
    return load


def held() -> Held:
    """What the call at hand holds."""
    mine: Held = g.held
    return mine

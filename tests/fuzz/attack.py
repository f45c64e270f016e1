"""A run of mutated requests against the application: statuses, the slowest, and every answer that should not be."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import msgspec

from cds_service.audit import Audit
from cds_service.knowledge import load
from cds_service.settings import Settings
from cds_service.store.store import Store
from cds_service.web.app import create_app
from tests.fuzz.mutate import Case, bases, case
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import NOW

BOUND = 1.0
"""Seconds of this process's own time in which any answer must be there."""
WAITING = 60.0
"""Seconds by the clock, however busy the machine: for an answer that waits for something."""
CHECKED_FULLY = 40
"""Every so many answers are held against the whole of the specification and R4; that takes longer than the answer."""
TOLD_AFTER = 2_500
ALLOWED = {200, 400, 412, 413}

Send = Callable[[Case], tuple[int, bytes]]


class Hang(BaseException):
    """No answer in time. No Exception: the application turns those into a card."""


@dataclass
class Found:
    """What a run saw. `bad` holds the first cases that must not be: why, and how to make the case again."""

    requests: int = 0
    seconds: float = 0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """For each service, and for its feedback, how often each status."""
    with_cards: int = 0
    slowest: float = 0
    slowest_case: str = ""
    rss_before: float = 0
    """MB (10^6 bytes), after the first requests have loaded what they need."""
    rss_after: float = 0
    bad: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.requests += other.requests
        self.seconds = max(self.seconds, other.seconds)
        self.statuses.update(other.statuses)
        self.kinds.update(other.kinds)
        self.answers.update(other.answers)
        self.with_cards += other.with_cards
        if other.slowest > self.slowest:
            self.slowest, self.slowest_case = other.slowest, other.slowest_case
        self.bad += other.bad


@contextmanager
def in_process() -> Iterator[tuple[Send, str]]:
    """(what sends a case to the application in this process, the summary of the card that says that it failed)."""
    knowledge = load()
    audit = Audit(None)  # orders are not recorded; feedback is

    def send(each: Case) -> tuple[int, bytes]:
        sent: list[str] = []
        body = b"".join(app(_environment(each), lambda status, headers, error=None: sent.append(status)))
        return int(sent[0].partition(" ")[0]), body

    with TemporaryDirectory() as folder:
        audit.store = store = Store(f"sqlite:///{folder}/store.sqlite3")
        store.migrate()
        app = create_app(Settings(), knowledge, lambda: NOW, audit)
        yield send, knowledge.texts.words.say("failed")
        store.close()


def _environment(each: Case) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/cds-services/{each.service}",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(each.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(each.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def over_http(base: str) -> Send:
    """What sends a case to a served application; a connection that was closed is opened again."""
    connection = HTTPConnection(base.removeprefix("http://"), timeout=WAITING)

    def send(each: Case) -> tuple[int, bytes]:
        connection.request("POST", f"/cds-services/{each.service}", each.body, {"Content-Type": "application/json"})
        try:
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError as error:
            raise Hang from error
        finally:
            connection.close()

    return send


def run(
    send: Send,
    failed: str,
    seed: int,
    count: int,
    measure_self: bool = True,
    first: Iterable[Case] = (),
    tell: Callable[[Found], None] = lambda found: None,
) -> Found:
    """Send the `first` cases, and random ones up to `count` together. Those of a seed are the same each time.

    Every TOLD_AFTER cases `tell` is given what was found so far.
    """
    rng, stock, found = random.Random(seed), bases(), Found()
    cases = chain(first, iter(lambda: case(rng, stock), None))
    settled = min(count // 4, 2_000)
    start = time.perf_counter()
    for number, each in enumerate(islice(cases, count)):
        if number == settled:
            found.rss_before = rss() if measure_self else 0
        _try(send, each, failed, f"seed {seed}, number {number}, {each.kinds}", number % CHECKED_FULLY == 0, found)
        found.requests, found.seconds = number + 1, time.perf_counter() - start
        if found.requests % TOLD_AFTER == 0 or found.requests == count:
            found.rss_after = rss() if measure_self else 0
            tell(found)
    return found


def _try(send: Send, each: Case, failed: str, name: str, fully: bool, found: Found) -> None:
    start = time.perf_counter()
    try:
        with _bounded():
            status, body = send(each)
    except Hang:
        found.bad.append(f"{name}: no answer within {BOUND} s of work or {WAITING} s")
        return
    except Exception as error:
        found.bad.append(f"{name}: {type(error).__name__}: {error}")
        return
    took = time.perf_counter() - start
    found.statuses[status] += 1
    found.kinds.update(each.kinds)
    found.answers[each.service, status] += 1
    if took > found.slowest:
        found.slowest, found.slowest_case = took, name
    problem = _problem(status, body, failed, fully and not each.service.endswith("/feedback"))
    if problem:
        found.bad.append(f"{name}: {problem}")
    elif status == 200:
        found.with_cards += b'"uuid"' in body


def _problem(status: int, body: bytes, failed: str, fully: bool) -> str | None:
    """What is wrong with an answer; None where nothing is."""
    if status not in ALLOWED:
        return f"answered {status}: {body[:200]!r}"
    try:
        content = decoded(body)
    except msgspec.DecodeError:
        return f"answered {status} with something else than JSON"
    if status != 200:
        return None if content.get("resourceType") == "OperationOutcome" else "an error that is no OperationOutcome"
    if any(card.get("summary") == failed for card in content.get("cards", ())):
        return "the service failed"
    wrong = faults(content) if fully else []
    return "; ".join(wrong) or None


@contextmanager
def _bounded() -> Iterator[None]:
    """Raises Hang in the main thread after BOUND seconds of work or WAITING seconds by the clock."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, BOUND), signal.ITIMER_REAL: (signal.SIGALRM, WAITING)}
    before = {number: signal.signal(number, ring) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _give_back() -> None:
    """Hand back what the C library only keeps for later: a body of some megabytes leaves as much behind, once."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def rss(pid: int | None = None) -> float:
    """Resident memory in MB (10^6 bytes): this process's after a collection, or another's; 0 without /proc."""
    if pid is None:
        gc.collect()
        _give_back()
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

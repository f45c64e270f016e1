"""Ask something that may be away: never for longer than an answer can wait, and not again at once after a failure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from queue import SimpleQueue
from typing import Any, TypeVar

from cds_service.errors import CdsError

log = logging.getLogger("ketamine_cds")

T = TypeVar("T")


class SaysWhy(CdsError):
    """An error whose message may be logged: it holds nothing of what was asked or sent."""


class Unanswered(SaysWhy):
    """There is no answer, or none in time."""


class Asking:
    """Questions to one dependency, each put by one of a few threads while the caller waits for `patience` seconds.

    After a question without an answer, nobody asks for `pause` seconds, so that a dependency that is away delays few
    callers and is used again soon after it is back. A thread whose question outlives its caller's patience is held
    until the question ends; once all are held, callers wait for none. The threads are daemons: none of them keeps a
    process from ending. Each outage is one WARNING, and one INFO when it is over.
    """

    def __init__(
        self,
        trouble: str,
        patience: float,
        pause: float = 3.0,
        threads: int = 2,
        failed: Callable[[], None] = lambda: None,
        held: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`trouble` stands in the log, before the reason.

        `failed` is told of each question without an answer, `held` how many threads are held whenever that changes.
        """
        self.patience = patience
        self._trouble = trouble
        self._pause = pause
        self._threads = threads
        self._failed = failed
        self._tell_held = held
        self._free = threading.Semaphore(threads)
        self._questions: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = False
        self._held = 0
        self._not_before = 0.0
        self._away_since: float | None = None

    @property
    def held(self) -> int:
        """Threads whose question has outlived its caller's patience."""
        return self._held

    @property
    def is_away(self) -> bool:
        """Whether the last question that was put had no answer."""
        return self._away_since is not None

    def ask(self, question: Callable[[], T], patience: float | None = None) -> T:
        """What `question` returns. Raises Unanswered: it failed, it is late, or the last one failed just now.

        A question that is given up is not stopped: it must end by itself, and may still do what it was to do. Where
        the caller has less `patience` than is usual here, being late is no fault of who is asked, and no outage.
        """
        wait = self.patience if patience is None else patience
        until = time.monotonic() + wait
        if time.monotonic() < self._not_before:
            raise Unanswered(f"{self._trouble}: no answer just now")
        if not self._free.acquire(timeout=max(0.0, wait)):
            raise self._late(wait, "every thread is held by an earlier question")
        answer: Future[T] = Future()
        self._start()
        self._questions.put((question, answer))
        try:
            error = answer.exception(max(0.0, until - time.monotonic()))
        except Late:
            self._hold(answer)
            raise self._late(wait, f"no answer within {round(wait * 1000)} ms") from None
        if error is not None:
            raise self._gave_up(str(error) if isinstance(error, SaysWhy) else type(error).__name__)
        self._answered()
        return answer.result()

    def _start(self) -> None:
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._started = True
                for _ in range(self._threads):
                    threading.Thread(target=self._put, name="asks", daemon=True).start()

    def _put(self) -> None:
        while True:
            question, answer = self._questions.get()
            try:
                found = question()
            except BaseException as error:  # the caller gets it, if anybody still waits
                self._free.release()
                answer.set_exception(error)
            else:
                self._free.release()
                answer.set_result(found)
            del question, answer  # or what was asked for last is kept

    def _hold(self, answer: Future[Any]) -> None:
        self._count_held(1)
        answer.add_done_callback(lambda _: self._count_held(-1))

    def _count_held(self, more: int) -> None:
        with self._lock:
            self._held += more
            self._tell_held(self._held)

    def _late(self, wait: float, why: str) -> Unanswered:
        return self._gave_up(why) if wait >= self.patience else Unanswered(f"{self._trouble}: {why}")

    def _gave_up(self, why: str) -> Unanswered:
        with self._lock:
            now = time.monotonic()
            self._not_before = now + self._pause
            is_new, self._away_since = self._away_since is None, self._away_since or now
        if is_new:
            log.warning("%s: %s", self._trouble, why)
        self._failed()
        return Unanswered(f"{self._trouble}: {why}")

    def _answered(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            log.info("no longer, after %d s: %s", time.monotonic() - since, self._trouble)

"""The audit's way to the store: a bounded queue and one thread, so that no answer waits for a disk or a network."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from cds_service.store.engines import Unavailable

log = logging.getLogger("ketamine_cds")

R = TypeVar("R")
"""A record."""

_LINGER = 0.05
"""Seconds that the thread waits for more to write with the first, and lets the answer leave."""
_LONGEST_PAUSE = 2.0
"""Seconds between two attempts while the store is away."""
_REPORT_EVERY = 60.0
_TELL_EVERY = 1.0


class Writer(Generic[R]):
    """Takes records from any thread, never blocks and never raises.

    What finds the queue full, what the store refuses, and what is left when time is up at the end is dropped and
    counted. While the store is away, records wait in the queue.
    """

    def __init__(
        self,
        write: Callable[[Sequence[R]], None],
        capacity: int = 10_000,
        batch: int = 50,
        patience: float = 5.0,
        lost: Callable[[int], None] = lambda count: None,
        waits: Callable[[int, float], None] = lambda count, age: None,
    ) -> None:
        """`write` raises Unavailable where trying again makes sense; `patience`: seconds for the rest at the end.

        `lost` is told each time how many records were dropped; `waits`, about once a second, how many records are
        not written yet and for how many seconds the oldest has been waiting.
        """
        self._lost = lost
        self._waits = waits
        self._told_waits = (float("-inf"), 0)
        self._write = write
        self._capacity = capacity
        self._batch = batch
        self._patience = patience
        self._queue: SimpleQueue[tuple[float, R]] = SimpleQueue()
        self._taken: list[R] = []
        self._oldest: float | None = None
        self._away_since: float | None = None
        self._accepted = self._settled = 0
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._end_by = float("inf")
        self._thread: threading.Thread | None = None
        self._finalize: Finalize | None = None
        self._written = 0
        self._dropped = 0
        self._reported = (0, float("-inf"))

    @property
    def written(self) -> int:
        """Records that are in the store."""
        return self._written

    @property
    def dropped(self) -> int:
        """Records that were lost."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Records that are neither written nor lost yet."""
        return self._accepted - self._settled

    @property
    def age(self) -> float:
        """Age in seconds of the oldest record that waits to be written; 0 if none waits."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    @property
    def is_away(self) -> bool:
        """Whether the store could not be written when it was last tried."""
        return self._away_since is not None

    def put(self, record: R) -> None:
        """Hand over a record."""
        self._tell_waits()
        with self._lock:
            is_taken = not self._ending.is_set() and self._queue.qsize() < self._capacity
            if is_taken:
                self._accepted += 1
                self._queue.put((time.monotonic(), record))
                if self._thread is None:
                    self._start()
        if not is_taken:
            self.drop(1)

    def drop(self, count: int) -> None:
        """Count records that are lost."""
        with self._lock:
            self._dropped += count
        self._lost(count)

    def close(self) -> None:
        """Write what is waiting, for as long as patience lasts, and end. Runs by itself when the process ends."""
        with self._lock:
            if self._ending.is_set():
                return
            self._end_by = time.monotonic() + self._patience
            self._ending.set()
        if self._thread is not None:
            self._thread.join(self._patience + 1)
        left = self.waiting
        if left:
            self.drop(left)
            log.error("the audit lost %d records: the store could not be written until the end", left)
        if self._finalize is not None:
            self._finalize.cancel()

    def _start(self) -> None:
        # Runs at the end of a worker process too, where atexit does not.
        self._finalize = Finalize(None, self.close, exitpriority=10)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._take()
            self._tell_waits()
            if self._ending.is_set() and not self.waiting:
                return
            if self._taken and not self._wrote_all():
                return
            self._report()

    def _take(self) -> None:
        try:
            self._oldest, first = self._queue.get(timeout=0.2)
            self._taken.append(first)
            self._ending.wait(_LINGER)
            while len(self._taken) < self._batch:
                self._taken.append(self._queue.get_nowait()[1])
        except Empty:
            return

    def _wrote_all(self) -> bool:
        """Write what was taken; False where time was up first."""
        pause = 0.1
        while self._taken:
            try:
                self._write(self._taken)
                self._done(len(self._taken))
            except Unavailable as error:
                self._note_away(error)
                self._report()
                self._tell_waits()
                if time.monotonic() + pause > self._end_by:
                    return False
                if self._ending.is_set():
                    time.sleep(pause)
                else:
                    self._ending.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE if not self._ending.is_set() else 0.5)
            except Exception as error:
                self._one_by_one(error)
        return True

    def _one_by_one(self, error: Exception) -> None:
        """Write records one by one, so that one refused record does not cost its neighbours."""
        if len(self._taken) == 1:
            log.error("the audit lost a record: %s", type(error).__name__)
            self.drop(1)
            self._settle(1)
            return
        try:
            self._write(self._taken[:1])
            self._written += 1
        except Unavailable:
            return
        except Exception as again:
            log.error("the audit lost a record: %s", type(again).__name__)
            self.drop(1)
        self._settle(1)

    def _done(self, count: int) -> None:
        self._note_back()
        self._written += count
        self._settle(count)

    def _settle(self, count: int) -> None:
        """The first so many of those that were taken are written, or lost and counted."""
        self._taken = self._taken[count:]
        if not self._taken:
            self._oldest = None
        self._settled += count

    def _note_away(self, error: Unavailable) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("the audit cannot be written, and records wait: %s", error)

    def _note_back(self) -> None:
        since, self._away_since = self._away_since, None
        if since is not None:
            log.info("the audit is written again, after %d s", time.monotonic() - since)

    def _tell_waits(self) -> None:
        """Called by whichever thread comes first, since records keep arriving while a write blocks the writer."""
        when, before = self._told_waits
        now, count = time.monotonic(), self.waiting
        if now - when >= _TELL_EVERY or (count == 0) != (before == 0):
            self._told_waits = (now, count)
            self._waits(count, self.age)

    def _report(self) -> None:
        """Log the number of lost records from time to time; the counter has each one."""
        said, when = self._reported
        if self._dropped > said and time.monotonic() - when >= _REPORT_EVERY:
            log.error("the audit has lost %d records since the start", self._dropped)
            self._reported = (self._dropped, time.monotonic())

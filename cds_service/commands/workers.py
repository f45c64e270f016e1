"""The worker processes of the server: one that dies or hangs is replaced at once, and none outlives the parent.

The server (granian) starts and stops them; what it does where one fails (end, or give up after the second time) is
replaced here. A spare worker, loaded and waiting, takes the place of a lost one in no time: loading takes seconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pipe, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.mp import MPServer

from cds_service.commands import leaving
from cds_service.errors import CdsError
from cds_service.web import logs, metrics
from cds_service.web.door import Bounds, Door
from cds_service.web.wire import place

log = logging.getLogger("ketamine_cds")

_LOOK = 0.25
"""Seconds between two checks of the workers. A worker's death is noticed at once."""
_BEAT = 0.5
"""Seconds between two signs of life of a worker."""
_SPARE_AFTER = 3.0
"""Seconds that all workers have served before a spare one is loaded: a start is not slowed by it."""
_STEADY = 10.0
"""A worker that has served for so many seconds did not end in a crash loop."""
_LONGEST_PAUSE = 30.0
"""Seconds between two tries in a crash loop."""
_SWITCH = 0.0005
"""Seconds after which a thread lets another go on. An order passes through threads six times: with Python's usual
5 ms it would take 30 ms beside another that takes long, instead of 5."""
_GO, _LOADED, _ALIVE = b"go", b"loaded", b"."
_LEAVE, _STOP = b"leave", b"stop"


@dataclass(frozen=True)
class Care:
    """How the workers are looked after."""

    hung_seconds: float = 5.0
    """A worker without a sign of life for so long is killed."""
    spares: int = 1
    stopping_seconds: float = 15.0
    """A worker that was told to stop is killed after that, and after its connections may have been idle."""


# In a worker ------------------------------------------------------------------------------------------------------


def load_and_wait(line: Connection, parent: int, bounds: Bounds, load: Callable[[], Any]) -> Door:
    """What a worker does before it serves: load the application, say so, and wait to be told to go."""
    _die_with(parent)
    logs.to_stderr()
    sys.setswitchinterval(_SWITCH)
    try:
        application = load()
        line.send_bytes(_LOADED)
        line.recv_bytes()
    except (EOFError, OSError):  # the parent is gone
        os._exit(1)
    except Exception as error:
        says = str(error) if isinstance(error, CdsError) else f"{type(error).__name__} at {place(error)}"
        log.error("a worker cannot start: %s", says)
        logging.shutdown()  # a background thread writes the log
        os._exit(1)
    door = Door(application, bounds, lambda loop: _live(line, door, bounds, loop), _end_at_once)
    return door


def _end_at_once() -> None:
    """Once the records and the log are written, which have higher priorities, end without taking Python apart.

    The server's own threads may come back to an interpreter that is half gone, and then abort the process.
    """
    Finalize(None, os._exit, (0,), exitpriority=-1)


def _live(line: Connection, door: Door, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
    """Show from the event loop, which serves, that it runs; go when the parent says so, end where it has ended."""
    going: list[asyncio.Task[None]] = []  # the loop keeps no task from being collected

    def beat() -> None:
        try:
            line.send_bytes(_ALIVE)
        except OSError:
            os._exit(1)
        loop.call_later(_BEAT, beat)

    def hear() -> None:
        try:
            said = line.recv_bytes()
        except (EOFError, OSError):  # the parent is gone
            os._exit(1)
        leaves = leaving.for_good(door) if said == _STOP else leaving.for_another(door, bounds.idle_seconds)
        going.append(loop.create_task(leaves))

    loop.add_reader(line.fileno(), hear)
    loop.call_soon(beat)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. It catches even a worker that is stopped or hangs."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def pause_after(failures: int) -> float:
    """Seconds until the next try, after so many early ends before this one."""
    return min(0.25 * 2 ** min(failures, 20), _LONGEST_PAUSE) if failures else 0.0


# In the parent ----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Worker:
    process: Any  # granian's, which has no types
    line: Connection
    is_loaded: bool = False
    has_lived: bool = False
    serving_since: float | None = None
    last_sign: float = field(default_factory=time.monotonic)
    stop_by: float = float("inf")

    @property
    def pid(self) -> int | None:
        pid: int | None = self.process.inner.pid
        return pid

    def listen(self, now: float) -> None:
        """Read the worker's messages."""
        try:
            while self.line.poll():
                said = self.line.recv_bytes()
                self.is_loaded = self.is_loaded or said == _LOADED
                self.has_lived = self.has_lived or said == _ALIVE
                self.last_sign = now
        except (EOFError, OSError):
            return  # the worker has ended; `_bury` notices

    def go(self, now: float) -> None:
        self.serving_since = self.last_sign = now
        self.tell(_GO)

    def tell(self, what: bytes) -> None:
        try:
            self.line.send_bytes(what)
        except OSError:
            return  # the worker has ended; `_bury` notices


class Supervisor(MPServer):
    """The server's parent process. `check` is called before a reload; what it raises, as text, refuses it."""

    def __init__(
        self,
        *arguments: Any,
        bounds: Bounds,
        care: Care,
        check: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._bounds = bounds
        self._care = care
        self._check = check
        self._serving: list[_Worker] = []
        self._coming: list[_Worker] = []
        """Loading, or loaded and waiting: the first to be ready takes the next free place."""
        self._leaving: list[_Worker] = []
        self._outdated: set[_Worker] = set()
        """Serving until one that was loaded after a reload takes its place."""
        self._failures = 0
        self._not_before = 0.0
        self._complete_since = float("inf")
        self._has_served = False
        self._gives_up = False

    # What replaces granian's loop

    def _init_shared_socket(self) -> None:
        """One listening socket for all workers: what waits in its queue is not lost with a worker, and no connection
        is given to one that is stopped. (By itself granian lets each worker listen, on Linux.)"""
        listening: Any = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd, self._ssp = listening, None
        self._sso = socket.socket(fileno=listening.get_fd())
        self._sso.set_inheritable(True)

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        self._targets = (spawn_target, target_loader)

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        seen = time.monotonic()
        while not (self.interrupt_signal or self._gives_up):
            now = time.monotonic()
            if now - seen > 4 * _LOOK:  # this process itself was suspended, so the workers' silence means nothing
                for worker in self._serving:
                    worker.last_sign = now
            seen = now
            if self.reload_signal:
                self.reload_signal = False
                self._begin_reload()
            self._look_after(now)
            self.main_loop_interrupt.wait(_LOOK)
            self.main_loop_interrupt.clear()

    def _stop_workers(self) -> None:
        for worker in self._coming:
            worker.process.kill()
        for worker in self._leaving:
            worker.process.terminate()
        for worker in list(self._serving):
            self._dismiss(worker, time.monotonic(), _STOP)
        end = time.monotonic() + self._care.stopping_seconds
        for worker in (*self._coming, *self._leaving, *self._serving):
            worker.process.join(max(end - time.monotonic(), 0.001))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(1)
        # What granian takes for workers that failed: with any of them it ends with 1.
        self.interrupt_children = [0] if self._gives_up else []

    # One look

    def _look_after(self, now: float) -> None:
        for worker in (*self._serving, *self._coming, *self._leaving):
            worker.listen(now)
            self._has_served = self._has_served or worker.has_lived
        self._bury(now)
        self._fill(now)
        self._hire(now)
        self._count()

    def _count(self) -> None:
        metrics.workers_serving(sum(worker.has_lived for worker in self._serving))

    def _bury(self, now: float) -> None:
        """Remove workers that have ended or hang; log and count each."""
        for worker in list(self._serving):
            if not worker.process.is_alive():
                self._lost(worker, now, _ended(worker.process.inner.exitcode))
            elif now - worker.last_sign > self._care.hung_seconds:
                worker.process.kill()
                self._lost(worker, now, "hung")
        for worker in [each for each in self._coming if not each.process.is_alive()]:
            self._coming.remove(worker)
            self._failed(now)
            self._say(worker, "not-loaded")
        for worker in list(self._leaving):
            if not worker.process.is_alive():
                self._leaving.remove(worker)
                self._forget(worker)
            elif now > worker.stop_by:
                worker.process.kill()

    def _lost(self, worker: _Worker, now: float, why: str) -> None:
        self._serving.remove(worker)
        self._outdated.discard(worker)
        self._count()  # before the loss is said: whoever hears of it reads how many are left
        if worker.serving_since is not None and now - worker.serving_since >= _STEADY:
            self._failures = 0
        else:
            self._failed(now)
        self._say(worker, why)

    def _failed(self, now: float) -> None:
        """Wait longer before the next attempt with each early end in a row."""
        self._not_before = now + pause_after(self._failures)
        self._failures += 1

    def _say(self, worker: _Worker, why: str) -> None:
        log.error("worker %s was lost (%s) and is replaced", worker.pid, why)
        metrics.worker_lost(why)
        self._forget(worker)
        if not self._has_served and self._failures >= 3:
            self._gives_up = True

    def _forget(self, worker: _Worker) -> None:
        worker.line.close()
        if worker.pid is not None:
            metrics.worker_ended(worker.pid)

    def _fill(self, now: float) -> None:
        """Let loaded workers serve: in free places first, then in those of outdated ones."""
        for worker in [each for each in self._coming if each.is_loaded]:
            is_free = len(self._serving) < self.workers
            if not is_free and not self._outdated:
                return
            if is_free and now < self._not_before:
                return
            self._coming.remove(worker)
            worker.go(now)
            if not is_free:
                self._dismiss(self._outdated.pop(), now, _LEAVE)
            self._serving.append(worker)
            if len(self._serving) == self.workers and not self._outdated:
                self._complete_since = now

    def _dismiss(self, worker: _Worker, now: float, how: bytes) -> None:
        """Let it finish its calls and write its records. Of those that leave, no more linger than serve."""
        self._serving.remove(worker)
        self._leaving.append(worker)
        worker.stop_by = now + self._care.stopping_seconds + self._bounds.idle_seconds
        worker.tell(how)
        for earlier in self._leaving[: -self.workers]:
            earlier.process.terminate()

    def _hire(self, now: float) -> None:
        """Load as many as places are free or outdated, and a spare one once all is quiet."""
        wanted = self.workers - len(self._serving) + len(self._outdated)
        if not wanted and now - self._complete_since > _SPARE_AFTER:
            wanted = self._care.spares
        if now < self._not_before:
            return
        while len(self._coming) < wanted:
            self._coming.append(self._load())

    def _load(self) -> _Worker:
        ours, theirs = Pipe()
        target, loader = self._targets
        process = self._spawn_worker(0, target, partial(load_and_wait, theirs, os.getpid(), self._bounds, loader))
        # Ctrl-C reaches every process of the terminal, and the parent alone acts on it. A worker never hears it: its
        # first imports would break off, and the server, which listens to it by itself, would stop.
        resource_tracker.ensure_running()  # it would let the first worker hear it, were it started with that
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()  # type: ignore[no-untyped-call]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        theirs.close()
        return _Worker(process, ours)

    # Reload

    def _begin_reload(self) -> None:
        """On SIGHUP, replace the workers one by one with workers that have reread the files."""
        try:
            self._check()
        except Exception as error:
            log.error("nothing was reloaded, the service goes on as it was: %s", error)
            return
        log.info("reloading")
        for worker in self._coming:
            worker.process.kill()
            worker.process.join(1)
            worker.line.close()
        self._coming.clear()
        self._outdated = set(self._serving)


def _ended(code: int | None) -> str:
    """Why a process ended, in a word from a closed list."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return "signal"
    return "exit"

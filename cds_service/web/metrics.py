"""What Prometheus is told, added up over all worker processes; no label holds anything of a patient.

Where PROMETHEUS_MULTIPROC_DIR names a folder when a process first counts, the workers keep their figures there and
each can answer for all. `serve` makes such a folder; an application in one process needs none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import ModuleType
from typing import Any

from cds_service.fhir.source import Answer, Source
from cds_service.says import Says
from cds_service.web.connections import Connections

log = logging.getLogger("ketamine_cds")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NO_CLIENT = "none"
"""The label of a call that is nobody's: of health or a page, or without a token that could be read."""


@contextmanager
def shared_folder() -> Iterator[None]:
    """For whoever starts workers: a folder for their figures, unless the environment has one, while it lasts.

    Folders that a killed service left behind are removed first; only this user can look into them.
    """
    if FOLDER in os.environ:
        yield
        return
    _clear_left_folders()
    with TemporaryDirectory(prefix=_PREFIX) as folder, _owning(Path(folder)):
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


_PREFIX = "ketamine-cds-"
_OWNER = "owner.lock"
"""Locked as long as the service runs whose folder it is: a process id would say nothing between containers."""


@contextmanager
def _owning(folder: Path) -> Iterator[None]:
    with (folder / "new.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "new.lock").rename(folder / _OWNER)
        yield


def _clear_left_folders() -> None:
    for lock in Path(gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        try:
            if lock.parent.is_symlink() or lock.parent.stat().st_uid != os.getuid():
                continue
            with lock.open("rb") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # its owner lives, or it is gone already
            continue


def start() -> None:
    """Make the instruments. For a process that serves requests, once it has its environment."""
    _instruments()


def answered(service: str, status: int, seconds: float, client: str | None = None) -> None:
    """One answered request. `service` is an id from discovery or the name of a route, `client` a configured id."""
    of = _instruments()
    of.duration(service).observe(seconds)
    of.counted(of.REQUESTS, service, str(status), client or NO_CLIENT).inc()
    if client is not None:
        of.gauge(of.LAST_CALL, client).set_to_current_time()


def judged() -> None:
    """An order was judged now."""
    _instruments().LAST_JUDGED.set_to_current_time()


def carded(cards: Iterable[tuple[str, str]]) -> None:
    """Cards as (leading rule, indicator)."""
    of = _instruments()
    for rule, severity in cards:
        of.counted(of.CARDS, rule, severity).inc()


def could_not_tell(facts: Iterable[str]) -> None:
    """The facts that were missing, once for each rule that wanted them."""
    of = _instruments()
    for fact in facts:
        of.counted(of.COULD_NOT_TELL, fact).inc()


def not_sent(client: str, queries: Iterable[str]) -> None:
    """Lists that a rule reads and that the client did not send, once for each answered call."""
    of = _instruments()
    for query in queries:
        of.counted(of.NOT_SENT, client, query).inc()


def fetched(result: str) -> None:
    """One search on a FHIR server: complete, partial (pages came, but not all) or failed."""
    of = _instruments()
    of.counted(of.FETCHES, result).inc()


def fhir_thread(change: int) -> None:
    """A thread began (1) or ended (-1) to wait for a FHIR server."""
    _instruments().FHIR_THREADS.inc(change)


def late(step: str) -> None:
    """An answer was not complete in time; the step that was not done is a word from a closed list."""
    of = _instruments()
    of.counted(of.LATE_ANSWERS, step).inc()


def refused(reason: str, client: str | None = None) -> None:
    """A call without a token, or with one that cannot be accepted; the reason is a word from a closed list.

    `client` is the configured id of whom the token says that it is from; nothing proves that.
    """
    of = _instruments()
    of.counted(of.AUTH_REFUSALS, reason, client or NO_CLIENT).inc()


def audit_dropped(records: int) -> None:
    _instruments().AUDIT_DROPS.inc(records)


def audit_waits(count: int, age: float) -> None:
    """Records that this worker has not written yet, and the age of the oldest in seconds."""
    of = _instruments()
    of.AUDIT_WAITING.set(count)
    of.AUDIT_OLDEST.set(age)


def candidate_call(client: str, result: str) -> None:
    """An answered call that a candidate policy judged, or that was dropped, or at which it failed."""
    of = _instruments()
    of.counted(of.CANDIDATE, client, result).inc()


def unanswered(asked: str) -> Callable[[], None]:
    """Counts a question that had no answer in time; `asked` is what it was about."""

    def count() -> None:
        of = _instruments()
        of.counted(of.UNANSWERED, asked).inc()

    return count


def held(asked: str) -> Callable[[int], None]:
    """Takes how many threads such questions hold in this worker."""

    def tell(count: int) -> None:
        of = _instruments()
        of.gauge(of.HELD, asked).set(count)

    return tell


def failed() -> None:
    """An order was not checked because the service itself failed."""
    _instruments().FAILURES.inc()


def shed(why: str) -> None:
    """A call that was not judged: too many calls, too many bytes in flight, too large a header, no turn in time."""
    of = _instruments()
    of.counted(of.SHED, why).inc()


def in_hand(calls: int, size: int) -> None:
    """What this process has in hand: calls, and bytes of their bodies."""
    of = _instruments()
    for gauge, value in ((of.CALLS, calls), (of.BYTES, size), (of.THREADS, threading.active_count())):
        if _in_hand.get(gauge) != value:  # to set one costs more than all the rest, and of three one changes
            _in_hand[gauge] = value
            gauge.set(value)


_in_hand: dict[Any, int] = {}
"""What was told last, by gauge."""


def connection_used() -> None:
    """A first request came on a connection."""
    _instruments().CONNECTIONS_USED.inc()


def connection_moved() -> None:
    """A caller was told to connect anew, since its call met another in its worker."""
    _instruments().CONNECTIONS_MOVED.inc()


def connected(seen: Connections | None) -> None:
    """The connections of the port, of all workers; None where the kernel does not say."""
    if seen is None:
        return
    of = _instruments()
    of.CONNECTIONS.set(seen.open)
    of.CONNECTIONS_WAITING.set(seen.waiting)
    if seen.overflows is not None:
        of.CONNECTION_OVERFLOWS.set(seen.overflows)


def worker_lost(why: str) -> None:
    """A worker process ended, hung or could not be loaded; counted by the parent of all workers."""
    of = _instruments()
    of.counted(of.WORKER_RESTARTS, why).inc()


def workers_serving(count: int) -> None:
    """How many workers take calls; told by the parent of all workers."""
    _instruments().WORKERS_SERVING.set(count)


def worker_ended(pid: int) -> None:
    """What this process counted stays; what it had in hand is gone."""
    if FOLDER in os.environ:
        _instruments().forget(pid)


def exposed() -> tuple[bytes, str]:
    """(all figures in Prometheus' text format, its media type)."""
    of, folder = _instruments(), os.environ.get(FOLDER)
    if folder is not None and not any(Path(folder).glob(f"*_{os.getpid()}.db")):
        log.error("%s was cleared away, and the figures with it; SIGHUP to the service makes new ones", folder)
        return b"", of.MEDIA_TYPE
    return of.exposed(folder is not None), of.MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Counted:
    """A FHIR server whose searches are counted by how they ended."""

    source: Source
    recorded: Callable[[Says], str]
    """Puts a gap into the words that are logged."""

    @property
    def why_not(self) -> Says | None:
        return self.source.why_not

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        answers = self.source.fetch(urls)
        if self.source.why_not is None:
            for each in answers.values():
                fetched("complete" if each.gap is None else "partial" if each.pages else "failed")
            gaps = Counter(each.gap for each in answers.values() if each.gap is not None)
            for gap, count in gaps.items():  # in words of ours, which a clinician reads too
                host = getattr(self.source, "host", "the FHIR server")
                log.warning("%d of %d searches on %s: %s", count, len(answers), host, self.recorded(gap))
        return answers


@lru_cache(maxsize=1)
def _instruments() -> ModuleType:
    """Not before they are needed: see there."""
    _prepare_files()
    from cds_service.web import instruments

    return instruments


_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_max", "gauge_mostrecent")
_ROOM = 131_072
"""Bytes of each kind's file: some four times what all figures of a worker take."""


def _prepare_files() -> None:
    """This process's files, with their room on the disk: one that is full ends whoever writes into its memory.

    The folder is made once more where somebody has cleared it away. A process that gets none counts for itself.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    files = [Path(folder, f"{kind}_{os.getpid()}.db") for kind in _KINDS]
    try:
        Path(folder).mkdir(mode=0o700, exist_ok=True)
        for each in files:
            with each.open("ab") as file:
                file.write(bytes(max(_ROOM - file.tell(), 0)))
    except OSError as error:
        with suppress(OSError):
            for each in files:
                each.unlink(missing_ok=True)  # an empty one could not be read by the others
        log.error("this process counts for itself: %s cannot be used: %s", folder, error.strerror)
        del os.environ[FOLDER]

"""What Prometheus is told, added up over all worker processes; no label holds anything of a patient.

Where PROMETHEUS_MULTIPROC_DIR names a folder when a process first counts, the workers keep their figures there and
each can answer for all. `serve` makes such a folder; an application in one process needs none.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from tempfile import TemporaryDirectory
from types import ModuleType

from cds_service.fhir.client import Answer, Source

log = logging.getLogger("ketamine_cds")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NO_CLIENT = "none"
"""The label of a call that is nobody's: of health or a page, or without a token that could be read."""


@contextmanager
def shared_folder() -> Iterator[None]:
    """For whoever starts workers: a folder for their figures, unless the environment has one, while it lasts."""
    if FOLDER in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="ketamine-cds-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


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


def fetched(result: str) -> None:
    """One search on a FHIR server: complete, partial (pages came, but not all) or failed."""
    of = _instruments()
    of.counted(of.FETCHES, result).inc()


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


def exposed() -> tuple[bytes, str]:
    """(all figures in Prometheus' text format, its media type)."""
    of = _instruments()
    return of.exposed(FOLDER in os.environ), of.MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Counted:
    """A FHIR server whose searches are counted by how they ended."""

    source: Source

    @property
    def why_not(self) -> str | None:
        return self.source.why_not

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        answers = self.source.fetch(urls)
        if self.source.why_not is None:
            for each in answers.values():
                fetched("complete" if each.gap is None else "partial" if each.pages else "failed")
            gaps = Counter(each.gap for each in answers.values() if each.gap is not None)
            for gap, count in gaps.items():  # in words of ours, which a clinician reads too
                host = getattr(self.source, "host", "the FHIR server")
                log.warning("%d of %d searches on %s: %s", count, len(answers), host, gap)
        return answers


@lru_cache(maxsize=1)
def _instruments() -> ModuleType:
    """Not before they are needed: see there."""
    from cds_service.web import instruments

    return instruments

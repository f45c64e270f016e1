"""What Prometheus is told, added up over all worker processes; no label holds anything of a patient.

Where PROMETHEUS_MULTIPROC_DIR names a folder when a process first counts, the workers keep their figures there and
each can answer for all. `serve` makes such a folder; an application in one process needs none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from tempfile import TemporaryDirectory
from types import ModuleType

from cds_service.fhir.client import Answer, Source

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


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


def answered(service: str, status: int, seconds: float) -> None:
    """One answered request. `service` is an id from discovery or the name of a route."""
    of = _instruments()
    of.duration(service).observe(seconds)
    of.counted(of.REQUESTS, service, str(status)).inc()


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


def refused(reason: str) -> None:
    """A call without a token, or with one that cannot be accepted; the reason is a word from a closed list."""
    of = _instruments()
    of.counted(of.AUTH_REFUSALS, reason).inc()


def audit_dropped(records: int) -> None:
    _instruments().AUDIT_DROPS.inc(records)


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
        return answers


@lru_cache(maxsize=1)
def _instruments() -> ModuleType:
    """Not before they are needed: see there."""
    from cds_service.web import instruments

    return instruments

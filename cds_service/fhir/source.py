"""Where data can be had that the prefetch lacks, whatever stands behind it; or that there is nowhere to ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from cds_service import bounds
from cds_service.fhir.bundles import Page
from cds_service.fhir.medication import to_read
from cds_service.says import Says
from cds_service.says import records as says


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a server may cost one call. `deadline` is in seconds and covers all searches together."""

    deadline: float = 0.4
    """Less where the answer must be ready before."""
    max_bytes: int = 8_000_000
    """Of one page."""
    max_total_bytes: int = 16_000_000
    """Of all pages of all searches."""
    max_pages: int = 20
    """Of one search."""

    @property
    def milliseconds(self) -> int:
        return round(self.deadline * 1000)


@dataclass(slots=True)
class Answer:
    """What one search gave: the pages that came in time, and why it is not complete (None: it is)."""

    pages: list[Page] = field(default_factory=list)
    gap: Says | None = None

    def so_far(self) -> Answer:
        """A copy that a thread which is still reading cannot change. The gap first: it is lifted last."""
        gap = self.gap
        return Answer(list(self.pages), gap)


class Source(Protocol):
    """Where missing data can be had."""

    @property
    def why_not(self) -> Says | None:
        """Why nothing can be had; None where there is a server to ask."""

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]: ...


@dataclass(frozen=True, slots=True)
class NoSource:
    """No FHIR server to ask, and the reason, as a clinician may read it."""

    why_not: Says | None = says.NOT_SENT_NO_SERVER

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        return {key: Answer(gap=self.why_not) for key in urls}


def read_named(source: Source, kind: str, references: Iterable[str | None], server: str | None) -> Iterator[Page]:
    """What references to a `kind` of resource on `server` name, read one by one; of very many the first.

    What is not read stays unknown, and whoever asks says so.
    """
    wanted = dict.fromkeys(url for each in references if each and (url := to_read(each, kind, server)))
    urls = {each: each for each in islice(wanted, bounds.REFERENCES)}
    if urls and source.why_not is None:
        for answer in source.fetch(urls).values():
            yield from answer.pages

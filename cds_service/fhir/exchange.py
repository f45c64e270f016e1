"""Searches on the FHIR server of one call: all at once, over one pooled session, under one deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urljoin, urlsplit

from cds_service import transport
from cds_service.deadline import Deadline, Late
from cds_service.fhir import bundles
from cds_service.fhir.addresses import LONGEST, is_below
from cds_service.fhir.source import Answer, Limits, Source
from cds_service.says import Said, Says
from cds_service.says import records as says
from cds_service.transport import Budget

KEPT_FOR_JUDGING = 0.05
"""Seconds before an answer's deadline at which searches end: a slow server must not cost the dose its check."""


class Exchange:
    """What the searches on all servers of one client share: a session, and who is told of each thread."""

    def __init__(self, ca_bundle: str | None, connections: int, held: Callable[[int], None]) -> None:
        self.held = held
        self.session = transport.session(ca_bundle=ca_bundle, connections=connections)

    def with_server(
        self, base: str, pool: ThreadPoolExecutor, token: str | None, limits: Limits, deadline: Deadline
    ) -> Source:
        """The server below `base`, asked in the threads of `pool`."""
        return _FhirServer(self, base, pool, token, limits, deadline)


class _FhirServer:
    """One allowed server for one request."""

    why_not: Says | None = None

    def __init__(
        self,
        exchange: Exchange,
        base: str,
        pool: ThreadPoolExecutor,
        token: str | None,
        limits: Limits,
        deadline: Deadline,
    ) -> None:
        self._exchange = exchange
        self._limits = limits
        self._pool = pool
        self._base = base
        self.host = urlsplit(base).netloc
        """Of a base that is on the list."""
        self._headers = {"Accept": "application/fhir+json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        seconds = min(self._limits.deadline, deadline.left - KEPT_FOR_JUDGING)
        self._deadline = Deadline.after(seconds)
        in_full = says.NOT_WITHIN(str(self._limits.milliseconds))
        self._late = says.NOT_IN_TIME if seconds < 0.9 * self._limits.deadline else in_full
        self._budget = Budget(self._limits.max_total_bytes)

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        """All of `urls` (relative ones, or page links) at once. Returns by the deadline, with what came."""
        answers = {key: Answer(gap=self._late) for key in urls}
        jobs = [self._pool.submit(self._follow, url, answers[key]) for key, url in urls.items()]
        wait(jobs, timeout=self._deadline.left)
        for job in jobs:
            job.cancel()
        return {key: answer.so_far() for key, answer in answers.items()}

    def _follow(self, url: str, answer: Answer) -> None:
        self._exchange.held(1)
        try:
            self._pages(url, answer)
        finally:
            self._exchange.held(-1)

    def _pages(self, url: str, answer: Answer) -> None:
        """Follow the pages of one search. The gap is lifted only when the last page has come."""
        seen: set[str] = set()
        link: str | None = url
        while link:
            absolute = self._absolute(link)
            if not is_below(absolute, self._base):
                answer.gap = says.NEXT_PAGE_ELSEWHERE
                return
            if absolute in seen or len(seen) >= self._limits.max_pages:
                answer.gap = says.MORE_PAGES(str(len(seen)))
                return
            seen.add(absolute)
            try:
                page = bundles.page_to_read(self._read(absolute), deadline=self._deadline)
            except Late:
                answer.gap = self._late
                return
            except transport.Failure as failure:
                answer.gap = self._says(failure)
                return
            answer.pages.append(page)
            if "?" in url and not page.is_bundle and not page.error:
                answer.gap = says.NO_SEARCH_RESULT
                return
            link = page.next
        answer.gap = next((page.error for page in answer.pages if page.error), None)

    def _absolute(self, link: str) -> str:
        """A link as an address; what is too long for one, or is none, as it stands."""
        try:
            return urljoin(self._base, link) if len(link) <= LONGEST else link
        except ValueError:
            return link

    def _read(self, url: str) -> bytes:
        """The body. One that is complete after the deadline is too late to be parsed."""
        page = Budget(self._limits.max_bytes)
        body = transport.get(self._exchange.session, url, self._headers, self._deadline, page, self._budget)
        if self._deadline.is_over:
            raise transport.NotInTime
        return body

    def _says(self, failure: transport.Failure) -> Said:
        """In words that a clinician may read."""
        match failure:
            case transport.NotInTime():
                return self._late
            case transport.Refused():
                return says.SERVER_ANSWERED(str(failure.status))
            case transport.TooLarge():
                return says.ANSWER_TOO_LARGE
        return says.NOT_REACHED

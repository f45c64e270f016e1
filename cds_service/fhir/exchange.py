"""Searches on the FHIR server of one call: all at once, over one pooled session, under one deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urljoin, urlsplit

from cds_service import bounds, transport
from cds_service.deadline import Deadline, Late
from cds_service.fhir import bundles
from cds_service.fhir.addresses import is_below
from cds_service.fhir.source import Answer, Limits, Source
from cds_service.says import Said, Says
from cds_service.says import records as says
from cds_service.transport import PLAIN, Budget

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


class Base:
    """An address with a slash at its end, and where the links lead that are found there."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._takes_more = is_below(address, address) and urljoin(address, "x") == address + "x"

    def below(self, link: str) -> str | None:
        """The absolute address of a link; None where it does not lie below."""
        if len(link) > bounds.ADDRESS:
            return None
        is_short = len(self.address) + len(link) <= bounds.ADDRESS
        if self._takes_more and is_short and PLAIN.fullmatch(link):  # as nearly all do
            return self.address + link
        try:
            absolute = urljoin(self.address, link)
        except ValueError:
            absolute = link
        return absolute if is_below(absolute, self.address) else None


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
        self._base = Base(base)
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
        try:
            prepared = transport.Prepared(self._exchange.session, self._base.address, self._headers)
        except transport.Failure as failure:
            return {key: Answer(gap=self._says(failure)) for key in urls}
        answers = {key: Answer(gap=self._late) for key in urls}
        jobs = [self._pool.submit(self._follow, prepared, url, answers[key]) for key, url in urls.items()]
        wait(jobs, timeout=self._deadline.left)
        for job in jobs:
            job.cancel()
        return {key: answer.so_far() for key, answer in answers.items()}

    def _follow(self, prepared: transport.Prepared, url: str, answer: Answer) -> None:
        self._exchange.held(1)
        try:
            self._pages(prepared, url, answer)
        finally:
            self._exchange.held(-1)

    def _pages(self, prepared: transport.Prepared, url: str, answer: Answer) -> None:
        """Follow the pages of one search. The gap is lifted only when the last page has come."""
        seen: set[str] = set()
        link: str | None = url
        while link:
            absolute = self._base.below(link)
            if absolute is None:
                answer.gap = says.NEXT_PAGE_ELSEWHERE
                return
            if absolute in seen or len(seen) >= self._limits.max_pages:
                answer.gap = says.MORE_PAGES(str(len(seen)))
                return
            seen.add(absolute)
            try:
                page = bundles.page_to_read(self._read(prepared, absolute), deadline=self._deadline)
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

    def _read(self, prepared: transport.Prepared, url: str) -> bytes:
        """The body. One that is complete after the deadline is too late to be parsed."""
        page = Budget(self._limits.max_bytes)
        body = prepared.get(url, self._deadline, page, self._budget)
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

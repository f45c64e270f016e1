"""The EHR's FHIR server: all searches at once, one pooled session, one deadline, never off the allowlist."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from cds_service import transport
from cds_service.deadline import NEVER, Deadline, Late
from cds_service.fhir import bundles
from cds_service.fhir.source import Answer, NoSource, Source
from cds_service.says import Said, Says
from cds_service.says import records as says
from cds_service.transport import Budget

log = logging.getLogger("ketamine_cds")

KEPT_FOR_JUDGING = 0.05
"""Seconds before an answer's deadline at which searches end: a slow server must not cost the dose its check."""
MAX_TOKEN = 16_384
"""Characters of an access token: servers take no longer head, and 15 searches would send each megabyte 15 times."""


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


def _origin_and_path(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = {"https": 443, "http": 80}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, parts.path.rstrip("/") + "/"


def is_below(url: str, base: str) -> bool:
    """Whether `url` is `base` or lies below it: same scheme, host and port, no credentials, no way up."""
    try:
        parts = urlsplit(url)
        # urlsplit passes over tabs and line ends; what sends the request does not.
        if "@" in parts.netloc or "\\" in url or any(char < " " for char in url) or not _stays_below(parts.path):
            return False
        *origin, path = _origin_and_path(url)
        *base_origin, base_path = _origin_and_path(base)
    except ValueError:
        return False
    return origin == base_origin and path.startswith(base_path)


def _stays_below(path: str) -> bool:
    """Whether no server finds a way up in a path. One that is encoded twice is refused: some decode it twice."""
    way = unquote(path)
    # `..;` is `..` to servers that know path parameters; what is no UTF-8 may be a point in a longer form.
    upwards = any(step.partition(";")[0] == ".." for step in way.split("/"))
    return not upwards and unquote(way) == way and not any(c < " " or c in "\\\ufffd" for c in way)


class FhirServers:
    """The FHIR servers that may be asked: one pooled session, and a bounded pool of threads for each.

    A server that is slow starves only its own callers, and no thread is held beyond the deadline of its call. `held`
    is told of each thread that begins (1) or ends (-1) to wait for a server.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        limits: Limits,
        threads: int = 32,
        ca_bundle: str | None = None,
        held: Callable[[int], None] = lambda change: None,
    ) -> None:
        self.allowed = tuple(allowed)
        self.limits = limits
        self.held = held
        self.session = transport.session(ca_bundle=ca_bundle, connections=max(threads, len(self.allowed) + 1))
        self._pools = {base: ThreadPoolExecutor(threads, thread_name_prefix="fhir") for base in self.allowed}

    def source(self, base: str | None, token: str | None, deadline: Deadline = NEVER) -> Source:
        """The server that the request names, if it is allowed. What it does is over by the deadline."""
        if not base:
            return NoSource()
        allowed = next((each for each in self.allowed if is_below(base, each)), None)
        if token and len(token) > MAX_TOKEN:
            return NoSource(says.NOT_SENT_TOKEN_TOO_LONG)
        if allowed is None:
            # Not the one that is named: whoever calls may write anything there.
            listed = ", ".join(self.allowed) or "none"
            log.warning("a request names a FHIR server that is not on its client's list; on the list: %s", listed)
            return NoSource(says.NOT_SENT_SERVER_NOT_ALLOWED)
        return _FhirServer(self, self._pools[allowed], base.rstrip("/") + "/", token, deadline)

    def close(self) -> None:
        """Let go of the connections; searches that wait for a thread are dropped."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self.session.close()


class _FhirServer:
    """One allowed server for one request."""

    why_not: Says | None = None

    def __init__(
        self, servers: FhirServers, pool: ThreadPoolExecutor, base: str, token: str | None, deadline: Deadline
    ) -> None:
        self._servers = servers
        self._limits = servers.limits
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
        self._servers.held(1)
        try:
            self._pages(url, answer)
        finally:
            self._servers.held(-1)

    def _pages(self, url: str, answer: Answer) -> None:
        """Follow the pages of one search. The gap is lifted only when the last page has come."""
        seen: set[str] = set()
        link: str | None = url
        while link:
            try:
                absolute = urljoin(self._base, link)
            except ValueError:
                absolute = link
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

    def _read(self, url: str) -> bytes:
        """The body. One that is complete after the deadline is too late to be parsed."""
        page = Budget(self._limits.max_bytes)
        body = transport.get(self._servers.session, url, self._headers, self._deadline, page, self._budget)
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

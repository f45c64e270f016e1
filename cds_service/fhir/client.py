"""The EHR's FHIR server: all searches at once, one pooled session, one deadline, never off the allowlist."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as LateError

from cds_service.fhir import bundles
from cds_service.fhir.bundles import Page

log = logging.getLogger("ketamine_cds")

_CHUNK = 65536


@dataclass(slots=True)
class Answer:
    """What one search gave: the pages that came in time, and why it is not complete (None: it is)."""

    pages: list[Page] = field(default_factory=list)
    gap: str | None = None

    def so_far(self) -> Answer:
        """A copy that a thread which is still reading cannot change. The gap first: it is lifted last."""
        gap = self.gap
        return Answer(list(self.pages), gap)


class Source(Protocol):
    """Where missing data can be had."""

    @property
    def why_not(self) -> str | None:
        """Why nothing can be had; None where there is a server to ask."""

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]: ...


@dataclass(frozen=True, slots=True)
class NoSource:
    """No FHIR server to ask, and the reason, as a clinician may read it."""

    why_not: str | None = "it was not sent, and there is no FHIR server to ask"

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        return {key: Answer(gap=self.why_not) for key in urls}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a server may cost. `deadline` is in seconds and covers all searches together."""

    deadline: float = 0.4
    max_bytes: int = 8_000_000
    max_pages: int = 20


def _origin_and_path(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, parts.path.rstrip("/") + "/"


def is_below(url: str, base: str) -> bool:
    """Whether `url` is `base` or lies below it: same scheme, host and port, no credentials, no way up."""
    try:
        parts = urlsplit(url)
        way = unquote(parts.path)
        # `..;` is `..` to servers that know path parameters.
        upwards = any(step.partition(";")[0] == ".." for step in way.split("/"))
        # urlsplit passes over tabs and line ends; what sends the request does not.
        if "@" in parts.netloc or "\\" in url or "\\" in way or upwards or any(char < " " for char in url):
            return False
        *origin, path = _origin_and_path(url)
        *base_origin, base_path = _origin_and_path(base)
    except ValueError:
        return False
    return origin == base_origin and path.startswith(base_path)


class FhirServers:
    """The FHIR servers that may be asked: one pooled session, and a bounded pool of threads for each.

    A server that holds its threads (it may drip a header for minutes) starves only its own callers.
    """

    def __init__(
        self, allowed: Sequence[str], limits: Limits, threads: int = 32, ca_bundle: str | None = None
    ) -> None:
        self.allowed = tuple(allowed)
        self.limits = limits
        self._pools = {base: ThreadPoolExecutor(threads, thread_name_prefix="fhir") for base in self.allowed}
        self._session = requests.Session()
        # No .netrc and no proxy from the environment: the token goes to the allowed server and nowhere else.
        self._session.trust_env = False
        # One session for all: a server's cookie for one user must not come along with another's token.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        if ca_bundle:
            self._session.verify = ca_bundle
        adapter = HTTPAdapter(pool_connections=len(self.allowed) + 1, pool_maxsize=threads)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def source(self, base: str | None, token: str | None) -> Source:
        """The server that the request names, if it is allowed."""
        if not base:
            return NoSource()
        allowed = next((each for each in self.allowed if is_below(base, each)), None)
        if allowed is None:
            # Not the one that is named: whoever calls may write anything there.
            listed = ", ".join(self.allowed) or "none"
            log.warning("a request names a FHIR server that is not on its client's list; on the list: %s", listed)
            return NoSource("it was not sent, and the FHIR server that the request names is not on the allowlist")
        return _FhirServer(self, self._pools[allowed], base.rstrip("/") + "/", token)

    def close(self) -> None:
        """Let go of the connections; searches that wait for a thread are dropped."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def get(self, url: str, token: str | None, until: float) -> bytes:
        """The body at `url`. Raises _Failed with what a clinician may read."""
        headers = {"Accept": "application/fhir+json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        left = until - time.monotonic()
        if left <= 0:
            raise _Failed(self._late())
        try:
            with self._session.get(
                url, headers=headers, timeout=(left, left), allow_redirects=False, stream=True
            ) as response:
                if response.status_code != 200:
                    raise _Failed(f"the FHIR server answered {response.status_code}")
                return b"".join(self._read(response, until))
        except (requests.Timeout, LateError) as error:
            raise _Failed(self._late()) from error
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise _Failed("the FHIR server could not be reached") from error

    def _read(self, response: requests.Response, until: float) -> Iterable[bytes]:
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > self.limits.max_bytes:
                raise _Failed("the FHIR server's answer is too large")
            if time.monotonic() > until:
                raise _Failed(self._late())
            yield chunk

    def _late(self) -> str:
        return f"the FHIR server did not answer within {round(self.limits.deadline * 1000)} ms"


class _Failed(Exception):
    pass


class _FhirServer:
    """One allowed server for one request."""

    why_not: str | None = None

    def __init__(self, servers: FhirServers, pool: ThreadPoolExecutor, base: str, token: str | None) -> None:
        self._servers = servers
        self._pool = pool
        self._base = base
        self.host = urlsplit(base).netloc
        """Of a base that is on the list."""
        self._token = token
        self._until = time.monotonic() + servers.limits.deadline

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        """All of `urls` (relative ones, or page links) at once. Returns by the deadline, with what came."""
        late = self._servers._late()
        answers = {key: Answer(gap=late) for key in urls}
        jobs = [
            self._pool.submit(lambda url=url, answer=answers[key]: self._pages(url, answer))  # type: ignore[misc]
            for key, url in urls.items()
        ]
        wait(jobs, timeout=max(0.0, self._until - time.monotonic()))
        for job in jobs:
            job.cancel()
        return {key: answer.so_far() for key, answer in answers.items()}

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
                answer.gap = "the FHIR server's next page is not on that server"
                return
            if absolute in seen or len(seen) >= self._servers.limits.max_pages:
                answer.gap = f"the FHIR server gave more than {len(seen)} pages"
                return
            seen.add(absolute)
            try:
                page = bundles.page_to_read(self._servers.get(absolute, self._token, self._until))
            except _Failed as failure:
                answer.gap = str(failure)
                return
            answer.pages.append(page)
            if "?" in url and not page.is_bundle and not page.error:
                answer.gap = "the FHIR server's answer is not a search result"
                return
            link = page.next
        answer.gap = next((page.error for page in answer.pages if page.error), None)

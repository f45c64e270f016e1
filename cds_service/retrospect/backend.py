"""A FHIR server that is called without a user: SMART backend services, and HTTP whose answers are bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.sandbox.caller import Signer, why

FHIR_JSON = "application/fhir+json"
TIMEOUT = (10, 120)
"""Seconds to connect, and to wait for each byte."""
MOST_BYTES = 32_000_000
"""Of an answer that is no file."""
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 60.0
"""Seconds between two questions where the server names none."""
_CHUNK = 1 << 20
_SPARE = 60
"""Seconds before its end at which a token is not used any more."""
_USUAL_SECONDS = 300.0
"""Of a token that does not say how long it holds."""
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 4
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Failed(CdsError):
    """The server did not do what it was asked; of a URL only its host is told, since the rest may let others in."""


class BrokenOff(Failed):
    """Nothing, or not all, came; it may come the next time."""


@dataclass(frozen=True)
class Answer:
    """One answer that is no file."""

    status: int
    headers: Mapping[str, str]
    body: Any
    """None where it is no JSON."""

    @property
    def wait(self) -> float | None:
        """Seconds to wait before the next question, as Retry-After has them; None where it does not say."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        try:
            return parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None

    @property
    def says(self) -> str:
        return f"{self.status}{why(self.body)}"[:400]


class Stream(NamedTuple):
    """A file on its way: the pieces of its body, decompressed."""

    status: int
    location: str | None
    pieces: Iterator[bytes]


class Tokens:
    """Access tokens of a client that signs for itself (SMART backend services), asked for anew before they end."""

    def __init__(self, signer: Signer, url: str, scope: str) -> None:
        self.signer, self.url, self.scope = signer, url, scope
        self._token, self._until = "", 0.0

    def token(self, web: Web) -> str:
        """Raises Failed."""
        if time.monotonic() > self._until:
            form = {
                "grant_type": "client_credentials",
                "scope": self.scope,
                "client_assertion_type": _ASSERTION,
                "client_assertion": self.signer.token(self.url, sub=self.signer.issuer),
            }
            answer = web.ask("POST", self.url, {"Accept": "application/json"}, form)
            given = answer.body if isinstance(answer.body, dict) else {}
            if answer.status != 200 or not isinstance(given.get("access_token"), str):
                error = given.get("error")
                said = f": {error}" if isinstance(error, str) else ""
                raise Failed(f"{host(self.url)} gave no access token, but {answer.status}{said[:100]}")
            seconds = given.get("expires_in")
            known = float(seconds) if isinstance(seconds, (int, Decimal)) else _USUAL_SECONDS
            self._token = given["access_token"]
            self._until = time.monotonic() + max(0.0, known - _SPARE)
        return self._token

    def forget(self) -> None:
        """The server did not take the last one."""
        self._until = 0.0


@dataclass(frozen=True)
class Fixed:
    """An access token that was got in another way."""

    text: str

    def token(self, web: Web) -> str:
        return self.text

    def forget(self) -> None:
        """There is no other."""


class Web:
    """HTTP with no proxy and no password of this machine, and no redirects."""

    def __init__(self, ca_bundle: str | None = None) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        if ca_bundle:
            self._session.verify = ca_bundle

    def ask(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None) -> Answer:
        """Raises BrokenOff."""
        body = bytearray()
        with self._opened(method, url, headers, form) as response:
            for chunk in _chunks(response):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Failed(f"{host(url)} answered with more than {MOST_BYTES} bytes")
        try:
            found = lenient.untyped(bytes(body))
        except lenient.UNREADABLE:
            found = None
        return Answer(response.status_code, response.headers, found)

    def stream(self, url: str, headers: Mapping[str, str]) -> Stream:
        """Raises BrokenOff, also while the pieces are read."""
        response = self._opened("GET", url, headers, None)
        return Stream(response.status_code, response.headers.get("Location"), _closing(response))

    def _opened(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                url,
                headers=dict(headers),
                data=form,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            )
        except requests.Timeout as error:
            raise BrokenOff(f"{host(url)} did not answer in time") from error
        except (requests.RequestException, ValueError) as error:
            raise BrokenOff(f"{host(url)} could not be reached") from error


def _chunks(response: requests.Response) -> Iterator[bytes]:
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            yield chunk
    except (HTTPError, OSError) as error:
        raise BrokenOff(f"{host(response.url)} broke off in its answer") from error


def _closing(response: requests.Response) -> Iterator[bytes]:
    with response:
        yield from _chunks(response)


def host(url: str | None) -> str:
    """The host of a URL, for a message: the rest may be a way in."""
    try:
        return urlsplit(url or "").netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class Server:
    """The FHIR server at `base`, asked with a token where the client has one."""

    def __init__(self, base: str, web: Web, tokens: Tokens | Fixed | None) -> None:
        self.base, self.web, self._tokens = base, web, tokens

    def ask(self, method: str, url: str, **headers: str) -> Answer:
        """Once more with a new token where the server does not take the old one. Raises Failed."""
        answer = self.web.ask(method, url, {"Accept": FHIR_JSON, **headers, **self._authorization(url)})
        if answer.status == 401 and self._tokens is not None:
            self._tokens.forget()
            answer = self.web.ask(method, url, {"Accept": FHIR_JSON, **headers, **self._authorization(url)})
        return answer

    def stream(self, url: str, wants_token: bool) -> Stream:
        """A file, on this server or on another, to which a server may send on. Raises BrokenOff."""
        for _ in range(_MOST_REDIRECTS):
            headers = {"Accept": "application/fhir+ndjson"} | (self._authorization(url) if wants_token else {})
            found = self.web.stream(url, headers)
            if found.status not in _REDIRECTS or not found.location:
                break
            further = urljoin(url, found.location)
            wants_token = wants_token and origin(further) == origin(self.base)
            url = further
        return found

    def _authorization(self, url: str) -> dict[str, str]:
        """No token leaves in clear for another server."""
        if self._tokens is None or (origin(url) != origin(self.base) and not url.startswith("https://")):
            return {}
        return {"Authorization": f"Bearer {self._tokens.token(self.web)}"}


def token_endpoint(base: str, web: Web) -> tuple[str, bool]:
    """(where the server gives tokens, whether its scopes are those of SMART 2). Raises Failed."""
    answer = web.ask("GET", f"{base}/.well-known/smart-configuration", {"Accept": "application/json"})
    found = answer.body if isinstance(answer.body, dict) else {}
    url = found.get("token_endpoint")
    if answer.status != 200 or not isinstance(url, str):
        raise Failed(f"{host(base)} does not say where it gives tokens ({answer.status}); name it with --token-url")
    capabilities = found.get("capabilities")
    return url, isinstance(capabilities, list) and "permission-v2" in capabilities

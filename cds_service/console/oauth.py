"""The authorization code flow with PKCE: another server signs a person in, and sends the browser back with a code.

Whatever is secret stays in this process. The browser gets a cookie that is good for one answer, so that an answer
which somebody else began is worth nothing in it (RFC 6749, RFC 7636, RFC 9207, RFC 9700).
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from flask import redirect, request
from werkzeug.wrappers import Response as Answer

from cds_service import bounds, transport
from cds_service.cards.texts import ENGLISH
from cds_service.console.shelf import Shelf
from cds_service.console.words import say, say_in
from cds_service.deadline import Deadline
from cds_service.errors import UNREADABLE, CdsError
from cds_service.hooks.clients import is_confidential

SECONDS = 5.0
"""For each exchange with an authorization server."""
_MOST_BYTES = 256_000
_FRESH = 300.0
"""Seconds for which what a server says of itself is believed."""
_PAUSE = 10.0
"""Seconds for which a server is not asked again that did not say it: anybody can begin a sign-in."""
_ANSWER_SECONDS = 600
"""For which somebody may take to sign in."""
_ERRORS = frozenset(
    {
        "access_denied", "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type",
        "server_error", "temporarily_unavailable", "login_required", "consent_required", "interaction_required",
    }
)  # fmt: skip
"""What an answer may say is wrong; any other word of it is not shown."""


class NotSignedIn(CdsError):
    """Nobody was let in. `key` names the words that say why; they hold nothing that came from outside.

    As a text it is English, for the log.
    """

    def __init__(self, key: str, **values: str) -> None:
        super().__init__(say_in(ENGLISH, key, **values))
        self.key, self.values = key, values

    def said(self) -> str:
        """In the language of the page."""
        return say(self.key, **self.values)

    def again(self) -> NotSignedIn:
        """The same, for another who was not let in."""
        return NotSignedIn(self.key, **self.values)


@dataclass(frozen=True)
class Registration:
    """As what this application is known to an authorization server."""

    client_id: str
    secret: str | None = field(repr=False)
    """None of a public client, which PKCE alone protects."""
    redirect_uri: str


@dataclass(frozen=True)
class Endpoints:
    """Where an authorization server does what, by its own word."""

    authorization: str
    token: str
    issuer: str | None
    keys: str | None
    names_itself: bool
    """In each answer (`iss`), so that one of another server is known."""
    capabilities: frozenset[str]


@dataclass(frozen=True)
class Begun:
    """A sign-in for whose answer somebody waits."""

    endpoints: Endpoints
    server: AuthorizationServer
    browser: str = field(repr=False)
    """What the cookie of the one browser holds to which the answer belongs."""
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    after: str
    """Whatever is to be known again then."""


class AuthorizationServer:
    """One that signs people in. Nothing is asked of, and nobody sent to, another origin than `origins`."""

    def __init__(
        self, discovery: str, origins: Sequence[str], registration: Registration, ca_bundle: str | None = None
    ) -> None:
        self.registration = registration
        self._discovery = discovery
        self._origins = frozenset(origins)
        self._ca_bundle = ca_bundle
        self._session = transport.session(ca_bundle=ca_bundle, connections=1)
        self._known: tuple[float, Endpoints] | None = None
        self._failed: tuple[float, NotSignedIn] | None = None
        self._lock = threading.Lock()

    def endpoints(self) -> Endpoints:
        """What the server says of itself, read anew now and then. Raises NotSignedIn."""
        with self._lock:
            now = time.monotonic()
            if self._known is not None and now - self._known[0] <= _FRESH:
                return self._known[1]
            if self._failed is not None and now - self._failed[0] <= _PAUSE:
                raise self._failed[1].again()
            try:
                self._known = now, self._read()
            except NotSignedIn as error:
                self._failed = time.monotonic(), error
                raise
            return self._known[1]

    def read(self, url: str) -> dict[str, Any]:
        """A JSON object at one of its URLs. Raises NotSignedIn."""
        try:
            budget, deadline = transport.Budget(_MOST_BYTES), Deadline.after(SECONDS)
            found = msgspec.json.decode(
                transport.get(self._session, url, {"Accept": "application/json"}, deadline, budget)
            )
        except transport.Refused as error:
            raise NotSignedIn("server-answered", status=str(error.status)) from None
        except transport.Failure:
            raise NotSignedIn("server-unreachable") from None
        except (msgspec.DecodeError, RecursionError):
            raise NotSignedIn("server-no-json") from None
        if not isinstance(found, dict):
            raise NotSignedIn("server-no-json-object")
        return found

    def token(self, begun: Begun, code: str) -> dict[str, Any]:
        """What the server gives for a code. Raises NotSignedIn."""
        try:
            session = self._client()
            given = session.fetch_token(
                begun.endpoints.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=begun.verifier,
            )
        except (transport.Failure, requests.RequestException, AuthlibBaseError, *UNREADABLE):
            # Not what it said: that may repeat what was sent.
            raise NotSignedIn("server-no-token") from None
        if str(given.get("token_type", "")).lower() != "bearer" or not isinstance(given.get("access_token"), str):
            raise NotSignedIn("server-other-token")
        return dict(given)

    def url(self, endpoints: Endpoints, state: str, verifier: str, scope: str, more: Mapping[str, str]) -> str:
        """Where the browser is sent to sign in."""
        made, _ = self._client().create_authorization_url(
            endpoints.authorization, state=state, code_verifier=verifier, scope=scope, **more
        )
        return str(made)

    def _client(self) -> Any:
        ours = self.registration
        session = OAuth2Session(
            client_id=ours.client_id,
            client_secret=ours.secret,
            redirect_uri=ours.redirect_uri,
            code_challenge_method="S256",
        )
        return transport.bound(session, SECONDS, _MOST_BYTES, self._ca_bundle)

    def _read(self) -> Endpoints:
        said = self.read(self._discovery)
        methods, capabilities = said.get("code_challenge_methods_supported"), said.get("capabilities")
        if isinstance(methods, list) and "S256" not in methods:
            raise NotSignedIn("server-no-pkce")
        issuer = said.get("issuer")
        return Endpoints(
            authorization=self._endpoint(said, "authorization_endpoint"),
            token=self._endpoint(said, "token_endpoint"),
            issuer=issuer if isinstance(issuer, str) else None,
            keys=self._endpoint(said, "jwks_uri") if "jwks_uri" in said else None,
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
            capabilities=frozenset(map(str, capabilities)) if isinstance(capabilities, list) else frozenset(),
        )

    def _endpoint(self, said: Mapping[str, Any], name: str) -> str:
        url = said.get(name)
        if not isinstance(url, str) or origin(url) not in self._origins:
            raise NotSignedIn("server-other-origin", name=name)
        return url


def origin(url: str) -> str | None:
    """Scheme, host and port of a URL to which secrets may be sent; None of any other."""
    try:
        parts = urlsplit(url)
        if not url.isprintable() or " " in url or "\\" in url or "@" in parts.netloc or parts.fragment:
            return None
        return f"{parts.scheme}://{parts.netloc}".lower() if parts.hostname and is_confidential(url) else None
    except ValueError:
        return None


class Door:
    """Sends browsers away to sign in, and takes those that come back. `path` is where, `secure` that it is https."""

    def __init__(self, path: str, secure: bool) -> None:
        self._path = path
        self._secure = secure
        self._waiting: Shelf[Begun] = Shelf(bounds.LAUNCHES)

    def begin(self, server: AuthorizationServer, scope: str, after: str = "", **more: str) -> Answer:
        """To the server, with what it needs to know besides. Raises NotSignedIn."""
        endpoints = server.endpoints()
        browser, verifier, nonce = (secrets.token_urlsafe(48) for _ in range(3))
        state = self._waiting.put(Begun(endpoints, server, browser, verifier, nonce, after), _ANSWER_SECONDS)
        if "openid" in scope.split():
            more["nonce"] = nonce
        answer = redirect(server.url(endpoints, state, verifier, scope, more), 303)
        # Not Strict: the browser comes back from another site.
        answer.set_cookie(
            self._cookie(state),
            browser,
            max_age=_ANSWER_SECONDS,
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    def end(self) -> tuple[Begun, dict[str, Any]]:
        """The sign-in that the request at hand answers, and the token that was given for it. Raises NotSignedIn."""
        given = request.args
        if any(len(values) > 1 for values in given.listvalues()):
            raise NotSignedIn("answer-says-twice")
        state = given.get("state", "")
        begun = self._waiting.get(state)
        cookie = request.cookies.get(self._cookie(state), "")
        if begun is None or not hmac.compare_digest(cookie.encode(), begun.browser.encode()):
            raise NotSignedIn("answer-to-no-sign-in")
        if self._waiting.take(state) is None:
            raise NotSignedIn("answer-used-before")
        _check_issuer(begun.endpoints, given.get("iss"))
        if "error" in given:
            if given["error"] in _ERRORS:
                raise NotSignedIn("server-let-nobody-in", error=given["error"])
            raise NotSignedIn("server-let-nobody-in-otherwise")
        if not given.get("code"):
            raise NotSignedIn("server-no-code")
        return begun, begun.server.token(begun, given["code"])

    def forget(self, answer: Answer) -> Answer:
        """The answer, which takes the cookie of this sign-in away."""
        answer.delete_cookie(self._cookie(request.args.get("state", "")), path=self._path, secure=self._secure)
        return answer

    def _cookie(self, state: str) -> str:
        """Its own for each, so that two windows can sign in at once."""
        name = "".join(char for char in state if char.isascii() and char.isalnum())[:12]
        return f"{'__Secure-' if self._secure else ''}ketamine-{name}"


def _check_issuer(endpoints: Endpoints, given: str | None) -> None:
    if not endpoints.names_itself and (given is None or endpoints.issuer is None):
        return
    if given is None or given != endpoints.issuer:
        raise NotSignedIn("answer-of-another-server")

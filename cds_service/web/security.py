"""Who may call, how often and from which web pages, and the headers that keep browsers careful.

Below /cds-services every call is authenticated. Pages, FHIR publications and health checks hold nothing of a patient
and are open.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from importlib import resources
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

from cds_service.hooks.errors import TooManyRequests, Unauthenticated
from cds_service.web import deadlines, metrics
from cds_service.web.deployment import Deployment

if TYPE_CHECKING:
    from cds_service.hooks.authentication import Authenticator

log = logging.getLogger("ketamine_cds")

_PREFLIGHT_SECONDS = "7200"
"""For how long a browser may remember a preflight: the most that Chromium keeps."""
_AUTHENTICATOR = "ketamine-cds.authenticator"
_METHODS = "GET, POST, OPTIONS"
_HEADERS = "authorization, content-type, content-encoding"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def register(app: Flask, deployment: Deployment) -> None:
    policy = _content_policy()
    is_https = deployment.settings.base_url.startswith("https://")
    app.extensions[_AUTHENTICATOR] = deployment.tenants.authenticator

    @app.before_request
    def admit() -> Response | None:
        if not _is_ours(request.path):
            return None
        if request.method == "OPTIONS":
            return _preflight() if "Access-Control-Request-Method" in request.headers else None
        try:
            g.tenant = deployment.tenants.of(
                request.headers.get("Authorization"), request.path, deployment.clock(), deadlines.current()
            )
        except Unauthenticated as error:
            _tell(error)
            raise
        wait = g.tenant.bucket.wait() if g.tenant.bucket else 0
        if wait:
            raise TooManyRequests(wait)
        return None

    @app.after_request
    def careful(answer: Response) -> Response:
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        if is_https:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        if answer.mimetype == "text/html":
            answer.headers.setdefault("Content-Security-Policy", policy)
        if _is_ours(request.path):
            answer.headers["Cache-Control"] = "no-store"
            _share(answer, deployment)
        return answer


def read_keys(app: Flask) -> None:
    """Begin to read the keys of all clients, so that the first order after a start need not wait for them."""
    authenticator: Authenticator | None = app.extensions[_AUTHENTICATOR]
    if authenticator is not None:
        authenticator.read_keys()


def _tell(error: Unauthenticated) -> None:
    """Whose token it seemed to be and what was wrong with it, in words of ours: nothing of the token itself."""
    expected = f"; expected is {error.expected}" if error.expected else ""
    log.warning("a call was refused: %s (%s)%s; client: %s", error.reason, error, expected, error.client or "unknown")
    metrics.refused(error.reason, error.client)


def _is_ours(path: str) -> bool:
    return path == "/cds-services" or path.startswith("/cds-services/")


def _preflight() -> Response:
    """What a browser asks before it calls. Whether the origin may call, `_share` says."""
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = _METHODS
    answer.headers["Access-Control-Allow-Headers"] = _HEADERS
    answer.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
    return answer


def _share(answer: Response, deployment: Deployment) -> None:
    """Let the web page of an allowed origin read the answer (requirement 208).

    Cookies and the like are never allowed (no Access-Control-Allow-Credentials): a token is all that counts. Of an
    authenticated client only its own origins may read; before that, those of any client.
    """
    tenant = g.get("tenant")
    allowed = tenant.cors_origins if tenant is not None else deployment.tenants.cors_origins
    if not allowed:
        return
    answer.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is not None and (origin in allowed or "*" in allowed):
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Expose-Headers"] = "Retry-After, WWW-Authenticate"


def _content_policy() -> str:
    """Pages load nothing and run nothing; the styles that stand in the templates are allowed by their digests."""
    folder = resources.files(__package__).joinpath("templates")
    styles = {style for page in folder.iterdir() for style in _STYLE.findall(page.read_text("utf-8"))}
    digests = sorted(base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

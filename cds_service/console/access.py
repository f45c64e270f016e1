"""Who may use the console: whoever is on this machine; or else whoever knows the secret of the site, or whom its
provider of identities lets in.

On loopback nobody logs in, and a request must name this machine as its host: a page of another site that lets its own
name point here is refused. Everywhere every form carries a token that only a page of the console knows.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from urllib.parse import urlsplit

from flask import Flask, Response, abort, make_response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as Answer

from cds_service.console import openid
from cds_service.console.shell import Console
from cds_service.console.words import say
from cds_service.settings import PREFIX, SettingError, Settings, is_loopback
from cds_service.store import keys
from cds_service.web.rate import Bucket

CSRF_FIELD, CSRF_HEADER = "csrf_token", "X-CSRF-Token"
LOGIN = "/login"
_LASTS = timedelta(hours=8)
"""A shift."""
_OPEN = frozenset({"static", "login", "log_in", "alive", "to_provider", "from_provider"})
"""Endpoints that need no login and show nothing of the service."""
OWN_DOOR = "smart"
"""The blueprint whose users come from an EHR, which signs them in; its forms carry a token of their own."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_TRIES_PER_SECOND, _TRIES_AT_ONCE = 1, 5


def check(settings: Settings) -> keys.Key | None:
    """The secret with which people log in; None where there is none. Raises SettingError or UnusableKey."""
    if not settings.has_console:
        return None
    if settings.console_port == settings.port:
        raise SettingError(f"{PREFIX}CONSOLE_PORT and {PREFIX}PORT are both {settings.port}; they must differ")
    if settings.console != "on":
        return None
    openid.check(settings)
    if settings.console_secret_file is not None:
        return keys.read(settings.console_secret_file)
    if settings.console_oidc_issuer is None:
        raise SettingError(
            f"{PREFIX}CONSOLE is 'on', so {PREFIX}CONSOLE_SECRET_FILE must name a file with a secret to log in with, "
            f"or {PREFIX}CONSOLE_OIDC_ISSUER a provider that signs people in"
        )
    return None


def register(app: Flask, console: Console) -> None:
    settings = console.settings
    secret, must_log_in = check(settings), settings.console == "on"
    by_openid = must_log_in and settings.console_oidc_issuer is not None
    is_https = settings.console_url.startswith("https://")
    app.secret_key = _session_key(settings, secret)
    app.permanent_session_lifetime = _LASTS
    app.config.update(
        SESSION_COOKIE_NAME="__Host-console" if is_https else "ketamine-cds-console",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=is_https,
    )
    tries = Bucket(_TRIES_PER_SECOND, _TRIES_AT_ONCE)

    @app.before_request
    def admit() -> Answer | None:
        if not must_log_in and not _names_this_machine(request.host):
            abort(421)
        if request.blueprint == OWN_DOOR:
            return None
        if must_log_in and not session.get("known") and request.endpoint not in _OPEN:
            return _to_login()
        if request.method not in _READS and not _has_token():
            return _stale()
        return None

    @app.context_processor
    def token() -> dict[str, object]:
        """`csrf_token()` for forms, `must_log_in` for the button with which one logs out."""
        return {"csrf_token": _token, "must_log_in": must_log_in}

    if not must_log_in:
        return

    def page(after: str, says: str = "") -> str:
        way = url_for("to_provider", next=after) if by_openid else None
        return render_template("login.html", after=after, says=says, by_secret=secret is not None, openid=way)

    @app.get(LOGIN)
    def login() -> str:
        return page(_after(request.args.get("next", "")))

    if by_openid:
        openid.register(app, settings, _enter, _after)

    @app.post("/logout")
    def log_out() -> Answer:
        session.clear()
        return redirect(url_for("login"), 303)

    if secret is None:
        return

    @app.post(LOGIN)
    def log_in() -> Answer | tuple[str, int, dict[str, str]]:
        after = _after(request.form.get("next", ""))
        if wait := tries.wait():
            return page(after, say("tried-too-often")), 429, {"Retry-After": str(wait)}
        if not secret.is_secret(request.form.get("secret", "").strip().encode()):
            return page(after, say("not-the-secret")), 401, {}
        _enter()
        return redirect(after, 303)


def _session_key(settings: Settings, secret: keys.Key | None) -> str:
    """Sessions of a site's secret outlast a restart, and end with the secret, or with who is let in besides."""
    who = ("issuer", "client_id", "claim", "allowed")
    besides = [str(getattr(settings, f"console_oidc_{each}")) for each in who] if settings.console_oidc_issuer else []
    return secret.digest("console session", *besides) if secret else secrets.token_hex()


def _enter() -> None:
    """A new session, of somebody who may in."""
    session.clear()
    session["known"] = session.permanent = True


def _names_this_machine(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _token() -> str:
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe()
    token: str = session["csrf"]
    return token


def _has_token() -> bool:
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    return "csrf" in session and hmac.compare_digest(given.encode(), session["csrf"].encode())


def _to_login() -> Answer:
    if "HX-Request" in request.headers:
        return Response(status=401, headers={"HX-Redirect": LOGIN})
    after = request.full_path.rstrip("?") if request.method in _READS else ""
    return redirect(url_for("login", next=after or None), 303)


def _stale() -> Answer:
    """A form of a session that is over; a page that is loaded anew has the token of the present one."""
    answer = make_response(render_template("problem.html", name=say("page-too-old")), 403)
    answer.headers["HX-Refresh"] = "true"
    return answer


def _after(path: str) -> str:
    """Where one wanted to go: a path of the console, never another site."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"

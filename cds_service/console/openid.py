"""Login by OpenID Connect: the site's own provider says who somebody is, a claim says whether they may in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from typing import Any

from authlib.oidc.core import CodeIDToken
from flask import Flask, make_response, render_template, request, url_for
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from werkzeug.wrappers import Response as Answer

from cds_service.console.oauth import AuthorizationServer, Begun, Door, NotSignedIn, Registration, origin
from cds_service.errors import UNREADABLE
from cds_service.settings import PREFIX, SettingError, Settings
from cds_service.store import keys

log = logging.getLogger("ketamine_cds")

BEGIN, CALLBACK = "/login/openid", "/login/openid/callback"
_SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_SKEW = 60
"""Seconds by which the provider's clock may be off."""


def check(settings: Settings) -> str | None:
    """The client secret, where there is one. Raises SettingError or UnusableKey where the settings let nobody in."""
    if settings.console_oidc_issuer is None:
        for name in ("client_id", "secret_file", "allowed"):
            if getattr(settings, f"console_oidc_{name}"):
                raise SettingError(f"{PREFIX}CONSOLE_OIDC_{name.upper()} is set without {PREFIX}CONSOLE_OIDC_ISSUER")
        return None
    for name in ("client_id", "allowed"):
        if not getattr(settings, f"console_oidc_{name}"):
            raise SettingError(
                f"{PREFIX}CONSOLE_OIDC_ISSUER is set, so {PREFIX}CONSOLE_OIDC_{name.upper()} must be set too"
            )
    if "openid" not in settings.console_oidc_scope.split():
        raise SettingError(f"{PREFIX}CONSOLE_OIDC_SCOPE must hold openid, without which nobody says who came")
    for name in ("console_oidc_issuer", "console_url"):
        if origin(getattr(settings, name)) is None:
            variable = "CONSOLE_OIDC_ISSUER" if name == "console_oidc_issuer" else "CONSOLE_PUBLIC_URL"
            raise SettingError(
                f"{PREFIX}{variable} must be an https URL where people log in by OpenID Connect; "
                f"it is {getattr(settings, name)!r}"
            )
    return keys.text(settings.console_oidc_secret_file) if settings.console_oidc_secret_file else None


def register(app: Flask, settings: Settings, enter: Callable[[], None], within: Callable[[str], str]) -> None:
    """`enter` begins the session of a person who may in; `within` keeps where they wanted to go to the console."""
    issuer, client_id = settings.console_oidc_issuer or "", settings.console_oidc_client_id or ""
    registration = Registration(client_id, check(settings), settings.console_url + CALLBACK)
    server = AuthorizationServer(
        f"{issuer}/.well-known/openid-configuration", [origin(issuer) or ""], registration, settings.fhir_ca_bundle
    )
    door = Door(CALLBACK, settings.console_url.startswith("https://"))
    allowed = frozenset(settings.console_oidc_allowed)

    @app.get(BEGIN)
    def to_provider() -> Answer | tuple[str, int]:
        try:
            return door.begin(server, settings.console_oidc_scope, within(request.args.get("next", "")))
        except NotSignedIn as error:
            return _refused(error)

    @app.get(CALLBACK)
    def from_provider() -> Answer | tuple[str, int]:
        try:
            begun, given = door.end()
            claims = _claims(server, begun, given, issuer, client_id)
            if allowed.isdisjoint(values(claims, settings.console_oidc_claim)):
                raise NotSignedIn("not-among-the-allowed")
        except NotSignedIn as error:
            return _refused(error)
        enter()
        # A page, not a redirect: the session's cookie goes only where a page of the console itself leads.
        return door.forget(make_response(render_template("signed_in.html", after=begun.after)))


def _refused(error: NotSignedIn) -> tuple[str, int]:
    log.warning("a login by OpenID Connect was refused: %s", error)
    return render_template("login.html", after="/", refused=error.said(), openid=url_for("to_provider")), 403


def _claims(
    server: AuthorizationServer, begun: Begun, given: Mapping[str, Any], issuer: str, client_id: str
) -> Mapping[str, Any]:
    """What the provider says of a person, once its signature and all that it is for are right. Raises NotSignedIn."""
    if begun.endpoints.issuer is None or begun.endpoints.issuer.rstrip("/") != issuer:
        raise NotSignedIn("provider-other-name")
    if begun.endpoints.keys is None:
        raise NotSignedIn("provider-no-keys")
    try:
        listed: Any = server.read(begun.endpoints.keys)
        found = KeySet.import_key_set(listed)
        token = jwt.decode(str(given.get("id_token", "")), found, algorithms=_SIGNATURES)
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": begun.endpoints.issuer},
                "aud": {"essential": True, "value": client_id},
            },
            {"nonce": begun.nonce, "client_id": client_id, "access_token": given["access_token"]},
        )
        claims.validate(leeway=_SKEW)
    except (JoseError, *UNREADABLE):
        # Not what is wrong with it: that may repeat what it says of a person.
        raise NotSignedIn("provider-no-valid-token") from None
    return dict(claims)


def values(claims: Mapping[str, Any], name: str) -> Set[str]:
    """The texts of a claim, one or a list of them; a name with dots leads into objects. Of anything else none."""
    found: Any = claims.get(name)
    if name not in claims:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    listed = found if isinstance(found, list) else [found]
    return frozenset(each for each in listed if isinstance(each, str))

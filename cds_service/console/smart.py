"""The SMART app: gauge and calculator for the patient in context, launched from the EHR or on its own.

SMART App Launch 2 with PKCE, read-only scopes, and only on a FHIR server of the client's entry. The EHR says who is
let in, so that none of it needs a login to the console, and none of it shows anything but this one patient.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Flask, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from cds_service import bounds
from cds_service.console.access import CSRF_FIELD, CSRF_HEADER, OWN_DOOR
from cds_service.console.bedside import Bedside, Visit, ends_in
from cds_service.console.form import Fields
from cds_service.console.oauth import AuthorizationServer, Door, NotSignedIn, Registration, origin
from cds_service.console.shelf import Shelf
from cds_service.console.shell import Console
from cds_service.console.words import say
from cds_service.fhir.client import MAX_TOKEN
from cds_service.hooks.clients import Client
from cds_service.orders.carried import carried
from cds_service.settings import Settings
from cds_service.store import keys
from cds_service.web import tenants

log = logging.getLogger("ketamine_cds")

_LASTS = 8 * 3600
"""Seconds: a shift."""
_UNSAID = 3600
"""Of a token whose server does not say for how long it is good."""
_ID = re.compile(r"(?:Patient/|Encounter/)?([A-Za-z0-9.-]{1,64})")
_MODEL_2 = "permission-v2"


@dataclass(frozen=True)
class _App:
    """What belongs to one client."""

    client: Client
    bedside: Bedside
    servers: Mapping[str, AuthorizationServer]
    """By the FHIR server that names them."""
    door: Door
    visits: Shelf[Visit] = field(default_factory=lambda: Shelf(bounds.VISITS))


def register(app: Flask, console: Console) -> None:
    apps = {each.client.id: each for each in _apps(console)}
    if not apps:
        return
    secure = console.settings.console_url.startswith("https://")
    pages = Blueprint(OWN_DOOR, __name__)

    @pages.get("/smart/<client>/launch")
    def launch(client: str) -> Answer | tuple[str, int]:
        """From the EHR (iss and launch), or on its own (neither, or iss alone)."""
        found = apps.get(client)
        if found is None:
            return _refused(NotSignedIn("no-client-with-app"), 404)
        try:
            return _launched(found)
        except NotSignedIn as error:
            return _refused(error, client=client)

    @pages.get("/smart/<client>/callback")
    def callback(client: str) -> Answer | tuple[str, int]:
        found = apps.get(client)
        if found is None:
            return _refused(NotSignedIn("no-client-with-app"), 404)
        try:
            begun, given = found.door.end()
            visit = _visit(begun.after, given, found.bedside.fields_of(carried(given.get("appContext"))))
        except NotSignedIn as error:
            return _refused(error, client=client)
        name = found.visits.put(visit, ends_in(visit))
        answer = redirect(url_for("smart.bedside", client=client, name=name), 303)
        answer.set_cookie(
            _cookie(secure),
            visit.cookie,
            max_age=int(ends_in(visit)),
            path=url_for("smart.bedside", client=client, name=name),
            secure=secure,
            httponly=True,
            samesite="Lax",
        )
        return found.door.forget(answer)

    @pages.get("/smart/<client>/patient/<name>")
    def bedside(client: str, name: str) -> Answer | str | tuple[str, int]:
        found = _open(apps, client, name, secure)
        if found is None:
            return _over()
        return _shown(client, name, *found, found[1].given)

    @pages.post("/smart/<client>/patient/<name>")
    def written(client: str, name: str) -> Answer | str | tuple[str, int]:
        """What the protocol says of the dose as it is now; or the end."""
        found = _open(apps, client, name, secure)
        if found is None:
            return _over()
        mine, visit = found
        given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
        if not hmac.compare_digest(given.encode(), visit.csrf.encode()):
            return _over(403)
        if "end" in request.form:
            mine.visits.take(name)
            mine.bedside.forget(visit)
            answer = make_response(
                render_template("smart_problem.html", title=say("closed"), says=say("close-this-window"))
            )
            answer.delete_cookie(_cookie(secure), path=request.path, secure=secure)
            return answer
        return _shown(client, name, mine, visit, Fields.sent(request.form), "anew" in request.form)

    app.register_blueprint(pages)


def check(settings: Settings) -> None:
    """Whether the app can be had as the settings say. Raises SettingError, ClientsError or UnusableKey."""
    if settings.has_console:
        for client in tenants.callers(settings):
            servers(client, settings)


def _apps(console: Console) -> list[_App]:
    """Those of all clients that have one. Raises SettingError, ClientsError or UnusableKey."""
    settings = console.settings
    clients = [each for each in tenants.callers(settings) if each.smart is not None]
    knowledge_of = tenants.knowledges(settings, console.knowledge, clients)
    found = []
    for client in clients:
        bedside = Bedside(client, knowledge_of[client.overlay], settings, console.clock)
        door = Door(_callback(client), settings.console_url.startswith("https://"))
        found.append(_App(client, bedside, servers(client, settings), door))
    return found


def servers(client: Client, settings: Settings) -> dict[str, AuthorizationServer]:
    """By each of its FHIR servers, the one that signs in for it. Raises UnusableKey."""
    app = client.smart
    if app is None:
        return {}
    secret = keys.text(app.secret_file) if app.secret_file else None
    registration = Registration(app.client_id, secret, settings.console_url + _callback(client))
    return {
        fhir: AuthorizationServer(
            f"{fhir}/.well-known/smart-configuration",
            [origin(fhir) or "", *app.authorization_servers],
            registration,
            settings.fhir_ca_bundle,
        )
        for fhir in client.fhir_servers
    }


def _callback(client: Client) -> str:
    return f"{tenants.app_path(client.id)}/callback"


# Launch -------------------------------------------------------------------------------------------------------------


def _launched(app: _App) -> Answer:
    """To the authorization server of the FHIR server that launches. Raises NotSignedIn."""
    if any(len(values) > 1 for values in request.args.listvalues()):
        raise NotSignedIn("launch-says-twice")
    fhir = request.args.get("iss", next(iter(app.servers))).rstrip("/")
    server, handle = app.servers.get(fhir), request.args.get("launch")
    if server is None:
        raise NotSignedIn("launch-of-other-server")
    more = {"aud": fhir} | ({"launch": handle} if handle else {})
    is_second = _MODEL_2 in server.endpoints().capabilities
    return app.door.begin(server, _scope(app, "launch" if handle else "launch/patient", is_second), fhir, **more)


def _scope(app: _App, context: str, is_second: bool) -> str:
    """The patient in context, and to read and search what the rules read of one: nothing is written."""
    kinds = sorted({"Medication", *(query.type for query in app.bedside.knowledge.queries)})
    return " ".join([context, *(f"patient/{kind}.{'rs' if is_second else 'read'}" for kind in kinds)])


def _visit(fhir: str, given: Mapping[str, Any], fields: Fields) -> Visit:
    """What a token gives access to. Raises NotSignedIn."""
    patient, encounter = (_id(given.get(name)) for name in ("patient", "encounter"))
    if patient is None:
        raise NotSignedIn("ehr-no-patient")
    if len(given["access_token"]) > MAX_TOKEN:
        raise NotSignedIn("ehr-token-too-long")
    said = given.get("expires_in")
    seconds = min(said if isinstance(said, int) and said > 0 else _UNSAID, _LASTS)
    return Visit(
        fhir=fhir,
        patient=patient,
        encounter=encounter,
        token=given["access_token"],
        cookie=secrets.token_urlsafe(48),
        csrf=secrets.token_urlsafe(48),
        ends=time.monotonic() + seconds,
        given=fields,
    )


def _id(given: Any) -> str | None:
    found = _ID.fullmatch(given) if isinstance(given, str) else None
    return found[1] if found else None


# Pages --------------------------------------------------------------------------------------------------------------


def _open(apps: Mapping[str, _App], client: str, name: str, secure: bool) -> tuple[_App, Visit] | None:
    """The visit of the address, for the browser that was let in. Another patient is another address and cookie."""
    app = apps.get(client)
    visit = app.visits.get(name) if app is not None else None
    shown = request.cookies.get(_cookie(secure), "")
    if app is None or visit is None or not hmac.compare_digest(shown.encode(), visit.cookie.encode()):
        return None
    return app, visit


def _cookie(secure: bool) -> str:
    return f"{'__Secure-' if secure else ''}ketamine-visit"


def _shown(client: str, name: str, app: _App, visit: Visit, fields: Fields, anew: bool = False) -> str:
    is_part = "HX-Request" in request.headers and request.method == "POST" and not anew
    return render_template(
        "smart_parts.html" if is_part else "smart.html",
        desk=app.bedside.view(visit, fields, anew),
        choices=app.bedside.choices,
        here=url_for("smart.bedside", client=client, name=name),
        csrf_token=lambda: visit.csrf,
        protocol=app.bedside.knowledge.protocol,
    )


def _refused(error: NotSignedIn, status: int = 403, client: str = "") -> tuple[str, int]:
    """`client` is the id of an entry, never what only the address says."""
    log.warning("a launch of the SMART app%s was refused: %s", f" of client {client}" if client else "", error)
    says = say("app-not-opened", why=error.said())
    return render_template("smart_problem.html", title=say("not-opened"), says=says), status


def _over(status: int = 401) -> Answer | tuple[str, int]:
    """Closed, expired, or not this browser's; a part of a page that is open loads it anew, and so says it there."""
    if "HX-Request" in request.headers:
        return Response(status=status, headers={"HX-Refresh": "true"})
    says = say("launch-again")
    return render_template("smart_problem.html", title=say("page-is-closed"), says=says), status

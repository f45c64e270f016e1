"""The web application: CDS Hooks over HTTP, every error an OperationOutcome, no patient data in any log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import msgspec
from flask import Flask, Response, abort, render_template, request
from werkzeug.exceptions import HTTPException

from cards.compose import FURTHER_WARNINGS
from cards.could_not_check import TOPIC as COULD_NOT_CHECK
from cds_service.advise import Knowledge, advise, failure
from cds_service.fhir.client import FhirServers, Limits
from cds_service.hooks import discovery
from cds_service.hooks.errors import HookError, NotJson, TooLarge, UnknownService, operation_outcome
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.protocol.limits import as_written
from cds_service.settings import Settings

log = logging.getLogger("ketamine_cds")

RESERVED_TOPICS = (COULD_NOT_CHECK, FURTHER_WARNINGS)
"""Cards that stand for several rules."""

_ISSUE_TYPES = {400: "structure", 404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}


def now() -> datetime:
    """The door's clock, in the zone of this machine."""
    return datetime.now().astimezone()


def create_app(settings: Settings, knowledge: Knowledge, clock: Callable[[], datetime] = now) -> Flask:
    """The application for these settings. `clock` is replaced only by tests."""
    app = Flask(__name__)
    servers = FhirServers(
        settings.fhir_servers,
        Limits(deadline=settings.fhir_deadline_ms / 1000, max_bytes=settings.fhir_max_bytes),
        threads=settings.fhir_threads,
        ca_bundle=settings.fhir_ca_bundle,
    )
    services = msgspec.json.encode(discovery.discovery(knowledge.queries, knowledge.protocol.version))

    @app.get("/cds-services")
    def discover() -> Response:
        return _json(services)

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        service = discovery.BY_ID.get(service_id)
        if service is None:
            raise UnknownService(f"there is no service of that id; known are {', '.join(discovery.BY_ID)}")
        body = _body(settings.max_body_bytes)
        try:
            hook_request = parse(body, service.hook)
            source = servers.source(hook_request.fhir_server, hook_request.access_token)
            answer = encode(advise(hook_request, service.signing, knowledge, source, clock()))
        except HookError:
            raise
        except Exception as error:  # silence would read as "checked and fine"
            log.error("the check failed: %s at %s", type(error).__name__, _place(error))
            answer = encode(failure(knowledge))
        return _json(answer)

    @app.get("/protocol/<topic>")
    def protocol_page(topic: str) -> str:
        protocol, day = knowledge.protocol, clock().date()
        rule = protocol.rules.get(topic)
        if rule is not None:
            limits = {name: protocol.limits[name] for tier in rule.tiers for name in tier.limits}
            return render_template(
                "rule.html", rule=rule, limits=limits, protocol=protocol, day=day, as_written=as_written
            )
        if topic not in RESERVED_TOPICS:
            abort(404)
        shared = [r for r in protocol.rules.values() if topic == FURTHER_WARNINGS or r.card == topic]
        return render_template("shared.html", topic=topic, rules=shared, protocol=protocol)

    app.register_error_handler(HookError, _hook_error)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _body(limit: int) -> bytes:
    """The request's body. Raises NotJson or TooLarge."""
    if request.mimetype and not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise NotJson("the body must be application/json")
    length = request.content_length
    if length is None:
        body: bytes = request.stream.read(limit + 1)
    elif length > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    else:
        # Straight from the server: for a large body this is twenty times as fast as request.get_data().
        body = request.environ["wsgi.input"].read(length)
    if len(body) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    return body


def _place(error: BaseException) -> str:
    """Module and line where an error arose: never its message, which may hold what was sent."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "?"


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, mimetype="application/json")


def _hook_error(error: HookError) -> Response:
    return _json(msgspec.json.encode(operation_outcome(error.code, str(error))), error.status)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    outcome = operation_outcome(_ISSUE_TYPES.get(status, "processing"), error.name)
    answer = _json(msgspec.json.encode(outcome), status)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            answer.headers[name] = value
    return answer

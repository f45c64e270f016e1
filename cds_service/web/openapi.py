"""/openapi.json: every route of the application, its bodies as the JSON schemas of the code's own types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Literal

import msgspec
from flask import Flask, Response, current_app
from msgspec import Meta
from werkzeug.routing import Rule

from cds_service.cards.model import Response as HookResponse
from cds_service.hooks import discovery
from cds_service.web.bodies import JSON_TYPES
from cds_service.web.deployment import Deployment
from cds_service.web.readiness import Health
from cds_service.web.wire import answer

OPENAPI = "3.1.0"
_JSON = "application/json"
_READ = (*JSON_TYPES, "application/fhir+json")
"""The media types of a body. Any other that ends with +json is read as well."""
_REF = "#/components/schemas/{name}"
_METHODS = ("GET", "POST")
_HIDDEN = ("static",)
"""Endpoints that Flask adds; nothing is served there."""

Text = Annotated[str, Meta(min_length=1)]
Json = dict[str, Any]


# Bodies that the code reads leniently or writes by hand, as they ought to be ---------------------------------------


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class DescribedService(_Body, frozen=True, kw_only=True):
    """A service in discovery."""

    hook: Text
    title: Text
    description: Text
    id: Text
    prefetch: dict[str, str]
    usage_requirements: Text
    version: Text
    hook_version: Text


class Discovery(_Body, frozen=True, kw_only=True):
    """The services."""

    services: list[DescribedService]


class DraftOrders(_Body, frozen=True, kw_only=True):
    """A FHIR R4 Bundle of draft orders."""

    resource_type: Literal["Bundle"]
    entry: list[Json] = []


class Context(_Body, frozen=True, kw_only=True):
    """Of all three hooks; draftOrders only at the hooks of an order, selections only at order-select."""

    patient_id: Text
    user_id: str | None = None
    encounter_id: str | None = None
    draft_orders: DraftOrders | None = None
    selections: list[str] | None = None


class FhirAuthorization(msgspec.Struct, frozen=True, kw_only=True):
    """Access to the client's FHIR server."""

    access_token: Text
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str
    subject: str
    patient: str | None = None


class HookCall(_Body, frozen=True, kw_only=True):
    """A call of a CDS service. What is missing or faulty is survived where the order can still be judged."""

    hook: Text
    hook_instance: Text
    context: Context
    fhir_server: str | None = None
    fhir_authorization: FhirAuthorization | None = None
    prefetch: dict[str, Json | None] = {}
    extension: Json = {}


class FeedbackEntry(_Body, frozen=True, kw_only=True):
    """What became of a card. overrideReason may also be written overrideReasons."""

    card: Text
    outcome: Literal["accepted", "overridden"]
    outcome_timestamp: str | None = None
    accepted_suggestions: list[dict[str, str]] | None = None
    override_reason: Json | None = None


class FeedbackBatch(_Body, frozen=True, kw_only=True):
    """Feedback on one or many cards."""

    feedback: list[FeedbackEntry]


class Issue(_Body, frozen=True, kw_only=True):
    severity: Literal["fatal", "error", "warning", "information"]
    code: Text
    diagnostics: str
    expression: list[str] = []


class OperationOutcome(_Body, frozen=True, kw_only=True):
    """FHIR R4: what went wrong, or what was done. It repeats nothing of the request."""

    resource_type: Literal["OperationOutcome"]
    issue: list[Issue]


_TYPES = (Discovery, HookCall, HookResponse, FeedbackBatch, OperationOutcome, Health)


# Routes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One route and method: what it takes, and what it answers by status (None: an OperationOutcome)."""

    summary: str
    answers: Mapping[int, type | str | None]
    body: type | None = None
    is_signed: bool = False
    """Where the service asks who calls, this route asks for a token."""


_REFUSALS: dict[int, type | str | None] = {
    401: None,
    404: None,
    408: None,
    413: None,
    415: None,
    429: None,
    503: None,
}
_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/cds-services"): Operation(
        "Discovery: the services and the prefetch that each would like.",
        {200: Discovery, 401: None, 429: None},
        is_signed=True,
    ),
    ("POST", "/cds-services/{service_id}"): Operation(
        "Call a service: the cards for the orders.",
        {200: HookResponse, 400: None, 412: None, **_REFUSALS},
        body=HookCall,
        is_signed=True,
    ),
    ("POST", "/cds-services/{service_id}/feedback"): Operation(
        "What clinicians did with cards. Answered 200 once it is stored.",
        {200: OperationOutcome, 400: None, **_REFUSALS},
        body=FeedbackBatch,
        is_signed=True,
    ),
    ("GET", "/"): Operation("What is served here, and every rule, as a page.", {200: "text/html"}),
    ("GET", "/healthz"): Operation("Whether the process answers.", {200: Health}),
    ("GET", "/readyz"): Operation("Whether all that it needs is there.", {200: Health, 503: Health}),
    ("GET", "/metrics"): Operation("Figures for Prometheus, of all workers.", {200: "text/plain"}),
    ("GET", "/openapi.json"): Operation("This description.", {200: _JSON}),
}


def register(app: Flask, deployment: Deployment) -> None:
    """Last of all: it describes the routes of the others."""
    written = cache(lambda: msgspec.json.encode(description(current_app, deployment.settings.base_url)))

    @app.get("/openapi.json")
    def openapi() -> Response:
        return answer(written())


def description(app: Flask, base_url: str) -> Json:
    """The OpenAPI description of all routes of `app`."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    paths: dict[str, Json] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in _HIDDEN:
            for method in sorted((rule.methods or set()).intersection(_METHODS)):
                paths.setdefault(path_of(rule), {})[method.lower()] = _operation(app, rule, method)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Ketamine CDS",
            "version": version("ketamine-cds"),
            "description": "A CDS Hooks 2.0.1 service that checks ketamine and esketamine orders.",
        },
        "servers": [{"url": base_url}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"clientToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def path_of(rule: Rule) -> str:
    """A route's path with its parameters in braces."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _operation(app: Flask, rule: Rule, method: str) -> Json:
    known = _OPERATIONS.get((method, path_of(rule))) or _other(app, rule)
    made: Json = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}_{len(rule.arguments)}",
        "summary": known.summary,
        "responses": {str(status): _response(status, content) for status, content in known.answers.items()},
    }
    if rule.arguments:
        made["parameters"] = [_parameter(name) for name in sorted(rule.arguments)]
    if known.body is not None:
        made["requestBody"] = {"required": True, "content": {kind: {"schema": _ref(known.body)} for kind in _READ}}
    if known.is_signed:
        made["security"] = [{}, {"clientToken": []}]
    return made


def _other(app: Flask, rule: Rule) -> Operation:
    """A page or a publication: what its function says of itself."""
    says = (app.view_functions[rule.endpoint].__doc__ or f"{rule.endpoint.replace('_', ' ')}.").strip()
    return Operation(says.partition("\n")[0], {200: "*/*", 404: None})


def _parameter(name: str) -> Json:
    schema: Json = {"type": "string"}
    if name == "service_id":
        schema["enum"] = [service.id for service in discovery.SERVICES]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _response(status: int, content: type | str | None) -> Json:
    if isinstance(content, str):
        return {"description": _SAYS[status], "content": {content: {}}}
    described = {"schema": _ref(content or OperationOutcome)}
    kinds = (_JSON,) if content else (_JSON, "application/fhir+json")
    return {"description": _SAYS[status], "content": dict.fromkeys(kinds, described)}


def _ref(kind: type) -> Json:
    return {"$ref": _REF.format(name=kind.__name__)}


_SAYS: Mapping[int, str] = {
    200: "Done.",
    400: "The body is not what it should be.",
    401: "No token, or none that can be accepted.",
    404: "There is nothing of that name.",
    412: "What the service cannot do without could not be had.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too many calls; Retry-After says when to go on.",
    503: "Not now; where the service is busy, Retry-After says when to go on.",
}

"""The sandbox EHR over HTTP, where it is on: synthetic patients to try the service with, open to whoever calls."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from flask import Flask, Response, request

from cds_service import sandbox
from cds_service.fhir import lenient
from cds_service.hooks.errors import operation_outcome
from cds_service.sandbox import PATH
from cds_service.sandbox.server import MOST_BYTES, NotServed, Server
from cds_service.sandbox.written import Written
from cds_service.web.deployment import Deployment
from cds_service.web.fhir import FHIR_JSON


def register(app: Flask, deployment: Deployment) -> None:
    """Nothing where it is off: its paths are then unknown like any other."""
    base = next(iter(sandbox.servers(deployment.settings)), None)
    if base is None:
        return
    server = Server(base, deployment.clock, Written())

    @app.get(f"{PATH}/metadata")
    def sandbox_metadata() -> Response:
        """The CapabilityStatement of the sandbox EHR."""
        return _sent(server.capabilities())

    @app.get(f"{PATH}/<kind>/<name>")
    def sandbox_read(kind: str, name: str) -> Response:
        """A resource of the sandbox EHR."""
        return _sent(server.read(kind, name))

    @app.get(f"{PATH}/<kind>")
    def sandbox_search(kind: str) -> Response:
        """A search in the sandbox EHR."""
        return _sent(server.search(kind, list(request.args.items(multi=True))))

    @app.put(f"{PATH}/<kind>/<name>")
    def sandbox_update(kind: str, name: str) -> Response:
        """An order that is written to the sandbox EHR."""
        order, is_new = server.update(kind, name, _body())
        sent = _sent(order, 201 if is_new else 200)
        sent.headers["Location"] = f"{server.base}/{kind}/{name}/_history/{order['meta']['versionId']}"
        return sent

    @app.errorhandler(NotServed)
    def refused(error: NotServed) -> Response:
        return Response(
            msgspec.json.encode(operation_outcome(error.code, str(error))), error.status, mimetype=FHIR_JSON
        )


def _body() -> bytes:
    """At most so many bytes as an order may have. Raises NotServed."""
    length = request.content_length
    body: bytes = b"" if length is not None and length > MOST_BYTES else _read(length)
    if not body or len(body) > MOST_BYTES:
        raise NotServed(413 if length or body else 400, "too-long", f"an order of 1 to {MOST_BYTES} bytes is taken")
    return body


def _read(length: int | None) -> bytes:
    body: bytes = request.environ["wsgi.input"].read(MOST_BYTES + 1 if length is None else length)
    return body


def _sent(resource: Mapping[str, object], status: int = 200) -> Response:
    return Response(lenient.encode(resource), status, mimetype=FHIR_JSON)

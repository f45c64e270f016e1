"""Every error is an OperationOutcome in JSON with the right status."""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from cds_service.hooks.errors import HookError
from cds_service.web.wire import refusal

_ISSUE_TYPES = {400: "structure", 404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}


def register(app: Flask) -> None:
    app.register_error_handler(HookError, _hook_error)
    app.register_error_handler(HTTPException, _http_error)


def _hook_error(error: HookError) -> Response:
    return refusal(error.status, error.code, str(error), error.headers)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    allowed = {name: value for name, value in error.get_headers() if name.lower() == "allow"}
    return refusal(status, _ISSUE_TYPES.get(status, "processing"), error.name, allowed)

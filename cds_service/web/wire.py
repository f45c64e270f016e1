"""What every route does with HTTP: read a JSON body within a limit, and answer with JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from flask import Response, request

from cds_service.hooks.errors import NotJson, TooLarge, operation_outcome
from cds_service.web import bodies


def read_body(limit: int) -> bytes:
    """The request's body in UTF-8, at most `limit` bytes before and after it is decompressed.

    Raises NotJson, TooLarge, or Malformed where it cannot be decompressed or decoded.
    """
    if not bodies.is_json(request.mimetype):
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
    encoding, charset = request.headers.get("Content-Encoding", ""), request.mimetype_params.get("charset", "")
    return bodies.plain(body, encoding, charset, limit)


def answer(body: bytes, status: int = 200) -> Response:
    """JSON that is encoded already."""
    return Response(body, status, mimetype="application/json")


def refusal(status: int, code: str, says: str, headers: Mapping[str, str] | None = None) -> Response:
    """An OperationOutcome; `code` is an issue type of FHIR R4, `says` repeats nothing of the request."""
    refused = answer(msgspec.json.encode(operation_outcome(code, says)), status)
    refused.headers.update(headers or {})
    return refused


def place(error: BaseException) -> str:
    """Module and line where an error arose: never its message, which may hold what was sent."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "?"

"""The floor: Flask routes that only parse what they get, and answer with bytes that are always the same."""

from __future__ import annotations

from functools import cache

import msgspec
from flask import Flask, Response, request

PATHS = {
    "no-op, Flask's get_json": "/get-json/{size}",
    "no-op, msgspec": "/msgspec/{size}",
}
"""Each answers with `size` bytes of JSON."""


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/get-json/<int:size>")
    def get_json(size: int) -> Response:
        request.get_json()
        return Response(answer(size), mimetype="application/json")

    @app.post("/msgspec/<int:size>")
    def by_msgspec(size: int) -> Response:
        msgspec.json.decode(request.environ["wsgi.input"].read(request.content_length))
        return Response(answer(size), mimetype="application/json")

    return app


@cache
def answer(size: int) -> bytes:
    frame = b'{"cards":[],"x":""}'
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:] if size >= len(frame) else b"0" * size

"""The invariants of a response over every response that any test gets, by the test client or over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import flask
import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conformance.invariants import RESPONSE, broken

_CALL = re.compile(r"/cds-services/[^/]+/?$")


class BrokenInvariant(AssertionError):
    """A response that the specification's invariants do not allow."""


def look_at(path: str, status: int, body: bytes) -> None:
    """Raises BrokenInvariant for an answer of 200 to a call of a service, where it breaks one."""
    if status != 200 or b'"cards"' not in body or not _CALL.search(path):
        return
    try:
        answer = json.loads(body)
    except ValueError:
        return  # the test itself is about that
    if isinstance(answer, dict) and "cards" in answer and (wrong := broken(answer, RESPONSE)):
        raise BrokenInvariant(f"{path}: {', '.join(f'{key}: {RESPONSE[key]}' for key in wrong)}")


class WatchedClient(FlaskClient):
    """Flask's test client, which looks at each answer before the test does."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        look_at(answer.request.path, answer.status_code, answer.get_data())
        return answer


@contextmanager
def watching() -> Iterator[None]:
    """While it lasts every test client, and every session of requests, is watched."""
    send = requests.Session.send

    def watched(self: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        answer = send(self, request, **kwargs)
        if not kwargs.get("stream"):
            look_at(urlsplit(str(request.url)).path, answer.status_code, answer.content)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flask.Flask, "test_client_class", WatchedClient)
        patch.setattr(requests.Session, "send", watched)
        yield

"""The watch over all tests' responses sees what is broken, at both doors, and lets pass what is not."""

from __future__ import annotations

from typing import Any

import flask
import pytest
import requests

from tests.conformance.invariants import RESPONSE, VIOLATIONS
from tests.conformance.watch import BrokenInvariant, WatchedClient
from tests.hooks.client import client
from tests.servers.local import Reply, local_server


def _app(answer: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.add_url_rule("/cds-services/<name>", view_func=lambda name: flask.jsonify(answer), methods=["POST"])
    return app


@pytest.mark.parametrize("invariant", RESPONSE)
def test_a_broken_response_does_not_get_past_the_test_client(invariant: str) -> None:
    http = _app({"cards": [VIOLATIONS[invariant]]}).test_client()
    with pytest.raises(BrokenInvariant, match=invariant):
        http.post("/cds-services/any")


def test_a_broken_response_does_not_get_past_a_session() -> None:
    broken = b'{"cards":[{"suggestions":[{"label":"a"}]}]}'
    with local_server(Reply(broken)) as server:
        url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(BrokenInvariant, match="cds-resp-6"):
            requests.get(f"{url}/cds-services/any", timeout=10)
        assert requests.get(f"{url}/elsewhere", timeout=10).content == broken


def test_what_is_not_broken_passes(knowledge: Any) -> None:
    assert _app({"cards": []}).test_client().post("/cds-services/any").get_json() == {"cards": []}
    assert isinstance(client(knowledge), WatchedClient)

"""The service as a test calls it: requests in, status and decoded answer out."""

from __future__ import annotations

from typing import Any

import msgspec
from flask.testing import FlaskClient

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.conformance import decoded
from tests.scenarios.build import NOW

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def client(knowledge: Knowledge, settings: Settings | None = None) -> FlaskClient:
    """The application, at the moment at which the scenarios take place."""
    return create_app(settings or Settings(), knowledge, clock=lambda: NOW).test_client()


def encoded(request: Any) -> bytes:
    """JSON with exact decimals."""
    return _ENCODER.encode(request)


class Service:
    """What a CDS client knows of the service."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.http = client(knowledge)
        self.failed = knowledge.texts.words.say("failed")

    def post(self, body: bytes, hook: str) -> tuple[int, Any]:
        """(status, decoded body). A card that says that the service failed is never an answer."""
        answer = self.http.post(f"/cds-services/ketamine-{hook}", data=body, content_type="application/json")
        assert answer.mimetype == "application/json"
        content = decoded(answer.data)
        assert all(card["summary"] != self.failed for card in content.get("cards", ())), "the service failed"
        return answer.status_code, content

    def call(self, request: dict[str, Any], hook: str | None = None) -> dict[str, Any]:
        """The answer to a request that must be answered with cards."""
        status, content = self.post(encoded(request), hook or request["hook"])
        assert status == 200, content
        assert isinstance(content, dict)
        return content


def topics(answer: dict[str, Any]) -> list[str]:
    """The leading rule of each card, in order."""
    return [card["source"]["topic"]["code"] for card in answer["cards"]]


def card(answer: dict[str, Any], topic: str) -> dict[str, Any]:
    """The one card of a topic."""
    (found,) = [card for card in answer["cards"] if card["source"]["topic"]["code"] == topic]
    assert isinstance(found, dict)
    return found


def updates(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of all update actions, in order."""
    return [
        action["resource"]
        for each in answer["cards"]
        for suggestion in each.get("suggestions", ())
        for action in suggestion["actions"]
        if action["type"] == "update"
    ]

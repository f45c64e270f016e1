"""Requests at a bound, and what comes back."""

from __future__ import annotations

from typing import Any

import msgspec

from cds_service.advise import advise
from cds_service.cards.model import Response
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, hook_request

Json = dict[str, Any]
ENCODER = msgspec.json.Encoder(decimal_format="number")
SAID = "could-not-check"


def asked_with(**changes: Any) -> Json:
    return hook_request({"order": {"rate": "1.2 mg/kg/h"}, **changes})


def order_of(asked: Json) -> Json:
    order: Json = asked["context"]["draftOrders"]["entry"][0]["resource"]
    return order


def answer_to(asked: Json | bytes, knowledge: Knowledge) -> Response:
    body = asked if isinstance(asked, bytes) else ENCODER.encode(asked)
    hook = "order-sign"
    answer = advise(parse(body, hook), True, knowledge, NoSource(), NOW)
    encode(answer)
    return answer


def said_by(answer: Response) -> str:
    return "\n".join(
        card.detail or "" for card in answer.cards if card.source.topic and card.source.topic.code == SAID
    )


def was_judged(answer: Response) -> bool:
    return any(card.source.topic and card.source.topic.code == "rate-exceeds-ceiling" for card in answer.cards)


def updates_of(answer: Response) -> list[Any]:
    actions = [action for card in answer.cards for each in card.suggestions or () for action in each.actions]
    return [action.resource for action in actions if action.type == "update"]

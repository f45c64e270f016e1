"""What a committee would count: calls with cards, findings and what was done with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from cds_service.stewardship.counts import Period
from cds_service.store.records import Card
from cds_service.store.store import Store
from tests.store.build import NOW, feedback, finding, invocation

WEEK = Period(NOW - timedelta(days=7), NOW + timedelta(seconds=1))
RULE = "rate-exceeds-protocol-max"


def answered(store: Store, *outcomes: str | None, rule: str = RULE, days_ago: float = 1, **changes: Any) -> list[str]:
    """A call with one card of a rule for each outcome; None is a card that nobody answered. Returns the cards."""
    cards = []
    for outcome in outcomes:
        card, at = str(uuid4()), NOW - timedelta(days=days_ago)
        found = finding(card, rule=rule)
        shown = [Card(uuid=card, topic=rule, indicator="warning")]
        store.write([invocation(at=at, cards=shown, findings=[found], **changes)])
        if outcome is not None:
            client = {"client": changes["client"]} if "client" in changes else {}
            reasons = {} if outcome == "overridden" else {"reasons": []}
            store.add_feedback([feedback(card, outcome=outcome, received_at=at, **reasons, **client)])
        cards.append(card)
    return cards

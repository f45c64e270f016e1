"""Records as tests of the store want them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cds_service.store.records import Card, Comparison, Difference, Feedback, Finding, Invocation

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ORDER = "a" * 32


def invocation(card: str | None = None, order: str = ORDER, **changes: Any) -> Invocation:
    """One call with one card, which stands for one finding on an order."""
    card = card or str(uuid4())
    given: dict[str, Any] = {
        "id": str(uuid4()),
        "at": NOW,
        "service": "ketamine-order-sign",
        "client": "anonymous",
        "hook_instance": str(uuid4()),
        "microseconds": 1500,
        "protocol": "1.0.0",
        "site": None,
        "patient": "b" * 32,
        "cards": [Card(uuid=card, topic="rate-exceeds-protocol-max", indicator="warning", order=order)],
        "findings": [finding(card, order)],
    }
    return Invocation(**given | changes)


def finding(card: str | None, order: str = ORDER, **changes: Any) -> Finding:
    given: dict[str, Any] = {
        "rule": "rate-exceeds-protocol-max",
        "status": "fired",
        "tier": "above-warn",
        "severity": "warning",
        "card": card,
        "order": order,
        "figure": "4/5",
        "dose_shape": "c" * 32,
        "dose_amounts": [[None, None, "56", "4/5", None]],
        "facts": ["d" * 32],
    }
    return Finding(**given | changes)


def feedback(card: str, **changes: Any) -> Feedback:
    given: dict[str, Any] = {
        "card": card,
        "service": "ketamine-order-sign",
        "client": "anonymous",
        "outcome": "overridden",
        "sent_at": "2026-11-22T10:00:00Z",
        "received_at": NOW,
        "reasons": [["http://example.org/reasons", "benefit-outweighs-risk"]],
    }
    return Feedback(**given | changes)


def comparison(*differences: Difference, **changes: Any) -> Comparison:
    """Ten calls under the live policy and a candidate, with an order each."""
    given: dict[str, Any] = {
        "id": str(uuid4()),
        "at": NOW,
        "client": "anonymous",
        "live": "a" * 16,
        "candidate": "b" * 16,
        "calls": 10,
        "orders": 10,
        "dropped": 0,
        "failed": 0,
        "interrupting_live": 2,
        "interrupting_candidate": 3,
        "differences": list(differences) or [difference()],
    }
    return Comparison(**given | changes)


def difference(**changes: Any) -> Difference:
    given: dict[str, Any] = {
        "rule": "rate-exceeds-protocol-max",
        "was": "clear",
        "was_severity": None,
        "becomes": "fired",
        "severity": "warning",
        "orders": 1,
    }
    return Difference(**given | changes)

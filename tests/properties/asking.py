"""One request to the service, and what it answers for each rule.

The protocol is held here and not asked for as a fixture: Hypothesis prints the arguments of a failing test, and would
give up at the size of this one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from cds_service.advise import advise, explain
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import HookRequest, parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.model import SEVERITIES
from cds_service.rules.judged import Judged
from tests.scenarios.build import NOW, hook_request, observation

_ENCODER = msgspec.json.Encoder(decimal_format="number")


@cache
def knowledge() -> Knowledge:
    return load()


DOSE_ROWS = (
    "rate-exceeds-protocol-max",
    "rate-exceeds-ceiling",
    "bolus-above-usual-load",
    "bolus-exceeds-unmonitored-limit",
    "bolus-exceeds-protocol-max",
    "bolus-anaesthetic-range",
    "bolus-push-too-fast",
    "depression-dose-exceeds",
    "depression-infusion-too-fast",
    "uncapped-order",
)
"""Rows 1, 2, 4-10 and 12: what the dose alone decides, however it is written."""

Verdict = dict[str, str]
"""Fired rule -> severity."""


def weighed(value: Mapping[str, Any], when: str = "2 hours ago", number: int = 1) -> dict[str, Any]:
    """An Observation of body weight."""
    return observation("29463-7", {"valueQuantity": dict(value)}, when, number)


def request(*orders: Mapping[str, Any], hook: str = "order-sign", **patient: Any) -> dict[str, Any]:
    """A request with these drafts, as FHIR, for the patient of a scenario (cds_service.scenarios).

    `weights` are Observations that stand in place of the scenario's weight.
    """
    weights = patient.pop("weights", None)
    made = hook_request({"hook": hook, "orders": [{}], "patient": patient})
    made["context"]["draftOrders"]["entry"] = [{"resource": copy.deepcopy(dict(order))} for order in orders]
    if weights is not None:
        bundle = made["prefetch"]["bodySize"]
        others = [e for e in bundle.get("entry", []) if e["resource"]["code"]["coding"][0]["code"] == "8302-2"]
        bundle["entry"] = [{"resource": weight} for weight in weights] + others
    return made


def parsed(asked: Mapping[str, Any]) -> HookRequest:
    return parse(_ENCODER.encode(asked), asked["hook"])


def judged(asked: Mapping[str, Any], now: datetime = NOW) -> list[Judged]:
    """Every rule's outcome for each ketamine order."""
    return explain(parsed(asked), asked["hook"] == "order-sign", knowledge(), NoSource(), now)[0]


def answered(asked: Mapping[str, Any], now: datetime = NOW) -> list[dict[str, Any]]:
    """The cards as they are sent."""
    answer = advise(parsed(asked), asked["hook"] == "order-sign", knowledge(), NoSource(), now)
    cards: list[dict[str, Any]] = msgspec.json.decode(encode(answer))["cards"]
    return cards


def fired(order: Judged, *rules: str) -> Verdict:
    """What fired for an order, of `rules` where some are named."""
    return {
        outcome.rule.id: str(outcome.severity)
        for outcome in order.outcomes
        if outcome.status == "fired" and (not rules or outcome.rule.id in rules)
    }


def dose_verdict(asked: Mapping[str, Any], now: datetime = NOW) -> Verdict:
    """What rows 1, 2, 4-10 and 12 say of the first order."""
    return fired(judged(asked, now)[0], *DOSE_ROWS)


def rank(severity: str | None) -> int:
    """3 for critical, 0 for nothing."""
    return len(SEVERITIES) - SEVERITIES.index(severity) if severity in SEVERITIES else 0


def worst(verdict: Verdict, *rules: str) -> int:
    return max((rank(severity) for rule, severity in verdict.items() if not rules or rule in rules), default=0)

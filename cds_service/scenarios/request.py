"""A scenario as the CDS Hooks request that an EHR would send.

What it does not name is normal: an adult of 45 on a ward, weighed and with a normal blood pressure this morning, no
problems, paracetamol and no other medicine, "no known allergy", all monitoring ordered; an intravenous order for
acute pain with a supply for a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from cds_service.errors import UNREADABLE
from cds_service.hooks.request import HookRequest, parse
from cds_service.scenarios.coded import NOW, PATIENT, ScenarioError
from cds_service.scenarios.orders import medication_request
from cds_service.scenarios.patient import Chart

SIGNING = "order-sign"
"""The hook where a scenario names none."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def hook_request(scenario: Mapping[str, Any], now: datetime = NOW) -> dict[str, Any]:
    """The whole request of a scenario that takes place at `now`. Raises ScenarioError."""
    try:
        return _hook_request(scenario, now)
    except UNREADABLE as error:
        raise ScenarioError(f"it cannot be read: {type(error).__name__} {error}") from error


def _hook_request(scenario: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    hook = scenario.get("hook", SIGNING)
    viewing = hook == "patient-view"
    orders = [] if viewing else scenario.get("orders") or [scenario["order"]]
    drafts = [medication_request(order, number, now) for number, order in enumerate(orders, 1)]
    drafts += scenario.get("other drafts", [])
    context: dict[str, Any] = {"userId": "Practitioner/pr1", "patientId": PATIENT, "encounterId": "e1"}
    if not viewing:
        entries = [{"resource": draft} for draft in drafts]
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    if hook == "order-select":
        selected = scenario.get("selected", [draft["id"] for draft in drafts])
        context["selections"] = [f"MedicationRequest/{name}" for name in selected]
    return {
        "hook": hook,
        "hookInstance": "0f0f0f0f-1111-4222-8333-444444444444",
        "context": context,
        "prefetch": Chart(scenario.get("patient", {}), now).prefetch(),
    }


def parsed(request: Mapping[str, Any], hook: str) -> HookRequest:
    """A request as the service reads it from the wire."""
    return parse(encoded(request), hook)


def encoded(request: Mapping[str, Any]) -> bytes:
    """A request as it goes over the wire."""
    return _ENCODER.encode(request)


def sent(scenario: Mapping[str, Any], now: datetime = NOW) -> HookRequest:
    """The request of a scenario as the service reads it from the wire. Raises ScenarioError."""
    return parsed(hook_request(scenario, now), scenario.get("hook", SIGNING))

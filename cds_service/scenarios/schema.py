"""JSON Schema of a file of scenarios, made from what reads it: editors complete and check with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cds_service.protocol.schema import DIALECT
from cds_service.scenarios.files import Scenario
from cds_service.scenarios.orders import ORDER_KEYS
from cds_service.scenarios.patient import KEYS


def of_scenarios() -> dict[str, Any]:
    """The schema of `scenarios.yaml`."""
    _, shapes = msgspec.json.schema_components([Scenario], ref_template="#/$defs/{name}")
    scenario = shapes["Scenario"]["properties"]
    order, patient = _of_keys(ORDER_KEYS), _of_keys(KEYS)
    scenario["order"], scenario["patient"] = order, patient
    scenario["orders"] = {"type": "array", "items": order}
    title = "What clinicians are told: scenarios.yaml"
    return {"$schema": DIALECT, "title": title, "type": "array", "items": shapes.pop("Scenario"), "$defs": shapes}


def _of_keys(keys: Iterable[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {key: {} for key in sorted(keys)}}

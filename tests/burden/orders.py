"""The ordinary orders of orders.yaml as scenarios: each setting with each of its ages, charts and orders."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cds_service.protocol.parsing import parse_yaml

_FILE = Path(__file__).with_name("orders.yaml")

CLIENTS: dict[str, dict[str, Any]] = {
    "full data": {},
    "no nursing orders": {"monitoring": []},
    "thin client": {
        "missing": [
            "serviceRequests", "administrations", "medicationStatements", "symptoms", "acuteResults", "procedures",
        ]
    },
}  # fmt: skip
"""What a client sends: everything; no nursing or monitoring order; neither those lists nor what they would hold."""


@functools.cache
def ordinary() -> tuple[tuple[str, dict[str, Any]], ...]:
    """(name, scenario) of each order, always in the same order."""
    return tuple(_made())


def of_client(scenario: dict[str, Any], client: str) -> dict[str, Any]:
    """The scenario as that client sends it."""
    return {**scenario, "patient": {**scenario["patient"], **CLIENTS[client]}}


def _made() -> Iterator[tuple[str, dict[str, Any]]]:
    table = parse_yaml(_FILE.read_text("utf-8"), _FILE.name)
    for setting in table["settings"]:
        for given in setting["orders"]:
            order = {"supply": "none", **given}
            source = order.pop("doses of")
            for age in setting["ages"]:
                for chart in setting["charts"]:
                    patient = {**table["charts"][chart], **table["ages"][age], **setting["patient"]}
                    dose = given.get("rate") or given["dose"]
                    name = f"{setting['name']}, {age}, {chart}: {dose} ({source})"
                    yield name, {"name": name, "patient": patient, "order": order}

"""A small report as a replay writes it, for those who read reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cds_service.retrospect import plots, results
from cds_service.retrospect.tables import Table

OLD = {"name": "old-policy", "file": "the shipped protocol", "sha256": "", "digest": "a" * 16}
NEW = {"name": "new-policy", "file": "new.yaml", "sha256": "c" * 64, "digest": "b" * 16}
RULE = "rate-exceeds-protocol-max"
_RULES = (
    "rule",
    "policy",
    "fired",
    "critical",
    "warning",
    "on_interruptive_card",
    "clear",
    "could_not_tell",
    "suppressed",
    "switched_off",
)
_STEP = 0.05


def write_report(folder: Path, policies: Sequence[Mapping[str, str]] = (OLD, NEW), **changes: Any) -> Path:
    """Forty orders, at seven of which a rule falls silent, and at all of which another is switched off."""
    folder.mkdir(parents=True)
    names = [each["name"] for each in policies]
    ended = {"old-policy": (12, 2, 10, 12, 28, 0, 0, 0)}
    bars = [("acute pain", 0.1, 0.15, 30), ("depression", 1.0, 1.05, 10)]
    points = [(round(_STEP * number, 6), 40 if number < 3 else 10 if number < 21 else 0) for number in range(41)]
    wards = [(ward, name, 20, 6, 30.0, 1.5) for ward in ("Ward <b>1</b>", "Ward 2") for name in names]
    tables = [
        Table("rules", _RULES, [(RULE, name, *ended.get(name, (5, 2, 3, 5, 35, 0, 0, 0))) for name in names]),
        Table(
            "transitions",
            ("rule", "policy", "was", "becomes", "changed", "by_switch"),
            [
                row
                for name in names[1:]
                for row in (
                    (RULE, name, "fired warning", "clear", 7, 0),
                    ("duration-missing", name, "clear", "switched off", 0, 40),
                )
            ],
        ),
        Table(
            "by-ward",
            (
                "ward",
                "policy",
                "orders",
                "interruptive_cards",
                "interruptive_per_100",
                "could_not_check_per_100",
            ),
            wards,
        ),
        Table("doses-mg-per-kg-per-h", ("indication", "from", "to", "orders"), bars),
        Table("limits-mg-per-kg-per-h", ("limit (mg/kg/h)", "orders_above", "per_100_such_orders"), [
            (limit, count, count * 2.5) for limit, count in points
        ]),
    ]  # fmt: skip
    for table in tables:
        table.write(folder)
    limits = {"rate-warn": 0.5, "rate-critical <i>": 1.0}
    said = {
        "policies": list(policies),
        "as_of": "order",
        "orders": 42,
        "judged": 40,
        "left_out": {"entered in error": 2},
        "lines_not_read": {"Observation": 1},
        "measures": {
            "interruptive-per-100": 12.5,
            "new-interruptive-per-100": -17.5,
            "silent-criticals": 0.0,
            "switched-off-criticals": 0.0,
        },
        "plots": [
            {"title": "continuous infusions", "unit": "mg/kg/h", "orders": 40, "step": _STEP, "limits": limits}
        ],
        "tables": {table.name: results.sha256((folder / f"{table.name}.csv").read_bytes()) for table in tables},
    }
    assert len(points) == plots.BINS + 1
    (folder / results.SUMMARY).write_text(json.dumps(said | changes), "utf-8")
    return folder

"""The schema that editors use agrees with the loader: what is shipped is valid, and a slip is not."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from cds_service.folders import CARDS
from cds_service.protocol import schema
from cds_service.protocol.parsing import parse_yaml
from cds_service.scenarios.schema import of_scenarios

RULES = [*sorted(CARDS.glob("*/rules/*/rule.yaml")), *sorted(Path("examples").glob("rules/*/rule.yaml"))]


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.validator_for(schema.of_rule())


def as_json(text: str) -> Any:
    return json.loads(json.dumps(_keyed(parse_yaml(text, "rule.yaml")), default=_plain))


def _plain(value: date | Decimal) -> str | float:
    return str(value) if isinstance(value, date) else float(value)


def _keyed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _keyed(each) for key, each in value.items()}
    return [_keyed(each) for each in value] if isinstance(value, list) else value


def test_every_shipped_rule_is_valid(validator: Any) -> None:
    assert len(RULES) > 70
    for path in RULES:
        faults = [
            f"{fault.instance_path}: {fault.message}"
            for fault in validator.iter_errors(as_json(path.read_text("utf-8")))
        ]
        assert faults == [], path.parent.name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("category:", "kategory:"),
        ("above: bp-warn-systolic", "abov: bp-warn-systolic"),
        ("measured: obs_sbp", "meassured: obs_sbp"),
        ("warning:", "warn:"),
        ("title: Raised blood pressure", "titel: Raised blood pressure"),
    ],
)
def test_a_slip_is_underlined(validator: Any, old: str, new: str) -> None:
    text = (CARDS / "ketamine" / "rules" / "bp-elevated" / "rule.yaml").read_text("utf-8")
    assert old in text
    assert not validator.is_valid(as_json(text.replace(old, new)))


def test_a_sites_overlay_and_every_shipped_scenario_are_valid() -> None:
    overlay, scenarios = map(jsonschema_rs.validator_for, (schema.of_overlay(), of_scenarios()))
    example = Path("examples/overlay.yaml").read_text("utf-8")
    assert [str(fault) for fault in overlay.iter_errors(as_json(example))] == []
    assert not overlay.is_valid(as_json(example.replace("filters:", "filter:")))
    assert not overlay.is_valid(as_json(example.replace("to: info", "to: warn")))
    for path in CARDS.glob("*/rules/*/scenarios.yaml"):
        assert [str(fault) for fault in scenarios.iter_errors(as_json(path.read_text("utf-8")))] == [], path
    text = (CARDS / "ketamine" / "rules" / "psychosis" / "scenarios.yaml").read_text("utf-8")
    for old, new in (
        ("expect:", "expects:"),
        ("patient: {", "patient: {wieght: 1 kg, "),
        ("order: {", "order: {rat: 1, "),
    ):
        assert old in text
        assert not scenarios.is_valid(as_json(text.replace(old, new)))

"""JSON Schema of a rule's file and of an overlay, made from the model's types: editors complete and check with it."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from cds_service.protocol import facts, model
from cds_service.protocol.overlay import Overlay

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LOGIC = {
    "type": "string",
    "description": "fact names with and, or, not, unless and parentheses",
}
_NOT_WRITTEN = ("id", "site", "off", "tiers", "changes")
"""Fields of a rule that its file does not have, or has in another shape."""


def of_rule() -> dict[str, Any]:
    """The schema of `rule.yaml`."""
    _, shapes = msgspec.json.schema_components([model.Rule, model.Limit], ref_template="#/$defs/{name}")
    rule, limit = shapes["Rule"], shapes["Limit"]
    properties = {key: each for key, each in rule["properties"].items() if key not in _NOT_WRITTEN}
    limit["properties"]["values"]["additionalProperties"] = _one_or_more({"type": "number"})
    for written_elsewhere in ("id", "site"):
        limit["properties"].pop(written_elsewhere)
    return {
        "$schema": DIALECT,
        "title": "A rule of a protocol: rule.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in rule["required"] if name not in _NOT_WRITTEN] + ["tiers"],
        "properties": properties
        | {
            "limits": {"type": "object", "additionalProperties": limit},
            "facts": {"type": "object", "additionalProperties": {"anyOf": [_LOGIC, *map(_fact, facts.KINDS)]}},
            "tiers": {"type": "object", "additionalProperties": {"anyOf": [_LOGIC, _tier()]}},
            "changes": {"type": "array", "items": _change()},
        },
    }


def of_overlay() -> dict[str, Any]:
    """The schema of a site's overlay file."""
    _, shapes = msgspec.json.schema_components([Overlay], ref_template="#/$defs/{name}")
    when = {"anyOf": [_LOGIC, *map(_fact, facts.KINDS)]}
    for changed in ("Filter", "Condition"):
        shapes[changed]["properties"]["when"] = when
    shapes["LimitChange"]["properties"]["value"] = _one_or_more({"type": "number"})
    shapes["ProductChange"]["properties"]["mg_per_ml"] = {"type": "number"}
    overlay = shapes.pop("Overlay")
    overlay["properties"]["facts"] = {"type": "object", "additionalProperties": when}
    parts = ("LimitChange", "RuleChange", "OrderSetChange", "ProductChange", "Addition", "Condition", "Filter")
    kept = {name: shapes[name] for name in (*parts, "Orderable", "OrderableCoding", "Evidence")}
    return {"$schema": DIALECT, **overlay, "title": "A site's changes to the protocol: overlay.yaml", "$defs": kept}


def _tier() -> dict[str, Any]:
    lines = {severity: {"anyOf": [_LOGIC, {"type": "null"}]} for severity in model.SEVERITIES}
    names = {"type": "array", "items": {"type": "string"}}
    properties = lines | {"limits": names, "offers": names}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _change() -> dict[str, Any]:
    _, shapes = msgspec.json.schema_components([model.Change], ref_template="#/$defs/{name}")
    change: dict[str, Any] = shapes["Change"]
    change["properties"]["when"] = _LOGIC
    del change["properties"]["site"]
    return change


def _fact(word: str) -> dict[str, Any]:
    """A fact whose first key is `word`: its value is the head of the kind, or all the fields of one without."""
    kind = facts.kind_of(word)
    fields = {field.replace("_", " "): _type(hint) for field, hint in get_type_hints(kind).items()}
    head = next((field for field in facts.HEADS if field in fields), None)
    if head is not None:
        properties = {word: fields.pop(head), **fields}
    else:
        properties = {word: {"type": "object", "additionalProperties": False, "properties": fields}}
    if kind is model.ConditionIs:
        properties["unless later"] = _LOGIC
    return {"type": "object", "additionalProperties": False, "required": [word], "properties": properties}


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is list:
        return _one_or_more({"type": "string"})
    if hint is bool or bool in get_args(hint):
        return {"type": "boolean"}
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    return {"enum": choices} if choices else {"type": "string"}


def _one_or_more(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item}]}

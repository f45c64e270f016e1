"""No id of the protocol stands in Python: what a judgement needs it gets from its rule, by names of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cds_service
from cds_service.knowledge import Knowledge

ROOT = Path(cds_service.__file__).parent
RESERVED = {"could-not-check", "further-warnings"}
"""Topics of cards that are no rules."""
WORDS = {
    "ketamine", "none", "missing", "active", "given", "other", "planned", "in-part", "unclear", "bolus", "allergy",
    "intolerance", "critical", "symptom", "history", "home", "infant", "adult", "stable", "words", "unknown", "above",
    "sum", "hour", "day", "panel",
}  # fmt: skip
"""Ids that are words of FHIR or English too, or the product's own name: there they stand for another thing."""
AT_MOST = {"rule": 0, "limit": 0, "indication": 0, "drug": 0, "tier": 48, "value set": 19}
"""How many places are left. They were 35 and 18 before sums, panels and reasons in words were judged. A judgement in
code names its tiers, and the chart the value sets by which it reads weights, answers, diluents and pushes."""


def constants(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in the code of a file, its docstrings left out."""
    tree = ast.parse(path.read_text("utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


@pytest.fixture(scope="module")
def places(knowledge: Knowledge) -> dict[str, list[str]]:
    protocol = knowledge.protocol
    ids = {
        "rule": {*protocol.rules},
        "limit": {*protocol.limits},
        "tier": {tier.name for rule in protocol.rules.values() for tier in rule.tiers},
        "indication": {*protocol.indications, *protocol.uses},
        "drug": {*protocol.drugs},
        "value set": {*knowledge.valuesets.names()},
    }
    found: dict[str, list[str]] = {kind: [] for kind in ids}
    for path in sorted(ROOT.rglob("*.py")):
        for line, text in constants(path):
            name = text.partition("/")[0]
            for kind, known in ids.items():
                if name in known and name not in RESERVED | WORDS:
                    found[kind].append(f"{path.relative_to(ROOT)}:{line}: {text}")
    return found


@pytest.mark.parametrize("kind", AT_MOST)
def test_no_more_ids_stand_in_python_than_are_known(kind: str, places: dict[str, list[str]]) -> None:
    print(f"{kind}: {len(places[kind])} in Python")
    assert len(places[kind]) <= AT_MOST[kind], "\n".join(places[kind])

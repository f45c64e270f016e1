"""No id of the protocol stands in Python: what a judgement needs it gets from its rule, by names of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import cds_service
from cds_service.knowledge import Knowledge

ROOT = Path(cds_service.__file__).parent
RESERVED = {"could-not-check", "further-warnings"}
"""Topics of cards that are no rules."""
WORDS = {
    "ketamine", "none", "missing", "active", "given", "other", "unclear", "bolus", "allergy", "intolerance",
    "critical", "symptom", "history", "home", "infant", "adult", "child", "stable", "words", "unknown", "above",
    "sum", "hour", "day", "panel", "infusion", "recorded", "session", "no-weight", "own-limits", "analgesic",
}  # fmt: skip
"""Ids that are also words of FHIR or English, the name of a judgement, a note or a clause's field, or the product's
own name: in Python they stand for that."""


def constants(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in the code of a file, its docstrings left out."""
    tree = ast.parse(path.read_text("utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def found_in(root: Path, knowledge: Knowledge) -> list[str]:
    protocol = knowledge.protocol
    ids = {
        "rule": {*protocol.rules},
        "limit": {*protocol.limits},
        "tier": {tier.name for rule in protocol.rules.values() for tier in rule.tiers},
        "indication": {*protocol.indications, *protocol.uses},
        "drug": {*protocol.drugs},
        "value set": {*knowledge.valuesets.names()},
    }
    return [
        f"{path.relative_to(root)}:{line}: {kind} {text}"
        for path in sorted(root.rglob("*.py"))
        for line, text in constants(path)
        for kind, known in ids.items()
        if (name := text.partition("/")[0]) in known and name not in RESERVED | WORDS
    ]


def test_no_id_stands_in_python(knowledge: Knowledge) -> None:
    assert found_in(ROOT, knowledge) == []


def test_an_id_in_python_would_be_found(knowledge: Knowledge, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text('"""bp-uncontrolled"""\nRULE, TIER = "bp-uncontrolled", "verdict-flips"\n')
    assert found_in(tmp_path, knowledge) == ["wrong.py:2: rule bp-uncontrolled", "wrong.py:2: tier verdict-flips"]

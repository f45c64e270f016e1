"""Every statement of the two sources is carried by the protocol or says why not, and every number says whence."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from cds_service.folders import CARDS
from cds_service.protocol import loader, model
from cds_service.terminology import valuesets

SOURCES = Path(__file__).parents[1] / "sources"
STATEMENTS = [f"K-{number:02}" for number in range(1, 60)]
CONFLICTS = [f"C-{number:02}" for number in range(1, 25)]
COMMON = ["R61", "R63"]
"""What limits of every protocol rest on."""
EVIDENCE = [
    *(f"R{n}" for n in (*range(1, 53), 60, 62, *range(64, 70), *range(81, 88)) if n not in (30, 35)),
    *COMMON,
]
OF_NO_STATEMENT = {
    "nasal-esketamine-dose", "nasal-esketamine-frequency", "nasal-esketamine-route", "nasal-esketamine-session"
}  # fmt: skip
"""The two source documents say nothing of the labelled nasal product."""
KINDS = {
    "dosing-limit",
    "unit",
    "adverse-event-management",
    "adverse-event-fact",
    "caution",
    "duration",
    "adjunct-therapy",
    "monitoring",
    "route",
    "frequency",
    "contraindication",
    "indication",
    "evidence-claim",
    "mechanism",
}
NOT_BUILT = re.compile(r"row (\d+) \(([a-z0-9-]+)\) is not built yet")


@pytest.fixture(scope="module")
def protocol() -> model.Protocol:
    return loader.load(valuesets.load())


def not_built(statement: model.Statement) -> dict[str, int]:
    """The rules that a statement still waits for, with their rows."""
    return {rule: int(row) for row, rule in NOT_BUILT.findall(statement.why_not or "")}


def test_every_statement_of_the_sources_is_listed(protocol: model.Protocol) -> None:
    assert list(protocol.statements) == STATEMENTS


def test_source_a_ends_with_statement_35(protocol: model.Protocol) -> None:
    sources = {key: statement.source for key, statement in protocol.statements.items()}
    assert sources == {key: "A" if key <= "K-35" else "B" for key in STATEMENTS}


def test_every_statement_says_something_of_a_known_kind(protocol: model.Protocol) -> None:
    assert [key for key, statement in protocol.statements.items() if not statement.says.strip()] == []
    assert {statement.kind for statement in protocol.statements.values()} == KINDS


def test_every_statement_is_carried_or_says_why_not(protocol: model.Protocol) -> None:
    silent = [
        key
        for key, statement in protocol.statements.items()
        if not (statement.rules or statement.limits or (statement.why_not or "").strip())
    ]
    assert silent == []


def test_every_statement_stands_on_the_page_of_a_rule_or_says_why_not(protocol: model.Protocol) -> None:
    unseen = {key: each.why_not for key, each in protocol.statements.items() if not each.rules}
    assert list(unseen) == ["K-33"]
    assert all(unseen.values())


def test_what_carries_a_statement_or_a_conflict_is_what_names_it(protocol: model.Protocol) -> None:
    assert "rate-exceeds-protocol-max" in protocol.statements["K-04"].rules
    assert "rate-warn" in protocol.statements["K-04"].limits
    assert "unit-slip-suspected" in protocol.conflicts["C-02"].rules
    assert protocol.rules["rate-exceeds-protocol-max"].statements.count("K-04") == 1


def test_every_rule_carries_a_statement(protocol: model.Protocol) -> None:
    assert {rule.id for rule in protocol.rules.values() if not rule.statements} == OF_NO_STATEMENT


def test_a_statement_never_waits_for_a_rule_that_is_built(protocol: model.Protocol) -> None:
    rows = {rule.row for rule in protocol.rules.values()}
    built = [
        f"{key}: row {row} ({rule})"
        for key, statement in protocol.statements.items()
        for rule, row in not_built(statement).items()
        if rule in protocol.rules or row in rows
    ]
    assert built == []


def test_not_built_yet_is_always_written_in_the_form_that_is_searched_for(protocol: model.Protocol) -> None:
    for key, statement in protocol.statements.items():
        why_not = statement.why_not or ""
        assert len(NOT_BUILT.findall(why_not)) == why_not.count("not built"), key


def test_not_built_yet_stands_on_one_line_of_the_file(protocol: model.Protocol) -> None:
    text = (CARDS / "ketamine" / "statements.yaml").read_text("utf-8")
    data = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert len(NOT_BUILT.findall(data)) == sum(len(not_built(each)) for each in protocol.statements.values())


def test_one_rule_has_one_row(protocol: model.Protocol) -> None:
    rows = defaultdict(set)
    for rule in protocol.rules.values():
        rows[rule.row].add(rule.id)
    for statement in protocol.statements.values():
        for name, row in not_built(statement).items():
            rows[row].add(name)
    assert {row: names for row, names in rows.items() if len(names) > 1} == {}


def test_a_card_that_speaks_a_statement_belongs_to_a_rule_that_is_built_or_awaited(
    protocol: model.Protocol,
) -> None:
    for key, statement in protocol.statements.items():
        assert set(statement.cards) <= {*statement.rules, *not_built(statement)}, key


def test_every_conflict_and_every_piece_of_evidence_is_there(protocol: model.Protocol) -> None:
    assert list(protocol.conflicts) == CONFLICTS
    assert list(protocol.evidence) == EVIDENCE


def test_what_conflicts_and_reasons_refer_to_exists(protocol: model.Protocol) -> None:
    known = {*protocol.statements, *protocol.conflicts, *protocol.evidence}
    texts = [f"{conflict.between} {conflict.resolution}" for conflict in protocol.conflicts.values()]
    texts += [statement.why_not or "" for statement in protocol.statements.values()]
    referred = {name for text in texts for name in re.findall(r"\b(?:K-\d+|C-\d+|R\d+)\b", text)}
    assert referred
    assert referred <= known


def test_every_citation_says_how_far_it_was_read(protocol: model.Protocol) -> None:
    for key, evidence in protocol.evidence.items():
        assert evidence.citation.strip(), key
        assert evidence.read.strip(), key


def test_a_citation_with_a_doi_links_to_it(protocol: model.Protocol) -> None:
    for key, evidence in protocol.evidence.items():
        dois = re.findall(r"doi:([^\s;,]+)", evidence.citation)
        if dois:
            assert evidence.url in [f"https://doi.org/{doi}" for doi in dois], key
        elif evidence.url is not None:
            assert evidence.url.startswith("https://"), key


def test_every_limit_has_a_source_or_says_that_it_has_none(protocol: model.Protocol) -> None:
    open_ended = ("design", "unverified")
    unsourced = [each.id for each in protocol.limits.values() if not each.sources and each.status not in open_ended]
    assert unsourced == []


def test_a_limit_that_is_not_design_rests_on_evidence_and_not_on_a_statement_alone(
    protocol: model.Protocol,
) -> None:
    for limit in protocol.limits.values():
        if limit.status not in ("design", "unverified"):
            assert set(limit.sources) & set(protocol.evidence), limit.id


def test_every_rule_cites_evidence_or_says_that_it_is_design_or_unverified(protocol: model.Protocol) -> None:
    uncited = [each for each in protocol.rules.values() if not each.citations and each.status != "design"]
    assert [each.id for each in uncited if each.status != "unverified" or not each.statements] == []


# What the protocol was drawn from, as facts: tests/sources/rules.csv and citations.csv.


@dataclass(frozen=True)
class Row:
    """One row of the catalogue of rules."""

    number: int
    rule: str
    category: str
    severities: frozenset[str]
    statements: frozenset[str]
    citations: frozenset[str]


def _rows(name: str) -> list[dict[str, str]]:
    with (SOURCES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Row]:
    """By rule id."""
    rows = {
        row["rule"]: Row(
            number=int(row["row"]),
            rule=row["rule"],
            category=row["category"],
            severities=frozenset(row["severities"].split()),
            statements=frozenset(row["statements"].split()),
            citations=frozenset(row["citations"].split()),
        )
        for row in _rows("rules.csv")
    }
    numbers = [row.number for row in rows.values()]
    assert numbers == sorted(set(numbers))
    return rows


def test_rules_have_the_row_and_category_of_the_catalogue(
    protocol: model.Protocol, catalogue: dict[str, Row]
) -> None:
    ours = {rule.id: (rule.row, rule.category) for rule in protocol.rules.values()}
    assert ours == {key: (catalogue[key].number, catalogue[key].category) for key in ours if key in catalogue}


def test_rules_have_the_statements_and_citations_of_the_catalogue(
    protocol: model.Protocol, catalogue: dict[str, Row]
) -> None:
    for rule in protocol.rules.values():
        assert set(rule.statements) == catalogue[rule.id].statements, rule.id
        assert set(rule.citations) == catalogue[rule.id].citations, rule.id


def test_rules_have_the_severities_of_the_catalogue(protocol: model.Protocol, catalogue: dict[str, Row]) -> None:
    for rule in protocol.rules.values():
        tiers = {tier.severity for tier in rule.tiers}
        changed = {change.to for change in rule.changes} & set(get_args(model.Severity))
        assert tiers <= catalogue[rule.id].severities <= tiers | changed, rule.id


def test_what_a_statement_waits_for_is_what_the_catalogue_gives_it_and_nobody_built(
    protocol: model.Protocol, catalogue: dict[str, Row]
) -> None:
    awaited = {key: not_built(statement) for key, statement in protocol.statements.items()}
    assert awaited == {
        key: {
            row.rule: row.number
            for row in catalogue.values()
            if key in row.statements and row.rule not in protocol.rules
        }
        for key in protocol.statements
    }


def test_citations_keep_the_dois_of_the_source(protocol: model.Protocol) -> None:
    dois = {row["citation"]: set(row["dois"].split()) for row in _rows("citations.csv")}
    assert list(dois) == [*protocol.evidence]
    for key, evidence in protocol.evidence.items():
        assert set(re.findall(r"\b10\.\d{4,9}/[^\s;,|)]+", evidence.citation)) == dois[key], key

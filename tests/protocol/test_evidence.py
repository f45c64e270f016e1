"""The table of evidence: every citation with what rests on it, and nothing rests on one that is not there."""

from __future__ import annotations

import json

import pytest

from cds_service import cli
from cds_service.knowledge import Knowledge
from cds_service.protocol import evidence


def test_every_citation_has_a_row_with_all_that_names_it(knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    rows = {row.id: row for row in evidence.table(protocol)}
    assert list(rows) == list(protocol.evidence)
    for rule in protocol.rules.values():
        assert all(rule.id in rows[name].rules for name in rule.citations)
    for limit in protocol.limits.values():
        assert all(limit.id in rows[name].limits for name in limit.sources if name in rows)
    assert sum(len(row.rules) for row in rows.values()) == sum(len(r.citations) for r in protocol.rules.values())


def test_a_statement_rests_on_what_the_limits_and_rules_that_carry_it_cite(knowledge: Knowledge) -> None:
    schwenk = next(row for row in evidence.table(knowledge.protocol) if row.id == "R1")
    assert "rate-critical" in schwenk.limits
    assert "K-36" in schwenk.statements
    assert "K-11" not in schwenk.statements


def test_every_rule_names_a_source_or_says_that_it_is_a_design(knowledge: Knowledge) -> None:
    for rule in knowledge.protocol.rules.values():
        assert rule.citations or rule.status in ("design", "unverified"), rule.id


def test_every_limit_that_is_said_to_be_read_names_its_source(knowledge: Knowledge) -> None:
    for limit in knowledge.protocol.limits.values():
        assert limit.sources or limit.status in ("design", "unverified"), limit.id


def test_the_command_prints_every_citation_and_what_rests_on_it(
    capsys: pytest.CaptureFixture[str], knowledge: Knowledge
) -> None:
    assert cli.main(["protocol", "evidence"]) == 0
    said = capsys.readouterr().out
    for name in knowledge.protocol.evidence:
        assert f"\n{name} " in f"\n{said}"
    first = said.split("\n\n")[0]
    assert first.startswith("R1   consensus, verified\n")
    assert "limits: " in first
    assert "rate-critical" in first
    assert max(map(len, said.splitlines())) <= 118


def test_the_command_prints_the_same_rows_as_json(capsys: pytest.CaptureFixture[str], knowledge: Knowledge) -> None:
    assert cli.main(["protocol", "evidence", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == list(knowledge.protocol.evidence)
    assert rows[0]["status"] == "verified"
    assert "rate-critical" in rows[0]["limits"]

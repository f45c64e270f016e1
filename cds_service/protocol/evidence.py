"""The table of evidence: what was read of each citation, and what rests on it."""

from __future__ import annotations

import msgspec

from cds_service.protocol.model import EvidenceStatus, Protocol


class Row(msgspec.Struct, frozen=True):
    """One citation. `limits` and `rules` name it; `statements` are those that these limits and rules carry."""

    id: str
    citation: str
    grade: str
    status: EvidenceStatus
    read: str
    url: str | None
    limits: list[str]
    rules: list[str]
    statements: list[str]


def table(protocol: Protocol) -> list[Row]:
    """One row for each citation of the protocol, in its order, also where nothing rests on it."""
    return [_row(name, protocol) for name in protocol.evidence]


def _row(name: str, protocol: Protocol) -> Row:
    entry = protocol.evidence[name]
    limits = [limit.id for limit in protocol.limits.values() if name in limit.sources]
    rules = [rule.id for rule in protocol.rules.values() if name in rule.citations]
    statements = [
        key
        for key, statement in protocol.statements.items()
        if set(limits).intersection(statement.limits) or set(rules).intersection(statement.rules)
    ]
    return Row(
        id=name,
        citation=entry.citation,
        grade=entry.grade,
        status=entry.status,
        read=entry.read,
        url=entry.url,
        limits=limits,
        rules=rules,
        statements=statements,
    )

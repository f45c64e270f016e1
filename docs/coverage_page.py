"""docs/coverage.md: which scenarios show each rule, and which rules carry each statement; gaps stand out."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.knowledge import Knowledge
from tests.scenarios.coverage import Covered, Row, rows

PAGE = "docs/coverage.md"
SHOWN = 2
"""Names of scenarios in a cell, before the others are only counted."""
GAP = "**missing**"


def coverage(covered: Covered) -> str:
    """The page."""
    return "\n".join([*_rules(rows(covered)), "", *_statements(covered.knowledge)]) + "\n"


def _rules(table: list[Row]) -> Iterator[str]:
    yield "# Coverage\n"
    yield (
        "Written by `make docs` from the scenarios (`scenarios.yaml` in each rule's folder, and "
        "`tests/scenarios/*.yaml`), each a test of its own. For "
        "each rule: what fires it, what just does not, where it could not tell, and what suppresses it. Where there "
        "is a reason that no scenario can be, it is given; a scenario that is still to be written is marked "
        f"{GAP}.\n"
    )
    missing = sum(len(row.gaps) for row in table)
    yield f"{len(table)} rules; {missing or 'no'} scenario{'' if missing == 1 else 's'} missing.\n"
    yield "| row | rule | fires | just does not | could not tell | suppressed |\n|---:|---|---|---|---|---|"
    for row in table:
        cells = (
            _cell(row.fires, None),
            _cell(row.clear, row.why_no.get("clear")),
            _cell(row.untold, row.why_no.get("untold")),
            _cell(row.suppressed, row.why_no.get("suppressed")),
        )
        yield f"| {row.rule.row} | [`{row.rule.id}`](protocol.md#{row.rule.id}) | {' | '.join(cells)} |"


def _cell(names: list[str], why_none: str | None) -> str:
    if not names:
        return f"*{why_none}*" if why_none else GAP
    more = f" <br>and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return " <br>".join(f"“{name}”" for name in names[:SHOWN]) + more


def _statements(knowledge: Knowledge) -> Iterator[str]:
    yield "## Statements\n"
    yield "Every statement of the two source documents, and the rules, limits and card texts that carry it.\n"
    yield "| statement | rules | limits | card texts | why nothing else |\n|---|---|---|---|---|"
    for name, statement in knowledge.protocol.statements.items():
        carried = (statement.rules, statement.limits, statement.cards)
        cells = [", ".join(f"`{each}`" for each in names) or "–" for names in carried]
        why_not = (statement.why_not or "–").strip()
        yield f"| [{name}](protocol.md#{name}) | {' | '.join(cells)} | {why_not} |"

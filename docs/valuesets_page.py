"""docs/valuesets.md: every value set with what reads it, which no file says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cds_service.knowledge import Knowledge
from cds_service.orders import route
from cds_service.protocol.references import sets_of
from cds_service.terminology.valuesets import ValueSet

PAGE = "docs/valuesets.md"
INTRODUCTION = """\
# The value sets

Written by `make docs` from `cards/common/valuesets/` and from what names each: the clauses and judgements of rules,
the queries, the routes and indications of orders, the drugs, and the roles of `cards/common/roles.yaml`. What a set
must not hold, and where each code was verified, stands in its file. A code of a set that nothing reads is known all
the same: such an entry is no finding, and nobody is asked what it means.
"""


def valuesets(knowledge: Knowledge) -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *_rows(knowledge)]) + "\n"


def _rows(knowledge: Knowledge) -> Iterator[str]:
    named = readers(knowledge)
    yield "| set | what it holds | codes | read by |\n|---|---|---:|---|"
    for name in knowledge.valuesets.names():
        known = knowledge.valuesets[name]
        yield f"| `{name}` | {known.title} | {_codes(known)} | {', '.join(named.get(name, ())) or 'nothing yet'} |"


def _codes(known: ValueSet) -> str:
    return "none yet" if known.no_codes else str(len(known.members) + len(known.branches))


def readers(knowledge: Knowledge) -> dict[str, list[str]]:
    """Value set -> what reads it."""
    found: dict[str, dict[str, None]] = {}
    for name, reader in _readings(knowledge):
        found.setdefault(name.partition("/")[0], {})[reader] = None
    return {name: list(each) for name, each in found.items()}


def _readings(knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    """(value set or set/group, what reads it)."""
    for drug in knowledge.valuesets.drugs:
        yield from ((name, f"the drug {drug.name}") for name in drug.sets)
    for role, name in msgspec.structs.asdict(knowledge.valuesets.roles).items():
        yield name, f"the role {role.replace('_', ' ')}"
    for kind, sets in route.SETS.items():
        yield from ((name, f"the route {kind}") for name in sets)
    for part in knowledge.parts:
        if (nasal := part.protocol.nasal) is not None:
            yield from ((name, "the labelled nasal product") for name in (nasal.products, nasal.route))
        for indication, known in part.protocol.indications.items():
            yield from ((name, f"the indication {indication}") for name in known.sets)
        for rule in part.protocol.rules.values():
            yield from ((name, f"[`{rule.id}`](protocol.md#{rule.id})") for name in sets_of(rule))
    for query in knowledge.queries:
        yield from ((name, f"the query {query.key}") for name in query.sets)

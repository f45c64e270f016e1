"""docs/valuesets.md: every value set with what reads it, which no file says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cds_service import readers
from cds_service.knowledge import Knowledge
from cds_service.terminology.valueset import ValueSet

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
    named = readers.of([part.protocol for part in knowledge.parts], knowledge.valuesets, knowledge.queries)
    kept = knowledge.valuesets.roles.kept
    yield "| set | what it holds | codes | read by |\n|---|---|---:|---|"
    for name in knowledge.valuesets.names():
        known = knowledge.valuesets[name]
        read = ", ".join(map(_shown, named.get(name, ()))) or _why_kept(kept, name)
        yield f"| `{name}` | {known.title} | {_codes(known)} | {read} |"


def _codes(known: ValueSet) -> str:
    return "none yet" if known.no_codes else str(len(known.members) + len(known.branches))


def _shown(reader: tuple[str, str]) -> str:
    kind, name = reader
    return f"[`{name}`](protocol.md#{name})" if kind == "rule" else f"the {kind} {name}"


def _why_kept(kept: Mapping[str, str], name: str) -> str:
    return f"nothing; {kept[name]}" if name in kept else "nothing"

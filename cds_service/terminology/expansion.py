"""A shipped set as a terminology server understands it: what to ask for, and the file that a site keeps of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from cds_service.terminology.systems import BRANCHED, canonical_system
from cds_service.terminology.tx import Coded, Json
from cds_service.terminology.valueset import CANONICAL, EVIDENCE, Member, ValueSet
from cds_service.terminology.valuesets import ValueSets


@dataclass(frozen=True, slots=True)
class Mark:
    """What a set says of some of its codes, and of whatever lies below them."""

    group: str | None = None
    history: bool = False
    score: int | None = None

    @classmethod
    def of(cls, member: Member) -> Mark:
        return cls(member.group, member.history, member.score)


@dataclass(frozen=True, slots=True)
class Question:
    """One compose to expand: the codes of one system that a set says the same of."""

    system: str
    mark: Mark
    compose: Json


def questions(shipped: ValueSet) -> Iterator[Question]:
    """What the set means, in questions that a server can answer one by one: it may know only some of the systems."""
    found: dict[tuple[str, Mark], list[Json]] = {}
    for system, member in shipped.members:
        part = found.setdefault((system, Mark.of(member)), [])
        if system in shipped.descendants:
            part.append(_below(system, member.code))
        elif part and "concept" in part[0]:
            part[0]["concept"].append({"code": member.code})
        else:
            part.insert(0, {"system": system, "concept": [{"code": member.code}]})
    for system, member in shipped.branches:
        found.setdefault((system, Mark.of(member)), []).append(_below(system, member.code))
    for (system, mark), include in found.items():
        exclude = [_without(system, code, shipped) for of, code in shipped.excluded if of == system]
        yield Question(system, mark, {"include": include} | ({"exclude": exclude} if exclude else {}))


def parts(question: Question) -> Iterator[Json]:
    """Its compose, one include at a time."""
    for include in question.compose["include"]:
        yield {**question.compose, "include": [include]}


def _below(system: str, code: str) -> Json:
    return {"system": system, "filter": [{"property": "concept", "op": "is-a", "value": code}]}


def _without(system: str, code: str, shipped: ValueSet) -> Json:
    if system in BRANCHED or system in shipped.descendants:
        return _below(system, code)
    return {"system": system, "concept": [{"code": code}]}


def kept(question: Question, codes: Iterable[Coded], shipped: ValueSet, all_sets: ValueSets) -> list[Json]:
    """The entries of an expansion. What the shipped set says of a code goes before what it says of one above it."""
    entries: list[Json] = []
    for coded in codes:
        system = canonical_system(coded.system)
        member = all_sets.members_of(system, coded.code).get(shipped.name)
        if member is None and system in BRANCHED and question.system == system:
            continue  # the branches of the shipped set, and what it takes out of them, say all of such a system
        mark = question.mark if member is None else Mark.of(member)
        entry: Json = {"system": system, "code": coded.code}
        if coded.display:
            entry["display"] = coded.display
        if mark != Mark():
            entry["extension"] = [{"url": EVIDENCE, "extension": list(_said(mark))}]
        entries.append(entry)
    return entries


def _said(mark: Mark) -> Iterator[Mapping[str, Any]]:
    if mark.group is not None:
        yield {"url": "group", "valueCode": mark.group}
    if mark.history:
        yield {"url": "qualifier", "valueCode": "history"}
    if mark.score is not None:
        yield {"url": "score", "valueInteger": mark.score}


def resource(shipped: ValueSet, asked: Sequence[Question], contains: list[Json], server: str, now: datetime) -> Json:
    """The site's ValueSet: what was asked for (`compose`) and what it came to (`expansion`)."""
    name = shipped.name.replace("_", "-")
    compose: dict[str, list[Json]] = {"include": [part for each in asked for part in each.compose["include"]]}
    excluded = [part for each in asked for part in each.compose.get("exclude", ())]
    if excluded:
        compose["exclude"] = [part for number, part in enumerate(excluded) if part not in excluded[:number]]
    moment = now.isoformat(timespec="seconds")
    return {
        "resourceType": "ValueSet",
        "id": f"site-{name}",
        "url": f"{CANONICAL}/ValueSet/site-{name}",
        "version": now.strftime("%Y.%m.%d"),
        "name": shipped.name,
        "title": shipped.title,
        "status": "active",
        "date": moment,
        "description": f"What {server} made of the codes of {shipped.name}. Adds to the shipped set; to be reviewed.",
        "compose": compose,
        "expansion": {
            "identifier": f"urn:uuid:{uuid4()}",
            "timestamp": moment,
            "total": len(contains),
            "contains": contains,
        },
    }

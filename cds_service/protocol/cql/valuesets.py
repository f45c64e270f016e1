"""Parts of value sets that the libraries name, as ValueSets of their own: a group of codes, a history, the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cds_service.protocol.cql.scope import HISTORY, SetPart

ValueSet = dict[str, Any]


def parts(sets: Iterable[SetPart], published: Mapping[str, ValueSet]) -> dict[str, ValueSet]:
    """By their id, those that are no whole set. `published`: the whole ones, by their id."""
    named = (each for each in sets if each.id not in published)
    return {each.id: _part(each, published[SetPart(each.name).id]) for each in named}


def _part(part: SetPart, whole: ValueSet) -> ValueSet:
    compose = whole["compose"]
    inside: list[ValueSet] = []
    outside: list[ValueSet] = []
    for include in compose.get("include", ()):
        for code in _codes(include):
            (inside if _is_of(part, code) else outside).append(code)
    excluded = [*compose.get("exclude", ()), *_taken_out(inside, outside)]
    return {
        **{key: value for key, value in whole.items() if key not in ("text", "compose", "expansion")},
        "id": part.id,
        "url": f"{whole['url'].rpartition('/')[0]}/{part.id}",
        "name": part.id.replace("-", "_").replace(".", "_"),
        "title": f"{whole['title']}: {part.title}",
        "compose": {"include": inside, **({"exclude": excluded} if excluded else {})},
    }


def _codes(include: ValueSet) -> Iterator[ValueSet]:
    """An include for each of its codes; one with a filter, or of a whole system, as it stands."""
    if "concept" not in include:
        yield include
    for concept in include.get("concept", ()):
        yield {**include, "concept": [concept]}


def _is_of(part: SetPart, include: ValueSet) -> bool:
    evidence = _evidence(include)
    if "concept" in include:
        evidence |= _evidence(include["concept"][0])
    if part.group is not None and evidence.get("group") != part.group:
        return False
    return part.history is None or (evidence.get("qualifier") == HISTORY) == (part.history == HISTORY)


def _evidence(entry: ValueSet) -> dict[str, Any]:
    inner = [each for extension in entry.get("extension", ()) for each in extension.get("extension", ())]
    return {each["url"]: value for each in inner for key, value in each.items() if key.startswith("value")}


def _taken_out(inside: Iterable[ValueSet], outside: Iterable[ValueSet]) -> Iterator[ValueSet]:
    """Codes of another part that lie below a branch of this one: the longer one says what they are."""
    branches = [(each["system"], _branch(each)) for each in inside if _branch(each)]
    for each in outside:
        code = _branch(each) or (each["concept"][0]["code"] if "concept" in each else "")
        if any(each["system"] == system and code.startswith(branch) for system, branch in branches):
            yield {key: each[key] for key in ("system", "filter", "concept") if key in each}


def _branch(include: ValueSet) -> str:
    return next((str(each["value"]) for each in include.get("filter", ())), "")

"""The codes of products in the published value sets of medicines: what is in them is known by a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cds_service.folders import KETAMINE
from cds_service.terminology import products, valuesets
from cds_service.terminology.identity import identify
from cds_service.terminology.medicines import Medicines
from cds_service.terminology.valueset import EVIDENCE
from cds_service.terminology.valuesets import ValueSets

ValueSet = dict[str, Any]


def with_products(sets: Mapping[str, ValueSet], folders: Iterable[Path]) -> dict[str, ValueSet]:
    """The sets, by their id, each with the products of the table that the service counts to it; a lotion is of none.

    `folders`: those of the protocols. A site's own value sets do not come in: they are not published.
    """
    shipped = valuesets.load(None, list(dict.fromkeys([KETAMINE, *folders])))
    added: dict[tuple[str, str, str | None], list[ValueSet]] = {}
    for name, system, concept, group in _codes(shipped):
        added.setdefault((name, system, group), []).append(concept)
    made = dict(sets)
    for (name, system, group), concepts in sorted(added.items(), key=lambda each: (*each[0][:2], each[0][2] or "")):
        identifier = name.replace("_", "-")
        if identifier in made:
            made[identifier] = _including(made[identifier], _include(system, concepts, group))
    return made


def _codes(shipped: ValueSets) -> Iterator[tuple[str, str, ValueSet, str | None]]:
    """(name of a set, system, concept, group) of the products that are in a set by what is in them."""
    known = Medicines(shipped)
    for system, code, display in products.named():
        own = shipped.members_of(system, code)
        identity = identify([(system, code)], [], shipped)
        made_for = identity.made_for if identity is not None else frozenset()
        for name, member in known.membership([([(system, code)], [])]).members.items():
            if name not in own:
                is_ours = identity is not None and name in shipped.drugs.family_sets(identity.drug)
                way = next(iter(made_for), None) if is_ours and len(made_for) == 1 else None
                yield name, system, {"code": code, "display": display}, member.group or way


def _include(system: str, concepts: list[ValueSet], group: str | None) -> ValueSet:
    """An include of its own, whose evidence holds for each of its codes."""
    parts: list[ValueSet] = [
        {"url": "status", "valueCode": "verified"},
        {"url": "source", "valueString": "the table of products (cds_service/terminology/products.csv)"},
    ]
    if group is not None:
        parts.append({"url": "group", "valueCode": group})
    return {"extension": [{"url": EVIDENCE, "extension": parts}], "system": system, "concept": concepts}


def _including(value_set: ValueSet, include: ValueSet) -> ValueSet:
    compose = value_set.get("compose", {})
    return {**value_set, "compose": {**compose, "include": [*compose.get("include", ()), include]}}

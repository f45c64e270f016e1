"""What the service reads about a patient: prefetch templates and fallback searches are the same list."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import quote

from cds_service.terminology.valuesets import ValueSets

OTHERS = "results"
"""The query for observations that no other asks for."""
_LOINC = "http://loinc.org"
_SNOMED_CT = "http://snomed.info/sct"


@dataclass(frozen=True, slots=True)
class Query:
    """One read or search. `template` holds {{context.…}} tokens and is advertised as it stands."""

    key: str
    type: str
    template: str
    says: str
    words: tuple[str, ...]
    codes: frozenset[str] = frozenset()
    """The codes that the search asks for; none where it asks for all of its type."""
    sets: tuple[str, ...] = ()
    """The value sets those codes come from."""
    indispensable: bool = False
    """Where it is not sent, the clinician is warned rather than informed, whatever the client."""

    @property
    def is_search(self) -> bool:
        """Otherwise it reads one resource."""
        return "?" in self.template

    def url(self, context: Mapping[str, str]) -> str | None:
        """The relative URL for this context; None where the context lacks a token's value."""
        url = self.template
        for name in ("patientId", "encounterId"):
            token = "{{context." + name + "}}"
            if token in url:
                if not context.get(name):
                    return None
                url = url.replace(token, quote(context[name], safe=""))
        return url


def _asked_for(name: str, valuesets: ValueSets) -> list[str]:
    """The LOINC codes of a set; the SNOMED CT ones of a set that has no others, as RASS."""
    return valuesets.codes(name, _LOINC) or valuesets.codes(name, _SNOMED_CT)


def load(valuesets: ValueSets, read: Iterable[str] = ()) -> tuple[Query, ...]:
    """The list of queries.toml, with the codes of the value sets filled in.

    Observations that are `read` and that no query names are asked for with the results.
    """
    queries, entries = [], _entries()
    named = {name for entry in entries for name in entry.get("sets", ())}
    for entry in entries:
        sets = tuple(entry.get("sets", ()))
        if entry["key"] == OTHERS:
            sets += tuple(name for name in read if name not in named)
        codes = dict.fromkeys(c for name in sets for c in _asked_for(name, valuesets))
        template = entry["template"].replace("{codes}", ",".join(codes))
        words = tuple(entry["words"])
        needed = entry.get("indispensable", False)
        query = Query(entry["key"], entry["type"], template, entry["says"], words, frozenset(codes), sets, needed)
        queries.append(query)
    return tuple(queries)


def prefetch_keys() -> tuple[str, ...]:
    """The prefetch keys of the service, without loading a value set."""
    return tuple(entry["key"] for entry in _entries())


def _entries() -> list[dict[str, Any]]:
    table = tomllib.loads(resources.files(__package__).joinpath("queries.toml").read_text("utf-8"))
    entries: list[dict[str, Any]] = table["query"]
    return entries

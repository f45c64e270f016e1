"""What the codes of an observation and the words of its name say that it is: its value sets, its panel."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from importlib import resources as files

import msgspec

from cds_service.chart.concepts import Concepts, concepts
from cds_service.fhir import resources
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.lazy import remembered
from cds_service.says import Named
from cds_service.terminology.drugs import plain, telling, whole_words, words_in
from cds_service.terminology.systems import canonical_system, is_registered
from cds_service.terminology.valuesets import ValueSets

Codes = tuple[CodeableConcept | None, ...]
"""The code of an observation and those of its components."""

_TABLE = tomllib.loads(files.files(__package__).joinpath("readings.toml").read_text("utf-8"))
_URGENT = frozenset(_TABLE["urgent"])
WEIGHTS = frozenset(_TABLE["weights"])
"""The value sets of readings that are a weight."""
PANELS: Mapping[str, frozenset[str]] = {name: frozenset(panel["sets"]) for name, panel in _TABLE["panel"].items()}
"""Value set of a panel -> those of its parts."""
SUMS: Mapping[str, Sequence[str]] = {name: each["sets"] for name, each in _TABLE["sum"].items()}
"""A set -> the sets (or set/group) of which it is the sum."""
TOTALS: Mapping[str, str] = {part.partition("/")[0]: total for total, parts in SUMS.items() for part in parts}
"""A set of parts -> the set of their sum."""
_PANEL_TITLES = {PANELS[name]: Named(f"set-{name}", panel["title"]) for name, panel in _TABLE["panel"].items()}
_NAMED: Sequence[tuple[frozenset[str], frozenset[str], re.Pattern[str], re.Pattern[str]]] = [
    (
        frozenset(entry["sets"]),
        telling(entry["words"]),
        whole_words(entry["words"]),
        whole_words(entry.get("not", ())),
    )
    for entry in _TABLE["named"]
]
_COMPLAINTS = whole_words(_TABLE["complaints"]["words"])
_LONGEST_NAME = 200


class Kind(msgspec.Struct, frozen=True):
    """What the codes of an observation say. Those of a chart are of a few kinds."""

    coded: Sequence[tuple[int, tuple[str, str], Sequence[str]]]
    """(part, coding, keys): a coding that a value set holds, with its set and group as keys; the observation itself
    is part 0, its components are the others."""
    sets: frozenset[str]
    """The value sets that it is in; where it is in none, those that the words of its name may mean."""
    missed: frozenset[str] = frozenset()
    """The sets of which a panel should have a component, and has none that is understood."""
    is_header: bool = False
    """It is a panel with no component that is understood: its parts may be other observations."""
    is_known: bool = True
    """It has words, or a code of a system that is read: where no set holds it, it is certainly another reading."""
    asked: frozenset[str] = frozenset()
    """Where no set holds a code and no name is known: the sets that the words beside the code may mean."""
    may_affirm: bool = False
    """The code of the observation itself is in a value set, so that it may be a complaint."""


@lru_cache(maxsize=4)
def kinds_in(valuesets: ValueSets) -> Callable[[Codes], Kind]:
    """What tells the kind of an observation by its code and those of its components, in these value sets."""
    return remembered(partial(_kind_of, valuesets))


def _kind_of(valuesets: ValueSets, codes: Codes) -> Kind:
    coded: list[tuple[int, tuple[str, str], Sequence[str]]] = []
    indexed: set[tuple[str, str]] = set()
    for number, concept in enumerate(codes):
        for coding in concept.codes if concept is not None else ():
            keys = [key for key in valuesets.keys_of(*coding) if (key, coding[1]) not in indexed]
            if keys:
                indexed.update([(key, coding[1]) for key in keys])
                coded.append((number, coding, keys))
    known, first = concepts(valuesets), codes[0]
    may_affirm = first is not None and bool(known.members_of(first))
    if not coded:
        is_known = any(map(_is_known, codes))
        asked = known.placement(first).may_mean or frozenset() if first is not None else frozenset()
        return Kind((), _named(codes, valuesets), is_known=is_known, asked=asked, may_affirm=may_affirm)
    sets = frozenset([key.partition("/")[0] for _, _, keys in coded for key in keys])
    sets |= {total for total, parts in SUMS.items() for _, _, keys in coded if not set(parts).isdisjoint(keys)}
    return Kind(coded, sets, *_missed(codes, sets, known), may_affirm=may_affirm)


def _is_known(concept: CodeableConcept | None) -> bool:
    return concept is not None and (
        any(character.isalnum() for words in concept.words for character in words)
        or any(is_registered(canonical_system(system)) for system, _ in concept.codes)
    )


def _missed(codes: Codes, sets: frozenset[str], known: Concepts) -> tuple[frozenset[str], bool]:
    for panel, parts in PANELS.items():
        if panel in sets:
            missed = parts - sets
            if missed == parts:
                return missed, True
            is_foreign = any(code is None or not known.members_of(code) for code in codes[1:])
            return missed if is_foreign else frozenset(), False
    return frozenset(), False


@lru_cache(maxsize=4096)
def _sets_named(text: str) -> frozenset[str]:
    text = plain(text)
    words = words_in(text)
    return frozenset(
        name
        for sets, known, yes, no in _NAMED
        if not known.isdisjoint(words) and yes.search(text) and not no.search(text)
        for name in sets
    )


def _named(codes: Codes, valuesets: ValueSets) -> frozenset[str]:
    """The sets that a reading may be in by the words of its name, or by its being called as their codes are."""
    found: frozenset[str] = frozenset()
    for concept in codes:
        for text in concept.words if concept is not None else ():
            if len(text) <= _LONGEST_NAME:
                found |= _sets_named(text) | valuesets.readings_called(text)
    return found


def panel_of(sets: Iterable[str]) -> tuple[Named, Sequence[str]] | None:
    """(title, sets of its parts in their order) of the panel of which a reading in these sets is a part."""
    found = (panel["sets"] for panel in _TABLE["panel"].values() if not set(panel["sets"]).isdisjoint(sets))
    return next(((_PANEL_TITLES[frozenset(parts)], parts) for parts in found), None)


def is_urgent(sets: Iterable[str]) -> bool:
    """Whether the clinician is warned of a reading of these sets that is not understood."""
    return not _URGENT.isdisjoint(sets)


def title_of_panel(sets: frozenset[str]) -> Named | None:
    """The title of the panel of which a reading in these sets has every part."""
    return next((title for parts, title in _PANEL_TITLES.items() if parts <= sets), None)


def asks_for_complaints(observation: resources.Observation) -> bool:
    """Whether an observation is called a symptom, so that its value in words is one."""
    words = observation.code.words if observation.code is not None else ()
    return any(_COMPLAINTS.search(plain(each)) for each in words if len(each) <= _LONGEST_NAME)

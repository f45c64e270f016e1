"""Value sets: which sets a coded value belongs to. Codes are compared with their system, never alone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

_SYSTEMS = tomllib.loads(resources.files(__package__).joinpath("systems.toml").read_text("utf-8"))
LONGEST_CODE, LONGEST_SYSTEM = 128, 512
"""Longer texts are in no set, and are not worth remembering."""
_ALIASES: Mapping[str, str] = _SYSTEMS["aliases"]
_SPELLING: Mapping[str, str] = _SYSTEMS["spelling"]
_BLANK = " \t\r\n\u00a0\u200b\ufeff"
DRUG_SYSTEMS = frozenset(_SYSTEMS["kind"]["drug"])
BRANCHED = frozenset(_SYSTEMS["kind"]["branched"])


_NO_QUESTION = re.compile("|".join(map(re.escape, _SYSTEMS["question"]["unless"])), re.IGNORECASE)


class ValueSetError(Exception):
    """A value set that cannot be used; the service does not start with it."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a set says of one code that it holds."""

    set: str
    code: str
    display: str
    group: str | None = None
    history: bool = False
    """The code itself says that the problem is past (`qualifier: history`)."""
    strength: Decimal | None = None
    """mg of ketamine base per mL, where the product code fixes it."""
    score: int | None = None


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A named set of codes. `title` is shown to people; `question_words` are a pattern that only asks."""

    name: str
    title: str
    members: tuple[tuple[str, Member], ...]
    """(system, member), for codes that are compared for equality."""
    branches: tuple[tuple[str, Member], ...]
    """(system, member) for codes that stand for all codes that begin with them."""
    excluded: tuple[tuple[str, str], ...]
    """(system, code) taken out of every branch of this set; the longest match wins."""
    no_codes: bool = False
    descendants: frozenset[str] = frozenset()
    """Systems of which also whatever lies below an enumerated code is meant. What that is, only a server can say."""
    question_words: re.Pattern[str] | None = None

    def asks(self, text: str) -> bool:
        """Whether an uncoded text may mean this set. It raises a question, never a severity."""
        if self.question_words is None or _NO_QUESTION.search(text):
            return False
        return self.question_words.search(text) is not None


@lru_cache(maxsize=1024)
def canonical_system(system: str) -> str:
    """The code system's usual URI: no version, no trailing slash, OIDs and old spellings resolved."""
    plain = system.partition("|")[0].strip(_BLANK).rstrip("/")
    return _ALIASES.get(plain, plain)


def _spell(system: str, code: str) -> str:
    code = code.strip(_BLANK)
    match _SPELLING.get(system):
        case "undotted":
            return code.replace(".", "").upper()
        case "ndc":
            parts = code.split("-")
            if len(parts) == 3:
                return "".join(part.zfill(width) for part, width in zip(parts, (5, 4, 2), strict=True))
            return "".join(parts)
    return code


def canonical(system: str, code: str) -> tuple[str, str]:
    """A coding in the spelling in which codings are compared."""
    system = canonical_system(system)
    return system, _spell(system, code)


class ValueSets:
    """All sets that are in use, indexed by (system, code)."""

    def __init__(self, sets: Iterable[ValueSet]) -> None:
        self._sets = {each.name: each for each in sets}
        self._exact: dict[tuple[str, str], list[Member]] = {}
        self._branches: dict[str, dict[str, list[tuple[str, Member | None]]]] = {}
        for each in self._sets.values():
            self._index(each)
        self._longest = {system: max(map(len, prefixes)) for system, prefixes in self._branches.items()}
        self._questions = [(name, each.question_words) for name, each in self._sets.items() if each.question_words]
        self._cached = lru_cache(maxsize=16384)(self._members_of)
        self.without_codes = frozenset(name for name, each in self._sets.items() if each.no_codes)

    def _index(self, each: ValueSet) -> None:
        excluded = {(system, _spell(system, code)) for system, code in each.excluded}
        for system, code in excluded:
            self._branches.setdefault(system, {}).setdefault(code, []).append((each.name, None))
        for system, member in each.branches:
            by_prefix = self._branches.setdefault(system, {})
            by_prefix.setdefault(_spell(system, member.code), []).append((each.name, member))
        for system, member in each.members:
            key = (system, _spell(system, member.code))
            if key not in excluded:
                self._exact.setdefault(key, []).append(member)

    def members_of(self, system: str, code: str) -> Mapping[str, Member]:
        """Every set that holds the code, with what it says of it. No terminology has codes longer than this."""
        if len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM:
            return {}
        return self._cached(system, code)

    def _members_of(self, system: str, code: str) -> Mapping[str, Member]:
        system, code = canonical(system, code)
        found: dict[str, Member | None] = {}
        for exact in self._exact.get((system, code), ()):
            found.setdefault(exact.set, exact)
        branches = self._branches.get(system)
        if branches:
            for length in range(min(len(code), self._longest[system]), 0, -1):
                for name, member in branches.get(code[:length], ()):
                    found.setdefault(name, member)
        return {name: member for name, member in found.items() if member is not None}

    def knows(self, system: str, code: str) -> bool:
        """Whether a set holds the code, or names it to leave it out: what it means is then known."""
        if len(code) > LONGEST_CODE or len(system) > LONGEST_SYSTEM:
            return False
        system, code = canonical(system, code)
        branches = self._branches.get(system, {})
        return (system, code) in self._exact or any(code[:end] in branches for end in range(len(code), 0, -1))

    def __contains__(self, name: str) -> bool:
        return name.partition("/")[0] in self._sets

    def __getitem__(self, name: str) -> ValueSet:
        return self._sets[name.partition("/")[0]]

    def names(self) -> list[str]:
        return sorted(self._sets)

    def member(self, reference: str, codings: Iterable[tuple[str, str]]) -> Member | None:
        """The first of `codings` that is in `reference` (a set, or set/group such as enc_class/inpatient)."""
        name, _, group = reference.partition("/")
        for system, code in codings:
            member = self.members_of(system, code).get(name)
            if member is not None and (not group or member.group == group):
                return member
        return None

    def asking(self, text: str) -> frozenset[str]:
        """The sets that an uncoded text may mean."""
        if _NO_QUESTION.search(text):
            return frozenset()
        return frozenset(name for name, words in self._questions if words.search(text))

    def codes(self, name: str, system: str) -> list[str]:
        """The codes of one system that a set enumerates (branches by their root), in file order."""
        both = (*self._sets[name].members, *self._sets[name].branches)
        return [member.code for s, member in both if s == system]


def _extension(parts: list[dict[str, Any]] | None, name: str) -> Any:
    for part in parts or ():
        if part.get("url", "").rsplit("/", 1)[-1] == name:
            if "extension" in part:
                return part["extension"]
            return next((value for key, value in part.items() if key.startswith("value")), None)
    return None


def _member(set_name: str, code: str, display: str, evidence: list[dict[str, Any]] | None) -> Member | None:
    """None for a code that nobody verified: it never decides."""
    if not isinstance(code, str):
        raise TypeError(f"the code {code!r} is not text")
    if evidence is not None and _extension(evidence, "status") == "unverified":
        return None
    strength = _extension(evidence, "strength-mg-per-mL")
    return Member(
        set=set_name,
        code=code,
        display=display or _extension(evidence, "display") or "",
        group=_extension(evidence, "group"),
        history=_extension(evidence, "qualifier") == "history",
        strength=None if strength is None else Decimal(strength),
        score=_extension(evidence, "score"),
    )


def _expanded(contains: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The codes of an expansion, which may be nested; an abstract entry or one without a code only groups."""
    for concept in contains:
        if "code" in concept and not concept.get("abstract"):
            yield concept
        yield from _expanded(concept.get("contains", ()))


def read(text: bytes, where: str) -> ValueSet:
    """A FHIR R4 ValueSet as this service uses them: enumerated concepts, is-a filters as branches, excludes.

    An `expansion`, where there is one, is read as enumerated concepts too, and in place of filters and excludes:
    it is what they came to on the server that expanded them. Raises ValueSetError.
    """
    try:
        resource = msgspec.json.Decoder(float_hook=Decimal).decode(text)
        name = resource["name"]
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name {name!r} is not text")
        members: list[tuple[str, Member]] = []
        branches: list[tuple[str, Member]] = []
        excluded: list[tuple[str, str]] = []
        compose = resource.get("compose", {})
        expansion = resource.get("expansion")
        for include in compose.get("include", ()):
            if expansion is not None and "system" not in include:
                continue
            system = canonical_system(include["system"])
            for concept in include.get("concept", ()):
                evidence = _extension(concept.get("extension"), "code-evidence")
                if member := _member(name, concept["code"], concept.get("display", ""), evidence):
                    members.append((system, member))
            for part in () if expansion is not None else include.get("filter", ()):
                if (part["property"], part["op"]) != ("concept", "is-a"):
                    raise ValueSetError(f"{where}: the filter {part} is not an is-a filter on concept")
                if system not in BRANCHED:
                    raise ValueSetError(f"{where}: codes below {part['value']} of {system} must be listed")
                evidence = _extension(include.get("extension"), "code-evidence")
                if member := _member(name, part["value"], "", evidence):
                    branches.append((system, member))
        for exclude in () if expansion is not None else compose.get("exclude", ()):
            system = canonical_system(exclude["system"])
            excluded += [(system, concept["code"]) for concept in exclude.get("concept", ())]
            excluded += [(system, part["value"]) for part in exclude.get("filter", ())]
        for concept in _expanded((expansion or {}).get("contains", ())):
            evidence = _extension(concept.get("extension"), "code-evidence")
            if member := _member(name, concept["code"], concept.get("display", ""), evidence):
                members.append((canonical_system(concept["system"]), member))
        words = _extension(resource.get("extension"), "question-words")
        no_codes = bool(_extension(resource.get("extension"), "no-codes"))
        below = _extension(resource.get("extension"), "descendants")
        pattern = re.compile(words, re.IGNORECASE) if words else None
        title = resource.get("title", name)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, re.error) as error:
        raise ValueSetError(f"{where} is not a value set that can be read: {error!r}") from error
    if not members and not branches and not no_codes:
        raise ValueSetError(f"{where}: the set {name} is empty; mark it no-codes or give it codes")
    return ValueSet(
        name=name,
        title=title,
        members=tuple(members),
        branches=tuple(branches),
        excluded=tuple(excluded),
        no_codes=no_codes,
        descendants=frozenset((below,) if below else ()),
        question_words=pattern,
    )


def load(site: Path | None = None) -> ValueSets:
    """The shipped sets, and those of a site's directory: of one name they add up, a new name is a new set.

    Raises ValueSetError for an unreadable or empty one, and for a site's set that would take codes away.
    """
    found = {each.name: each for _, each in _read_all(resources.files(__package__).joinpath("valuesets"))}
    if site is not None:
        for where, each in _read_all(site):
            found[each.name] = _added(found[each.name], each, where) if each.name in found else each
    return ValueSets(found.values())


def _read_all(directory: Traversable) -> Iterator[tuple[str, ValueSet]]:
    try:
        files = sorted((f for f in directory.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
        if not files:
            raise ValueSetError(f"no value sets in {directory}")
        for file in files:
            yield file.name, read(file.read_bytes(), file.name)
    except OSError as error:
        raise ValueSetError(f"value sets cannot be read: {error}") from error


def _added(known: ValueSet, site: ValueSet, where: str) -> ValueSet:
    """The shipped set with the site's codes.

    Of a code that both hold the shipped one speaks: it says the group and the strength. What the shipped set excludes
    stays excluded.
    """
    if site.excluded:
        raise ValueSetError(f"{where}: {site.name} excludes codes; a site's set can only add to a shipped one")
    return replace(
        known,
        members=known.members + site.members,
        branches=known.branches + site.branches,
        no_codes=known.no_codes and site.no_codes,
    )

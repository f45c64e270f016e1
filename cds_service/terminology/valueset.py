"""One value set as this service uses it, and how it is read from FHIR R4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.says import Named
from cds_service.terminology.systems import BRANCHED, canonical_system

CANONICAL = "https://ketamine-cds.github.io/fhir"
"""What this project publishes has its address below it."""
_EVIDENCE = "code-evidence"
EVIDENCE = f"{CANONICAL}/StructureDefinition/{_EVIDENCE}"
"""The extension that says where a code comes from. A site's may have another base; its last part is read."""


class ValueSetError(ConfigurationError):
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
    """A named set of codes. `title` is shown to people."""

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

    @property
    def named(self) -> Named:
        """The title, which may have a word in another language."""
        return Named(f"set-{self.name}", self.title)

    @property
    def groups(self) -> list[str]:
        """What may stand behind a slash after its name."""
        return sorted({member.group for _, member in (*self.members, *self.branches) if member.group})


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


def _listed(name: str, system: str, concepts: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Member]]:
    """The concepts that a set lists, with their system."""
    for concept in concepts:
        evidence = _extension(concept.get("extension"), _EVIDENCE)
        if member := _member(name, concept["code"], concept.get("display", ""), evidence):
            yield system, member


def _below(name: str, system: str, include: dict[str, Any], where: str) -> Iterator[tuple[str, Member]]:
    """The branches that a set takes in by is-a filters, with their system. Raises ValueSetError for other filters."""
    for part in include.get("filter", ()):
        if (part["property"], part["op"]) != ("concept", "is-a"):
            raise ValueSetError(f"{where}: the filter {part} is not an is-a filter on concept")
        if system not in BRANCHED:
            raise ValueSetError(f"{where}: codes below {part['value']} of {system} must be listed")
        evidence = _extension(include.get("extension"), _EVIDENCE)
        if member := _member(name, part["value"], "", evidence):
            yield system, member


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
            members += _listed(name, system, include.get("concept", ()))
            if expansion is None:
                branches += _below(name, system, include, where)
        for exclude in () if expansion is not None else compose.get("exclude", ()):
            system = canonical_system(exclude["system"])
            excluded += [(system, concept["code"]) for concept in exclude.get("concept", ())]
            excluded += [(system, part["value"]) for part in exclude.get("filter", ())]
        for concept in _expanded((expansion or {}).get("contains", ())):
            members += _listed(name, canonical_system(concept["system"]), [concept])
        no_codes = bool(_extension(resource.get("extension"), "no-codes"))
        below = _extension(resource.get("extension"), "descendants")
        title = resource.get("title", name)
    except (msgspec.DecodeError, *UNREADABLE) as error:
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
    )

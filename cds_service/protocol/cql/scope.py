"""What one CQL library names: the limits, value sets and readings that its expressions used, each defined once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

from cds_service import units
from cds_service.protocol.limits import numbers_as_written
from cds_service.protocol.model import Limit, Protocol
from cds_service.terminology.valueset import CANONICAL
from cds_service.terminology.valuesets import ValueSets

SPANS: Mapping[str, str] = {
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "wk": "weeks",
    "mo": "months",
    "a": "years",
}
"""UCUM codes of times as CQL counts them in the calendar."""
PLAIN = ("1", "{score}")
"""Units of limits that a number alone is held to."""
CHART, DOSAGE = "Chart", "Dosage"
"""What the libraries of rules call those that read the chart and the order."""
HISTORY, CURRENT = "history", "current"
"""Parts of a value set: codes that themselves say that a problem is past, and all others."""

_IN_MINUTES = " in minutes"


class Unsaid(Exception):
    """CQL does not say this. The message is the reason, as docs/cql.md has it."""


@dataclass(frozen=True, slots=True)
class SetPart:
    """A value set, or a part of it: a group of its codes, those that are a history, those that are none."""

    name: str
    group: str | None = None
    history: str | None = None

    @property
    def title(self) -> str:
        """How a library calls it."""
        group = f"{self.name}/{self.group}" if self.group else self.name
        return f"{group} {self.history} codes" if self.history else f"{group} codes"

    @property
    def id(self) -> str:
        """Its id as a FHIR resource; the whole set has the id that is published already."""
        return ".".join(filter(None, (self.name, self.group, self.history))).replace("_", "-")


@dataclass
class Scope:
    """What the expressions of one library may name, and what they have named."""

    protocol: Protocol
    valuesets: ValueSets
    query_of: Mapping[str, str]
    """Value set of readings -> the key of the query whose answer holds them; `results` for any other."""
    day: date
    sets: dict[str, SetPart] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    """Limit -> what it is defined as."""
    readings: dict[str, None] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    """What the route of an order may be."""
    reads_dosage: bool = False
    """Whether the library that reads the order is named."""

    def value_set(self, reference: str, history: str | None = None) -> str:
        """The quoted name of a set, or set/group, or of the part of it that is (or is not) a history."""
        name, _, group = reference.partition("/")
        part = SetPart(name, group or None, history if self.has_history(name) else None)
        self.sets[part.title] = part
        return quoted(part.title)

    def has_history(self, name: str) -> bool:
        known = self.valuesets[name]
        return any(member.history for _, member in (*known.members, *known.branches))

    def without_codes(self, references: Iterable[str]) -> bool:
        """None of the sets has any code as yet, so that nothing can be told of them."""
        return all(name.partition("/")[0] in self.valuesets.without_codes for name in references)

    def in_any(self, alias: str, references: Iterable[str]) -> str:
        """Whether a concept is in one of the sets."""
        return " or ".join(f"{alias} in {self.value_set(each)}" for each in references)

    def readings_of(self, name: str) -> str:
        """The quoted name of the readings of a set."""
        self.value_set(name)
        self.readings[name] = None
        return quoted(f"{name} readings")

    def keys(self, sets: Iterable[str]) -> str:
        """The queries of these readings, as a list."""
        keys = dict.fromkeys(self.query_of.get(name.partition("/")[0], "results") for name in sets)
        return texts(keys)

    def since(self, name: str) -> str:
        """The quoted name of a window: the moment with which it begins."""
        limit, number = self._limit(name)
        if limit.unit not in SPANS or "." in number:
            raise Unsaid(f"the window {name} is no whole number of a unit of CQL")
        self.limits[name] = f"Now() - {number} {SPANS[limit.unit]}"
        return quoted(name)

    def number(self, name: str) -> str:
        """The quoted name of a limit without a unit."""
        _, number = self._limit(name)
        self.limits[name] = number if "." in number else f"{number}.0"
        return quoted(name)

    def whole(self, name: str) -> str:
        """The quoted name of a limit that is a whole number, of whatever unit."""
        _, number = self._limit(name)
        if "." in number:
            raise Unsaid(f"{name} is no whole number")
        self.limits[name] = number
        return quoted(name)

    def quantity(self, name: str) -> str:
        """The quoted name of a limit with its UCUM unit."""
        limit, number = self._limit(name)
        self.limits[name] = f"{number} '{limit.unit}'"
        return quoted(name)

    def of_drug(self, name: str) -> str:
        """The quoted name of a limit with its UCUM unit, which each drug may have of its own."""
        limit = self.protocol.limits[name]
        own = {each.drug: each for each in self.protocol.limits.values() if each.stands_for == name}
        if not own:
            return self.quantity(name)
        lines = [self._own(drug, own.get(drug, limit)) for drug in self.protocol.drugs]
        of_none = "else null as System.Quantity"
        self.limits[name] = "\n    ".join([f"case {self.of_order('Drug')}", *lines, of_none]) + "\n  end"
        return quoted(name)

    def _own(self, drug: str, limit: Limit) -> str:
        (number,) = numbers_as_written(limit, self.day)
        return f"when {text(drug)} then {number} '{limit.unit}' // {_origin(limit)}"

    def minutes(self, name: str) -> str:
        """The quoted name of a time as a number of minutes; as a window it is a moment."""
        limit, number = self._limit(name)
        factor = units.find(limit.unit, "time").factor
        title = name + _IN_MINUTES
        self.limits[title] = f"{decimal(number)} * {exact(factor)} // {number} {limit.unit}"
        return quoted(title)

    def interval(self, name: str) -> str:
        """The quoted name of a limit that is the two ends of a range."""
        limit = self.protocol.limits[name]
        low, high = numbers_as_written(limit, self.day)
        self.limits[name] = f"Interval[{decimal(low)}, {decimal(high)}]"
        return quoted(name)

    def number_and_unit(self, name: str) -> tuple[str, str]:
        limit, number = self._limit(name)
        return number, limit.unit

    def of_order(self, name: str, *arguments: str) -> str:
        """A definition, or a function, of the library that reads the order."""
        self.reads_dosage = True
        called = f"({', '.join(arguments)})" if arguments else ""
        return f"{DOSAGE}.{quoted(name)}{called}"

    def definitions(self) -> list[str]:
        """The value sets that are named, as a library declares them."""
        parts = [self.sets[title] for title in sorted(self.sets)]
        return [f"valueset {quoted(each.title)}: '{CANONICAL}/ValueSet/{each.id}'" for each in parts]

    def limit_definitions(self) -> Iterator[str]:
        """The limits that are named, each with its title, its sources and who changed it."""
        for name, value in self.limits.items():
            limit = self.protocol.limits[name.removesuffix(_IN_MINUTES)]
            yield f"// {limit.title} ({_origin(limit)})\ndefine {quoted(name)}:\n  {value}"

    def is_plain(self, name: str) -> bool:
        return self.protocol.limits[name].unit in PLAIN

    def _limit(self, name: str) -> tuple[Limit, str]:
        limit = self.protocol.limits[name]
        numbers = numbers_as_written(limit, self.day)
        if len(numbers) != 1 or any(each.stands_for == name for each in self.protocol.limits.values()):
            raise Unsaid(f"{name} is not one number for every drug of the protocol")
        return limit, numbers[0]


def _origin(limit: Limit) -> str:
    """How far a limit is verified, its sources, and who changed it."""
    sources = f"; {', '.join(limit.sources)}" if limit.sources else ""
    site = f"; of {limit.site.owner}, {limit.site.date}" if limit.site else ""
    return f"{limit.status}{sources}{site}"


def decimal(number: str) -> str:
    """A decimal of CQL."""
    return number if "." in number else f"{number}.0"


def exact(number: Fraction) -> str:
    """A decimal of CQL without loss. Raises Unsaid for one that never ends."""
    shown = Decimal(number.numerator) / Decimal(number.denominator)
    if Fraction(shown) != number:
        raise Unsaid(f"{number} is no decimal number")
    return decimal(f"{shown:f}")


def quoted(name: str) -> str:
    """An identifier of CQL."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def text(value: str) -> str:
    """A string of CQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def texts(values: Iterable[str]) -> str:
    """A list of strings of CQL."""
    return f"{{ {', '.join(map(text, values))} }}"


def union(parts: Sequence[str]) -> str:
    return " union ".join(parts)

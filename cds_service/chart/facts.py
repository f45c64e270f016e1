"""The kinds of facts a chart holds. Each says where and when it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Literal

from cds_service.fhir.dates import When
from cds_service.fhir.medication import Description
from cds_service.fhir.resources import AdministrationDosage, Dosage, Quantity, Range
from cds_service.terminology.drugs import Identity
from cds_service.terminology.valuesets import Member

Members = Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known, in words for a card, and the resource that says it."""

    says: str
    reference: str | None = None
    figure: str | None = None
    """The measured number alone, for a summary."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One observed value: a number, coded answers, or a date."""

    name: str
    code: tuple[str, str]
    when: When
    reference: str
    quantity: Quantity | None = None
    number: int | None = None
    answers: tuple[tuple[str, str], ...] = ()
    interpretation: tuple[tuple[str, str], ...] = ()
    ranges: tuple[Range, ...] = ()
    date: When | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One recorded condition. `assumed_active`: it has neither a status nor an end."""

    name: str
    members: Members
    active: bool
    assumed_active: bool
    when: When | None
    """Onset, else the date it was recorded."""
    reference: str


@dataclass(frozen=True, slots=True)
class Allergy:
    name: str
    members: Members
    intolerance: bool
    reference: str


@dataclass(frozen=True, slots=True)
class Medicine:
    """One medicine ordered or given."""

    name: str
    description: Description
    members: Members
    identity: Identity | None
    given: bool
    """An administration; otherwise an order."""
    drafted: bool
    status: str | None
    start: When | None
    end: When | None
    routes: frozenset[str]
    """Value sets of routes, e.g. route_iv."""
    reasons: Members
    reference: str
    order: str | None = None
    """The request that an administration belongs to."""
    dosage: AdministrationDosage | None = None
    dosage_instruction: tuple[Dosage, ...] = ()
    intent: str | None = None
    group: tuple[str | None, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """A procedure."""

    name: str
    members: Members
    in_progress: bool
    when: When | None
    this_encounter: bool
    reference: str


@dataclass(frozen=True, slots=True)
class Weight:
    """One recorded body weight in kg. `problem` says why it cannot be used."""

    kg: Fraction | None
    basis: Literal["measured", "stated", "estimated"]
    when: When
    reference: str
    written: str
    problem: str | None = None


def on(when: When | None, now: datetime) -> str:
    """A date as a card shows it, in the zone of `now`."""
    if when is None:
        return "no date"
    if when.date_only:
        return when.text
    return when.latest.astimezone(now.tzinfo).strftime("%Y-%m-%d %H:%M")

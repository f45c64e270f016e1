"""The kinds of facts a chart holds. Each says where and when it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Generic, Literal, TypeVar

import msgspec

from cds_service import units
from cds_service.fhir.datatypes import CodeableConcept, Dosage, Quantity, Range
from cds_service.fhir.dates import When
from cds_service.fhir.medication import Description
from cds_service.fhir.resources import AdministrationDosage, Observation, ObservationComponent
from cds_service.figures import show
from cds_service.says import Says
from cds_service.says import entries as says
from cds_service.terminology.identity import Identity
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import without_kind

Members = Mapping[str, Member]

UsedKind = Literal["reading", "weight", "problem", "symptom", "procedure", "allergy", "medicine", "age", "amount"]


class Used(msgspec.Struct, frozen=True):
    """A fact without anybody's words: codes of our value sets, a figure in a unit of our table, and when it was."""

    kind: UsedKind
    codes: tuple[tuple[str, str], ...] = ()
    """(value set, code)."""
    value: str | None = None
    """A number, two of them as 150/102, or the code of an answer."""
    unit: str | None = None
    when: When | None = None


def coded(kind: UsedKind, members: Members, when: When | None = None, value: str | None = None) -> Used:
    """What is used of an entry that value sets hold."""
    return Used(kind, tuple(dict.fromkeys((each.set, each.code) for each in members.values())), value, when=when)


class Fact(msgspec.Struct, frozen=True, eq=False):
    """One thing that is known, in words for a card, and the resource that says it. Equal ones say the same of it."""

    says: Says
    reference: str | None = None
    figure: str | None = None
    """The measured number alone, for a summary."""
    used: Used | None = None
    """The same, as a store may keep it; None of what has neither a code nor a figure."""

    @property
    def _same(self) -> tuple[Says, str | None, str | None]:
        return self.says, self.reference, self.figure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fact) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)


def in_words_of(members: Members) -> str | None:
    """What the value sets that hold a code call it."""
    found = next((member.display for member in members.values() if member.display), None)
    return without_kind(found) if found else None


def name_of(concept: CodeableConcept | None, members: Members, otherwise: Says) -> Says:
    """What an entry is, for a card: its own words, else those of its value sets; a bare code only where nobody knows
    it."""
    if concept is None:
        return otherwise
    words = concept.text or next(iter(concept.words), None)
    return words or in_words_of(members) or concept.name or otherwise


class Measurement(msgspec.Struct, frozen=True, gc=False):
    """One observed value: a number, coded answers, or a date. Few are asked for, so they are read when they are."""

    part: Observation | ObservationComponent
    code: tuple[str, str]
    when: When
    reference: str

    @property
    def name(self) -> str:
        return (self.part.code.name if self.part.code else None) or self.code[1]

    @property
    def quantity(self) -> Quantity | None:
        return self.part.value_quantity

    @property
    def number(self) -> int | None:
        return self.part.value_integer

    @property
    def answers(self) -> Sequence[tuple[str, str]]:
        return self.part.value_codeable_concept.codes if self.part.value_codeable_concept else ()

    @property
    def words(self) -> Sequence[str]:
        """What it says in words: a text, or the words beside a code."""
        return words_of(self.part)

    @property
    def interpretation(self) -> Sequence[tuple[str, str]]:
        return [coding for concept in self.part.interpretation for coding in concept.codes]

    @property
    def interpreted(self) -> Sequence[str]:
        """The interpretation in words."""
        return [word for concept in self.part.interpretation for word in concept.words]

    @property
    def ranges(self) -> Sequence[Range]:
        return self.part.reference_range

    @property
    def date(self) -> str | None:
        """The value where it is a date, as it was written."""
        return self.part.value_date_time if isinstance(self.part, Observation) else None


def words_of(part: Observation | ObservationComponent) -> Sequence[str]:
    """The value of a reading where it is in words: a text, the words beside a code, yes or no."""
    words = part.value_codeable_concept.words if part.value_codeable_concept else []
    if part.value_string:
        words = [part.value_string, *words]
    if part.value_boolean is not None:
        words = [*words, "true" if part.value_boolean else "false"]
    return words


def amount_of(quantity: Quantity, value: Decimal) -> Says:
    """A quantity as it was written."""
    number = f"{quantity.comparator or ''}{value}"
    if not quantity.unit_text:
        return says.NO_UNIT(number)
    return f"{number} {units.said(quantity.unit_text)}".rstrip()


def value_of(part: Observation | ObservationComponent) -> Says | None:
    """The value of a reading as it was written, for a card; None where it has none."""
    quantity = part.value_quantity
    if quantity is not None and quantity.value is not None:
        return amount_of(quantity, quantity.value)
    if part.value_integer is not None:
        return str(part.value_integer)
    if words := words_of(part):
        return words[0]
    coded = part.value_codeable_concept.name if part.value_codeable_concept else None
    return coded or (part.value_date_time if isinstance(part, Observation) else None)


class Problem(msgspec.Struct, frozen=True):
    """One recorded condition. `assumed_active`: it has neither a status nor an end."""

    name: Says
    members: Members
    active: bool
    assumed_active: bool
    when: When | None
    """Onset, else the date it was recorded."""
    reference: str
    may_mean: frozenset[str] | None = frozenset()
    """The sets that its words may mean where no code of it is known; None: it has no words either."""


class Symptom(msgspec.Struct, frozen=True):
    """A complaint that somebody affirmed: by an observation, a problem that began, or a reported adverse event."""

    name: Says
    members: Members
    when: When
    reference: str


class Allergy(msgspec.Struct, frozen=True):
    name: Says
    members: Members
    intolerance: bool
    reference: str
    may_mean: frozenset[str] | None = frozenset()
    """As in Problem."""
    doubted: bool = False
    """Its words speak against its code, or name a drug that its code does not."""


class Medicine(msgspec.Struct, frozen=True):
    """One medicine ordered, taken or given."""

    name: str
    description: Description
    members: Members
    identity: Identity | None
    given: bool
    """An administration; otherwise an order, or `taken`. Both: it was taken until a known day."""
    drafted: bool
    status: str | None
    start: When | None
    end: When | None
    routes: frozenset[str]
    """Value sets of routes, e.g. route_iv."""
    reasons: Members
    reference: str
    order: str | None = None
    """The request that an administration or statement belongs to."""
    dosage: AdministrationDosage | None = None
    dosage_instruction: tuple[Dosage, ...] = ()
    intent: str | None = None
    group: tuple[str | None, str | None] | None = None
    taken: bool = False
    """It is recorded that the patient takes it (MedicationStatement); it need not have been ordered here."""
    by_name: bool = False
    """No code says what it is: it is in the sets by its name."""
    disagreement: Says | None = None
    """Why it cannot be told which of its sets it is in: its codings name different drugs. Never of ketamine."""
    status_reasons: Members = {}
    """Value sets of why an administration was stopped or held."""


class Act(msgspec.Struct, frozen=True):
    """A procedure."""

    name: Says
    members: Members
    in_progress: bool
    when: When | None
    this_encounter: bool
    reference: str
    may_mean: frozenset[str] | None = frozenset()
    """As in Problem."""


class Weight(msgspec.Struct, frozen=True):
    """One recorded body weight in kg. `problem` says why it cannot be used."""

    kg: Fraction | None
    basis: Literal["measured", "stated", "estimated"]
    when: When
    reference: str
    written: Says
    problem: Says | None = None


def weighed(weight: Weight) -> Used:
    """What is used of a weight."""
    return Used("weight", value=None if weight.kg is None else show(weight.kg), unit="kg", when=weight.when)


F = TypeVar("F", Problem, Allergy, Medicine, Act)


class BySet(Generic[F]):
    """Coded facts, found by the value sets that they are in: most rules ask for sets that no fact is in."""

    def __init__(self, facts: Iterable[F]) -> None:
        self._numbered: dict[str, list[tuple[int, F]]] = {}
        for number, fact in enumerate(facts):
            for name in fact.members:
                self._numbered.setdefault(name, []).append((number, fact))

    @property
    def sets(self) -> Collection[str]:
        """The value sets that any of the facts is in."""
        return self._numbered.keys()

    def of(self, references: Iterable[str]) -> list[F]:
        """Those in any of `references` (a set, or set/group such as enc_class/inpatient), in their order."""
        found: dict[int, F] = {}
        for reference in references:
            name, _, group = reference.partition("/")
            for number, fact in self._numbered.get(name, ()):
                if not group or fact.members[name].group == group:
                    found[number] = fact
        return [found[number] for number in sorted(found)]


def on(when: When | None, now: datetime) -> Says:
    """A date as a card shows it, in the zone of `now`."""
    if when is None:
        return says.NO_DATE
    if when.date_only:
        return when.text
    return when.latest.astimezone(now.tzinfo).strftime("%Y-%m-%d %H:%M")

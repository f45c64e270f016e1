"""How a chart reads: dates in its zone and parsed once, codes to value sets, references, and notes for the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from cds_service.chart.account import Account
from cds_service.chart.concepts import concepts
from cds_service.chart.facts import Members
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import datatypes, dates, resources
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.fhir.dates import When
from cds_service.fhir.records import Records
from cds_service.says import Says
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import Placement, ValueSets

_NONE: Members = {}


class Reading:
    """What every part of a chart needs to read one patient's records at a moment."""

    def __init__(
        self,
        records: Records,
        valuesets: ValueSets,
        now: datetime,
        clock_tolerance: timedelta,
        deadline: Deadline = NEVER,
    ) -> None:
        self.deadline = deadline
        """What reads one record after another checks it for each, and raises Late."""
        self.now = now
        self.zone = now.tzinfo or UTC
        self.valuesets = valuesets
        self._notes: dict[Says, None] = {}
        self.account = Account()
        self._records = records
        self._tolerance = clock_tolerance
        # Most of a chart's dates are those of a few encounters, and most of its codes stand in it many times.
        self._dates: dict[str, When | None] = {}
        self._future: dict[str, bool] = {}
        self._concepts = concepts(valuesets)
        self._members: dict[CodeableConcept, Members] = {}
        self._placements: dict[CodeableConcept | None, Placement] = {}

    def when(self, text: str | None) -> When | None:
        """A FHIR date; each is parsed once."""
        if not text:
            return None
        try:
            return self._dates[text]
        except KeyError:
            found = self._dates[text] = dates.parse(text, self.zone)
            return found

    def is_future(self, when: When) -> bool:
        """Beyond what clocks may differ."""
        try:
            return self._future[when.text]
        except KeyError:
            found = self._future[when.text] = when.is_future(self.now, self._tolerance)
            return found

    @property
    def patient_id(self) -> str:
        return self._records.patient_id

    def age_within(self, when: When, window: timedelta) -> bool:
        """Recent enough at the least favourable reading of its date."""
        return when.age_at_most(self.now) <= window

    def may_be_within(self, when: When | None, window: timedelta) -> bool:
        """Recent enough at the most favourable reading of its date; without one it may be of any."""
        return when is None or when.age(self.now) <= window

    def members_of(self, concept: CodeableConcept | None) -> Members:
        """The value sets that any coding of a concept is in."""
        if concept is None:
            return _NONE
        try:
            return self._members[concept]
        except KeyError:
            found = self._members[concept] = self._concepts.members_of(concept)
            return found

    def members(self, concepts: Iterable[CodeableConcept | None]) -> Members:
        """The value sets that any coding of the concepts is in."""
        found: dict[str, Member] = {}
        for concept in concepts:
            found.update(self.members_of(concept))
        return found

    def placement(self, concept: CodeableConcept | None) -> Placement:
        """Where an entry belongs by its codes, else by its words."""
        try:
            return self._placements[concept]
        except KeyError:
            found = self._placements[concept] = self._concepts.placement(concept)
            return found

    def says_unknown(self, concept: CodeableConcept | None) -> bool:
        """Whether an entry of a list says that nothing is known: "not asked" is not "none"."""
        return self.is_unknown(self.placement(concept))

    def is_unknown(self, placed: Placement) -> bool:
        """Whether what was placed says that nothing is known."""
        unknown = self.valuesets.roles.nothing_known
        return unknown in placed.members or (placed.may_mean is not None and unknown in placed.may_mean)

    def reasons(self, order: resources.MedicationRequest) -> Members:
        """Value sets of what an order is for."""
        return self.members([*order.reason_code, *self._codes_of(order.reason_reference)])

    def _codes_of(self, references: Iterable[datatypes.Reference]) -> Iterator[CodeableConcept | None]:
        """The codes of the problems that references point to."""
        for reference in references:
            problem = self._records.resolve(reference)
            if isinstance(problem, resources.Condition):
                yield problem.code

    def resolve(self, reference: datatypes.Reference | None) -> resources.Resource | None:
        return self._records.resolve(reference)

    def note(self, note: Says) -> None:
        """For the card: what was left out, once."""
        self._notes[note] = None

    @property
    def notes(self) -> list[Says]:
        return list(self._notes)

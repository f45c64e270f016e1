"""How a chart reads: dates in its zone and parsed once, codes to value sets, references, and notes for the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from cds_service.chart.account import Account
from cds_service.chart.facts import Members
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import dates, resources
from cds_service.fhir.dates import When
from cds_service.fhir.records import Records
from cds_service.fhir.resources import CodeableConcept
from cds_service.terminology.valuesets import Member, Placement, ValueSets

_UNKNOWN = "no_information"
"""The value set of entries that say that nothing is known."""


def is_unknown(placed: Placement) -> bool:
    """Whether what was placed says that nothing is known."""
    return _UNKNOWN in placed.members or (placed.may_mean is not None and _UNKNOWN in placed.may_mean)


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
        """What reads one record after another passes `when` or `members`, which raise Late."""
        self.now = now
        self.zone = now.tzinfo or UTC
        self.valuesets = valuesets
        self._notes: dict[str, None] = {}
        self.account = Account()
        self._records = records
        self._tolerance = clock_tolerance
        self._dates: dict[str | None, When | None] = {}

    def when(self, text: str | None) -> When | None:
        """A FHIR date. Most of a chart's dates are those of a few encounters, so each is parsed once."""
        self.deadline.check("chart")
        if text not in self._dates:
            self._dates[text] = dates.parse(text, self.zone)
        return self._dates[text]

    def is_future(self, when: When) -> bool:
        """Beyond what clocks may differ."""
        return when.is_future(self.now, self._tolerance)

    @property
    def patient_id(self) -> str:
        return self._records.patient_id

    def age_within(self, when: When, window: timedelta) -> bool:
        """Recent enough at the least favourable reading of its date."""
        return when.age_at_most(self.now) <= window

    def may_be_within(self, when: When | None, window: timedelta) -> bool:
        """Recent enough at the most favourable reading of its date; without one it may be of any."""
        return when is None or when.age(self.now) <= window

    def members(self, concepts: Iterable[CodeableConcept | None]) -> Members:
        """The value sets that any coding of the concepts is in."""
        self.deadline.check("chart")
        found: dict[str, Member] = {}
        for concept in concepts:
            if concept is not None:
                for system, code in concept.codes:
                    found.update(self.valuesets.members_of(system, code))
        return found

    def placement(self, concept: CodeableConcept | None) -> Placement:
        """Where an entry belongs by its codes, else by its words."""
        return self.valuesets.placement(*((concept.codes, concept.words) if concept is not None else ((), ())))

    def says_unknown(self, concept: CodeableConcept | None) -> bool:
        """Whether an entry of a list says that nothing is known: "not asked" is not "none"."""
        return is_unknown(self.placement(concept))

    def reasons(self, order: resources.MedicationRequest) -> Members:
        """Value sets of what an order is for."""
        return self.members([*order.reason_code, *self._codes_of(order.reason_reference)])

    def _codes_of(self, references: Iterable[resources.Reference]) -> Iterator[CodeableConcept | None]:
        """The codes of the problems that references point to."""
        for reference in references:
            problem = self._records.resolve(reference)
            if isinstance(problem, resources.Condition):
                yield problem.code

    def resolve(self, reference: resources.Reference | None) -> resources.Resource | None:
        return self._records.resolve(reference)

    def note(self, note: str) -> None:
        """For the card: what was left out, once."""
        self._notes[note] = None

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

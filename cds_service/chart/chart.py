"""What is known about the patient at a moment, indexed by value set; every list says whether it is complete."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeVar

from cds_service.chart import allergies, genders, kinds, medicines, observations
from cds_service.chart.account import LISTS, Unplaced
from cds_service.chart.entries import place_allergy, read_act, read_problem
from cds_service.chart.facts import (
    Act,
    Allergy,
    BySet,
    Measurement,
    Medicine,
    Members,
    Problem,
    Symptom,
    Weight,
    name_of,
)
from cds_service.chart.reading import Reading
from cds_service.chart.weights import by_date, read_weight
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import datatypes, dates, resources, statuses
from cds_service.fhir.dates import When
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.medication import Contained
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Records
from cds_service.fhir.statuses import NEVER_COUNTS
from cds_service.lazy import cached_property
from cds_service.says import Says
from cds_service.says import entries as says
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import ValueSets

F = TypeVar("F", Problem, Allergy)

_PLACED = attrgetter("when.placed")
_WHOLE_DAYS = timedelta(days=2)
"""By less than this the age of what has only a date may differ from the time since it."""

EXPOSED = "exposure"
"""Stands in `Chart.on_record` where a drug that is judged was given."""


class Chart(Reading):
    """One patient's facts. `gap(key)` says why the list behind a query key is not complete."""

    def __init__(
        self,
        records: Records,
        valuesets: ValueSets,
        now: datetime,
        clock_tolerance: timedelta,
        queries: Sequence[Query] = (),
        encounter_id: str | None = None,
        drafted: Sequence[resources.Resource] = (),
        deadline: Deadline = NEVER,
    ) -> None:
        super().__init__(records, valuesets, now, clock_tolerance, deadline)
        self._encounter_id = encounter_id
        self._drafted = drafted
        self._query_of = {name: query.key for query in queries for name in query.sets}
        self._newest_first: dict[str, list[Measurement]] = {}
        self._within: dict[tuple[str, timedelta], list[Measurement]] = {}

    @property
    def encounter_id(self) -> str | None:
        return self._encounter_id

    def query_of(self, observation_set: str) -> str:
        """The key of the query that asks for a set of observations."""
        return self._query_of.get(observation_set.partition("/")[0], "results")

    def gap(self, key: str) -> Says | None:
        return self._gaps.get(key)

    @cached_property
    def _gaps(self) -> Mapping[str, Says]:
        """Lists that were not delivered whole, and a problem list that says only that nothing is known."""
        if not self.problems and any(self.says_unknown(c.code) for c in self._records.of(resources.Condition)):
            return {"conditions": says.NOTHING_KNOWN, **self._records.gaps}
        return self._records.gaps

    def is_promised(self, key: str) -> bool:
        """Whether the client's entry says that it sends the list."""
        return key in self._records.promised

    def was_not_sent(self, key: str) -> bool:
        """Whether the list has its gap because the client did not send it and there is nobody to ask."""
        return key in self._records.not_sent

    @cached_property
    def on_record(self) -> frozenset[str]:
        """The value sets that anything here is in or may be in, and the query keys whose lists are not complete.

        What is not among them is absent as recorded. May be in: by words without a code, where the set itself has no
        code yet, where the query for its observations was not fully answered, and where an entry could not be placed.
        """
        gaps = self._gaps
        by_set = (self.problems_by_set, self.allergies_by_set, self.acts_by_set, self.medicines_by_set)
        found = self.valuesets.without_codes.union(gaps, self._measurements, *(facts.sets for facts in by_set))
        found |= self.account.on_record
        found = found.union(*(problem.may_mean or () for problem in self.open_problems))
        found = found.union(*(problem.may_mean or () for problem in self.reasons_of_encounter))
        found = found.union(*(allergy.may_mean or () for allergy in self.open_allergies))
        found = found.union(*(act.may_mean or () for act in self.open_acts))
        events = [self.placement(event.event) for event in self._records.of(resources.AdverseEvent)]
        for each in events:
            found = found.union(each.members, LISTS["AdverseEvent"] if each.may_mean is None else each.may_mean)
        found |= self.members(self._observed.answers).keys()
        if gaps:
            found |= {name for name, key in self._query_of.items() if key in gaps}
        doses = (medicine.given and medicine.identity is not None for medicine in self.medicines)
        if any(doses) or self.account.open(self.valuesets.drugs.sets, "medicine"):
            found |= {EXPOSED}
        return found

    # Patient ----------------------------------------------------------------------------------------------

    @cached_property
    def patient(self) -> resources.Patient | None:
        """None also where what it says is changed by something that is not known."""
        found = next(iter(self._records.of(resources.Patient)), None)
        return None if found is None or changed_meaning(found) is not None else found

    @property
    def deceased(self) -> Says | None:
        """Where the patient is recorded as dead: the date, as far as it is given."""
        if self.patient is None:
            return None
        if self.patient.deceased_date_time is not None:
            return self.patient.deceased_date_time
        return says.NO_DATE if self.patient.deceased_boolean else None

    @cached_property
    def birth_date(self) -> When | None:
        """None when it is missing, partial or in the future: then the age cannot be told."""
        when = self.when(self.patient.birth_date) if self.patient else None
        if when is None or when.earliest.date() != when.latest.date() or self.is_future(when):
            return None
        return when

    @property
    def age_years(self) -> int | None:
        return dates.years_between(self.birth_date.day(), self.now.date()) if self.birth_date else None

    @property
    def age_months(self) -> int | None:
        return dates.months_between(self.birth_date.day(), self.now.date()) if self.birth_date else None

    @property
    def sex(self) -> str | None:
        """male or female; None for anything else."""
        return genders.sex_of(self.patient.gender) if self.patient else None

    # Observations -----------------------------------------------------------------------------------------

    @cached_property
    def _observed(self) -> observations.Observed:
        return observations.observed(self, self._records)

    @property
    def _measurements(self) -> Mapping[str, list[Measurement]]:
        return self._observed.by_set

    def measurements(self, name: str) -> list[Measurement]:
        """All of a value set, or of a group of it (obs_thyroid/tsh), newest first."""
        found = self._newest_first.get(name)
        if found is None:
            sent = self._measurements.get(name, ())
            found = self._newest_first[name] = sorted(sent, key=_PLACED, reverse=True)
        return found

    def measurements_within(self, name: str, window: timedelta) -> list[Measurement]:
        """Those of `measurements` that are recent enough (`age_within`)."""
        found = self._within.get((name, window))
        if found is None:
            every, surely_old = self.measurements(name), window + _WHOLE_DAYS
            end = bisect_left(every, True, key=lambda m: self.now - m.when.placed > surely_old)
            found = self._within[name, window] = [m for m in every[:end] if self.age_within(m.when, window)]
        return found

    @cached_property
    def has_coarse_readings(self) -> bool:
        """Whether any was recorded of which only the month or the year is known."""
        return any(m.when.is_coarse for found in self._measurements.values() for m in found)

    def is_urgent(self, sets: Iterable[str]) -> bool:
        """Whether the clinician is warned of a reading of these sets that is not understood."""
        return kinds.is_urgent(sets)

    @cached_property
    def weights(self) -> list[Weight]:
        """Measured ones newest first; stated and estimated ones only where there is no measured one.

        Of weights of one moment the lightest comes first, whatever order they were sent in.
        """
        preliminary = {
            o.reference
            for o in self._records.of(resources.Observation)
            if o.status != "final" and statuses.code_of("observation", o.status) in ("preliminary", "registered")
        }
        unconfirmed: list[Weight] = []
        for name, basis in self._weight_sets.items():
            found = [read_weight(m, basis, m.reference in preliminary) for m in self.measurements(name)]
            unconfirmed += [weight for weight in found if weight.problem == says.PRELIMINARY]
            if confirmed := [weight for weight in found if weight.problem != says.PRELIMINARY]:
                return by_date([*confirmed, *unconfirmed])
        return by_date(unconfirmed)

    @property
    def _weight_sets(self) -> Mapping[str, str]:
        """The value sets of weights -> how each came about, the best first."""
        roles = self.valuesets.roles
        return {
            roles.weight_measured: "measured",
            roles.weight_stated: "stated",
            roles.weight_estimated: "estimated",
        }

    @cached_property
    def unplaced_weights(self) -> tuple[Unplaced, ...]:
        """Readings that may be weights, and could not be placed."""
        self.on_record  # noqa: B018 - reads them
        return self.account.open(self._weight_sets, "reading")

    # Problems, allergies, procedures ----------------------------------------------------------------------

    @cached_property
    def problems(self) -> list[Problem]:
        sent = self.deadline.each(self._records.of(resources.Condition), "chart")
        return [problem for each in sent if (problem := read_problem(each, self)) is not None]

    @cached_property
    def problems_by_set(self) -> BySet[Problem]:
        return BySet(self.problems)

    @cached_property
    def open_problems(self) -> list[Problem]:
        """Problems that may mean more than they say: by words without a known code, or without either."""
        return _open(self.problems)

    @cached_property
    def reasons_of_encounter(self) -> list[Problem]:
        """Why the patient came, as problems that may be: a diagnosis there asks, and is none of the problem list."""
        encounter = self.encounter
        placed = [(each, self.placement(each)) for each in encounter.reason_code] if encounter is not None else []
        reference = encounter.reference if encounter is not None else ""
        return [
            Problem(name_of(each, found.members, says.NAMELESS_PROBLEM), {}, True, False, None, reference, may_mean)
            for each, found in placed
            if (may_mean := frozenset(found.members) | (found.may_mean or frozenset()))
        ]

    @cached_property
    def open_allergies(self) -> list[Allergy]:
        """As open_problems."""
        return _open(self.allergies)

    @cached_property
    def symptoms(self) -> list[Symptom]:
        """Complaints that somebody affirmed: observations, active problems, adverse events that happened."""
        events = self._records.of(resources.AdverseEvent)
        return observations.symptoms(self, self._observed.may_affirm, events, self.problems)

    @cached_property
    def allergies(self) -> list[Allergy]:
        """The active ones, confirmed or not."""
        placed = [place_allergy(entry, allergy, self) for entry, allergy in self._counting_allergies]
        return [allergy for allergy in placed if allergy is not None]

    @cached_property
    def allergies_by_set(self) -> BySet[Allergy]:
        return BySet(self.allergies)

    @property
    def has_allergy_list(self) -> bool:
        """Any entry that says something, also that there is no known allergy."""
        return any(allergies.says_something(entry, allergy, self) for entry, allergy in self._counting_allergies)

    @cached_property
    def _counting_allergies(self) -> list[tuple[resources.AllergyIntolerance, Allergy]]:
        return [
            (entry, allergies.read(entry, self))
            for entry in self.deadline.each(self._records.of(resources.AllergyIntolerance), "chart")
            if statuses.code_of("allergy", entry.verification_status, entry.clinical_status, entry.status)
            not in NEVER_COUNTS
        ]

    @cached_property
    def acts(self) -> list[Act]:
        sent = self.deadline.each(self._records.of(resources.Procedure), "chart")
        return [
            act for each in sent if (act := read_act(each, self, self._is_this_encounter(each.encounter))) is not None
        ]

    @cached_property
    def acts_by_set(self) -> BySet[Act]:
        return BySet(self.acts)

    @cached_property
    def open_acts(self) -> list[Act]:
        """Procedures that stand in words without a known code, as open_problems."""
        return [act for act in self.acts if act.may_mean]

    # Encounter --------------------------------------------------------------------------------------------

    @cached_property
    def encounter(self) -> resources.Encounter | None:
        """The one in context; else the only one, or the only one in progress."""
        found = self._records.of(resources.Encounter)
        if self._encounter_id:
            return next((e for e in found if e.id == self._encounter_id), None)
        current = [
            e for e in found if statuses.code_of("encounter", e.status) in ("in-progress", "arrived", "triaged")
        ]
        for candidates in (found, current):
            if len(candidates) == 1:
                return candidates[0]
        return None

    @cached_property
    def setting(self) -> Members:
        """Value sets of the encounter's class and of its present location (enc_class, loc_type)."""
        if self.encounter is None:
            return {}
        found: dict[str, Member] = {}
        for each in self.encounter.classes:
            codes = [(each.system, each.code)] if each.system and each.code else each.codes
            for system, code in codes:
                found.update(self.valuesets.members_of(system, code))
        contained = Contained(self.encounter.contained)
        for place in self.encounter.location:
            if (place.status or "active").strip().lower() != "active" or (place.period and place.period.end):
                continue
            location = contained.find(place.location) or self._records.resolve(place.location)
            types = location.type if isinstance(location, resources.Location) else []
            found.update(self.members([*types, place.physical_type]))
        return found

    def _is_this_encounter(self, reference: datatypes.Reference | None) -> bool:
        if reference is None or not reference.reference or self.encounter is None or not self.encounter.id:
            return False
        return reference.reference.partition("/_history/")[0].rsplit("/", 1)[-1] == self.encounter.id

    # Medicines --------------------------------------------------------------------------------------------

    @cached_property
    def medicines(self) -> list[Medicine]:
        """Active orders, the drafts of this session, what is taken, given or running; newest first."""
        return sorted(medicines.of_chart(self, self._records, self._drafted), key=_newest, reverse=True)

    @cached_property
    def medicines_by_set(self) -> BySet[Medicine]:
        return BySet(self.medicines)

    @cached_property
    def ordered_services(self) -> list[Members]:
        """Active service requests and those drafted in this session."""
        requests = [
            r
            for r in self._records.of(resources.ServiceRequest)
            if statuses.code_of("order", r.status) in ("active", None) and changed_meaning(r) is None
        ]
        requests += [r for r in self._drafted if isinstance(r, resources.ServiceRequest)]
        return [self.members_of(r.code) for r in requests if not r.do_not_perform]

    def order_json(self, reference: str) -> bytes | None:
        """A MedicationRequest as it was sent, for a change of it; None where it is not at hand."""
        return self._records.order_json(reference)


def _open(facts: Iterable[F]) -> list[F]:
    return [fact for fact in facts if fact.members or fact.may_mean]


def _newest(medicine: Medicine) -> float:
    when = medicine.start or medicine.end
    return when.latest.timestamp() if when else 0.0

"""What is known about the patient at a moment, indexed by value set; every list says whether it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cds_service import units
from cds_service.chart import allergies, medicines, observations
from cds_service.chart.facts import Act, Allergy, BySet, Measurement, Medicine, Members, Problem, Symptom, Weight
from cds_service.chart.reading import Reading
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import dates, resources
from cds_service.fhir.dates import When
from cds_service.fhir.medication import Contained
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Records
from cds_service.fhir.resources import CodeableConcept, Quantity
from cds_service.lazy import cached_property
from cds_service.terminology.valuesets import Member, ValueSets

F = TypeVar("F", Problem, Allergy)

_USABLE_WEIGHT = frozenset({"final", "amended", "corrected", None})
_NEVER_COUNTS = frozenset({"entered-in-error", "refuted"})
_ACTIVE = frozenset({"active", "recurrence", "relapse"})
EXPOSED = "exposure"
"""Stands in `Chart.on_record` where a drug that is judged was given."""
_WEIGHT_SETS = {
    "obs_weight_measured": "measured",
    "obs_weight_stated": "stated",
    "obs_weight_estimated": "estimated",
}


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

    @property
    def patient_id(self) -> str:
        return self._records.patient_id

    @property
    def encounter_id(self) -> str | None:
        return self._encounter_id

    def query_of(self, observation_set: str) -> str:
        """The key of the query that asks for a set of observations."""
        return self._query_of.get(observation_set.partition("/")[0], "results")

    def gap(self, key: str) -> str | None:
        return self._gaps.get(key)

    @cached_property
    def _gaps(self) -> Mapping[str, str]:
        """Lists that were not delivered whole, and a problem list that says only that nothing is known."""
        if not self.problems and any(self.says_unknown(c.code) for c in self._records.of(resources.Condition)):
            return {"conditions": "it says that nothing is known", **self._records.gaps}
        return self._records.gaps

    def was_not_sent(self, key: str) -> bool:
        """Whether the list has its gap because the client did not send it and there is nobody to ask."""
        return key in self._records.not_sent

    @cached_property
    def on_record(self) -> frozenset[str]:
        """The value sets that anything here is in or may be in, and the query keys whose lists are not complete.

        What is not among them is absent as recorded. May be in: by words without a code, where the set itself has no
        code yet, and where the query for its observations was not fully answered.
        """
        gaps = self._gaps
        by_set = (self.problems_by_set, self.allergies_by_set, self.acts_by_set, self.medicines_by_set)
        found = self.valuesets.without_codes.union(gaps, self._measurements, *(facts.sets for facts in by_set))
        for key, opened in (("conditions", self.open_problems), ("allergies", self.open_allergies)):
            found = found.union(*({key} if fact.may_mean is None else fact.may_mean for fact in opened))
        events = (event.event for event in self._records.of(resources.AdverseEvent))
        found |= self.members([*observations.answers(self._records), *events]).keys()
        if gaps:
            found |= {name for name, key in self._query_of.items() if key in gaps}
        if any(medicine.given and medicine.identity is not None for medicine in self.medicines):
            found |= {EXPOSED}
        return found

    # Patient ----------------------------------------------------------------------------------------------

    @cached_property
    def patient(self) -> resources.Patient | None:
        return next(iter(self._records.of(resources.Patient)), None)

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
        gender = self.patient.gender if self.patient else None
        return gender if gender in ("male", "female") else None

    # Observations -----------------------------------------------------------------------------------------

    @cached_property
    def _measurements(self) -> Mapping[str, list[Measurement]]:
        return observations.by_set(self, self._records)

    def measurements(self, name: str) -> list[Measurement]:
        """All of a value set, or of a group of it (obs_thyroid/tsh), newest first."""
        return self._measurements.get(name, [])

    @cached_property
    def weights(self) -> list[Weight]:
        """Measured ones newest first; stated and estimated ones only where there is no measured one.

        Of weights of one moment the lightest comes first, whatever order they were sent in.
        """
        sent = self._records.of(resources.Observation)
        unusable = {o.reference for o in sent if o.status not in _USABLE_WEIGHT}
        for name, basis in _WEIGHT_SETS.items():
            found = [m for m in self.measurements(name) if m.reference not in unusable]
            if found:
                weights = sorted((_weight(m, basis) for m in found), key=lambda weight: weight.kg or 0)
                return sorted(weights, key=lambda weight: weight.when.latest, reverse=True)
        return []

    # Problems, allergies, procedures ----------------------------------------------------------------------

    @cached_property
    def problems(self) -> list[Problem]:
        return [p for c in self._records.of(resources.Condition) if (p := self._problem(c)) is not None]

    @cached_property
    def problems_by_set(self) -> BySet[Problem]:
        return BySet(self.problems)

    @cached_property
    def open_problems(self) -> list[Problem]:
        """Active problems that may mean more than they say: by words without a known code, or without either."""
        return _open(problem for problem in self.problems if problem.active)

    @cached_property
    def open_allergies(self) -> list[Allergy]:
        """As open_problems."""
        return _open(self.allergies)

    def _problem(self, condition: resources.Condition) -> Problem | None:
        verification = condition.verification_status.simple_code() if condition.verification_status else None
        if verification in _NEVER_COUNTS or self.says_unknown(condition.code):
            return None
        status = condition.clinical_status.simple_code() if condition.clinical_status else None
        ended = bool(
            condition.abatement_date_time
            or condition.abatement_period
            or condition.abatement_string
            or condition.abatement_boolean
        )
        onset = condition.onset_date_time or (condition.onset_period.start if condition.onset_period else None)
        when = self.when(onset) or self.when(condition.recorded_date)
        if when is not None and self.is_future(when):
            self.note(f"a problem dated in the future was left out ({condition.reference})")
            return None
        placed = self.placement(condition.code)
        return Problem(
            name=(condition.code.name if condition.code else None) or "problem without a name",
            members=placed.members,
            may_mean=placed.may_mean,
            active=status in _ACTIVE if status else not ended,
            assumed_active=status is None and not ended,
            when=when,
            reference=condition.reference,
        )

    @cached_property
    def symptoms(self) -> list[Symptom]:
        """Complaints that somebody affirmed: observations, active problems, adverse events that happened."""
        return observations.symptoms(self, self._records, self.problems)

    @cached_property
    def allergies(self) -> list[Allergy]:
        """The active ones, confirmed or not."""
        return [
            allergies.read(allergy, self)
            for allergy in self._counting_allergies
            if _code(allergy.clinical_status) in ("active", None) and not self.says_unknown(allergy.code)
        ]

    @cached_property
    def allergies_by_set(self) -> BySet[Allergy]:
        return BySet(self.allergies)

    @property
    def has_allergy_list(self) -> bool:
        """Any entry that says something, also that there is no known allergy."""
        return any(allergies.says_something(allergy, self) for allergy in self._counting_allergies)

    @cached_property
    def _counting_allergies(self) -> list[resources.AllergyIntolerance]:
        return [
            a
            for a in self._records.of(resources.AllergyIntolerance)
            if _code(a.verification_status) not in _NEVER_COUNTS
        ]

    @cached_property
    def acts(self) -> list[Act]:
        return [
            Act(
                name=(p.code.name if p.code else None) or "procedure",
                members=self.members([p.code]),
                in_progress=p.status == "in-progress",
                when=self._performed(p),
                this_encounter=self._is_this_encounter(p.encounter),
                reference=p.reference,
            )
            for p in self._records.of(resources.Procedure)
            if p.status in ("completed", "in-progress", None)
        ]

    @cached_property
    def acts_by_set(self) -> BySet[Act]:
        return BySet(self.acts)

    def _performed(self, procedure: resources.Procedure) -> When | None:
        period = procedure.performed_period
        texts = (procedure.performed_date_time, period.end if period else None, period.start if period else None)
        return next((when for text in texts if (when := self.when(text))), None)

    # Encounter --------------------------------------------------------------------------------------------

    @cached_property
    def encounter(self) -> resources.Encounter | None:
        """The one in context; else the only one, or the only one in progress."""
        found = self._records.of(resources.Encounter)
        if self._encounter_id:
            return next((e for e in found if e.id == self._encounter_id), None)
        current = [e for e in found if e.status in ("in-progress", "arrived", "triaged")]
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
        encounter_class = self.encounter.encounter_class
        if encounter_class and encounter_class.system and encounter_class.code:
            found.update(self.valuesets.members_of(encounter_class.system, encounter_class.code))
        contained = Contained(self.encounter.contained)
        for place in self.encounter.location:
            if place.status not in ("active", None) or (place.period and place.period.end):
                continue
            location = contained.find(place.location) or self._records.resolve(place.location)
            types = location.type if isinstance(location, resources.Location) else []
            found.update(self.members([*types, place.physical_type]))
        return found

    def _is_this_encounter(self, reference: resources.Reference | None) -> bool:
        if reference is None or not reference.reference or self.encounter is None or not self.encounter.id:
            return False
        return reference.reference.partition("/_history/")[0].rsplit("/", 1)[-1] == self.encounter.id

    # Medicines --------------------------------------------------------------------------------------------

    @cached_property
    def medicines(self) -> list[Medicine]:
        """Active orders, the drafts of this session, what is taken, given or running; newest first."""
        found = []
        for medicine in medicines.of_chart(self, self._records, self._drafted):
            if medicine.given and medicine.start and self.is_future(medicine.start):
                self.note(f"a medicine given in the future was left out ({medicine.reference})")
            else:
                found.append(medicine)
        return sorted(found, key=_newest, reverse=True)

    @cached_property
    def medicines_by_set(self) -> BySet[Medicine]:
        return BySet(self.medicines)

    def ordered_services(self) -> list[Members]:
        """Active service requests and those drafted in this session."""
        requests = [r for r in self._records.of(resources.ServiceRequest) if r.status in ("active", None)]
        requests += [r for r in self._drafted if isinstance(r, resources.ServiceRequest)]
        return [self.members([r.code]) for r in requests if not r.do_not_perform]

    def order_json(self, reference: str) -> bytes | None:
        """A MedicationRequest as it was sent, for a change of it; None where it is not at hand."""
        return self._records.order_json(reference)


def _open(facts: Iterable[F]) -> list[F]:
    return [fact for fact in facts if fact.members or fact.may_mean or fact.may_mean is None]


def _code(concept: CodeableConcept | None) -> str | None:
    return concept.simple_code() if concept else None


def _newest(medicine: Medicine) -> float:
    when = medicine.start or medicine.end
    return when.latest.timestamp() if when else 0.0


def written(quantity: Quantity | None) -> str:
    """A quantity as it was written, for a card."""
    if quantity is None or quantity.value is None:
        return "no value"
    return f"{quantity.comparator or ''}{quantity.value} {quantity.unit_text or '(no unit)'}"


def _weight(measurement: Measurement, basis: str) -> Weight:
    quantity = measurement.quantity
    kg = problem = None
    if quantity is None or quantity.value is None:
        problem = "it has no value"
    elif quantity.comparator:
        problem = "it is not an exact value"
    else:
        try:
            kg = units.quantity(quantity.value, quantity.unit_text or "", "body_weight").value
        except units.UnitError as error:
            problem = str(error)
        if kg is not None and kg <= 0:
            kg, problem = None, "it is not above zero"
    return Weight(kg, basis, measurement.when, measurement.reference, written(quantity), problem)  # type: ignore[arg-type]

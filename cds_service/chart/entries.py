"""Problems, allergies and procedures: each entry is a fact of the chart, does not count, or is left open."""

from __future__ import annotations

from collections.abc import Mapping

from cds_service.chart.account import Subject, Unplaced, in_words
from cds_service.chart.facts import Act, Allergy, Problem, name_of, on
from cds_service.chart.reading import Reading
from cds_service.fhir import resources, statuses
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.fhir.dates import When
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.statuses import NEVER_COUNTS
from cds_service.says import Said, Says
from cds_service.says import entries as says
from cds_service.terminology.valuesets import Placement

_PAST = frozenset({"remission", "resolved", "inactive"})
_GOES_ON = frozenset({"active", "recurrence", "relapse"})
_NOT_PERFORMED = frozenset({"entered-in-error", "preparation", "not-done", "on-hold", "stopped"})
_SUBJECTS: Mapping[str, Subject] = {
    "Condition": "problem",
    "AllergyIntolerance": "allergy",
    "Procedure": "procedure",
}
_TITLES: Mapping[Subject, Said] = {
    "problem": says.PROBLEM,
    "allergy": says.ALLERGY_ENTRY,
    "procedure": says.PROCEDURE,
}


def read_problem(condition: resources.Condition, chart: Reading) -> Problem | None:
    """None for one that does not count, or that cannot be placed: that goes to the account."""
    status = statuses.code_of("condition", condition.verification_status, condition.clinical_status, condition.status)
    placed = chart.placement(condition.code)
    noted = _in_notes(condition, placed, chart)
    if noted is not None:
        placed = noted[1]
    if status in NEVER_COUNTS or chart.is_unknown(placed):
        chart.account.irrelevant["Condition"] += 1
        return None
    ended = _has_ended(condition, chart)
    onset = condition.onset_date_time or (condition.onset_period.start if condition.onset_period else None)
    when = chart.when(onset) or chart.when(condition.recorded_date)
    name = name_of(condition.code, placed.members, says.NAMELESS_PROBLEM)
    if noted is not None:
        name = says.WITH_REMARK(name, in_words(noted[0]))
    if _is_open(chart, condition, name, placed, when):
        return None
    chart.account.placed["Condition"] += 1
    return Problem(
        name=name,
        members=placed.members,
        may_mean=placed.may_mean,
        active=status not in _PAST if status else not ended,
        assumed_active=status is None and not ended,
        when=when,
        reference=condition.reference,
    )


def _has_ended(condition: resources.Condition, chart: Reading) -> bool:
    """Whether it says that it is over: an end that lies ahead, as the date of a delivery, or that is no date is none.

    Words say so whatever they are, unless they are those of a status that says that it goes on.
    """
    period = condition.abatement_period
    ends = (condition.abatement_date_time, (period.end or period.start) if period else None)
    if any((end := chart.when(each)) is not None and not chart.is_future(end) for each in ends):
        return True
    words = condition.abatement_string
    is_said = bool(words) and statuses.code_of("condition", words) not in _GOES_ON
    return is_said or bool(condition.abatement_boolean)


def _in_notes(condition: resources.Condition, placed: Placement, chart: Reading) -> tuple[str, Placement] | None:
    """The note that may mean more than the words of an entry without a code ("see note"), and what both may mean."""
    if condition.code is not None and condition.code.codes:
        return None
    said = placed.may_mean or frozenset()
    for note in condition.note:
        found = chart.placement(CodeableConcept(text=note.text)) if note.text else None
        if found is not None and found.may_mean and not found.may_mean <= said:
            return note.text or "", Placement(placed.members, said | found.may_mean)
    return None


def place_allergy(entry: resources.AllergyIntolerance, allergy: Allergy, chart: Reading) -> Allergy | None:
    """As read_problem, of an entry that was read."""
    status = statuses.code_of("allergy", entry.clinical_status, entry.status)
    if status in _PAST or chart.says_unknown(entry.code):
        chart.account.irrelevant["AllergyIntolerance"] += 1
        return None
    if _is_open(chart, entry, allergy.name, Placement(allergy.members, allergy.may_mean), None):
        return None
    chart.account.placed["AllergyIntolerance"] += 1
    return allergy


def read_act(procedure: resources.Procedure, chart: Reading, this_encounter: bool) -> Act | None:
    """As read_problem."""
    status = statuses.code_of("procedure", procedure.status)
    if status in _NOT_PERFORMED:
        chart.account.irrelevant["Procedure"] += 1
        return None
    placed, when = chart.placement(procedure.code), _performed(procedure, chart)
    name = name_of(procedure.code, placed.members, says.NAMELESS_PROCEDURE)
    why = says.NOT_KNOWN_WHETHER_DONE if procedure.status and status is None else None
    if _is_open(chart, procedure, name, placed, when, why):
        return None
    chart.account.placed["Procedure"] += 1
    return Act(
        name=name,
        members=placed.members,
        in_progress=status == "in-progress",
        when=when,
        this_encounter=this_encounter,
        reference=procedure.reference,
        may_mean=placed.may_mean,
    )


def _performed(procedure: resources.Procedure, chart: Reading) -> When | None:
    period = procedure.performed_period or procedure.occurrence_period
    at = procedure.performed_date_time or procedure.occurrence_date_time
    texts = (at, period.end if period else None, period.start if period else None)
    return next((when for text in texts if (when := chart.when(text))), None)


def _is_open(
    chart: Reading,
    resource: resources.Condition | resources.AllergyIntolerance | resources.Procedure,
    name: Says,
    placed: Placement,
    when: When | None,
    why: Said | None = None,
) -> bool:
    """Whether an entry cannot be placed; it then goes to the account. One that says nothing may be anything."""
    kind = type(resource).__name__
    subject = _SUBJECTS[kind]
    says_nothing = not placed.members and placed.may_mean is None
    why = changed_meaning(resource) or why
    if why is None and when is not None and chart.is_future(when):
        why = says.AHEAD(_TITLES[subject])
    if why is None and says_nothing:
        why = says.SAYS_NOTHING
    if why is None:
        return False
    sets = None if says_nothing else frozenset(placed.members) | (placed.may_mean or frozenset())
    if sets is not None and not sets:
        chart.account.irrelevant[kind] += 1
        return True
    said = says.OPEN_ENTRY(name, _TITLES[subject], on(when, chart.now), why)
    urgent = subject == "allergy" and says_nothing
    chart.account.leave_open(Unplaced(kind, subject, resource.reference, _TITLES[subject], said, sets, when, urgent))
    return True

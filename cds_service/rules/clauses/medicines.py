"""Clauses over medicines: ordered, drafted, running or given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from cds_service.chart.account import Unplaced
from cds_service.chart.facts import Fact, Medicine, coded, on
from cds_service.deadline import in_stretches
from cds_service.fhir.dates import When
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.clauses.verdict import (
    NO,
    QUESTION,
    Verdict,
    evaluates,
    in_sets,
    left_open,
    not_found,
    nothing_found,
)
from cds_service.rules.outcome import Reason, not_placed, undelivered
from cds_service.says import findings as says
from cds_service.says.entries import AND_WHY, DRAFTED, GIVEN, MEDICINE, ORDERED, RUNNING, TAKEN

_STRETCH = 200
"""Medicines that are looked at, after which shorter calls go first."""


@evaluates(model.MedicineIs)
def _(clause: model.MedicineIs, case: Case, since: datetime | None = None) -> Verdict:
    of_sets = in_stretches(case.chart.medicines_by_set.of(clause.sets), _STRETCH)
    matches = [m for m in of_sets if _medicine_matches(m, clause, case)]
    if matches and (clause.only or clause.single_dose):
        return _nothing_else(matches, clause, case)
    certain = [m for m in matches if m.disagreement is None]
    if _enough(certain, clause, case):
        return Verdict(True, facts=tuple(_medicine_fact(m, case.now) for m in in_stretches(certain, _STRETCH)))
    if _enough(matches, clause, case):
        return _disagreeing(m for m in matches if m.disagreement is not None)
    if undated := _undated(clause, case):
        return Verdict(None, reasons=_without_date(undated))
    entries = case.chart.account.open(clause.sets, "medicine", counts=lambda entry: _may_match(entry, clause, case))
    return nothing_found(case, entries, *medicine_lists(clause))


def medicine_lists(clause: model.MedicineIs) -> tuple[str, ...]:
    """The queries whose lists may hold such a medicine."""
    if clause.running or clause.given:
        return ("administrations",)
    return ("medications", "medicationStatements", "administrations")


def _is_given(entry: Unplaced) -> bool:
    return entry.kind == "MedicationAdministration"


def _may_match(entry: Unplaced, clause: model.MedicineIs, case: Case) -> bool:
    if entry.over:
        looks_back = clause.within is not None and not (clause.running or clause.given)
        return looks_back and entry.when is not None and _is_within(entry.when, clause.within or "", case)
    return _is_given(entry) or not (clause.running or clause.given)


def _is_within(when: When, window: str, case: Case) -> bool:
    return when.age(case.now) <= case.book.window(window, case.now)


def _undated(clause: model.MedicineIs, case: Case) -> list[Medicine]:
    """Those that would match but for a date that nobody recorded."""
    if clause.started_within is not None:
        at_any_time = msgspec.structs.replace(clause, started_within=None)
        candidates = [m for m in case.chart.medicines_by_set.of(clause.sets) if m.start is None]
        return [m for m in candidates if _medicine_matches(m, at_any_time, case)]
    if clause.within is None or clause.running:
        return []
    candidates = [m for m in case.chart.medicines_by_set.of(clause.sets) if m.given and m.end is None]
    return [m for m in candidates if m.status != "in-progress" and _is_such(m, clause)]


def _enough(matches: Sequence[Medicine], clause: model.MedicineIs, case: Case) -> bool:
    if clause.at_least is None:
        return bool(matches)
    return len(_different(matches, clause.sets)) >= case.number(clause.at_least)


def _nothing_else(matches: Sequence[Medicine], clause: model.MedicineIs, case: Case) -> Verdict:
    """That there is no more than what was found can be told only from complete lists."""
    if doubtful := [m for m in matches if m.disagreement is not None]:
        return _disagreeing(doubtful)
    if clause.only and not all(in_sets(m.members, clause.only) for m in matches):
        return NO
    if clause.single_dose and not _one_dose(matches):
        return NO
    if entries := case.chart.account.open(clause.sets, "medicine", counts=lambda entry: not entry.over):
        return Verdict(None, reasons=left_open(entries))
    if (gap := not_found(case, *medicine_lists(clause))).holds is None:
        return gap
    return Verdict(True, facts=tuple(_medicine_fact(m, case.now) for m in matches))


def _one_dose(medicines: Sequence[Medicine]) -> bool:
    """One order for one dose, or one dose that was given; what was given on that order is the same dose."""
    ordered = [m for m in medicines if not m.given]
    on_orders = {m.reference for m in ordered}
    single, *more = [*ordered, *(m for m in medicines if m.given and m.order not in on_orders)]
    if more:
        return False
    if single.given:
        return single.status == "completed"
    timings = [dosage.timing for dosage in single.dosage_instruction]
    if len(timings) != 1 or timings[0] is None:
        return False
    repeat = timings[0].repeat
    return repeat.count == 1 if repeat is not None else len(timings[0].event) == 1


def _disagreeing(medicines: Iterable[Medicine]) -> Verdict:
    """Codes that name different drugs say neither that a medicine is of a set nor that it is not."""
    return Verdict(
        None, reasons=tuple(Reason(QUESTION, AND_WHY(m.name, m.disagreement or ""), "not-placed") for m in medicines)
    )


def _medicine_matches(medicine: Medicine, clause: model.MedicineIs, case: Case) -> bool:
    if clause.running:
        return medicine.given and medicine.status == "in-progress"
    if (clause.given and not medicine.given) or not _is_such(medicine, clause):
        return False
    if clause.longer_ago is not None and not _is_longer_ago(medicine, clause.longer_ago, case):
        return False
    if clause.started_within is not None:
        window = case.book.window(clause.started_within, case.now)
        return medicine.start is not None and medicine.start.age(case.now) <= window
    if medicine.given and medicine.status != "in-progress":
        if clause.within is None or medicine.end is None:
            return False
        return medicine.end.age(case.now) <= case.book.window(clause.within, case.now)
    return True


def _is_longer_ago(medicine: Medicine, limit: str, case: Case) -> bool:
    window = case.book.window(limit, case.now)
    return medicine.given and medicine.start is not None and medicine.start.age(case.now) > window


def _is_such(medicine: Medicine, clause: model.MedicineIs) -> bool:
    """By the route and the reason that are asked for, whether a draft counts, and by what it must not be."""
    if clause.in_chart and medicine.drafted:
        return False
    if clause.unless_in and in_sets(medicine.members, clause.unless_in):
        return False
    if clause.routes and not medicine.routes.intersection(clause.routes):
        return False
    return not clause.reasons or in_sets(medicine.reasons, clause.reasons)


def _different(medicines: Iterable[Medicine], sets: Sequence[str]) -> set[str]:
    """The ingredients that they are in the sets for."""
    names = {reference.partition("/")[0] for reference in sets}
    return {member.code for m in medicines for name, member in m.members.items() if name in names}


def _medicine_fact(medicine: Medicine, now: datetime) -> Fact:
    state = DRAFTED if medicine.drafted else GIVEN if medicine.given else ORDERED
    if medicine.given and medicine.status == "in-progress":
        state = RUNNING
    elif medicine.taken:
        state = TAKEN
    told = says.IN_STATE_BY_NAME if medicine.by_name else says.IN_STATE
    when = medicine.end if medicine.taken and medicine.given else medicine.start  # what is over counts from its end
    used = coded("medicine", medicine.members, when)
    return Fact(told(medicine.name, state, on(when, now)), medicine.reference, used=used)


@evaluates(model.ExposureIs)
def _(clause: model.ExposureIs, case: Case, since: datetime | None = None) -> Verdict:
    ours = [m for m in case.chart.medicines if m.given and case.is_ours(m.identity)]
    if clause.running or clause.running_longer_than is not None:
        running = [m for m in ours if m.status == "in-progress" and _has_run(m, clause, case)]
        if running:
            return _exposed(running, case)
        undated = [m for m in ours if m.status == "in-progress" and m.start is None]
        return Verdict(None, reasons=_without_date(undated)) if undated else _none_given(case)
    if clause.within is not None:
        window = case.book.window(clause.within, case.now)
        ours = [m for m in ours if m.start is not None and m.start.age(case.now) <= window]
    counted = [m for m in ours if m.status in ("completed", "in-progress", "stopped")]
    days = {m.start.latest.astimezone(case.chart.zone).date() for m in counted if m.start is not None}
    if clause.days is not None and len(days) >= case.number(clause.days):
        return Verdict(True, (Fact(says.GIVEN_ON_DAYS(str(len(days)))),))
    if clause.doses is not None and len(counted) >= case.number(clause.doses):
        return Verdict(True, (Fact(says.GIVEN_TIMES(str(len(counted)))),))
    return _none_given(case)


def _none_given(case: Case) -> Verdict:
    entries = case.chart.account.open(case.drug_sets, "medicine", counts=_is_given)
    return nothing_found(case, entries, "administrations")


def around_doses(case: Case, after: str) -> tuple[Callable[[When], bool], tuple[Reason, ...]]:
    """Whether a moment lies between the start of a dose that is over and `after` its end.

    Also why that cannot be told of every dose.
    """
    window = case.book.window(after, case.now)
    over = [m for m in case.chart.medicines if m.given and case.is_ours(m.identity) and m.status != "in-progress"]
    spans = [(m.start.earliest, m.end.latest + window) for m in over if m.start is not None and m.end is not None]
    unread = (*unplaced_doses(case, given=True), *undelivered(case.chart, "administrations"))
    return lambda when: any(begun <= when.latest and when.earliest <= ends for begun, ends in spans), unread


def unplaced_doses(case: Case, given: bool = False) -> tuple[Reason, ...]:
    """The entries that may be orders or doses of the drug, or were doses at a time that nobody recorded.

    With `given`, only doses.
    """
    undated = [m for m in case.chart.medicines if m.given and case.is_ours(m.identity) and m.end is None]
    entries = case.chart.account.open(
        case.drug_sets, "medicine", counts=_is_given if given else lambda entry: not entry.over
    )
    return (
        *left_open(entries),
        *_without_date(m for m in undated if m.status != "in-progress"),
    )


def _without_date(medicines: Iterable[Medicine]) -> tuple[Reason, ...]:
    return tuple(not_placed(AND_WHY(m.name, says.DATE_NOT_KNOWN), m.reference, short=MEDICINE) for m in medicines)


def _has_run(medicine: Medicine, clause: model.ExposureIs, case: Case) -> bool:
    if clause.running_longer_than is None:
        return True
    window = case.book.window(clause.running_longer_than, case.now)
    return medicine.start is not None and medicine.start.age(case.now) > window


def _exposed(medicines: Sequence[Medicine], case: Case) -> Verdict:
    return Verdict(True, facts=tuple(_medicine_fact(m, case.now) for m in medicines))

"""Clauses over what is recorded of a patient: problems, procedures, allergies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from cds_service.chart.facts import Act, Fact, Members, Problem, on
from cds_service.fhir.dates import When
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.clauses.verdict import (
    QUESTION,
    Verdict,
    evaluate,
    in_sets,
    not_found,
    nothing_found,
    unknown,
    without_codes,
)
from cds_service.rules.outcome import not_placed
from cds_service.rules.running import times_rate_at


@evaluate.register
def _(clause: model.ConditionIs, case: Case, since: datetime | None = None) -> Verdict:
    matches = [p for p in case.chart.problems_by_set.of(clause.sets) if _problem_matches(p, clause, case)]
    if matches:
        return Verdict(True, facts=tuple(_problem_fact(p, case.now) for p in matches))
    if clause.within is not None and (undated := _undated(clause, case)):
        return unknown("conditions", f"{undated.name} has no date")
    if clause.status != "inactive" and clause.undated != "only":
        for problem, meanings in case.chart.open_problems:
            if question := _question(clause, problem.members, meanings):
                return unknown(QUESTION, f"a problem {question}: {problem.name}")
    return nothing_found("conditions", case, case.chart.account.open((*clause.sets, *clause.asks), "problem"))


def _undated(clause: model.ConditionIs, case: Case) -> Problem | None:
    """A problem that would match but for a date that nobody recorded."""
    undated = [p for p in case.chart.problems_by_set.of(clause.sets) if p.when is None]
    at_any_time = msgspec.structs.replace(clause, within=None) if undated else clause
    return next((p for p in undated if _problem_matches(p, at_any_time, case)), None)


def _question(clause: model.ConditionIs | model.AllergyIs, members: Members, meanings: frozenset[str]) -> str | None:
    """Why an entry may be meant that is in none of the clause's sets."""
    if in_sets(members, clause.asks):
        return "does not say enough"
    if any(reference.partition("/")[0] in meanings for reference in (*clause.sets, *clause.asks)):
        return "stands in words only"
    return None


def _problem_matches(problem: Problem, clause: model.ConditionIs, case: Case) -> bool:
    found = [problem.members[s.partition("/")[0]] for s in clause.sets if in_sets(problem.members, [s])]
    counting = [member for member in found if clause.history or not member.history]
    if not counting or in_sets(problem.members, clause.unless_in):
        return False
    past = not problem.active or all(member.history for member in counting)
    if (clause.status == "active" and past) or (clause.status == "inactive" and not past):
        return False
    if clause.undated == "only":
        return problem.when is None
    if clause.within is not None:
        if problem.when is None:
            return clause.undated == "yes"
        if problem.when.age(case.now) > case.book.window(clause.within, case.now):
            return False
    if clause.unless_later and problem.when is not None:
        later = [evaluate(part, case, problem.when.latest) for part in clause.unless_later]
        return not all(verdict.holds for verdict in later)
    return True


def _problem_fact(problem: Problem, now: datetime) -> Fact:
    status = "active" if problem.active else "not active"
    if problem.assumed_active:
        status = "no status recorded, counted as active"
    return Fact(f"{problem.name} ({status}, {on(problem.when, now)})", problem.reference)


@evaluate.register
def _(clause: model.ProcedureIs, case: Case, since: datetime | None = None) -> Verdict:
    matches = [a for a in case.chart.acts_by_set.of(clause.sets) if _act_matches(a, clause, case)]
    if matches:
        return Verdict(True, facts=tuple(Fact(f"{a.name} ({on(a.when, case.now)})", a.reference) for a in matches))
    if clause.within is not None:
        undated = [a for a in case.chart.acts_by_set.of(clause.sets) if a.when is None and not a.in_progress]
        if matching := [a for a in undated if _act_matches(a, msgspec.structs.replace(clause, within=None), case)]:
            return Verdict(
                None,
                reasons=tuple(
                    not_placed(f"{a.name}: its date is not known", a.reference, short="a procedure") for a in matching
                ),
            )
    return nothing_found("procedures", case, case.chart.account.open(clause.sets, "procedure"))


def _act_matches(act: Act, clause: model.ProcedureIs, case: Case) -> bool:
    if clause.this_encounter and not act.this_encounter:
        return False
    if clause.within is not None and not act.in_progress:
        window = case.book.window(clause.within, case.now)
        if act.when is None or act.when.age(case.now) > window:
            return False
    later = [
        other
        for other in case.chart.acts_by_set.of(clause.unless_later)
        if other.when is not None and (act.when is None or other.when.latest > act.when.latest)
    ]
    return not later


@evaluate.register
def _(clause: model.AllergyIs, case: Case, since: datetime | None = None) -> Verdict:
    of_sets = case.chart.allergies_by_set.of(clause.sets)
    matches = [a for a in of_sets if clause.kind == "any" or a.intolerance == (clause.kind == "intolerance")]
    if matches:
        return Verdict(True, facts=tuple(Fact(a.name, a.reference) for a in matches))
    for allergy, meanings in case.chart.open_allergies:
        if question := _question(clause, allergy.members, meanings):
            return unknown(QUESTION, f"an allergy {question}: {allergy.name}")
    return nothing_found("allergies", case, case.chart.account.open((*clause.sets, *clause.asks), "allergy"))


@evaluate.register
def _(clause: model.SymptomIs, case: Case, since: datetime | None = None) -> Verdict:
    if missing := without_codes(clause.sets, case):
        return missing
    window = case.book.window(clause.within, case.now)
    found = [
        s for s in case.chart.symptoms if in_sets(s.members, clause.sets) and case.chart.age_within(s.when, window)
    ]
    if found and clause.answered_by_cut is not None:
        most = 1 - case.number(clause.answered_by_cut) / 100
        times = [times_rate_at(case, s.when.earliest) for s in found]
        return Verdict(all(each is not None and each <= most for each in times))
    if found:
        return Verdict(True, facts=tuple(Fact(f"{s.name} ({on(s.when, case.now)})", s.reference) for s in found))
    first = not_found("conditions", case)
    key = "conditions" if first.holds is None else case.chart.query_of(clause.sets[0])
    return symptoms_left_open(key, clause, case, lambda when: case.chart.may_be_within(when, window))


def symptoms_left_open(
    key: str, clause: model.SymptomIs, case: Case, counts: Callable[[When | None], bool]
) -> Verdict:
    """Nothing was found, where complaints may be meant whose answer or date is not known. `counts` by their date."""
    entries = case.chart.account.open(
        clause.sets, "reading", "event", "problem", counts=lambda entry: counts(entry.when)
    )
    coarse = tuple(
        not_placed(f"{s.name} ({on(s.when, case.now)}): its date says too little", s.reference, short=s.name)
        for s in case.chart.symptoms
        if s.when.is_coarse and in_sets(s.members, clause.sets) and counts(s.when)
    )
    verdict = nothing_found(key, case, entries)
    return Verdict(None, reasons=(*coarse, *verdict.reasons)) if coarse else verdict

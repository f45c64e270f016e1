"""Clauses over what is recorded of a patient: problems, procedures, allergies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from cds_service.chart.facts import Act, Allergy, Fact, Problem, Symptom, UsedKind, coded, on
from cds_service.fhir.dates import When
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.clauses.medicines import around_doses, unplaced_doses
from cds_service.rules.clauses.verdict import (
    NO,
    QUESTION,
    Verdict,
    evaluate,
    evaluates,
    in_sets,
    left_open,
    not_found,
    nothing_found,
    reasons_of,
    without_codes,
)
from cds_service.rules.outcome import Reason, not_placed
from cds_service.rules.running import times_rate_at
from cds_service.says import One
from cds_service.says import findings as says
from cds_service.says.entries import AND_WHY, DATED, PROCEDURE


@evaluates(model.ConditionIs)
def _(clause: model.ConditionIs, case: Case, since: datetime | None = None) -> Verdict:
    found = [p for p in case.chart.problems_by_set.of(clause.sets) if _problem_matches(p, clause, case)]
    still = [(p, verdict) for p in found if (verdict := _is_still_there(p, clause, case)).holds]
    if still:
        certain = any(not verdict.reasons for _, verdict in still)
        reasons = () if certain else reasons_of(verdict for _, verdict in still)
        return Verdict(True, tuple(_problem_fact(p, case.now) for p, _ in still), reasons)
    if clause.within is not None and (undated := _undated(clause, case)):
        return Verdict(
            None, reasons=(not_placed(says.HAS_NO_DATE(undated.name), undated.reference, short=undated.name),)
        )
    may_be = [p for p in case.chart.open_problems if clause.status in ("any", "active" if p.active else "inactive")]
    if clause.status != "inactive":
        may_be += case.chart.reasons_of_encounter
    asked = _asked(clause, may_be) if clause.undated != "only" else ()
    entries = case.chart.account.open((*clause.sets, *clause.asks), "problem")
    return _untold(asked, nothing_found(case, entries, "conditions"))


def _undated(clause: model.ConditionIs, case: Case) -> Problem | None:
    """A problem that would match but for a date that nobody recorded."""
    undated = [p for p in case.chart.problems_by_set.of(clause.sets) if p.when is None]
    at_any_time = msgspec.structs.replace(clause, within=None) if undated else clause
    return next((p for p in undated if _problem_matches(p, at_any_time, case)), None)


def _asked(
    clause: model.ConditionIs | model.AllergyIs | model.SymptomIs, entries: Iterable[Problem | Allergy]
) -> tuple[Reason, ...]:
    """Entries that may be meant and are in none of the clause's sets, each in its own words."""
    found = ((entry, _question(clause, entry)) for entry in entries)
    return tuple(
        Reason(QUESTION, question(entry.name), "not-placed", entry.reference, short=entry.name)
        for entry, question in found
        if question
    )


def _question(clause: model.ConditionIs | model.AllergyIs | model.SymptomIs, entry: Problem | Allergy) -> One | None:
    """Why an entry may be meant that is in none of the clause's sets."""
    asks = () if isinstance(clause, model.SymptomIs) else clause.asks
    is_problem = not isinstance(clause, model.AllergyIs)
    if in_sets(entry.members, asks):
        return says.PROBLEM_NOT_ENOUGH if is_problem else says.ALLERGY_NOT_ENOUGH
    if entry.may_mean is None:
        return says.PROBLEM_SAYS_NOTHING if is_problem else says.ALLERGY_SAYS_NOTHING
    if isinstance(entry, Allergy) and entry.doubted:
        return says.ALLERGY_DOUBTED if any(each.partition("/")[0] in entry.may_mean for each in clause.sets) else None
    if any(reference.partition("/")[0] in entry.may_mean for reference in (*clause.sets, *asks)):
        return says.PROBLEM_IN_WORDS if is_problem else says.ALLERGY_IN_WORDS
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
    return True


def _is_still_there(problem: Problem, clause: model.ConditionIs, case: Case) -> Verdict:
    """Whether nothing that was measured later takes the problem away; what cannot be read does not."""
    if not clause.unless_later or problem.when is None:
        return Verdict(True)
    later = [evaluate(part, case, problem.when.latest) for part in clause.unless_later]
    if any(verdict.holds is False for verdict in later):
        return Verdict(True)
    unclear = reasons_of(later)
    return Verdict(bool(unclear), reasons=unclear)


def _problem_fact(problem: Problem, now: datetime) -> Fact:
    status = says.ACTIVE if problem.active else says.NOT_ACTIVE
    if problem.assumed_active:
        status = says.COUNTED_AS_ACTIVE
    used = coded("problem", problem.members, problem.when)
    return Fact(says.IN_STATE(problem.name, status, on(problem.when, now)), problem.reference, used=used)


def _dated(kind: UsedKind, entry: Act | Symptom, now: datetime) -> Fact:
    used = coded(kind, entry.members, entry.when)
    return Fact(DATED(entry.name, on(entry.when, now)), entry.reference, used=used)


@evaluates(model.ProcedureIs)
def _(clause: model.ProcedureIs, case: Case, since: datetime | None = None) -> Verdict:
    acts = [a for a in case.chart.acts_by_set.of(clause.sets) if _act_matches(a, clause, case)]
    matches = [a for a in acts if a.this_encounter or not clause.this_encounter]
    if matches:
        if over := _may_be_over(matches, clause, case):
            return Verdict(None, reasons=over)
        return Verdict(True, facts=tuple(_dated("procedure", act, case.now) for act in matches))
    if acts and case.chart.encounter is None and (unread := not_found(case, "encounter")).holds is None:
        return unread
    if clause.within is not None:
        undated = [a for a in case.chart.acts_by_set.of(clause.sets) if a.when is None and not a.in_progress]
        if matching := [a for a in undated if _act_matches(a, clause, case, True)]:
            return Verdict(None, reasons=_without_date(matching))
    in_words = [a for a in case.chart.open_acts if _may_mean(a, clause.sets) and _act_matches(a, clause, case, True)]
    left = nothing_found(case, case.chart.account.open(clause.sets, "procedure"), "procedures")
    return _untold(_in_words(a for a in in_words if a.this_encounter or not clause.this_encounter), left)


def _may_mean(act: Act, sets: Iterable[str]) -> bool:
    return any(reference.partition("/")[0] in (act.may_mean or ()) for reference in sets)


def _in_words(acts: Iterable[Act]) -> tuple[Reason, ...]:
    return tuple(
        Reason(QUESTION, says.PROCEDURE_IN_WORDS(a.name), "not-placed", a.reference, short=a.name) for a in acts
    )


def _without_date(acts: Iterable[Act]) -> tuple[Reason, ...]:
    return tuple(not_placed(AND_WHY(a.name, says.DATE_NOT_KNOWN), a.reference, short=PROCEDURE) for a in acts)


def _may_be_over(acts: Sequence[Act], clause: model.ProcedureIs, case: Case) -> tuple[Reason, ...]:
    """What may have ended them since, and is in words, without a date, or not understood."""
    if not clause.unless_later:
        return ()
    begun = min((act.when.latest for act in acts if act.when is not None), default=None)
    words = [a for a in case.chart.open_acts if _may_mean(a, clause.unless_later)]
    later = [a for a in words if a.when is None or begun is None or a.when.latest > begun]
    undated = [a for a in case.chart.acts_by_set.of(clause.unless_later) if a.when is None]
    entries = case.chart.account.open(clause.unless_later, "procedure")
    return (*_in_words(later), *_without_date(undated), *left_open(entries))


def _act_matches(act: Act, clause: model.ProcedureIs, case: Case, undated: bool = False) -> bool:
    """Whether it was done in the window and not undone since; one without a date counts where `undated`."""
    if clause.within is not None and not act.in_progress and not (undated and act.when is None):
        window = case.book.window(clause.within, case.now)
        if act.when is None or act.when.age(case.now) > window:
            return False
    later = [
        other
        for other in case.chart.acts_by_set.of(clause.unless_later)
        if other.when is not None and (act.when is None or other.when.latest > act.when.latest)
    ]
    return not later


@evaluates(model.AllergyIs)
def _(clause: model.AllergyIs, case: Case, since: datetime | None = None) -> Verdict:
    of_sets = case.chart.allergies_by_set.of(clause.sets)
    matches = [a for a in of_sets if clause.kind == "any" or a.intolerance == (clause.kind == "intolerance")]
    if matches:
        found = (Fact(a.name, a.reference, used=coded("allergy", a.members)) for a in matches)
        return Verdict(True, facts=tuple(found))
    asked = _asked(clause, case.chart.open_allergies)
    entries = case.chart.account.open((*clause.sets, *clause.asks), "allergy")
    return _untold(asked, nothing_found(case, entries, "allergies"))


@evaluates(model.SymptomIs)
def _(clause: model.SymptomIs, case: Case, since: datetime | None = None) -> Verdict:
    if missing := without_codes(clause.sets, case):
        return missing
    if clause.around_dose is not None and not case.viewing:
        return NO  # how an order goes on after harm is another rule's matter
    window = case.book.window(clause.within, case.now)
    found = [
        s for s in case.chart.symptoms if in_sets(s.members, clause.sets) and case.chart.age_within(s.when, window)
    ]
    unread: tuple[Reason, ...] = ()
    if clause.around_dose is not None and found:
        is_around, unread = around_doses(case, clause.around_dose)
        found = [s for s in found if is_around(s.when)]
    if found and clause.answered_by_cut is not None:
        most = 1 - case.number(clause.answered_by_cut) / 100
        times = [times_rate_at(case, s.when.earliest) for s in found]
        if not all(each is not None and each <= most for each in times):
            return NO
        left = symptoms_left_open(clause, case, lambda when: case.chart.may_be_within(when, window))
        doses = unplaced_doses(case, given=True)
        return _untold(doses, left) if doses or left.reasons else Verdict(True)
    if found:
        return Verdict(True, facts=tuple(_dated("symptom", each, case.now) for each in found))
    asked = [
        p for p in case.chart.open_problems if p.active and (p.when is None or case.chart.age_within(p.when, window))
    ]
    left = symptoms_left_open(clause, case, lambda when: case.chart.may_be_within(when, window))
    return _untold((*_asked(clause, asked), *unread), left)


def symptoms_left_open(clause: model.SymptomIs, case: Case, counts: Callable[[When | None], bool]) -> Verdict:
    """Nothing was found, where complaints may be meant whose answer or date is not known. `counts` by their date."""
    entries = case.chart.account.open(
        clause.sets, "reading", "event", "problem", counts=lambda entry: counts(entry.when)
    )
    coarse = tuple(
        not_placed(AND_WHY(DATED(s.name, on(s.when, case.now)), says.DATE_TOO_COARSE), s.reference, short=s.name)
        for s in case.chart.symptoms
        if s.when.is_coarse and in_sets(s.members, clause.sets) and counts(s.when)
    )
    return _untold(coarse, nothing_found(case, entries, "conditions", *map(case.chart.query_of, clause.sets)))


def _untold(reasons: tuple[Reason, ...], verdict: Verdict) -> Verdict:
    """The verdict, with further reasons for which it cannot be told."""
    return Verdict(None, reasons=(*reasons, *verdict.reasons)) if reasons else verdict

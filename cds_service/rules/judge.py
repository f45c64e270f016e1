"""All rules over one ketamine order: each ends as fired, clear, could not tell or suppressed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from cds_service.deadline import Late
from cds_service.fhir import outgoing
from cds_service.lazy import kept
from cds_service.orders.proposal import REMOVAL, Action, Edit, Proposal, SetRepeat
from cds_service.orders.route import KINDS
from cds_service.protocol.errors import ProtocolError, did_you_mean
from cds_service.protocol.filters import parted
from cds_service.protocol.model import (
    LOWER_RATE,
    LOWER_TO_LIMIT,
    REPEAT_TO,
    STOP_AFTER,
    Added,
    AmountIs,
    Clause,
    Orderable,
    OrderIs,
    Protocol,
    Rule,
    SiteChange,
    Tier,
)
from cds_service.protocol.references import each_clause
from cds_service.rules import (
    adjunct_dose,
    adverse_rules,
    data_rules,
    dose_outcomes,
    duplicate,
    family,
    given_so_far,
    order_rules,
    patient_rules,
    reads,
    reason,
    weight_rules,
)
from cds_service.rules.case import Case
from cds_service.rules.changes import changed_severity
from cds_service.rules.clauses import Verdict, evaluate
from cds_service.rules.clauses.ordered import planned_per_week
from cds_service.rules.clauses.presence import Absence, absences, needs
from cds_service.rules.clauses.verdict import reasons_of
from cds_service.rules.dose_finding import Measured
from cds_service.rules.hold import HOLD, hold
from cds_service.rules.lower_rate import lower_rate
from cds_service.rules.outcome import Offers, Outcome, clear, could_not_tell, not_in_time
from cds_service.rules.reads import QueryOf, rules_of
from cds_service.rules.repair import ceilings_of
from cds_service.rules.stop_time import stop_after
from cds_service.says import Named, Says
from cds_service.says.findings import IN_ITS_PLACE

Judgement = Callable[[Case, Rule], Outcome | tuple[Outcome, list[Proposal]]]

JUDGEMENTS: dict[str, Judgement] = {
    "frequency": order_rules.frequency,
    "indication": reason.judge,
    "undiluted": order_rules.undiluted,
    "concentration": order_rules.concentration_missing,
    "route": order_rules.route,
    "duplicate": duplicate.judge,
    "given-sum": given_so_far.judge,
    "child": patient_rules.child,
    "older-adult": patient_rules.older_adult,
    "no-weight": weight_rules.missing,
    "old-weight": weight_rules.stale,
    "doubted-weight": weight_rules.implausible,
    "unreadable-dose": data_rules.unreadable_dose,
    "allergy-list": data_rules.allergy_list,
    "adjunct-dose": adjunct_dose.judge,
    "restart": adverse_rules.restart,
    "abrupt-stop": adverse_rules.abrupt_stop,
}
"""What a rule's `judge` may name, beside `clauses` and the judgements of the dose, which are made together."""
_READ_OTHERS = frozenset(name for name, judgement in JUDGEMENTS.items() if reads.reads_other_rules(judgement))
"""Those that rest on more than their own rule."""


def check(protocol: Protocol) -> None:
    """Every rule is judged by something that gets the limits it asks for, of the order's drug; its routes exist.

    Raises ProtocolError.
    """
    for lack in family.lacking(protocol):
        raise ProtocolError(f"{protocol.id}: {lack}")
    for rule in protocol.rules.values():
        if rule.judge != "clauses" and rule.judge not in JUDGEMENTS and not dose_outcomes.is_of_dose(rule):
            raise ProtocolError(f"{rule.id}: nothing judges {rule.judge!r}")
        _check_names(rule)
        clauses = [tier.when for tier in rule.tiers if tier.when] + [change.when for change in rule.changes]
        for clause in each_clause(clauses):
            if isinstance(clause, OrderIs | AmountIs):
                for what, known in (("route", KINDS), ("route_other_than", KINDS), ("drug", protocol.drugs)):
                    _check_known(rule.id, what, getattr(clause, what, ()), known)
    for limit in protocol.limits.values():
        _check_known(limit.id, "route", limit.routes, KINDS)


def _check_known(where: str, what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ProtocolError(f"{where}: there is no {what} {name}{did_you_mean(name, known)}")


def _check_names(rule: Rule) -> None:
    """A judgement in code gets all that it asks for and no more, and can say every tier. Raises ProtocolError."""
    judgement = _code_of(rule)
    asked = reads.names_of(judgement) if judgement is not None else reads.NO_NAMES
    for kind, names, given in zip(asked._fields, asked, (rule.limits, rule.sets, rule.tier_of), strict=True):
        if names != given.keys():
            expected = ", ".join(sorted(names)) or "none"
            raise ProtocolError(f"{rule.id}: its judgement {rule.judge!r} asks for these {kind}: {expected}")
    tiers = {tier.name for tier in rule.tiers}
    for name in rule.tier_of.values():
        if name not in tiers:
            raise ProtocolError(f"{rule.id}: there is no tier {name}{did_you_mean(name, tiers)}")
    if rule.tier_of and (never := tiers.difference(rule.tier_of.values())):
        raise ProtocolError(f"{rule.id}: its judgement {rule.judge!r} never finds the tier {min(never)}")


def judge(case: Case) -> list[Outcome]:
    """One outcome per rule of this hook, in the catalogue's order; a rule that is not reached in time says so."""
    rules = rules_of(case.protocol, case.hook, case.stopping)
    by_id = {outcome.rule.id: outcome for outcome in _of_dose(case)}
    by_id.update(_surely_clear(case))
    for rule in rules:
        if rule.id in by_id:
            continue
        try:
            case.deadline.check("judge")
            by_id[rule.id] = _judged(case, rule)
        except Late:
            by_id[rule.id] = not_in_time(rule, case.order.reference)
    outcomes = [by_id[rule.id] for rule in rules]
    return [_yielding(outcome, by_id) if outcome.status == "fired" else outcome for outcome in outcomes]


def _surely_clear(case: Case) -> dict[str, Outcome]:
    """Most rules of clauses: nothing is on record that they ask for. These are clear at one look."""
    try:
        case.deadline.check("judge")
        is_missing = case.on_record.isdisjoint
    except Late:
        return {}
    order = case.order.reference
    return {rule.id: clear(rule, order) for rule, needed in kept(case.protocol, "needs", needs) if is_missing(needed)}


def _judged(case: Case, rule: Rule) -> Outcome:
    if rule.judge == "clauses":
        return case.found_alike(rule, by_clauses)
    return _by_code(case, rule) if rule.judge in _READ_OTHERS else case.found_alike(rule, _by_code)


def _of_dose(case: Case) -> Sequence[Outcome]:
    """All together: they share one reading of the dose."""

    def chosen(protocol: Protocol) -> Sequence[Rule]:
        return [rule for rule in rules_of(protocol, case.hook, case.stopping) if dose_outcomes.is_of_dose(rule)]

    rules = kept(case.protocol, f"rules of the dose at {case.hook}, {case.stopping}", chosen)
    try:
        case.deadline.check("judge")
        return dose_outcomes.outcomes(case, rules)
    except Late:
        return [not_in_time(rule, case.order.reference) for rule in rules]


def _by_code(case: Case, rule: Rule) -> Outcome:
    result = JUDGEMENTS[rule.judge](case, rule)
    outcome, proposals = result if isinstance(result, tuple) else (result, [])
    if outcome.status != "fired" or outcome.tier is None:
        return outcome
    tier = rule.tier(outcome.tier)
    offers = Offers(lambda: (*outcome.proposals, *proposals, *_suggested(case, rule, tier)))
    asking = _asking(case, rule, replace(outcome, proposals=offers), ())
    return changed_severity(rule, outcome.tier, case).of(asking)


class _Way(NamedTuple):
    """One way in which a rule fires, and what its evaluation begins with."""

    tier: Tier
    own: Clause
    added: Sequence[Added]
    """The conditions that a site added."""
    absences: Sequence[Absence]


def _ways(rule: Rule) -> tuple[_Way, ...]:
    return tuple(_Way(tier, *parted(tier.when), absences(tier.when)) for tier in rule.tiers if tier.when is not None)


def by_clauses(case: Case, rule: Rule) -> Outcome:
    """The first tier, from the worst, whose clause holds. A worse one that cannot be told is said as a reason."""
    order = case.order.reference
    is_missing = case.on_record.isdisjoint
    unknown: list[Verdict] = []
    for way in kept(rule, "ways", _ways):
        if any(map(is_missing, way.absences)):
            continue
        tier = way.tier
        verdict, condition = _held(way, case)
        if verdict.holds is None:
            unknown.append(verdict)
        if not verdict.holds:
            continue
        changed, facts = changed_severity(rule, tier.name, case, verdict.reasons), tuple(verdict.facts)
        if changed.severity is None and changed.filtered and unknown:
            break  # a filter is about this tier, not about a worse one that could not be told
        if changed.severity is None:
            silent = Outcome(rule, "suppressed", order, tier.name, because=changed.because, facts=facts)
            return replace(silent, filtered=changed.filtered)
        found = "/".join(fact.figure for fact in facts if fact.figure is not None)
        outcome = order_rules.fired(case, rule, tier.name, *facts, found=found)
        offers = Offers(partial(_suggested, case, rule, tier))
        outcome = replace(outcome, reasons=reasons_of(unknown), proposals=offers, condition=condition)
        return changed.of(_asking(case, rule, outcome, verdict.amounts))
    if unknown:
        return could_not_tell(rule, order, *reasons_of(unknown))
    return clear(rule, order)


def _held(way: _Way, case: Case) -> tuple[Verdict, SiteChange | None]:
    """The verdict of a tier's clause, and the site's condition where the tier holds by that alone."""
    verdict, added = evaluate(way.own, case), way.added
    if not added or (verdict.holds and not verdict.reasons):
        return verdict, None
    others = [(evaluate(each, case), each.site) for each in added]
    for other, site in others:
        if other.holds and (not other.reasons or not verdict.holds):
            return other, site
    if verdict.holds is False and any(other.holds is None for other, _ in others):
        verdict = Verdict(None)
    if verdict.holds is None:
        return Verdict(None, reasons=reasons_of([verdict, *(other for other, _ in others)])), None
    return verdict, None


def read_by(rule: Rule, query_of: QueryOf) -> frozenset[str]:
    """The query keys whose lists can decide a rule."""
    return reads.read_by(rule, _code_of(rule), query_of)


def read_in(case: Case) -> Sequence[str]:
    """The query keys that any rule reads which is judged in this case."""
    return reads.read_in(case, _code_of)


def _code_of(rule: Rule) -> Callable[..., object] | None:
    if dose_outcomes.is_of_dose(rule):
        return dose_outcomes.code_of(rule)
    return None if rule.judge == "clauses" else JUDGEMENTS[rule.judge]


def _yielding(outcome: Outcome, by_id: dict[str, Outcome]) -> Outcome:
    """A rule that fired is silent beside one that it yields to. What it leaves of the dose binds every offer."""
    for name in outcome.rule.yields_to:
        other = by_id.get(name)
        if other is not None and other.status == "fired":
            silent = outcome.suppressed(IN_ITS_PLACE(other.rule.title))
            return replace(silent, ceilings=tuple(replace(each, asks=False) for each in outcome.ceilings))
    return outcome


def _asking(case: Case, rule: Rule, outcome: Outcome, amounts: Sequence[Measured]) -> Outcome:
    """An outcome with what its rule asks of the dose: another one, or none. `amounts` are past its limits."""
    assert outcome.tier is not None
    ceilings, edits = list(outcome.ceilings), list(outcome.edits)
    removes = outcome.removes
    for name in (*rule.tier(outcome.tier).suggests, *rule.suggests):
        if name == LOWER_RATE:
            ceilings += lower_rate(case)
        elif name == LOWER_TO_LIMIT:
            ceilings += ceilings_of(case, amounts)
        elif name.startswith(REPEAT_TO):
            edits += _seldomer(case, name.removeprefix(REPEAT_TO))
        removes = removes or name == REMOVAL or (name == HOLD and not case.viewing)
    return replace(outcome, ceilings=tuple(ceilings), edits=tuple(edits), removes=removes)


def _suggested(case: Case, rule: Rule, tier: Tier) -> list[Proposal]:
    """What a tier and its rule suggest beside another dose. Products and reasons are made by their rules."""
    proposals: list[Proposal] = []
    for name in (*tier.suggests, *rule.suggests):
        if name == HOLD:
            proposals += hold(case)
        elif name.startswith(STOP_AFTER):
            proposals += stop_after(case, name.removeprefix(STOP_AFTER))
        elif name in case.protocol.orderables:
            proposals += _services(case, name)
    return proposals


def _names(name: str, orderable: Orderable) -> dict[str, Says]:
    return {
        "label": Named(f"label-of-{name}", orderable.label),
        "title": Named(f"title-of-{name}", orderable.title),
    }


def _seldomer(case: Case, limit: str) -> list[Edit]:
    """What lets an order be given as often in a week as a limit says, where it is planned more often."""
    most = case.number(limit)
    too_often = [w.index for w in case.order.written if (each := planned_per_week(w)) is not None and each > most]
    return [SetRepeat(index, int(most), 1, "wk") for index in too_often]


def _services(case: Case, name: str) -> list[Proposal]:
    """An order, or several as one suggestion."""
    orderable = case.protocol.orderables[name]
    if orderable.kind != "service" or not case.chart.patient_id:
        return []
    actions = []
    for each in [case.protocol.orderables[part] for part in orderable.bundle] or [orderable]:
        codings = [(c.system, c.code, c.display) for c in each.codings]
        request = outgoing.service_request(
            each.title, codings, each.priority, case.chart.patient_id, case.chart.encounter_id
        )
        actions.append(Action("create", resource=request))
    return [Proposal("service", tuple(actions), _names(name, orderable))]

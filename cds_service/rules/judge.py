"""All rules over one ketamine order: each ends as fired, clear, could not tell or suppressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from cds_service.fhir import outgoing
from cds_service.orders.proposal import Action, Proposal, deletion
from cds_service.protocol.loader import ProtocolError
from cds_service.protocol.model import STOP_AFTER, Protocol, Rule
from cds_service.rules import (
    adverse_rules,
    data_rules,
    dose_outcomes,
    duplicate,
    midazolam,
    order_rules,
    patient_rules,
    weight_rules,
)
from cds_service.rules.case import Case
from cds_service.rules.changes import changed_severity
from cds_service.rules.clauses import Verdict, evaluate
from cds_service.rules.clauses.presence import is_absent
from cds_service.rules.clauses.verdict import reasons_of
from cds_service.rules.hold import HOLD, hold
from cds_service.rules.lower_rate import LOWER_RATE, lower_rate
from cds_service.rules.outcome import Offers, Outcome, clear, could_not_tell
from cds_service.rules.stop_time import stop_after

Judgement = Callable[[Case, Rule], Outcome | tuple[Outcome, list[Proposal]]]

JUDGEMENTS: dict[str, Judgement] = {
    "frequency": order_rules.frequency,
    "procedural": order_rules.procedural,
    "indication": order_rules.indication_missing,
    "undiluted": order_rules.undiluted,
    "concentration": order_rules.concentration_missing,
    "route": order_rules.route,
    "duplicate": duplicate.judge,
    "child": patient_rules.child,
    "older-adult": patient_rules.older_adult,
    "weight-missing": weight_rules.missing,
    "weight-stale": weight_rules.stale,
    "weight-implausible": weight_rules.implausible,
    "unreadable-dose": data_rules.unreadable_dose,
    "allergy-list": data_rules.allergy_list,
    "midazolam": midazolam.judge,
    "restart": adverse_rules.restart,
    "abrupt-stop": adverse_rules.abrupt_stop,
}
"""What a rule's `judge` may name, beside `dose` (rows 1-12 together) and `clauses`."""


def check(protocol: Protocol) -> None:
    """Every rule is judged by something. Raises ProtocolError."""
    for rule in protocol.rules.values():
        if rule.judge not in (*JUDGEMENTS, "dose", "clauses"):
            raise ProtocolError(f"{rule.id}: nothing judges {rule.judge!r}")


def judge(case: Case) -> list[Outcome]:
    """One outcome per rule of this hook that is not switched off, in the catalogue's order."""
    judges = "stop" if case.stopping else "order"
    rules = [
        rule
        for rule in case.protocol.rules.values()
        if not rule.off and case.hook in rule.hooks and rule.judges == judges
    ]
    by_id: dict[str, Outcome] = {}
    for outcome in dose_outcomes.outcomes(case, [rule for rule in rules if rule.judge == "dose"]):
        by_id[outcome.rule.id] = outcome
    for rule in rules:
        if rule.judge == "clauses":
            by_id[rule.id] = by_clauses(case, rule)
        elif rule.judge != "dose":
            by_id[rule.id] = _by_code(case, rule)
    outcomes = [by_id[rule.id] for rule in rules]
    return [_yielding(outcome, by_id) for outcome in outcomes]


def _by_code(case: Case, rule: Rule) -> Outcome:
    result = JUDGEMENTS[rule.judge](case, rule)
    outcome, proposals = result if isinstance(result, tuple) else (result, [])
    if outcome.status != "fired" or outcome.tier is None:
        return outcome
    severity, because = changed_severity(rule, outcome.tier, case)
    if severity is None:
        return replace(outcome, status="suppressed", severity=None, because=because)
    offers = Offers(lambda: (*outcome.proposals, *proposals, *_suggested(case, rule, proposals)))
    return replace(outcome, severity=severity, because=because, proposals=offers)


def by_clauses(case: Case, rule: Rule) -> Outcome:
    """The first tier, from the worst, whose clause holds. A worse one that cannot be told is said as a reason."""
    order = case.order.reference
    unknown: list[Verdict] = []
    for tier in rule.tiers:
        assert tier.when is not None
        if is_absent(tier.when, case.chart):
            continue
        verdict = evaluate(tier.when, case)
        if verdict.holds is None:
            unknown.append(verdict)
        if not verdict.holds:
            continue
        severity, because = changed_severity(rule, tier.name, case)
        if severity is None:
            return Outcome(rule, "suppressed", order, tier.name, because=because, facts=verdict.facts)
        found = "/".join(fact.figure for fact in verdict.facts if fact.figure is not None)
        outcome = order_rules.fired(case, rule, tier.name, *verdict.facts, found=found)
        offers = Offers(lambda: _suggested(case, rule, []))
        shown = {fact.reference for fact in verdict.facts}
        worse = tuple(r for r in reasons_of(unknown) if r.reference is None or r.reference not in shown)
        return replace(outcome, severity=severity, because=because, reasons=worse, proposals=offers)
    if unknown:
        return could_not_tell(rule, order, *reasons_of(unknown))
    return clear(rule, order)


def _yielding(outcome: Outcome, by_id: dict[str, Outcome]) -> Outcome:
    """A rule is silent beside one that it yields to."""
    for name in outcome.rule.yields_to:
        other = by_id.get(name)
        if outcome.status == "fired" and other is not None and other.status == "fired":
            return replace(
                outcome,
                status="suppressed",
                severity=None,
                because=f"{other.rule.title} stands in its place",
                proposals=(),
            )
    return outcome


def _suggested(case: Case, rule: Rule, already: Sequence[Proposal]) -> list[Proposal]:
    """What a rule's `suggests` names. Products and reasons are made by their rules."""
    proposals: list[Proposal] = []
    for name in rule.suggests:
        if name == "delete":
            if not any(p.kind == "delete" for p in already):
                proposals += deletion(case.order.reference, case.order.name)
        elif name == LOWER_RATE:
            proposals += lower_rate(case)
        elif name == HOLD:
            proposals += hold(case)
        elif name.startswith(STOP_AFTER):
            proposals += stop_after(case, name.removeprefix(STOP_AFTER))
        else:
            proposals += _services(case, name)
    return proposals


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
    return [Proposal("service", tuple(actions), {"label": orderable.label, "title": orderable.title})]

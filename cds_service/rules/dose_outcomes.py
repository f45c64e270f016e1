"""Rows 1-12 as outcomes: the worst finding of each rule, its arithmetic, and the repairs that clear it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cds_service.chart.facts import Fact, on
from cds_service.deadline import Late
from cds_service.figures import show
from cds_service.orders import words
from cds_service.orders.proposal import Action, Proposal, SetAmount, deletion
from cds_service.protocol.limits import listed
from cds_service.protocol.model import Rule, Severity
from cds_service.rules import arithmetic, obesity
from cds_service.rules.case import Case, once
from cds_service.rules.changes import changed_severity
from cds_service.rules.dose import findings
from cds_service.rules.dose_finding import Doubt, Finding, worst
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, steps_as, steps_at_dosing_weight
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell
from cds_service.rules.reads import asks
from cds_service.rules.repair import changed_order, edits_for, repaired, with_edits
from cds_service.rules.unit_slip import Slip, slips

UNIT_SLIP = "unit-slip-suspected"
MINUTES = "min"
_OBJECTIONABLE: tuple[Severity, ...] = ("critical", "warning")


@dataclass(frozen=True, slots=True)
class DoseVerdict:
    """All that was found about one order's dose, at every weight."""

    weight: DosingWeight
    found: dict[str, Finding]
    doubts: tuple[Doubt, ...]
    slips: tuple[Slip, ...]
    obesity: obesity.Obesity


@once
def verdict(case: Case) -> DoseVerdict:
    """The worst finding of each rule over the weights that may be the patient's."""
    weight = dosing_weight(case)
    found: list[Finding] = []
    doubts: list[Doubt] = []
    bodies = weight.bodies
    for body in case.deadline.each(bodies, "judge"):
        here, unknown = findings(case, body)
        found += here
        doubts += unknown
    odd = list(slips(case, steps_as(case, bodies[0], False), bodies[0]))
    of_obesity = obesity.judge(case, weight)
    found += of_obesity.findings
    best = worst(found, lambda finding: case.protocol.rules[finding.rule].tier(finding.tier).severity)
    held = {rule: finding for rule, finding in best.items() if not case.protocol.rules[rule].off}
    return DoseVerdict(weight, held, tuple(dict.fromkeys(doubts)), tuple(odd), of_obesity)


@asks("bodySize", "patient", "administrations")
def outcomes(case: Case, rules: Sequence[Rule]) -> list[Outcome]:
    """One outcome for each of the dose rules."""
    order = case.order.reference
    if case.order.labelled_nasal:
        return [clear(rule, order, "labelled nasal esketamine is not judged by these limits") for rule in rules]
    result = verdict(case)
    missing = _nothing_to_judge(case)
    try:
        proposals = _proposals(case, result)
    except Late:
        proposals = {}  # what could not be tried is not offered
    judged: list[Outcome] = []
    for rule in rules:
        held = result.found.get(rule.id)
        if rule.id == UNIT_SLIP and result.slips:
            judged.append(_slip_outcome(case, rule, result.slips[0], proposals))
        elif held is not None:
            judged.append(_fired(case, rule, held, result, proposals))
        else:
            reasons = [doubt.reason for doubt in result.doubts if doubt.rule == rule.id]
            if rule.id == obesity.RULE and result.obesity.unknown is not None:
                reasons.append(result.obesity.unknown)
            if missing is not None:
                reasons.append(missing)
            judged.append(could_not_tell(rule, order, *reasons) if reasons else clear(rule, order))
    return judged


def _nothing_to_judge(case: Case) -> Reason | None:
    """Why an order, or a part of it, has no dose that could pass."""
    unread = [w for w in case.order.written if not w.has_amount]
    if not case.order.written or len(unread) == len(case.order.written):
        return Reason("dose", "the order has no dose that can be read")
    if unread:
        return Reason("dose", "a part of the dosage has no dose that can be read")
    return None


def _fired(
    case: Case, rule: Rule, finding: Finding, result: DoseVerdict, proposals: dict[str, list[Proposal]]
) -> Outcome:
    outcome = Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=finding.tier,
        facts=weight_facts(case, result.weight),
        values=_values(case, finding, result),
        limits=tuple(case.limit(name) for name in rule.tier(finding.tier).shown),
        proposals=tuple(proposals.get(rule.id, ())),
        figure=finding.figure,
        lower_is_worse=finding.unit == MINUTES,
    )
    return changed_severity(rule, finding.tier, case).of(outcome)


def _values(case: Case, finding: Finding, result: DoseVerdict) -> dict[str, str]:
    """What a card text may say of a finding. Figures never stand on or across their limit."""
    limits = [
        case.number(name)
        for name in case.protocol.rules[finding.rule].tier(finding.tier).limits
        if len(case.book.numbers(name)) == 1
    ]
    lines = arithmetic.lines(finding, case.order.concentration.mg_per_ml)
    if finding.how == "ideal-weight":
        lines += _ideal_lines(finding, result)
    values = {
        "ordered": words.regimen(case.order.written),
        "arithmetic": "\n".join(lines),
        "how": finding.how,
        "unit": finding.unit,
        "count": str(len(finding.steps)),
    }
    if finding.figure is not None:
        values["figure"] = show(finding.figure, *limits)
    if finding.limit is not None:
        values["limit"] = show(case.number(finding.limit))
    for name in case.protocol.rules[finding.rule].tier(finding.tier).limits:
        values[name.replace("-", "_")] = listed([show(number) for number in case.book.numbers(name)])
    if case.order.indication.assumed:
        values["assumed_pain"] = "yes"
    if case.order.drug != "ketamine":
        values["drug"] = case.order.drug
    return values


def _ideal_lines(finding: Finding, result: DoseVerdict) -> list[str]:
    ideal = result.obesity.ideal
    if ideal is None or ideal.kg is None or ideal.bmi is None or finding.figure is None:
        return []
    return [
        f"BMI {show(ideal.bmi)} kg/m2; ideal body weight {show(ideal.kg)} kg",
        f"on ideal body weight: {show(finding.figure)} {finding.unit}",
    ]


def weight_facts(case: Case, weight: DosingWeight) -> tuple[Fact, ...]:
    """The weight behind the arithmetic."""
    shown = weight.shown
    if shown is None:
        return ()
    basis = "" if shown.basis == "measured" else f", {shown.basis}"
    facts = [Fact(f"Weight {shown.written} ({on(shown.when, case.now)}{basis})", shown.reference)]
    if weight.previous is not None:
        before = weight.previous
        facts.append(Fact(f"Weight before {before.written} ({on(before.when, case.now)})", before.reference))
    return tuple(facts)


def _slip_outcome(case: Case, rule: Rule, slip: Slip, proposals: dict[str, list[Proposal]]) -> Outcome:
    values = {
        "written": words.amount(slip.amount),
        "figure": show(slip.amount.written),
        "unit": slip.amount.unit,
        "meant": slip.meant or "",
    }
    if slip.ratio is not None:
        values["ratio"] = show(slip.ratio)
    return Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=slip.tier,
        severity=rule.tier(slip.tier).severity,
        facts=(slip.fact,) if slip.fact else (),
        values=values,
        limits=tuple(case.limit(name) for name in rule.tier(slip.tier).shown),
        proposals=tuple(proposals.get(rule.id, ())),
    )


# Proposals --------------------------------------------------------------------------------------------------


def _objections(case: Case) -> list[Finding]:
    """The findings that a repair must remove, worst first."""
    found: list[tuple[int, Finding]] = []
    for rule_id, finding in verdict(case).found.items():
        severity = changed_severity(case.protocol.rules[rule_id], finding.tier, case).severity
        if severity in _OBJECTIONABLE:
            found.append((_OBJECTIONABLE.index(severity), finding))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def _proposals(case: Case, result: DoseVerdict) -> dict[str, list[Proposal]]:
    """By rule: a repair of all that is objectionable, else of one finding, else deletion; then candidates."""
    proposals: dict[str, list[Proposal]] = {}
    objections = _objections(case)
    base: Case | None = case
    if objections:
        base = repaired(case, _objections)
        whole = _change(case, base) if base is not None else None
        for finding in objections:
            change = whole or _one_repair(case, finding)
            proposals[finding.rule] = [change] if change else deletion(case.order.reference, case.order.name)
    informing = [rule for rule, finding in result.found.items() if finding not in objections]
    if base is not None and informing:
        proposals |= _gentler(case, base, informing)
    for slip in result.slips[:1]:
        proposals[UNIT_SLIP] = [p for p in [_candidate(case, slip)] if p is not None]
    return proposals


def _gentler(case: Case, base: Case, informing: Sequence[str]) -> dict[str, list[Proposal]]:
    """For the rules that only inform: what ends them as well, on the order as it was repaired."""
    found = verdict(base).found
    changes = {rule: _change(case, _without(base, found[rule])) for rule in informing if rule in found}
    return {rule: [change] for rule, change in changes.items() if change is not None}


def _one_repair(case: Case, finding: Finding) -> Proposal | None:
    """A change that clears one finding, where not all can be."""
    return _change(case, _without(case, finding))


def _without(case: Case, finding: Finding) -> Case | None:
    """The case without one finding; None where that cannot be, would bring another objection, or leaves too much.

    Only amounts within the limits are offered, on every weight (4a).
    """
    edits = edits_for(case, finding)
    after = with_edits(case, edits) if edits else None
    if after is None:
        return None
    before = {(each.rule, each.tier) for each in _objections(case)}
    left = verdict(after).found
    objections = _objections(after)
    too_much = any(each.unit.startswith("mg/kg") and each.how != "cap" for each in objections)
    new = {(each.rule, each.tier) for each in objections} - before
    return None if finding.rule in left or too_much or new else after


def _candidate(case: Case, slip: Slip) -> Proposal | None:
    """The same number in the unit that it fits, if that lies within the limits."""
    if slip.meant is None or slip.step.contradictions:
        return None
    edit = SetAmount(slip.step.written.index, slip.amount, slip.amount.written, slip.meant)
    after = with_edits(case, [edit])
    if after is None or _objections(after):
        return None
    return _change(case, after)


def _change(case: Case, after: Case | None) -> Proposal | None:
    """The update that turns the case's order into the changed one; None where it cannot be sent as valid R4."""
    if after is None or after.order is case.order:
        return None
    valid = changed_order(case, after)
    if valid is None:
        return None
    to = words.regimen(after.order.written)
    values = {"to": to, "from": words.regimen(case.order.written), "equivalent": equivalent(after)}
    return Proposal("change", (Action("update", resource=valid),), values)


def equivalent(case: Case) -> str:
    """mg or mg/h of each step, for a pump that wants them; empty where all are written so, or one is not known."""
    steps = steps_at_dosing_weight(case)
    written = [step.dose or step.rate for step in steps]
    if all(given is None or (given.unit in ("mg", "mg/h") and given.shape != "ratio") for given in written):
        return ""
    figures = [(step.mg, "mg") if step.finite else (step.mg_per_hour, "mg/h") for step in steps]
    known = [f"{show(figure)} {unit}" for figure, unit in figures if figure is not None]
    return ", then ".join(known) if len(known) == len(figures) else ""

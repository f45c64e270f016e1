"""The rules of an order's dose as outcomes: the worst finding of each, its arithmetic, and what repairs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cds_service.chart.facts import Fact, on
from cds_service.deadline import Late
from cds_service.figures import show
from cds_service.orders import words
from cds_service.orders.proposal import Action, Proposal, SetAmount, deletion
from cds_service.protocol.limits import listed
from cds_service.protocol.model import Rule, Severity
from cds_service.rules import arithmetic, obesity, uncapped, unit_slip
from cds_service.rules.case import Case, once, once_of_patient
from cds_service.rules.changes import Changed, changed_severity
from cds_service.rules.clauses import evaluate
from cds_service.rules.dose_finding import MINUTES, Finding, Found, Measured, unread_dose, worst
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, ideal_weight, steps_at_dosing_weight
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell
from cds_service.rules.reads import asks
from cds_service.rules.repair import changed_order, edits_for, repaired, with_edits
from cds_service.rules.unit_slip import Slip

_OBJECTIONABLE: tuple[Severity, ...] = ("critical", "warning")


@asks()
def by_amounts(case: Case, rule: Rule) -> Found:
    """Every amount in a tier that holds; what could not be told counts only where none does."""
    findings: list[Finding] = []
    doubts: list[Reason] = []
    for tier in rule.tiers:
        assert tier.when is not None
        verdict = evaluate(tier.when, case)
        if verdict.holds:
            findings += [Finding(rule.id, tier.name, amount) for amount in verdict.amounts]
        elif verdict.holds is None:
            doubts += verdict.reasons
    return findings, doubts


JUDGEMENTS: Mapping[str, Callable[[Case, Rule], Found]] = {
    "amounts": by_amounts,
    "ideal-weight": obesity.judge,
    "uncapped": uncapped.judge,
}
"""How a rule of the dose may be judged; all of them share one repair. `unit-slip` is beside them: it reads the
writing, and no dose is repaired because of it."""
UNIT_SLIP = "unit-slip"


@dataclass(frozen=True, slots=True)
class DoseVerdict:
    """All that was found about one order's dose, at every weight."""

    weight: DosingWeight
    found: dict[str, Finding]
    """The worst of each rule."""
    all: tuple[Finding, ...]
    doubts: dict[str, list[Reason]]


@once
def verdict(case: Case) -> DoseVerdict:
    """What each rule of the dose finds over the weights that may be the patient's. Raises Late."""
    every: list[Finding] = []
    best: dict[str, Finding] = {}
    doubts: dict[str, list[Reason]] = {}
    place: dict[str, tuple[int, int]] = {}
    for rule in _rules(case):
        findings, doubts[rule.id] = JUDGEMENTS[rule.judge](case, rule)
        every += findings
        if (held := worst(findings, rule)) is not None:
            best[rule.id] = held
            place[rule.id] = _place(case, findings)
    first = dict(sorted(best.items(), key=lambda held: place[held[0]]))
    return DoseVerdict(dosing_weight(case), first, tuple(every), doubts)


def _place(case: Case, findings: Sequence[Finding]) -> tuple[int, int]:
    """Where a rule stands in the order of repairs: by the first weight, and then the first use, that it fires at."""
    bodies, judged_as = dosing_weight(case).bodies, [use.name for use in case.order.indication.uses]

    def place(amount: Measured) -> tuple[int, int]:
        of_bodies = amount.how != "ideal-weight" and amount.body in bodies
        weight = bodies.index(amount.body) if of_bodies else len(bodies)
        return weight, judged_as.index(amount.use)

    return min(place(finding.amount) for finding in findings)


@once_of_patient
def _rules(case: Case) -> tuple[Rule, ...]:
    return tuple(rule for rule in case.protocol.rules.values() if rule.judge in JUDGEMENTS and not rule.off)


def is_of_dose(rule: Rule) -> bool:
    """Whether a rule is judged here."""
    return rule.judge in JUDGEMENTS or rule.judge == UNIT_SLIP


def code_of(rule: Rule) -> Callable[..., object]:
    """What judges a rule of the dose, for what it declares that it asks."""
    return unit_slip.slips if rule.judge == UNIT_SLIP else JUDGEMENTS[rule.judge]


def outcomes(case: Case, rules: Sequence[Rule]) -> list[Outcome]:
    """One outcome for each of the dose rules."""
    order = case.order.reference
    if case.order.labelled_nasal:
        return [clear(rule, order, "labelled nasal esketamine is not judged by these limits") for rule in rules]
    result = verdict(case)
    missing = unread_dose(case)
    try:
        proposals = _proposals(case, result)
    except Late:
        proposals = {}  # what could not be tried is not offered
    judged: list[Outcome] = []
    for rule in rules:
        held = result.found.get(rule.id)
        slip = _slip(case, rule)
        if slip is not None:
            judged.append(_slip_outcome(case, rule, slip))
        elif held is not None:
            judged.append(_fired(case, rule, held, result, proposals))
        else:
            reasons = [*result.doubts.get(rule.id, ()), *((missing,) if missing is not None else ())]
            judged.append(could_not_tell(rule, order, *reasons) if reasons else clear(rule, order))
    return judged


def _slip(case: Case, rule: Rule) -> Slip | None:
    return next(unit_slip.slips(case, rule), None) if rule.judge == UNIT_SLIP else None


def _fired(
    case: Case, rule: Rule, finding: Finding, result: DoseVerdict, proposals: dict[str, list[Proposal]]
) -> Outcome:
    outcome = Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=finding.tier,
        facts=weight_facts(case, result.weight),
        values=_values(case, rule.tier(finding.tier).limits, finding.amount),
        limits=tuple(case.limit(name) for name in rule.tier(finding.tier).shown),
        proposals=tuple(proposals.get(rule.id, ())),
        figure=finding.amount.figure,
        lower_is_worse=finding.amount.unit == MINUTES,
    )
    return _changed(case, rule.id, finding.tier).of(outcome)


def _values(case: Case, named: Sequence[str], amount: Measured) -> dict[str, str]:
    """What a card text may say of an amount and of the limits that its tier names. Figures never stand on or across
    their limit.
    """
    limits = [case.number(name) for name in named if len(case.book.numbers(name)) == 1]
    lines = arithmetic.lines(amount, case.order.concentration.mg_per_ml)
    if amount.how == "ideal-weight":
        lines += _ideal_lines(case, amount)
    values = {
        "ordered": words.regimen(case.order.written),
        "arithmetic": "\n".join(lines),
        "how": amount.how,
        "unit": amount.unit,
        "count": str(len(amount.steps)),
    }
    if amount.figure is not None:
        values["figure"] = show(amount.figure, *limits)
    if amount.limit is not None:
        values["limit"] = show(case.number(amount.limit))
    for name in named:
        values[name.replace("-", "_")] = listed([show(number) for number in case.book.numbers(name)])
    if case.order.indication.assumed:
        values["assumed_pain"] = "yes"
    if case.order.drug != case.protocol.drugs[0]:
        values["drug"] = case.order.drug
    return values


def _ideal_lines(case: Case, amount: Measured) -> list[str]:
    actual = amount.body.judged_by
    ideal = ideal_weight(case, actual) if actual is not None else None
    if ideal is None or ideal.kg is None or ideal.bmi is None or amount.figure is None:
        return []
    return [
        f"BMI {show(ideal.bmi)} kg/m2; ideal body weight {show(ideal.kg)} kg",
        f"on ideal body weight: {show(amount.figure)} {amount.unit}",
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


def _slip_outcome(case: Case, rule: Rule, slip: Slip) -> Outcome:
    values = {
        "written": words.amount(slip.amount),
        "figure": show(slip.amount.written),
        "unit": slip.amount.unit,
        "meant": slip.meant or "",
    }
    if slip.ratio is not None:
        values["ratio"] = show(slip.ratio)
    outcome = Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=slip.tier,
        facts=(slip.fact,) if slip.fact else (),
        values=values,
        limits=tuple(case.limit(name) for name in rule.tier(slip.tier).shown),
        proposals=_candidate(case, slip),
    )
    return changed_severity(rule, slip.tier, case).of(outcome)


# Proposals --------------------------------------------------------------------------------------------------


@once
def _changed(case: Case, rule_id: str, tier: str) -> Changed:
    return changed_severity(case.protocol.rules[rule_id], tier, case)


@once
def _objections(case: Case) -> Sequence[Finding]:
    """The findings that a repair must remove, worst first."""
    found: list[tuple[int, Finding]] = []
    for rule_id, finding in verdict(case).found.items():
        severity = _changed(case, rule_id, finding.tier).severity
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
    too_much = any(each.amount.unit.startswith("mg/kg") and each.amount.how != "cap" for each in objections)
    new = {(each.rule, each.tier) for each in objections} - before
    return None if finding.rule in left or too_much or new else after


def _candidate(case: Case, slip: Slip) -> tuple[Proposal, ...]:
    """The same number in the unit that it fits, if that lies within the limits and could be tried in time."""
    if slip.meant is None or slip.step.contradictions:
        return ()
    edit = SetAmount(slip.step.written.index, slip.amount, slip.amount.written, slip.meant)
    try:
        after = with_edits(case, [edit])
        change = None if after is None or _objections(after) else _change(case, after)
    except Late:
        return ()
    return (change,) if change is not None else ()


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
    by_rate = [step.rate is not None and step.dose is None and step.kind == "continuous" for step in steps]
    figures = [
        (step.mg, "mg") if step.finite and not rate else (step.mg_per_hour, "mg/h")
        for step, rate in zip(steps, by_rate, strict=True)
    ]
    known = [f"{show(figure)} {unit}" for figure, unit in figures if figure is not None]
    return ", then ".join(known) if len(known) == len(figures) else ""

"""The rules of an order's dose as outcomes: the worst finding of each, its arithmetic, and what repairs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cds_service.chart.facts import Fact, on, weighed
from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders import words
from cds_service.orders.indication import Use
from cds_service.orders.proposal import REMOVAL
from cds_service.orders.regimen import Body
from cds_service.protocol.limits import listed
from cds_service.protocol.model import AmountIs, Clause, Protocol, Rule, Severity, Tier
from cds_service.protocol.references import each_clause
from cds_service.rules import arithmetic, obesity, uncapped, unit_slip
from cds_service.rules.case import Case, once
from cds_service.rules.changes import Changed, changed_severity
from cds_service.rules.clauses import evaluate
from cds_service.rules.clauses.presence import Absence, absences
from cds_service.rules.dose_finding import MINUTES, Finding, Found, Measured, unread_dose, views, worst
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, ideal_weight
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell
from cds_service.rules.reads import asks
from cds_service.rules.unit_slip import Slip
from cds_service.says import Named, Says
from cds_service.says import findings as says
from cds_service.says import listed as said_in_turn

_OBJECTIONABLE: tuple[Severity, ...] = ("critical", "warning")


@asks()
def by_amounts(case: Case, rule: Rule) -> Found:
    """Every amount in a tier that holds; what could not be told counts only where none does."""
    findings: list[Finding] = []
    doubts: list[Reason] = []
    is_missing = case.on_record.isdisjoint
    for tier, clause, absent in kept(rule, "tiers that may hold", _tiers):
        if any(map(is_missing, absent)):
            continue
        verdict = evaluate(clause, case)
        if verdict.holds:
            findings += [Finding(rule.id, tier.name, amount) for amount in verdict.amounts]
        elif verdict.holds is None:
            doubts += verdict.reasons
    return findings, doubts


def _tiers(rule: Rule) -> Sequence[tuple[Tier, Clause, Sequence[Absence]]]:
    return [(tier, tier.when, absences(tier.when)) for tier in rule.tiers if tier.when is not None]


def _concerning(case: Case) -> Iterator[Rule]:
    """The rules of the dose, but those all of whose amounts are of other kinds of steps than the order has."""
    ours = _kinds_in(case)
    for rule, asked in kept(case.protocol, "rules of the dose", _rules):
        if asked is None or ours is None or not ours.isdisjoint(asked):
            yield rule


def _kinds_in(case: Case) -> frozenset[str | None] | None:
    """The kinds of the order's steps; None where one is not known."""
    kinds = frozenset[str | None]().union(*(here.kinds for here in views(case)))
    return None if None in kinds or unread_dose(case) is not None else kinds


def _kinds_of(rule: Rule) -> frozenset[str] | None:
    """None where one of its amounts is of any kind."""
    clauses = each_clause([tier.when for tier in rule.tiers if tier.when is not None])
    amounts = [clause for clause in clauses if isinstance(clause, AmountIs)]
    if not all(amount.of and not amount.repeats for amount in amounts):
        return None
    return frozenset(kind for amount in amounts for kind in amount.of)


JUDGEMENTS: Mapping[str, Callable[[Case, Rule], Found]] = {
    "amounts": by_amounts,
    "ideal-weight": obesity.judge,
    "uncapped": uncapped.judge,
}
"""How a rule of the dose may be judged; all of them share one repair. `unit-slip` is beside them: it reads the
writing, and no dose is repaired because of it."""
UNIT_SLIP = "unit-slip"
OF_DOSE = frozenset((*JUDGEMENTS, UNIT_SLIP))
"""How a rule may be judged here."""


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
    for rule in _concerning(case):
        if case.order.labelled_nasal and not _is_of_label(rule):
            continue
        findings, doubts[rule.id] = case.found_alike(rule, JUDGEMENTS[rule.judge])
        every += findings
        if findings and (held := worst(findings, rule)) is not None:
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


def _rules(protocol: Protocol) -> Sequence[tuple[Rule, frozenset[str] | None]]:
    """Each with the kinds of steps that it asks of; None: of any."""
    rules = (rule for rule in protocol.rules.values() if rule.judge in JUDGEMENTS and not rule.off)
    return [(rule, _kinds_of(rule) if rule.judge == "amounts" else None) for rule in rules]


def is_of_dose(rule: Rule) -> bool:
    """Whether a rule is judged here."""
    return rule.judge in OF_DOSE


def code_of(rule: Rule) -> Callable[..., object]:
    """What judges a rule of the dose, for what it declares that it asks."""
    return unit_slip.slips if rule.judge == UNIT_SLIP else JUDGEMENTS[rule.judge]


def outcomes(case: Case, rules: Sequence[Rule]) -> list[Outcome]:
    """One outcome for each of the dose rules."""
    order = case.order.reference
    if case.order.labelled_nasal:
        own = [rule for rule in rules if _is_of_label(rule)]
        others = [clear(rule, order, says.NASAL) for rule in rules if rule not in own]
        rules = own
    else:
        others = []
    result = verdict(case)
    missing = unread_dose(case)
    judged: list[Outcome] = []
    for rule in rules:
        held = result.found.get(rule.id)
        found = slip(case, rule) if rule.judge == UNIT_SLIP else None
        if found is not None:
            judged.append(_slip_outcome(case, rule, found))
        elif held is not None:
            judged.append(_fired(case, rule, held, result))
        else:
            reasons = [*result.doubts.get(rule.id, ()), *((missing,) if missing is not None else ())]
            judged.append(could_not_tell(rule, order, *reasons) if reasons else clear(rule, order))
    return judged + others


def _is_of_label(rule: Rule) -> bool:
    """Whether it asks for an amount of the labelled nasal product."""
    clauses = each_clause([tier.when for tier in rule.tiers if tier.when is not None])
    return any(isinstance(clause, AmountIs) and clause.labelled for clause in clauses)


def slip(case: Case, rule: Rule) -> Slip | None:
    """The first number that fits another unit, by the rule that asks for such."""
    return next(unit_slip.slips(case, rule), None)


def _fired(case: Case, rule: Rule, finding: Finding, result: DoseVerdict) -> Outcome:
    outcome = Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=finding.tier,
        facts=() if case.order.labelled_nasal else weight_facts(case, result.weight),
        values=_values(case, rule.tier(finding.tier).limits, finding.amount),
        limits=tuple(case.limit(name) for name in rule.tier(finding.tier).shown),
        removes=REMOVAL in (*rule.tier(finding.tier).suggests, *rule.suggests),
        figure=finding.amount.figure,
        lower_is_worse=finding.amount.unit == MINUTES,
    )
    return _changed(case, rule.id, finding.tier).of(outcome)


def _values(case: Case, named: Sequence[str], amount: Measured) -> dict[str, Says]:
    """What a card text may say of an amount and of the limits that its tier names. Figures never stand on or across
    their limit.
    """
    limits = [case.number(name) for name in named if len(case.book.numbers(name)) == 1]
    lines = arithmetic.lines(amount, case.order.concentration.mg_per_ml)
    if amount.how == "ideal-weight":
        lines += _ideal_lines(case, amount)
    values: dict[str, Says] = {
        "ordered": case.ordered,
        "arithmetic": said_in_turn(lines, "\n") if lines else "",
        "how": amount.how,
        "judged_as": use_named(case, amount.use) if amount.use else "",
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


def use_named(case: Case, use: str) -> Named:
    return Named(f"use-{use}", case.protocol.uses[use].title)


def _ideal_lines(case: Case, amount: Measured) -> list[Says]:
    actual = amount.body.judged_by
    ideal = ideal_weight(case, actual) if actual is not None else None
    if ideal is None or ideal.kg is None or ideal.bmi is None or amount.figure is None:
        return []
    return [
        says.BODY_MASS(show(ideal.bmi), show(ideal.kg)),
        says.ON_IDEAL_WEIGHT(f"{show(amount.figure)} {amount.unit}"),
    ]


_BASES = {"stated": says.STATED, "estimated": says.ESTIMATED}
"""What a weight that was not measured is."""


def weight_facts(case: Case, weight: DosingWeight) -> tuple[Fact, ...]:
    """The weight behind the arithmetic."""
    shown = weight.shown
    if shown is None:
        return ()
    date = on(shown.when, case.now)
    basis = _BASES.get(shown.basis)
    told = says.WEIGHT_AS(shown.written, date, basis) if basis else says.WEIGHT(shown.written, date)
    facts = [Fact(told, shown.reference, used=weighed(shown))]
    if weight.previous is not None:
        before = weight.previous
        told = says.WEIGHT_BEFORE(before.written, on(before.when, case.now))
        facts.append(Fact(told, before.reference, used=weighed(before)))
    return tuple(facts)


def _slip_outcome(case: Case, rule: Rule, slip: Slip) -> Outcome:
    values: dict[str, Says] = {
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
    )
    return changed_severity(rule, slip.tier, case).of(outcome)


# What an offer must end --------------------------------------------------------------------------------------


@once
def _changed(case: Case, rule_id: str, tier: str) -> Changed:
    return changed_severity(case.protocol.rules[rule_id], tier, case)


@once
def objectionable(case: Case) -> Sequence[Finding]:
    """The findings that interrupt, worst first: none of them is left by what is offered."""
    found: list[tuple[int, Finding]] = []
    for rule_id, finding in verdict(case).found.items():
        severity = _changed(case, rule_id, finding.tier).severity
        if severity in _OBJECTIONABLE:
            found.append((_OBJECTIONABLE.index(severity), finding))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def passed_at(case: Case, body: Body) -> str | None:
    """The limit (mg/kg, mg/kg/h) that is critically passed if the patient had these weights; None where none is."""
    for finding in objectionable(replace(case, body=body)):
        is_critical = _changed(case, finding.rule, finding.tier).severity == "critical"
        if is_critical and finding.amount.unit.startswith("mg/kg") and finding.amount.limit is not None:
            return finding.amount.limit
    return None


def severity_as(case: Case, use: Use) -> Severity | None:
    """The worst objection of the rules of the dose if the order were for this use; None where they have none."""
    is_default = use.name == next(iter(case.protocol.uses))
    named = () if is_default else (use,)
    indication = replace(case.order.indication, uses=(use,), named=named, is_default=is_default)
    order = replace(case.order, indication=indication)
    companions = [order if other is case.order else other for other in case.companions]
    after = replace(case, order=order, companions=companions)
    objections = objectionable(after)
    return _changed(after, objections[0].rule, objections[0].tier).severity if objections else None

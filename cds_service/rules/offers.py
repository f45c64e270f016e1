"""What is offered for one order over all of its rules: a dose within every limit that fired, and last its removal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders import words
from cds_service.orders.exposure import no_higher
from cds_service.orders.proposal import (
    CEILING,
    CHANGE,
    UNIT,
    USUAL,
    Action,
    Edit,
    Proposal,
    SetAmount,
    deletion,
)
from cds_service.orders.regimen import FIGURES, Step
from cds_service.protocol.model import Protocol, Rule, Usual
from cds_service.rules import dose_outcomes
from cds_service.rules.case import Case, once
from cds_service.rules.ceiling import Ceiling
from cds_service.rules.dose_outcomes import objectionable, verdict
from cds_service.rules.dosing_weight import steps_at_dosing_weight, steps_at_every_weight
from cds_service.rules.given_so_far import ceilings_now
from cds_service.rules.hold import hold
from cds_service.rules.judge import judge
from cds_service.rules.outcome import Outcome
from cds_service.rules.repair import (
    ALL,
    Object,
    Objection,
    changed_order,
    edits_for,
    edits_within,
    objection,
    repaired,
    slower,
    with_edits,
)
from cds_service.rules.unit_slip import Slip
from cds_service.says import Says, listed
from cds_service.says.orders import THEN

_OF_THE_DRUG = frozenset({"allergy", "route"})
"""Categories of rules beside which no dose is offered. A contraindication may be overridden for a reason, and then
the dose must not stay too high."""


def order_offers(case: Case, outcomes: Sequence[Outcome]) -> Iterator[Proposal]:
    """Other doses for the order, and its removal where a rule asks for that or no dose ends what interrupts.

    No dose is offered where first must be known what the order is for. Nothing but the removal is offered where a
    critical finding asks for it that no other dose would end. What runs is put on hold instead, and the record of an
    administration stays as it is. Raises Late.
    """
    if not case.order.draft.may_be_changed or case.order.draft.stands_for:
        return
    fired = [outcome for outcome in outcomes if outcome.status == "fired"]
    is_open = any(outcome.asks_first for outcome in fired)
    ceilings = [ceiling for outcome in outcomes for ceiling in outcome.ceilings]
    changes = [] if is_open or any(map(_forbids, fired)) else _changes(case, fired, ceilings)
    yield from changes
    if any(outcome.removes for outcome in fired) or (objectionable(case) and not changes and not is_open):
        yield from hold(case) if case.viewing else deletion(case.order.reference, case.order.name)


def asks(outcome: Outcome) -> bool:
    """Whether an outcome asks for another dose, or for the order to be taken out."""
    if outcome.status != "fired":
        return False
    of_dose = dose_outcomes.is_of_dose(outcome.rule) or any(ceiling.asks for ceiling in outcome.ceilings)
    return of_dose or bool(outcome.edits) or outcome.removes


def _forbids(outcome: Outcome) -> bool:
    """Whether no dose is right, as with an allergy; beside another order of the drug a dose still may be."""
    return outcome.removes and outcome.severity == "critical" and outcome.rule.category in _OF_THE_DRUG


# Doses --------------------------------------------------------------------------------------------------------


def _changes(case: Case, fired: Sequence[Outcome], ceilings: list[Ceiling]) -> list[Proposal]:
    """The dose that ends all that fired; beside one that is far too high also the likely unit, or the usual start.

    `ceilings` bind every offer: those of rules that yield to a graver one among them.
    """
    if not any(map(asks, fired)):
        return []

    def objections(to: Case) -> Sequence[Objection]:
        return _objections(to, tuple(ceilings))

    edits = [edit for outcome in fired for edit in outcome.edits]
    start = with_edits(case, edits) if edits else case
    whole = repaired(start, objections) if start is not None else None
    if whole is not None and (_is_open(case) or _tells_more(case, whole)):
        ceilings += [ceiling for outcome in judge(whole) for ceiling in outcome.ceilings if _interrupts(outcome)]
        whole = repaired(whole, objections)
    if whole is not None:
        whole = _without_informing(whole, fired, objections)
    second = _change(case, _in_likely_unit(case), UNIT, objections)
    if second is None and whole is not None:
        second = _change(case, _usual_start(whole, _times(objections(case))), USUAL, objections)
    first = _change(case, whole, CHANGE if second is None else CEILING, objections)
    return [change for change in (first, second) if change is not None]


def _is_open(case: Case) -> bool:
    """Whether a range has no upper end: with one, other rules may find that too high."""
    return any(amount.open_ended for written in case.order.written for amount in (*written.dose, *written.rate))


def _tells_more(case: Case, whole: Case) -> bool:
    """Whether a part is of another kind, as a push that became an infusion, or comes to a figure that was not known
    before: other rules may find that too high.
    """
    return any(
        old.kind != new.kind or any(figure(old) is None and figure(new) is not None for figure in FIGURES.values())
        for old, new in zip(steps_at_every_weight(case), steps_at_every_weight(whole), strict=False)
    )


def _interrupts(outcome: Outcome) -> bool:
    return outcome.status == "fired" and outcome.severity in ("critical", "warning")


def _times(found: Sequence[Objection]) -> Fraction:
    """How many times its limit the dose is."""
    return max((each.times for each in found), default=ALL)


@once
def _objections(case: Case, ceilings: tuple[Ceiling, ...]) -> list[Objection]:
    """All that a dose on offer must end: what interrupts of the dose, and what it is above that other rules allow."""
    found = [objection(case, finding) for finding in objectionable(case)]
    binding = [*ceilings, *ceilings_now(case)]
    for step in steps_at_every_weight(case) if binding else ():
        for ceiling in binding:
            part = ceiling.left_of(step)
            if part is not None:
                found.append(Objection(tuple(edits_within(case, step, part) or ()), 1 / part if part else ALL))
    return found


def _without_informing(base: Case, fired: Sequence[Outcome], objections: Object) -> Case:
    """The case without the findings of the dose that only inform, as far as they can be ended too."""
    for outcome in fired:
        finding = verdict(base).found.get(outcome.rule.id) if outcome.severity == "info" else None
        edits = edits_for(base, finding) if finding is not None else None
        after = with_edits(base, edits) if edits else None
        if after is not None and not objections(after) and outcome.rule.id not in verdict(after).found:
            base = after
    return base


def _in_likely_unit(case: Case) -> Case | None:
    """The same number in the unit that it fits."""
    for slip in _slips(case):
        if slip.meant is not None and not slip.step.contradictions and not slip.step.spoken:
            amount = slip.amount
            return with_edits(case, [SetAmount(slip.step.written.index, amount, amount.written, slip.meant)])
    return None


def _slips(case: Case) -> Iterator[Slip]:
    rules = kept(case.protocol, "rules of slips", _rules_of_slips)
    return (slip for rule in rules if (slip := dose_outcomes.slip(case, rule)) is not None)


def _rules_of_slips(protocol: Protocol) -> tuple[Rule, ...]:
    return tuple(rule for rule in protocol.rules.values() if not rule.off and rule.judge == dose_outcomes.UNIT_SLIP)


def _usual_start(case: Case, times: Fraction) -> Case | None:
    """The case at the usual start of what it is judged as, where the dose is far above a limit."""
    uses = [case.protocol.uses[use.name].usual for use in case.order.indication.uses]
    if len(uses) != 1 or uses[0] is None or times <= case.number(uses[0].beyond):
        return None
    found = [_to_usual(case, step, uses[0]) for step in steps_at_dosing_weight(case)]
    edits = [edit for each in found for edit in each or ()]
    if None in found or not any(isinstance(edit, SetAmount) for edit in edits):
        return None
    return with_edits(case, edits)


def _to_usual(case: Case, step: Step, usual: Usual) -> list[Edit] | None:
    """What brings a step to its usual start: the rate, or the dose over its usual time. None where the pump cannot
    give so little: what it can is no usual start.
    """
    name = usual.rate if step.kind == "continuous" else usual.dose
    limit = case.limit(name)
    figure = FIGURES[limit.unit](step)
    if not figure or (limit.routes and step.route.kind not in limit.routes):
        return []
    part = case.number(name) / figure
    edits = edits_within(case, step, part) or []
    if part < 1 and not edits:
        return None
    minutes = case.number(usual.minutes)
    if step.kind != "continuous" and step.rate is None and (step.minutes is None or step.minutes < minutes):
        longer = slower(case, step, minutes)
        return [] if longer is None else edits + longer
    return edits


# As suggestions -------------------------------------------------------------------------------------------------


def _change(case: Case, after: Case | None, kind: str, objections: Object) -> Proposal | None:
    """The update that turns the case's order into the changed one.

    None where it leaves an objection, allows more than was ordered, or cannot be sent as valid R4.
    """
    if after is None or after.order is case.order or objections(after) or _allows_more(case, after):
        return None
    if next(_slips(after), None) is not None:
        return None  # the new number would be taken for one in another unit
    valid = changed_order(case, after)
    if valid is None:
        return None
    values = {
        "to": words.regimen(after.order.written),
        "from": case.ordered,
        "equivalent": equivalent(after),
    }
    return Proposal(kind, (Action("update", resource=valid),), values)


def _allows_more(case: Case, after: Case) -> bool:
    """Whether a part of the order comes to more than it did."""
    before, now = steps_at_every_weight(case), steps_at_every_weight(after)
    return len(before) != len(now) or any(map(_is_more, before, now))


def _is_more(old: Step, new: Step) -> bool:
    if any(amount is not None and amount.open_ended for amount in (old.dose, old.rate)):
        return False  # it had no upper end
    alike = [figure for unit, figure in FIGURES.items() if unit.endswith("/h") is not old.finite]
    return any(not no_higher(figure(new), figure(old)) for figure in alike)


def equivalent(case: Case) -> Says:
    """mg/h of each rate and mg of each dose, for a pump that wants them; empty where all are written so already, or
    one is not known.
    """
    steps = steps_at_dosing_weight(case)
    written = [step.dose or step.rate for step in steps]
    if all(given is None or (given.unit in ("mg", "mg/h") and given.shape != "ratio") for given in written):
        return ""
    figures = [
        (step.mg, "mg") if step.finite and not _is_rate_alone(step) else (step.mg_per_hour, "mg/h") for step in steps
    ]
    known = [f"{show(figure)} {unit}" for figure, unit in figures if figure is not None]
    return listed(known, THEN) if known and len(known) == len(figures) else ""


def _is_rate_alone(step: Step) -> bool:
    """Whether what is given is written as a rate; the volume beside it is the bag."""
    return step.rate is not None and (step.dose is None or step.dose.dimension == "volume")

"""The rate at which an infusion goes on after it did harm: a fraction of what ran, within the protocol's rate."""

from __future__ import annotations

from fractions import Fraction

from cds_service.orders import words
from cds_service.orders.proposal import Action, Edit, Proposal, SetAmount, floored
from cds_service.orders.regimen import Step
from cds_service.rules.case import Case
from cds_service.rules.dose_outcomes import equivalent
from cds_service.rules.dosing_weight import dosing_weight, steps_at_dosing_weight
from cds_service.rules.repair import changed_order, given_by, pump_step, with_edits
from cds_service.rules.running import PreviousRate, previous_rate


def lower_rate(case: Case, before: Fraction | None = None) -> list[Proposal]:
    """The order with every continuous rate cut (by the protocol's conventions); none where a rate cannot be read.

    `before` is the rate (mg/kg/h) that the fraction is taken of; without it, the lower of the order's own and of the
    one that is running.
    """
    # When a chart is opened the order has the rate that runs; another infusion of the drug is none of its concern.
    running = None if case.viewing else previous_rate(case, dosing_weight(case).bodies[0])
    named = case.protocol.conventions
    if named.restart_fraction is None or named.restart_most is None:
        return []
    edits: list[Edit] = []
    for step in steps_at_dosing_weight(case):
        if step.kind != "continuous":
            continue
        rate = step.mg_per_kg_per_hour
        if not rate or step.spoken or step.contradictions:
            return []
        wanted = min(
            (before or _lowest(step, rate, running)) * case.number(named.restart_fraction),
            case.number(named.restart_most),
        )
        if wanted >= rate:
            return []
        for amount in given_by(step):
            size = pump_step(case, amount)
            value = floored(amount.written * wanted / rate, size) if size else None
            if not value:
                return []
            edits.append(SetAmount(step.written.index, amount, value))
    after = with_edits(case, edits) if edits else None
    valid = changed_order(case, after) if after is not None else None
    if after is None or valid is None:
        return []
    values = {
        "to": words.regimen(after.order.written),
        "from": words.regimen(case.order.written),
        "equivalent": equivalent(after),
    }
    return [Proposal("change", (Action("update", resource=valid),), values)]


def _lowest(step: Step, rate: Fraction, running: PreviousRate | None) -> Fraction:
    """In mg/kg/h."""
    times = running.times(step) if running is not None and running.running else None
    return rate / times if times is not None and times > 1 else rate

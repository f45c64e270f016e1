"""The rate at which an infusion goes on after it did harm: a fraction of what ran, within the protocol's rate."""

from __future__ import annotations

from fractions import Fraction

from cds_service.orders.regimen import Step
from cds_service.rules.case import Case
from cds_service.rules.ceiling import NOTHING, Ceiling
from cds_service.rules.dosing_weight import dosing_weight, steps_at_dosing_weight
from cds_service.rules.running import PreviousRate, previous_rate


def lower_rate(case: Case, before: Fraction | None = None) -> tuple[Ceiling, ...]:
    """The most that every continuous rate may be (by the protocol's conventions); nothing where it cannot be read.

    `before` is the rate (mg/kg/h) that the fraction is taken of; without it, the lower of the order's own and of the
    one that is running.
    """
    # When a chart is opened the order has the rate that runs; another infusion of the drug is none of its concern.
    running = None if case.viewing else previous_rate(case, dosing_weight(case).bodies[0])
    named = case.protocol.conventions
    if named.restart_fraction is None or named.restart_most is None:
        return ()
    found: list[Ceiling] = []
    for step in steps_at_dosing_weight(case):
        if step.kind != "continuous":
            continue
        rate, most = step.mg_per_kg_per_hour, NOTHING
        if rate:
            earlier = before or _lowest(step, rate, running)
            most = min(earlier * case.number(named.restart_fraction), case.number(named.restart_most))
        found.append(Ceiling(step.written.index, "mg/kg/h", most))
    return tuple(found)


def _lowest(step: Step, rate: Fraction, running: PreviousRate | None) -> Fraction:
    """In mg/kg/h."""
    times = running.times(step) if running is not None and running.running else None
    return rate / times if times is not None and times > 1 else rate

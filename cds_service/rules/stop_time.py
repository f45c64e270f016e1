"""An end for an infusion that has none, or that ends too late."""

from __future__ import annotations

from cds_service.figures import show
from cds_service.orders.proposal import Edit, Proposal, SetEnd
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.order_rules import edited_order


def stop_after(case: Case, limit: str) -> list[Proposal]:
    """The order with an end at so many hours. None where a finite dose would then run at another rate, and none of
    several infusions that follow each other: an end of each would not end them all.
    """
    infusions = [step for step in steps_at_dosing_weight(case) if step.kind == "continuous"]
    if not infusions or any(step.dose is not None or step.written.minutes is not None for step in infusions):
        return []
    if len({(step.written.sequence, step.written.start) for step in infusions}) > 1:
        return []
    hours = case.number(limit)
    edits: list[Edit] = [SetEnd(step.written.index, hours) for step in infusions]
    return edited_order(case, "stop", edits, hours=show(hours))

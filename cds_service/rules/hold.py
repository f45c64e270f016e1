"""Stopping what does harm: a running order is put on hold, a draft is taken out."""

from __future__ import annotations

from cds_service.fhir import lenient
from cds_service.orders.proposal import Action, Proposal
from cds_service.rules.case import Case
from cds_service.rules.repair import sendable

HOLD = "hold"
"""What a rule's `suggests` names."""


def hold(case: Case) -> list[Proposal]:
    """The running order as it was sent, with the status on-hold; none where only the administration is known."""
    if not case.viewing:
        return []
    sent = case.chart.order_json(case.order.reference)
    if sent is None:
        return []
    held = {**lenient.untyped(sent), "status": "on-hold"}
    valid = sendable(case, held)
    return [Proposal("hold", (Action("update", resource=valid),), {"order": case.order.name})] if valid else []

"""Stopping what does harm: a running order is put on hold, a draft is taken out."""

from __future__ import annotations

from cds_service.fhir import lenient, outgoing
from cds_service.orders.proposal import Action, Proposal, deletion
from cds_service.rules.case import Case

HOLD = "hold"
"""What a rule's `suggests` names."""


def hold(case: Case) -> list[Proposal]:
    """The order as it was sent, with the status on-hold; none where only the administration is known."""
    if not case.viewing:
        return deletion(case.order.reference, case.order.name)
    sent = case.chart.order_json(case.order.reference)
    if sent is None:
        return []
    held = {**lenient.untyped(sent), "status": "on-hold"}
    valid = outgoing.medication_request(held, case.chart.patient_id, case.now)
    return [Proposal("hold", (Action("update", resource=valid),), {"order": case.order.name})] if valid else []

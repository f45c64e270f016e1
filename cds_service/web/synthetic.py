"""The order of nobody: judged at the start, so that nobody waits for first imports, and to see that judging works."""

from __future__ import annotations

from datetime import datetime

from cds_service.advise import advice
from cds_service.fhir.source import NoSource
from cds_service.hooks import discovery
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge

ORDER = (
    b'{"hook":"order-sign","hookInstance":"00000000-0000-0000-0000-000000000000","context":{"userId":"Practitioner/w",'
    b'"patientId":"w","draftOrders":{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":'
    b'"MedicationRequest","id":"w","status":"draft","intent":"order","subject":{"reference":"Patient/w"},'
    b'"medicationCodeableConcept":{"text":"ketamine"},"dosageInstruction":[{"doseAndRate":[{"rateQuantity":'
    b'{"value":9,"unit":"mg/kg/h"}}]}]}}]}},"prefetch":{"administrations":{"resourceType":"Bundle","entry":[{"resource":'
    b'{"resourceType":"MedicationAdministration","id":"w","status":"in-progress","subject":{"reference":"Patient/w"},'
    b'"medicationCodeableConcept":{"text":"ketamine"},"effectiveDateTime":"2026-01-01T00:00:00Z"}}]}}}'
)
"""A rate that no protocol allows. The running administration is for patient-view."""


def judge(knowledge: Knowledge, now: datetime) -> None:
    """Judge it at every hook. Nothing is recorded or counted."""
    for service in discovery.SERVICES:
        advice(parse(ORDER, service.hook), service.signing, knowledge, NoSource(), now)


def is_judged(knowledge: Knowledge, now: datetime) -> bool:
    """Whether it is judged at order-sign, and a rule speaks."""
    service = next(each for each in discovery.SERVICES if each.signing)
    made = advice(parse(ORDER, service.hook), service.signing, knowledge, NoSource(), now)
    outcomes = [outcome for each in made.judged for outcome in each.outcomes]
    return not made.failed and bool(made.response.cards) and any(each.status == "fired" for each in outcomes)

"""What the server's workers load: the application, warmed up and with its memory frozen."""

from __future__ import annotations

import gc
from datetime import datetime

from cds_service.advise import advise
from cds_service.fhir.client import NoSource
from cds_service.hooks import discovery
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge, load
from cds_service.settings import load as load_settings
from cds_service.web import logs
from cds_service.web.app import create_app
from cds_service.web.audit import open_audit
from cds_service.web.security import read_keys

_WARM_UP = (
    b'{"hook":"order-sign","hookInstance":"00000000-0000-0000-0000-000000000000","context":{"userId":"Practitioner/w",'
    b'"patientId":"w","draftOrders":{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":'
    b'"MedicationRequest","id":"w","status":"draft","intent":"order","subject":{"reference":"Patient/w"},'
    b'"medicationCodeableConcept":{"text":"ketamine"},"dosageInstruction":[{"doseAndRate":[{"rateQuantity":'
    b'{"value":9,"unit":"mg/kg/h"}}]}]}}]}},"prefetch":{"administrations":{"resourceType":"Bundle","entry":[{"resource":'
    b'{"resourceType":"MedicationAdministration","id":"w","status":"in-progress","subject":{"reference":"Patient/w"},'
    b'"medicationCodeableConcept":{"text":"ketamine"},"effectiveDateTime":"2026-01-01T00:00:00Z"}}]}}}'
)


def warm_up(knowledge: Knowledge) -> None:
    """Judge one order, so that no clinician waits for first imports, then take what is loaded out of collection.

    Without the freeze one full collection costs more than a request (see docs/performance.md).
    """
    for service in discovery.SERVICES:
        advise(parse(_WARM_UP, service.hook), service.signing, knowledge, NoSource(), datetime.now().astimezone())
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


_settings = load_settings()
logs.to_stderr(_settings.log_level)
_knowledge = load(_settings.base_url, _settings.overlay, _settings.valuesets)
app = create_app(_settings, _knowledge, recording=open_audit(_settings))
read_keys(app)
warm_up(_knowledge)

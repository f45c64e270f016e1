"""The feedback endpoint: what clinicians did with cards is on the disk before the answer says so."""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec
from flask import Flask, Response

from cds_service.hooks import discovery
from cds_service.hooks import feedback as hook_feedback
from cds_service.hooks.errors import UnknownService
from cds_service.hooks.feedback import Entry, NotStored
from cds_service.store.engines import StoreError
from cds_service.store.records import Feedback
from cds_service.web import tenants
from cds_service.web.deployment import Deployment
from cds_service.web.wire import answer, read_body

log = logging.getLogger("ketamine_cds")


def register(app: Flask, deployment: Deployment) -> None:
    """200 where something was stored or there was nothing to store, 400 where every entry was refused.

    503 where the store cannot be written: the client must know that its feedback is not kept.
    """
    store = deployment.audit.store

    @app.post("/cds-services/<service_id>/feedback", strict_slashes=False)
    def feedback(service_id: str) -> Response:
        if service_id not in discovery.BY_ID:
            raise UnknownService(f"there is no service of that id; known are {', '.join(discovery.BY_ID)}")
        taken = tenants.current().knowledge.reasons_taken
        entries, refusals = hook_feedback.parse(read_body(deployment.settings.max_body_bytes), taken)
        if entries and store is None:
            raise NotStored("this service has no store and takes no feedback")
        if entries and store is not None:
            client, now = tenants.current().id, deployment.clock()
            try:
                store.add_feedback([_record(entry, service_id, client, now) for entry in entries])
            except StoreError as error:
                log.error("feedback could not be stored: %s", error)
                raise NotStored("the feedback could not be stored; send it again") from error
        status = 400 if refusals and not entries else 200
        return answer(msgspec.json.encode(hook_feedback.outcome(len(entries), refusals)), status)


def _record(entry: Entry, service: str, client: str, now: datetime) -> Feedback:
    return Feedback(
        card=entry.card,
        service=service,
        client=client,
        outcome=entry.outcome,
        sent_at=entry.at,
        received_at=now,
        reasons=[list(reason) for reason in entry.reasons],
        commented=entry.commented,
        suggestions=list(entry.suggestions),
    )

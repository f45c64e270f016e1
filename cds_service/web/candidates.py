"""Hands answered calls to the thread in which candidates judge them; without a candidate it does nothing."""

from __future__ import annotations

from datetime import datetime

from flask import Flask, g

from cds_service.advise import Advice
from cds_service.candidate import Fetched, Remembering, Seen, Shadow
from cds_service.hooks.discovery import Service
from cds_service.web import metrics, overload
from cds_service.web.deployment import Deployment
from cds_service.web.tenants import Tenant

SHADOW = "ketamine-cds.candidates"


def register(app: Flask, deployment: Deployment) -> None:
    """After the part that counts calls in progress."""
    if all(tenant.policies is None for tenant in deployment.tenants.by_id.values()):
        return
    shadow = Shadow(deployment.audit.keep, overload.load_of(app).rest, metrics.candidate_call)
    app.extensions[SHADOW] = shadow

    @app.teardown_request
    def hand_over(error: BaseException | None) -> None:
        seen: Seen | None = g.pop("seen_by_candidate", None)
        if seen is not None:
            shadow.take(seen)


def note(tenant: Tenant, body: bytes, service: Service, now: datetime, advice: Advice, source: object) -> None:
    """Remember the call at hand for the candidate, where there is one and the call had an order to judge."""
    if tenant.policies is None or not (advice.judged or advice.composed):
        return
    g.seen_by_candidate = Seen(
        client=tenant.id,
        policies=tenant.policies,
        body=body,
        hook=service.hook,
        signing=service.signing,
        now=now,
        sends=tenant.sends,
        fetched=source.kept if isinstance(source, Remembering) else Fetched(),
    )

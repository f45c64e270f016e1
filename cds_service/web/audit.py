"""Records what was answered, and says which store it goes to: opened once for each worker."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flask import Flask, Response, g

from cds_service.audit import Audit, Call, Watch
from cds_service.settings import Settings
from cds_service.store import keys
from cds_service.store.engines import StoreError, shown
from cds_service.store.store import Store
from cds_service.web import metrics, tenants
from cds_service.web.deployment import Deployment
from cds_service.web.observe import ready_if
from cds_service.web.services import Invocation

log = logging.getLogger("ketamine_cds")

_WATCH = Watch(
    lost=metrics.audit_dropped,
    waits=metrics.audit_waits,
    unanswered=metrics.unanswered("overrides"),
    held=metrics.held("overrides"),
)


def open_audit(settings: Settings) -> Audit:
    """The audit of these settings. A store that is away now is used once it is back; orders are judged meanwhile.

    Raises StoreError or UnusableKey where the settings themselves are wrong.
    """
    if settings.store_url is None:
        return Audit(None)
    store = _store(settings.store_url)
    key = keys.read(settings.store_key_file) if settings.store_key_file else None
    try:
        store.migrate()
        # The first query is the slowest, and no clinician should be the one to wait for it.
        store.overrides([""], "", datetime.now(UTC))
    except StoreError as error:
        log.error("nothing is recorded for now: %s", error)
    return Audit(store, key, _WATCH, timedelta(days=settings.keep_facts_days))


def _store(url: str) -> Store:
    try:
        return Store(url)
    except StoreError as error:
        raise StoreError(f"KETAMINE_CDS_STORE cannot be used: {error}") from error


def what_is_recorded(settings: Settings) -> str:
    """Said at each start. Migrates the store, so that the workers need not wait for each other.

    Raises StoreError or UnusableKey where the settings themselves are wrong; a store that is away may come back.
    """
    if settings.store_url is None:
        said = "Nothing is recorded, and feedback is refused (KETAMINE_CDS_STORE is off)."
    else:
        store = _store(settings.store_url)
        try:
            store.migrate()
            said = f"Recorded in {shown(store.url)}"
        except StoreError as error:
            said = f"NOT RECORDED as long as {error}"
        finally:
            store.close()
        if settings.store_key_file is None:
            said += (
                ", without patients and orders: no KETAMINE_CDS_STORE_KEY_FILE, so no override keeps a card quiet."
            )
        else:
            key = keys.read(settings.store_key_file)
            said += "; what the former key recorded is looked up too." if key.former else ""
        if settings.keep_facts_days:
            said += f" What each finding rests on is kept for {settings.keep_facts_days} days."
    if settings.shadow == "on":
        said += " SHADOW MODE: no card is sent to anyone."
    return said


def register(app: Flask, deployment: Deployment) -> None:
    """After the answer is made and before it is sent, its record goes to the writer's queue."""
    audit, shadow = deployment.audit, deployment.settings.shadow == "on"
    if audit.store is None:
        return
    ready_if(app, "store", audit.is_well, degrades=True)

    @app.before_request
    def begin() -> None:
        g.call_began = time.perf_counter()

    @app.after_request
    def record(sent: Response) -> Response:
        made: Invocation | None = g.get("invocation")
        if made is None:
            return sent
        tenant = tenants.current()
        shown = {card.uuid for card in made.sent.cards}
        advice = made.advice
        if not shadow:  # a profile may have left cards out
            composed = [each for each in advice.composed if each.card.uuid in shown]
            advice = replace(advice, composed=composed)
        call = Call(
            service=made.service.id,
            client=tenant.id,
            hook_instance=made.request.hook_instance if made.request else None,
            at=made.now,
            microseconds=round((time.perf_counter() - g.call_began) * 1_000_000),
            protocol=tenant.knowledge.protocol,
            shadow=shadow,
        )
        audit.record(call, advice)
        return sent

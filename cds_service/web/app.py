"""The web application: CDS Hooks over HTTP, every error an OperationOutcome, no patient data in any log.

Each part is a module of this package with one function `register(app, deployment)`, which adds its routes and
whatever it does before or after a request.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask

from cds_service.audit import Audit
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import (
    audit,
    candidates,
    deadlines,
    errors,
    feedback,
    fhir,
    observe,
    openapi,
    overload,
    pages,
    sandbox,
    security,
    services,
    tenants,
)
from cds_service.web.deployment import Deployment


class Application(Flask):
    """No part of it is a coroutine, for which Flask looks at each function of a part in each call."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def now() -> datetime:
    """The door's clock, in the zone of this machine."""
    return datetime.now().astimezone()


def create_app(
    settings: Settings, knowledge: Knowledge, clock: Callable[[], datetime] = now, recording: Audit | None = None
) -> Flask:
    """The application for these settings. `clock` is replaced only by tests; without `recording` nothing is kept."""
    app = Application(__name__)
    deployment = Deployment(
        settings, knowledge, tenants.load(settings, knowledge, clock), clock, recording or Audit(None)
    )
    errors.register(app)
    # Before a request the parts run from the top down, after it from the bottom up: the first sees everything.
    observe.register(app, deployment)
    deadlines.register(app, deployment)
    overload.register(app, deployment)
    security.register(app, deployment)
    audit.register(app, deployment)
    candidates.register(app, deployment)
    services.register(app, deployment)
    feedback.register(app, deployment)
    pages.register(app, deployment)
    fhir.register(app, deployment)
    sandbox.register(app, deployment)
    openapi.register(app, deployment)
    return app

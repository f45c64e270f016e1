"""What the parts of the application share: settings, clients with all that belongs to each, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cds_service.audit import Audit
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.tenants import Tenants


@dataclass(frozen=True)
class Deployment:
    """One for each application; every `register(app, deployment)` of cds_service.web gets it."""

    settings: Settings
    knowledge: Knowledge
    """The knowledge of the settings' overlay. A client may have another: `tenants.current().knowledge`."""
    tenants: Tenants
    clock: Callable[[], datetime]
    """The door's clock, with a zone."""
    audit: Audit
    """Where calls are recorded, and what clinicians overrode."""

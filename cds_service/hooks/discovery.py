"""The discovery answer: one service per hook, with the prefetch that it would like to have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.fhir.queries import Query

USAGE = (
    "Send draftOrders with dosage, route and medication. FHIR R4. Data that is neither prefetched nor readable on "
    "the FHIR server is reported on the card, never assumed. Feedback is welcome."
)


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service: `id` is stable, clients key on it."""

    id: str
    hook: str
    title: str
    description: str

    @property
    def signing(self) -> bool:
        return self.hook == "order-sign"


SERVICES = (
    Service(
        id="ketamine-order-select",
        hook="order-select",
        title="Ketamine order check (while ordering)",
        description="Checks selected ketamine and esketamine orders: dose, route, strength, contraindications.",
    ),
    Service(
        id="ketamine-order-sign",
        hook="order-sign",
        title="Ketamine order check (before signing)",
        description="Checks every ketamine and esketamine order that is about to be signed against the protocol.",
    ),
    Service(
        id="ketamine-patient-view",
        hook="patient-view",
        title="Ketamine infusion check (opening a chart)",
        description="Looks for harm by a ketamine or esketamine infusion that is running: symptoms and vital signs.",
    ),
)
BY_ID = {service.id: service for service in SERVICES}


def discovery(queries: Sequence[Query], version: str) -> dict[str, Any]:
    """The body of GET /cds-services (CDS Hooks 2.0.1; `version` and `hookVersion` as in 3.0.0-ballot)."""
    prefetch = {query.key: query.template for query in queries}
    return {
        "services": [
            {
                "hook": service.hook,
                "title": service.title,
                "description": service.description,
                "id": service.id,
                "prefetch": prefetch,
                "usageRequirements": USAGE,
                "version": version,
                "hookVersion": "1.0",
            }
            for service in SERVICES
        ]
    }

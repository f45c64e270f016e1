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
    """One CDS service: `id` is stable, clients key on it. Title and description name what is loaded."""

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
        title="{families} order check (while ordering)",
        description="Checks selected {drugs} orders: dose, route, strength, contraindications.",
    ),
    Service(
        id="ketamine-order-sign",
        hook="order-sign",
        title="{families} order check (before signing)",
        description="Checks every {drugs} order that is about to be signed against the protocol.",
    ),
    Service(
        id="ketamine-patient-view",
        hook="patient-view",
        title="{families} infusion check (opening a chart)",
        description="Looks for harm by {drugs} infusions that are running: symptoms and vital signs.",
    ),
)
BY_ID = {service.id: service for service in SERVICES}


def discovery(queries: Sequence[Query], version: str, families: str, drugs: str) -> dict[str, Any]:
    """The body of GET /cds-services (CDS Hooks 2.0.1; `version` and `hookVersion` as in 3.0.0-ballot).

    `families` and `drugs` are what the protocols judge, as a sentence lists them.
    """
    families = families[:1].upper() + families[1:]
    prefetch = {query.key: query.template for query in queries}
    return {
        "services": [
            {
                "hook": service.hook,
                "title": service.title.format(families=families),
                "description": service.description.format(drugs=drugs),
                "id": service.id,
                "prefetch": prefetch,
                "usageRequirements": USAGE,
                "version": version,
                "hookVersion": "1.0",
            }
            for service in SERVICES
        ]
    }

"""What the operator is told once, at the start, instead of the clinician with every order."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.fhir import queries
from cds_service.knowledge import Knowledge
from cds_service.protocol.references import not_judged
from cds_service.web.tenants import Tenants


def lines(tenants: Tenants) -> Iterator[str]:
    """A line for each client that does not send everything or has a candidate, and for sets without codes."""
    for client in tenants.by_id.values():
        if client.sends is not None and (left := [key for key in queries.prefetch_keys() if key not in client.sends]):
            yield f"NOT SENT by {client.id}: {', '.join(left)}; what they alone could decide is not judged for it"
    for client in tenants.by_id.values():
        if client.policies is not None:
            digest = client.policies.candidate.digest
            yield f"CANDIDATE {digest} of {client.id}: judged beside its policy after each answer, and only counted"
    yield from dict.fromkeys(said for client in tenants.by_id.values() if (said := _not_judged(client.knowledge)))


def _not_judged(knowledge: Knowledge) -> str:
    sets = not_judged([part.protocol for part in knowledge.parts], knowledge.valuesets)
    said = ", ".join(f"{name} ({', '.join(rules)})" for name, rules in sets.items())
    return f"NOT JUDGED, for want of codes that a site may add: {said}" if said else ""

"""What cards offer as FHIR ActivityDefinitions: an order that is created, and a dose that is brought to a limit.

A number is never repeated here: an offer that rests on a limit names its definition in the library of offers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cds_service.protocol import model, publish
from cds_service.protocol.model import Limit, Orderable, Protocol
from cds_service.protocol.publish import Published
from cds_service.terminology.valueset import CANONICAL

_TO_A_LIMIT: Mapping[str, Mapping[str, str]] = {
    model.LOWER_TO: {
        "mg/kg/h": "dosageInstruction.doseAndRate.rate",
        "mg/kg": "dosageInstruction.doseAndRate.dose",
        "mg": "dosageInstruction.doseAndRate.dose",
    },
    model.STOP_AFTER: {"h": "dosageInstruction.timing.repeat.bounds"},
    model.SLOW_TO: {"min": "dosageInstruction.timing.repeat.duration"},
}
"""The element of a MedicationRequest that an offer sets, by the unit of its limit."""
PLAIN_NUMBER = frozenset({"dosageInstruction.timing.repeat.duration"})
"""Elements that hold a number without its unit."""
_UNIT_OF = {"dosageInstruction.timing.repeat.duration": "dosageInstruction.timing.repeat.durationUnit"}


def offers_of(protocol: Protocol) -> dict[str, None]:
    """Every offer of a rule or a tier, in the order of the rules, with the parts of those that are several orders."""
    named: dict[str, None] = {}
    for rule in protocol.rules.values():
        for name in (*rule.suggests, *(each for tier in rule.tiers for each in tier.suggests)):
            entry = protocol.orderables.get(name)
            named.update(dict.fromkeys(entry.bundle if entry is not None and entry.bundle else [name]))
    return named


def limits_of(protocol: Protocol) -> dict[str, Limit]:
    """Offer -> the limit that it brings the order to, for those that FHIR can say."""
    return {name: limit for name in offers_of(protocol) if (limit := _limit_of(name, protocol)) is not None}


def said(protocol: Protocol) -> frozenset[str]:
    """The offers that have an ActivityDefinition."""
    return frozenset(limits_of(protocol)) | {
        name for name in offers_of(protocol) if _is_order(protocol.orderables.get(name))
    }


def activity_definitions(published: Published) -> Iterator[dict[str, Any]]:
    protocol = published.protocol
    limits = limits_of(protocol)
    for name in offers_of(protocol):
        if name not in published.activities:
            continue
        entry = protocol.orderables.get(name)
        yield _to_a_limit(name, limits[name], published) if entry is None else _order(name, entry, published)


def element_of(name: str, limit: Limit) -> str | None:
    """The path of what an offer sets."""
    for begin, paths in _TO_A_LIMIT.items():
        if name.startswith(begin):
            return paths.get(limit.unit)
    return None


def _limit_of(name: str, protocol: Protocol) -> Limit | None:
    for begin in _TO_A_LIMIT:
        limit = protocol.limits.get(name.removeprefix(begin)) if name.startswith(begin) else None
        if limit is not None and element_of(name, limit) is not None:
            return limit
    return None


def _is_order(entry: Orderable | None) -> bool:
    return entry is not None and entry.kind in ("service", "product") and not entry.bundle


def _head(name: str, published: Published) -> dict[str, Any]:
    protocol, label = published.protocol, published.words.offer(name)
    made = publish.head("ActivityDefinition", protocol)
    identifier = publish.activity_id(name, protocol)
    return {
        "resourceType": "ActivityDefinition",
        **made,
        "id": identifier,
        "url": f"{CANONICAL}/ActivityDefinition/{identifier}",
        "name": identifier.replace("-", "_").capitalize(),
        "title": label,
        "text": publish.narrative(f"{label}: {protocol.title} {protocol.version}."),
    }


def _order(name: str, entry: Orderable, published: Published) -> dict[str, Any]:
    code = {"coding": [msgspec.to_builtins(each) for each in entry.codings]} if entry.codings else {}
    concept = {**code, "text": entry.title}
    is_product = entry.kind == "product"
    return {
        **_head(name, published),
        "description": entry.title,
        "kind": "MedicationRequest" if is_product else "ServiceRequest",
        "productCodeableConcept" if is_product else "code": concept,
        "intent": "proposal",
        "priority": entry.priority,
    }


def _to_a_limit(name: str, limit: Limit, published: Published) -> dict[str, Any]:
    path = element_of(name, limit)
    assert path is not None
    library = publish.library_url(published.offers, published.protocol)
    values = [(path, {"language": "text/cql-identifier", "expression": name, "reference": library})]
    if path in _UNIT_OF:
        values.append((_UNIT_OF[path], {"language": "text/cql", "expression": f"'{limit.unit}'"}))
    own = any(each.stands_for == limit.id for each in published.protocol.limits.values())
    number = "; each drug has a number of its own" if own else ""
    says = f"{limit.title}{number}. The service offers it where no other rule objects to the order as it then is."
    return {
        **_head(name, published),
        "description": says,
        "library": [library],
        "kind": "MedicationRequest",
        "intent": "proposal",
        "dynamicValue": [{"path": path, "expression": expression} for path, expression in values],
    }

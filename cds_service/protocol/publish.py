"""The protocol as FHIR R4 knowledge resources: PlanDefinition, Library, ValueSet. Nothing here is read back."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from html import escape
from typing import Any

import msgspec

from cds_service.protocol import evidence, model
from cds_service.protocol.limits import numbers_as_written
from cds_service.protocol.model import Limit, Protocol, Rule, Severity, Tier
from cds_service.protocol.words import Words
from cds_service.terminology.systems import UCUM
from cds_service.terminology.valueset import CANONICAL

PUBLISHER = "Ketamine CDS"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_INDICATOR = "http://cds-hooks.hl7.org/CodeSystem/indicator"
_PRIORITY: Mapping[Severity, str] = {"critical": "stat", "warning": "urgent", "info": "routine"}
_CHANGES: Mapping[str, str] = {"service": "create", "product": "update", "reason": "update"}
_READS: Mapping[type, tuple[str, str]] = {
    model.ConditionIs: ("Condition", "code"),
    model.ObservationIs: ("Observation", "code"),
    model.SymptomIs: ("Observation", "code"),
    model.MedicineIs: ("MedicationRequest", "medication"),
    model.ProcedureIs: ("Procedure", "code"),
    model.AllergyIs: ("AllergyIntolerance", "code"),
    model.MonitoringIs: ("ServiceRequest", "code"),
}
"""The resource type and element that a clause about value sets reads."""
_CLAUSE = f"{CANONICAL}/StructureDefinition/clause"
CQL, ELM = "text/cql", "application/elm+json"
FIRES = "Fires"
"""What a library calls whether its rule fires."""
_EXACT = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Published:
    """What is published as of `day`. `cards` holds the card's wording of (rule, tier)."""

    protocol: Protocol
    words: Words
    cards: Mapping[tuple[str, str], str]
    topic_system: str
    """The code system of rule ids, as it stands in a card's topic."""
    day: date
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Rule -> the CQL library that says it."""
    offers: str = ""
    """The CQL library that the values of offers are defined in."""
    untold: str = ""
    """The CQL library that says of each rule whether it cannot be told."""
    activities: frozenset[str] = frozenset()
    """The offers that have an ActivityDefinition."""


def plan_definition(published: Published) -> dict[str, Any]:
    """One action for each rule that is on, with its tiers as sub-actions of which the first that holds counts.

    Another one follows each rule that CQL says: it applies where the rule cannot be told.
    """
    protocol = published.protocol
    libraries = (protocol.id, *published.libraries.values(), published.untold)
    return {
        "resourceType": "PlanDefinition",
        **head("PlanDefinition", protocol),
        "name": f"{_name(protocol)}OrderSafety",
        "title": protocol.title,
        "type": _concept(f"{_TERMINOLOGY}/plan-definition-type", "eca-rule"),
        "library": [library_url(name, protocol) for name in filter(None, libraries)],
        "relatedArtifact": list(_citations(protocol, protocol.evidence)),
        "action": [each for rule in protocol.rules.values() if not rule.off for each in _actions(rule, published)],
    }


def library(published: Published) -> dict[str, Any]:
    """The limits as a FHIR Parameters resource and as plain JSON, both as content; the evidence as citations."""
    protocol = published.protocol
    limits = [_limit(limit, published.day) for limit in protocol.limits.values()]
    parameters = {"resourceType": "Parameters", "parameter": limits}
    return {
        "resourceType": "Library",
        **head("Library", protocol),
        "name": f"{_name(protocol)}Limits",
        "title": f"{protocol.title}: limits and evidence",
        "type": _concept(f"{_TERMINOLOGY}/library-type", "asset-collection"),
        "relatedArtifact": [
            *_citations(protocol, protocol.evidence),
            *({"type": "composed-of", "resource": url} for url in _value_set_urls(published)),
        ],
        "content": [
            _attachment("application/fhir+json", "Limits in force", parameters),
            _attachment("application/json", "Limits with all their dates", list(protocol.limits.values())),
        ],
    }


def head(kind: str, protocol: Protocol) -> dict[str, Any]:
    """What these resources begin with. They stay drafts until a clinician has signed the protocol off."""
    site = f" With the overlay of {protocol.site}." if protocol.site else ""
    return {
        "id": protocol.id,
        "url": f"{CANONICAL}/{kind}/{protocol.id}",
        "version": protocol.version,
        "status": "draft",
        "experimental": True,
        "date": protocol.date.isoformat(),
        "publisher": PUBLISHER,
        "description": protocol.notes.strip() + site,
        "text": narrative(f"{protocol.title} {protocol.version}.{site} {protocol.notes.strip()}"),
    }


def _name(protocol: Protocol) -> str:
    """Its id as FHIR wants a name for software."""
    return "".join(part.capitalize() for part in protocol.id.split("-"))


def narrative(says: str) -> dict[str, str]:
    """What a reader without software for FHIR sees of a resource."""
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{escape(says)}</p></div>'}


# Rules --------------------------------------------------------------------------------------------------------


def _actions(rule: Rule, published: Published) -> Iterator[dict[str, Any]]:
    yield _action(rule, published)
    if condition := _cql(f"{rule.title}: it cannot be told", rule.id, rule, published.untold, published):
        yield {
            "id": untold_action(rule.id),
            "title": f"{rule.title}: could not be told",
            "textEquivalent": "It could not be told if this applies: what it rests on is missing, or not read.",
            "priority": "routine",
            "trigger": _triggers(rule),
            "condition": [condition],
        }


def untold_action(rule: str) -> str:
    """The id of the action that applies where a rule cannot be told."""
    return f"{rule}.could-not-tell"


def _triggers(rule: Rule) -> list[dict[str, Any]]:
    return [{"type": "named-event", "name": hook} for hook in rule.hooks]


def _action(rule: Rule, published: Published) -> dict[str, Any]:
    protocol, trigger = published.protocol, published.words.trigger(rule)
    own = published.libraries.get(rule.id, "")
    made = {
        "id": rule.id,
        "prefix": str(rule.row),
        "title": rule.title,
        "description": trigger,
        "textEquivalent": published.cards[rule.id, rule.tiers[0].name],
        "priority": _PRIORITY[rule.tiers[0].severity],
        "code": [_concept(published.topic_system, rule.id, rule.title)],
        "documentation": list(_documentation(rule, protocol)),
        "trigger": _triggers(rule),
        "condition": [_cql(trigger, FIRES, rule, own, published) or _condition(trigger, trigger, "text/plain")],
        "groupingBehavior": "logical-group",
        "selectionBehavior": "at-most-one",
        "action": [_tier(rule, tier, published) for tier in rule.tiers],
    }
    if inputs := _inputs(rule):
        made["input"] = inputs
    return made


def _tier(rule: Rule, tier: Tier, published: Published) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": f"{rule.id}.{tier.name}",
        "title": tier.name.replace("-", " "),
        "textEquivalent": published.cards[rule.id, tier.name],
        "priority": _PRIORITY[tier.severity],
        "code": [_concept(_INDICATOR, tier.severity)],
    }
    if tier.when is not None:
        said = published.words.tier(tier)
        clause = msgspec.json.encode(_without_defaults(msgspec.to_builtins(tier.when))).decode()
        in_cql = _cql(said, tier_name(tier.name), rule, published.libraries.get(rule.id, ""), published)
        if in_cql is not None:
            in_cql["expression"]["extension"] = [{"url": _CLAUSE, "valueString": clause}]
        made["condition"] = [in_cql or _condition(said, clause, "application/json")]
    if rule.suggests:
        made["selectionBehavior"] = "any"
        made["action"] = [_suggestion(name, published) for name in rule.suggests]
    return made


def _condition(says: str, expression: str, media_type: str) -> dict[str, Any]:
    """R4 has codes for CQL, FHIRPath and queries alone, and no other is valid: the language is said to be none."""
    return {
        "kind": "applicability",
        "expression": {
            "extension": [{"url": f"{CANONICAL}/StructureDefinition/expression-format", "valueCode": media_type}],
            "description": says,
            "_language": {"extension": [{"url": _ABSENT, "valueCode": "not-applicable"}]},
            "expression": expression,
        },
    }


def _cql(says: str, name: str, rule: Rule, library: str, published: Published) -> dict[str, Any] | None:
    """A condition that an engine can evaluate: a definition of a library; None where CQL does not say the rule."""
    if rule.id not in published.libraries:
        return None
    reference = library_url(library, published.protocol)
    expression = {"description": says, "language": "text/cql-identifier", "expression": name, "reference": reference}
    return {"kind": "applicability", "expression": expression}


def tier_name(name: str) -> str:
    """How a library calls a tier: a fact may have its name."""
    return f"Tier {name}"


def activity_id(name: str, protocol: Protocol) -> str:
    """The id of the ActivityDefinition of an offer."""
    return f"{protocol.id}-{name}"


def library_url(name: str, protocol: Protocol) -> str:
    return f"{CANONICAL}/Library/{name}|{protocol.version}"


def cql_library(
    published: Published, name: str, text: str, depends_on: Iterable[str], elm: bytes | None = None
) -> dict[str, Any]:
    """A CQL library as a resource, with the libraries and value sets that it depends on; `elm`: its translation."""
    protocol = published.protocol
    return {
        "resourceType": "Library",
        **head("Library", protocol),
        "id": name,
        "url": f"{CANONICAL}/Library/{name}",
        "name": name,
        "title": f"{protocol.title}: {name} in CQL",
        "type": _concept(f"{_TERMINOLOGY}/library-type", "logic-library"),
        "relatedArtifact": [{"type": "depends-on", "resource": each} for each in depends_on],
        "content": [
            {"contentType": kind, "data": base64.b64encode(data).decode()}
            for kind, data in ((CQL, text.encode()), (ELM, elm))
            if data is not None
        ],
    }


def _suggestion(name: str, published: Published) -> dict[str, Any]:
    """What one click does: create an order (or several), change this one, or remove it."""
    entry = published.protocol.orderables.get(name)
    made: dict[str, Any] = {"title": published.words.offer(name)}
    if entry is None:
        change = "remove" if name == "delete" else "update"
    else:
        change = _CHANGES[entry.kind]
        made["description"] = entry.title
        if entry.codings:
            made["code"] = [{"coding": [msgspec.to_builtins(coding) for coding in entry.codings]}]
        if entry.bundle:
            made |= {"groupingBehavior": "logical-group", "selectionBehavior": "all"}
            made["action"] = [_suggestion(each, published) for each in entry.bundle]
    if name in published.activities:
        identifier = activity_id(name, published.protocol)
        url = f"{CANONICAL}/ActivityDefinition/{identifier}|{published.protocol.version}"
        made["definitionCanonical"] = url
    return {**made, "type": _concept(f"{_TERMINOLOGY}/action-type", change)}


def _documentation(rule: Rule, protocol: Protocol) -> Iterator[dict[str, Any]]:
    """The citations, the statements of the two source documents, and the conflicts with their resolution."""
    yield from _citations(protocol, rule.citations)
    for name in rule.statements:
        statement = protocol.statements[name]
        says = f"Source {statement.source}: {statement.says.strip()}"
        yield {"type": "derived-from", "label": name, "display": says}
    for name in rule.conflicts:
        conflict = protocol.conflicts[name]
        says = f"{conflict.between.strip()} {conflict.resolution.strip()}"
        yield {"type": "justification", "label": name, "display": says}


def _citations(protocol: Protocol, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    wanted = set(names)
    for row in evidence.table(protocol):
        if row.id in wanted:
            citation = {
                "type": "citation",
                "label": row.id,
                "display": f"{row.grade}, {row.status}: {row.read.strip()}",
                "citation": row.citation.strip(),
            }
            yield citation | ({"url": row.url} if row.url else {})


def _inputs(rule: Rule) -> list[dict[str, Any]]:
    """A data requirement for each type of resource that the rule's clauses read, with the value sets' codes."""
    read: dict[tuple[str, str], dict[str, None]] = {}
    for clause in _facts([*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes)]):
        if type(clause) in _READS:
            sets = (name.partition("/")[0] for name in getattr(clause, "sets", ()))
            read.setdefault(_READS[type(clause)], {}).update(dict.fromkeys(sets))
    return [
        {"type": kind, "codeFilter": [{"path": path, "valueSet": _value_set_url(name)}]}
        for (kind, path), names in read.items()
        for name in names
    ]


def _facts(clauses: Iterable[object]) -> Iterator[object]:
    """The clauses at any depth that are not logic."""
    for clause in clauses:
        if isinstance(clause, model.Any | model.All | model.Not | model.Unless):
            yield from _facts(clause.of)
        elif clause is not None:
            yield clause


def _value_set_url(name: str) -> str:
    return f"{CANONICAL}/ValueSet/{name.replace('_', '-')}"


def _value_set_urls(published: Published) -> list[str]:
    """The value sets that the rules read, once each."""
    filters = [each["codeFilter"][0] for rule in published.protocol.rules.values() for each in _inputs(rule)]
    return list(dict.fromkeys(each["valueSet"] for each in filters))


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_defaults(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, [], False)}
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


# Limits --------------------------------------------------------------------------------------------------------


def _limit(limit: Limit, day: date) -> dict[str, Any]:
    """A parameter with the value in force as a number with its UCUM unit (of a list, one part for each number)."""
    numbers = numbers_as_written(limit, day)
    values = [{"name": "value", "valueQuantity": _quantity(number, limit.unit)} for number in numbers]
    parts = [
        {"name": "title", "valueString": limit.title},
        *values,
        {"name": "status", "valueCode": limit.status},
        *({"name": "source", "valueString": source} for source in limit.sources),
    ]
    if limit.drug is not None:
        parts.append({"name": "drug", "valueString": limit.drug})
    if limit.site is not None:
        parts.append({"name": "site", "valueString": f"{limit.site.owner}, {limit.site.date}: {limit.site.reason}"})
    return {"name": limit.id, "part": parts}


def _quantity(number: str, unit: str) -> dict[str, Any]:
    return {"value": msgspec.Raw(number.encode()), "unit": unit, "system": UCUM, "code": unit}


def _attachment(content_type: str, title: str, content: Any) -> dict[str, Any]:
    data = base64.b64encode(_EXACT.encode(content)).decode()
    return {"contentType": content_type, "title": title, "data": data}


def _concept(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}

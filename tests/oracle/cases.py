"""The scenarios as cases of a CQL engine: the patient's resources, the order that is judged, and our own verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.advise import Advice
from cds_service.fhir.queries import Query
from cds_service.knowledge import Knowledge

ORDER_HOOKS = ("order-select", "order-sign")


@dataclass(frozen=True)
class Verdict:
    """How a rule ended for an order: `fired` (also where something silences it), `clear` or `could-not-tell`."""

    status: str
    tier: str | None = None
    severity: str | None = None
    """None where it is silent, or did not fire."""
    yields: bool = False
    """It is silent beside another rule."""


@dataclass(frozen=True)
class Case:
    name: str
    bundle: Mapping[str, Any]
    order: str
    """The id of the MedicationRequest in the bundle."""
    missing: tuple[str, ...]
    """Keys of the queries whose answer is not in the request."""
    verdicts: Mapping[str, Verdict]
    scenarios: tuple[str, ...] = ()
    """Those that its chart is made of."""
    feed: str = "scenarios"
    """Where it comes from."""


def of_request(
    name: str, request: Mapping[str, Any], made: Advice, knowledge: Knowledge, of: Sequence[str] = ()
) -> Iterator[Case]:
    """A case for each order that the shipped protocol judged. `of`: the scenarios that its chart is made of."""
    prefetch = request.get("prefetch") or {}
    resources = [*_drafts(request), *(each for entry in prefetch.values() for each in _resources(entry))]
    # An engine asks for somebody whose chart it is, also where nothing is known of the patient.
    resources.append({"resourceType": "Patient", "id": request["context"]["patientId"]})
    by_id: dict[tuple[str, str], Any] = {}
    for each in resources:
        by_id.setdefault((each["resourceType"], each.get("id") or f"without-{len(by_id)}"), each)
    of_others = {"Patient", "Location", "Medication"}
    by_id = {
        key: each
        for key, each in by_id.items()
        if key[0] in of_others or _is_of(each, request["context"]["patientId"])
    }
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": _without_null(r)} for r in by_id.values()],
    }
    missing = tuple(_missing(prefetch, knowledge.queries))
    for judged in made.judged:
        if judged.identifier is not None and judged.drug in knowledge.protocol.drugs:
            fired = {each.rule.id for each in judged.outcomes if each.status == "fired"}
            verdicts = {each.rule.id: _verdict(each, fired) for each in judged.outcomes}
            yield Case(f"{name} [{judged.identifier}]", bundle, judged.identifier, missing, verdicts, tuple(of))


def _verdict(outcome: Any, fired: set[str]) -> Verdict:
    if outcome.status == "suppressed":
        return Verdict("fired", outcome.tier, None, yields=not fired.isdisjoint(outcome.rule.yields_to))
    return Verdict(outcome.status, outcome.tier, outcome.severity if outcome.status == "fired" else None)


def _without_null(value: Any) -> Any:
    """FHIR has no null; one engine's parser takes it for a value."""
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(each) for each in value if each is not None] if isinstance(value, list) else value


def _is_of(resource: Mapping[str, Any], patient: str) -> bool:
    """Whether it is this patient's: the one who feeds an engine sees to that."""
    about = resource.get("subject") or resource.get("patient")
    reference = about.get("reference") if isinstance(about, dict) else None
    return not isinstance(reference, str) or reference.rsplit("/", 1)[-1] == patient


def _drafts(request: Mapping[str, Any]) -> Iterator[Any]:
    for entry in request["context"].get("draftOrders", {}).get("entry", ()):
        if isinstance(entry.get("resource"), dict):
            yield entry["resource"]


def _resources(entry: Any) -> Iterator[Any]:
    if isinstance(entry, dict) and entry.get("resourceType") == "Bundle":
        for each in entry.get("entry") or ():
            if isinstance(each, dict) and isinstance(each.get("resource"), dict):
                yield each["resource"]
    elif isinstance(entry, dict) and "resourceType" in entry:
        yield entry


def _missing(prefetch: Mapping[str, Any], queries: Sequence[Query]) -> Iterator[str]:
    """The queries whose list is not there, or not whole; it may have come under a key of another name."""
    known = {query.key for query in queries}
    elsewhere = {each["resourceType"] for key in prefetch.keys() - known for each in _resources(prefetch[key])}
    for query in queries:
        whole = query.key in prefetch and _is_whole(prefetch[query.key], query)
        if not whole and not (query.key not in prefetch and not query.codes and query.type in elsewhere):
            yield query.key


def _is_whole(answer: Any, query: Query) -> bool:
    """An answer that is an error, or holds one, what is no resource or other types alone, is not, nor one with a next
    page; null is."""
    if not isinstance(answer, dict) or answer.get("resourceType") not in ("Bundle", query.type):
        return answer is None
    if any(isinstance(each, dict) and each.get("relation") == "next" for each in answer.get("link") or ()):
        return False
    entries = answer.get("entry") or () if answer.get("resourceType") == "Bundle" else ()
    if not all(isinstance(each, dict) and isinstance(each.get("resource"), dict) for each in entries):
        return False
    kinds = {str(each["resource"].get("resourceType")).lower() for each in entries} - {"operationoutcome", "bundle"}
    if kinds and query.type.lower() not in kinds:
        return False
    outcomes = (each for each in _resources(answer) if each["resourceType"] == "OperationOutcome")
    issues = (issue for each in outcomes for issue in each.get("issue") or ())
    return not any(issue.get("severity") in ("error", "fatal") for issue in issues)


def beside(case: Case) -> Mapping[str, Any]:
    """The bundle with contained resources beside what holds them: cql-exec-fhir gives a contained one no type."""
    moved: list[dict[str, Any]] = []
    for entry in case.bundle["entry"]:
        resource = entry["resource"]
        inner = {
            each["id"]: each for each in resource.get("contained") or () if isinstance(each, dict) and "id" in each
        }
        names = {f"#{key}": f"{each['resourceType']}/{resource.get('id')}-{key}" for key, each in inner.items()}
        moved.append(_renamed(resource, names) if names else resource)
        moved += [{**each, "id": f"{resource.get('id')}-{key}"} for key, each in inner.items()]
    return {**case.bundle, "entry": [{"resource": each} for each in moved]}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        kept = {key: _renamed(inner, names) for key, inner in value.items() if key != "contained"}
        return kept | ({"reference": names[kept["reference"]]} if kept.get("reference") in names else {})
    return [_renamed(each, names) for each in value] if isinstance(value, list) else value

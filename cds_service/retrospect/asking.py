"""From a patient's stored records to the request that an EHR would have sent when the orders were signed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from uuid import NAMESPACE_URL, uuid5

from cds_service.fhir import lenient
from cds_service.fhir.dates import When, parse
from cds_service.fhir.queries import Query
from cds_service.fhir.records import bare_id
from cds_service.retrospect import asof

HOOK = "order-sign"
UNREADABLE = "unreadable "
"""Stands before the type of a record whose line could not be read, where it names its patient."""
_NO_RESOURCE = b'"unreadable"'
_GAP = "how it stood then cannot be told from an export of today"


class Stored(NamedTuple):
    """One record of a patient as it stands in the export."""

    kind: str
    raw: bytes


@dataclass(frozen=True)
class Order:
    """A past order, and what its table rows are told apart by."""

    id: str
    signed: datetime
    resource: dict[str, Any] = field(repr=False)
    encounter: str | None
    requester: str

    @property
    def draft(self) -> dict[str, Any]:
        """As it was when it was signed."""
        return {**self.resource, "status": "draft"}


@dataclass(frozen=True)
class Asked:
    """The request, with what cannot be told of then: the query keys, and how many records for which reason."""

    body: bytes = field(repr=False)
    gaps: Mapping[str, str]
    doubts: Mapping[tuple[str, str], int]
    ward: str


def order_of(raw: bytes) -> Order | None:
    """The order in a MedicationRequest; None where it is no object, or does not say when it was signed."""
    try:
        resource = lenient.untyped(raw)
        written = parse(resource.get("authoredOn") or resource.get("dateWritten"), UTC)
        if written is None:
            return None
        encounter = (resource.get("encounter") or {}).get("reference")
        requester = (resource.get("requester") or {}).get("reference")
        return Order(
            id=str(resource.get("id") or ""),
            signed=written.latest,
            resource=resource,
            encounter=bare_id(encounter) if isinstance(encounter, str) else None,
            requester=requester if isinstance(requester, str) else "",
        )
    except (*lenient.UNREADABLE, AttributeError, TypeError):
        return None


def together(orders: Iterable[Order]) -> list[list[Order]]:
    """The orders that were signed at one moment in one stay: they came in one request."""
    groups: dict[tuple[datetime, str | None], list[Order]] = {}
    for order in orders:
        groups.setdefault((order.signed, order.encounter), []).append(order)
    return list(groups.values())


def ask(
    patient: str,
    orders: Sequence[Order],
    chart: Sequence[Stored],
    queries: Sequence[Query],
    places: Mapping[str, str],
    known_at: datetime | None,
    exported: frozenset[str],
) -> Asked:
    """The request for orders that were signed together.

    `known_at`: with the chart as it stood then; None: as it stands in the export. `places`: names of Locations by id.
    A query whose type is not among those `exported` is not sent, as by a client that does not have it.
    """
    signed = {order.id for order in orders}
    records, gaps, doubts = _records(chart, signed, queries, known_at)
    encounter = _encounter(records, orders[0].encounter)
    prefetch = dict(_prefetch(records, queries, encounter, exported))
    medications = [each.raw for each in records if each.kind in ("Medication", "Substance")]
    if medications:
        prefetch["medicationsNamed"] = _bundle(medications)
    drafts = [lenient.encode(order.draft) for order in orders]
    context: dict[str, Any] = {"userId": "Practitioner/replay", "patientId": patient}
    if encounter is not None:
        context["encounterId"] = orders[0].encounter
    envelope = {
        "hook": HOOK,
        "hookInstance": str(uuid5(NAMESPACE_URL, f"{patient} {orders[0].signed.isoformat()}")),
    }
    body = b'{"context":%b,"prefetch":{%b},%b' % (
        lenient.encode(context)[:-1] + b',"draftOrders":' + _bundle(drafts, b"collection") + b"}",
        b",".join(lenient.encode(key) + b":" + value for key, value in prefetch.items()),
        lenient.encode(envelope)[1:],
    )
    return Asked(body, gaps, doubts, _ward(encounter, places))


def _records(
    chart: Sequence[Stored], signed: set[str], queries: Sequence[Query], known_at: datetime | None
) -> tuple[list[Stored], dict[str, str], Counter[tuple[str, str]]]:
    """(records, gaps, doubts): the chart as it stood; the orders that were just signed are none of it."""
    stays = asof.stays(each.raw for each in chart if each.kind == "Encounter") if known_at is not None else {}
    records: list[Stored] = []
    gaps: dict[str, str] = {}
    doubts: Counter[tuple[str, str]] = Counter()
    for each in chart:
        if each.kind == "MedicationRequest" and _id_of(each.raw) in signed:
            continue
        kind = each.kind.removeprefix(UNREADABLE)
        if kind != each.kind:
            records.append(Stored(kind, _NO_RESOURCE))
            continue
        raw, doubt = _as_known(each, known_at, stays)
        if raw is not None:
            records.append(Stored(each.kind, raw))
        if doubt is not None:
            keys = _keys_of(each, queries)
            gaps |= dict.fromkeys(keys, _GAP)
            if keys:
                doubts[each.kind, doubt] += 1
    return records, gaps, doubts


def _as_known(each: Stored, known_at: datetime | None, stays: Mapping[str, When]) -> asof.Known:
    return asof.Known(each.raw) if known_at is None else asof.as_known(each.kind, each.raw, known_at, stays)


def _keys_of(record: Stored, queries: Sequence[Query]) -> list[str]:
    """The keys of the queries that a record may belong to."""
    codes: set[str] | None = None
    if record.kind == "Observation" and (read := asof.measured(record.raw)) is not None:
        codes = read.codes
    of_type = [query for query in queries if query.type == record.kind]
    return [query.key for query in of_type if codes is None or not query.codes or not query.codes.isdisjoint(codes)]


def _prefetch(
    records: Sequence[Stored], queries: Sequence[Query], encounter: bytes | None, exported: frozenset[str]
) -> Iterable[tuple[str, bytes]]:
    codes_of = {
        id(each): read.codes if (read := asof.measured(each.raw)) is not None else None
        for each in records
        if each.kind == "Observation"
    }
    for query in queries:
        if query.type not in exported:
            continue
        found = [each for each in records if each.kind == query.type]
        if query.is_search:
            yield query.key, _bundle([each.raw for each in found if _matches(each, query, codes_of.get(id(each)))])
        elif query.type == "Encounter":
            if encounter is not None:
                yield query.key, encounter
        elif found:
            yield query.key, found[0].raw


def _matches(record: Stored, query: Query, codes: set[str] | None) -> bool:
    """Whether a FHIR server would find the record by the query. What cannot be read may be found by any."""
    if record.raw == _NO_RESOURCE:
        return True
    if query.codes and (codes is None or query.codes.isdisjoint(codes)):
        return False
    wanted = _statuses(query.template)
    return wanted is None or _status_of(record.raw) in wanted


@cache
def _statuses(template: str) -> list[str] | None:
    """Those that a query asks for."""
    return parse_qs(template.partition("?")[2]).get("status")


def _status_of(raw: bytes) -> str | None:
    try:
        status = lenient.untyped(raw).get("status")
    except (*lenient.UNREADABLE, AttributeError):
        return None
    return status.strip().lower() if isinstance(status, str) else None


def _id_of(raw: bytes) -> str | None:
    try:
        name = lenient.untyped(raw).get("id")
    except (*lenient.UNREADABLE, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _encounter(records: Sequence[Stored], name: str | None) -> bytes | None:
    found = (each.raw for each in records if each.kind == "Encounter" and each.raw != _NO_RESOURCE)
    return next((raw for raw in found if name is not None and _id_of(raw) == name), None)


def _ward(encounter: bytes | None, places: Mapping[str, str]) -> str:
    """The name of the place: of the Location that the stay names, else the name that stands in the stay itself."""
    if encounter is None:
        return ""
    try:
        given = lenient.untyped(encounter).get("location") or []
        named = [each["location"] for each in given if isinstance(each.get("location"), dict)]
    except (*lenient.UNREADABLE, AttributeError, TypeError):
        return ""
    for each in reversed(named):
        reference, display = each.get("reference"), each.get("display")
        known = places.get(bare_id(reference)) if isinstance(reference, str) else None
        if known or (isinstance(display, str) and display):
            return known or display
    return ""


def _bundle(resources: Sequence[bytes], kind: bytes = b"searchset") -> bytes:
    entries = b",".join(b'{"resource":' + raw + b"}" for raw in resources)
    return b'{"resourceType":"Bundle","type":"' + kind + b'","entry":[' + entries + b"]}"

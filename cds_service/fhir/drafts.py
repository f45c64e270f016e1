"""The orders in `draftOrders`, in whatever they are wrapped: one Item each, in the form of R4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from cds_service import bounds
from cds_service.fhir import bundles, lenient
from cds_service.fhir.bundles import Item
from cds_service.fhir.resources import MedicationRequest

_DEEPEST = 40
"""Wrappers in wrappers; what lies deeper is one that was not opened."""
_DEEPEST_INSIDE = 12
_HOLDS = frozenset({"RequestGroup", "RequestOrchestration", "CarePlan", "List", "Composition", "Provenance", "Task"})
"""Resources whose contained orders are drafts themselves."""
_EARLIER = frozenset({"MedicationOrder", "MedicationPrescription"})
"""What DSTU2 and DSTU1 call a MedicationRequest."""
_NO_ORDER = frozenset({"MedicationDispense", "MedicationAdministration", "MedicationStatement"})
"""Resources that have some of these elements, and order nothing."""
_WRAPS = _HOLDS | {"Bundle", "Parameters"}
_BY_LETTERS = {name.lower(): name for name in (*_WRAPS, *_EARLIER, *_NO_ORDER, "MedicationRequest")}
_UNOPENED = {"resource": {"resourceType": "Bundle"}}
"""Stands for what may hold orders and was not gone into."""
_BESIDE = "beside"
"""Under which an entry carries what stands beside its order in a holder."""
_ORDER = ("medicationCodeableConcept", "medicationReference", "dosageInstruction")
_OF_R5 = b'"medication"'
"""The element that R4 calls medicationCodeableConcept or medicationReference."""


@dataclass(frozen=True, slots=True)
class Found:
    """The drafts of a request. `as_asked`: they came as the Bundle that the specification asks for."""

    items: Sequence[Item] = ()
    as_asked: bool = True
    more: bool = False
    """More drafts were sent than are read."""
    says_twice: bool = False
    """An element of them stands twice, and only the last was read."""

    @property
    def may_hide_an_order(self) -> bool:
        """Whether an order may stand where nothing was read."""
        return self.more or any(item.read.resource is None and item.read.is_cut for item in self.items)

    @property
    def holds_unread(self) -> bool:
        """Whether something among them, or all of it, is no resource, or was passed over."""
        return self.says_twice or not self.items or any(item.read.type is None for item in self.items)


NONE = Found()


def read(raw: msgspec.Raw | bytes, more: bool = False) -> Found:
    """The drafts in `raw`, at most bounds.DRAFTS; `more`: it was cut, and the last is not whole. Never raises."""
    given = bundles.first_entries(raw, bounds.DRAFTS) if more else raw
    page = bundles.page(given, bounds.DRAFTS)
    as_asked = page.is_bundle and page.error is None
    is_twice = lenient.says_twice(given)
    if as_asked and not _is_unusual(given, page.items):
        return Found(page.items, as_asked, more or page.cut is not None, is_twice)
    try:
        found = list(islice(_entries(lenient.untyped(given), None, 0), bounds.DRAFTS + 1))
        beside = [entry.pop(_BESIDE, None) for entry in found]
        made = bundles.page(lenient.encode({"resourceType": "Bundle", "entry": found}), bounds.DRAFTS)
        items = tuple(map(_with, made.items, beside))
    except (*lenient.UNREADABLE, TypeError):
        made, items = page, tuple(page.items)
    return Found(items, as_asked, more or made.cut is not None, is_twice)


def _with(item: Item, beside: Sequence[msgspec.Raw] | None) -> Item:
    """An order that is contained in a holder, with what else is. All orders of a holder share that: a copy for each
    would make a body of kilobytes gigabytes.
    """
    order = item.read.resource
    if not beside or not isinstance(order, MedicationRequest) or order.contained:
        return item
    return replace(item, read=replace(item.read, resource=replace(order, contained=tuple(beside))))


def _is_unusual(raw: msgspec.Raw | bytes, items: Sequence[Item]) -> bool:
    """Whether an entry may be a wrapper, or an order of another version."""
    kinds = {None if kind is None else _known(kind) for kind in {item.read.type for item in items}}
    if not kinds.isdisjoint((None, "Bundle", "Parameters", *_EARLIER)):
        return True
    body = bytes(memoryview(raw))
    if kinds - _NO_ORDER - {"MedicationRequest"} and any(name.encode() in body for name in _ORDER):
        return True
    return _OF_R5 in body or (not kinds.isdisjoint(_HOLDS) and b'"contained"' in body)


def _entries(value: Any, full_url: str | None, depth: int) -> Iterator[dict[str, Any]]:
    """The entries of the Bundle that was meant."""
    if depth > _DEEPEST:
        yield dict(_UNOPENED)
        return
    if isinstance(value, list):
        for each in value:
            yield from _entries(each, None, depth + 1)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inside = lenient.untyped(value.encode())
        except lenient.UNREADABLE:
            inside = _UNOPENED["resource"]
        yield from _entries(inside, full_url, depth + 1)
    elif isinstance(value, dict):
        yield from _of_object(value, full_url, depth)
    elif value is not None:
        yield {"resource": value}


def _of_object(value: dict[str, Any], full_url: str | None, depth: int) -> Iterator[dict[str, Any]]:
    kind = _kind(value)
    if kind in ("Bundle", "Parameters") or (kind is None and ("entry" in value or "parameter" in value)):
        for name in ("entry", "parameter"):
            yield from _entries(_listed(value.get(name)), None, depth + 1)
    elif kind is None and _is_only_named(value):
        yield dict(_UNOPENED)
    elif kind is None and ("resource" in value or "part" in value):
        url = value.get("fullUrl")
        yield from _entries(value.get("resource"), url if isinstance(url, str) else None, depth + 1)
        yield from _entries(_listed(value.get("part")), None, depth + 1)
    elif kind is None and not any(name in value for name in _ORDER) and "name" in value:
        return  # a parameter of another kind
    else:
        order = _as_r4(value)
        if order is not value and kind not in (None, order["resourceType"], *_EARLIER):
            full_url = bundles.CONTAINED  # nobody could tell which order of theirs a change is of
        yield {"resource": order} | ({"fullUrl": full_url} if full_url else {})
        if _kind(order) in _HOLDS:
            yield from _contained(order)


def _is_only_named(entry: dict[str, Any]) -> bool:
    """Whether an entry says where an order is, or may be, and not what it says."""
    url = entry.get("fullUrl")
    if not isinstance(url, str) or entry.get("resource") is not None:
        return False
    of = url.partition("/_history/")[0].rpartition("/")[0]
    return not of or _known(of) in ("MedicationRequest", *_EARLIER, *_WRAPS)


def _contained(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The orders in another resource, each with what else that contains: its medication may be among it."""
    contained = [each for each in _listed(holder.get("contained")) if each is not None]
    inside = [_as_r4(each) for each in contained[: bounds.MEMBERS] if isinstance(each, dict)]
    elsewhere = (each for name, element in holder.items() if name != "contained" for each in _orders_in(element, 0))
    orders = [each for each in (*inside, *map(_as_r4, elsewhere)) if _kind(each) == "MedicationRequest"]
    others = [each for each in inside if _kind(each) != "MedicationRequest"]
    beside = [msgspec.Raw(lenient.encode(each)) for each in others]
    for order in orders:
        yield {"resource": order, "fullUrl": bundles.CONTAINED, _BESIDE: beside}
    is_whole = len(inside) == len(contained)
    if not is_whole or any(_kind(each) is None or _kind(each) in _WRAPS for each in others):
        yield dict(_UNOPENED)


def _orders_in(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Orders that stand where a reference to them belongs."""
    if depth > _DEEPEST_INSIDE:
        return
    if isinstance(value, list):
        for each in value:
            yield from _orders_in(each, depth + 1)
    elif isinstance(value, dict):
        if _kind(value) in ("MedicationRequest", *_EARLIER):
            yield value
        else:
            for each in value.values():
                yield from _orders_in(each, depth + 1)


def _as_r4(order: dict[str, Any]) -> dict[str, Any]:
    """An order of another version of FHIR, or without its type or with a wrong one, as a MedicationRequest of R4."""
    kind = _kind(order)
    if kind in _EARLIER or (kind not in _NO_ORDER | _HOLDS and any(name in order for name in _ORDER)):
        order = order | {"resourceType": "MedicationRequest"}
        if "subject" not in order and "patient" in order:
            order["subject"] = order.pop("patient")
    if _kind(order) == "MedicationRequest" and isinstance(order.get("medication"), dict):
        medication = order["medication"]
        order = {name: value for name, value in order.items() if name != "medication"}
        for element, name in (("concept", "medicationCodeableConcept"), ("reference", "medicationReference")):
            if medication.get(element) is not None and order.get(name) is None:
                order[name] = medication[element]
        order |= _reasons(order)
    return order


def _reasons(order: dict[str, Any]) -> dict[str, Any]:
    """The reasons of R5, where a concept and a reference share an element."""
    given = [each for each in _listed(order.pop("reason", None)) if isinstance(each, dict)]
    found = {
        name: [each[element] for each in given if each.get(element) is not None]
        for element, name in (("concept", "reasonCode"), ("reference", "reasonReference"))
    }
    return {name: listed for name, listed in found.items() if listed and name not in order}


def _kind(resource: dict[str, Any]) -> str | None:
    """The type, in the letters of FHIR where it is one of those that are told apart here."""
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return None
    return _known(kind)


def _known(kind: str) -> str:
    return _BY_LETTERS.get(lenient.letters(kind), kind)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

"""One answer of a FHIR server or one prefetch value: a Bundle, a single resource, or an OperationOutcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from cds_service.fhir import lenient
from cds_service.fhir.resources import AnyResource, OperationOutcome, Resource


class _Link(msgspec.Struct, frozen=True):
    relation: str | None = None
    url: str | None = None


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"")
    full_url: str | None = None


class _Bundle(msgspec.Struct, frozen=True):
    # Not a tag: msgspec does not ask for the tag of a single struct, and {} would be an empty search result.
    type: Literal["Bundle"] = msgspec.field(name="resourceType")
    entry: list[_Entry] | None = None
    link: list[_Link] | None = None


class _ReadEntry(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource: AnyResource | None = None
    full_url: str | None = None


class _ReadBundle(msgspec.Struct, frozen=True):
    """A Bundle in which there is nothing to repair, read in one go."""

    type: Literal["Bundle"] = msgspec.field(name="resourceType")
    entry: list[_ReadEntry] | None = None
    link: list[_Link] | None = None


_DECODER = msgspec.json.Decoder(_Bundle)
_QUICK_DECODER = msgspec.json.Decoder(_ReadBundle)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One resource of a page, as far as it could be read, with its JSON for those who must send it back."""

    read: lenient.Read
    raw: msgspec.Raw | bytes
    full_url: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer holds. `error` says why it is no answer: an OperationOutcome, or not FHIR at all."""

    items: tuple[Item, ...] = ()
    next: str | None = None
    self: str | None = None
    error: str | None = None
    is_bundle: bool = False

    @property
    def resources(self) -> list[Resource]:
        return [item.read.resource for item in self.items if item.read.resource is not None]

    @property
    def faults(self) -> list[str]:
        return [fault for item in self.items for fault in item.read.faults]


def page(raw: msgspec.Raw | bytes) -> Page:
    """The page in `raw`. Never raises; what cannot be read is in `error` or in the items' faults."""
    try:
        bundle = _DECODER.decode(raw)
    except lenient.UNREADABLE:
        return _single(raw) or _slow_page(raw)
    entries = [(entry.resource, entry.full_url) for entry in bundle.entry or ()]
    links = [(link.relation, link.url) for link in bundle.link or ()]
    items = tuple(Item(lenient.decode(r), r, url) for r, url in entries if not _is_null(r))
    return _page(items, links, missing=len(entries) - len(items))


def page_to_read(raw: msgspec.Raw | bytes) -> Page:
    """As `page`, for those who send nothing back: where all is in order, the items' JSON is left out."""
    try:
        bundle = _QUICK_DECODER.decode(raw)
    except lenient.UNREADABLE:
        return _single(raw) or page(raw)
    entries = bundle.entry or ()
    links = [(link.relation, link.url) for link in bundle.link or ()]
    items = tuple(
        Item(lenient.Read(resource, type(resource).__name__), b"", entry.full_url)
        for entry in entries
        if (resource := entry.resource) is not None
    )
    return _page(items, links, missing=len(entries) - len(items))


def _single(raw: msgspec.Raw | bytes) -> Page | None:
    """One resource that needs no repair; None for all else."""
    resource = lenient.in_order(raw)
    if resource is None:
        return None
    return _page((Item(lenient.Read(resource, type(resource).__name__), raw),), [], missing=0, is_bundle=False)


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:4]) in (b"", b"null")


def _slow_page(raw: msgspec.Raw | bytes) -> Page:
    try:
        value = lenient.untyped(raw)
    except lenient.UNREADABLE:
        return Page(error="the answer is not readable as JSON")
    if isinstance(value, dict) and "resourceType" not in value and isinstance(value.get("resource"), dict):
        value = value["resource"]  # early drafts of CDS Hooks wrapped each prefetched resource
    if not isinstance(value, dict):
        return Page(error="the answer is not a FHIR resource")
    if value.get("resourceType") != "Bundle":
        item = _item(value)
        if item.read.type is None:
            return Page(error="the answer is not a FHIR resource")
        return _page((item,), [], missing=0, is_bundle=False)
    entries = [entry if isinstance(entry, dict) else {} for entry in _listed(value.get("entry"))]
    links = [link for link in _listed(value.get("link")) if isinstance(link, dict)]
    pairs = [(str(link.get("relation")), link.get("url")) for link in links]
    full = [(e["resource"], e.get("fullUrl")) for e in entries if e.get("resource") is not None]
    items = tuple(_item(resource, url if isinstance(url, str) else None) for resource, url in full)
    return _page(items, pairs, missing=len(entries) - len(items))


def _listed(value: Any) -> list[Any]:
    """One element where a list belongs is what the sender meant by a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _item(value: Any, full_url: str | None = None) -> Item:
    try:
        return Item(lenient.read(value), lenient.encode(value), full_url)
    except RecursionError:
        return Item(lenient.Read(None, None, ("a resource that is nested too deep",)), b"null", full_url)


def _page(items: tuple[Item, ...], links: list[tuple[Any, Any]], missing: int, is_bundle: bool = True) -> Page:
    if missing:
        empty = lenient.Read(None, None, ("an entry without a resource",))
        items = (*items, *(Item(empty, b"null") for _ in range(missing)))
    by_relation = {relation: url for relation, url in links if isinstance(url, str)}
    return Page(
        items=items,
        next=by_relation.get("next"),
        self=by_relation.get("self"),
        error=_outcome_error(items, is_bundle),
        is_bundle=is_bundle,
    )


_INFORMS = frozenset({"warning", "information", "success"})
_WITHHELD = frozenset(
    {"security", "login", "unknown", "expired", "forbidden", "suppressed", "not-supported", "incomplete"}
    | {"transient", "lock-error", "no-store", "exception", "timeout", "throttled", "too-costly"}
)
"""Codes of an issue by which a Bundle without data is no empty list, however mild its severity (R4, issue-type)."""


def _outcome_error(items: tuple[Item, ...], is_bundle: bool) -> str | None:
    """The code of the first error among OperationOutcomes; alone, any OperationOutcome is an error.

    In a Bundle that holds nothing else, one that only informs ("no rows") is none, and one that does not say so is.
    """
    alone = is_bundle and all(isinstance(item.read.resource, OperationOutcome) for item in items)
    for item in items:
        outcome = item.read.resource
        if isinstance(outcome, OperationOutcome):
            for issue in outcome.issue:
                if issue.severity in ("error", "fatal") or not is_bundle:
                    return f"the EHR answered with an error ({issue.code or 'no code'})"
                if alone and (issue.severity not in _INFORMS or issue.code in _WITHHELD):
                    return f"the EHR answered with an error ({issue.code or 'no code'})"
            if not is_bundle or (alone and not outcome.issue):
                return "the EHR answered with an error"
    return None

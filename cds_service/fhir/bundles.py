"""One answer of a FHIR server or one prefetch value: a Bundle, a single resource, or an OperationOutcome."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self

import msgspec

from cds_service import bounds
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir import lenient
from cds_service.fhir.resources import AnyResource, OperationOutcome, OutcomeIssue, Resource
from cds_service.says import Said
from cds_service.says import records as says


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
    total: int | None = None


class CleanItem(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An entry in which there is nothing to repair: it is its own reading. Its JSON is not kept."""

    resource: AnyResource | None = None
    full_url: str | None = None
    faults: ClassVar[tuple[Said, ...]] = ()
    is_cut: ClassVar[bool] = False
    raw: ClassVar[bytes] = b""

    @property
    def read(self) -> Self:
        return self

    @property
    def type(self) -> str:
        return type(self.resource).__name__


class _ReadBundle(msgspec.Struct, frozen=True):
    """A Bundle in which there is nothing to repair, read in one go."""

    type: Literal["Bundle"] = msgspec.field(name="resourceType")
    entry: tuple[CleanItem, ...] | None = None
    link: list[_Link] | None = None
    total: int | None = None


class _RawBundle(msgspec.Struct, frozen=True):
    entry: msgspec.Raw = msgspec.Raw(b"")


_DECODER = msgspec.json.Decoder(_Bundle)
_QUICK_DECODER = msgspec.json.Decoder(_ReadBundle)
_RESOURCE = attrgetter("resource")
_RAW_DECODER = msgspec.json.Decoder(_RawBundle)
_AT_ONCE = 250_000
"""Bytes that are read in one go: no other call of the process goes on meanwhile."""


CONTAINED = "#"
"""The full URL of a resource that is contained in another one, and has none of its own."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One resource of a page, as far as it could be read, with its JSON for those who must send it back."""

    read: lenient.Read
    raw: msgspec.Raw | bytes
    full_url: str | None = None

    @property
    def is_contained(self) -> bool:
        """Whether nobody can address it: it lives in another resource."""
        return self.full_url == CONTAINED

    @property
    def resource(self) -> Resource | None:
        return self.read.resource


class Page(msgspec.Struct, frozen=True):
    """What one answer holds. `error` says why it is no answer: an OperationOutcome, or not FHIR at all."""

    items: Sequence[Item] = ()
    next: str | None = None
    self: str | None = None
    error: Said | None = None
    is_bundle: bool = False
    cut: Said | None = None
    """Why it holds more than its items."""
    is_clean: bool = False
    """There was nothing to repair."""
    total: int | None = None
    """How many entries the search has found, on all pages together, where the answer says so."""
    loses_next: bool = False
    """It says that a page follows, and not in a way in which that can be asked for."""

    @property
    def resources(self) -> list[Resource]:
        return [resource for item in self.items if (resource := item.resource) is not None]

    @property
    def found(self) -> int:
        """How many of its entries are what was asked for, and no word about the search."""
        if self.is_clean:
            return len(self.items) - [*map(type, map(_RESOURCE, self.items))].count(OperationOutcome)
        return sum(item.read.type != OperationOutcome.__name__ for item in self.items)

    @property
    def faults(self) -> list[Said]:
        return [fault for item in self.items for fault in item.read.faults]


def page(raw: msgspec.Raw | bytes, most: int = bounds.ENTRIES, *, deadline: Deadline = NEVER) -> Page:
    """The page in `raw`, with at most so many entries.

    What cannot be read is in `error` or in the items' faults. Raises nothing but Late.
    """
    if bounds.holds_too_much(raw):
        return Page(error=says.TOO_MANY_VALUES(str(bounds.VALUES)))
    try:
        bundle = _DECODER.decode(raw)
    except lenient.UNREADABLE:
        return _single(raw) or _slow_page(raw, most, deadline)
    sent = bundle.entry or ()
    entries = [(entry.resource, entry.full_url) for entry in sent[:most]]
    links = [(link.relation, link.url) for link in bundle.link or ()]
    items = tuple(Item(lenient.decode(r), r, url) for r, url in deadline.each(entries, "page") if not _is_null(r))
    return _page(items, links, missing=len(entries) - len(items), cut=_cut(len(sent), most), total=bundle.total)


def page_to_read(raw: msgspec.Raw | bytes, most: int = bounds.ENTRIES, *, deadline: Deadline = NEVER) -> Page:
    """As `page`, for those who send nothing back: where all is in order, the items' JSON is left out."""
    if len(memoryview(raw)) > _AT_ONCE:
        return page(raw, most, deadline=deadline)
    try:
        bundle = _QUICK_DECODER.decode(raw)
    except lenient.UNREADABLE:
        return _single(raw) or page(raw, most, deadline=deadline)
    sent = bundle.entry
    if not sent and not bundle.link:  # as most lists are
        return Page(is_bundle=True, is_clean=True, total=bundle.total)
    sent = sent or ()
    entries = sent[:most]
    links = [(link.relation, link.url) for link in bundle.link or ()]
    items = entries if None not in map(_RESOURCE, entries) else tuple(e for e in entries if e.resource is not None)
    missing = len(entries) - len(items)
    as_items: Sequence[Any] = items  # each has all that an Item has
    return _page(as_items, links, missing, cut=_cut(len(sent), most), is_clean=True, total=bundle.total)


def _cut(sent: int, most: int) -> Said | None:
    return says.FIRST_ENTRIES(str(most), str(sent)) if sent > most else None


def left_out(pages: Sequence[Page], is_rest: bool = False) -> Said | None:
    """Why the pages of a search, from its first to its last, are not all that it found.

    Some servers cut a list at `_count` without a link to the rest, and only the total says so. That
    says nothing of pages that follow others (`is_rest`).
    """
    if any(page.loses_next for page in pages):
        return says.NEXT_UNREAD
    if is_rest:
        return None
    total = max([page.total or 0 for page in pages], default=0)
    if not total:
        return None
    came = sum(page.found for page in pages)
    return says.CAME(str(came), str(total)) if total > came else None


def first_entries(raw: msgspec.Raw | bytes, most: int) -> bytes:
    """A Bundle of the first entries of one that was cut, without the last of it."""
    try:
        entries = bytes(_RAW_DECODER.decode(raw).entry)
    except lenient.UNREADABLE:
        entries = bytes(raw)
    end = found = 0
    for mark, depth in lenient.marks(entries):
        if depth == 1 and mark[0] == b",":
            end, found = mark.start(), found + 1
        if found == most:
            break
    listed = entries[:end] + b"]" if entries.startswith(b"[") and end else b"[]"
    return b'{"resourceType":"Bundle","entry":' + listed + b"}"


def _single(raw: msgspec.Raw | bytes) -> Page | None:
    """One resource that needs no repair; None for all else."""
    resource = lenient.in_order(raw)
    if resource is None:
        return None
    return _page((Item(lenient.Read(resource, type(resource).__name__), raw),), [], missing=0, is_bundle=False)


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:4]) in (b"", b"null")


def _slow_page(raw: msgspec.Raw | bytes, most: int, deadline: Deadline) -> Page:
    try:
        value = lenient.untyped(raw)
    except lenient.UNREADABLE:
        return Page(error=says.NO_JSON)
    if isinstance(value, dict) and "resourceType" not in value and isinstance(value.get("resource"), dict):
        value = value["resource"]  # early drafts of CDS Hooks wrapped each prefetched resource
    if not isinstance(value, dict):
        return Page(error=says.NO_RESOURCE)
    if value.get("resourceType") != "Bundle":
        item = _item(value)
        if item.read.type is None:
            return Page(error=says.NO_RESOURCE)
        return _page((item,), [], missing=0, is_bundle=False)
    sent = _listed(value.get("entry"))
    entries = [entry if isinstance(entry, dict) else {} for entry in sent[:most]]
    links = [link for link in _listed(value.get("link")) if isinstance(link, dict)]
    pairs = [(link.get("relation"), link.get("url")) for link in links]
    full = [(e["resource"], e.get("fullUrl")) for e in entries if e.get("resource") is not None]
    items = tuple(
        _item(resource, url if isinstance(url, str) else None) for resource, url in deadline.each(full, "page")
    )
    missing = len(entries) - len(items)
    return _page(items, pairs, missing, cut=_cut(len(sent), most), total=lenient.whole(value.get("total")))


def _listed(value: Any) -> list[Any]:
    """One element where a list belongs is what the sender meant by a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _item(value: Any, full_url: str | None = None) -> Item:
    try:
        return Item(lenient.read(value), lenient.encode(value), full_url)
    except RecursionError:
        return Item(lenient.TOO_DEEP, b"null", full_url)


def _page(
    items: Sequence[Item],
    links: list[tuple[Any, Any]],
    missing: int,
    is_bundle: bool = True,
    cut: Said | None = None,
    is_clean: bool = False,
    total: int | None = None,
) -> Page:
    if missing:
        empty = lenient.Read(None, None, (says.ENTRY_WITHOUT_RESOURCE,))
        items = (*items, *(Item(empty, b"null") for _ in range(missing)))
    by_relation = {_relation(relation): url for relation, url in links if url}
    following, asked = by_relation.get("next"), by_relation.get("self")
    following_url = following if isinstance(following, str) and len(following) <= bounds.ADDRESS else None
    return Page(
        items=items,
        next=following_url,
        self=asked[: bounds.ADDRESS] if isinstance(asked, str) else None,
        error=_outcome_error(items, is_bundle),
        is_bundle=is_bundle,
        cut=cut,
        is_clean=is_clean and not missing,
        total=total,
        loses_next=following is not None and following_url is None,
    )


def _relation(value: Any) -> str:
    """R5 has a code in the place of a text, and some servers a list of one, or another case."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return value.strip().lower() if isinstance(value, str) else ""


_INFORMS = frozenset({"warning", "information", "success"})
_CUT_SHORT = frozenset(
    {"incomplete", "transient", "lock-error", "no-store", "exception", "timeout", "throttled", "too-costly"}
)
_KEPT_BACK = frozenset({"security", "login", "unknown", "expired", "forbidden", "suppressed"})
_WITHHELD = _CUT_SHORT | _KEPT_BACK | {"not-supported"}
"""Codes of an issue by which a Bundle without data is no empty list, however mild its severity (R4, issue-type)."""
_SAYS_CUT = re.compile(
    r"\b(?:incomplete|truncated|omitted|withheld|unavailable|partial (?:results?|response|content)"
    r"|could not be (?:retrieved|read)|not all (?:results|data|sources|records)|results? (?:were|was|are) limited)\b",
    re.IGNORECASE,
)
"""In words, where the code of an issue is a general one."""


def _outcome_error(items: Sequence[Item], is_bundle: bool) -> Said | None:
    """The code of the first error among OperationOutcomes; alone, any OperationOutcome is an error.

    In a Bundle beside data, or where nothing was found, one that says that something is missing is an error, too.
    One that only informs ("no rows", "may not contain the entire record") is none.
    """
    resources = [*map(_RESOURCE, items)]
    if OperationOutcome not in map(type, resources):
        return None
    outcomes = [each for each in resources if isinstance(each, OperationOutcome)]
    alone = is_bundle and len(outcomes) == len(items)
    for outcome in outcomes:
        for issue in outcome.issue:
            failed = issue.severity in ("error", "fatal") or not is_bundle or _says_missing(issue)
            if failed or (alone and (issue.severity not in _INFORMS or issue.code in _WITHHELD)):
                return says.ANSWERED_WITH_CODE(issue.code or says.NO_CODE)
        if not is_bundle or (alone and not outcome.issue):
            return says.ANSWERED_WITH_ERROR
    return None


def _says_missing(issue: OutcomeIssue) -> bool:
    """Whether it says that what stands beside it is not all."""
    if issue.code in _CUT_SHORT:
        return True
    if issue.severity in ("information", "success"):
        return False
    words = (*(issue.details.words if issue.details else ()), issue.diagnostics or "")
    return issue.code in _KEPT_BACK or any(_SAYS_CUT.search(each[:_LONGEST_WORDS]) for each in words)


_LONGEST_WORDS = 1000
"""Characters of an issue that are read."""

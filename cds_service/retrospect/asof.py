"""A record as it stood at an earlier moment, as far as its dates tell: an export has no history of its own.

What was recorded later is left out; a status is put back where a date says when it changed. Where none does, what
held then cannot be told: the record is left out, and its list is not complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from cds_service.fhir import lenient
from cds_service.fhir.dates import When, parse
from cds_service.fhir.records import bare_id

IN_ERROR = "was entered in error, and no date says since when"
CHANGED = "was changed later, and its former value is not in the export"
ENDED = "has ended, and no date says when"
UNDATED = "has no date of its own"
UNREAD = "could not be read"


class Known(NamedTuple):
    """A record as it stood; None where it was not there, or where `doubt` says why that cannot be told."""

    raw: bytes | None
    doubt: str | None = None


NOT_YET = Known(None)


class _Kind(NamedTuple):
    """Where a type says since when it is known, and when it ended; and its status before that end."""

    known: tuple[str, ...]
    ended: tuple[str, ...] = ()
    status: str = "status"
    open: Any = "active"
    over: frozenset[str] = frozenset()
    momentary: tuple[str, ...] = ()
    """Elements by which it was over as soon as it was there."""
    began: tuple[str, ...] = ()
    """What cannot be known before this, although it does not say since when it is."""


_BOUNDS = "dosageInstruction.timing.repeat.boundsPeriod.end"
_CONDITION_STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_STOPPED = frozenset({"completed", "stopped", "cancelled", "on-hold", "revoked", "ended", "unknown"})
_KINDS: Mapping[str, _Kind] = {
    "Condition": _Kind(
        known=("recordedDate", "assertedDate"),
        ended=("abatementDateTime", "abatementPeriod.end", "abatementPeriod.start"),
        status="clinicalStatus",
        open={"coding": [{"system": _CONDITION_STATUS, "code": "active"}]},
        over=frozenset({"inactive", "resolved", "remission"}),
        began=("onsetDateTime", "onsetPeriod.start"),
    ),
    "AllergyIntolerance": _Kind(
        known=("recordedDate", "assertedDate"),
        status="clinicalStatus",
        over=frozenset({"inactive", "resolved"}),
        began=("onsetDateTime",),
    ),
    "MedicationRequest": _Kind(("authoredOn", "dateWritten"), (_BOUNDS,), over=_STOPPED),
    "MedicationStatement": _Kind(
        ("dateAsserted",),
        ("effectivePeriod.end",),
        over=_STOPPED,
        began=("effectivePeriod.start", "effectiveDateTime"),
    ),
    "ServiceRequest": _Kind(
        ("authoredOn",),
        ("occurrencePeriod.end", "occurrenceTiming.repeat.boundsPeriod.end"),
        over=_STOPPED,
    ),
    "MedicationAdministration": _Kind(
        ("effectiveDateTime", "effectivePeriod.start"),
        ("effectivePeriod.end",),
        open="in-progress",
        over=_STOPPED,
        momentary=("effectiveDateTime",),
    ),
    "Procedure": _Kind(
        ("performedDateTime", "performedPeriod.start"),
        ("performedPeriod.end",),
        open="in-progress",
        over=_STOPPED,
        momentary=("performedDateTime",),
    ),
    "Encounter": _Kind(
        ("period.start",),
        ("period.end",),
        open="in-progress",
        over=frozenset({"finished", "completed", "discharged"}),
    ),
    "AdverseEvent": _Kind(("recordedDate", "date"), began=("date",)),
}
_NEVER_WAS = frozenset({"draft", "proposed", "preparation", "intended", "not-done", "not-taken"})
"""What has such a status now was at no time what a chart counts."""


class _Meta(msgspec.Struct, rename="camel"):
    last_updated: str | None = None


class _Period(msgspec.Struct):
    start: str | None = None


class _Coding(msgspec.Struct):
    code: str | None = None


class _Concept(msgspec.Struct):
    coding: list[_Coding] = []


class Measured(msgspec.Struct, rename="camel"):
    """What of an Observation says when it was known, and what it is."""

    status: str | None = None
    code: _Concept | None = None
    issued: str | None = None
    effective_date_time: str | None = None
    effective_instant: str | None = None
    effective_period: _Period | None = None
    meta: _Meta | None = None

    @property
    def codes(self) -> set[str]:
        return {coding.code for coding in self.code.coding if coding.code} if self.code else set()


_MEASURED = msgspec.json.Decoder(Measured)


def measured(raw: bytes) -> Measured | None:
    """The dates and codes of an Observation; None where they are not written as R4 has them."""
    try:
        return _MEASURED.decode(raw)
    except lenient.UNREADABLE:
        return None


def as_known(kind: str, raw: bytes, moment: datetime, stays: Mapping[str, When] | None = None) -> Known:
    """A resource of a type as it stood at a moment. `stays`: when each encounter ended, by its id.

    A type that has no state in time (a Medication, a Location) is as it is.
    """
    if kind == "Observation":
        return _observation(raw, moment)
    if kind not in _KINDS and kind != "Patient":
        return Known(raw)
    try:
        resource = lenient.untyped(raw)
        if not isinstance(resource, dict):
            return Known(None, UNREAD)
        if kind == "Patient":
            return _patient(resource, raw, moment)
        return _record(_KINDS[kind], resource, raw, moment, stays or {})
    except (*lenient.UNREADABLE, AttributeError, TypeError):
        return Known(None, UNREAD)


def stays(encounters: Iterator[bytes]) -> dict[str, When]:
    """When each encounter ended that has."""
    ended: dict[str, When] = {}
    for raw in encounters:
        try:
            resource = lenient.untyped(raw)
            end = _first(resource, ("period.end",))
        except (*lenient.UNREADABLE, AttributeError, TypeError):
            continue
        if end is not None and isinstance(resource.get("id"), str):
            ended[resource["id"]] = end
    return ended


def _observation(raw: bytes, moment: datetime) -> Known:
    read = measured(raw)
    if read is None:
        return Known(None, UNREAD)
    if read.meta is not None and _is_by(parse(read.meta.last_updated, UTC), moment):
        return Known(raw)
    issued = parse(read.issued, UTC)
    period = read.effective_period.start if read.effective_period else None
    taken = parse(read.effective_date_time or read.effective_instant or period, UTC)
    if issued is None and taken is None:
        return Known(None, UNDATED)
    if taken is not None and _is_after(taken, moment):
        return NOT_YET
    if read.status == "entered-in-error":
        return Known(None, IN_ERROR)
    if read.status in ("amended", "corrected") and (issued is None or _is_after(issued, moment)):
        return Known(None, CHANGED)
    return NOT_YET if issued is not None and _is_after(issued, moment) else Known(raw)


def _patient(resource: dict[str, Any], raw: bytes, moment: datetime) -> Known:
    """An order is written for the living: a death without a date came after it."""
    died = parse(resource.get("deceasedDateTime"), UTC)
    if resource.get("deceasedBoolean") is not True and (died is None or not _is_after(died, moment)):
        return Known(raw)
    kept = {name: value for name, value in resource.items() if not name.startswith("deceased")}
    return Known(lenient.encode(kept))


def _record(kind: _Kind, resource: dict[str, Any], raw: bytes, moment: datetime, stays: Mapping[str, When]) -> Known:
    if _is_by(_first(resource, ("meta.lastUpdated",)), moment):
        return Known(raw)
    known, began = _first(resource, kind.known), _first(resource, kind.began)
    if any(when is not None and _is_after(when, moment) for when in (known, began)):
        return NOT_YET
    statuses = {word for name in (kind.status, "status", "verificationStatus") for word in _words(resource.get(name))}
    if statuses & _NEVER_WAS:
        return NOT_YET
    if known is None:
        return Known(None, UNDATED)
    if "entered-in-error" in statuses:
        return Known(None, IN_ERROR)
    if not statuses & kind.over:
        return _present(kind, resource, raw, moment)
    end = _first(resource, kind.ended) or _end_of_stay(resource, stays, moment)
    if end is None:
        is_over = any(_first(resource, (name,)) for name in kind.momentary)
        return Known(raw) if is_over else Known(None, ENDED)
    return Known(_reopened(kind, resource, moment)) if _is_after(end, moment) else Known(raw)


def _present(kind: _Kind, resource: dict[str, Any], raw: bytes, moment: datetime) -> Known:
    """What is still open: as it is, but for the places of a stay that came later."""
    if kind is _KINDS["Encounter"] and resource.get("location"):
        return Known(_reopened(kind, resource, moment))
    return Known(raw)


def _reopened(kind: _Kind, resource: dict[str, Any], moment: datetime) -> bytes:
    """As it stood before its end: with the status of then, and without the end."""
    changed: dict[str, Any] = {**resource, kind.status: kind.open}
    for name in kind.ended:
        outer, _, inner = name.partition(".")
        if not inner:
            changed.pop(outer, None)
        elif inner == "end" and isinstance(changed.get(outer), dict):
            changed[outer] = {key: value for key, value in changed[outer].items() if key != "end"}
            if outer.startswith("abatement"):
                changed.pop(outer)
    if kind is _KINDS["Encounter"]:
        changed["location"] = [
            _place(each, moment) for each in _dicts(resource.get("location")) if _there(each, moment)
        ]
    return lenient.encode(changed)


def _there(place: dict[str, Any], moment: datetime) -> bool:
    start, end = _first(place, ("period.start",)), _first(place, ("period.end",))
    return not ((start is not None and _is_after(start, moment)) or _is_by(end, moment))


def _place(place: dict[str, Any], moment: datetime) -> dict[str, Any]:
    if _first(place, ("period.end",)) is None:
        return {**place, "status": "active"}
    period = {key: value for key, value in place["period"].items() if key != "end"}
    return {**place, "status": "active", "period": period}


def _end_of_stay(resource: dict[str, Any], stays: Mapping[str, When], moment: datetime) -> When | None:
    """An order for the ward ended with the stay at the latest; what came of it within the stay nobody knows."""
    words = {word for each in _dicts(resource.get("category")) for word in _words(each)}
    reference = (resource.get("encounter") or {}).get("reference")
    if "inpatient" not in words or not isinstance(reference, str):
        return None
    end = stays.get(bare_id(reference))
    return end if _is_by(end, moment) else None


def _first(resource: dict[str, Any], paths: tuple[str, ...]) -> When | None:
    """The latest of the dates at the first path that has any."""
    for path in paths:
        found = [when for text in _at(resource, path.split(".")) if (when := parse(text, UTC)) is not None]
        if found:
            return max(found, key=lambda when: when.latest)
    return None


def _at(value: Any, path: list[str]) -> Iterator[str]:
    if not path:
        if isinstance(value, str):
            yield value
        return
    for each in _dicts(value):
        yield from _at(each.get(path[0]), path[1:])


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _words(status: Any) -> Iterator[str]:
    """What a status says, as a code or as a concept."""
    if isinstance(status, str):
        yield status.strip().lower()
    for each in _dicts(status):
        for coding in _dicts(each.get("coding")):
            yield str(coding.get("code", "")).strip().lower()


def _is_after(when: When, moment: datetime) -> bool:
    """A day counts as known from its beginning: so does the service count it."""
    return when.is_future(moment, timedelta(0))


def _is_by(when: When | None, moment: datetime) -> bool:
    return when is not None and when.latest <= moment

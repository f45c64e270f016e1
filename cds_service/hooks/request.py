"""A CDS Hooks request as it arrives: what is required of every request, and what can be survived."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cds_service.fhir import bundles, lenient
from cds_service.fhir.bundles import Item
from cds_service.hooks.errors import Malformed


class _Envelope(msgspec.Struct, rename="camel", frozen=True):
    hook: msgspec.Raw = msgspec.Raw(b"")
    hook_instance: msgspec.Raw = msgspec.Raw(b"")
    fhir_server: msgspec.Raw = msgspec.Raw(b"")
    fhir_authorization: msgspec.Raw = msgspec.Raw(b"")
    context: msgspec.Raw = msgspec.Raw(b"")


class _Usual(_Envelope, rename="camel", frozen=True):
    """The prefetch is the most of a request, so it is gone through once where it is an object."""

    prefetch: dict[str, msgspec.Raw] = {}


class _Unusual(_Envelope, rename="camel", frozen=True):
    prefetch: msgspec.Raw = msgspec.Raw(b"")


class _Context(msgspec.Struct, rename="camel", frozen=True):
    user_id: msgspec.Raw = msgspec.Raw(b"")
    patient_id: msgspec.Raw = msgspec.Raw(b"")
    encounter_id: msgspec.Raw = msgspec.Raw(b"")
    selections: msgspec.Raw = msgspec.Raw(b"")
    draft_orders: msgspec.Raw = msgspec.Raw(b"")


class _Authorization(msgspec.Struct, frozen=True):
    access_token: msgspec.Raw = msgspec.Raw(b"")


VIEWING = "patient-view"
"""The hook whose context has no draft orders."""

_USUAL = msgspec.json.Decoder(_Usual)
_UNUSUAL = msgspec.json.Decoder(_Unusual)
_CONTEXT = msgspec.json.Decoder(_Context)
_PREFETCH = msgspec.json.Decoder(dict[str, msgspec.Raw])

# Escaped backslashes, then a pair of surrogates (group 2) or half of one: what is left of a character that was cut.
_SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:(d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|d[89a-f][0-9a-f]{2})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class HookRequest:
    """`faults` name what the specification requires and the request lacks; without ketamine they are an error."""

    hook: str | None
    hook_instance: str | None
    patient_id: str | None
    encounter_id: str | None
    selections: Sequence[str] | None
    drafts: Sequence[Item]
    prefetch: Mapping[str, msgspec.Raw]
    fhir_server: str | None = None
    access_token: str | None = field(default=None, repr=False)
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Faults that are survived, for the "could not check" card."""
    viewing: bool = False
    """patient-view: there are no drafts; what is running is judged."""

    @property
    def context(self) -> dict[str, str]:
        """The values of prefetch tokens."""
        values = {"patientId": self.patient_id, "encounterId": self.encounter_id}
        return {name: value for name, value in values.items() if value}


def parse(body: bytes, hook: str, told: bool = False) -> HookRequest:
    """The request in `body`, sent to the service of `hook`; `told`: whatever hook the request itself names.

    Raises Malformed where it is not JSON or not an object. Everything else is read as far as it goes.
    """
    faults: list[str] = []
    notes: list[str] = []
    envelope = _envelope(body, notes)
    named = _string(envelope.hook)
    if named != hook and not told:
        faults.append(f"hook is not {hook}")
    instance = _string(envelope.hook_instance)
    if instance is None:
        faults.append("hookInstance is missing or not a string")
    context = _context(envelope.context, faults)
    viewing = hook == VIEWING
    drafts = () if viewing else _drafts(context.draft_orders, faults)
    return HookRequest(
        hook=named,
        hook_instance=instance,
        patient_id=_patient_id(context, faults),
        encounter_id=_string(context.encounter_id),
        selections=_selections(context.selections, [] if told else notes) if hook == "order-select" else None,
        drafts=drafts,
        prefetch=_prefetch(envelope, notes),
        fhir_server=_string(envelope.fhir_server),
        access_token=_token(envelope.fhir_authorization),
        faults=tuple(faults),
        notes=tuple(notes),
        viewing=viewing,
    )


def _envelope(body: bytes, notes: list[str]) -> _Usual | _Unusual:
    """The request's parts. A byte order mark, other bytes than UTF-8 and halves of characters are survived."""
    body = body.removeprefix(codecs.BOM_UTF8)
    valid = body if _is_utf8(body) else body.decode(errors="replace").encode()
    try:
        envelope = _parts(valid)
    except (msgspec.DecodeError, RecursionError):
        valid = _SURROGATES.sub(lambda found: found[0] if found[2] else found[1] + rb"\ufffd", valid)
        try:
            envelope = _parts(valid)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed("the body is not a JSON object") from error
    if valid != body:
        notes.append("characters of the request that could not be read were replaced")
    return envelope


def _parts(body: bytes) -> _Usual | _Unusual:
    try:
        return _USUAL.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _UNUSUAL.decode(body)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _given(raw: msgspec.Raw) -> Any:
    """The value of a small element; None where it is missing, null or unreadable."""
    if not len(memoryview(raw)):
        return None
    try:
        return lenient.untyped(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def _string(raw: msgspec.Raw) -> str | None:
    value = _given(raw)
    return value if isinstance(value, str) and value else None


def _context(raw: msgspec.Raw, faults: list[str]) -> _Context:
    try:
        return _CONTEXT.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        faults.append("context is missing or not an object")
        return _Context()


def _patient_id(context: _Context, faults: list[str]) -> str | None:
    """The bare id; a sender that writes Patient/123, the whole address or a urn is understood."""
    patient_id = _string(context.patient_id)
    if patient_id is None:
        faults.append("context.patientId is missing or not a string")
        return None
    target = patient_id.strip().partition("/_history/")[0].rstrip("/")
    if target.startswith("urn:"):
        return target.rpartition(":")[2] or None
    kind, _, identifier = target.rpartition("/")
    return identifier if not kind or kind.rpartition("/")[2].lower() == "patient" else patient_id


def _drafts(raw: msgspec.Raw, faults: list[str]) -> Sequence[Item]:
    if not len(memoryview(raw)):
        faults.append("context.draftOrders is missing")
        return ()
    page = bundles.page(raw)
    if page.is_bundle and page.error is None:
        return page.items
    faults.append("context.draftOrders is not a Bundle")
    return page.items or bundles.page(_as_bundle(_given(raw))).items


def _as_bundle(value: Any) -> bytes:
    """The Bundle that was meant by a list of orders or entries, or by a Bundle that does not say that it is one."""
    entries = value.get("entry") if isinstance(value, dict) else value
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    entries = [entry if "resource" in entry else {"resource": entry} for entry in listed]
    return lenient.encode({"resourceType": "Bundle", "entry": entries})


def _selections(raw: msgspec.Raw, notes: list[str]) -> Sequence[str] | None:
    value = _given(raw)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        notes.append("context.selections could not be read; all drafts were judged")
        return None
    return [item for item in value if isinstance(item, str)]


def _prefetch(envelope: _Usual | _Unusual, notes: list[str]) -> Mapping[str, msgspec.Raw]:
    if isinstance(envelope, _Usual):
        return envelope.prefetch
    if bytes(memoryview(envelope.prefetch)) in (b"", b"null"):
        return {}
    try:
        return _PREFETCH.decode(envelope.prefetch)  # the second of two that stand under the same key
    except (msgspec.DecodeError, RecursionError):
        notes.append("the prefetch could not be read")
        return {}


def _token(raw: msgspec.Raw) -> str | None:
    """The bearer token; one with a line break or a blank is no token."""
    value = _given(raw)
    token = value.get("access_token") if isinstance(value, dict) else None
    if isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token:
        return token or None
    return None

"""A CDS Hooks request as it arrives: what is required of every request, and what can be survived."""

from __future__ import annotations

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
    prefetch: msgspec.Raw = msgspec.Raw(b"")


class _Context(msgspec.Struct, rename="camel", frozen=True):
    user_id: msgspec.Raw = msgspec.Raw(b"")
    patient_id: msgspec.Raw = msgspec.Raw(b"")
    encounter_id: msgspec.Raw = msgspec.Raw(b"")
    selections: msgspec.Raw = msgspec.Raw(b"")
    draft_orders: msgspec.Raw = msgspec.Raw(b"")


class _Authorization(msgspec.Struct, frozen=True):
    access_token: msgspec.Raw = msgspec.Raw(b"")


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_CONTEXT = msgspec.json.Decoder(_Context)
_PREFETCH = msgspec.json.Decoder(dict[str, msgspec.Raw])


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

    @property
    def context(self) -> dict[str, str]:
        """The values of prefetch tokens."""
        values = {"patientId": self.patient_id, "encounterId": self.encounter_id}
        return {name: value for name, value in values.items() if value}


def parse(body: bytes, hook: str) -> HookRequest:
    """The request in `body`, sent to the service of `hook`.

    Raises Malformed where it is not JSON or not an object. Everything else is read as far as it goes.
    """
    try:
        envelope = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("the body is not a JSON object") from error
    faults: list[str] = []
    notes: list[str] = []
    named = _string(envelope.hook)
    if named != hook:
        faults.append(f"hook is not {hook}")
    instance = _string(envelope.hook_instance)
    if instance is None:
        faults.append("hookInstance is missing or not a string")
    context = _context(envelope.context, faults)
    drafts = _drafts(context.draft_orders, faults)
    return HookRequest(
        hook=named,
        hook_instance=instance,
        patient_id=_patient_id(context, faults),
        encounter_id=_string(context.encounter_id),
        selections=_selections(context.selections, notes) if hook == "order-select" else None,
        drafts=drafts,
        prefetch=_prefetch(envelope.prefetch, notes),
        fhir_server=_string(envelope.fhir_server),
        access_token=_token(envelope.fhir_authorization),
        faults=tuple(faults),
        notes=tuple(notes),
    )


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
    """The bare id; a sender that writes Patient/123 is understood."""
    patient_id = _string(context.patient_id)
    if patient_id is None:
        faults.append("context.patientId is missing or not a string")
        return None
    return patient_id.removeprefix("Patient/")


def _drafts(raw: msgspec.Raw, faults: list[str]) -> Sequence[Item]:
    if not len(memoryview(raw)):
        faults.append("context.draftOrders is missing")
        return ()
    page = bundles.page(raw)
    if page.error is not None or not page.is_bundle:
        faults.append("context.draftOrders is not a Bundle")
    return page.items


def _selections(raw: msgspec.Raw, notes: list[str]) -> Sequence[str] | None:
    value = _given(raw)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        notes.append("context.selections could not be read; all drafts were judged")
        return None
    return [item for item in value if isinstance(item, str)]


def _prefetch(raw: msgspec.Raw, notes: list[str]) -> Mapping[str, msgspec.Raw]:
    if not len(memoryview(raw)) or bytes(memoryview(raw)) == b"null":
        return {}
    try:
        return _PREFETCH.decode(raw)
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

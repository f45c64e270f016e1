"""A CDS Hooks request as it arrives: what is required of every request, and what can be survived."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from cds_service import bounds
from cds_service.fhir import drafts, lenient
from cds_service.fhir.bundles import Item
from cds_service.fhir.records import bare_id
from cds_service.hooks.errors import Malformed, TooLarge
from cds_service.says import Said
from cds_service.says import records as says


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


_BYTE = re.compile(r"\(byte (\d+)\)")


_PATIENT = re.compile(
    r"\s*(?:(?:https?://[^\s?#&]+/)?patient/[^/\s?#&]+(?:/_history/\S*)?/?|urn:\S+)\s*", re.IGNORECASE
)
"""A patient's id that is written as a reference; anything else is an id as it stands, whatever it holds."""


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
    faults: tuple[Said, ...] = ()
    notes: tuple[Said, ...] = ()
    """Faults that are survived, for the "could not check" card."""
    viewing: bool = False
    """patient-view: there are no drafts; what is running is judged."""
    drafts_cut: bool = False
    """More drafts were sent than are read: whether an order of ketamine is among the rest is not known."""
    drafts_say_twice: bool = False
    """An element of the drafts stands twice in one place."""
    unread_drafts: bytes = field(default=b"", repr=False)
    """The drafts as they were sent, where something among them is no resource, or was passed over."""

    @property
    def context(self) -> dict[str, str]:
        """The values of prefetch tokens."""
        values = {"patientId": self.patient_id, "encounterId": self.encounter_id}
        return {name: value for name, value in values.items() if value}


def parse(body: bytes, hook: str, told: bool = False) -> HookRequest:
    """The request in `body`, sent to the service of `hook`; `told`: whatever hook the request itself names.

    Raises Malformed where it is not JSON or not an object, and TooLarge where it holds so much before its context
    that this is not reached. Everything else is read as far as it goes.
    """
    faults: list[Said] = []
    notes: list[Said] = []
    not_read = says.PREFETCH_TOO_LARGE(str(bounds.VALUES)) if bounds.holds_too_much(body) else None
    if not_read is not None:
        body = lenient.beginning(body)
    try:
        envelope = _envelope(body, notes)
    except RecursionError:  # behind more than is gone through for what is too deep
        body, not_read = lenient.beginning(body), says.PREFETCH_UNREAD
        envelope = _before_depths(body, notes)
    is_cut = not_read is not None
    if is_cut and not len(memoryview(envelope.context)):
        raise TooLarge(f"the request holds more than {bounds.BEGINNING} values before its context")
    named = _string(envelope.hook)
    if named != hook and not told:
        faults.append(says.NO_HOOK(hook))
    instance = _string(envelope.hook_instance)
    if instance is None:
        faults.append(says.NO_INSTANCE)
    context = _context(envelope.context, faults)
    viewing = hook == VIEWING
    cut_here = is_cut and body.endswith(bytes(context.draft_orders) + b"}}")
    found = drafts.NONE if viewing else _drafts(context.draft_orders, cut_here, faults, notes)
    return HookRequest(
        hook=named,
        hook_instance=instance,
        patient_id=_patient_id(context, faults),
        encounter_id=_identifier(context.encounter_id),
        selections=_selections(context.selections, [] if told else notes) if hook == "order-select" else None,
        drafts=found.items,
        prefetch=_prefetch(envelope, not_read, notes),
        fhir_server=_string(envelope.fhir_server),
        access_token=_token(envelope.fhir_authorization),
        faults=tuple(faults),
        notes=tuple(notes),
        viewing=viewing,
        drafts_cut=found.may_hide_an_order,
        drafts_say_twice=found.says_twice,
        unread_drafts=bytes(context.draft_orders) if found.holds_unread and not viewing else b"",
    )


def _envelope(body: bytes, notes: list[Said]) -> _Usual | _Unusual:
    """The request's parts. A byte order mark, other bytes than UTF-8 and halves of characters are survived.

    Raises Malformed, or RecursionError where it is nested too deep behind more than is gone through.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    valid = body if is_utf8(body) else body.decode(errors="replace").encode()
    try:
        envelope = _parts(valid)
    except RecursionError:
        return _shallow(valid, notes)
    except msgspec.DecodeError as error:
        if b"\\ud" not in valid.lower():
            raise Malformed(f"the body is not a JSON object{_place(error, valid)}") from error
        valid = _SURROGATES.sub(lambda found: found[0] if found[2] else found[1] + rb"\ufffd", valid)
        try:
            envelope = _parts(valid)
        except RecursionError:
            return _shallow(valid, notes)
        except msgspec.DecodeError as error:
            raise Malformed(f"the body is not a JSON object{_place(error, valid)}") from error
    if valid != body:
        notes.append(says.REPLACED)
    return envelope


def _before_depths(beginning: bytes, notes: list[Said]) -> _Usual | _Unusual:
    """The parts of such a request's beginning. Raises Malformed where its context is not among them."""
    try:
        envelope = _envelope(beginning, notes)
    except RecursionError as error:
        raise Malformed("the body is nested too deep") from error
    if not len(memoryview(envelope.context)):
        raise Malformed("the body is nested too deep before its context")
    return envelope


def _shallow(body: bytes, notes: list[Said]) -> _Usual | _Unusual:
    """The parts of a request that is nested deeper than can be followed, without what lies so deep."""
    try:
        envelope = _parts(lenient.without_depths(body))
    except msgspec.DecodeError as error:
        raise Malformed("the body is not a JSON object, or nested too deep") from error
    notes.append(says.TOO_DEEP(str(bounds.NESTING)))
    return envelope


def _place(error: Exception, body: bytes) -> str:
    """Line and column at which JSON breaks off or goes wrong, and nothing of what stands there."""
    text = str(error)
    found = _BYTE.search(text)
    if found is None and "truncated" not in text:
        return ""
    at = min(int(found[1]), len(body)) if found else len(body)
    line = body.count(b"\n", 0, at) + 1
    column = len(body[body.rfind(b"\n", 0, at) + 1 : at].decode(errors="replace")) + 1
    return f": it goes wrong at line {line}, column {column}"


def _parts(body: bytes) -> _Usual | _Unusual:
    try:
        return _USUAL.decode(body)
    except msgspec.DecodeError:
        return _UNUSUAL.decode(body)


def is_utf8(body: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    if body.isascii():  # most are, and nothing is made to see it
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _given(raw: msgspec.Raw | bytes) -> Any:
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


def _identifier(raw: msgspec.Raw) -> str | None:
    """A string that can be an id: it stands in searches and in the orders of suggestions."""
    value = _string(raw)
    return value if value is not None and is_identifier(value) else None


def is_identifier(text: str) -> bool:
    """Whether it has only visible characters, and no more than the longest id that is known."""
    return text.isprintable() and len(text) <= bounds.REFERENCE


def _context(raw: msgspec.Raw, faults: list[Said]) -> _Context:
    try:
        return _CONTEXT.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        faults.append(says.NO_CONTEXT)
        return _Context()


def _patient_id(context: _Context, faults: list[Said]) -> str | None:
    """The bare id; a sender that writes Patient/123, or the whole address, is understood."""
    patient_id = _identifier(context.patient_id)
    if patient_id is None:
        faults.append(says.NO_PATIENT)
        return None
    return bare_id(patient_id) if _PATIENT.fullmatch(patient_id) else patient_id


def _drafts(raw: msgspec.Raw, is_cut: bool, faults: list[Said], notes: list[Said]) -> drafts.Found:
    """More drafts than are read are noted."""
    if not len(memoryview(raw)):
        faults.append(says.NO_DRAFTS)
        return drafts.NONE
    if bounds.holds_too_much(raw, bounds.BEGINNING):
        raw, is_cut = msgspec.Raw(lenient.beginning(bytes(raw))), True
    found = drafts.read(raw, is_cut)
    if not found.as_asked:
        faults.append(says.DRAFTS_NO_BUNDLE)
    if found.more:
        notes.append(says.FIRST_DRAFTS(str(bounds.DRAFTS)))
    return found


def _selections(raw: msgspec.Raw, notes: list[Said]) -> Sequence[str] | None:
    value = _given(raw)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        notes.append(says.SELECTIONS_UNREAD)
        return None
    return [item for item in value if isinstance(item, str)]


def _prefetch(envelope: _Usual | _Unusual, not_read: Said | None, notes: list[Said]) -> Mapping[str, msgspec.Raw]:
    if not_read is not None:
        notes.append(not_read)
        return {}
    if isinstance(envelope, _Usual):
        return _first_keys(envelope.prefetch, notes)
    if bytes(memoryview(envelope.prefetch)[:5]) in (b"", b"null"):
        return {}
    try:
        # the second of two that stand under the same key
        return _first_keys(_PREFETCH.decode(envelope.prefetch), notes)
    except (msgspec.DecodeError, RecursionError):
        notes.append(says.PREFETCH_UNREAD)
        return {}


def _first_keys(prefetch: dict[str, msgspec.Raw], notes: list[Said]) -> Mapping[str, msgspec.Raw]:
    if len(prefetch) <= bounds.KEYS:
        return prefetch
    notes.append(says.FIRST_KEYS(str(bounds.KEYS), str(len(prefetch))))
    return dict(islice(prefetch.items(), bounds.KEYS))


def _token(raw: msgspec.Raw) -> str | None:
    """The bearer token; one with a line break or a blank is no token."""
    value = _given(raw)
    token = value.get("access_token") if isinstance(value, dict) else None
    if isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token:
        return token or None
    return None

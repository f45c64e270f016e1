"""Feedback as it arrives: one or many entries in either spelling; each is taken or refused by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from cds_service import bounds
from cds_service.hooks.errors import HookError, Malformed, TooLarge
from cds_service.terminology.systems import canonical_system

_OUTCOMES = ("accepted", "overridden")
_REASONS = ("overrideReason", "overrideReasons")
"""As the specification writes it, and as Epic does."""
_MOST_REASONS = 20
_MOST_SUGGESTIONS = 100
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_CODE = re.compile(r"[!-~]{1,100}")
OTHER = (None, "other")
"""Stands for a code that was not among the reasons that the card offered: it may be any word, and is not kept."""

Reason = tuple[str | None, str]
"""(system, code)"""


class NotStored(HookError):
    """503: the store cannot be written, so the feedback must be sent again."""

    status = 503
    code = "transient"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a clinician did with one card. A comment is free text and not kept, only that there was one."""

    card: str
    outcome: Literal["accepted", "overridden"]
    suggestions: tuple[str, ...]
    """Identifiers of the suggestions that were accepted."""
    reasons: tuple[Reason, ...]
    """Of those that were offered, else OTHER."""
    commented: bool
    at: str | None
    """outcomeTimestamp as it was written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an entry was not taken; `where` is its FHIRPath. Nothing of what was sent is repeated."""

    where: str
    says: str


class _Refused(Exception):
    pass


def parse(body: bytes, offered: Collection[Reason]) -> tuple[list[Entry], list[Refusal]]:
    """The entries that say something, and why the others do not. `offered`: the reasons that stand on cards.

    Raises Malformed (not JSON, or without an array `feedback`) or TooLarge (more than bounds.FEEDBACK, or
    than bounds.FEEDBACK_VALUES in them).
    """
    if bounds.holds_too_much(body, bounds.FEEDBACK_VALUES):
        raise _too_large()
    try:
        # Not msgspec: half a character, as a comment that was cut may end with, would cost all entries.
        text = body.decode("utf-8-sig", "replace")
        content = json.loads(text, parse_int=_unread, parse_float=_unread)
    except json.JSONDecodeError as error:
        raise Malformed(
            f"the body is not JSON: it goes wrong at line {error.lineno}, column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON") from error
    listed = content.get("feedback") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise Malformed("the body is not an object with an array named feedback")
    if len(listed) > bounds.FEEDBACK:
        raise _too_large()
    entries: list[Entry] = []
    refusals: list[Refusal] = []
    for number, item in enumerate(listed):
        try:
            entries.append(_entry(item, offered))
        except _Refused as refused:
            refusals.append(Refusal(f"feedback[{number}]", str(refused)))
    return entries, refusals


def _unread(number: str) -> int:
    """No element of feedback is a number: one of very many digits takes long to read, or is none to Python."""
    return 0


def _too_large() -> TooLarge:
    return TooLarge(
        f"more than {bounds.FEEDBACK} entries, or than {bounds.FEEDBACK_VALUES} values in them; "
        "send them in several requests"
    )


def outcome(stored: int, refusals: Sequence[Refusal]) -> dict[str, Any]:
    """The answer: an OperationOutcome that says how many entries are stored and lists those that are not."""
    said: list[dict[str, Any]] = [
        {
            "severity": "information",
            "code": "informational",
            "diagnostics": f"{stored} of {stored + len(refusals)} entries are stored",
        }
    ]
    said += [
        {"severity": "error", "code": "value", "diagnostics": refusal.says, "expression": [refusal.where]}
        for refusal in refusals
    ]
    return {"resourceType": "OperationOutcome", "issue": said}


def _entry(item: Any, offered: Collection[Reason]) -> Entry:
    """One entry. What identifies the card and what became of it must be there; the rest may be missing."""
    if not isinstance(item, dict):
        raise _Refused("the entry is not an object")
    kind = item.get("outcome")
    if kind not in _OUTCOMES:
        raise _Refused("outcome is neither accepted nor overridden")
    reasons, commented = _reasons(item, offered)
    return Entry(
        card=_uuid(item.get("card"), "card"),
        outcome=kind,
        suggestions=_suggestions(item.get("acceptedSuggestions")),
        reasons=reasons,
        commented=commented,
        at=_timestamp(item.get("outcomeTimestamp")),
    )


def _uuid(value: Any, name: str) -> str:
    text = value.removeprefix("urn:uuid:") if isinstance(value, str) else ""
    try:
        if len(text) != 36:
            raise ValueError
        return str(UUID(text))
    except ValueError:
        raise _Refused(f"{name} is not a UUID") from None


def _suggestions(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST_SUGGESTIONS:
        raise _Refused(f"acceptedSuggestions is not an array of at most {_MOST_SUGGESTIONS}")
    ids = [item.get("id") if isinstance(item, dict) else item for item in value]
    return tuple(dict.fromkeys(_uuid(each, "the id of an accepted suggestion") for each in ids))


def _timestamp(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise _Refused("outcomeTimestamp is not a date and time in ISO 8601")
    return value


def _reasons(item: dict[str, Any], offered: Collection[Reason]) -> tuple[tuple[Reason, ...], bool]:
    """The coded reasons, and whether there was one in words: a comment, or a reason that is no code.

    Clients send an object or a list of them, and the coding in `reason` or in the object's own place.
    """
    found: dict[Reason, None] = {}
    in_words = _says_something(item.get("userComment"))
    given = [each for name in _REASONS for each in _listed(item.get(name))]
    if len(given) > _MOST_REASONS:
        raise _Refused(f"there are more than {_MOST_REASONS} override reasons")
    for each in given:
        if not isinstance(each, dict):
            in_words = in_words or _says_something(each)
            continue
        in_words = in_words or _says_something(each.get("userComment"))
        for one in _listed(each.get("reason", each)):
            coding = _coding(one, offered)
            if coding is not None:
                found.setdefault(coding)
            else:
                words = (one.get("display"), one.get("code")) if isinstance(one, dict) else (one,)
                in_words = in_words or any(map(_says_something, words))
    return tuple(found), in_words


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _says_something(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _coding(value: Any, offered: Collection[Reason]) -> Reason | None:
    """The reason that was chosen; None for what is no code and may be free text, of which only that it was there is
    kept. A code without a system is that of the offered reason; a system may be written in any way that is known.
    """
    code, system = (value.get("code"), value.get("system")) if isinstance(value, dict) else (None, None)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    return next((each for each in offered if each[1] == code and _is_same(system, each[0])), OTHER)


def _is_same(system: Any, offered: str | None) -> bool:
    """Whether a code of `system` is one of the offered system; one without a system is."""
    if isinstance(system, str) and offered is not None:
        return canonical_system(system) == canonical_system(offered)
    return system in (offered, None)

"""Drafts that are no MedicationRequest and order a drug all the same, as a ServiceRequest for an infusion does."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

from cds_service.fhir import lenient
from cds_service.fhir.bundles import Item
from cds_service.orders.text import states_an_amount
from cds_service.says import Said
from cds_service.says import records as says
from cds_service.terminology.drugs import plain, whole_words
from cds_service.terminology.glance import may_concern
from cds_service.terminology.identity import identify
from cds_service.terminology.valuesets import ValueSets

_TABLE = tomllib.loads(resources.files(__package__).joinpath("elsewhere.toml").read_text("utf-8"))
_KINDS = frozenset(_TABLE["kinds"])
_LEAVES_OUT = frozenset(_TABLE["leaves_out"])
_GIVES, _SPEAKS = whole_words(_TABLE["gives"]), whole_words(_TABLE["speaks"])
_OVER = frozenset({"completed", "entered-in-error", "revoked", "cancelled", "rejected", "failed", "not-taken"})
_MOST = 200
"""Codings and texts of one draft; of the rest is only looked whether a judged drug may be among it."""


def ordered_elsewhere(item: Item, valuesets: ValueSets) -> str | None:
    """The judged drug that a draft of another kind has given: by the code of a product, or by words that say so."""
    said = _sayings(item)[:_MOST]
    of_code = identify([each for each in said if isinstance(each, tuple)], (), valuesets)
    if of_code is not None:
        return of_code.drug
    texts = [each for each in said if isinstance(each, str)]
    of_words = identify((), texts, valuesets)
    whole = plain(" ; ".join(texts))
    if of_words is None or _SPEAKS.search(whole):
        return None
    return of_words.drug if _GIVES.search(whole) or states_an_amount(whole) else None


def hidden_elsewhere(item: Item, valuesets: ValueSets) -> Said | None:
    """What a draft of another kind holds beyond what is read of it, where a judged drug may be among that."""
    rest = _sayings(item)[_MOST:]
    if not rest or not may_concern(lenient.encode(rest), valuesets):
        return None
    return says.MORE_MEMBERS(str(item.read.type), str(_MOST))


def _sayings(item: Item) -> list[tuple[str, str] | str]:
    """The codings and the words of what a draft of another kind orders, each once; none where it is over."""
    if item.read.type not in _KINDS:
        return []
    try:
        sent = lenient.untyped(item.raw)
    except (*lenient.UNREADABLE, TypeError):
        return []
    if not isinstance(sent, dict) or sent.get("doNotPerform") is True:
        return []
    status = sent.get("status")
    if isinstance(status, str) and status in _OVER:
        return []
    return list(dict.fromkeys(_said(sent)))


def _said(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str] | str]:
    """The codings and the words of what is ordered."""
    if depth > 8:
        return
    if isinstance(value, list):
        for each in value:
            yield from _said(each, name, depth + 1)
    elif isinstance(value, dict):
        if isinstance(value.get("code"), str) and isinstance(value.get("system"), str):
            yield value["system"], value["code"]
        for key, each in value.items():
            if depth or key not in _LEAVES_OUT:
                yield from _said(each, key, depth + 1)
    elif isinstance(value, str) and name in ("display", "text", "title", "description"):
        yield value

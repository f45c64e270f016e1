"""What a clinician is told, by key and values; the sentences are words of the cards (`cards/common/words.yaml`).

A room says `NO_DATE`, or `DATED(name, date)`. Which words that is, in which language, is decided where a card is
made, and nothing is put into words that is not shown. The tables beside this module hold all keys, one table a room,
each with the names of its values in the order in which they are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec


class Said(msgspec.Struct, frozen=True):
    """A sentence, or a part of one, that is not in words yet. Equal ones say the same."""

    key: str
    values: tuple[Says, ...] = ()

    def __str__(self) -> str:
        """The key alone: no words of a patient, wherever it might be shown by mistake."""
        return self.key


class Listed(msgspec.Struct, frozen=True):
    """Several of them, one after the other."""

    parts: tuple[Says, ...]
    between: Says = ", "


class Named(msgspec.Struct, frozen=True):
    """Something of the data that has a name there, in English: a value set, a query, an order that is offered."""

    key: str
    """Of the word that names it in another language."""
    name: str

    def __str__(self) -> str:
        return self.name


Says: TypeAlias = "str | Said | Listed | Named"
"""What is said: a name, a figure or an entry's own words as they stand, or what is put into words later."""


def listed(parts: Iterable[Says], between: Says = ", ") -> Says:
    """All of them; as text at once where all are text."""
    known = tuple(parts)
    texts = [part for part in known if isinstance(part, str)]
    if len(known) == 1:
        return known[0]
    return between.join(texts) if isinstance(between, str) and len(texts) == len(known) else Listed(known, between)


def drug_named(drug: str) -> Named:
    """A drug, which may have a name of its own in another language."""
    return Named(f"drug-{drug}", drug)


def route_named(kind: str) -> Named:
    """A route of the table of routes."""
    return Named(f"route-{kind}", kind)


def severity_named(severity: str) -> Named:
    """How bad a finding is."""
    return Named(f"severity-{severity}", severity)


class Sentence:
    """A sentence that needs values: its key, and their names in the order in which they are given."""

    __slots__ = ("key", "names")

    def __init__(self, key: str, *names: str) -> None:
        self.key, self.names = key, names


class One(Sentence):
    """Of one value."""

    __slots__ = ()

    def __call__(self, first: Says) -> Said:
        return Said(self.key, (first,))


class Two(Sentence):
    """Of two values."""

    __slots__ = ()

    def __call__(self, first: Says, second: Says) -> Said:
        return Said(self.key, (first, second))


class Three(Sentence):
    """Of three values."""

    __slots__ = ()

    def __call__(self, first: Says, second: Says, third: Says) -> Said:
        return Said(self.key, (first, second, third))


class Four(Sentence):
    """Of four values."""

    __slots__ = ()

    def __call__(self, first: Says, second: Says, third: Says, fourth: Says) -> Said:
        return Said(self.key, (first, second, third, fourth))

"""What the status of a resource says: any coding of it, in any letter case, by its code, its display or its text."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Literal

from cds_service.fhir.datatypes import CodeableConcept
from cds_service.lazy import remembered

Kind = Literal[
    "condition",
    "allergy",
    "observation",
    "order",
    "statement",
    "dispense",
    "administration",
    "procedure",
    "encounter",
    "event",
]
NEVER_COUNTS = frozenset({"entered-in-error", "refuted"})
_LONGEST = 64
"""Longer words are no status."""


@lru_cache(maxsize=2048)
def _fold(word: str) -> str:
    return "-".join(word.replace("_", " ").replace("-", " ").lower().split())


def _read_table() -> Mapping[str, Mapping[str, tuple[int, str]]]:
    table = tomllib.loads(resources.files(__package__).joinpath("statuses.toml").read_text("utf-8"))
    return {
        kind: {
            _fold(word): (rank, code) for rank, (code, words) in enumerate(codes.items()) for word in (code, *words)
        }
        for kind, codes in table.items()
    }


_TABLE = _read_table()


def code_of(kind: Kind, *said: str | CodeableConcept | None) -> str | None:
    """FHIR's code for what one or more status elements say; None where they say nothing that is known.

    Of several the one that stands highest in statuses.toml counts: an entry in error is one wherever it says so.
    """
    if len(said) == 1 and isinstance(said[0], str):
        return _code_of_word(kind, said[0]) if len(said[0]) <= _LONGEST else None
    return _code_of_several((kind, said))


@remembered
def _code_of_several(asked: tuple[Kind, tuple[str | CodeableConcept | None, ...]]) -> str | None:
    kind, said = asked
    known = _TABLE[kind]
    found = [known[word] for each in said if each is not None for word in _words(each) if word in known]
    return min(found)[1] if found else None


@lru_cache(maxsize=2048)
def _code_of_word(kind: Kind, word: str) -> str | None:
    """Most statuses are one word of a few."""
    found = _TABLE[kind].get(_fold(word)) if word else None
    return found[1] if found else None


def _words(said: str | CodeableConcept) -> list[str]:
    texts = [said] if isinstance(said, str) else [t for c in said.coding for t in (c.code, c.display)] + [said.text]
    return [_fold(text) for text in texts if text and len(text) <= _LONGEST]

"""What a clause names: limits and value sets, told by the types of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from cds_service.protocol import model


class Named(NamedTuple):
    """The names that clauses hold, in the order in which they stand; one may stand twice."""

    limits: list[str]
    valuesets: list[str]


def named_in(*clauses: model.Clause | None) -> Named:
    """The limits and value sets that the clauses name, at any depth."""
    named = Named([], [])
    for clause in clauses:
        if clause is not None:
            _collect(clause, named)
    return named


def _collect(clause: model.Clause, named: Named) -> None:
    of = {"limit": named.limits, "valueset": named.valuesets}
    kinds = kinds_of(type(clause))
    for field in clause.__struct_fields__:
        for value in _listed(getattr(clause, field)):
            if isinstance(value, msgspec.Struct):
                _collect(value, named)  # type: ignore[arg-type]
            elif value is not None and field in kinds:
                of[kinds[field]].append(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def kinds_of(clause: type[msgspec.Struct]) -> dict[str, str]:
    """Field of a clause -> what it names: `limit` or `valueset`. Fields that name neither are left out."""
    return _kinds(clause)


@cache
def _kinds(clause: Any) -> dict[str, str]:
    hints = get_type_hints(clause, include_extras=True)
    return {field: kind for field, hint in hints.items() for kind in _names(hint)}


def _names(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Annotated:
        for meta in get_args(hint)[1:]:
            if isinstance(meta, msgspec.Meta) and meta.extra and "names" in meta.extra:
                yield meta.extra["names"]
    else:
        for inner in get_args(hint):
            yield from _names(inner)

"""What clauses and rules name: limits and value sets, told by the types of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from cds_service.protocol import model
from cds_service.terminology.valuesets import ValueSets


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


def sets_of(rule: model.Rule) -> list[str]:
    """The value sets that its facts name, and that its judgement is given."""
    return [*named_by(rule).valuesets, *rule.sets.values()]


def named_by(rule: model.Rule) -> Named:
    return named_in(*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes))


def limits_read(protocol: model.Protocol) -> set[str]:
    """The limits that a rule, a use or the conventions name; the words of the cards may name more."""
    named = {*limits_of(protocol.conventions), *(name for use in protocol.uses.values() for name in of_use(use))}
    for rule in protocol.rules.values():
        offers = [*rule.suggests, *(name for tier in rule.tiers for name in tier.suggests)]
        named.update(name.removeprefix(kind) for name in offers for kind in model.TO_A_LIMIT if name.startswith(kind))
        named.update(named_by(rule).limits, rule.limits.values(), *(tier.limits for tier in rule.tiers))
    return named


def indications_read(protocol: model.Protocol) -> set[str]:
    """The indications that a clause of a rule names, as the order's reason or as its order set."""
    return {
        name
        for clause in clauses_of(protocol)
        if isinstance(clause, model.OrderIs)
        for name in (*clause.indication, *clause.only_indication, *clause.context)
    }


def measured_in(*protocols: model.Protocol) -> list[str]:
    """The value sets of observations that a rule of these protocols reads."""
    clauses = (clause for protocol in protocols for clause in clauses_of(protocol))
    read = (each.sets for each in clauses if isinstance(each, model.ObservationIs))
    return sorted({name.partition("/")[0] for sets in read for name in sets})


def not_judged(protocols: Iterable[model.Protocol], valuesets: ValueSets) -> dict[str, list[str]]:
    """Value set without codes -> the rules that name it: what they ask of it is not judged by this software."""
    found: dict[str, list[str]] = {}
    for rule in (rule for protocol in protocols for rule in protocol.rules.values()):
        for name in dict.fromkeys(named_by(rule).valuesets):
            if name in valuesets and valuesets[name].no_codes and not rule.off:
                found.setdefault(name, []).append(rule.id)
    return found


def clauses_of(protocol: model.Protocol) -> Iterator[model.Clause]:
    """All clauses of its rules, at any depth."""
    for rule in protocol.rules.values():
        written = (*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes))
        yield from each_clause(when for when in written if when is not None)


def each_clause(clauses: Iterable[model.Clause]) -> Iterator[model.Clause]:
    """The clauses and those within them, at any depth."""
    for clause in clauses:
        yield clause
        if isinstance(clause, model.Any | model.All | model.Not | model.Unless):
            yield from each_clause(clause.of)
        yield from each_clause(each for each in getattr(clause, "unless_later", ()) if not isinstance(each, str))


def of_use(use: model.Use) -> list[str]:
    """The limits that a use names."""
    usual = msgspec.structs.astuple(use.usual) if use.usual else ()
    return [*([use.session] if use.session else []), *usual]


def limits_of(conventions: Any) -> Iterator[str]:
    """The limits of the conventions, at any depth."""
    if conventions is None:
        return
    if isinstance(conventions, str):
        yield conventions
    elif isinstance(conventions, model.Conventions):
        yield from limits_of(list(msgspec.structs.asdict(conventions).values()))
    else:
        for each in conventions.values() if isinstance(conventions, dict) else conventions:
            yield from limits_of(each)

"""What reads each value set: clauses and judgements of rules, queries, drugs, routes, reasons of orders, roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cds_service.fhir.queries import Query
from cds_service.orders import route
from cds_service.protocol.model import Protocol
from cds_service.protocol.references import sets_of
from cds_service.terminology.valueset import ValueSetError
from cds_service.terminology.valuesets import ValueSets

Readers = dict[str, list[tuple[str, str]]]
"""Value set -> (kind, name) of what reads it: a rule's kind is `rule`."""


def of(protocols: Iterable[Protocol], valuesets: ValueSets, queries: Iterable[Query]) -> Readers:
    """What reads each set, in the order of drugs, roles, routes, protocols and queries."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    for name, *reader in _readings(protocols, valuesets, queries):
        found.setdefault(name.partition("/")[0], {})[(reader[0], reader[1])] = None
    return {name: list(each) for name, each in found.items()}


def check(readers: Readers, valuesets: ValueSets) -> None:
    """Raises ValueSetError for a set of a protocol that nothing reads, unless it is kept for a reason.

    A site's directory of value sets may hold more: such codes are known, and nobody is asked what they mean.
    """
    kept = valuesets.roles.kept
    for name in valuesets.names():
        if name not in readers and name not in kept and name not in valuesets.of_site:
            raise ValueSetError(f"nothing reads the value set {name}; name it in a rule, or remove it")


def _readings(
    protocols: Iterable[Protocol], valuesets: ValueSets, queries: Iterable[Query]
) -> Iterator[tuple[str, str, str]]:
    """(value set or set/group, kind and name of what reads it)."""
    for drug in valuesets.drugs:
        yield from ((name, "drug", drug.name) for name in drug.sets)
    for role, name in valuesets.roles.named().items():
        yield name, "role", role.replace("_", " ")
    for kind, sets in route.SETS.items():
        yield from ((name, "route", kind) for name in sets)
    for protocol in protocols:
        if (nasal := protocol.nasal) is not None:
            yield from ((name, "product", "labelled nasal") for name in (nasal.products, nasal.route))
        for indication, known in protocol.indications.items():
            yield from ((name, "indication", indication) for name in known.sets)
        for rule in protocol.rules.values():
            yield from ((name, "rule", rule.id) for name in sets_of(rule))
    for query in queries:
        yield from ((name, "query", query.key) for name in query.sets)

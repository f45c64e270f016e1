"""No amount of one drug is held against another's limit: each drug of the family has its own of all that is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cds_service import units
from cds_service.protocol import model
from cds_service.protocol.model import Protocol, Rule
from cds_service.protocol.references import each_clause, named_in, of_use


def lacking(protocol: Protocol) -> Iterator[str]:
    """Amounts that an order of each further drug is compared with, and that none of its own limits stands for."""
    read = dict.fromkeys(name for rule in protocol.rules.values() if not rule.off for name in _read_by(rule))
    read |= dict.fromkeys(name for use in protocol.uses.values() for name in of_use(use))
    for drug in protocol.drugs[1:]:
        own = {limit.stands_for for limit in protocol.limits.values() if limit.drug == drug}
        for name in read:
            limit = protocol.limits[name]
            if limit.drug is None and name not in own and _is_amount(limit.unit):
                yield (
                    f"{name} is read for {drug}, which has none of its own; "
                    f"add a limit with `drug: {drug}` and `stands_for: {name}`"
                )


def _read_by(rule: Rule) -> Iterable[str]:
    """The limits that an order's amounts may be compared with."""
    clauses = [tier.when for tier in rule.tiers if tier.when is not None] + [change.when for change in rule.changes]
    of_the_order = [each for each in each_clause(clauses) if isinstance(each, model.AmountIs | model.OrderIs)]
    asked = named_in(*(each for each in of_the_order if not each.labelled)).limits
    return [*asked, *(() if rule.other_drug else rule.limits.values())]


def _is_amount(unit: str) -> bool:
    dimensions = units.dimensions_of(unit)
    return any(each.startswith("mass") for each in dimensions) and "body_weight" not in dimensions

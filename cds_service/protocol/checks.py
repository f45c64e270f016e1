"""Whether everything that a protocol names exists, and whether every clause of it can hold and not hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cds_service.lazy import kept
from cds_service.protocol import model
from cds_service.protocol.errors import ProtocolError, did_you_mean
from cds_service.protocol.references import each_clause, limits_of, named_by, of_use, sets_of
from cds_service.terminology.valuesets import ValueSets


def check(protocol: model.Protocol, valuesets: ValueSets) -> None:
    """Everything that an entry names (limit, value set, rule, citation …) exists. Raises ProtocolError."""
    faults = list(_faults(protocol, valuesets))
    if faults:
        raise ProtocolError(f"{protocol.id}: " + "; ".join(faults))


def _faults(protocol: model.Protocol, valuesets: ValueSets) -> Iterator[str]:
    for limit in protocol.limits.values():
        yield from _limit_faults(limit)
        yield from _unknown(limit.id, "use", limit.uses, protocol.uses)
        yield from _unknown(
            limit.id, "source", limit.sources, [*protocol.statements, *protocol.conflicts, *protocol.evidence]
        )
        if limit.stands_for is not None:
            yield from _unknown(limit.id, "limit", [limit.stands_for], protocol.limits)
    for rule in protocol.rules.values():
        yield from _rule_faults(rule, protocol, valuesets)
    for name, orderable in protocol.orderables.items():
        yield from _unknown(name, "order", orderable.bundle, protocol.orderables)
    yield from _unknown("conventions", "limit", list(limits_of(protocol.conventions)), protocol.limits)
    yield from _unknown(protocol.id, "drug", [name for name in protocol.drugs if name not in valuesets.drugs], ())
    if protocol.nasal is not None:
        nasal = [name for name in (protocol.nasal.products, protocol.nasal.route) if name not in valuesets]
        yield from _unknown("nasal", "value set", nasal, ())
        yield from _unknown("nasal", "drug", [protocol.nasal.drug], protocol.drugs)
        of_nasal = [protocol.nasal.strength, *protocol.nasal.counted.values()]
        yield from _unknown("nasal", "limit", of_nasal, protocol.limits)
    if not protocol.drugs or not protocol.uses:
        yield "it needs a drug, and a use that an order is judged as"
    categories = {rule.category for rule in protocol.rules.values()}
    yield from _unknown("hazards", "rule or category", protocol.hazards, {*protocol.rules, *categories})
    for name, use in protocol.uses.items():
        named = of_use(use)
        yield from _unknown(name, "limit", named, protocol.limits)
    for name, indication in protocol.indications.items():
        yield from _unknown(name, "use", [indication.use] if indication.use else [], protocol.uses)
        yield from _unknown(name, "limit", [indication.usual_rate] if indication.usual_rate else [], protocol.limits)
        yield from _set_faults(name, indication.sets, valuesets)
    for key, statement in protocol.statements.items():
        if not (statement.rules or statement.limits or statement.cards or statement.why_not):
            yield f"{key} is carried by nothing, and no reason is given"


_SIGNED_UNITS = frozenset({"{score}"})
"""Units that go below zero: points of a scale such as that of Richmond (RASS)."""


def _limit_faults(limit: model.Limit) -> Iterator[str]:
    numbers = [n for value in limit.values.values() for n in (value if isinstance(value, list) else [value])]
    if not numbers:
        yield f"{limit.id} has no value"
    for number in numbers:
        if not number.is_finite() or (number < 0 and limit.unit not in _SIGNED_UNITS):
            yield f"{limit.id}: {number} is not a number from 0 upwards"
    if (limit.drug is None) != (limit.stands_for is None):
        yield f"{limit.id}: drug and stands_for belong together"


def _rule_faults(rule: model.Rule, protocol: model.Protocol, valuesets: ValueSets) -> Iterator[str]:
    yield from _unknown(rule.id, "statement", rule.statements, protocol.statements)
    yield from _unknown(rule.id, "conflict", rule.conflicts, protocol.conflicts)
    yield from _unknown(rule.id, "evidence", rule.citations, protocol.evidence)
    suggested = [*rule.suggests, *(name for tier in rule.tiers for name in tier.suggests)]
    named = protocol.conventions
    if model.LOWER_RATE in suggested and None in (named.restart_fraction, named.restart_most):
        yield f"{rule.id} offers {model.LOWER_RATE}, and the conventions name no restart_fraction and restart_most"
    yield from _unknown(rule.id, "suggestion", suggested, kept(protocol, "suggestions", _suggestions))
    yield from _unknown(rule.id, "limit", list(rule.limits.values()), protocol.limits)
    yield from _unknown(rule.id, "rule", rule.yields_to, protocol.rules)
    by_facts = named_by(rule)
    limits = [*by_facts.limits, *(name for tier in rule.tiers for name in tier.limits)]
    yield from _unknown(rule.id, "limit", limits, protocol.limits)
    yield from _set_faults(rule.id, sets_of(rule), valuesets)
    clauses = [tier.when for tier in rule.tiers if tier.when is not None] + [change.when for change in rule.changes]
    yield from _clause_faults(rule.id, clauses, protocol)
    for change in rule.changes:
        yield from _unknown(rule.id, "tier", change.tiers, [tier.name for tier in rule.tiers])
    yield from _amount_faults(rule, protocol)
    if rule.judge in ("clauses", "amounts") and any(tier.when is None for tier in rule.tiers):
        yield f"{rule.id}: a tier judged by clauses has no `when`"
    elif rule.judge == "amounts" and not all(_has_amount(tier.when) for tier in rule.tiers):
        yield f"{rule.id}: a tier may hold without an amount, which is then not found"


def _suggestions(protocol: model.Protocol) -> frozenset[str]:
    """All that a rule of it may suggest."""
    to_limits = (kind + name for kind in model.TO_A_LIMIT for name in protocol.limits)
    return frozenset((*protocol.orderables, *model.OFFERS, *to_limits))


def _amount_faults(rule: model.Rule, protocol: model.Protocol) -> Iterator[str]:
    """An amount is compared with limits in its own unit, for uses that there are."""
    for amount in _amounts_in([tier.when for tier in rule.tiers] + [change.when for change in rule.changes]):
        yield from _unknown(rule.id, "use", amount.use, protocol.uses)
        compared = [
            *amount.above, *amount.at_least, *amount.below, *amount.at_most, *amount.other_than, *amount.doubt_up_to
        ]  # fmt: skip
        for name in compared:
            unit = protocol.limits[name].unit if name in protocol.limits else amount.figure
            if unit != amount.figure:
                yield f"{rule.id}: {name} is in {unit}, and the amount in {amount.figure}"
        if not (amount.above or amount.at_least or amount.below or amount.other_than):
            yield f"{rule.id}: an amount needs a limit that it is above, at least, below or other than"
        starts_together = amount.together and not amount.figure.endswith("/h")
        if (amount.repeats or starts_together) and amount.within is None:
            yield f"{rule.id}: an amount of doses that are added up needs the time within which they start"


def _amounts_in(clauses: Iterable[model.Clause | None]) -> Iterator[model.AmountIs]:
    for clause in clauses:
        if isinstance(clause, model.AmountIs):
            yield clause
        yield from _amounts_in(getattr(clause, "of", []) if isinstance(clause, _LOGICAL) else [])


_LOGICAL = (model.Any, model.All, model.Not, model.Unless)


def _has_amount(clause: model.Clause | None) -> bool:
    """Whether it can only hold with an amount that is past its limit."""
    match clause:
        case model.All():
            return any(map(_has_amount, clause.of))
        case model.Any():
            return all(map(_has_amount, clause.of))
    return isinstance(clause, model.AmountIs)


def _clause_faults(owner: str, clauses: Iterable[model.Clause], protocol: model.Protocol) -> Iterator[str]:
    """Clauses that can never hold, or always do: an unknown indication, or nothing that is asked."""
    for clause in each_clause(clauses):
        if isinstance(clause, model.OrderIs):
            indications = [*clause.indication, *clause.only_indication, *clause.context]
            yield from _unknown(owner, "indication", indications, protocol.indications)
            yield from _unknown(owner, "use", clause.judged_as, protocol.uses)
        fact = clause.__struct_config__.tag
        if isinstance(clause, model.OrderIs | model.PatientIs | model.ExposureIs) and clause == type(clause)():
            yield f"{owner}: a clause {{fact: {fact}}} that asks nothing"
        if isinstance(clause, model.Any | model.All | model.Not | model.Unless) and not clause.of:
            yield f"{owner}: `{fact}` joins no clause"


def _set_faults(owner: str, named: Iterable[str], valuesets: ValueSets) -> Iterator[str]:
    """`set` or `set/group`: both must exist. A set without codes has no groups yet, and is said elsewhere."""
    for name in named:
        if name not in valuesets:
            yield from _unknown(owner, "value set", [name], valuesets.names())
        elif "/" in name and not valuesets[name].no_codes:
            known = [f"{name.partition('/')[0]}/{group}" for group in valuesets[name].groups]
            yield from _unknown(owner, "group of a value set", [name], known)


def _unknown(owner: str, kind: str, named: list[str], known: Collection[str]) -> Iterator[str]:
    for name in named:
        if name not in known:
            yield f"{owner} names the {kind} {name}, which does not exist{did_you_mean(name, known)}"

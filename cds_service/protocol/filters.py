"""A site's filters, which make findings milder or silent, and its conditions, which make a rule fire as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec.structs import replace

from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.model import SEVERITIES, Added, Any, Change, Clause, Rule, Tier
from cds_service.protocol.owned import Owned, look_up


class Filter(Owned, frozen=True, kw_only=True):
    """Where `when` holds, what these rules say is lowered `to` another severity, or silent (`none`).

    Without `tiers` it is about every tier that is worse than `to`.
    """

    rules: list[str]
    tiers: list[str] = []
    when: Clause
    to: Literal["none", "info", "warning"]


class Condition(Owned, frozen=True, kw_only=True):
    """A tier of a rule holds where `when` does, too."""

    rule: str
    tier: str
    when: Clause


def widened(rules: Mapping[str, Rule], conditions: Sequence[Condition], where: str) -> dict[str, Rule]:
    """The rules with a site's conditions. Raises ProtocolError where one could never count."""
    changed = dict(rules)
    for condition in conditions:
        rule = _in_use(changed, condition.rule, "condition", where)
        if rule.judge != "clauses":
            raise ProtocolError(
                f"{where}: {rule.id} is judged by code, to which no condition can be added; add a rule of your own"
            )
        tier = look_up({tier.name: tier for tier in rule.tiers}, condition.tier, f"tier of {rule.id}", where)
        tiers = [_widened(tier, condition) if each is tier else each for each in rule.tiers]
        changed[rule.id] = replace(rule, tiers=tiers)
    return changed


def _widened(tier: Tier, condition: Condition) -> Tier:
    assert tier.when is not None
    added = Added(of=[condition.when], site=condition.site)
    own, before = parted(tier.when)
    return replace(tier, when=Any(of=[own, *before, added]))


def parted(clause: Clause) -> tuple[Clause, Sequence[Added]]:
    """The protocol's own clause of a tier, and the conditions that a site added to it."""
    if isinstance(clause, Any) and clause.of and isinstance(clause.of[-1], Added):
        return clause.of[0], [part for part in clause.of[1:] if isinstance(part, Added)]
    return clause, ()


def narrowed(rules: Mapping[str, Rule], filters: Sequence[Filter], where: str) -> dict[str, Rule]:
    """The rules with a site's filters. Raises ProtocolError for one that changes nothing, or hides too much."""
    changed = dict(rules)
    for each in filters:
        if not each.rules:
            raise ProtocolError(f"{where}: a filter names no rule")
        chosen = {name: _in_use(changed, name, "filter", where) for name in each.rules}
        known = {tier.name: tier for rule in chosen.values() for tier in rule.tiers}
        for name in each.tiers:
            look_up(known, name, f"tier of {', '.join(chosen)}", where)
        for rule in chosen.values():
            faults = list(_faults(each, rule))
            if faults:
                raise ProtocolError(f"{where}: the filter of {rule.id} to {each.to}: {'; '.join(faults)}")
            tiers = [tier.name for tier in rule.tiers if _is_lowered(each, tier)]
            change = Change(to=each.to, when=each.when, because=each.reason, tiers=tiers, site=each.site)
            changed[rule.id] = replace(rule, changes=[*rule.changes, change])
    return changed


def _in_use(rules: Mapping[str, Rule], name: str, kind: str, where: str) -> Rule:
    rule = look_up(rules, name, "rule", where)
    if rule.off:
        raise ProtocolError(f"{where}: {name} is switched off, so that a {kind} for it changes nothing")
    return rule


def _is_lowered(each: Filter, tier: Tier) -> bool:
    return (not each.tiers or tier.name in each.tiers) and grade(tier.severity) < grade(each.to)


def _faults(each: Filter, rule: Rule) -> Iterator[str]:
    """Why a filter cannot be used for a rule."""
    named = [tier for tier in rule.tiers if tier.name in each.tiers]
    if each.tiers and not named:
        yield f"none of its tiers is {' or '.join(each.tiers)}"
    for tier in named if each.tiers else rule.tiers:
        if each.tiers and not _is_lowered(each, tier):
            yield f"{tier.name} is {tier.severity} already"
    lowered = [tier for tier in rule.tiers if _is_lowered(each, tier)]
    if not lowered and not each.tiers:
        yield f"it changes nothing, no tier is worse ({', '.join(tier.severity for tier in rule.tiers)})"
    for tier in lowered:
        lowest = _lowest(rule, tier)
        if grade(each.to) > grade(lowest):
            yield f"{tier.name} is critical, and no change of the protocol's own lowers it below {lowest}"
    # A tier that holds ends the judgement, so what is lowered must not stand before what is left as it was.
    first = min((rule.tiers.index(tier) for tier in lowered), default=len(rule.tiers))
    for tier in rule.tiers[first:]:
        if tier not in lowered and grade(tier.severity) < grade(each.to):
            yield f"it would hide {tier.name} ({tier.severity}) as well; name that tier, too"


def _lowest(rule: Rule, tier: Tier) -> str:
    """How far a filter may lower a tier: a critical one to a warning, or as far as one of the rule's own changes."""
    if tier.severity != "critical":
        return "none"
    own = (c.to for c in rule.changes if c.site is None and (not c.tiers or tier.name in c.tiers))
    return max(("warning", *own), key=grade)


def grade(severity: str) -> int:
    """0 for critical, up to 3 for `none`."""
    return (*SEVERITIES, "none").index(severity)

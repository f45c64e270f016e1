"""A site's changes to the protocol: each with an owner, a date and a reason, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec.structs import replace

from cds_service.protocol import loader
from cds_service.protocol.checks import check
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.facts import Facts
from cds_service.protocol.filters import Condition, Filter, narrowed, widened
from cds_service.protocol.model import (
    Entry,
    Evidence,
    Limit,
    Orderable,
    Product,
    Protocol,
    Rule,
    Severity,
)
from cds_service.protocol.owned import Owned, look_up
from cds_service.protocol.parsing import convert, parse_yaml
from cds_service.protocol.references import indications_read
from cds_service.site_file import read_text
from cds_service.terminology.valuesets import ValueSets

T = TypeVar("T")


class LimitChange(Owned, frozen=True, kw_only=True):
    """Another value for a limit, in the limit's own unit."""

    limit: str
    value: Decimal | list[Decimal]


class RuleChange(Owned, frozen=True, kw_only=True):
    """A rule switched off or on again, or one severity for all of its tiers; what is not said stays as it was."""

    rule: str
    off: bool | None = None
    severity: Severity | None = None


class OrderSetChange(Owned, frozen=True, kw_only=True):
    """An order set (canonical or URI) that stands for an indication or context."""

    order_set: str
    indication: str


class ProductChange(Owned, frozen=True, kw_only=True):
    """A site's product code and its strength; `salt` where the label states the hydrochloride."""

    product: str
    """The product's code in `system`."""
    system: str
    mg_per_ml: Decimal
    basis: Literal["base", "salt"] = "base"


class Addition(Owned, frozen=True, kw_only=True):
    """Rules of the site's own: their folders, in the shape of the shipped ones, stand in `rules/` beside the file."""

    rules: list[str]
    orderables: dict[str, Orderable] = {}
    evidence: dict[str, Evidence] = {}


class Overlay(Entry, frozen=True, kw_only=True):
    """The overlay file."""

    site: str
    limits: list[LimitChange] = []
    rules: list[RuleChange] = []
    order_sets: list[OrderSetChange] = []
    products: list[ProductChange] = []
    additions: list[Addition] = []
    conditions: list[Condition] = []
    filters: list[Filter] = []


def read(path: Path, shared: Mapping[str, Any]) -> Overlay:
    """The overlay file, its shape checked. Its lines name its own facts and `shared` ones. Raises ProtocolError."""
    written = parse_yaml(read_text(path, ProtocolError), path.name)
    if not isinstance(written, dict):
        raise ProtocolError(f"{path.name}: it is not a mapping; an overlay begins with site: and its name")
    overlay = convert(_with_clauses(written, shared, path.name), Overlay, path.name)
    changes: list[Owned] = [
        *overlay.limits,
        *overlay.rules,
        *overlay.order_sets,
        *overlay.products,
        *overlay.additions,
        *overlay.conditions,
        *overlay.filters,
    ]
    for change in changes:
        if not change.owner.strip() or not change.reason.strip():
            raise ProtocolError(f"{path.name}: every change needs an owner and a reason")
    return overlay


def _with_clauses(written: dict[str, Any], shared: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The overlay as it is written, the `when` of each filter and condition as a clause."""
    facts = Facts(written.pop("facts", None) or {}, shared, where)
    for part in ("filters", "conditions"):
        entries = written.get(part)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and "when" in entry:
                entry["when"] = facts.clause(entry["when"])
    if facts.unused:
        raise ProtocolError(f"{where}: no line names the fact “{facts.unused[0]}”")
    return written


def applied(protocol: Protocol, overlay: Overlay, valuesets: ValueSets, file: Path) -> Protocol:
    """The protocol with the changes of a site's overlay file, checked again. Raises ProtocolError."""
    where, folder = file.name, file.parent / "rules"
    if folder.is_dir():
        named = [name for addition in overlay.additions for name in addition.rules]
        if stray := sorted(set(loader.folders(folder)).difference(named)):
            raise ProtocolError(f"{where}: no addition names the rule {stray[0]} of the folder rules")
        protocol = replace(protocol, folders=(*protocol.folders, str(folder)))
    for addition in overlay.additions:
        protocol = _added(protocol, addition, folder, where)
    limits = dict(protocol.limits)
    for limit_change in overlay.limits:
        limits[limit_change.limit] = _limit(look_up(limits, limit_change.limit, "limit", where), limit_change, where)
    rules = dict(protocol.rules)
    for rule_change in overlay.rules:
        rules[rule_change.rule] = _rule(look_up(rules, rule_change.rule, "rule", where), rule_change, where)
    rules = narrowed(widened(rules, overlay.conditions, where), overlay.filters, where)
    indications = dict(protocol.indications)
    for order_set in overlay.order_sets:
        indication = look_up(indications, order_set.indication, "indication", where)
        sets = [*indication.order_sets, order_set.order_set]
        indications[order_set.indication] = replace(indication, order_sets=sets)
    products = [
        Product(system=p.system, code=p.product, mg_per_ml=p.mg_per_ml, basis=p.basis, site=p.site)
        for p in overlay.products
    ]
    changed = replace(
        protocol, limits=limits, rules=rules, indications=indications, products=products, site=overlay.site
    )
    check(changed, valuesets)
    _check_order_sets(changed, overlay.order_sets, where)
    return loader.with_carriers(changed)


def _check_order_sets(protocol: Protocol, changes: Sequence[OrderSetChange], where: str) -> None:
    """An order set stands only for what a rule or a filter reads: any other mapping would change nothing."""
    read = indications_read(protocol)
    for change in changes:
        if change.indication not in read:
            raise ProtocolError(
                f"{where}: nothing reads the indication {change.indication}, so {change.order_set} would change "
                f"nothing; read are {', '.join(sorted(read))}, or add a filter or a condition over a fact "
                f"{{order: {{context: {change.indication}}}}}"
            )


def _added(protocol: Protocol, addition: Addition, folder: Path, where: str) -> Protocol:
    """The protocol with a site's own rules; nothing that is shipped is replaced."""
    site = addition.site
    written, limits = loader.read_rules(folder, protocol.facts, addition.rules)
    rules = {name: convert(rule, Rule, name) for name, rule in written.items()}
    own = convert(limits, dict[str, Limit], where)
    return replace(
        protocol,
        limits=_joined(protocol.limits, {key: replace(limit, site=site) for key, limit in own.items()}, where),
        rules=_joined(protocol.rules, {key: replace(rule, site=site) for key, rule in rules.items()}, where),
        orderables=_joined(protocol.orderables, addition.orderables, where),
        evidence=_joined(protocol.evidence, addition.evidence, where),
    )


def _joined(shipped: Mapping[str, T], added: Mapping[str, T], where: str) -> dict[str, T]:
    for key in added:
        if key in shipped:
            raise ProtocolError(f"{where}: {key} is shipped; change it under limits or rules")
    return {**shipped, **added}


def texts_beside(path: str | None) -> Path | None:
    """The folder of a site's own card texts, where there is one beside its overlay file."""
    folder = Path(path).parent / "texts" if path else None
    return folder if folder is not None and folder.is_dir() else None


def _limit(limit: Limit, change: LimitChange, where: str) -> Limit:
    """The site's value from its date on; what held before still holds before."""
    newest = limit.values[max(limit.values)]
    if isinstance(change.value, list) != isinstance(newest, list):
        expected = "a list of numbers" if isinstance(newest, list) else "one number"
        raise ProtocolError(f"{where}: {limit.id} takes {expected}")
    earlier = {day: value for day, value in limit.values.items() if day < change.date}
    return replace(limit, values={**earlier, change.date: change.value}, site=change.site)


def _rule(rule: Rule, change: RuleChange, where: str) -> Rule:
    if change.off is None and change.severity is None:
        raise ProtocolError(f"{where}: {rule.id} is to change, but neither `off` nor `severity` is given")
    tiers = rule.tiers
    if change.severity is not None:
        tiers = [replace(tier, severity=change.severity) for tier in tiers]
    off = rule.off if change.off is None else change.off
    return replace(rule, tiers=tiers, off=off, site=change.site)


def load_protocols(path: str | None, valuesets: ValueSets, folders: Sequence[Path] = ()) -> tuple[Protocol, ...]:
    """The shipped protocol with a site's overlay file, and those of the site's own folders.

    An id stands in one of them alone, but for the limits that all share: what the overlay says of these holds for
    all. Raises ProtocolError.
    """
    others = [loader.load(valuesets, folder) for folder in folders]
    first = load_with_overlay(path, valuesets, others)
    common = {"limits": loader.common_limits().keys(), "evidence": loader.common_evidence().keys()}
    shared = {name: first.limits[name] for name in common["limits"]}
    protocols = (first, *(replace(each, limits={**each.limits, **shared}) for each in others))
    for part in ("rules", "limits", "evidence", "statements", "conflicts"):
        of: dict[str, str] = {}
        for protocol in protocols:
            for name in getattr(protocol, part).keys() - common.get(part, set()):
                if of.setdefault(name, protocol.id) != protocol.id:
                    raise ProtocolError(f"{protocol.id}: {name} is a name of {of[name]} already; choose another")
    if len({protocol.id for protocol in protocols}) < len(protocols):
        raise ProtocolError(f"two protocols are called {others[-1].id}")
    return protocols


def load_with_overlay(path: str | None, valuesets: ValueSets, others: Sequence[Protocol] = ()) -> Protocol:
    """The shipped protocol, with the overlay file of the settings where there is one.

    The overlay cannot change the `others`, whose folders are the site's own. Raises ProtocolError.
    """
    protocol = loader.load(valuesets)
    if path is None:
        return protocol
    overlay = read(Path(path), protocol.facts)
    for other in others:
        _refuse_change_of(other, protocol, overlay, valuesets, Path(path).name)
    return applied(protocol, overlay, valuesets, Path(path))


def _refuse_change_of(other: Protocol, shipped: Protocol, overlay: Overlay, valuesets: ValueSets, where: str) -> None:
    """What names an entry of another protocol says so, and not that there is no such entry."""
    rules = [change.rule for change in overlay.rules] + [condition.rule for condition in overlay.conditions]
    rules += [name for each in overlay.filters for name in each.rules]
    named = [("rule", name) for name in rules if name in other.rules]
    named += [("limit", c.limit) for c in overlay.limits if c.limit in other.limits.keys() - shipped.limits.keys()]
    indications = other.indications.keys() - shipped.indications.keys()
    named += [("indication", change.indication) for change in overlay.order_sets if change.indication in indications]
    sets = [name for drug in other.drugs for name in valuesets.drugs.family_sets(drug)]
    named += [
        ("product", change.product)
        for change in overlay.products
        if any(valuesets.member(name, [(change.system, change.product)]) for name in sets)
    ]
    for kind, name in named:
        raise ProtocolError(
            f"{where}: {name} is a {kind} of the protocol {other.id}, which this file cannot change; "
            f"change it in the folder of {other.id}, which is the site's own"
        )

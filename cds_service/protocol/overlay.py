"""A site's changes to the protocol: each with an owner, a date and a reason, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cds_service.protocol import loader
from cds_service.protocol.loader import ProtocolError
from cds_service.protocol.model import Entry, Limit, Product, Protocol, Rule, Severity, SiteChange
from cds_service.terminology.valuesets import ValueSets

T = TypeVar("T")


class Owned(Entry, frozen=True, kw_only=True):
    """What every change must say."""

    owner: str
    date: date
    reason: str


class LimitChange(Owned, frozen=True, kw_only=True):
    """Another value for a limit, in the limit's own unit."""

    limit: str
    value: Decimal | list[Decimal]


class RuleChange(Owned, frozen=True, kw_only=True):
    """A rule switched off, or one severity for all of its tiers."""

    rule: str
    off: bool = False
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


class Overlay(Entry, frozen=True, kw_only=True):
    """The overlay file."""

    site: str
    limits: list[LimitChange] = []
    rules: list[RuleChange] = []
    order_sets: list[OrderSetChange] = []
    products: list[ProductChange] = []


def read(path: Path) -> Overlay:
    """The overlay file, its shape checked. Raises ProtocolError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: cannot be read: {error}") from error
    overlay = loader.convert(loader.parse_yaml(text, path.name), Overlay, path.name)
    changes: list[Owned] = [*overlay.limits, *overlay.rules, *overlay.order_sets, *overlay.products]
    for change in changes:
        if not change.owner.strip() or not change.reason.strip():
            raise ProtocolError(f"{path.name}: every change needs an owner and a reason")
    return overlay


def applied(protocol: Protocol, overlay: Overlay, valuesets: ValueSets, where: str = "overlay") -> Protocol:
    """The protocol with the site's changes, checked again. Raises ProtocolError."""
    limits = dict(protocol.limits)
    for limit_change in overlay.limits:
        limits[limit_change.limit] = _limit(_known(limits, limit_change.limit, "limit", where), limit_change, where)
    rules = dict(protocol.rules)
    for rule_change in overlay.rules:
        rules[rule_change.rule] = _rule(_known(rules, rule_change.rule, "rule", where), rule_change)
    indications = dict(protocol.indications)
    for order_set in overlay.order_sets:
        indication = _known(indications, order_set.indication, "indication", where)
        sets = [*indication.order_sets, order_set.order_set]
        indications[order_set.indication] = msgspec.structs.replace(indication, order_sets=sets)
    products = [
        Product(system=p.system, code=p.product, mg_per_ml=p.mg_per_ml, basis=p.basis, site=_site(p))
        for p in overlay.products
    ]
    changed = msgspec.structs.replace(
        protocol, limits=limits, rules=rules, indications=indications, products=products, site=overlay.site
    )
    loader.check(changed, valuesets)
    return changed


def _limit(limit: Limit, change: LimitChange, where: str) -> Limit:
    """The site's value from its date on; what held before still holds before."""
    newest = limit.values[max(limit.values)]
    if isinstance(change.value, list) != isinstance(newest, list):
        expected = "a list of numbers" if isinstance(newest, list) else "one number"
        raise ProtocolError(f"{where}: {limit.id} takes {expected}")
    earlier = {day: value for day, value in limit.values.items() if day < change.date}
    return msgspec.structs.replace(limit, values={**earlier, change.date: change.value}, site=_site(change))


def _rule(rule: Rule, change: RuleChange) -> Rule:
    tiers = rule.tiers
    if change.severity is not None:
        tiers = [msgspec.structs.replace(tier, severity=change.severity) for tier in tiers]
    return msgspec.structs.replace(rule, tiers=tiers, off=change.off, site=_site(change))


def _known(entries: Mapping[str, T], name: str, kind: str, where: str) -> T:
    if name not in entries:
        raise ProtocolError(f"{where}: there is no {kind} {name}")
    return entries[name]


def _site(change: Owned) -> SiteChange:
    return SiteChange(owner=change.owner, date=change.date, reason=change.reason)


def load_with_overlay(path: str | None, valuesets: ValueSets) -> Protocol:
    """The shipped protocol, with the overlay file of the settings where there is one. Raises ProtocolError."""
    protocol = loader.load(valuesets)
    return protocol if path is None else applied(protocol, read(Path(path)), valuesets, Path(path).name)

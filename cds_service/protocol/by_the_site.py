"""What a site's overlay changes in the shipped protocol, as lines: each change with its owner, date and reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import date

from cds_service.protocol.filters import parted
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import Protocol, Rule, SiteChange
from cds_service.protocol.overlay import load_with_overlay
from cds_service.protocol.words import Words
from cds_service.terminology.valuesets import ValueSets

WIDTH = 118


def by_the_site(protocol: Protocol, valuesets: ValueSets, today: date) -> list[str]:
    """The lines of all that `protocol`, the shipped one with an overlay, has changed."""
    shipped = load_with_overlay(None, valuesets)
    return list(_differences(shipped, protocol, today, Words(protocol, valuesets, today)))


def _differences(shipped: Protocol, protocol: Protocol, today: date, words: Words) -> Iterator[str]:
    for name, limit in protocol.limits.items():
        before = shipped.limits.get(name)
        if before != limit:
            after = as_written(limit, max([today, *limit.values]))
            yield f"limit {name}: {as_written(before, today) if before else 'new'} -> {after} {limit.unit}"
            yield from owned(limit.site)
    for name, rule in protocol.rules.items():
        before_rule = shipped.rules.get(name)
        if before_rule != rule:
            severities = "/".join(dict.fromkeys(tier.severity for tier in rule.tiers))
            new = "" if before_rule else "new, "
            yield f"rule {name}: {new}{'off' if rule.off else severities}"
            yield from owned(rule.site)
            yield from conditions(rule, words)
            yield from filters(rule, words)
    for name, indication in protocol.indications.items():
        for order_set in indication.order_sets:
            yield f"order set {order_set} stands for {name}"
    for product in protocol.products:
        yield f"product {product.code}: {product.mg_per_ml} mg/mL ({product.basis})"
        yield from owned(product.site)


def owned(site: SiteChange | None) -> Iterator[str]:
    if site is not None:
        yield f"  changed by {site.owner} on {site.date}: {site.reason}"


def conditions(rule: Rule, words: Words) -> Iterator[str]:
    """What a site added to a rule's tiers, in words."""
    for tier in rule.tiers:
        for added in parted(tier.when)[1] if tier.when is not None else ():
            yield from wrapped("", f"{tier.name} ({tier.severity}) also where {words.clause(added)}")
            yield from owned(added.site)


def filters(rule: Rule, words: Words) -> Iterator[str]:
    """What a site's filters make milder or silent, in words."""
    for change in rule.changes:
        if change.site is not None:
            becomes = "is silent" if change.to == "none" else f"becomes {change.to}"
            yield from wrapped("", f"{', '.join(change.tiers)} {becomes} where {words.clause(change.when)}")
            yield from owned(change.site)


def wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        label + text,
        WIDTH,
        initial_indent=" " * 5,
        subsequent_indent=" " * (5 + len(label)),
        break_long_words=False,
        break_on_hyphens=False,
    )

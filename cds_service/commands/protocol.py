"""The command protocol: validate, show, diff, evidence and sign-off, for the people who own the numbers."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version

import msgspec

from cds_service.cards.sentences import KEYS
from cds_service.cards.texts import Texts
from cds_service.commands import effect, signing
from cds_service.commands.refused import Refused
from cds_service.knowledge import load
from cds_service.protocol import evidence
from cds_service.protocol.by_the_site import WIDTH, by_the_site, conditions, filters, owned, wrapped
from cds_service.protocol.errors import did_you_mean
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import Limit, Protocol, Rule
from cds_service.protocol.overlay import load_with_overlay
from cds_service.protocol.words import Words
from cds_service.settings import Settings
from cds_service.settings import load as load_settings
from cds_service.terminology import valuesets as terminology


def run(given: argparse.Namespace) -> int:
    """Exit status 0, or 1 where a signature does not hold.

    Raises a ConfigurationError for what cannot be used, and Refused for an unknown id.
    """
    settings = load_settings()
    if given.action == "validate":
        print(_validated(settings, given.overlay))
        return 0
    if given.action == "diff" and (given.new or given.replay):
        print("\n".join(effect.lines(settings, given.overlay, given.new, given.replay)))
        return 0
    if given.action == "sign-off" and given.check:
        return signing.check(settings, given)
    loaded = load(settings.base_url, given.overlay, settings.valuesets, settings.protocols)
    protocols, valuesets = [part.protocol for part in loaded.parts], loaded.valuesets
    today = date.today()
    if given.action == "diff":
        print("\n".join(by_the_site(loaded.protocol, valuesets, today)) or "the overlay changes nothing")
    elif given.action == "sign-off":
        signing.write(loaded, given, today)
    elif given.action == "evidence":
        print(_evidence_as_json(protocols) if given.json else "\n".join(_evidence(protocols)))
    elif given.id is None:
        print("\n\n".join("\n".join([*_rules(each), "", *_limits(each, today)]) for each in protocols))
    else:
        part = next((each for each in protocols if given.id in (*each.rules, *each.limits)), loaded.protocol)
        print(_one(part, given.id, today, Words(part, valuesets, today)))
    return 0


def versions() -> str:
    """The versions of the service and of the shipped protocol, as each has it in its own data."""
    protocol = load_with_overlay(None, terminology.load())
    return f"ketamine-cds {version('ketamine-cds')}, protocol {protocol.id} {protocol.version}"


def _validated(settings: Settings, overlay: str | None) -> str:
    """What was loaded: all that the service loads at its start, so that what passes here starts there."""
    loaded = load(settings.base_url, overlay, settings.valuesets, settings.protocols)
    return "\n".join([*(_counted(part.protocol) for part in loaded.parts), *_languages(loaded.texts)])


def _languages(texts: Texts) -> Iterator[str]:
    """What each further language says, and which of the shared words and cards it says in English."""
    for language in texts.others:
        keys, rules = texts.untold(language)
        left = f"; in English: {', '.join([*keys, *rules])}" if keys or rules else ""
        cards = f"{len(texts.by_rule) - len(rules)} of {len(texts.by_rule)} cards"
        yield f"{language}: {len(KEYS) - len(keys)} of {len(KEYS)} shared words, {cards}{left}"


def _counted(protocol: Protocol) -> str:
    site = f" with the overlay of {protocol.site}" if protocol.site else ""
    return f"{protocol.title} {protocol.version}{site}: {len(protocol.rules)} rules, {len(protocol.limits)} limits"


def _rules(protocol: Protocol) -> Iterator[str]:
    for rule in protocol.rules.values():
        severities = "/".join(dict.fromkeys(tier.severity for tier in rule.tiers))
        off = "  (switched off)" if rule.off else ""
        yield f"{rule.row:3} {rule.id:40} {severities:24} {rule.title}{off}"


def _limits(protocol: Protocol, today: date) -> Iterator[str]:
    for limit in protocol.limits.values():
        site = "  (site)" if limit.site else ""
        yield f"{limit.id:36} {as_written(limit, today):>12} {limit.unit:10} {limit.status:12} {limit.title}{site}"


def _one(protocol: Protocol, name: str, today: date, words: Words) -> str:
    if name in protocol.limits:
        return "\n".join(_limit(protocol.limits[name], today))
    if name in protocol.rules:
        return "\n".join(_rule(protocol.rules[name], protocol, words))
    known = (*protocol.limits, *protocol.rules)
    raise Refused(f"there is no rule and no limit {name}{did_you_mean(name, known)}")


def _limit(limit: Limit, today: date) -> Iterator[str]:
    yield f"{limit.id}: {limit.title}"
    sources = ", ".join(limit.sources) or "none"
    yield f"  {as_written(limit, today)} {limit.unit}, evidence {limit.status}, sources {sources}"
    if limit.indication:
        yield f"  for {limit.indication}; routes {', '.join(limit.routes)}"
    for day, value in sorted(limit.values.items()):
        yield f"  from {day}: {value}"
    if limit.note:
        yield f"  {limit.note}"
    yield from owned(limit.site)


def _rule(rule: Rule, protocol: Protocol, words: Words) -> Iterator[str]:
    yield f"{rule.id} (row {rule.row}, {rule.category}): {rule.title}"
    yield from textwrap.wrap(words.trigger(rule), WIDTH, initial_indent="  ", subsequent_indent="  ")
    for tier in rule.tiers:
        limits = f", limits {', '.join(tier.shown)}" if tier.shown else ""
        yield f"  {tier.severity:8} {tier.name}{limits}"
    for change in rule.changes:
        if change.site is None:
            yield f"  becomes {change.to} when {change.because}"
    yield from conditions(rule, words)
    yield from filters(rule, words)
    for unseen in rule.cannot_see:
        yield f"  cannot see: {unseen}"
    for name in rule.citations:
        yield f"  {name}: {protocol.evidence[name].citation}"
    for name in rule.statements:
        yield f"  {name}: {protocol.statements[name].says}"
    yield from owned(rule.site)


def _evidence(protocols: Sequence[Protocol]) -> Iterator[str]:
    """Each citation with what was read of it, and below it what rests on it."""
    for row in (row for protocol in protocols for row in evidence.table(protocol)):
        yield f"{row.id:4} {row.grade}, {row.status}"
        yield from wrapped("", row.citation)
        yield from wrapped("read: ", row.read)
        for kind, names in (("limits", row.limits), ("rules", row.rules), ("statements", row.statements)):
            yield from wrapped(f"{kind}: ", ", ".join(names) or "none")
        yield ""


def _evidence_as_json(protocols: Sequence[Protocol]) -> str:
    """The same rows, as one JSON array."""
    rows = [row for protocol in protocols for row in evidence.table(protocol)]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()

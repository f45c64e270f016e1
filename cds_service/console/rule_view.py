"""One rule as its page shows it: sentences, words in each language, limits with what rests beneath them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cds_service.cards.texts import Text, Texts
from cds_service.cards.wording import wording
from cds_service.knowledge import Knowledge, Part
from cds_service.protocol.filters import parted
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import Conflict, Limit, Protocol, Rule, SiteChange, Statement, Tier
from cds_service.protocol.words import Words

SCENARIOS = "scenarios.yaml"
_NAME = re.compile(r"\b[A-Z]+-?\d+\b")


@dataclass(frozen=True, slots=True)
class Source:
    """What a limit or a rule rests on: a citation, or a statement or a conflict of the source documents."""

    id: str
    says: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit in force, with its unit, since when, and what stands behind it."""

    limit: Limit
    value: str
    since: date
    later: str
    """What will hold from a later date on."""
    sources: tuple[Source, ...]
    before: str | None = None
    """Its value as shipped, where the site changed it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a card says: in which language, of which drug where it has words of its own."""

    language: str
    drug: str | None
    summary: str
    detail: str


@dataclass(frozen=True, slots=True)
class TierView:
    """One way to fire."""

    tier: Tier
    outline: tuple[tuple[int, str], ...]
    said: tuple[Said, ...]
    limits: tuple[LimitView, ...]


@dataclass(frozen=True, slots=True)
class Owned:
    """A change of the site: what it does, and who made it, when and why."""

    what: str
    site: SiteChange


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where the two source documents disagree: what each says, and what the protocol does."""

    id: str
    conflict: Conflict
    by_source: Mapping[str, tuple[tuple[str, Statement], ...]]
    """Source -> (id, statement) of those that the conflict names."""


class RuleView:
    """A rule of one part of the knowledge as of `day`. `shipped` is its protocol without the overlay."""

    def __init__(self, knowledge: Knowledge, rule: Rule, day: date, shipped: Protocol | None = None) -> None:
        self.rule, self._day, self._knowledge = rule, day, knowledge
        self.part: Part = knowledge.by_rule[rule.id]
        self.protocol = self.part.protocol
        self._shipped = shipped or self.protocol
        self.words = Words(self.protocol, knowledge.valuesets, day)

    @property
    def trigger(self) -> str:
        return self.words.trigger(self.rule)

    @property
    def severities(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tier.severity for tier in self.rule.tiers))

    @property
    def tiers(self) -> tuple[TierView, ...]:
        return tuple(
            TierView(
                tier,
                tuple(self.words.outline(tier.when)) if tier.when is not None else (),
                tuple(self._said(tier.name)),
                tuple(limit_view(self.protocol, self.words, name, self._day, self._shipped) for name in tier.shown),
            )
            for tier in self.rule.tiers
        )

    def _said(self, tier: str) -> Iterator[Said]:
        texts = self._knowledge.texts
        for language in (texts, *texts.others.values()):
            for drug, text in self._texts(language):
                made = wording(self.rule, tier, text, self.protocol, self._day)
                yield Said(language.language, drug, made.summary, made.detail)

    def _texts(self, texts: Texts) -> Iterator[tuple[str | None, Text]]:
        """(None, or the drug that has words of its own; the words). What falls back on English is left out."""
        english = self._knowledge.texts
        general = texts.by_rule[self.rule.id]
        if texts is english or general is not english.by_rule[self.rule.id]:
            yield None, general
        for drug in self.protocol.drugs:
            own = texts.by_drug.get((self.rule.id, drug))
            if own is not None and (texts is english or own is not english.by_drug.get((self.rule.id, drug))):
                yield drug, own

    @property
    def changes(self) -> tuple[tuple[str, str, str], ...]:
        """(what it becomes, why, when) of the protocol's own changes of severity."""
        return tuple(
            (_becomes(each.to, each.tiers), each.because, self.words.clause(each.when))
            for each in self.rule.changes
            if each.site is None
        )

    @property
    def by_the_site(self) -> tuple[Owned, ...]:
        """Everything that the overlay changed in this rule."""
        return tuple(self._by_the_site())

    def _by_the_site(self) -> Iterator[Owned]:
        rule, before = self.rule, self._shipped.rules.get(self.rule.id)
        if rule.site is not None:
            yield Owned(_changed_rule(rule, before), rule.site)
        for tier in rule.tiers:
            for added in parted(tier.when)[1] if tier.when is not None else ():
                if added.site is not None:
                    yield Owned(f"{tier.severity} also where {self.words.clause(added)}", added.site)
        for change in rule.changes:
            if change.site is not None:
                becomes = _becomes(change.to, change.tiers)
                yield Owned(f"{becomes} where {self.words.clause(change.when)}", change.site)
        for name in dict.fromkeys(name for tier in rule.tiers for name in tier.shown):
            limit = self.protocol.limits[name]
            if limit.site is not None:
                view = limit_view(self.protocol, self.words, name, self._day, self._shipped)
                was = f", shipped as {view.before}" if view.before else ""
                yield Owned(f"{limit.title}: {view.value}{was}", limit.site)

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        return tuple(disagreement(self.protocol, name) for name in self.rule.conflicts)

    @property
    def scenario_file(self) -> Path | None:
        """The file with its scenarios; the site's own folder comes last and counts first."""
        files = (Path(folder) / self.rule.id / SCENARIOS for folder in reversed(self.protocol.folders))
        return next((file for file in files if file.is_file()), None)


def limit_view(protocol: Protocol, words: Words, name: str, day: date, shipped: Protocol) -> LimitView:
    limit, before = protocol.limits[name], shipped.limits.get(name)
    since = max((start for start in limit.values if start <= day), default=min(limit.values))
    later = "; ".join(
        f"from {start}: {as_written(limit, start)} {limit.unit}" for start in limit.values if start > day
    )
    was = None
    if limit.site is not None and before is not None and before.values != limit.values:
        was = f"{as_written(before, day)} {before.unit}"
    sources = tuple(source(protocol, each) for each in limit.sources)
    return LimitView(limit, words.limit(name), since, later, sources, was)


def source(protocol: Protocol, name: str) -> Source:
    """What a source's id stands for."""
    if name in protocol.evidence:
        entry = protocol.evidence[name]
        return Source(name, entry.citation, entry.url)
    if name in protocol.statements:
        return Source(name, protocol.statements[name].says)
    return Source(name, protocol.conflicts[name].between if name in protocol.conflicts else "")


def disagreement(protocol: Protocol, name: str) -> Disagreement:
    """The statements that a conflict names, by their source."""
    conflict = protocol.conflicts[name]
    named = [each for each in dict.fromkeys(_NAME.findall(conflict.between)) if each in protocol.statements]
    sources: list[str] = sorted({statement.source for statement in protocol.statements.values()})
    by_source = {
        each: tuple((key, protocol.statements[key]) for key in named if protocol.statements[key].source == each)
        for each in sources
    }
    return Disagreement(name, conflict, by_source)


def _becomes(to: str, tiers: list[str]) -> str:
    of = f" ({', '.join(name.replace('-', ' ') for name in tiers)})" if tiers else ""
    return ("Silent" if to == "none" else f"Becomes {to}") + of


def _changed_rule(rule: Rule, before: Rule | None) -> str:
    if before is None:
        return "Added by the site"
    if rule.off != before.off:
        return "Switched off" if rule.off else "Switched on"
    was, now = ("/".join(dict.fromkeys(tier.severity for tier in each.tiers)) for each in (before, rule))
    return f"Severity {now}, shipped as {was}"

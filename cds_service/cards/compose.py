"""From outcomes to cards: which stand together, which come first, and how many interrupt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4, uuid5

import msgspec

from cds_service.cards import could_not_check, detail, machine_read
from cds_service.cards.fitting import bullet, fitted
from cds_service.cards.machine_read import severity_of
from cds_service.cards.model import EXTENSION, Card, Coding, Link, Source
from cds_service.cards.suggestions import are_alternatives, suggestions
from cds_service.cards.texts import Text, Texts, Words, as_markdown, one_line
from cds_service.fhir.queries import Query
from cds_service.orders.proposal import Proposal
from cds_service.protocol.limits import LimitBook, Limits
from cds_service.protocol.model import SEVERITIES, Protocol, Severity
from cds_service.rules.judged import Judged, Note
from cds_service.rules.outcome import Outcome
from cds_service.says import Says

FURTHER_WARNINGS = "further-warnings"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a composition needs beside the outcomes."""

    texts: Texts
    protocol: Protocol
    """The shipped one, and its `limits`: they hold where there is no order."""
    limits: Limits
    by_drug: Mapping[str, Limits]
    """The limits of the protocol that judges a drug."""
    override_reasons: Sequence[Coding]
    topic_system: str
    source_url: str
    """The page of a rule is this and the rule's id."""
    queries: Mapping[str, Query]
    """By key."""
    not_sent: bool
    """Whether to say which lists were not sent; of a client whose entry says what it sends the operator is told."""
    signing: bool
    instance: UUID
    """From the hook instance: the same call gives the same card identifiers."""
    now: datetime
    interruptive: int
    """How many cards may interrupt, but for critical ones."""

    def book(self, judged: Judged | None) -> LimitBook:
        """The limits of an order's drug; of the protocol's first where there is no order."""
        day = self.now.date()
        if judged is None:
            return self.limits.book(self.protocol.drugs[0], day)
        return self.by_drug[judged.drug].book(judged.drug, day)

    def protocol_of(self, judged: Sequence[Judged]) -> Protocol:
        """What judged the first of these orders."""
        return self.by_drug[judged[0].drug].protocol if judged else self.protocol


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes one card: the outcomes that share it, worst first, and the orders that they are about."""

    outcomes: tuple[Outcome, ...]
    judged: tuple[Judged, ...]
    offering: tuple[Outcome, ...]
    """Those whose proposals the card offers: of an order's dose all, else the rule's for each order."""

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        return tuple(proposal for outcome in self.offering for proposal in outcome.proposals)

    @property
    def leading(self) -> Outcome:
        return self.outcomes[0]

    @property
    def severity(self) -> Severity:
        assert self.leading.severity is not None
        return self.leading.severity

    @property
    def pairs(self) -> tuple[tuple[Judged, Outcome], ...]:
        return tuple((each, outcome) for each in self.judged for outcome in self.outcomes)


StandsFor = tuple[tuple[Judged, Outcome], ...]
"""Outcomes, with the order of each."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A card, and the outcomes that it stands for."""

    card: Card
    stands_for: StandsFor


@dataclass(frozen=True, slots=True)
class Place:
    """A card that is not made yet: what it is about, how severe it is, and the outcomes that it stands for."""

    topic: str
    severity: Severity
    stands_for: StandsFor
    make: Callable[[], Card]


def compose(judged: Sequence[Judged], setting: Setting, notes: Sequence[Says | Note] = ()) -> list[Composed]:
    """The cards of a response, as `arrange` has them."""
    return _distinct([Composed(place.make(), place.stands_for) for place in arrange(judged, setting, notes)])


def arrange(judged: Sequence[Judged], setting: Setting, notes: Sequence[Says | Note] = ()) -> list[Place]:
    """Which cards a response has, worst first. A Note among the `notes` is a doubt, and warns.

    Every critical one is shown; of the others as many interrupt as there is room for, and the rest share one card.
    At order-sign, information is shown only where nothing interrupts; "could not check" always is, and so is a
    critical finding that only informs because it was overridden.
    """
    gaps, unchecked = could_not_check.gaps(
        judged, setting.texts, setting.queries, notes, setting.book, setting.not_sent
    )
    findings = sorted(_findings(judged), key=lambda finding: _rank(finding, setting.protocol_of(finding.judged)))
    critical = [f for f in findings if f.severity == "critical"]
    warnings = [f for f in findings if f.severity == "warning"]
    info = [f for f in findings if f.severity == "info"]
    gap_interrupts = bool(gaps) and gaps[0].severity != "info"
    room = max(0, setting.interruptive - len(critical) - gap_interrupts)
    shown, collapsed = (warnings, []) if len(warnings) <= room else (warnings[: max(room - 1, 0)], warnings)
    collapsed = collapsed[len(shown) :]
    cards = [_of_finding(finding, setting) for finding in (*critical, *shown)]
    if collapsed:
        cards.append(_of_further(collapsed, setting, "warning" if room else "info"))
    if gaps:
        cards.append(_of_gaps(gaps, unchecked, judged, setting))
    interrupted = any(each.severity != "info" for each in cards)
    always = [f for f in info if any(outcome.overridden is not None for outcome in f.outcomes)]
    cards += [_of_finding(finding, setting) for finding in (always if setting.signing and interrupted else info)]
    return sorted(cards, key=lambda each: SEVERITIES.index(each.severity))


def _of_finding(finding: Finding, setting: Setting) -> Place:
    make = partial(_card, finding, setting)
    return Place(finding.leading.rule.id, finding.severity, finding.pairs, make)


def _of_further(collapsed: Sequence[Finding], setting: Setting, severity: Severity) -> Place:
    pairs = tuple(pair for finding in collapsed for pair in finding.pairs)
    return Place(FURTHER_WARNINGS, severity, pairs, partial(_further, collapsed, setting, severity))


def _of_gaps(
    gaps: Sequence[could_not_check.Gap], fired: Sequence[Outcome], judged: Sequence[Judged], setting: Setting
) -> Place:
    shown = {id(outcome) for outcome in fired}
    pairs = tuple((each, outcome) for each in judged for outcome in each.telling if id(outcome) in shown)
    make = partial(_could_not_check, gaps, fired, judged, setting)
    return Place(could_not_check.TOPIC, gaps[0].severity, pairs, make)


def _distinct(cards: Sequence[Composed]) -> list[Composed]:
    """Orders without an id, or with the same one, would give two cards one identifier: the later gets another."""
    seen: dict[str, int] = {}
    distinct = []
    for each in cards:
        card = each.card
        number = seen[card.uuid] = seen.get(card.uuid, 0) + 1
        if number > 1:
            uuid = uuid5(UUID(card.uuid), str(number))
            made = card.suggestions and [
                msgspec.structs.replace(s, uuid=str(uuid5(uuid, s.uuid))) for s in card.suggestions
            ]
            card = msgspec.structs.replace(card, uuid=str(uuid), suggestions=made)
            each = replace(each, card=card)
        distinct.append(each)
    return distinct


def not_checked_at_all(
    texts: Texts,
    protocol: Protocol,
    topic_system: str,
    source_url: str,
    override_reasons: Sequence[Coding],
    why: str = "failed",
) -> Card:
    """The card of a service that failed, or (`why`: busy, late) had no time."""
    words = texts.words
    return Card(
        uuid=str(uuid4()),
        summary=words.say(why),
        detail=words.say(f"{why}-body"),
        indicator="warning",
        source=Source(
            label=f"{protocol.title} {protocol.version}",
            url=source_url + could_not_check.TOPIC,
            topic=Coding(system=topic_system, code=could_not_check.TOPIC, display=words.say("title-could-not-check")),
        ),
        override_reasons=_reasons(override_reasons, words),
        extension={EXTENSION: {"rules": [], "limits": []}},
    )


def _findings(judged: Sequence[Judged]) -> list[Finding]:
    """One for each order's dose; one for each other rule, shared by the orders of which it says the same."""
    findings: list[Finding] = []
    shared: dict[tuple[object, ...], list[tuple[Outcome, Judged]]] = {}
    for each in judged:
        fired = [outcome for outcome in each.telling if outcome.status == "fired"]
        dose = sorted((o for o in fired if o.rule.card == "dose"), key=severity_of)
        if dose:
            findings.append(Finding(tuple(dose), (each,), tuple(dose)))
        for outcome in fired:
            if outcome.rule.card == "own":
                key = (outcome.rule.id, outcome.tier, outcome.facts, outcome.severity)
                shared.setdefault(key, []).append((outcome, each))
    for group in shared.values():
        outcomes, of = zip(*group, strict=True)
        findings.append(Finding((group[0][0],), of, outcomes))
    return findings


def _rank(finding: Finding, protocol: Protocol) -> tuple[int, int]:
    """Worst first, and of one severity the greater hazard; what the protocol does not rank comes last."""
    hazards, rule = protocol.hazards, finding.leading.rule
    place = next((hazards.index(name) for name in (rule.id, rule.category) if name in hazards), len(hazards))
    return SEVERITIES.index(finding.severity), place


def _card(finding: Finding, setting: Setting) -> Card:
    leading, texts, book = finding.leading, setting.texts, setting.book(finding.judged[0])
    notes: list[Note] = list(dict.fromkeys(note for each in finding.judged for note in each.notes))
    if leading.rule.card != "dose":
        notes = [note for note in notes if note.key == "by-name"]
    lines = detail.lines(finding.outcomes, notes, texts, setting.now.date(), setting.queries, book)
    return _made(
        setting,
        topic=leading.rule.id,
        display=texts.of(leading.rule.id, book.drug).title(book),
        summary=detail.summary(leading, texts, book),
        text=fitted(lines, partial(_rest, texts.words)),
        severity=finding.severity,
        outcomes=finding.outcomes,
        judged=finding.judged,
        proposals=finding.proposals,
        links=_links(texts.of(leading.rule.id, book.drug)),
    )


def _rest(words: Words, names: Sequence[str], more: int) -> str:
    """What did not fit, by name; one list, whatever the language."""
    return as_markdown(words.say("also", names=", ".join(names), more=more))


def _further(collapsed: Sequence[Finding], setting: Setting, severity: Severity) -> Card:
    """Warnings beyond the room there is: one card that names every rule it stands for."""
    outcomes = tuple(outcome for finding in collapsed for outcome in finding.outcomes)
    judged = tuple({id(each): each for finding in collapsed for each in finding.judged}.values())
    texts, words = setting.texts, setting.texts.words
    # Of two orders of which the same is said, it is said once.
    said_of = {
        as_markdown(_said(finding, outcome, setting)): (place, outcome, finding)
        for place, finding in reversed([*enumerate(collapsed)])
        for outcome in finding.outcomes
    }
    lines = [
        bullet(line, place, texts.of(outcome.rule.id, finding.judged[0].drug).short)
        for line, (place, outcome, finding) in sorted(said_of.items(), key=lambda each: each[1][0])
    ]
    shorts = [texts.of(finding.leading.rule.id, finding.judged[0].drug).short for finding in collapsed]
    worst = _said(collapsed[0], collapsed[0].leading, setting)
    rest = [short for short in dict.fromkeys(shorts) if short != shorts[0]]
    named = [", ".join([first, *rest]) for first in (worst, shorts[0])]
    said = [words.say("further", count=len(collapsed), what=each) for each in named]
    return _made(
        setting,
        topic=FURTHER_WARNINGS,
        display=words.say("title-further"),
        summary=next((each for each in said if each == one_line(each)), one_line(said[-1])),
        text=fitted(lines, partial(_rest, words)),
        severity=severity,
        outcomes=outcomes,
        judged=judged,
        proposals=tuple(proposal for finding in collapsed for proposal in finding.proposals),
    )


def _said(finding: Finding, outcome: Outcome, setting: Setting) -> str:
    return detail.summary(outcome, setting.texts, setting.book(finding.judged[0]))


def _could_not_check(
    gaps: Sequence[could_not_check.Gap], fired: Sequence[Outcome], judged: Sequence[Judged], setting: Setting
) -> Card:
    words = setting.texts.words
    return _made(
        setting,
        topic=could_not_check.TOPIC,
        display=words.say("title-could-not-check"),
        summary=could_not_check.summary(gaps, setting.texts),
        text=fitted(could_not_check.lines(gaps, words), partial(_rest, words)),
        severity=gaps[0].severity,
        outcomes=tuple(fired),
        judged=tuple(judged),
        proposals=tuple(proposal for outcome in fired for proposal in outcome.proposals),
    )


def _made(
    setting: Setting,
    topic: str,
    display: str,
    summary: str,
    text: str,
    severity: Severity,
    outcomes: Sequence[Outcome],
    judged: Sequence[Judged],
    proposals: Sequence[Proposal],
    links: Sequence[Link] = (),
) -> Card:
    order, words = judged[0].order if judged else "", setting.texts.words
    protocol = setting.protocol_of(judged)
    uuid = uuid5(setting.instance, f"{topic} {order}")
    made = suggestions(proposals, words, uuid, setting.book(judged[0] if judged else None))
    return Card(
        uuid=str(uuid),
        summary=summary,
        indicator=severity,
        detail=text,
        source=Source(
            label=f"{protocol.title} {protocol.version}",
            url=setting.source_url + topic,
            topic=Coding(system=setting.topic_system, code=topic, display=display),
        ),
        suggestions=made or None,
        selection_behavior=("at-most-one" if are_alternatives(made) else "any") if made else None,
        override_reasons=_reasons(setting.override_reasons, words) if severity != "info" else None,
        links=[*links, Link(label=words.say("link-page"), url=setting.source_url + topic, type="absolute")],
        extension={EXTENSION: machine_read.extension(outcomes, judged, setting.now.date())},
    )


def _reasons(offered: Sequence[Coding], words: Words) -> list[Coding]:
    """In the language of the card, where it has words of its own for them."""
    said = [(each, words.fixed.get(f"override-{each.code}", each.display)) for each in offered]
    return [
        each if display == each.display else msgspec.structs.replace(each, display=display) for each, display in said
    ]


def _links(text: Text) -> list[Link]:
    return [Link(label=label, url=url, type="absolute") for label, url in text.links]

"""The body of a card: what the rule says, the patient's figures, the arithmetic, the limit and its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from cds_service import bounds
from cds_service.cards.texts import Texts, Words, as_markdown, escaped, one_line
from cds_service.protocol.limits import LimitBook, as_written
from cds_service.protocol.model import Limit, Protocol
from cds_service.rules.judged import Note
from cds_service.rules.outcome import Outcome


def body(outcome: Outcome, texts: Texts, book: LimitBook) -> str:
    """The rule's own words; of a site's condition that alone made it fire, what the site says of it."""
    if outcome.condition is not None:
        site = outcome.condition
        says = texts.words.say("condition-body", reason=site.reason, owner=site.owner, date=str(site.date))
        return as_markdown(says)
    return texts.of(outcome.rule.id, book.drug).detail(outcome.tier, outcome.values, book)


def summary(outcome: Outcome, texts: Texts, book: LimitBook) -> str:
    if outcome.condition is not None:
        title = texts.of(outcome.rule.id, book.drug).title(book)
        return one_line(texts.words.say("condition-summary", title=title, reason=outcome.condition.reason))
    return texts.of(outcome.rule.id, book.drug).summary(outcome.tier, outcome.values, book)


def evidence(
    outcomes: Sequence[Outcome],
    notes: Iterable[Note],
    texts: Texts,
    protocol: Protocol,
    day: date,
    names: Mapping[str, str],
    book: LimitBook,
) -> list[str]:
    """The sections that every card has, as Markdown paragraphs. Sections without content are left out.

    `names` are those of query keys, as a clinician would say them; `book` holds the limits of the order's drug.
    """
    words = texts.words
    facts = list(dict.fromkeys(escaped(fact.says) for outcome in outcomes for fact in outcome.facts))
    sums = dict.fromkeys(
        escaped(line) for outcome in outcomes for line in outcome.values.get("arithmetic", "").split("\n") if line
    )
    limits = {limit.id: limit for outcome in outcomes for limit in outcome.limits}
    said = [as_markdown(words.say(f"note-{note.key}", book, value=note.value)) for note in notes]
    changed = dict.fromkeys(
        as_markdown(words.say("changed", because=o.because)) for o in outcomes if o.status == "fired" and o.because
    )
    unread = dict.fromkeys(
        escaped(words.say("exception-unread", name=names.get(reason.fact, reason.fact), why=reason.says))
        for outcome in outcomes
        for reason in outcome.exceptions
        if outcome.status == "fired" and (reason.undelivered or reason.kind == "not-placed")
    )
    sections = [
        _section(words.say("heading-patient"), limited(facts, words)),
        _section(words.say("heading-arithmetic"), limited(list(sums), words)),
        _section(words.say("heading-limits"), [_limit(limit, texts, day) for limit in limits.values()]),
        _section(words.say("heading-notes"), limited([*said, *changed, *unread], words)),
        _sources(outcomes, texts, protocol, book.drug),
    ]
    return [section for section in sections if section]


def limited(lines: Sequence[str], words: Words) -> list[str]:
    """As many lines as anybody reads, and how many more there are."""
    more = len(lines) - bounds.LINES
    return [*lines[: bounds.LINES], as_markdown(words.say("more-lines", count=more))] if more > 0 else list(lines)


def _section(heading: str, lines: Iterable[str] | Mapping[str, object]) -> str:
    listed = [f"- {line}" for line in lines]
    return "\n".join([f"**{heading}**", "", *listed]) if listed else ""


def _limit(limit: Limit, texts: Texts, day: date) -> str:
    unit = "" if limit.unit in ("1", "{score}") else limit.unit
    value = as_written(limit, day)
    line = texts.words.say("limit", title=limit.title, value=value, unit=unit, status=limit.status)
    if limit.site is not None:
        line = f"{line}; {texts.words.say('limit-site', owner=limit.site.owner, date=str(limit.site.date))}"
    return as_markdown(line)


def _sources(outcomes: Sequence[Outcome], texts: Texts, protocol: Protocol, drug: str) -> str:
    """The citations of the rules, and the statements of the two source documents that they carry.

    On the card of a drug stands nothing that is about another one: the source documents are about the first.
    """
    rules = dict.fromkeys(outcome.rule.id for outcome in outcomes)
    citations = dict.fromkeys(
        c for rule in rules for c in texts.of(rule, drug).citations or protocol.rules[rule].citations
    )
    is_first = drug == protocol.drugs[0]
    statements = dict.fromkeys(k for outcome in outcomes for k in outcome.rule.statements) if is_first else {}
    cited = [protocol.evidence[c] for c in citations if c in protocol.evidence]
    lines = [as_markdown(each.citation) for each in cited if each.drug in (None, drug) or is_first]
    if statements:
        lines.append(as_markdown(texts.words.say("statements", ids=", ".join(statements))))
    return _section(texts.words.say("heading-sources"), lines)

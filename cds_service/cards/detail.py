"""The body of a card: what the rule says, the arithmetic, what was found, and how the order was read; never too long.

Limits, sources, statements and their status stand on the page of the rule, to which the card links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import islice

from cds_service import bounds
from cds_service.cards.fitting import Line, bullet, sentences
from cds_service.cards.sentences import data_named
from cds_service.cards.texts import Texts, Words, as_markdown, escaped, one_line
from cds_service.fhir.queries import Query
from cds_service.protocol.limits import LimitBook, as_written
from cds_service.rules.judged import Note
from cds_service.rules.outcome import Outcome
from cds_service.says import Named, Says
from cds_service.units import said as unit_said

_FIRST, _NAMED, _FOUND, _READ, _MORE, _REST = range(6)
"""What is kept where not all fits: the first sentence, what else fired, the figures, how the order was read, further
facts, further sentences."""


def body(outcome: Outcome, texts: Texts, book: LimitBook) -> str:
    """The rule's own words; of a site's condition that alone made it fire, what the site says of it."""
    if outcome.condition is not None:
        site = outcome.condition
        says = texts.words.say("condition-body", reason=site.reason, owner=site.owner, date=str(site.date))
        return as_markdown(says)
    values = texts.words.filled(outcome.values)
    return texts.of(outcome.rule.id, book.drug).detail(outcome.tier, values, book)


def summary(outcome: Outcome, texts: Texts, book: LimitBook) -> str:
    if outcome.condition is not None:
        title = texts.of(outcome.rule.id, book.drug).title(book)
        return one_line(texts.words.say("condition-summary", title=title, reason=outcome.condition.reason))
    values = texts.words.filled(outcome.values)
    return texts.of(outcome.rule.id, book.drug).summary(outcome.tier, values, book)


def lines(
    outcomes: Sequence[Outcome],
    notes: Iterable[Note],
    texts: Texts,
    day: date,
    queries: Mapping[str, Query],
    book: LimitBook,
) -> list[Line]:
    """All that a card can say of the outcomes that share it, the leading one first.

    `queries` name the lists that did not come, as a clinician would say; `book` holds the limits of the order's drug.
    """
    leading, *others = outcomes
    first, *rest = sentences(body(leading, texts, book)) or [""]
    said = [Line(first, _FIRST, "body"), *(Line(each, _REST, "body") for each in rest)]
    said += [
        bullet(as_markdown(summary(o, texts, book)), _NAMED, texts.of(o.rule.id, book.drug).short) for o in others
    ]
    said += [Line(each, _FOUND, "sums") for each in sums(outcomes, texts.words)]
    said += [
        Line(each, _MORE if place else _FOUND, "facts") for place, each in enumerate(facts(outcomes, texts.words))
    ]
    said += [Line(each, _READ, "notes") for each in _readings(outcomes, notes, texts, day, queries, book)]
    return [line for line in said if line.text]


def facts(outcomes: Iterable[Outcome], words: Words) -> list[str]:
    """Those that may fit, each once."""
    found = dict.fromkeys(fact.says for outcome in outcomes for fact in outcome.facts)
    return [escaped(words.fill(says)) for says in islice(found, bounds.WORDS)]


def sums(outcomes: Iterable[Outcome], words: Words) -> list[str]:
    said = (words.fill(outcome.values.get("arithmetic", "")) for outcome in outcomes)
    written = (line for each in said for line in each.split("\n"))
    return list(dict.fromkeys(escaped(line) for line in written if line))


def _readings(
    outcomes: Sequence[Outcome],
    notes: Iterable[Note],
    texts: Texts,
    day: date,
    queries: Mapping[str, Query],
    book: LimitBook,
) -> list[str]:
    """How the order was read, why a severity is another one, what could not be read, and which limits a site set."""
    words = texts.words
    fired = [outcome for outcome in outcomes if outcome.status == "fired"]
    limits = {limit.id: limit for outcome in outcomes for limit in outcome.limits if limit.site is not None}
    said = [as_markdown(words.say(f"note-{note.key}", book, value=note.value)) for note in notes]
    said += [
        escaped(
            words.say(
                "exception-unread",
                name=data_named(reason.fact, queries),
                why=reason.says,
            )
        )
        for outcome in fired
        for reason in outcome.exceptions
        if reason.undelivered or reason.kind == "not-placed"
    ]
    said += [as_markdown(words.say("changed", because=_because(o, texts, book))) for o in fired if o.because]
    changed: dict[tuple[str, str], list[str]] = {}
    for limit in limits.values():
        assert limit.site is not None
        title = words.fill(Named(f"limit-{limit.id}", limit.title))
        value = f"{title} {as_written(limit, day)} {unit_said(limit.unit)}".strip()
        changed.setdefault((limit.site.owner, str(limit.site.date)), []).append(value)
    for (owner, on), values in changed.items():
        said.append(as_markdown(words.say("limit-site", limits="; ".join(values), owner=owner, date=on)))
    return list(dict.fromkeys(said))


def _because(outcome: Outcome, texts: Texts, book: LimitBook) -> Says:
    """What changed a severity; the rule's own words for it in the language, where it has them."""
    because = outcome.because or ""
    known = texts.of(outcome.rule.id, book.drug).because
    return known.get(because, because) if isinstance(because, str) else because

"""The card "could not check": everything that was missing, unreadable or doubted, said out loud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cds_service import bounds
from cds_service.cards import detail
from cds_service.cards.fitting import Line, bullet, sentences
from cds_service.cards.sentences import data_named
from cds_service.cards.texts import Texts, Words, as_markdown, escaped, one_line
from cds_service.fhir.queries import Query
from cds_service.protocol.limits import LimitBook
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.clauses import QUESTION
from cds_service.rules.judged import Judged, Note
from cds_service.rules.outcome import ENTRY, Outcome, Reason
from cds_service.says import Says, listed

TOPIC = "could-not-check"
_LONGEST_ENTRY = 60
"""Characters of an entry's words in a summary."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One line of the card, and the few words that stand for it in the summary."""

    severity: Severity
    short: str
    says: Says
    facts: Sequence[str] = ()
    """What was found; it stands behind what is said, as far as it fits."""
    advice: str = ""
    """What to do; it stands there where there is room."""
    is_foreign: bool = False
    """It repeats what came from outside, and is made safe to show only where it is shown: there may be thousands."""

    def line(self, words: Words) -> str:
        says = words.fill(self.says)
        return escaped(says) if self.is_foreign else says


def gaps(
    judged: Sequence[Judged],
    texts: Texts,
    queries: Mapping[str, Query],
    notes: Sequence[Says | Note],
    book: Callable[[Judged], LimitBook],
    not_sent: bool = True,
) -> tuple[list[Gap], list[Outcome]]:
    """(lines, the fired rules among them).

    A list that failed is always said, and so is an indispensable one that was not sent. The others that were not sent
    share a line; without `not_sent` there is none, since the operator is told of what this client never sends.
    """
    found: dict[object, Gap] = {}
    fired: list[Outcome] = []
    asked: dict[object, Gap] = {}
    for each in judged:
        for outcome in each.telling:
            if outcome.status == "fired" and outcome.rule.card == "could-not-check":
                fired.append(outcome)
                gap = _of_rule(outcome, texts, book(each))
                found.setdefault((outcome.rule.id, gap.says), gap)
            for reason in outcome.to_say:
                gap = _of_reason(reason, outcome, texts, queries)
                known = asked.setdefault((reason.fact, reason.says), gap)
                if SEVERITIES.index(gap.severity) < SEVERITIES.index(known.severity):
                    asked[reason.fact, reason.says] = gap
    doubts = [doubt for each in judged for doubt in each.doubts] + [note for note in notes if isinstance(note, Note)]
    for doubt in doubts:
        says = texts.words.say(f"doubt-{doubt.key}", value=doubt.value)
        found.setdefault(says, Gap("warning", texts.words.say(f"short-{doubt.key}"), as_markdown(says)))
    found |= asked
    said = {reason for outcome in fired for reason in outcome.reasons}
    undelivered = dict.fromkeys(r for each in judged for r in each.undelivered)
    if undelivered and all(key in {r.fact for r in undelivered} for key, query in queries.items() if query.is_search):
        # One line says it all; what follows from it needs no line for each reason.
        says = texts.words.say("nothing-read", why=next(iter(undelivered)).says)
        nothing = Gap("warning", texts.words.say("short-nothing-read"), as_markdown(says))
        found = {says: nothing} | {key: replace(gap, facts=(), advice="") for key, gap in found.items()}
    else:
        found |= _of_lists([r for r in undelivered if r not in said], texts, queries, not_sent)
    for note in notes:
        if isinstance(note, Note):
            continue
        found[note] = Gap("info", texts.words.say("short-note"), note, is_foreign=True)
    ordered = sorted(found.values(), key=lambda gap: SEVERITIES.index(gap.severity))
    return ordered, fired


def _of_lists(
    to_say: Sequence[Reason], texts: Texts, queries: Mapping[str, Query], not_sent: bool
) -> dict[object, Gap]:
    """The lists that did not come: one line for all that did not come for one reason."""
    words = texts.words
    found: dict[object, Gap] = {}
    own = [reason for reason in to_say if _is_own_line(reason, queries)]
    for why in dict.fromkeys(reason.says for reason in own):
        of_why = (data_named(reason.fact, queries) for reason in own if reason.says == why)
        names = words.fill(listed(of_why))
        found[names, why] = Gap("warning", names, as_markdown(words.say("missing-data", name=names, why=why)))
    rest = [data_named(reason.fact, queries) for reason in to_say if not _is_own_line(reason, queries)]
    if rest and not_sent:
        says = words.say("not-sent", names=listed(rest))
        found[says] = Gap("info", words.say("short-not-sent"), as_markdown(says))
    return found


def _of_rule(outcome: Outcome, texts: Texts, book: LimitBook) -> Gap:
    text = texts.of(outcome.rule.id, book.drug)
    assert outcome.severity is not None
    says = as_markdown(detail.summary(outcome, texts, book))
    found = [escaped(texts.words.fill(fact.says)) for fact in outcome.facts[: bounds.WORDS]]
    return Gap(outcome.severity, text.short, says, found, detail.body(outcome, texts, book))


def lines(found: Sequence[Gap], words: Words) -> list[Line]:
    """What the card may say, the worst first: what is missing, then what was found of it, then what to do."""
    said = [Line(words.say("could-not-check-body"), len(found), "body")]
    for place, gap in enumerate(found):
        said.append(bullet(gap.line(words) if place < bounds.WORDS else "", place, gap.short))
        said += [Line(f"- {each}", len(found) + 2, "list") for each in sentences(gap.advice)]
        said += [Line(f"- {each}", len(found) + 1, "list") for each in gap.facts]
    return said


def _is_own_line(reason: Reason, queries: Mapping[str, Query]) -> bool:
    """Whether a list that did not come warns by itself; the others that were not sent share one line."""
    return reason.kind == "failed" or queries[reason.fact].indispensable


def _of_reason(reason: Reason, outcome: Outcome, texts: Texts, queries: Mapping[str, Query]) -> Gap:
    """Why a rule could not be told. An entry speaks for itself; words that ask warn where a tier is critical."""
    if reason.fact not in (QUESTION, ENTRY):
        return _of_list(reason, texts, queries)
    asks = reason.fact == QUESTION and any(tier.severity == "critical" for tier in outcome.rule.tiers)
    short = _cut(texts.words.fill(reason.short)) if reason.short else texts.words.say(f"short-{reason.fact}")
    return Gap("warning" if reason.urgent or asks else "info", short, reason.says, is_foreign=True)


def _of_list(reason: Reason, texts: Texts, queries: Mapping[str, Query]) -> Gap:
    query = queries.get(reason.fact)
    name = texts.words.fill(data_named(reason.fact, queries))
    informs = reason.kind == "not-placed" and query is not None and not query.indispensable
    says = as_markdown(texts.words.say("missing-data", name=name, why=reason.says))
    return Gap("info" if informs else "warning", name, says)


def _cut(entry: str) -> str:
    text = " ".join(entry.split())
    return text if len(text) <= _LONGEST_ENTRY else f"{text[: _LONGEST_ENTRY - 1].rstrip()}…"


def summary(found: Sequence[Gap], texts: Texts) -> str:
    """What could not be checked, as much as fits; the worst first."""
    shorts = list(dict.fromkeys(gap.short for gap in found))
    for count in range(min(len(shorts), bounds.WORDS), 0, -1):
        listed = ", ".join(shorts[:count])
        more = len(shorts) - count
        line = texts.words.say("could-not-check", what=listed, more=more)
        if line == one_line(line):
            return line
    return one_line(texts.words.say("could-not-check", what=shorts[0], more=len(shorts) - 1))

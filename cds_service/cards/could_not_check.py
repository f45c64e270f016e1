"""The card "could not check": everything that was missing, unreadable or doubted, said out loud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cds_service.cards import detail
from cds_service.cards.detail import limited
from cds_service.cards.texts import Texts, as_markdown, escaped, one_line
from cds_service.fhir.queries import Query
from cds_service.protocol.limits import LimitBook
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.clauses import QUESTION
from cds_service.rules.judged import Judged, Note
from cds_service.rules.outcome import ENTRY, Outcome, Reason

TOPIC = "could-not-check"
_LONGEST_ENTRY = 60
"""Characters of an entry's words in a summary."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One line of the card, and the few words that stand for it in the summary."""

    severity: Severity
    short: str
    says: str


def gaps(
    judged: Sequence[Judged],
    texts: Texts,
    queries: Mapping[str, Query],
    notes: Sequence[str | Note],
    book: Callable[[Judged], LimitBook],
    not_sent: bool = True,
) -> tuple[list[Gap], list[Outcome]]:
    """(lines, the fired rules among them).

    A list that failed is always said, and so is an indispensable one that was not sent. The others that were not sent
    share a line; without `not_sent` there is none, since the operator is told of what this client never sends.
    """
    found: dict[str, Gap] = {}
    fired: list[Outcome] = []
    asked: dict[tuple[str, str], Gap] = {}
    for each in judged:
        for outcome in each.outcomes:
            if outcome.status == "fired" and outcome.rule.card == "could-not-check":
                fired.append(outcome)
                gap = _of_rule(outcome, texts, book(each))
                found.setdefault(f"{outcome.rule.id} {gap.says}", gap)
            for reason in outcome.to_say:
                gap = _of_reason(reason, outcome, texts, queries)
                known = asked.setdefault((reason.fact, reason.says), gap)
                if SEVERITIES.index(gap.severity) < SEVERITIES.index(known.severity):
                    asked[reason.fact, reason.says] = gap
    doubts = [doubt for each in judged for doubt in each.doubts] + [note for note in notes if isinstance(note, Note)]
    for doubt in doubts:
        says = texts.words.say(f"doubt-{doubt.key}", value=doubt.value)
        found.setdefault(says, Gap("warning", texts.words.say(f"short-{doubt.key}"), as_markdown(says)))
    found |= {f"{fact} {says}": gap for (fact, says), gap in asked.items()}
    said = {reason for outcome in fired for reason in outcome.reasons}
    lists = dict.fromkeys(r for each in judged for r in each.undelivered if r not in said)
    found |= {f"{r.fact} {r.says}": _of_list(r, texts, queries) for r in lists if _is_own_line(r, queries)}
    rest = [queries[r.fact].says for r in lists if not _is_own_line(r, queries)]
    if rest and not_sent:
        says = texts.words.say("not-sent", names=", ".join(rest))
        found[says] = Gap("info", texts.words.say("short-not-sent"), as_markdown(says))
    for note in notes:
        if isinstance(note, Note):
            continue
        found[note] = Gap("info", texts.words.say("short-note"), escaped(note))
    ordered = sorted(found.values(), key=lambda gap: SEVERITIES.index(gap.severity))
    return ordered, fired


def _of_rule(outcome: Outcome, texts: Texts, book: LimitBook) -> Gap:
    text = texts.of(outcome.rule.id, book.drug)
    assert outcome.severity is not None
    lines = [
        f"**{as_markdown(detail.summary(outcome, texts, book))}**",
        detail.body(outcome, texts, book),
    ]
    lines += limited([escaped(fact.says) for fact in outcome.facts], texts.words)
    return Gap(outcome.severity, text.short, ". ".join(line.rstrip(".") for line in lines if line) + ".")


def _is_own_line(reason: Reason, queries: Mapping[str, Query]) -> bool:
    """Whether a list that did not come warns by itself; the others that were not sent share one line."""
    return reason.kind == "failed" or queries[reason.fact].indispensable


def _of_reason(reason: Reason, outcome: Outcome, texts: Texts, queries: Mapping[str, Query]) -> Gap:
    """Why a rule could not be told. An entry speaks for itself; words that ask warn where a tier is critical."""
    if reason.fact not in (QUESTION, ENTRY):
        return _of_list(reason, texts, queries)
    asks = reason.fact == QUESTION and any(tier.severity == "critical" for tier in outcome.rule.tiers)
    short = _cut(reason.short) if reason.short else texts.words.say(f"short-{reason.fact}")
    return Gap("warning" if reason.urgent or asks else "info", short, escaped(reason.says))


def _of_list(reason: Reason, texts: Texts, queries: Mapping[str, Query]) -> Gap:
    query = queries.get(reason.fact)
    name = query.says if query is not None else reason.fact
    informs = reason.kind == "not-placed" and query is not None and not query.indispensable
    says = as_markdown(texts.words.say("missing-data", name=name, why=reason.says))
    return Gap("info" if informs else "warning", name, says)


def _cut(entry: str) -> str:
    text = " ".join(entry.split())
    return text if len(text) <= _LONGEST_ENTRY else f"{text[: _LONGEST_ENTRY - 1].rstrip()}…"


def summary(found: Sequence[Gap], texts: Texts) -> str:
    """What could not be checked, as much as fits; the worst first."""
    shorts = list(dict.fromkeys(gap.short for gap in found))
    for count in range(len(shorts), 0, -1):
        listed = ", ".join(shorts[:count])
        more = len(shorts) - count
        line = texts.words.say("could-not-check", what=listed, more=more)
        if line == one_line(line):
            return line
    return one_line(texts.words.say("could-not-check", what=shorts[0], more=len(shorts) - 1))

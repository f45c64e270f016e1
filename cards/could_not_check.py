"""The card "could not check": everything that was missing, unreadable or doubted, said out loud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cards.texts import Texts, escaped, one_line
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.clauses import QUESTION, SETTING
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome

TOPIC = "could-not-check"
_LONGEST_ENTRY = 60
"""Characters of an entry's words in a summary."""
_ALWAYS_SAID = (QUESTION, SETTING)
"""Reasons that are said whatever the rule needs."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One line of the card, and the few words that stand for it in the summary."""

    severity: Severity
    short: str
    says: str


def gaps(
    judged: Sequence[Judged], texts: Texts, data: Mapping[str, str], notes: Sequence[str]
) -> tuple[list[Gap], list[Outcome]]:
    """(lines, the fired rules among them). `data` names query keys as a clinician would."""
    found: dict[str, Gap] = {}
    fired: list[Outcome] = []
    missing: dict[tuple[str, str], None] = {}
    asked: dict[tuple[str, str], Severity] = {}
    for each in judged:
        for outcome in each.outcomes:
            if outcome.status == "fired" and outcome.rule.card == "could-not-check":
                fired.append(outcome)
                gap = _of_rule(outcome, texts)
                found.setdefault(f"{outcome.rule.id} {gap.says}", gap)
            for reason in outcome.missing_required:
                missing.setdefault((reason.fact, reason.says))
            for reason in outcome.reasons:
                if reason.entry is not None:
                    key = (reason.entry, reason.says)
                    asked[key] = min(_asking(outcome), asked.get(key, "info"), key=SEVERITIES.index)
                elif reason.fact in _ALWAYS_SAID:
                    missing.setdefault((reason.fact, reason.says))
        for doubt in each.doubts:
            says = texts.words.say(f"doubt-{doubt.key}", value=doubt.value)
            found.setdefault(says, Gap("warning", texts.words.say(f"short-{doubt.key}"), escaped(says)))
    for fact, says in missing:
        found[f"{fact} {says}"] = _of_fact(fact, says, texts, data)
    for (entry, says), severity in asked.items():
        found[says] = Gap(severity, texts.words.say("short-entry", entry=_cut(entry)), escaped(says))
    for note in notes:
        found[note] = Gap("info", texts.words.say("short-note"), escaped(note))
    ordered = sorted(found.values(), key=lambda gap: SEVERITIES.index(gap.severity))
    return ordered, fired


def _asking(outcome: Outcome) -> Severity:
    """How loudly an entry is asked about that a rule could rest on."""
    return "warning" if any(tier.severity == "critical" for tier in outcome.rule.tiers) else "info"


def _cut(entry: str) -> str:
    text = " ".join(entry.split())
    return text if len(text) <= _LONGEST_ENTRY else f"{text[: _LONGEST_ENTRY - 1].rstrip()}…"


def _of_rule(outcome: Outcome, texts: Texts) -> Gap:
    text = texts.by_rule[outcome.rule.id]
    assert outcome.severity is not None
    lines = [f"**{escaped(text.summary(outcome.tier, outcome.values))}**", text.detail(outcome.tier, outcome.values)]
    lines += [escaped(fact.says) for fact in outcome.facts]
    return Gap(outcome.severity, text.short, ". ".join(line.rstrip(".") for line in lines if line) + ".")


def _of_fact(fact: str, says: str, texts: Texts, data: Mapping[str, str]) -> Gap:
    if fact in _ALWAYS_SAID:
        return Gap("info", texts.words.say(f"short-{fact}"), escaped(says))
    name = data.get(fact, fact)
    return Gap("warning", name, escaped(texts.words.say("missing-data", name=name, why=says)))


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

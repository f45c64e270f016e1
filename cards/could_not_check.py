"""The card "could not check": everything that was missing, unreadable or doubted, said out loud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cards.texts import Texts, escaped, one_line
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.clauses import QUESTION, SETTING
from cds_service.rules.judged import Judged, Note
from cds_service.rules.outcome import ENTRY, Outcome, Reason

TOPIC = "could-not-check"
_ALWAYS_SAID = (QUESTION, SETTING, ENTRY)
"""Reasons that are said whatever the rule needs."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One line of the card, and the few words that stand for it in the summary."""

    severity: Severity
    short: str
    says: str


def gaps(
    judged: Sequence[Judged],
    texts: Texts,
    data: Mapping[str, str],
    notes: Sequence[str],
    doubts: Sequence[Note] = (),
) -> tuple[list[Gap], list[Outcome]]:
    """(lines, the fired rules among them). `data` names query keys as a clinician would."""
    found: dict[str, Gap] = {}
    fired: list[Outcome] = []
    missing: dict[tuple[str, str], Gap] = {}
    for each in judged:
        for outcome in each.outcomes:
            if outcome.status == "fired" and outcome.rule.card == "could-not-check":
                fired.append(outcome)
                gap = _of_rule(outcome, texts)
                found.setdefault(f"{outcome.rule.id} {gap.says}", gap)
            always = (reason for reason in outcome.reasons if reason.fact in _ALWAYS_SAID)
            for reason in (*outcome.missing_required, *always):
                gap = _of_reason(reason, outcome, texts, data)
                known = missing.setdefault((reason.fact, reason.says), gap)
                if SEVERITIES.index(gap.severity) < SEVERITIES.index(known.severity):
                    missing[reason.fact, reason.says] = gap
    for doubt in (*doubts, *(doubt for each in judged for doubt in each.doubts)):
        says = texts.words.say(f"doubt-{doubt.key}", value=doubt.value)
        found.setdefault(says, Gap("warning", texts.words.say(f"short-{doubt.key}"), escaped(says)))
    found |= {f"{fact} {says}": gap for (fact, says), gap in missing.items()}
    for note in notes:
        found[note] = Gap("info", texts.words.say("short-note"), escaped(note))
    ordered = sorted(found.values(), key=lambda gap: SEVERITIES.index(gap.severity))
    return ordered, fired


def _of_rule(outcome: Outcome, texts: Texts) -> Gap:
    text = texts.by_rule[outcome.rule.id]
    assert outcome.severity is not None
    lines = [f"**{escaped(text.summary(outcome.tier, outcome.values))}**", text.detail(outcome.tier, outcome.values)]
    lines += [escaped(fact.says) for fact in outcome.facts]
    return Gap(outcome.severity, text.short, ". ".join(line.rstrip(".") for line in lines if line) + ".")


def _of_reason(reason: Reason, outcome: Outcome, texts: Texts, data: Mapping[str, str]) -> Gap:
    """Why a rule could not be told. Words that ask warn where the rule has a critical tier."""
    if reason.fact in _ALWAYS_SAID:
        asks = reason.fact == QUESTION and any(tier.severity == "critical" for tier in outcome.rule.tiers)
        short = reason.short or texts.words.say(f"short-{reason.fact}")
        return Gap("warning" if reason.urgent or asks else "info", short, escaped(reason.says))
    name = data.get(reason.fact, reason.fact)
    return Gap("warning", name, escaped(texts.words.say("missing-data", name=name, why=reason.says)))


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

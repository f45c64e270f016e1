"""An answer held against what a scenario expects: exactly what the clinician is told, and whatever else is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from cds_service.advise import Advice, advice
from cds_service.cards.model import EXTENSION, Card
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import HookRequest
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import SEVERITIES
from cds_service.scenarios.coded import NOW
from cds_service.scenarios.files import Expect
from cds_service.scenarios.request import SIGNING, sent

MOST_WORDS, MOST_CHARACTERS, MOST_REASONS = 60, 400, 6
"""Of every card: what is read in three seconds."""
_NOT_TOLD = {"could not tell": "could-not-tell", "suppressed": "suppressed", "hidden": "fired", "clear": "clear"}
"""How an outcome that stands on no card is named. `hidden`: it fired, and order-sign keeps it back."""


class Ended(NamedTuple):
    """How one rule ended for one order."""

    rule: str
    status: str
    tier: str | None
    because: str | None


def judge(
    scenario: Mapping[str, Any], knowledge: Knowledge, request: HookRequest | None = None, now: datetime = NOW
) -> Advice:
    """The answer to a scenario, or to another request of its hook. Raises ScenarioError and HookError."""
    signing = scenario.get("hook", SIGNING) == SIGNING
    return advice(request or sent(scenario, now), signing, knowledge, NoSource(), now)


def endings(made: Advice) -> tuple[Ended, ...]:
    """How every rule ended in a judgement."""
    outcomes = (outcome for order in made.judged for outcome in order.outcomes)
    return tuple(
        Ended(each.rule.id, each.status, each.tier, made.recorded(each.because) if each.because else None)
        for each in outcomes
    )


def faults(scenario: Mapping[str, Any], made: Advice) -> list[str]:
    """Everything in which an answer is not what the scenario expects, each a sentence; none where it is."""
    encode(made.response)
    written = scenario["expect"]
    expect = Expect() if written == "nothing" else msgspec.convert(written, Expect)
    cards = made.response.cards
    found = [*_too_long(cards), *_told_otherwise(expect, made), *_ended_otherwise(expect, made)]
    if written == "nothing" and cards:
        found.append(f"cards: {'; '.join(card.summary for card in cards)}; nothing was expected")
    return [*found, *_other_words(expect, cards), *_other_offers(expect, cards), *_other_shape(expect, cards)]


def _too_long(cards: Sequence[Card]) -> Iterator[str]:
    for card in cards:
        words, characters = len((card.detail or "").split()), len(card.detail or "")
        if words > MOST_WORDS or characters > MOST_CHARACTERS:
            yield f"“{card.summary}” has {words} words and {characters} characters: {card.detail}"
        if len(card.override_reasons or ()) > MOST_REASONS:
            yield f"“{card.summary}” offers {len(card.override_reasons or ())} reasons"


def _told_otherwise(expect: Expect, made: Advice) -> Iterator[str]:
    told = told_by(made.response.cards)
    expected = {rule: severity for severity in SEVERITIES for rule in getattr(expect, severity)}
    ended = _statuses(made)
    for rule, severity in expected.items():
        if rule not in told:
            yield f"{rule} is expected to be {severity}; {_how(ended.get(rule))}"
        elif told[rule] != severity:
            yield f"{rule} is expected to be {severity}; it is {told[rule]}"
    for rule in (each for each in told if each not in expected):
        yield f"{rule} is {told[rule]}, and is not expected"


def _ended_otherwise(expect: Expect, made: Advice) -> Iterator[str]:
    ended = _statuses(made)
    for word, status in _NOT_TOLD.items():
        for rule in getattr(expect, word.replace(" ", "_")):
            is_so = ended.get(rule) == {status} if status == "clear" else status in ended.get(rule, ())
            if not is_so:
                yield f"{rule} is expected to be “{word}”; {_how(ended.get(rule))}"


def _statuses(made: Advice) -> dict[str, set[str]]:
    """Rule -> how it ended, of all orders."""
    statuses: dict[str, set[str]] = {}
    for each in endings(made):
        statuses.setdefault(each.rule, set()).add(each.status)
    return statuses


def _how(statuses: set[str] | None) -> str:
    return f"it is {' and '.join(sorted(statuses))}" if statuses else "it is not judged here"


def told_by(cards: Sequence[Card]) -> dict[str, str]:
    """Rule -> its worst severity over all cards."""
    told = [rule for card in cards for rule in (card.extension or {})[EXTENSION]["rules"]]
    worst_last = sorted(told, key=lambda rule: -SEVERITIES.index(rule["severity"]))
    return {rule["id"]: rule["severity"] for rule in worst_last}


def _other_words(expect: Expect, cards: Sequence[Card]) -> Iterator[str]:
    summaries = [card.summary for card in cards]
    for summary in expect.summary:
        if summary not in summaries:
            yield f"no card is called “{summary}”, but {summaries}"
    text = "\n".join(f"{card.summary}\n{card.detail}" for card in cards)
    for words in expect.says:
        if words not in text:
            yield f"“{words}” is not said in:\n{text}"
    for words in expect.does_not_say:
        if words in text:
            yield f"“{words}” is said in:\n{text}"


def _other_offers(expect: Expect, cards: Sequence[Card]) -> Iterator[str]:
    labels = [suggestion.label for card in cards for suggestion in card.suggestions or ()]
    for offer in expect.offers:
        if offer not in labels:
            yield f"“{offer}” is not offered, but {labels}"
    for offer in expect.does_not_offer:
        if offer in labels:
            yield f"“{offer}” is offered"
    if expect.all_offers is not None and labels != expect.all_offers:
        yield f"offered are {labels}, not {expect.all_offers}"
    if expect.offers_nothing and labels:
        yield f"offered are {labels}, and nothing is expected"


def _other_shape(expect: Expect, cards: Sequence[Card]) -> Iterator[str]:
    leading = [card.source.topic.code for card in cards if card.source.topic]
    if expect.cards is not None and leading != expect.cards:
        yield f"the cards are {leading}, not {expect.cards}"
    indicators = [card.indicator for card in cards]
    if expect.indicators is not None and indicators != expect.indicators:
        yield f"the indicators are {indicators}, not {expect.indicators}"
    if expect.regimen is not None:
        regimen = (cards[0].extension or {})[EXTENSION]["regimen"] if cards else None
        if regimen != expect.regimen:
            yield f"the regimen is {regimen}, not {expect.regimen}"

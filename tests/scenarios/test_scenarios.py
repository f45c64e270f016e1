"""Every scenario file, one test for each scenario: what the clinician is told, exactly, and what is offered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cds_service.advise import Advice
from cds_service.cards.model import EXTENSION, Card
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import SEVERITIES
from tests.scenarios import first_offer
from tests.scenarios.build import hook_request, parsed, scenarios
from tests.scenarios.judged import endings, judge, judge_once

EXPECTATIONS = {
    "critical", "warning", "info", "nothing", "offers", "all offers", "offers nothing", "summary", "could not tell",
    "suppressed", "clear", "hidden", "says", "does not say", "does not offer", "regimen", "cards", "indicators",
}  # fmt: skip
MOST_WORDS, MOST_CHARACTERS, MOST_REASONS = 60, 400, 6
"""Of every card: what is read in three seconds."""
STATUSES = {"could not tell": "could-not-tell", "suppressed": "suppressed", "hidden": "fired", "clear": "clear"}
"""How an outcome that stands on no card is named. `hidden`: it fired, and order-sign keeps it back."""


@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, id=f"{file}: {scenario['name']}") for file, scenario in scenarios()]
)
def test_scenario(scenario: dict[str, Any], knowledge: Knowledge) -> None:
    made = judge_once(scenario, knowledge)
    check(scenario, made)
    assert _first_offer(scenario, made, knowledge) == []


def check(scenario: dict[str, Any], made: Advice) -> None:
    """Hold an answer against what a scenario expects."""
    expect = scenario["expect"]
    unknown = set(expect) - EXPECTATIONS if isinstance(expect, dict) else set()
    assert not unknown, f"a scenario expects no {unknown}"
    answer = made.response
    encode(answer)
    for card in answer.cards:
        assert len((card.detail or "").split()) <= MOST_WORDS, card.detail
        assert len(card.detail or "") <= MOST_CHARACTERS, card.detail
        assert len(card.override_reasons or ()) <= MOST_REASONS
    told = _told(answer.cards)
    if expect == "nothing":
        assert told == {}
        assert answer.cards == []
        return
    assert told == {rule: severity for severity in SEVERITIES for rule in expect.get(severity, [])}
    _check_words(expect, answer.cards)
    statuses: dict[str, set[str]] = {}
    for each in endings(made):
        statuses.setdefault(each.rule, set()).add(each.status)
    for word, status in STATUSES.items():
        for rule in expect.get(word, []):
            assert status in statuses[rule], f"{rule} is {statuses[rule]}"
    for rule in expect.get("clear", []):
        assert statuses[rule] == {"clear"}, f"{rule} is {statuses[rule]}"


def _first_offer(scenario: dict[str, Any], made: Advice, knowledge: Knowledge) -> list[str]:
    """What is wrong with the first offer, taken."""

    def again(request: Mapping[str, Any]) -> Advice:
        return judge(scenario, knowledge, parsed(request, scenario.get("hook", "order-sign")))

    return first_offer.faults(hook_request(scenario), made, again)


def _told(cards: list[Card]) -> dict[str, str]:
    """Rule -> its worst severity over all cards."""
    told = [rule for card in cards for rule in (card.extension or {})[EXTENSION]["rules"]]
    worst_last = sorted(told, key=lambda rule: -SEVERITIES.index(rule["severity"]))
    return {rule["id"]: rule["severity"] for rule in worst_last}


def _check_words(expect: dict[str, Any], cards: list[Card]) -> None:
    labels = [s.label for card in cards for s in card.suggestions or ()]
    for offer in expect.get("offers", []):
        assert offer in labels, f"{offer!r} is not among {labels}"
    if "all offers" in expect:
        assert labels == expect["all offers"]
    if expect.get("offers nothing"):
        assert labels == []
    for summary in expect.get("summary", []):
        assert summary in [card.summary for card in cards]
    text = "\n".join(f"{card.summary}\n{card.detail}" for card in cards)
    for words in expect.get("says", []):
        assert words in text, f"{words!r} is not said in:\n{text}"
    for words in expect.get("does not say", []):
        assert words not in text, f"{words!r} is said in:\n{text}"
    for offer in expect.get("does not offer", []):
        assert offer not in labels, f"{offer!r} is among {labels}"
    if "cards" in expect:
        assert [card.source.topic.code for card in cards if card.source.topic] == expect["cards"]
    if "indicators" in expect:
        assert [card.indicator for card in cards] == expect["indicators"]
    if "regimen" in expect:
        assert (cards[0].extension or {})[EXTENSION]["regimen"] == expect["regimen"]

"""Every scenario file, one test for each scenario: what the clinician is told, exactly, and what is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cards.model import EXTENSION, Card
from cds_service.advise import Knowledge, advise, explain
from cds_service.fhir.client import NoSource
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.protocol.loader import parse_yaml
from tests.scenarios.build import NOW, hook_request

FOLDER = Path(__file__).parent
ENCODER = msgspec.json.Encoder(decimal_format="number")
EXPECTATIONS = {
    "critical", "warning", "info", "nothing", "offers", "offers nothing", "summary", "could not tell", "suppressed",
    "clear", "says", "regimen", "cards",
}  # fmt: skip


def _scenarios() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for scenario in parse_yaml(path.read_text("utf-8"), path.name):
            found.append(pytest.param(scenario, id=f"{path.stem}: {scenario['name']}"))
    return found


@pytest.mark.parametrize("scenario", _scenarios())
def test_scenario(scenario: dict[str, Any], knowledge: Knowledge) -> None:
    expect = scenario["expect"]
    unknown = set(expect) - EXPECTATIONS if isinstance(expect, dict) else set()
    assert not unknown, f"a scenario expects no {unknown}"
    hook = scenario.get("hook", "order-sign")
    request = parse(ENCODER.encode(hook_request(scenario)), hook)
    answer = advise(request, hook == "order-sign", knowledge, NoSource(), NOW)
    encode(answer)
    told = _told(answer.cards)
    if expect == "nothing":
        assert told == {}
        assert answer.cards == []
        return
    assert told == {rule: severity for severity in ("critical", "warning", "info") for rule in expect.get(severity, [])}
    _check_words(expect, answer.cards)
    statuses = {
        outcome.rule.id: outcome.status
        for judged in explain(request, hook == "order-sign", knowledge, NoSource(), NOW)[0]
        for outcome in judged.outcomes
    }
    for status in ("could not tell", "suppressed", "clear"):
        for rule in expect.get(status, []):
            assert statuses[rule] == status.replace(" ", "-"), f"{rule} is {statuses[rule]}"


def _told(cards: list[Card]) -> dict[str, str]:
    """Rule -> severity, over all cards."""
    return {rule["id"]: rule["severity"] for card in cards for rule in (card.extension or {})[EXTENSION]["rules"]}


def _check_words(expect: dict[str, Any], cards: list[Card]) -> None:
    labels = [s.label for card in cards for s in card.suggestions or ()]
    for offer in expect.get("offers", []):
        assert offer in labels, f"{offer!r} is not among {labels}"
    if expect.get("offers nothing"):
        assert labels == []
    for summary in expect.get("summary", []):
        assert summary in [card.summary for card in cards]
    text = "\n".join(f"{card.summary}\n{card.detail}" for card in cards)
    for words in expect.get("says", []):
        assert words in text, f"{words!r} is not said in:\n{text}"
    if "cards" in expect:
        assert [card.source.topic.code for card in cards if card.source.topic] == expect["cards"]
    if "regimen" in expect:
        assert (cards[0].extension or {})[EXTENSION]["regimen"] == expect["regimen"]

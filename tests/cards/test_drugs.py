"""What a rule says of one drug alone: its sentences and its sources stand in place of those of all drugs."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cds_service.cards import loading
from cds_service.cards.model import Card
from cds_service.cards.shown import TextError
from cds_service.cards.texts import as_markdown
from cds_service.knowledge import Knowledge
from tests.scenarios.build import scenarios
from tests.scenarios.judged import judge_once


def cards_of_esketamine(knowledge: Knowledge) -> list[Card]:
    """Of every scenario whose only order is one of esketamine."""
    found = []
    for _, scenario in scenarios():
        orders = scenario.get("orders") or [scenario.get("order", {})]
        if all(isinstance(order, dict) and str(order.get("drug")) == "esketamine" for order in orders):
            found += judge_once(scenario, knowledge).response.cards
    return found


def test_no_sentence_and_no_source_of_racemic_ketamine_stands_on_a_card_of_esketamine(knowledge: Knowledge) -> None:
    racemic = [as_markdown(e.citation) for e in knowledge.protocol.evidence.values() if e.drug == "ketamine"]
    cards = cards_of_esketamine(knowledge)
    assert len(cards) > 40
    for card in cards:
        said = f"{card.summary}\n{card.detail}"
        assert "source document" not in said, said
        assert "Statements" not in said or "K-" not in said, said
        assert [citation for citation in racemic if citation in said] == [], card.summary


def test_a_text_of_a_drug_says_the_rest_as_the_text_of_all_drugs(knowledge: Knowledge) -> None:
    texts = knowledge.texts
    own, all_drugs = texts.of("rate-exceeds-protocol-max", "esketamine"), texts.by_rule["rate-exceeds-protocol-max"]
    assert own.citations == ("R81",)
    assert own.summaries["above-warn"] is all_drugs.summaries["above-warn"]
    assert texts.of("rate-exceeds-protocol-max", "ketamine") is all_drugs


def test_a_text_of_a_drug_is_said_in_the_users_language(knowledge: Knowledge) -> None:
    german = knowledge.texts.spoken(["de"])
    book = knowledge.limits.book("esketamine", knowledge.protocol.date)
    values = {"ordered": "0.3 mg/kg/h", "how": "step"}
    assert "Fachinformation" in german.of("rate-exceeds-protocol-max", "esketamine").detail(
        "above-warn", values, book
    )
    ceiling = german.of("rate-exceeds-ceiling", "esketamine").detail("above-critical", values, book)
    assert "Die Fachinformation gibt auf der Intensivstation 0.2 bis 0.5 mg/kg/h" in ceiling


@pytest.mark.parametrize("name", ["card.arketamine.md", "card.esketamine.german.md"])
def test_a_text_of_no_drug_and_no_language_is_refused(name: str, knowledge: Knowledge, tmp_path: Path) -> None:
    folder = tmp_path / "rules" / "psychosis"
    folder.mkdir(parents=True)
    (folder / name).write_text("---\n---\nAvoid.", "utf-8")
    protocol = knowledge.protocol
    with pytest.raises(TextError, match="names no drug of the protocol and no language"):
        loading.load(replace(protocol, folders=(*protocol.folders, str(tmp_path / "rules"))))

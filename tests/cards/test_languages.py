"""Cards in the user's language: each text in it where there is a file of it, in English where there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cds_service.advise import advice
from cds_service.cards import loading
from cds_service.cards.compose import FURTHER_WARNINGS
from cds_service.cards.could_not_check import TOPIC
from cds_service.cards.model import Card
from cds_service.cards.texts import SUMMARY_LIMIT
from cds_service.fhir.source import NoSource
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from tests.cards.test_texts import psychosis, refused, write
from tests.scenarios.build import NOW, scenarios, sent

TOO_HIGH = {"patient": {"blood pressure": "190/110"}, "order": {"rate": "0.8 mg/kg/h"}}
ENGLISH_WORDS = re.compile(r"\b(?:the|is|not|of|and|with|for|cannot|order|dose|weight|given)\b", re.IGNORECASE)
PSYCHOSIS = {"patient": {"problems": ["58214004 Schizophrenia"]}, "order": {"rate": "0.2 mg/kg/h"}}


def cards(knowledge: Knowledge, scenario: dict[str, Any], *languages: str) -> list[Card]:
    signing = scenario.get("hook", "order-sign") == "order-sign"
    answer = advice(sent(scenario), signing, knowledge, NoSource(), NOW, languages=languages).response
    encode(answer)
    return answer.cards


def test_cards_and_all_shared_words_are_there_in_german(knowledge: Knowledge) -> None:
    pressure, rate = cards(knowledge, TOO_HIGH, "de")
    assert pressure.summary == "Blutdruck 190/110 mmHg über 180/100: vor Ketamin behandeln"
    assert rate.summary == "Rate 0.8 mg/kg/h über dem Höchstwert des Protokolls, 0.5"
    assert pressure.source.topic is not None
    assert pressure.source.topic.display == "Unkontrollierte Hypertonie"
    assert [each.label for each in rate.links or ()] == ["Grenzwerte, Quellen und Belege"]
    assert [each.display for each in rate.override_reasons or ()][:2] == [
        "Ein Spezialist hat dazu geraten", "Früher vertragen",
    ]  # fmt: skip
    offered = [each.label for card in (pressure, rate) for each in card.suggestions or ()]
    assert "Ändern auf 0.5 mg/kg/h (35 mg/h)" in offered
    assert "Diese Verordnung entfernen" in offered
    words, english = knowledge.texts.others["de"].words.entries, knowledge.texts.words.entries
    assert [key for key in english if words.get(key) is english[key]] == []


UNCHECKED = {
    "patient": {
        "weight": [{"value": "154 kg"}, {"value": "70 kg", "when": "9 days ago"}],
        "missing": ["allergies", "conditions"],
    },
    "order": {"dose": "60 drops", "text": "now and then", "over": "10 min"},
}
OLDER = {"patient": {"age": 81, "weight": "48.5 kg"}, "order": {"rate": "0.8 mg/kg/h"}}
MANY = {
    "patient": {"age": 81, "blood pressure": "150/95", "weight": "48.5 kg"},
    "orders": [
        {"rate": "0.8 mg/kg/h", "id": "a"},
        {"rate": "0.6 mg/kg/h", "id": "b"},
        {"rate": "0.7 mg/kg/h", "id": "c"},
    ],
}


def test_what_could_not_be_checked_is_said_in_german(knowledge: Knowledge) -> None:
    (card,) = [c for c in cards(knowledge, UNCHECKED, "de") if c.source.topic and c.source.topic.code == TOPIC]
    assert card.summary == "Nicht prüfbar: Gewicht, Dosis, Allergien, Diagnosen"
    lines = (card.detail or "").split("\n")
    assert "- Gewicht davor 70 kg (2026-11-13 10:00)" in lines
    assert "- Die Dosis war nicht lesbar und wurde nicht geprüft" in lines
    assert "- doseAndRate\\[0\\].doseQuantity: Einheit 'drops' nicht bekannt" in lines
    assert "- „now and then“" in lines
    missing = "Allergien, Diagnosen: nicht mitgesendet, und es gibt keinen FHIR-Server zum Nachfragen"
    assert f"- {missing}" in lines
    assert [each.label for each in card.suggestions or ()] == ["Gewicht messen lassen"]


def test_a_dose_with_its_sums_and_offers_is_said_in_german(knowledge: Knowledge) -> None:
    rate = cards(knowledge, OLDER, "de")[0]
    assert (rate.detail or "").startswith("Verordnet: 0.8 mg/kg/h. ")
    assert "Gewicht 48.5 kg (2026-11-22 08:00)" in (rate.detail or "")
    assert [each.label for each in rate.suggestions or ()] == [
        "Ändern auf 0.2 mg/kg/h (9.7 mg/h): Obergrenze",
        "Ändern auf 0.1 mg/kg/h (4.85 mg/h): üblicher Beginn",
        "Diese Verordnung entfernen",
    ][: len(rate.suggestions or ())]


def test_further_warnings_are_said_in_german(knowledge: Knowledge) -> None:
    (card,) = [c for c in cards(knowledge, MANY, "de") if c.source.topic and c.source.topic.code == FURTHER_WARNINGS]
    assert re.match(r"\d weitere Warnungen: (Rate|Alter|Blutdruck)", card.summary)
    assert not ENGLISH_WORDS.search(f"{card.summary} {card.detail} {[s.label for s in card.suggestions or ()]}")


def test_german_cards_have_no_english_words(knowledge: Knowledge) -> None:
    """But for what an EHR wrote itself."""
    for scenario in (UNCHECKED, OLDER, TOO_HIGH):
        for card in cards(knowledge, scenario, "de"):
            said = [card.summary, card.detail or ""]
            for each in card.suggestions or ():
                said += [each.label, *(action.description for action in each.actions)]
            said += [each.display or "" for each in card.override_reasons or ()]
            assert [each for each in said if ENGLISH_WORDS.search(each.replace("now and then", ""))] == []


@pytest.mark.parametrize(
    ("languages", "language"),
    [
        ([], "en"),
        (["de"], "de"),
        (["DE-ch"], "de"),
        (["de-CH-1996"], "de"),
        (["fr", "de"], "de"),
        (["fr"], "en"),
        (["en-US", "de"], "en"),
        (["*"], "en"),
        (["d"], "en"),
        (["deu"], "en"),
        ([""], "en"),
        (["-".join(["de"] * 4000)], "de"),
        (["\x00", "de"], "de"),
    ],
)
def test_the_first_language_that_there_is_counts(knowledge: Knowledge, languages: list[str], language: str) -> None:
    assert knowledge.texts.spoken(languages).language == language


def test_a_card_that_only_a_site_says_in_english_has_german_words_around_it(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    write(tmp_path, "psychosis.md", psychosis("Active psychosis: call the ward's psychiatrist"))
    texts = loading.load(knowledge.protocol, tmp_path / "texts")
    (card,) = [c for c in cards(replace(knowledge, texts=texts), PSYCHOSIS, "de") if "sychosis" in c.summary]
    assert card.summary == "Active psychosis: call the ward's psychiatrist"
    assert [each.label for each in card.links or ()] == ["Grenzwerte, Quellen und Belege"]


def test_in_german_the_cards_say_the_same_of_every_scenario(knowledge: Knowledge) -> None:
    """What machines read is the same to the letter, and no summary is cut or too long."""
    for _, scenario in list(scenarios())[::9]:
        english, german = cards(knowledge, scenario), cards(knowledge, scenario, "de")
        assert [machines(card) for card in english] == [machines(card) for card in german]
        assert all(len(card.summary) < SUMMARY_LIMIT and not card.summary.endswith("…") for card in german)


def machines(card: Card) -> tuple[Any, ...]:
    """All of a card but its words."""
    suggestions = [
        (each.uuid, [(action.type, action.resource, action.resource_id) for action in each.actions])
        for each in card.suggestions or ()
    ]
    topic = card.source.topic.code if card.source.topic else ""
    return card.uuid, card.indicator, topic, card.selection_behavior, card.extension, suggestions


# A site's languages -----------------------------------------------------------------------------------------------


def test_a_site_says_a_card_in_a_language_of_its_own(tmp_path: Path, knowledge: Knowledge) -> None:
    write(tmp_path, "psychosis.fr.md", psychosis("Psychose : demander un avis", "Demander."))
    write(tmp_path, "words.fr.yaml", "link-page: Sources bibliographiques")
    texts = loading.load(knowledge.protocol, tmp_path / "texts")
    french, book = texts.spoken(["fr-CH"]), knowledge.limits.book("ketamine", NOW.date())
    assert french.by_rule["psychosis"].summary("active", {}, book) == "Psychose : demander un avis"
    assert french.words.say("link-page") == "Sources bibliographiques"
    assert french.words.say("title-further") == "Further warnings"
    assert french.by_rule["migraine-not-recommended"] is texts.by_rule["migraine-not-recommended"]
    assert texts.spoken(["de"]).language == "de"


def test_what_a_site_says_in_english_comes_before_what_is_shipped_in_german(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    """It is the site's own decision, and the shipped German file knows nothing of it."""
    own = "---\ntitle: Blood pressure\nsummary: Call the anaesthetist\n---\n"
    write(tmp_path, "bp-uncontrolled.md", own)
    write(tmp_path, "words.yaml", "label-delete: Strike it\ntitle-further: More")
    write(tmp_path, "words.de.yaml", "title-further: Mehr")
    german = loading.load(knowledge.protocol, tmp_path / "texts").spoken(["de"])
    book = knowledge.limits.book("ketamine", NOW.date())
    assert german.by_rule["bp-uncontrolled"].summary("critical", {}, book) == "Call the anaesthetist"
    assert german.words.say("label-delete") == "Strike it"
    assert german.words.say("title-further") == "Mehr"
    assert german.words.say("link-page") == "Grenzwerte, Quellen und Belege"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("psychosis.de.md", psychosis(body="Höchstens 0.3 mg/kg."), "psychosis.de.md: writes the number 0.3 itself"),
        ("psychosis.de.md", psychosis(body="Über drei Tage."), "writes the number drei Tage itself"),
        ("psychosis.de.md", psychosis(body="Das Doppelte."), "writes the number Das Doppelte itself"),
        ("psychosis.de.md", psychosis(body="{{ gefunden }}"), "psychosis.de.md: there is no value gefunden"),
        ("psychosis.de.md", psychosis(summary="ü" * 140), "the summary is not shorter than 140 characters"),
        ("psychossis.de.md", psychosis(), "there is no such text; did you mean psychosis.md?"),
        (
            "words.de.yaml",
            "title-furter: Mehr",
            "there are no words title-furter; did you mean title-further?",
        ),
        ("words.de.yaml", "label-stop: 'Nach {{ stunden }} h'", "label-stop: there is no value stunden"),
        ("words.de.yaml", "label-stop: 'Nach 24 h'", "label-stop writes the number 24 itself"),
    ],
)
def test_a_text_of_another_language_is_held_to_the_same_rules(
    tmp_path: Path, knowledge: Knowledge, file: str, text: str, message: str
) -> None:
    write(tmp_path, file, text)
    assert message in refused(knowledge, tmp_path)

"""A protocol says everything in each language that it promises: each card, each word, each name of the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frontmatter
import msgspec
import pytest

from cds_service.cards import loading
from cds_service.cards.languages import File
from cds_service.cards.model import Card
from cds_service.cards.promised import refuse_unsaid_changes, refuse_untold
from cds_service.cards.sentences import names_of
from cds_service.cards.shown import TextError
from cds_service.cards.texts import ENGLISH
from cds_service.folders import CARDS, COMMON
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import Protocol, Rule
from tests.cards.test_languages import cards
from tests.scenarios.build import hook_request, scenarios

_FILLED = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
_SENTENCE = re.compile(r"[.:;]\s|\n")
_SEVERAL_WORDS = 2


def test_the_shipped_protocol_promises_german(knowledge: Knowledge) -> None:
    assert knowledge.protocol.languages == ["de"]
    assert knowledge.texts.untold("de") == ([], [])


def test_a_rule_without_a_card_in_a_promised_language_is_refused(knowledge: Knowledge) -> None:
    french = msgspec.structs.replace(knowledge.protocol, languages=["de", "fr"])
    first = next(iter(french.rules))
    with pytest.raises(TextError, match=rf"{first}: there is no card\.fr\.md, and ketamine promises its cards in fr"):
        loading.load(french)


def test_a_drug_that_has_its_own_card_has_it_in_each_language(knowledge: Knowledge) -> None:
    protocol = _french(knowledge)
    shipped = [("a", _file("card.md", ENGLISH)), ("a", _file("card.fr.md", "fr"))]
    refuse_untold(protocol, shipped, [])
    with pytest.raises(TextError, match=r"a: there is no card\.esketamine\.fr\.md"):
        refuse_untold(protocol, [*shipped, ("a", _file("card.esketamine.md", ENGLISH, "esketamine"))], [])


def test_a_rule_of_a_site_promises_nothing(knowledge: Knowledge) -> None:
    refuse_untold(_french(knowledge), [("own", File(Path("own/card.md"), ENGLISH, site=True))], [])


def test_a_shared_word_without_its_words_in_a_promised_language_is_refused(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    english, french = tmp_path / "words.yaml", tmp_path / "words.fr.yaml"
    english.write_text("no-date: no date\nno-value: no value\nnumber-1: one\n", "utf-8")
    french.write_text("no-date: sans date\n", "utf-8")
    with pytest.raises(TextError, match=r"words\.fr\.yaml: has no words for no-value"):
        refuse_untold(_french(knowledge), [], [File(english, ENGLISH, site=False), File(french, "fr", site=False)])


def test_a_card_that_does_not_say_what_changes_its_severity_is_refused(knowledge: Knowledge) -> None:
    rule, german = (
        knowledge.protocol.rules["bp-uncontrolled"],
        knowledge.texts.others["de"].by_rule["bp-uncontrolled"],
    )
    file = _file("card.de.md", "de")
    refuse_unsaid_changes(knowledge.protocol, rule, german, file)
    silent = type(german)(german.rule, german.heading, german.short, german.summaries, german.body)
    with pytest.raises(TextError, match=r"`because` has no words for 'intubated in this encounter'"):
        refuse_unsaid_changes(knowledge.protocol, rule, silent, file)


def test_all_that_has_a_name_in_the_data_has_one_in_german(knowledge: Knowledge) -> None:
    german = knowledge.texts.others["de"].words.fixed
    assert sorted(names_of([knowledge.protocol]) - german.keys()) == []


def test_a_german_answer_holds_no_words_of_an_english_card(knowledge: Knowledge) -> None:
    """By the English files themselves: none of their phrases is left over, but what a record or a request says.

    Terminologies name their codes in English, and so does a card.
    """
    names = "\n".join(path.read_text("utf-8") for path in sorted(COMMON.glob("valuesets/*.json"))).lower()
    german = "\n".join(path.read_text("utf-8") for path in sorted(CARDS.rglob("*.de.*"))).lower()
    english = {phrase: where for phrase, where in _phrases(knowledge) if phrase not in german}
    assert len(english) > 1000
    left: dict[str, str] = {}
    for _, scenario in list(scenarios())[5::24]:
        sent = json.dumps(hook_request(scenario), ensure_ascii=False, default=str).lower() + names
        for text in (
            said.lower().replace("\\", "") for card in cards(knowledge, scenario, "de") for said in _said(card)
        ):
            for phrase, where in english.items():
                if phrase in text and re.search(rf"\b{re.escape(phrase)}\b", text) and phrase not in sent:
                    left[where] = text
    assert left == {}


def _said(card: Card) -> Iterator[str]:
    """All that a clinician reads of a card, but for the titles of the protocol and of its sources."""
    yield from (card.summary, card.detail or "", card.source.topic.display or "" if card.source.topic else "")
    for each in card.suggestions or ():
        yield from (each.label, *(action.description for action in each.actions))
    yield from (each.display or "" for each in card.override_reasons or ())


def _phrases(knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    """(phrase in small letters, where it stands) of several words, of all English files and names."""
    protocol = knowledge.protocol
    written: list[tuple[str, Any]] = [(rule.id, [rule.title, *_becauses(rule)]) for rule in protocol.rules.values()]
    written += [(limit.id, limit.title) for limit in protocol.limits.values()]
    written += [(name, [each.label, each.title]) for name, each in protocol.orderables.items()]
    written += list(File(COMMON / "words.yaml", ENGLISH, site=False).words.items())
    for path in sorted(CARDS.glob("*/rules/*/card*.md")):
        if not path.name.endswith(".de.md"):
            card = frontmatter.loads(path.read_text("utf-8"))
            head = [card.metadata.get(key, "") for key in ("title", "short", "summary")]
            written.append((f"{path.parent.name}/{path.name}", [*head, card.content]))
    for where, each in written:
        for piece in _FILLED.split("\n".join(_texts(each))):
            for sentence in _SENTENCE.split(piece):
                phrase = " ".join(sentence.split()).strip(" .,;:()“”").lower()
                if len(phrase.split()) >= _SEVERAL_WORDS:
                    yield phrase, where


def _becauses(rule: Rule) -> list[str]:
    return [change.because for change in rule.changes]


def _texts(written: Any) -> list[str]:
    if isinstance(written, dict):
        return [str(each) for each in written.values()]
    return [text for each in written for text in _texts(each)] if isinstance(written, list) else [str(written)]


def _french(knowledge: Knowledge) -> Protocol:
    return msgspec.structs.replace(knowledge.protocol, languages=["fr"])


def _file(name: str, language: str, drug: str | None = None) -> File:
    return File(Path("a") / name, language, site=False, drug=drug)

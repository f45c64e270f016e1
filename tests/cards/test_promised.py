"""A protocol says everything in each language that it promises: each card, each word, each name of the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import frontmatter

from cds_service.cards.languages import File
from cds_service.cards.model import Card
from cds_service.cards.sentences import names_of
from cds_service.cards.texts import ENGLISH
from cds_service.folders import CARDS, COMMON
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import Rule
from tests.cards.test_languages import cards
from tests.scenarios.build import hook_request, scenarios

_FILLED = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
_SENTENCE = re.compile(r"[.:;]\s|\n")
_SEVERAL_WORDS = 2


def test_each_card_and_shared_word_is_told_in_each_language_that_the_protocol_promises(knowledge: Knowledge) -> None:
    assert knowledge.protocol.languages == ["de"]
    for language in knowledge.protocol.languages:
        assert knowledge.texts.untold(language) == ([], [])


def test_a_drug_that_has_its_own_card_has_it_in_each_language(knowledge: Knowledge) -> None:
    drugs = "|".join(knowledge.protocol.drugs)
    english = [
        path for path in CARDS.glob("ketamine/rules/*/card*.md") if re.search(rf"card(\.({drugs}))?\.md$", path.name)
    ]
    assert len(english) > len(knowledge.protocol.rules)
    for language in knowledge.protocol.languages:
        assert [str(path) for path in english if not path.with_suffix(f".{language}.md").exists()] == []


def test_each_card_says_in_each_language_what_changes_its_severity(knowledge: Knowledge) -> None:
    for language in knowledge.protocol.languages:
        texts = knowledge.texts.others[language]
        for rule in knowledge.protocol.rules.values():
            said = texts.by_rule[rule.id].because
            untold = [change.because for change in rule.changes if change.because and change.because not in said]
            assert untold == [], rule.id


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

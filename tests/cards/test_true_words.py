"""What a card says of the two source documents and of a label is what they say, by the protocol's own record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import pytest

from cds_service.folders import CARDS
from cds_service.knowledge import Knowledge
from cds_service.protocol.limits import numbers_as_written
from cds_service.protocol.model import Evidence, Limit, Statement

DAY = date(2026, 11, 28)
_QUOTES = re.compile(r"{% quote %}(.*?){% endquote %}", re.DOTALL)
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_LABELS = re.compile(r"\blabels?\b")
_SOURCES = re.compile(r"source document|\b[Ss]ource [AB]\b|[Bb]oth sources|either source")
_ENGLISH = re.compile(r"card(?:\.(?P<drug>[a-z]{4,}))?\.md")

Card = tuple[str, str | None]
"""Rule, and the drug of which the card speaks where it speaks of one alone."""


def cards() -> Iterator[tuple[Card, str]]:
    """Every English card, with its text as it is written."""
    for file in sorted(CARDS.glob("*/rules/*/card*.md")):
        english = _ENGLISH.fullmatch(file.name)
        if english:
            yield (file.parent.name, english["drug"]), file.read_text("utf-8")


def sentences() -> Iterator[tuple[Card, str]]:
    """Those of every English card; marks of a template are left out."""
    for card, written in cards():
        text = re.sub(r"{%.*?%}", " ", written, flags=re.DOTALL)
        for sentence in re.split(r"(?<=[.:;])\s", text):
            yield card, " ".join(sentence.split())


OF_SOURCES = [pair for pair in sentences() if _SOURCES.search(pair[1]) and "Neither" not in pair[1]]
OF_LABELS = [pair for pair in sentences() if _LABELS.search(pair[1]) and "no label" not in pair[1]]
QUOTED = [(card, " ".join(quote.split())) for card, written in cards() for quote in _QUOTES.findall(written)]


def statements(card: Card, knowledge: Knowledge) -> list[Statement]:
    protocol = knowledge.protocol
    return [protocol.statements[name] for name in protocol.rules[card[0]].statements]


def limits(card: Card, knowledge: Knowledge) -> list[Limit]:
    """Those that the card shows: of its drug, where that has its own."""
    protocol, (rule, drug) = knowledge.protocol, card
    shown = {name for tier in protocol.rules[rule].tiers for name in tier.shown}
    own = {each.stands_for: each for each in protocol.limits.values() if each.drug == drug and drug is not None}
    return [own.get(name, protocol.limits[name]) for name in shown]


def labels(card: Card, knowledge: Knowledge) -> list[Evidence]:
    """The labels that a card cites, or that one of its limits rests on."""
    protocol, (rule, drug) = knowledge.protocol, card
    text = knowledge.texts.of(rule, drug or protocol.drugs[0])
    sources = {source for limit in limits(card, knowledge) for source in limit.sources}
    named = {*(text.citations or protocol.rules[rule].citations), *sources} & protocol.evidence.keys()
    cited = [protocol.evidence[name] for name in sorted(named)]
    return [each for each in cited if each.grade in ("label", "monograph", "safety notice")]


def test_there_is_something_to_hold_against_the_sources() -> None:
    assert len(OF_SOURCES) > 10
    assert len(OF_LABELS) > 10
    assert len(QUOTED) > 20


@pytest.mark.parametrize(("card", "sentence"), OF_SOURCES)
def test_what_a_source_document_says_is_a_statement_that_the_rule_carries(
    card: Card, sentence: str, knowledge: Knowledge
) -> None:
    documents = {statement.source for statement in statements(card, knowledge)}
    assert documents, sentence
    assert set(re.findall(r"\b[Ss]ource ([AB])\b", sentence)) <= documents, sentence
    if re.search(r"[Bb]oth source|[Ee]ither source|the other", sentence):
        assert documents == {"A", "B"}, sentence


@pytest.mark.parametrize(
    ("card", "quote"), [pair for pair in QUOTED if re.search(r"source document|^Both sources", pair[1])]
)
def test_a_number_that_is_quoted_from_a_source_document_stands_in_a_statement(
    card: Card, quote: str, knowledge: Knowledge
) -> None:
    said = " ".join(each.says for each in knowledge.protocol.statements.values())
    first = re.split(r"[;.] ", quote)[0]
    assert set(_NUMBERS.findall(first)) <= set(_NUMBERS.findall(said)), first


@pytest.mark.parametrize(("card", "sentence"), OF_LABELS)
def test_what_a_label_says_rests_on_a_label_with_the_address_where_it_was_read(
    card: Card, sentence: str, knowledge: Knowledge
) -> None:
    found = labels(card, knowledge)
    assert found, sentence
    assert any(each.url is not None for each in found), sentence


@pytest.mark.parametrize(("card", "quote"), [pair for pair in QUOTED if _LABELS.search(pair[1])])
def test_a_number_that_is_quoted_from_a_label_was_read_there(card: Card, quote: str, knowledge: Knowledge) -> None:
    read = [each for each in labels(card, knowledge) if each.url is not None]
    assert read, quote
    said = set(_NUMBERS.findall(" ".join(f"{each.citation} {each.read}" for each in read)))
    of_labels = {name for name, entry in knowledge.protocol.evidence.items() if entry in read}
    for limit in limits(card, knowledge):
        if limit.status == "verified" and of_labels.intersection(limit.sources):
            said.update(numbers_as_written(limit, DAY))
    assert set(_NUMBERS.findall(quote)) <= said, quote


def test_no_card_of_one_drug_quotes_a_label_that_is_about_another(knowledge: Knowledge) -> None:
    for card, quote in QUOTED:
        if card[1] is not None and _LABELS.search(quote):
            assert any(each.drug in (None, card[1]) for each in labels(card, knowledge)), quote


def test_a_limit_is_no_better_verified_than_what_it_rests_on(knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    for limit in protocol.limits.values():
        read = {protocol.evidence[name].status for name in limit.sources if name in protocol.evidence}
        if limit.status == "verified":
            assert "verified" in read, limit.id
        if limit.status == "second-hand":
            assert read & {"verified", "second-hand"}, limit.id

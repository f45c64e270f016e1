"""What a card says of the two source documents and of a label is what they say, by the protocol's own record."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from cds_service.folders import CARDS
from cds_service.knowledge import Knowledge
from cds_service.protocol.model import Evidence, Statement

_QUOTES = re.compile(r"{% quote %}(.*?){% endquote %}", re.DOTALL)
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_LABELS = re.compile(r"\blabels?\b")


def sentences() -> Iterator[tuple[str, str]]:
    """(rule, sentence) of every English card; marks of a template are left out."""
    for file in sorted(CARDS.glob("*/rules/*/card.md")):
        text = re.sub(r"{%.*?%}", " ", file.read_text("utf-8"), flags=re.DOTALL)
        for sentence in re.split(r"(?<=[.:;])\s", text):
            yield file.parent.name, " ".join(sentence.split())


OF_SOURCES = [pair for pair in sentences() if "source document" in pair[1] and "Neither" not in pair[1]]
OF_LABELS = [pair for pair in sentences() if _LABELS.search(pair[1])]
QUOTED = [
    (file.parent.name, " ".join(quote.split()))
    for file in sorted(CARDS.glob("*/rules/*/card.md"))
    for quote in _QUOTES.findall(file.read_text("utf-8"))
]


def statements(rule: str, knowledge: Knowledge) -> list[Statement]:
    protocol = knowledge.protocol
    return [protocol.statements[name] for name in protocol.rules[rule].statements]


def labels(rule: str, knowledge: Knowledge) -> list[Evidence]:
    """The labels that a rule cites, or that one of the limits of its folder rests on."""
    protocol = knowledge.protocol
    shown = {name for tier in protocol.rules[rule].tiers for name in tier.shown}
    sources = {source for name in shown for source in protocol.limits[name].sources}
    cited = [
        protocol.evidence[name] for name in {*protocol.rules[rule].citations, *sources} & protocol.evidence.keys()
    ]
    return [each for each in cited if each.grade in ("label", "monograph", "safety notice")]


def test_there_is_something_to_hold_against_the_sources() -> None:
    assert len(OF_SOURCES) > 10
    assert len(OF_LABELS) > 10
    assert len(QUOTED) > 20


@pytest.mark.parametrize(("rule", "sentence"), OF_SOURCES)
def test_what_a_source_document_says_is_a_statement_that_the_rule_carries(
    rule: str, sentence: str, knowledge: Knowledge
) -> None:
    documents = {statement.source for statement in statements(rule, knowledge)}
    assert documents, sentence
    if re.search(r"[Bb]oth source|the other", sentence):
        assert documents == {"A", "B"}, sentence


@pytest.mark.parametrize(
    ("rule", "quote"), [pair for pair in QUOTED if re.search(r"source document|^Both sources", pair[1])]
)
def test_a_number_that_is_quoted_from_a_source_document_stands_in_a_statement(
    rule: str, quote: str, knowledge: Knowledge
) -> None:
    said = " ".join(each.says for each in knowledge.protocol.statements.values())
    first = re.split(r"[;.] ", quote)[0]
    assert set(_NUMBERS.findall(first)) <= set(_NUMBERS.findall(said)), first


@pytest.mark.parametrize(("rule", "sentence"), OF_LABELS)
def test_what_a_label_says_rests_on_a_label_with_the_address_where_it_was_read(
    rule: str, sentence: str, knowledge: Knowledge
) -> None:
    found = labels(rule, knowledge)
    assert found, sentence
    assert any(each.url is not None for each in found), sentence


@pytest.mark.parametrize(("rule", "quote"), [pair for pair in QUOTED if _LABELS.search(pair[1])])
def test_a_number_that_is_quoted_from_a_label_has_an_address(rule: str, quote: str, knowledge: Knowledge) -> None:
    assert [each for each in labels(rule, knowledge) if each.url is not None], quote

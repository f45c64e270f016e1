"""A text that is filled without Jinja says what Jinja makes of it; what only Jinja can read is left to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cds_service.cards import loading
from cds_service.cards.literals import Quote
from cds_service.cards.shown import TextError
from cds_service.cards.templates import Plain, pieces
from cds_service.cards.texts import escaped
from cds_service.folders import COMMON, KETAMINE
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.parsing import parse_yaml
from tests.cards.test_texts import psychosis, write

JINJA = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, extensions=[Quote], finalize=lambda value: escaped(str(value)), trim_blocks=True
)
OWN = [
    "", "a", "a\n", "a\n\n", "\r\na\rb\r\n", "{{ a }}", "{{a}}{{  b  }}", "x {{ a }} y {{ a }}\n", "ä {{ a }} “ß”",
    "{{ a }}\n", "{{ a_1 }} * _x_",
]  # fmt: skip
LEFT_TO_JINJA = [
    "{{ a | hours }}", "{{ a.b }}", "{{- a }}", "{{ a -}}", "{% if a %}x{% endif %}", "{# a #}", "{{ 'a' }}",
    "{{ 1 }}", "{{ none }}", "{{ True }}", "{{ not a }}", "{{ self }}", "{ a }", "}", "{{ a", "a }}", "{{\na }}",
    "{{ a b }}", "{{ ä }}",
]  # fmt: skip
VALUES = {"a": "1 & *2*", "b": None, "a_1": 3}


def shipped() -> list[str]:
    words = [text for file in COMMON.glob("words*.yaml") for text in parse_yaml(file.read_text("utf-8"), "").values()]
    return words + [file.read_text("utf-8") for file in KETAMINE.glob("rules/*/card*.md")]


def test_what_is_filled_without_jinja_is_filled_as_jinja_fills_it() -> None:
    plain = [(text, found) for text in (*OWN, *shipped()) if (found := pieces(text)) is not None]
    assert len(plain) > len(OWN) + 100
    for text, found in plain:
        values = {**dict.fromkeys(found[1::2], "7 <b>"), **VALUES}
        assert Plain(found, lambda value: escaped(str(value))).render(values) == JINJA.from_string(text).render(
            values
        )


@pytest.mark.parametrize("text", LEFT_TO_JINJA)
def test_what_is_more_than_a_name_is_left_to_jinja(text: str) -> None:
    assert pieces(text) is None


def test_a_value_that_is_not_there_is_named_as_jinja_names_it() -> None:
    for render in (Plain(pieces("{{ a }}") or (), str).render, JINJA.from_string("{{ a }}").render):
        with pytest.raises(UndefinedError, match=r"^'a' is undefined$"):
            render({"b": 1})


# Texts on demand ------------------------------------------------------------------------------------------------


def test_texts_on_demand_are_those_of_the_service(knowledge: Knowledge) -> None:
    on_demand = load(texts_on_demand=True).texts
    book = knowledge.limits.book("ketamine", knowledge.protocol.date)
    for texts, others in ((knowledge.texts, on_demand), (knowledge.texts.others["de"], on_demand.others["de"])):
        assert list(texts.by_rule) == list(others.by_rule)
        assert set(texts.by_drug) == set(others.by_drug)
        for rule, text in texts.by_rule.items():
            assert others.by_rule[rule].title(book) == text.title(book)
            assert others.by_rule[rule].body.names == text.body.names


def test_a_shipped_text_is_checked_when_it_is_asked_for_and_a_sites_at_once(
    tmp_path: Path, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = loading._checked

    def checked(rule: object, text: object, *others: object) -> object:
        read.append(text.rule)  # type: ignore[attr-defined]
        return original(rule, text, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "_checked", checked)
    texts = loading.load(knowledge.protocol, on_demand=True)
    assert read == []
    assert texts.by_rule["psychosis"] is texts.by_rule["psychosis"]
    assert read == ["psychosis"]
    write(tmp_path, "psychosis", psychosis(body="{{ nothing }}"))
    with pytest.raises(TextError, match="there is no value nothing"):
        loading.load(knowledge.protocol, tmp_path / "texts", on_demand=True)

"""What rules say by key: every key has its words, every word its key, and each language fills what it is given."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import cds_service
from cds_service.cards import loading, sentences
from cds_service.cards.languages import File, check_keys
from cds_service.cards.shown import TextError
from cds_service.cards.texts import ENGLISH, Words
from cds_service.folders import COMMON
from cds_service.knowledge import Knowledge
from cds_service.says import Named, Said, Sentence, entries, findings, listed, orders, records
from cds_service.says.entries import DATED, NO_DATE
from tests.cards.test_texts import refused, write

ROOT = Path(cds_service.__file__).parent
TABLES = (records, entries, orders, findings)


def test_every_key_that_is_declared_is_said_somewhere() -> None:
    declared = {n for table in TABLES for n, each in vars(table).items() if isinstance(each, Said | Sentence)}
    said: set[str] = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                said.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                said.add(node.id)
            elif isinstance(node, ast.alias) and node.asname:
                said.add(node.name)
    assert sorted(declared - said) == []


def test_a_key_that_no_code_uses_and_one_that_has_no_words_are_refused(tmp_path: Path) -> None:
    shipped = (COMMON / "words.yaml").read_text("utf-8")
    lacking = tmp_path / "words.yaml"
    lacking.write_text(re.sub(r"(?m)^no-usable-weight:.*\n", "", shipped), "utf-8")
    with pytest.raises(TextError, match="has no words for no-usable-weight, which is said in the code"):
        check_keys(File(lacking, ENGLISH, site=False))
    check_keys(File(COMMON / "words.yaml", ENGLISH, site=False))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("words.yaml", "no-usable-wait: none", "there are no words no-usable-wait; did you mean no-usable-weight?"),
        ("words.de.yaml", "fact-age: 'Alter {{ alter }}'", "fact-age: there is no value alter; did you mean age?"),
        ("words.de.yaml", "no-date: 'am {{ date }}'", "no-date: there is no value date"),
        ("words.de.yaml", "fact-age: 'Alter {{ age'", "fact-age cannot be read"),
        ("words.de.yaml", "fact-age: 'Alter {{ age.years.more }}'", "fact-age cannot be filled"),
        ("words.de.yaml", "fact-age: 'Alter 18'", "fact-age writes the number 18 itself"),
        ("words.de.yaml", "drug-ketamin: Ketamin", "there are no words drug-ketamin; did you mean drug-ketamine?"),
        ("words.de.yaml", "set-obs_sbpp: RR", "there are no words set-obs_sbpp; did you mean set-obs_sbp?"),
        ("words.de.yaml", "label-of-monitr: EKG", "did you mean label-of-monitor"),
    ],
)
def test_what_a_site_misspells_is_refused_with_the_nearest_right_one(
    tmp_path: Path, knowledge: Knowledge, file: str, text: str, message: str
) -> None:
    write(tmp_path, file, text)
    assert message in refused(knowledge, tmp_path)


def test_a_site_says_a_sentence_in_its_words_and_the_record_keeps_the_shipped_one(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    write(tmp_path, "words.yaml", "no-date: undated\ndated: '{{ date }}: {{ name }}'")
    write(tmp_path, "words.de.yaml", "dated: '{{ name }}, {{ date }}'")
    texts = loading.load(knowledge.protocol, tmp_path / "texts")
    given = DATED("Angina", NO_DATE)
    assert texts.words.fill(given) == "undated: Angina"
    assert texts.spoken(["de"]).words.fill(given) == "Angina, undated"
    assert texts.recorded(given) == texts.spoken(["de"]).recorded(given) == "Angina (no date)"


def test_a_language_says_a_sentence_that_it_lacks_in_english(tmp_path: Path, knowledge: Knowledge) -> None:
    write(tmp_path, "words.fr.yaml", "dated: '{{ name }} ({{ date }}) :'")
    texts = loading.load(knowledge.protocol, tmp_path / "texts")
    assert texts.spoken(["fr"]).words.fill(DATED("Angor", NO_DATE)) == "Angor (no date) :"
    keys, rules = texts.untold("fr")
    assert "no-date" in keys
    assert "dated" not in keys
    assert len(rules) == len(texts.by_rule)


def test_german_has_words_for_every_sentence(knowledge: Knowledge) -> None:
    assert knowledge.texts.untold("de")[0] == []


def test_a_sentence_may_choose_its_words_by_its_values(tmp_path: Path, knowledge: Knowledge) -> None:
    years = "age-years: '{{ number }} an{% if number != \"1\" %}s{% endif %}'"
    write(tmp_path, "words.fr.yaml", years)
    words = loading.load(knowledge.protocol, tmp_path / "texts").spoken(["fr"]).words
    assert [words.fill(findings.YEARS(number)) for number in ("1", "7")] == ["1 an", "7 ans"]


def test_what_is_only_named_keeps_its_name_where_a_language_has_none(knowledge: Knowledge) -> None:
    german: Words = knowledge.texts.spoken(["de"]).words
    assert german.fill(Named("drug-ketamine", "ketamine")) == "Ketamin"
    assert german.fill(Named("drug-lidocaine", "lidocaine")) == "lidocaine"
    assert german.fill(listed((Named("drug-ketamine", "ketamine"), "x"), orders.AND)) == "Ketamin und x"


def test_what_comes_from_outside_stands_in_a_sentence_as_it_is(knowledge: Knowledge) -> None:
    """No placeholder of an entry is filled, and what is said by mistake without words shows no entry."""
    given = DATED("{{ date }} {% raw %}", "now")
    assert knowledge.texts.words.fill(given) == "{{ date }} {% raw %} (now)"
    assert f"{given}" == "dated"


def test_why_a_severity_changed_is_said_in_the_language_of_the_card(tmp_path: Path, knowledge: Knowledge) -> None:
    german = knowledge.texts.spoken(["de"]).by_rule["bp-uncontrolled"]
    assert german.because == {"intubated in this encounter": "in diesem Aufenthalt intubiert"}
    text = "---\ntitle: RR\nsummary: RR\nbecause:\n  intubated in this encountr: x\n---\n"
    write(tmp_path, "bp-uncontrolled.de.md", text)
    with pytest.raises(TextError, match=r"nothing changes because .*encountr'; did you mean intubated in this"):
        loading.load(knowledge.protocol, tmp_path / "texts")


def test_no_key_stands_for_two_sentences() -> None:
    names = [each.key for t in TABLES for each in vars(t).values() if isinstance(each, Sentence)]
    assert len(names) == len(set(names))
    assert sentences.SENTENCES.keys() <= sentences.KEYS.keys()

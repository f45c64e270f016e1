"""The console in each language: all of its words stand in its files, and a page is all of one language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from jinja2 import Environment, nodes

from cds_service import console
from cds_service.cards.texts import ENGLISH
from cds_service.console import words
from cds_service.knowledge import Knowledge
from cds_service.store.store import Store
from tests.console.pages import BASE, Pages, pages, text_of
from tests.console.served import served
from tests.retrospect.written import write_report
from tests.store.build import comparison, difference

HERE = Path(console.__file__).parent
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
STAYS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("stays_english.yaml").read_text("utf-8"))
GERMAN = {"Accept-Language": "de-CH,de;q=0.9,en;q=0.5"}
PATHS = (
    "/", "/protocol", "/protocol/rules/rate-exceeds-protocol-max", "/protocol/disagreements", "/protocol/changes",
    "/protocol/sign-off/ketamine", "/stewardship", "/look-up", "/replay", "/nowhere",
)  # fmt: skip
_OPEN = ("choice-", "section-")
"""Words that a language has as many of as it needs."""
_SEEN = ("aria-label", "alt", "title", "placeholder", "label", "data-copied", "data-selected")
"""Attributes that a person reads or hears."""
_TAG = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2,}")
_PROSE = re.compile(r"[^\W\d_]{2,} [^\W\d_]{2,}|^[A-Z][a-z]{2,}")
"""A text in the code of a template that is more than a key."""
_ASKED = re.compile(r"""\b(?:say|rich|ours|NotSignedIn)\(\s*["']([a-z0-9-]+)["']\s*[,)]""")


@pytest.fixture(scope="module")
def german(knowledge: Knowledge) -> Pages:
    """A browser that keeps no choice: what its calls prefer counts."""
    return pages(knowledge)


@pytest.fixture
def shown(german: Pages) -> Pages:
    """A browser without a choice yet."""
    return Pages(german.client.application.test_client())


@pytest.mark.parametrize("language", [each for each in words.tables() if each != ENGLISH])
def test_each_key_has_its_words_in_each_language(language: str) -> None:
    english, other = words.tables()[ENGLISH], words.tables()[language]
    assert english.keys() - other.keys() == set()
    assert [key for key in other.keys() - english.keys() if not key.startswith(_OPEN)] == []
    assert [key for key, said in other.items() if not isinstance(said, str) or not said.strip()] == []
    strange = {key: _places(said) - _places(english[key]) for key, said in other.items() if key in english}
    strange["not-understood"] -= {"text"}  # which the form gives beside what the reader of orders says
    assert {key: names for key, names in strange.items() if names} == {}


def test_the_console_speaks_the_languages_of_the_cards(knowledge: Knowledge) -> None:
    assert list(words.tables()) == [ENGLISH, *knowledge.texts.others]


def test_every_key_that_a_page_asks_for_has_words() -> None:
    asked = {key for file in _sources() for key in _ASKED.findall(file.read_text("utf-8"))}
    assert len(asked) > 200
    assert sorted(asked - words.tables()[ENGLISH].keys()) == []


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_no_template_has_words_of_its_own(file: Path) -> None:
    written = file.read_text("utf-8")
    reader = _Read()
    reader.feed(_TAG.sub(" ", written))
    constants = [each.value for each in Environment().parse(written).find_all(nodes.Const)]
    said = [*reader.said, *(each for each in constants if isinstance(each, str) and _PROSE.search(each))]
    assert [text for each in said if _WORD.search(text := _without_names(each))] == []


@pytest.mark.parametrize("file", sorted(HERE.glob("*.py")), ids=lambda file: file.stem)
def test_no_module_has_sentences_of_its_own(file: Path) -> None:
    if file.name in STAYS["python"]:
        return
    tree = ast.parse(file.read_text("utf-8"))
    elsewhere = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    elsewhere |= {id(each) for call in ast.walk(tree) if _is_for_no_page(call) for each in ast.walk(call)}
    texts = [each for each in ast.walk(tree) if isinstance(each, ast.Constant) and id(each) not in elsewhere]
    said = [each.value for each in texts if isinstance(each.value, str)]
    assert [each for each in said if re.search(r"[a-z]{2,} [a-z]{2,}", each) and "'self'" not in each] == []


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_that_prefers_german_gets_a_german_page(german: Pages, path: str) -> None:
    answer = german.get(path, headers=GERMAN)
    assert '<html lang="de">' in answer.text
    assert _english_on(answer.text) == []


def test_a_report_of_a_replay_is_german(knowledge: Knowledge, tmp_path: Path) -> None:
    write_report(tmp_path / "spring")
    shown = pages(knowledge, reports=str(tmp_path))
    page, text = shown.get("/replay/spring", headers=GERMAN), text_of(shown.get("/replay/spring", headers=GERMAN))
    assert _english_on(page.text) == []
    assert "40 von 42 Verordnungen wurden beurteilt" in text
    assert "Rate über dem Höchstwert des Protokolls angeschlagen, Warnung ohne Befund 7 0" in text
    assert "ohne Befund ausgeschaltet 0 40" in text
    assert "Nach Station Station Verordnungen Alt Neu" in text
    assert "0.1 bis 0.15 mg/kg/h: 30" in page.text
    assert 'aria-label="Verordnungen nach Dosis in mg/kg/h, mit den Grenzwerten"' in page.text


def test_a_report_that_cannot_be_shown_is_said_in_german(knowledge: Knowledge, tmp_path: Path) -> None:
    write_report(tmp_path / "early", tables={})
    answer = pages(knowledge, reports=str(tmp_path)).get("/replay/early", headers=GERMAN)
    assert answer.status_code == 503
    assert f"{tmp_path / 'early'} ist von einer früheren Version; bitte seine index.html öffnen." in text_of(answer)


def test_a_candidate_in_shadow_is_shown_in_german(knowledge: Knowledge, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    store.migrate()
    store.write([comparison(difference(orders=4), client="north", dropped=3)])
    page = pages(knowledge, store=f"sqlite:///{store.url.database}").get("/stewardship?days=7", headers=GERMAN)
    store.close()
    assert _english_on(page.text) == []
    assert "10 Aufrufe beurteilt mit 10 Verordnungen, 3 nicht beurteilt (3 verworfen, 0 ausgefallen)" in text_of(page)
    assert "Rate über dem Höchstwert des Protokolls ohne Befund angeschlagen, Warnung 4 40 %" in text_of(page)


def test_what_the_protocol_names_has_its_german_name(shown: Pages) -> None:
    text = text_of(shown.get("/protocol/rules/rate-exceeds-protocol-max", headers=GERMAN))
    assert "Rate über dem Höchstwert des Protokolls" in text
    assert "Dauerinfusionsrate, oberhalb derer das Protokoll warnt" in text
    assert "Doppelverordnung" in text_of(shown.get("/protocol", headers=GERMAN))


def test_the_switch_decides_before_the_browser_and_keeps_the_page(shown: Pages) -> None:
    answer = shown.get("/protocol?q=rate&language=de")
    assert (answer.status_code, answer.location) == (303, "/protocol?q=rate")
    assert '<html lang="de">' in shown.get("/protocol").text
    assert 'href="/protocol?q=rate&amp;language=en"' in shown.get("/protocol?q=rate").text
    shown.get("/protocol?language=en")
    assert '<html lang="en">' in shown.get("/protocol", headers=GERMAN).text


@pytest.mark.parametrize("path", ["/protocol?language=xx", "/protocol?language=", "/protocol?language=../de"])
def test_a_language_that_there_is_not_changes_nothing(shown: Pages, path: str) -> None:
    answer = shown.get(path)
    assert (answer.status_code, answer.headers.get("Set-Cookie", "").count(words.COOKIE)) == (200, 0)


def test_the_switch_leads_to_no_other_site(shown: Pages) -> None:
    answer = shown.get("//evil.example/%2Fevil.example?language=de")
    assert not (answer.location or "/").startswith(("//", "http"))


def test_an_order_is_entered_in_german(knowledge: Knowledge) -> None:
    with served(knowledge) as running:
        client: FlaskClient = running.app.test_client()
        asked = {"patient": "standard", "product": "ketamine", "route": "iv", "rate": "5 mg/kg/h", "reason": "pain"}
        answer = client.get("/", base_url=BASE, query_string=asked, headers=GERMAN)
    text = text_of(answer)
    assert "Kritisch Rate 5 mg/kg/h über der Obergrenze 1, im Bereich der Sedierung" in text
    assert "Ändern auf 0.5 mg/kg/h" in text
    assert "Dauerinfusionsrate, die bei akutem Schmerz kritisch ist" in text
    assert "5 mg/kg/h liegt über 1 (kritisch)." in answer.text
    assert "-H &#39;Accept-Language: de&#39;" in answer.text


def test_a_dose_that_cannot_be_read_is_said_in_german(knowledge: Knowledge) -> None:
    with served(knowledge) as running:
        client: FlaskClient = running.app.test_client()
        asked = {"patient": "standard", "product": "ketamine", "rate": "viel", "bolus": "5 mg/h"}
        text = text_of(client.get("/", base_url=BASE, query_string=asked, headers=GERMAN))
    assert "Rate: „viel“ ist nicht verständlich." in text
    assert "Bolus: das ist eine Rate und gehört in das Feld dafür" in text


def _english_on(page: str) -> list[str]:
    """The keys whose English words stand on a German page, but where they are marked as English."""
    english, theirs = words.tables()[ENGLISH], words.tables()["de"]
    plain = {key: said for key, said in english.items() if "{" not in said and " " in said and theirs[key] != said}
    reader = _Read(but=ENGLISH)
    reader.feed(page)
    read = " ".join(" ".join(reader.said).split())
    return [key for key, said in plain.items() if re.search(rf"(?<!\w){re.escape(said)}(?!\w)", read)]


class _Read(HTMLParser):
    """What a person reads of a page, or hears, `but` in what is marked as of another language."""

    _EMPTY = ("br", "img", "input", "link", "meta")

    def __init__(self, but: str | None = None) -> None:
        super().__init__()
        self.said: list[str] = []
        self._but, self._within = but, list[bool]()

    def handle_data(self, data: str) -> None:
        if not any(self._within):
            self.said.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_other = self._but is not None and ("lang", self._but) in attrs
        if tag not in self._EMPTY:
            self._within.append(is_other)
        if not any(self._within):
            self.said += [value for name, value in attrs if name in _SEEN and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that is closed at once holds nothing."""

    def handle_endtag(self, tag: str) -> None:
        if self._within and tag not in self._EMPTY:
            self._within.pop()


def _is_for_no_page(found: ast.AST) -> bool:
    """A call that writes the log, or says what is wrong with the settings before there is a page."""
    if not isinstance(found, ast.Call):
        return False
    called = found.func
    of_log = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "log"
    return of_log or (isinstance(called, ast.Name) and called.id == "SettingError")


def _without_names(text: str) -> str:
    for each in STAYS["templates"]:
        text = re.sub(rf"(?<!\w){re.escape(str(each))}(?!\w)", " ", text)
    return text


def _places(said: str) -> set[str]:
    return set(re.findall(r"\{\{ (\w+) \}\}", said))


def _sources() -> Iterator[Path]:
    yield from TEMPLATES
    yield from HERE.glob("*.py")

"""Whatever stands in the texts of a request: every string of the answer shows what it says, and is no markup."""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cds_service import bounds
from cds_service.advise import advise
from cds_service.cards.model import EXTENSION
from cds_service.cards.texts import SUMMARY_LIMIT, as_markdown, escaped, one_line, plain, unescaped, visible
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from tests.hooks.conformance import decoded, faults
from tests.properties.asking import knowledge
from tests.properties.counts import examples
from tests.scenarios.build import NOW, hook_request

Json = dict[str, Any]
HOSTILE = (
    "\u202e05\u202c mg", "\u2066x\u2069", "a\u200bb\u200d\u200c\ufeff", "\x1b[31m\x00\x07", "line\nline\r\n\ttab",
    "\u2028\u2029\x85", "<script>alert(1)</script>", "<img src=x onerror=y>", "[x](javascript:alert(1))",
    "![x](http://e.example/p.png)", "http://e.example/x", "www.e.example", "a@e.example", "# heading", "- item",
    "**bold** _it_ `code` ~~s~~", "1. item", "1) item", "+ item", "* item", "| a | b |", "> quote", "---", "===",
    "&lt;b&gt; &#60;", "{{ 7*7 }}{% raw %}", "\\" * 60_000, "x" * 60_000, "Z" + "\u0300" * 500, "%s %n", "\\[x\\](y)",
    "\u3164\u2800\u115f\uffa0\u034f\ufe0f\U000e0041", "\U000e0001\ue000\U0010ffff", "<!-- x -->", "<a@e.example>",
    "\u0645\u0631\u062d\u0628\u0627 05 mg", "ketamine \u202ekcab",
)  # fmt: skip
_texts = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=40), st.lists(st.sampled_from(HOSTILE), max_size=4).map(" ".join)
)
_CONTROL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


# Functions --------------------------------------------------------------------------------------------------------


def _is_visible(text: str) -> bool:
    return not any(unicodedata.category(c) in _CONTROL for c in text) and text == visible(text)


@examples(300)
@given(text=_texts)
def test_plain_text_is_one_line_of_visible_characters_of_bounded_length(text: str) -> None:
    shown = plain(text)
    assert _is_visible(shown)
    assert len(shown) <= bounds.SHOWN
    assert shown == shown.strip()
    assert plain(shown) == shown
    assert len(one_line(text)) < SUMMARY_LIMIT


@examples(300)
@given(text=_texts)
def test_escaped_text_is_no_markup_and_says_the_same(text: str) -> None:
    shown = escaped(text)
    assert _is_visible(shown)
    assert not _markup(shown)
    assert unescaped(shown).replace(" @ ", "@") == plain(text).replace(" @ ", "@")


@pytest.mark.parametrize(
    "text", ["ketamine 0.5 mg/kg/h", "Kétamine µg", "70 kg -> 75 kg", "-5", "2026-11-20", "1.5 mg", "مرحبا"]
)
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text
    assert unescaped(as_markdown(text)) == text


_MARKUP = re.compile(
    r"(?<!\\)(?:\\\\)*[`*_\[\]<>|~#]"  # a mark that no backslash stands before
    r"|&(?!amp;)|://|\bwww\.|\S@\S"
    r"|^(?:[-+](?:\s|$)|--|=+$|\d+[.)](?:\s|$))",
    re.IGNORECASE,
)


def _markup(text: str) -> str | None:
    found = _MARKUP.search(text)
    return found[0] if found else None


# Answers ----------------------------------------------------------------------------------------------------------

MARK = "zqx"
"""Stands beside each hostile text, so that what came from outside is found in the answer."""


def _base() -> Json:
    """A request that gets many cards, with words in most of its elements."""
    asked = hook_request(
        {
            "order": {"rate": "1.2 mg/kg/h"},
            "patient": {"problems": ["84114007 Heart failure"], "medicines": ["6960 midazolam"]},
        }
    )
    order = asked["context"]["draftOrders"]["entry"][0]["resource"]
    order["dosageInstruction"][0] |= {"text": "give", "timing": {"code": {"text": "q"}}}
    order["reasonCode"] = [{"text": "reason"}]
    order["medicationCodeableConcept"]["text"] = "ketamine"
    order["supportingInformation"] = [{"display": "x", "reference": "Observation/1"}]
    subject = {"reference": "Patient/p1"}
    more: list[Json] = [
        {"resourceType": "Observation", "id": "w9", "status": "final", "subject": subject,
         "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
         "effectiveDateTime": "2026-11-22T09:30:00Z", "valueQuantity": {"value": 70, "unit": "unit"}},
        {"resourceType": "Observation", "id": "w8", "status": "final", "subject": subject,
         "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}, "effectiveDateTime": "date",
         "valueQuantity": {"value": 70, "unit": "kg"}},
        {"resourceType": "Condition", "id": "c9", "subject": subject, "code": {"text": "allergic to ketamine"}},
        {"resourceType": "AllergyIntolerance", "id": "a9", "patient": subject, "code": {"text": "ketamine"}},
        {"resourceType": "MedicationRequest", "id": "m9", "status": "active", "intent": "order", "subject": subject,
         "medicationCodeableConcept": {"text": "ketamine"}, "dosageInstruction": [{"text": "x"}]},
        {"resourceType": "MedicationAdministration", "id": "g9", "status": "in-progress", "subject": subject,
         "medicationCodeableConcept": {"text": "ketamine"}, "effectiveDateTime": "2026-11-22T09:30:00Z"},
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]},
    ]  # fmt: skip
    asked["prefetch"]["more"] = {"resourceType": "Bundle", "entry": [{"resource": each} for each in more]}
    return asked


BASE = _base()
_KEPT = ("resourceType", "system", "reference", "url", "type", "hook", "hookInstance", "patientId")


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*path, number))
    elif isinstance(value, str) and path[-1] not in _KEPT:
        yield path


PLACES = list(_places(BASE))
NAMES = [path for path in PLACES if path[-1] in ("text", "display", "unit")]


def _with(text: str, places: list[tuple[Any, ...]]) -> Json:
    """A request with the text beside what stands in these places; in names the drug is still named."""
    asked = copy.deepcopy(BASE)
    for path in places:
        here = asked
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = f"{here[path[-1]]} {text} {MARK}"
    return asked


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of an answer with its path; an order that is sent back is the clinician's own."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "resource":
                yield from _strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, path)
    elif isinstance(value, str):
        yield path, value


_LONGEST = {"summary": SUMMARY_LIMIT - 1, "label": 450, "description": 900, "order": 300, "reference": 300}


def _wrong(answer: Json) -> list[str]:
    wrong = []
    for path, text in _strings(answer):
        name = path.rpartition(".")[2]
        lines = text.split("\n") if name == "detail" else [text]
        wrong += [f"{path}: not visible: {line[:80]!r}" for line in lines if not _is_visible(line)]
        if len(text) > _LONGEST.get(name, 20_000):
            wrong.append(f"{path}: {len(text)} characters")
        if name == "detail":
            ours = (re.sub(r"^- |\*\*", "", line) for line in lines)
            wrong += [
                f"{path}: {found!r} in {line[:200]!r}" for line in ours if MARK in line and (found := _markup(line))
            ]
    return wrong


def _answer(asked: Json) -> bytes:
    body = msgspec.json.Encoder(decimal_format="number").encode(asked)
    return encode(advise(parse(body, asked["hook"]), True, knowledge(), NoSource(), NOW))


def test_the_request_reaches_the_answer_in_many_places() -> None:
    """Or what follows would have nothing to look at."""
    reached = set()
    for places in (PLACES, NAMES):
        said = [path for path, text in _strings(decoded(_answer(_with("", places)))) if MARK in text]
        reached |= {path.rpartition(".")[2] for path in said}
    assert reached >= {"detail", "description", "reason", "order"}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_a_hostile_text_in_every_string_reaches_the_answer_as_text(text: str) -> None:
    for places in (PLACES, NAMES):
        answer = _answer(_with(text, places))
        assert len(answer) < 150_000
        assert _wrong(decoded(answer)) == []


@settings(examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(text=_texts, places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=6))
@example(text="\u202e05\u202c", places=PLACES)
def test_a_hostile_text_in_some_strings_reaches_the_answer_as_text(text: str, places: list[tuple[Any, ...]]) -> None:
    content = decoded(_answer(_with(text, places)))
    assert _wrong(content) == []
    assert faults(content) == []
    for card in content["cards"]:
        assert EXTENSION in card["extension"]

"""How much goes out: of a changed order, of a detail, and of reasons."""

from __future__ import annotations

import pytest

from cds_service import bounds
from cds_service.cards import fitting
from cds_service.cards.texts import plain
from cds_service.hooks import response
from cds_service.hooks.request import HookRequest, parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.rules.outcome import Reason
from tests.bounded import ENCODER, answer_to, asked_with, order_of, said_by, updates_of, was_judged
from tests.said import said
from tests.scenarios.build import observation

# What goes out ----------------------------------------------------------------------------------------------------


def test_an_order_is_sent_back_changed_up_to_so_many_bytes(knowledge: Knowledge) -> None:
    asked = asked_with()
    assert updates_of(answer_to(asked, knowledge))
    order_of(asked)["note"] = [{"text": "n" * 15_000}] * 6
    assert updates_of(answer_to(asked, knowledge))
    order_of(asked)["note"] = [{"text": "n" * 15_000}] * 7
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert updates_of(answer) == []


def test_control_characters_do_not_go_out_in_a_changed_order(knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["note"] = [{"text": "a\x1b[31mb\nc\x00"}]
    updates = updates_of(answer_to(asked, knowledge))
    assert updates
    assert {update["note"][0]["text"] for update in updates} == {"a[31mb\nc"}


@pytest.mark.parametrize("unseen", ["\u202e", "\u202c", "\u2066", "\u2069", "\x7f", "\x85", "\u2028"], ids=ascii)
def test_what_turns_text_round_does_not_go_out_in_a_changed_order(unseen: str, knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["note"] = [
        {"text": f"as {unseen}said{unseen} before, \u05db\u05d8\u05de\u05d9\u05df\u200f \u20ac"}
    ]
    updates = updates_of(answer_to(asked, knowledge))
    assert updates
    said = {update["note"][0]["text"] for update in updates}
    assert said == {"as said before, \u05db\u05d8\u05de\u05d9\u05df\u200f \u20ac"}


def test_a_text_is_shown_up_to_so_many_characters_with_its_end() -> None:
    assert plain("x" * bounds.SHOWN) == "x" * bounds.SHOWN
    shown = plain("x" * 60_000 + " (running, 2026-11-20)")
    assert len(shown) == bounds.SHOWN
    assert shown.endswith("… (running, 2026-11-20)") or shown.endswith("x (running, 2026-11-20)")


def test_a_detail_has_so_many_words_and_characters_and_names_what_did_not_fit(knowledge: Knowledge) -> None:
    asked = asked_with()
    entries = asked["prefetch"]["bodySize"].setdefault("entry", [])
    for number in range(1_000):
        value = {"valueQuantity": {"value": 50 + number / 100, "code": "kg"}}
        dateless = observation("29463-7", value, "now", 1) | {"id": f"d{number}"}
        del dateless["effectiveDateTime"]
        entries.append({"resource": dateless})
    answer = answer_to(asked, knowledge)
    assert "its date cannot be read" in said_by(answer)
    for card in answer.cards:
        assert len((card.detail or "").split()) <= bounds.WORDS
        assert len(card.detail or "") <= bounds.DETAIL
    assert len(encode(answer)) < 30_000


def test_the_extension_gives_so_many_reasons_of_one_rule() -> None:
    reasons = {Reason("weight", f"reading {number}", "not-placed"): None for number in range(bounds.LINES + 1)}
    assert len(response._shown(dict(list(reasons.items())[: bounds.LINES]), said)) == bounds.LINES
    assert len(response._shown(reasons, said)) == bounds.LINES


def test_a_detail_at_the_bound_is_whole_and_one_word_more_is_left_out() -> None:
    lines = [fitting.bullet(f"word{number}", number, f"short{number}") for number in range(bounds.WORDS // 2)]
    told = fitting.fitted(lines, lambda names, more: f"Also: {more}")
    assert told.count("\n") == len(lines) - 1, "a dash and a word each: as many as there may be"
    told = fitting.fitted([*lines, fitting.bullet("more", 99, "one more")], lambda names, more: f"Also: {more}")
    assert "Also: " in told
    assert "more" not in told.split("Also")[0].replace("word", "")


def test_an_id_that_no_patient_has_is_missing(knowledge: Knowledge) -> None:
    for identifier, kept in (("p" * 300, True), ("p" * 301, False), ("p\u202e1", False), ("p\n1", False)):
        asked = asked_with()
        asked["context"]["patientId"] = identifier
        request: HookRequest = parse(ENCODER.encode(asked), "order-sign")
        assert (request.patient_id is not None) is kept
        assert identifier.encode() not in encode(answer_to(asked, knowledge)) or kept

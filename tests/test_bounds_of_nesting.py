"""How many values and levels of JSON are read of a request, and what becomes of the rest."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from cds_service import bounds
from cds_service.fhir import lenient
from cds_service.hooks.errors import TooLarge
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from tests.bounded import ENCODER, answer_to, asked_with, order_of, said_by, updates_of, was_judged
from tests.timing import least


@pytest.fixture
def short_switches() -> Iterator[None]:
    """Threads take turns as they do in a worker."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


# Values and nesting -----------------------------------------------------------------------------------------------


def test_json_is_decoded_up_to_so_many_values() -> None:
    for number, too_much in ((bounds.VALUES - 1, False), (bounds.VALUES, True)):
        assert bounds.holds_too_much(b"[" + b"0," * number + b"0]") is too_much


def test_of_a_request_with_too_many_values_the_beginning_is_read() -> None:
    """It is cut at a comma or behind a bracket, and what was opened is closed."""

    def beginning(members: int) -> bytes:
        return lenient.beginning(b'{"a":[' + b"0," * members + b'0],"b":1}')

    whole = bounds.BEGINNING - 6  # a string, two brackets, another string, a comma and the end's bracket
    assert beginning(whole).endswith(b'0],"b":1}')
    assert beginning(bounds.BEGINNING + 1) == b'{"a":[' + b"0," * (bounds.BEGINNING - 3) + b"0]}"
    assert lenient.beginning(b"[" * (bounds.BEGINNING + 9)) == b"[" * (bounds.BEGINNING + 1) + b"]" * (
        bounds.BEGINNING + 1
    )


def _flooded(place: str) -> bytes:
    """The request with five million empty objects somewhere."""
    asked = asked_with()
    orders = asked["context"]["draftOrders"]["entry"]
    if place == "before the context":
        asked = {"other": 0} | asked
    elif place == "in the context":
        asked["context"]["other"] = 0
    elif place == "in the second draft":
        orders.append({"resource": orders[0]["resource"] | {"extension": 0}})
    elif place == "in the prefetch":
        asked["prefetch"]["more"] = {"resourceType": "Bundle", "entry": 0}
    else:
        asked["other"] = 0
    many = b"[" + b",".join([b"{}"] * 5_000_000) + b"]"
    return re.sub(rb'"(other|extension|entry)":0', lambda found: found[0][:-1] + many, ENCODER.encode(asked), count=1)


@pytest.mark.parametrize(
    ("place", "says"),
    {
        "in the context": "the prefetch has more than 1000000 values and was not read",
        "in the second draft": "what the others are is not known",
        "in the prefetch": "the prefetch has more than 1000000 values and was not read",
        "at the end": "the prefetch has more than 1000000 values and was not read",
    }.items(),
)
def test_the_order_before_a_flood_of_values_is_judged(place: str, says: str, knowledge: Knowledge) -> None:
    answer = answer_to(_flooded(place), knowledge)
    assert was_judged(answer)
    assert says in said_by(answer)
    assert ("what the others are" in said_by(answer)) is (says == "what the others are is not known")


def test_a_context_behind_a_flood_of_values_is_not_looked_for() -> None:
    with pytest.raises(TooLarge):
        parse(_flooded("before the context"), "order-sign")


@pytest.mark.timing
@pytest.mark.parametrize("place", ["in the context", "in the second draft", "in the prefetch", "at the end"])
def test_a_flood_of_values_holds_up_no_other_order(place: str, short_switches: None) -> None:
    body = _flooded(place)

    def longest_wait() -> float:
        waits, is_over = [0.0], Event()

        def other() -> None:
            last = time.perf_counter()
            while not is_over.is_set():
                time.sleep(0.0005)
                waits.append(time.perf_counter() - last)
                last = time.perf_counter()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(other)
            parse(body, "order-sign")
            is_over.set()
        return max(waits)

    assert least(longest_wait, 3) < 0.05


@pytest.mark.parametrize("filler", [b"{}", b"[]", b"0.5", b'"x"', b'{"resource":{}}', b"null"])
def test_of_a_body_of_very_many_entries_the_first_drafts_are_judged(filler: bytes, knowledge: Knowledge) -> None:
    asked = asked_with()
    entry = ENCODER.encode(asked["context"]["draftOrders"]["entry"][0])
    many = b",".join([entry] + [filler] * 1_100_000)
    body = ENCODER.encode(asked).replace(b"[" + entry + b"]", b"[" + many + b"]")
    assert len(body) > 1_000_000
    started = time.thread_time()
    answer = answer_to(body, knowledge)
    assert time.thread_time() - started < 2
    assert was_judged(answer)
    assert "what the others are is not known" in said_by(answer)


def test_a_resource_is_read_up_to_so_many_values(knowledge: Knowledge) -> None:
    def read(number: int) -> lenient.Read:
        filled = b'{"resourceType":"Condition","code":"in words","x":[' + b"0," * number + b"0]}"
        return lenient.decode(filled)

    room = bounds.RESOURCE_VALUES - 4  # two brackets, and the commas between the members
    assert read(room).resource is not None
    assert read(room + 1) is lenient.TOO_MUCH


def test_of_drafts_with_too_many_values_the_first_are_judged(knowledge: Knowledge) -> None:
    asked = asked_with()
    entries = asked["context"]["draftOrders"]["entry"]
    other = {"resourceType": "NutritionOrder", "id": "n1", "status": 5, "x": [0] * bounds.BEGINNING}
    assert was_judged(answer_to(asked, knowledge))
    entries.append({"resource": other})
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert "what the others are is not known" in said_by(answer)
    entries.reverse()
    assert "what the others are is not known" in said_by(answer_to(asked, knowledge))


@pytest.mark.parametrize("filler", [b"{}", b"[]", b"0.5", b'{"resource":{"resourceType":"Condition"}}'])
def test_a_prefetch_of_very_many_values_is_not_read_and_the_order_is_judged(
    filler: bytes, knowledge: Knowledge
) -> None:
    body = ENCODER.encode(asked_with())
    page = b'{"resourceType":"Bundle","entry":[' + b",".join([filler] * 1_100_000) + b"]}"
    answer = answer_to(body.replace(b'"prefetch":{', b'"prefetch":{"conditions":' + page + b",", 1), knowledge)
    assert any(card.source.topic and card.source.topic.code.startswith("rate-") for card in answer.cards)
    assert "the prefetch has more than 1000000 values and was not read" in said_by(answer)


def test_one_draft_of_very_many_values_is_said(knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["status"] = 5  # so that it is no sound resource
    order_of(asked)["extension"] = "MANY"
    body = ENCODER.encode(asked).replace(b'"MANY"', b"[" + b",".join([b"{}"] * 1_100_000) + b"]")
    assert "what the others are is not known" in said_by(answer_to(body, knowledge))


def _deep(levels: int) -> bytes:
    return b'{"extension":[' * levels + b"]}" * levels


@pytest.mark.parametrize("levels", [12_000, 20_000])
def test_what_is_nested_too_deep_is_left_out_and_the_order_is_judged(levels: int, knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["extension"] = ["DEEP"]
    answer = answer_to(ENCODER.encode(asked).replace(b'"DEEP"', _deep(levels)), knowledge)
    assert was_judged(answer)
    assert "nested deeper than 64 levels was not read" in said_by(answer)
    assert updates_of(answer) == []


def test_what_is_nested_too_deep_behind_a_large_chart_does_not_cost_the_order(knowledge: Knowledge) -> None:
    """So far behind that it is not found: the prefetch is not read then."""
    asked = asked_with()
    entry = {"resource": {"resourceType": "Observation", "code": {"text": "a"}}}
    asked["prefetch"]["others"] = {"resourceType": "Bundle", "entry": [entry] * 30_000}
    answer = answer_to(ENCODER.encode(asked)[:-1] + b',"x":' + _deep(3_000) + b"}", knowledge)
    assert was_judged(answer)
    assert "the prefetch could not be read" in said_by(answer)


def test_of_json_that_is_nested_too_deep_so_many_levels_are_kept() -> None:
    at, above = (lenient.without_depths(b"[" * levels + b"]" * levels) for levels in (64, 65))
    assert at == b"[" * 64 + b"]" * 64
    assert above == b"[" * 64 + b'"nested too deep"' + b"]" * 64
    quoted = b'["[[[", "\\\\", "\\"]", {"a": 1}]'
    assert lenient.without_depths(quoted) == quoted

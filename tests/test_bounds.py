"""Each bound of docs/bounds.md, at it and one above: what is over it is left out and said, and breaks nothing."""

from __future__ import annotations

import copy
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Event
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from cds_service import bounds
from cds_service.advise import advise
from cds_service.cards import fitting
from cds_service.cards.model import Response
from cds_service.cards.texts import plain
from cds_service.fhir import bundles, datatypes, lenient, resources
from cds_service.fhir.source import Answer, NoSource
from cds_service.hooks import response
from cds_service.hooks.errors import TooLarge
from cds_service.hooks.request import HookRequest, parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.rules.outcome import Reason
from cds_service.scenarios.expected import endings, judge
from tests import hostile
from tests.fhir.test_costs import Asked
from tests.hooks.client import client
from tests.said import said
from tests.scenarios.build import NOW, hook_request, observation
from tests.timing import least

Json = dict[str, Any]
_ENCODER = msgspec.json.Encoder(decimal_format="number")
SAID = "could-not-check"


@pytest.fixture
def short_switches() -> Iterator[None]:
    """Threads take turns as they do in a worker."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


def _asked(**changes: Any) -> Json:
    return hook_request({"order": {"rate": "1.2 mg/kg/h"}, **changes})


def _order(asked: Json) -> Json:
    order: Json = asked["context"]["draftOrders"]["entry"][0]["resource"]
    return order


def _answer(asked: Json | bytes, knowledge: Knowledge) -> Response:
    body = asked if isinstance(asked, bytes) else _ENCODER.encode(asked)
    hook = "order-sign"
    answer = advise(parse(body, hook), True, knowledge, NoSource(), NOW)
    encode(answer)
    return answer


def _said(answer: Response) -> str:
    return "\n".join(
        card.detail or "" for card in answer.cards if card.source.topic and card.source.topic.code == SAID
    )


def _judged(answer: Response) -> bool:
    return any(card.source.topic and card.source.topic.code == "rate-exceeds-ceiling" for card in answer.cards)


def _updates(answer: Response) -> list[Any]:
    actions = [action for card in answer.cards for each in card.suggestions or () for action in each.actions]
    return [action.resource for action in actions if action.type == "update"]


def test_every_string_list_and_whole_number_that_is_read_has_its_bound() -> None:
    """A new field has one of the types of cds_service/fhir/resources.py, or this fails."""
    seen: set[type] = set()

    def check(info: inspect.Type, where: str) -> None:
        if isinstance(info, inspect.StructType) and info.cls not in seen:
            seen.add(info.cls)
            for field in info.fields:
                check(field.type, f"{info.cls.__name__}.{field.encode_name}")
        elif isinstance(info, inspect.UnionType):
            for each in info.types:
                check(each, where)
        elif isinstance(info, inspect.VarTupleType):
            assert info.max_length == bounds.MEMBERS, where
            check(info.item_type, f"{where}[]")
        elif isinstance(info, inspect.StrType) and not where.endswith(".id"):
            assert info.max_length in (bounds.CHARACTERS, bounds.PROSE), where
        elif isinstance(info, inspect.IntType):
            assert info.le is not None, where

    check(inspect.type_info(resources.AnyResource), "")
    assert len(seen) > 30


# Numbers ----------------------------------------------------------------------------------------------------------


def _number_places() -> list[tuple[str, ...]]:
    """The names of every number of a dosage that is read, integers and decimals."""
    found: list[tuple[str, ...]] = [("sequence",)]
    for field in inspect.type_info(datatypes.TimingRepeat).fields:  # type: ignore[attr-defined]
        kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        if any(isinstance(kind, (inspect.IntType, inspect.DecimalType)) for kind in kinds):
            found.append(("timing", "repeat", field.encode_name))
    return found


EXTREME = (
    "1e-9999999",
    "1e999999999999",
    "-1e999999999999",
    "1e-999999999999",
    "1E+41",
    "9" * 41,
    "9" * 5_000,
    "0e-99",
)


@pytest.mark.parametrize("number", EXTREME, ids=lambda number: number[:20])
@pytest.mark.parametrize("place", _number_places(), ids=".".join)
def test_a_number_beyond_its_bound_is_named_at_once_and_the_rest_is_judged(
    place: tuple[str, ...], number: str, knowledge: Knowledge
) -> None:
    asked = _asked()
    here = _order(asked)["dosageInstruction"][0]
    for part in place[:-1]:
        here = here.setdefault(part, {})
    here[place[-1]] = "THE NUMBER"
    body = _ENCODER.encode(asked).replace(b'"THE NUMBER"', number.encode())
    started = time.thread_time()
    answer = _answer(body, knowledge)
    assert time.thread_time() - started < 0.5
    assert f"{'.'.join(place)} could not be read" in _said(answer)
    assert _judged(answer)
    assert _updates(answer) == []


@pytest.mark.parametrize("number", EXTREME, ids=lambda number: number[:20])
@pytest.mark.parametrize("element", ["valueInteger", "valueDecimal", "valueUnsignedInt", "unknown"])
def test_a_number_beyond_its_bound_is_not_sent_back_from_where_it_is_not_read(
    element: str, number: str, knowledge: Knowledge
) -> None:
    asked = _asked()
    _order(asked)["extension"] = [{"url": "urn:x", element: "THE NUMBER"}]
    answer = _answer(_ENCODER.encode(asked).replace(b'"THE NUMBER"', number.encode()), knowledge)
    assert _judged(answer)
    assert number.encode() not in encode(answer)


@pytest.mark.parametrize(
    ("number", "is_one"),
    [("9" * 40, True), ("9" * 41, False), ("1e40", True), ("1e41", False), ("1e-40", True), ("1e-41", False),
     ("0." + "3" * 40, True), ("0." + "3" * 41, False), ("NaN", False), ("Infinity", False)],
)  # fmt: skip
def test_a_figure_has_at_most_so_many_digits_and_places(number: str, is_one: bool) -> None:
    assert bounds.is_figure(Decimal(number)) is is_one


def test_very_many_whole_numbers_of_thousands_of_digits_cost_no_more_than_others(knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["extension"] = [{"url": "urn:x", "valueInteger": "MANY"}]
    body = _ENCODER.encode(asked).replace(b'"MANY"', b"[" + b",".join([b"9" * 4_000] * 1_000) + b"]")
    started = time.thread_time()
    answer = _answer(body, knowledge)
    assert time.thread_time() - started < 1
    assert _judged(answer)


# Strings and lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_string_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = _asked()
    text = "give slowly " * 2_000
    _order(asked)["dosageInstruction"][0]["patientInstruction"] = text[: bounds.PROSE + more]
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert ("patientInstruction has more than 20000 characters; the rest was not read" in _said(answer)) is cut
    assert (_updates(answer) == []) is cut


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_name_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["medicationCodeableConcept"]["text"] = ("ketamine " * 300)[: bounds.CHARACTERS + more]
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert (
        "medicationCodeableConcept.text has more than 2000 characters; the rest was not read" in _said(answer)
    ) is cut
    assert (_updates(answer) == []) is cut


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_list_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["supportingInformation"] = [{"reference": "Observation/w"}] * (bounds.MEMBERS + more)
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert ("supportingInformation has more than 200 members; the rest was not read" in _said(answer)) is cut
    assert (_updates(answer) == []) is cut


def test_a_drug_whose_codings_were_not_all_read_may_be_ketamine(knowledge: Knowledge) -> None:
    asked = _asked(order={"drug": "7052 morphine", "dose": "5 mg"})
    coding = _order(asked)["medicationCodeableConcept"]["coding"]
    assert _answer(asked, knowledge).cards == []
    coding *= bounds.MEMBERS + 1
    assert "whether it is ketamine is not known" in _said(_answer(asked, knowledge))


@pytest.mark.parametrize("where", ["contained", "sibling"])
def test_a_medication_whose_ingredients_were_not_all_read_may_be_ketamine(where: str, knowledge: Knowledge) -> None:
    asked = _asked()
    order = _order(asked)
    ketamine = {"itemCodeableConcept": order.pop("medicationCodeableConcept")}
    ingredients = [{"itemCodeableConcept": {"text": "glycine"}}] * bounds.MEMBERS
    medication = {"resourceType": "Medication", "id": "m", "ingredient": [*ingredients, ketamine]}
    if where == "contained":
        order |= {"contained": [medication], "medicationReference": {"reference": "#m"}}
    else:
        order["medicationReference"] = {"reference": "Medication/m"}
        asked["context"]["draftOrders"]["entry"].append({"resource": medication})
    answer = _answer(asked, knowledge)
    assert "whether it is ketamine is not known" in _said(answer)
    medication["ingredient"] = [ketamine, *ingredients]
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert "may have more codings or ingredients than were read" in _said(answer)
    assert where == "sibling" or _updates(answer) == []


def test_a_name_that_stands_behind_the_bound_of_a_text_may_be_ketamine(knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["medicationCodeableConcept"] = {"text": "x" * bounds.CHARACTERS + " ketamine"}
    assert "whether it is ketamine is not known" in _said(_answer(asked, knowledge))


def test_a_list_of_the_chart_with_a_resource_that_was_cut_is_not_complete(knowledge: Knowledge) -> None:
    asked = _asked()
    bundle = asked["prefetch"]["conditions"]
    condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p1"}}
    for number, says in ((bounds.MEMBERS, False), (bounds.MEMBERS + 1, True)):
        codings = [{"system": "urn:local", "code": str(i)} for i in range(number)]
        bundle["entry"] = [{"resource": condition | {"code": {"coding": codings}}}]
        said = _said(_answer(asked, knowledge))
        assert ("problem list: one of its entries holds more than is read" in said) is says


# Entries, drafts, keys --------------------------------------------------------------------------------------------


def test_prefetched_entries_are_read_up_to_their_bound(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked()
    sent = sum(len(page.get("entry", [])) for page in asked["prefetch"].values() if page)
    reads = sum(1 for page in asked["prefetch"].values() if page and page["resourceType"] != "Bundle")
    monkeypatch.setattr(bounds, "ENTRIES", sent + reads)
    assert "entries were read" not in _said(_answer(asked, knowledge))
    monkeypatch.setattr(bounds, "ENTRIES", sent + reads - 1)
    assert "entries were read" in _said(_answer(asked, knowledge))


@pytest.mark.parametrize("read", [bundles.page, bundles.page_to_read])
def test_a_page_has_at_most_so_many_entries(read: Callable[[bytes], bundles.Page]) -> None:
    for number in (bounds.ENTRIES, bounds.ENTRIES + 1):
        page = read(b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * number) + b"]}")
        assert len(page.items) == bounds.ENTRIES
        assert (page.cut is not None) is (number > bounds.ENTRIES)


def test_a_page_of_a_fhir_server_with_more_entries_leaves_a_gap(knowledge: Knowledge) -> None:
    asked = _asked()
    del asked["prefetch"]["conditions"]
    page = bundles.page_to_read(b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * 10_001) + b"]}")

    class Ehr:
        why_not: str | None = None

        def fetch(self, urls: dict[str, str]) -> dict[str, Answer]:
            return {key: Answer([page]) for key in urls}

    answer = advise(parse(_ENCODER.encode(asked), "order-sign"), True, knowledge, Ehr(), NOW)
    assert "problem list: only the first 10000 of its 10001 entries were read" in _said(answer)


def _with_drafts(number: int, kind: str) -> Json:
    asked = _asked()
    other = {"resourceType": kind, "status": "draft", "intent": "order", "subject": {"reference": "Patient/p1"}}
    if kind == "MedicationRequest":
        other["medicationCodeableConcept"] = {"text": "morphine"}
    entries = asked["context"]["draftOrders"]["entry"]
    entries[:0] = [{"resource": copy.copy(other)} for _ in range(number)]
    return asked


@pytest.mark.parametrize("kind", ["MedicationRequest", "ServiceRequest", "NutritionOrder"])
def test_drafts_are_read_up_to_their_bound_and_ketamine_may_be_among_the_rest(
    kind: str, knowledge: Knowledge
) -> None:
    last = _answer(_with_drafts(bounds.DRAFTS - 1, kind), knowledge)
    assert _judged(last)
    assert "what the others are is not known" not in _said(last)
    behind = _answer(_with_drafts(bounds.DRAFTS, kind), knowledge)
    assert not _judged(behind)
    assert "what the others are is not known" in _said(behind)


def test_keys_of_the_prefetch_are_read_up_to_their_bound(knowledge: Knowledge) -> None:
    for number, says in ((bounds.KEYS, False), (bounds.KEYS + 1, True)):
        asked = _asked()
        sent = len(asked["prefetch"])
        asked["prefetch"] = asked["prefetch"] | {f"other{i}": None for i in range(number - sent)}
        answer = _answer(asked, knowledge)
        assert _judged(answer)
        assert (f"only the first {bounds.KEYS} of {number} keys of the prefetch were read" in _said(answer)) is says


def test_so_many_doubtful_weights_are_tried_and_with_one_more_none_is_believed(knowledge: Knowledge) -> None:
    for doubtful, is_judged in ((bounds.WEIGHTS, True), (bounds.WEIGHTS + 1, False)):
        weights = [{"value": "300 kg", "when": f"{number} hours ago"} for number in range(1, doubtful + 1)]
        weights.append({"value": "70 kg", "when": f"{doubtful + 1} hours ago"})
        answer = _answer(hook_request({"order": {"rate": "140 mg/h"}, "patient": {"weight": weights}}), knowledge)
        assert _judged(answer) is is_judged


def test_so_many_doses_of_a_drug_are_added_up_and_with_one_more_the_sum_is_not_told(knowledge: Knowledge) -> None:
    for parts, ending in ((bounds.PARTS, "fired"), (bounds.PARTS + 1, "could-not-tell")):
        others = [{"drug": "ketamine", "rate": "0.01 mg/kg/h"}] * (parts - 1)
        made = judge({"order": {"rate": "0.1 mg/kg/h"}, "patient": {"medicines": others}}, knowledge)
        assert [each.status for each in endings(made) if each.rule == "dose-given-so-far"] == [ending]


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
    asked = _asked()
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
    return re.sub(
        rb'"(other|extension|entry)":0', lambda found: found[0][:-1] + many, _ENCODER.encode(asked), count=1
    )


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
    answer = _answer(_flooded(place), knowledge)
    assert _judged(answer)
    assert says in _said(answer)
    assert ("what the others are" in _said(answer)) is (says == "what the others are is not known")


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
    asked = _asked()
    entry = _ENCODER.encode(asked["context"]["draftOrders"]["entry"][0])
    many = b",".join([entry] + [filler] * 1_100_000)
    body = _ENCODER.encode(asked).replace(b"[" + entry + b"]", b"[" + many + b"]")
    assert len(body) > 1_000_000
    started = time.thread_time()
    answer = _answer(body, knowledge)
    assert time.thread_time() - started < 2
    assert _judged(answer)
    assert "what the others are is not known" in _said(answer)


def test_a_resource_is_read_up_to_so_many_values(knowledge: Knowledge) -> None:
    def read(number: int) -> lenient.Read:
        filled = b'{"resourceType":"Condition","code":"in words","x":[' + b"0," * number + b"0]}"
        return lenient.decode(filled)

    room = bounds.RESOURCE_VALUES - 4  # two brackets, and the commas between the members
    assert read(room).resource is not None
    assert read(room + 1) is lenient.TOO_MUCH


def test_of_drafts_with_too_many_values_the_first_are_judged(knowledge: Knowledge) -> None:
    asked = _asked()
    entries = asked["context"]["draftOrders"]["entry"]
    other = {"resourceType": "NutritionOrder", "id": "n1", "status": 5, "x": [0] * bounds.BEGINNING}
    assert _judged(_answer(asked, knowledge))
    entries.append({"resource": other})
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert "what the others are is not known" in _said(answer)
    entries.reverse()
    assert "what the others are is not known" in _said(_answer(asked, knowledge))


@pytest.mark.parametrize("filler", [b"{}", b"[]", b"0.5", b'{"resource":{"resourceType":"Condition"}}'])
def test_a_prefetch_of_very_many_values_is_not_read_and_the_order_is_judged(
    filler: bytes, knowledge: Knowledge
) -> None:
    body = _ENCODER.encode(_asked())
    page = b'{"resourceType":"Bundle","entry":[' + b",".join([filler] * 1_100_000) + b"]}"
    answer = _answer(body.replace(b'"prefetch":{', b'"prefetch":{"conditions":' + page + b",", 1), knowledge)
    assert any(card.source.topic and card.source.topic.code.startswith("rate-") for card in answer.cards)
    assert "the prefetch has more than 1000000 values and was not read" in _said(answer)


def test_one_draft_of_very_many_values_is_said(knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["status"] = 5  # so that it is no sound resource
    _order(asked)["extension"] = "MANY"
    body = _ENCODER.encode(asked).replace(b'"MANY"', b"[" + b",".join([b"{}"] * 1_100_000) + b"]")
    assert "what the others are is not known" in _said(_answer(body, knowledge))


def _deep(levels: int) -> bytes:
    return b'{"extension":[' * levels + b"]}" * levels


@pytest.mark.parametrize("levels", [12_000, 20_000])
def test_what_is_nested_too_deep_is_left_out_and_the_order_is_judged(levels: int, knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["extension"] = ["DEEP"]
    answer = _answer(_ENCODER.encode(asked).replace(b'"DEEP"', _deep(levels)), knowledge)
    assert _judged(answer)
    assert "nested deeper than 64 levels was not read" in _said(answer)
    assert _updates(answer) == []


def test_of_json_that_is_nested_too_deep_so_many_levels_are_kept() -> None:
    at, above = (lenient.without_depths(b"[" * levels + b"]" * levels) for levels in (64, 65))
    assert at == b"[" * 64 + b"]" * 64
    assert above == b"[" * 64 + b'"nested too deep"' + b"]" * 64
    quoted = b'["[[[", "\\\\", "\\"]", {"a": 1}]'
    assert lenient.without_depths(quoted) == quoted


# What goes out ----------------------------------------------------------------------------------------------------


def test_an_order_is_sent_back_changed_up_to_so_many_bytes(knowledge: Knowledge) -> None:
    asked = _asked()
    assert _updates(_answer(asked, knowledge))
    _order(asked)["note"] = [{"text": "n" * 15_000}] * 6
    assert _updates(_answer(asked, knowledge))
    _order(asked)["note"] = [{"text": "n" * 15_000}] * 7
    answer = _answer(asked, knowledge)
    assert _judged(answer)
    assert _updates(answer) == []


def test_control_characters_do_not_go_out_in_a_changed_order(knowledge: Knowledge) -> None:
    asked = _asked()
    _order(asked)["note"] = [{"text": "a\x1b[31mb\nc\x00"}]
    updates = _updates(_answer(asked, knowledge))
    assert updates
    assert {update["note"][0]["text"] for update in updates} == {"a[31mb\nc"}


def test_a_text_is_shown_up_to_so_many_characters_with_its_end() -> None:
    assert plain("x" * bounds.SHOWN) == "x" * bounds.SHOWN
    shown = plain("x" * 60_000 + " (running, 2026-11-20)")
    assert len(shown) == bounds.SHOWN
    assert shown.endswith("… (running, 2026-11-20)") or shown.endswith("x (running, 2026-11-20)")


def test_a_detail_has_so_many_words_and_characters_and_names_what_did_not_fit(knowledge: Knowledge) -> None:
    asked = _asked()
    entries = asked["prefetch"]["bodySize"].setdefault("entry", [])
    for number in range(1_000):
        value = {"valueQuantity": {"value": 50 + number / 100, "code": "kg"}}
        dateless = observation("29463-7", value, "now", 1) | {"id": f"d{number}"}
        del dateless["effectiveDateTime"]
        entries.append({"resource": dateless})
    answer = _answer(asked, knowledge)
    assert "its date cannot be read" in _said(answer)
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
        asked = _asked()
        asked["context"]["patientId"] = identifier
        request: HookRequest = parse(_ENCODER.encode(asked), "order-sign")
        assert (request.patient_id is not None) is kept
        assert identifier.encode() not in encode(_answer(asked, knowledge)) or kept


# References -------------------------------------------------------------------------------------------------------

BASE = "https://ehr.example/fhir"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("Medication/k", "Medication/k"),
        ("Medication/A-z.9", "Medication/A-z.9"),
        (f"Medication/{'k' * 64}", f"Medication/{'k' * 64}"),
        ("Medication/k/_history/2", "Medication/k/_history/2"),
        (f"{BASE}/Medication/k", "Medication/k"),
        *(
            (each, None)
            for each in (
                "$export", "metadata", "Binary/1", "Patient/2", "Medication", "Medication/", "Medication?code=1", "?",
                "Medication/k?x=1", "Medication/k#x", "Medication/k/$validate", "Medication/..", "Medication/.",
                "../Medication/k", "x/Medication/k", "/Medication/k", "Medication/k/", "medication/k",
                "Medication/k k",
                f"Medication/{'k' * 65}", "Medication/k/_history/", "Medication/k/_history/..", "Medication/k%2f..",
                "Medication/é", "Medication/k\n", "https://elsewhere.example/fhir/Medication/k", f"{BASE}/$export",
                f"{BASE}/x/Medication/k", f"{BASE}x/Medication/k", "urn:uuid:1", "Medication/k|1",
            )
        ),
    ],
)  # fmt: skip
def test_only_a_read_of_a_medication_is_fetched(reference: str, url: str | None, knowledge: Knowledge) -> None:
    asked = _asked() | {"fhirServer": BASE}
    order = _order(asked)
    del order["medicationCodeableConcept"]
    order["medicationReference"] = {"reference": reference}
    fetched: list[str] = []

    class Ehr:
        why_not: str | None = None

        def fetch(self, urls: dict[str, str]) -> dict[str, Answer]:
            fetched.extend(urls.values())
            return {key: Answer(gap="the FHIR server answered 404") for key in urls}

    answer = advise(parse(_ENCODER.encode(asked), "order-sign"), True, knowledge, Ehr(), NOW)
    assert fetched[: 1 if url else 0] == ([url] if url else [])
    assert "Medication" not in "".join(fetched[1 if url else 0 :]).replace("Medication?", "").replace(
        "MedicationR", ""
    )
    assert "whether it is ketamine is not known" in _said(answer)


# Over HTTP --------------------------------------------------------------------------------------------------------


HOSTILE = hostile.bodies(_asked())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_answered_at_once_and_in_few_words(name: str, knowledge: Knowledge) -> None:
    http = client(knowledge)
    started = time.thread_time()
    answer = http.post("/cds-services/ketamine-order-sign", data=HOSTILE[name], content_type="application/json")
    assert time.thread_time() - started < 2
    assert len(answer.data) < 300_000
    if answer.status_code == 400:
        assert answer.get_json()["resourceType"] == "OperationOutcome"
    else:
        topics = [card["source"]["topic"]["code"] for card in answer.get_json()["cards"]]
        assert SAID in topics or (topics and name == hostile.READ_TO_THE_END)


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_medicines_of_a_chart_are_fetched_and_the_rest_are_not_known(more: int, knowledge: Knowledge) -> None:
    asked = _asked()
    entries = asked["prefetch"]["medications"]["entry"]
    for number in range(bounds.MEDICATIONS + more):
        order = {"resourceType": "MedicationRequest", "id": f"m{number}", "status": "active", "intent": "order"}
        order |= {
            "subject": {"reference": "Patient/p1"},
            "medicationReference": {"reference": f"Medication/{number}"},
        }
        entries.append({"resource": order})
    server = Asked()
    answer = advise(parse(_ENCODER.encode(asked), "order-sign"), True, knowledge, server, NOW)
    assert len({url for url in server.urls if url.startswith("Medication/")}) == bounds.MEDICATIONS
    assert _judged(answer)
    assert _said(answer)

"""Each bound of docs/bounds.md, at it and one above: what is over it is left out and said, and breaks nothing."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec import inspect

from cds_service import bounds
from cds_service.advise import advise
from cds_service.fhir import bundles, datatypes, resources
from cds_service.fhir.source import Answer
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.scenarios.expected import endings, judge
from cds_service.settings import Settings
from tests import hostile
from tests.bounded import ENCODER, SAID, Json, answer_to, asked_with, order_of, said_by, updates_of, was_judged
from tests.fhir.test_costs import Asked
from tests.hooks.client import client
from tests.scenarios.build import NOW, hook_request


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
    asked = asked_with()
    here = order_of(asked)["dosageInstruction"][0]
    for part in place[:-1]:
        here = here.setdefault(part, {})
    here[place[-1]] = "THE NUMBER"
    body = ENCODER.encode(asked).replace(b'"THE NUMBER"', number.encode())
    started = time.thread_time()
    answer = answer_to(body, knowledge)
    assert time.thread_time() - started < 0.5
    assert f"{'.'.join(place)} could not be read" in said_by(answer)
    assert was_judged(answer)
    assert updates_of(answer) == []


@pytest.mark.parametrize("number", EXTREME, ids=lambda number: number[:20])
@pytest.mark.parametrize("element", ["valueInteger", "valueDecimal", "valueUnsignedInt", "unknown"])
def test_a_number_beyond_its_bound_is_not_sent_back_from_where_it_is_not_read(
    element: str, number: str, knowledge: Knowledge
) -> None:
    asked = asked_with()
    order_of(asked)["extension"] = [{"url": "urn:x", element: "THE NUMBER"}]
    answer = answer_to(ENCODER.encode(asked).replace(b'"THE NUMBER"', number.encode()), knowledge)
    assert was_judged(answer)
    assert number.encode() not in encode(answer)


@pytest.mark.parametrize(
    ("number", "is_one"),
    [("9" * 40, True), ("9" * 41, False), ("1e40", True), ("1e41", False), ("1e-40", True), ("1e-41", False),
     ("0." + "3" * 40, True), ("0." + "3" * 41, False), ("NaN", False), ("Infinity", False)],
)  # fmt: skip
def test_a_figure_has_at_most_so_many_digits_and_places(number: str, is_one: bool) -> None:
    assert bounds.is_figure(Decimal(number)) is is_one


def test_very_many_whole_numbers_of_thousands_of_digits_cost_no_more_than_others(knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["extension"] = [{"url": "urn:x", "valueInteger": "MANY"}]
    body = ENCODER.encode(asked).replace(b'"MANY"', b"[" + b",".join([b"9" * 4_000] * 1_000) + b"]")
    started = time.thread_time()
    answer = answer_to(body, knowledge)
    assert time.thread_time() - started < 1
    assert was_judged(answer)


# Strings and lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_string_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = asked_with()
    text = "give slowly " * 2_000
    order_of(asked)["dosageInstruction"][0]["patientInstruction"] = text[: bounds.PROSE + more]
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert ("patientInstruction has more than 20000 characters; the rest was not read" in said_by(answer)) is cut
    assert (updates_of(answer) == []) is cut


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_name_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["medicationCodeableConcept"]["text"] = ("ketamine " * 300)[: bounds.CHARACTERS + more]
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert (
        "medicationCodeableConcept.text has more than 2000 characters; the rest was not read" in said_by(answer)
    ) is cut
    assert (updates_of(answer) == []) is cut


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_list_is_read_up_to_its_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["supportingInformation"] = [{"reference": "Observation/w"}] * (bounds.MEMBERS + more)
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert ("supportingInformation has more than 200 members; the rest was not read" in said_by(answer)) is cut
    assert (updates_of(answer) == []) is cut


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_instructions_are_read_up_to_their_bound(more: int, cut: bool, knowledge: Knowledge) -> None:
    asked = asked_with(order={"steps": [{"rate": "1.2 mg/kg/h"}] * (bounds.STEPS + more)})
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert ("only the first 25 of 26 steps were read" in said_by(answer)) is cut


def test_a_drug_whose_codings_were_not_all_read_may_be_ketamine(knowledge: Knowledge) -> None:
    asked = asked_with(order={"drug": "7052 morphine", "dose": "5 mg"})
    coding = order_of(asked)["medicationCodeableConcept"]["coding"]
    assert answer_to(asked, knowledge).cards == []
    coding *= bounds.MEMBERS + 1
    assert "whether it is ketamine is not known" in said_by(answer_to(asked, knowledge))


@pytest.mark.parametrize("where", ["contained", "sibling"])
def test_a_medication_whose_ingredients_were_not_all_read_may_be_ketamine(where: str, knowledge: Knowledge) -> None:
    asked = asked_with()
    order = order_of(asked)
    ketamine = {"itemCodeableConcept": order.pop("medicationCodeableConcept")}
    ingredients = [{"itemCodeableConcept": {"text": "glycine"}}] * bounds.MEMBERS
    medication = {"resourceType": "Medication", "id": "m", "ingredient": [*ingredients, ketamine]}
    if where == "contained":
        order |= {"contained": [medication], "medicationReference": {"reference": "#m"}}
    else:
        order["medicationReference"] = {"reference": "Medication/m"}
        asked["context"]["draftOrders"]["entry"].append({"resource": medication})
    answer = answer_to(asked, knowledge)
    assert "whether it is ketamine is not known" in said_by(answer)
    medication["ingredient"] = [ketamine, *ingredients]
    answer = answer_to(asked, knowledge)
    assert was_judged(answer)
    assert "may have more codings or ingredients than were read" in said_by(answer)
    assert where == "sibling" or updates_of(answer) == []


def test_a_name_that_stands_behind_the_bound_of_a_text_may_be_ketamine(knowledge: Knowledge) -> None:
    asked = asked_with()
    order_of(asked)["medicationCodeableConcept"] = {"text": "x" * bounds.CHARACTERS + " ketamine"}
    assert "whether it is ketamine is not known" in said_by(answer_to(asked, knowledge))


def test_a_list_of_the_chart_with_a_resource_that_was_cut_is_not_complete(knowledge: Knowledge) -> None:
    asked = asked_with()
    bundle = asked["prefetch"]["conditions"]
    condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p1"}}
    for number, says in ((bounds.MEMBERS, False), (bounds.MEMBERS + 1, True)):
        codings = [{"system": "urn:local", "code": str(i)} for i in range(number)]
        bundle["entry"] = [{"resource": condition | {"code": {"coding": codings}}}]
        said = said_by(answer_to(asked, knowledge))
        assert ("problem list: one of its entries holds more than is read" in said) is says


# Entries, drafts, keys --------------------------------------------------------------------------------------------


def test_prefetched_entries_are_read_up_to_their_bound(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_with()
    sent = sum(len(page.get("entry", [])) for page in asked["prefetch"].values() if page)
    reads = sum(1 for page in asked["prefetch"].values() if page and page["resourceType"] != "Bundle")
    monkeypatch.setattr(bounds, "ENTRIES", sent + reads)
    assert "entries were read" not in said_by(answer_to(asked, knowledge))
    monkeypatch.setattr(bounds, "ENTRIES", sent + reads - 1)
    assert "entries were read" in said_by(answer_to(asked, knowledge))


@pytest.mark.parametrize("read", [bundles.page, bundles.page_to_read])
def test_a_page_has_at_most_so_many_entries(read: Callable[[bytes], bundles.Page]) -> None:
    for number in (bounds.ENTRIES, bounds.ENTRIES + 1):
        page = read(b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * number) + b"]}")
        assert len(page.items) == bounds.ENTRIES
        assert (page.cut is not None) is (number > bounds.ENTRIES)


def test_a_page_of_a_fhir_server_with_more_entries_leaves_a_gap(knowledge: Knowledge) -> None:
    asked = asked_with()
    del asked["prefetch"]["conditions"]
    page = bundles.page_to_read(b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * 10_001) + b"]}")

    class Ehr:
        why_not: str | None = None

        def fetch(self, urls: dict[str, str]) -> dict[str, Answer]:
            return {key: Answer([page]) for key in urls}

    answer = advise(parse(ENCODER.encode(asked), "order-sign"), True, knowledge, Ehr(), NOW)
    assert "problem list: only the first 10000 of its 10001 entries were read" in said_by(answer)


def _with_drafts(number: int, kind: str) -> Json:
    asked = asked_with()
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
    last = answer_to(_with_drafts(bounds.DRAFTS - 1, kind), knowledge)
    assert was_judged(last)
    assert "what the others are is not known" not in said_by(last)
    behind = answer_to(_with_drafts(bounds.DRAFTS, kind), knowledge)
    assert not was_judged(behind)
    assert "what the others are is not known" in said_by(behind)


def test_keys_of_the_prefetch_are_read_up_to_their_bound(knowledge: Knowledge) -> None:
    for number, says in ((bounds.KEYS, False), (bounds.KEYS + 1, True)):
        asked = asked_with()
        sent = len(asked["prefetch"])
        asked["prefetch"] = asked["prefetch"] | {f"other{i}": None for i in range(number - sent)}
        answer = answer_to(asked, knowledge)
        assert was_judged(answer)
        assert (f"only the first {bounds.KEYS} of {number} keys of the prefetch were read" in said_by(answer)) is says


def test_so_many_doubtful_weights_are_tried_and_with_one_more_none_is_believed(knowledge: Knowledge) -> None:
    for doubtful, is_judged in ((bounds.WEIGHTS, True), (bounds.WEIGHTS + 1, False)):
        weights = [{"value": "300 kg", "when": f"{number} hours ago"} for number in range(1, doubtful + 1)]
        weights.append({"value": "70 kg", "when": f"{doubtful + 1} hours ago"})
        answer = answer_to(hook_request({"order": {"rate": "140 mg/h"}, "patient": {"weight": weights}}), knowledge)
        assert was_judged(answer) is is_judged


def test_so_many_doses_of_a_drug_are_added_up_and_with_one_more_the_sum_is_not_told(knowledge: Knowledge) -> None:
    for parts, ending in ((bounds.PARTS, "fired"), (bounds.PARTS + 1, "could-not-tell")):
        others = [{"drug": "ketamine", "rate": "0.01 mg/kg/h"}] * (parts - 1)
        made = judge({"order": {"rate": "0.1 mg/kg/h"}, "patient": {"medicines": others}}, knowledge)
        assert [each.status for each in endings(made) if each.rule == "dose-given-so-far"] == [ending]


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
    asked = asked_with() | {"fhirServer": BASE}
    order = order_of(asked)
    del order["medicationCodeableConcept"]
    order["medicationReference"] = {"reference": reference}
    fetched: list[str] = []

    class Ehr:
        why_not: str | None = None

        def fetch(self, urls: dict[str, str]) -> dict[str, Answer]:
            fetched.extend(urls.values())
            return {key: Answer(gap="the FHIR server answered 404") for key in urls}

    answer = advise(parse(ENCODER.encode(asked), "order-sign"), True, knowledge, Ehr(), NOW)
    assert fetched[: 1 if url else 0] == ([url] if url else [])
    assert "Medication" not in "".join(fetched[1 if url else 0 :]).replace("Medication?", "").replace(
        "MedicationR", ""
    )
    assert "whether it is ketamine is not known" in said_by(answer)


# Over HTTP --------------------------------------------------------------------------------------------------------


HOSTILE = hostile.bodies(asked_with())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_answered_at_once_and_in_few_words(name: str, knowledge: Knowledge) -> None:
    http = client(knowledge, Settings(answer_deadline_ms=449) if name in hostile.ENDLESS else None)
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
    asked = asked_with()
    entries = asked["prefetch"]["medications"]["entry"]
    for number in range(bounds.MEDICATIONS + more):
        order = {"resourceType": "MedicationRequest", "id": f"m{number}", "status": "active", "intent": "order"}
        order |= {
            "subject": {"reference": "Patient/p1"},
            "medicationReference": {"reference": f"Medication/{number}"},
        }
        entries.append({"resource": order})
    server = Asked()
    answer = advise(parse(ENCODER.encode(asked), "order-sign"), True, knowledge, server, NOW)
    assert len({url for url in server.urls if url.startswith("Medication/")}) == bounds.MEDICATIONS
    assert was_judged(answer)
    assert said_by(answer)

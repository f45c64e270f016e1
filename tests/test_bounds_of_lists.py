"""What holds more than is read costs no more than what is read of it, and says so."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cds_service import bounds, cases
from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from cds_service.orders import often, text
from tests.bounded import answer_to, asked_with, said_by
from tests.fhir.as_it_arrives import encoded

Json = dict[str, Any]
LONG = "x" * 500
"""Two hundred members with such a text are more than an ordinary resource has: it is shortened before it is read."""


def _order(path: str, members: int) -> Json:
    """A draft with so many members in one of its lists."""
    codings = [{"system": f"urn:{number}", "code": str(number), "display": LONG} for number in range(members)]
    dose: Json = {"doseQuantity": {"value": 35, "unit": "mg"}}
    lists: dict[str, Json] = {
        "coding": {"medicationCodeableConcept": {"coding": codings}},
        "dosageInstruction": {"dosageInstruction": [{"text": f"{LONG} {n}"} for n in range(members)]},
        "doseAndRate": {"dosageInstruction": [{"doseAndRate": [dose | {"id": LONG}] * members}]},
        "timeOfDay": {"dosageInstruction": [{"timing": {"repeat": {"timeOfDay": [LONG] * members}}}]},
        "extension": {"extension": [{"url": LONG, "valueString": LONG}] * members},
        "note": {"note": [{"text": f"{LONG} {number}"} for number in range(members)]},
    }
    return {"resourceType": "MedicationRequest", "id": "o", "status": "draft", "intent": "order"} | lists[path]


@pytest.mark.parametrize("members", [bounds.MEMBERS - 1, bounds.MEMBERS, bounds.MEMBERS + 1, 3 * bounds.MEMBERS])
@pytest.mark.parametrize("path", ["coding", "dosageInstruction", "doseAndRate", "timeOfDay", "extension", "note"])
def test_of_a_large_resource_as_much_is_read_as_if_all_of_it_were_decoded(path: str, members: int) -> None:
    raw = encoded(_order(path, members))
    assert len(raw) > 50_000
    read = lenient.decode(raw)
    assert read == lenient.read(lenient.untyped(raw))
    assert read.is_cut is (members > bounds.MEMBERS and path != "extension")


def test_drafts_beyond_those_that_are_judged_are_not_read(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_with()
    (entry,) = asked["context"]["draftOrders"]["entry"]
    drafts = [{"resource": entry["resource"] | {"id": f"o{number}"}} for number in range(60)]
    asked["context"]["draftOrders"]["entry"] = drafts
    seen: list[str | None] = []
    read = cases.drafts.read

    def counted(draft: Any, *more: Any) -> Any:
        seen.append(draft.request.id)
        return read(draft, *more)

    monkeypatch.setattr(cases.drafts, "read", counted)
    assert "35 more ketamine orders of this request were not judged" in said_by(answer_to(asked, knowledge))
    assert seen == [f"o{number}" for number in range(25)]


@pytest.mark.parametrize(
    ("words", "most"),
    [
        ("10 mg/h, max 20 mg/h", ["20"]),
        ("max 20 mg/h, then 10 mg/h", ["20"]),
        ("no more than 20 mg/h or 10 mg/h; 5 mg/h", ["20", "10"]),
        ("max 20 mg/h. Then 10 mg/h", ["20"]),
        ("max. 20 mg/h", []),
        ("max20 mg/h", ["20"]),
        ("maxi 20 mg/h", []),
        ("10 mg/h", []),
    ],
)
def test_a_rate_is_a_maximum_behind_such_a_word_in_its_clause(words: str, most: list[str]) -> None:
    assert [str(each.written) for each in text.read(words).most] == most


def test_a_text_with_many_rates_is_gone_through_once() -> None:
    def taken(rates: int) -> float:
        words, begun = "0.5 mg/kg/h or so " * rates, time.thread_time()
        assert len(text.read(words).rates) == rates
        return time.thread_time() - begun

    few, many = (min(taken(rates) for _ in range(5)) for rates in (250, 2_000))
    assert many < 24 * few, "eight times the text takes far more than eight times as long"


@pytest.mark.parametrize(
    "rest", [" ", "\n", "\N{NO-BREAK SPACE}", " of", " and", " one", " x", "1", " 1 mg", "-", " ½", "\u0301\u0316"]
)
@pytest.mark.parametrize("first", ["½", "1/2", "one", "mg", "2 x", "give", "every 1"])
def test_no_text_takes_longer_than_its_length(first: str, rest: str) -> None:
    """What looks like the beginning of an amount, before very much that does not end it."""

    def taken(characters: int) -> float:
        words, begun = first + rest * (characters // len(rest)), time.thread_time()
        text.read(words)
        often.of_doses(words, text.AMOUNT)
        return time.thread_time() - begun

    few, many = (min(taken(characters) for _ in range(3)) for characters in (500, 4_000))
    assert many < max(24 * few, 0.01), "eight times the text takes far more than eight times as long"

"""patient-view without HTTP: which infusions run, at which rate, what is fetched for them, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from cds_service.advise import advise
from cds_service.cards.model import EXTENSION, Card, Response
from cds_service.fhir.source import Answer, NoSource, Source
from cds_service.hooks.errors import Malformed, PreconditionFailed
from cds_service.hooks.request import HookRequest, parse
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, SNOMED, hook_request
from tests.test_advise import KETAMINE, MORPHINE, Ehr

_ENCODER = msgspec.json.Encoder(decimal_format="number")
DIZZY = {"running": "0.4 mg/kg/h", "symptoms": ["dizziness"]}


def _body(patient: dict[str, Any] | None = None) -> dict[str, Any]:
    return hook_request({"hook": "patient-view", "patient": DIZZY if patient is None else patient})


def _sent(body: dict[str, Any]) -> HookRequest:
    return parse(_ENCODER.encode(body), "patient-view")


def _answer(body: dict[str, Any], knowledge: Knowledge, source: Source | None = None) -> Response:
    return advise(_sent(body), False, knowledge, source or NoSource(), NOW)


def _topics(answer: Response) -> list[str]:
    return [card.source.topic.code for card in answer.cards if card.source.topic]


def _update(card: Card) -> dict[str, Any]:
    (action,) = [a for s in card.suggestions or () for a in s.actions if a.type == "update"]
    assert action.resource is not None
    return dict(action.resource)


def _administration(body: dict[str, Any]) -> dict[str, Any]:
    (entry,) = body["prefetch"]["administrations"]["entry"]
    resource: dict[str, Any] = entry["resource"]
    return resource


# What is judged ----------------------------------------------------------------------------------------------------


def test_the_changed_order_is_the_whole_order_that_was_sent(knowledge: Knowledge) -> None:
    body = _body()
    order = body["prefetch"]["medications"]["entry"][0]["resource"]
    order["note"] = [{"text": "as agreed with the pain team"}]
    changed = _update(_answer(body, knowledge).cards[0])
    assert changed.pop("dosageInstruction")[0]["doseAndRate"][0]["rateQuantity"]["value"] == Decimal("0.2")
    assert changed == {key: value for key, value in order.items() if key != "dosageInstruction"}


def test_a_hold_leaves_everything_but_the_status_as_it_was_ordered(knowledge: Knowledge) -> None:
    vitals = [{"code": "59408-5", "value": "85 %"}]
    body = _body({"running": {"rate": "0.4 mg/kg/h", "ordered": "0.5 mg/kg/h"}, "vitals": vitals})
    order = body["prefetch"]["medications"]["entry"][0]["resource"]
    changed = _update(_answer(body, knowledge).cards[0])
    assert changed == order | {"status": "on-hold"}


def test_the_card_names_the_order_and_the_rate_that_runs(knowledge: Knowledge) -> None:
    card = _answer(
        _body({"running": {"rate": "28 mg/h", "ordered": "0.5 mg/kg/h"}, "symptoms": ["headache"]}), knowledge
    )
    data = (card.cards[0].extension or {})[EXTENSION]
    assert data["order"] == "MedicationRequest/running"
    assert data["regimen"][0]["mgPerKgPerHour"] == "0.4"


def test_without_an_order_the_card_names_the_administration(knowledge: Knowledge) -> None:
    body = _body({"running": {"rate": "28 mg/h", "order": "gone"}, "symptoms": ["headache"]})
    data = (_answer(body, knowledge).cards[0].extension or {})[EXTENSION]
    assert data["order"] == f"MedicationAdministration/{_administration(body)['id']}"
    assert data["regimen"][0]["mgPerHour"] == "28"


@pytest.mark.parametrize("status", ["stopped", "completed", "cancelled", "on-hold"])
def test_an_order_that_is_over_is_not_changed_though_it_still_runs(status: str, knowledge: Knowledge) -> None:
    body = _body()
    body["prefetch"]["medications"]["entry"][0]["resource"]["status"] = status
    (card,) = _answer(body, knowledge).cards
    assert not any(action.type == "update" for s in card.suggestions or () for action in s.actions)


def test_an_infusion_of_another_patient_is_not_judged(knowledge: Knowledge) -> None:
    body = _body()
    _administration(body)["subject"] = {"reference": "Patient/other"}
    assert _answer(body, knowledge).cards == []


def test_an_order_that_is_broken_is_judged_as_it_can_be_read(knowledge: Knowledge) -> None:
    body = _body()
    order = body["prefetch"]["medications"]["entry"][0]["resource"]
    order["dosageInstruction"] = [7, {"doseAndRate": "much"}]
    assert "ae-headache-dizziness" in _topics(_answer(body, knowledge))


def _rate(value: int) -> dict[str, Any]:
    return {"rateQuantity": {"value": value, "unit": "mg/h"}}


WITHOUT_ITS_RATE: dict[str, list[Any]] = {
    "nothing": [{"sequence": 1}],
    "words": [{"text": "by the protocol of the ward"}],
    "a bag": [{"doseAndRate": [{"doseQuantity": {"value": 500, "unit": "mg"}}]}],
    "a unit that nobody knows": [{"doseAndRate": [{"rateQuantity": {"value": 7, "unit": "drops"}}]}],
    "two other rates": [{"sequence": n, "doseAndRate": [_rate(7 * n)]} for n in (1, 2)],
}


def _behind(dosage: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A chart in which 140 mg/h run at 70 kg, and the order behind that, with this dosage."""
    body = _body({"running": "2 mg/kg/h"})
    _administration(body)["dosage"] |= _rate(140)
    order: dict[str, Any] = body["prefetch"]["medications"]["entry"][0]["resource"]
    order["dosageInstruction"] = dosage
    return body, order


@pytest.mark.parametrize("ordered", WITHOUT_ITS_RATE)
def test_what_runs_is_judged_where_its_order_does_not_say_that_rate(ordered: str, knowledge: Knowledge) -> None:
    """The order may be put on hold, as it was written; another rate can be put nowhere."""
    body, order = _behind(WITHOUT_ITS_RATE[ordered])
    card = _answer(body, knowledge).cards[0]
    assert card.summary.startswith("Rate 2 mg/kg/h is above the ceiling 1")
    assert _update(card) == order | {"status": "on-hold"}


def test_one_of_several_ordered_rates_runs_as_it_was_ordered(knowledge: Knowledge) -> None:
    body, _ = _behind([{"sequence": n, "doseAndRate": [_rate(70 * n)]} for n in (1, 2)])
    offered = [s.label for card in _answer(body, knowledge).cards for s in card.suggestions or ()]
    assert any(label.startswith("Change to") for label in offered)


def _in_ml(request: dict[str, Any] | None = None) -> dict[str, Any]:
    """A chart with an infusion of 20 mL/h whose administration says no strength, on an order with `request` in it."""
    body = _body({"running": "0.4 mg/kg/h"})
    given = _administration(body)
    given["dosage"] = {"rateQuantity": {"value": 20, "unit": "mL/h"}}
    if request is None:
        given.pop("request", None)
        return body
    (order,) = [
        entry["resource"]
        for entry in body["prefetch"]["medications"]["entry"]
        if given["request"]["reference"].endswith(entry["resource"]["id"])
    ]
    order.pop("medicationCodeableConcept", None)
    order |= request
    return body


def test_a_rate_in_ml_of_a_strength_that_nobody_knows_is_said(knowledge: Knowledge) -> None:
    (card,) = _answer(_in_ml(), knowledge).cards
    assert (card.indicator, card.source.topic and card.source.topic.code) == ("warning", "could-not-check")
    assert "its rate is in mL, and its strength is not known" in (card.detail or "")


def test_a_rate_in_ml_is_judged_by_the_strength_that_only_its_order_says(knowledge: Knowledge) -> None:
    strength = {"numerator": {"value": 500, "unit": "mg"}, "denominator": {"value": 50, "unit": "mL"}}
    code = {"text": "Ketamine"}
    ingredient = {"itemCodeableConcept": code, "strength": strength}
    vial = {"resourceType": "Medication", "id": "m", "code": code, "ingredient": [ingredient]}
    answer = _answer(_in_ml({"contained": [vial], "medicationReference": {"reference": "#m"}}), knowledge)
    assert answer.cards[0].summary.startswith("Rate 2.857 mg/kg/h is above the ceiling 1")


def test_an_infusion_without_a_rate_is_said(knowledge: Knowledge) -> None:
    body = _in_ml()
    _administration(body).pop("dosage")
    (card,) = _answer(body, knowledge).cards
    assert card.indicator == "warning"
    assert "no rate is charted" in (card.detail or "")


BAG = {"dose": {"value": 500, "unit": "mg"}}
INTO_A_VEIN = {"route": {"coding": [{"system": SNOMED, "code": "47625008"}]}}
BY_THE_NOSE = {"route": {"coding": [{"system": SNOMED, "code": "46713006"}]}}


@pytest.mark.parametrize(
    ("charted", "ordered", "is_said"),
    [
        ({}, [INTO_A_VEIN | {"text": "by the protocol of the ward"}], True),
        ({}, [INTO_A_VEIN | {"doseAndRate": [{"doseQuantity": BAG["dose"]}]}], True),
        (INTO_A_VEIN | BAG, [INTO_A_VEIN], True),
        (INTO_A_VEIN | {"rateRatio": {"numerator": BAG["dose"], "denominator": {"value": 0, "unit": "h"}}}, [], True),
        ({}, [INTO_A_VEIN | {"text": "ketamine 14 mg/h"}], False),
        ({}, [INTO_A_VEIN | {"text": "0.5 mg/kg over 40 min"}], False),
        ({}, [INTO_A_VEIN | {"doseAndRate": [_rate(14)]}], False),
        ({}, [BY_THE_NOSE | {"doseAndRate": [{"doseQuantity": {"value": 84, "unit": "mg"}}]}], False),
    ],
    ids=str,
)
def test_what_runs_at_a_rate_that_nobody_says_is_said(
    charted: dict[str, Any], ordered: list[Any], is_said: bool, knowledge: Knowledge
) -> None:
    body, _ = _behind(ordered)
    _administration(body)["dosage"] = charted
    said = [c.indicator for c in _answer(body, knowledge).cards if c.source.topic.code == "could-not-check"]
    assert said == (["warning"] if is_said else [])


def test_two_infusions_are_two_orders_that_share_a_card(knowledge: Knowledge) -> None:
    body = _body({
        "medicines": [{"id": "a", "drug": "ketamine", "rate": "0.4 mg/kg/h"}],
        "given": [{"status": "in-progress", "rate": "0.3 mg/kg/h", "order": "a"}],
        "running": "0.2 mg/kg/h",
        "symptoms": ["dizziness"],
    })  # fmt: skip
    (card,) = _answer(body, knowledge).cards
    labels = [s.label for s in card.suggestions or ()]
    assert {"Change to 0.15 mg/kg/h (10.5 mg/h)", "Change to 0.1 mg/kg/h (7 mg/h)"} <= set(labels)


# What is fetched ---------------------------------------------------------------------------------------------------


def test_without_ketamine_only_what_was_given_is_asked_for(knowledge: Knowledge) -> None:
    body, ehr = _body({}), Ehr()
    body["prefetch"] = {}
    assert _answer(body, knowledge, ehr).cards == []
    assert [url.partition("?")[0] for url in ehr.asked] == ["MedicationAdministration"]


def test_prefetched_administrations_without_ketamine_need_no_server(knowledge: Knowledge) -> None:
    body, ehr = _body({}), Ehr()
    body["prefetch"] = {"administrations": None}
    assert _answer(body, knowledge, ehr).cards == []
    assert ehr.asked == []


def test_with_ketamine_the_rest_is_asked_for_and_the_order_is_read_whole(knowledge: Knowledge) -> None:
    body = _body()
    order = body["prefetch"]["medications"]["entry"][0]["resource"]
    symptoms = body["prefetch"]["symptoms"]
    query = next(q for q in knowledge.queries if q.key == "symptoms")
    ehr = Ehr(MedicationRequest_running=order)
    ehr.resources[query.template.replace("{{context.patientId}}", "p1")] = symptoms
    body["prefetch"] = {key: body["prefetch"][key] for key in ("administrations", "bodySize")}
    answer = _answer(body, knowledge, ehr)
    assert "ae-headache-dizziness" in _topics(answer)
    assert _update(answer.cards[0])["id"] == "running"
    assert ehr.asked[0] == "MedicationRequest/running"


def test_an_order_that_only_a_search_gave_is_read_again_for_its_json(knowledge: Knowledge) -> None:
    body, ehr = _body(), Ehr()
    body["prefetch"]["medications"] = None
    answer = _answer(body, knowledge, ehr)
    assert ehr.asked == ["MedicationRequest/running"]
    assert _topics(answer) == ["ae-headache-dizziness"]


@pytest.mark.parametrize(("medication", "cards"), [(KETAMINE, ["ae-headache-dizziness"]), (MORPHINE, [])])
def test_a_medication_that_is_only_referenced_is_fetched(
    medication: dict[str, Any], cards: list[str], knowledge: Knowledge
) -> None:
    body = _body({"running": {"rate": "28 mg/h", "order": "gone"}, "symptoms": ["dizziness"]})
    administration = _administration(body)
    del administration["medicationCodeableConcept"], administration["request"]
    administration["medicationReference"] = {"reference": "Medication/x"}
    assert _topics(_answer(body, knowledge, Ehr(Medication_x=medication | {"id": "x"}))) == cards


def test_the_order_says_what_a_reference_does_not(knowledge: Knowledge) -> None:
    body = _body()
    administration = _administration(body)
    del administration["medicationCodeableConcept"]
    administration["medicationReference"] = {"reference": "Medication/x"}
    assert _topics(_answer(body, knowledge)) == ["ae-headache-dizziness"]


def test_a_later_page_of_what_was_given_is_read_too(knowledge: Knowledge) -> None:
    body = _body()
    page = body["prefetch"]["administrations"]
    body["prefetch"]["administrations"] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "next", "url": "page-2?x=1"}],
    }
    assert _topics(_answer(body, knowledge, Ehr(**{"page-2?x=1": page}))) == ["ae-headache-dizziness"]


# What is refused ---------------------------------------------------------------------------------------------------


class Silent:
    """A server that answers nothing."""

    why_not: str | None = None

    def fetch(self, urls: Any) -> dict[str, Answer]:
        return {key: Answer(gap="the FHIR server answered 500") for key in urls}


@pytest.mark.parametrize("source", [NoSource(), Silent()])
def test_where_nothing_is_known_of_what_runs_the_precondition_fails(source: Source, knowledge: Knowledge) -> None:
    body = _body()
    del body["prefetch"]["administrations"]
    with pytest.raises(PreconditionFailed, match="what the patient is given is not known"):
        _answer(body, knowledge, source)


def test_an_operation_outcome_in_its_place_is_no_answer(knowledge: Knowledge) -> None:
    body = _body()
    issue = {"severity": "error", "code": "forbidden"}
    body["prefetch"]["administrations"] = {"resourceType": "OperationOutcome", "issue": [issue]}
    with pytest.raises(PreconditionFailed, match="forbidden"):
        _answer(body, knowledge)


@pytest.mark.parametrize("gone", ["patientId", "hookInstance"])
def test_a_request_that_lacks_what_it_must_have_is_malformed(gone: str, knowledge: Knowledge) -> None:
    body = _body({})
    body["context"].pop(gone, None)
    body.pop(gone, None)
    with pytest.raises(Malformed, match=gone):
        _answer(body, knowledge)


def test_no_draft_orders_are_missed_at_patient_view(knowledge: Knowledge) -> None:
    body = _body()
    assert "draftOrders" not in body["context"]
    assert _sent(body).faults == ()
    body["context"]["draftOrders"] = "whatever"
    assert _sent(body).faults == ()
    assert _topics(_answer(body, knowledge)) == ["ae-headache-dizziness"]

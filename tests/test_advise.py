"""The line from request to cards, without HTTP: what is fetched, what is not, and what an answer cannot say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from cds_service.advise import advise, explain
from cds_service.cards.model import Response
from cds_service.fhir import bundles
from cds_service.fhir.source import Answer, NoSource
from cds_service.hooks.errors import Malformed
from cds_service.hooks.request import HookRequest, parse
from cds_service.knowledge import Knowledge
from tests.scenarios.build import DRUGS, NOW, RXNORM, concept, hook_request

NOT_FOUND = "the FHIR server answered 404"


class Ehr:
    """A FHIR server that holds some resources by URL, and remembers what it was asked."""

    why_not: str | None = None

    def __init__(self, **resources: Any) -> None:
        self.resources = {url.replace("_", "/"): resource for url, resource in resources.items()}
        self.asked: list[str] = []

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        self.asked += urls.values()
        return {key: self._answer(url) for key, url in urls.items()}

    def _answer(self, url: str) -> Answer:
        if url in self.resources:
            return Answer([bundles.page(msgspec.json.encode(self.resources[url]))])
        if "?" in url:
            return Answer([bundles.page(b'{"resourceType": "Bundle", "type": "searchset"}')])
        return Answer(gap=NOT_FOUND)


def _medication(name: str, code: tuple[str, str, str]) -> dict[str, Any]:
    return {"resourceType": "Medication", "id": name, "code": concept(*code)}


KETAMINE = _medication("k", DRUGS["ketamine"])
MORPHINE = _medication("m", (RXNORM, "7052", "morphine"))


def _request(*medications: str, **changes: Any) -> HookRequest:
    """order-sign, 1.2 mg/kg/h of what is only referenced."""
    request = hook_request({"orders": [{"rate": "1.2 mg/kg/h"} for _ in medications]})
    for entry, reference in zip(request["context"]["draftOrders"]["entry"], medications, strict=True):
        del entry["resource"]["medicationCodeableConcept"]
        entry["resource"]["medicationReference"] = {"reference": reference}
        if changes.get("without_ids"):
            del entry["resource"]["id"]
    for key in changes.get("without", ()):
        del request["prefetch"][key]
    return parse(msgspec.json.Encoder(decimal_format="number").encode(request), "order-sign")


def _topics(answer: Response) -> list[str]:
    return [card.source.topic.code for card in answer.cards if card.source.topic]


def _details(answer: Response) -> str:
    return "\n".join(card.detail or "" for card in answer.cards)


UNKNOWN = "whether it is ketamine is not known"


# What a draft is ---------------------------------------------------------------------------------------------------


def test_a_medication_that_is_only_referenced_is_fetched_and_judged(knowledge: Knowledge) -> None:
    ehr = Ehr(Medication_k=KETAMINE)
    answer = advise(_request("Medication/k"), True, knowledge, ehr, NOW)
    assert _topics(answer) == ["rate-exceeds-ceiling"]
    assert ehr.asked == ["Medication/k"]


def test_of_a_drug_that_turns_out_another_nothing_more_is_fetched(knowledge: Knowledge) -> None:
    ehr = Ehr(Medication_m=MORPHINE)
    answer = advise(_request("Medication/m", without=["conditions", "allergies"]), True, knowledge, ehr, NOW)
    assert answer.cards == []
    assert ehr.asked == ["Medication/m"]


def test_without_ketamine_nothing_is_fetched(knowledge: Knowledge) -> None:
    ehr = Ehr()
    request = hook_request({"order": {"drug": "7052 morphine", "dose": "5 mg"}})
    del request["prefetch"]
    body = msgspec.json.Encoder(decimal_format="number").encode(request)
    assert advise(parse(body, "order-sign"), True, knowledge, ehr, NOW).cards == []
    assert ehr.asked == []


@pytest.mark.parametrize(
    "found",
    [None, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]},
     {"resourceType": "Substance", "id": "k"}, {"resourceType": "Medication", "id": "another"}, [], "k"],
)  # fmt: skip
def test_a_medication_that_cannot_be_had_leaves_a_doubt_that_is_said(found: Any, knowledge: Knowledge) -> None:
    ehr = Ehr(Medication_k=found) if found is not None else Ehr()
    answer = advise(_request("Medication/k"), True, knowledge, ehr, NOW)
    assert _topics(answer) == ["could-not-check"]
    assert UNKNOWN in _details(answer)


def test_each_medication_of_orders_without_ids_is_fetched(knowledge: Knowledge) -> None:
    ehr = Ehr(Medication_k=KETAMINE, Medication_m=MORPHINE)
    for references in (("Medication/k", "Medication/m"), ("Medication/m", "Medication/k")):
        answer = advise(_request(*references, without_ids=True), True, knowledge, ehr, NOW)
        assert _topics(answer) == ["rate-exceeds-ceiling"]


def test_of_orders_without_ids_the_one_that_stays_unknown_is_said(knowledge: Knowledge) -> None:
    ehr = Ehr(Medication_m=MORPHINE)
    for references in (("Medication/k", "Medication/m"), ("Medication/m", "Medication/k")):
        answer = advise(_request(*references, without_ids=True), True, knowledge, ehr, NOW)
        assert UNKNOWN in _details(answer)


def test_a_draft_whose_name_has_a_slip_of_typing_is_asked_about_unless_a_code_says_what_it_is(
    knowledge: Knowledge,
) -> None:
    request = hook_request({"orders": [{"text": "20 mg IV"}]})
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    order["medicationCodeableConcept"] = {"text": "Ketamne 50 mg/mL"}
    answer = advise(parse(msgspec.json.encode(request), "order-sign"), True, knowledge, NoSource(), NOW)
    assert [card.indicator for card in answer.cards] == ["warning"]
    assert "reads like ketamine with a slip of typing" in _details(answer)
    order["medicationCodeableConcept"]["coding"] = MORPHINE["code"]["coding"]
    assert advise(parse(msgspec.json.encode(request), "order-sign"), True, knowledge, NoSource(), NOW).cards == []


def test_a_medication_in_the_prefetch_is_not_fetched(knowledge: Knowledge) -> None:
    request = _request("Medication/k")
    request.prefetch["medication"] = msgspec.Raw(msgspec.json.encode(KETAMINE))  # type: ignore[index]
    ehr = Ehr()
    assert _topics(advise(request, True, knowledge, ehr, NOW)) == ["rate-exceeds-ceiling"]
    assert ehr.asked == []


# What is fetched ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "asked"),
    [
        ("Medication/m", ["Medication/m"]), ("$export", []), ("Medication?code=1", []), ("Patient/p2", []),
        ("https://elsewhere.example/fhir/Medication/m", []), ("Medication/m/$everything", []), ("#m", []),
    ],
)  # fmt: skip
def test_a_medicine_of_the_chart_is_fetched_only_where_its_reference_names_a_medication(
    reference: str, asked: list[str], knowledge: Knowledge
) -> None:
    order = {"resourceType": "MedicationRequest", "id": "r1", "status": "active", "intent": "order"}
    order |= {"subject": {"reference": "Patient/p1"}, "medicationReference": {"reference": reference}}
    medications = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": order}]}
    ehr = Ehr(Medication_m=MORPHINE)
    answer = advise(_ketamine(prefetch={"medications": medications}), True, knowledge, ehr, NOW)
    assert ehr.asked == asked
    assert ("- a medicine (ordered, " in _details(answer)) is (not asked), "what it is stays open and is said"


def _ketamine(**changes: Any) -> HookRequest:
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
    request["prefetch"] |= changes.get("prefetch", {})
    for key in changes.get("without", ()):
        del request["prefetch"][key]
    request["context"] |= changes.get("context", {})
    return parse(msgspec.json.Encoder(decimal_format="number").encode(request), "order-sign")


def test_only_what_the_prefetch_lacks_is_fetched(knowledge: Knowledge) -> None:
    ehr = Ehr()
    advise(_ketamine(without=["conditions", "encounter"]), True, knowledge, ehr, NOW)
    assert set(ehr.asked) == {"Encounter/e1", "Condition?patient=p1&_count=200"}


def test_ids_cannot_leave_their_place_in_a_search(knowledge: Knowledge) -> None:
    ehr = Ehr()
    context = {"patientId": "p1&_include=*/../x", "encounterId": "e/1?x"}
    advise(_ketamine(without=["conditions", "encounter"], context=context), True, knowledge, ehr, NOW)
    assert set(ehr.asked) == {"Encounter/e%2F1%3Fx", "Condition?patient=p1%26_include%3D%2A%2F..%2Fx&_count=200"}


def test_without_an_encounter_in_context_none_is_missed(knowledge: Knowledge) -> None:
    request = _ketamine(without=["encounter"], context={"encounterId": None})
    answer = advise(request, True, knowledge, NoSource(), NOW)
    assert "encounter: " not in _details(answer)


def test_without_a_server_every_missing_answer_is_said(knowledge: Knowledge) -> None:
    answer = advise(_ketamine(without=["conditions", "allergies"]), True, knowledge, NoSource("no server"), NOW)
    assert "- allergy list, problem list: no server" in _details(answer)


# What is no answer -------------------------------------------------------------------------------------------------


def test_a_faulty_request_without_ketamine_is_malformed(knowledge: Knowledge) -> None:
    request = parse(b'{"hook": "order-sign"}', "order-sign")
    for run in (advise, explain):
        with pytest.raises(Malformed, match="hookInstance is missing"):
            run(request, True, knowledge, NoSource(), NOW)  # type: ignore[operator]


def test_of_very_many_orders_some_are_judged_and_the_card_says_how_many_were_not(knowledge: Knowledge) -> None:
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
    entries = request["context"]["draftOrders"]["entry"]
    entries[:] = [{"resource": entries[0]["resource"] | {"id": f"o{number}"}} for number in range(28)]
    body = msgspec.json.Encoder(decimal_format="number").encode(request)
    cards = advise(parse(body, "order-sign"), True, knowledge, NoSource(), NOW).cards
    (card,) = [c for c in cards if c.source.topic and c.source.topic.code == "could-not-check"]
    assert card.indicator == "warning"
    assert "3 more ketamine orders of this request were not judged" in (card.detail or "")
    assert "3 more" not in "".join(c.detail or "" for c in cards if c is not card)


def test_of_very_many_steps_some_are_judged_and_the_card_says_that_the_rest_was_not(knowledge: Knowledge) -> None:
    request = hook_request({"order": {"steps": [{"dose": "0.6 mg/kg", "over": "40 min"}] * 2_000}})
    body = msgspec.json.Encoder(decimal_format="number").encode(request)
    started = time.process_time()
    cards = advise(parse(body, "order-sign"), True, knowledge, NoSource(), NOW).cards
    assert time.process_time() - started < 3
    said = "".join(card.detail or "" for card in cards)
    assert "only the first 25 of 200 steps were read" in said
    assert "MedicationRequest.dosageInstruction has more than 200 members; the rest was not read" in said

"""The requests of the specification, of HL7's and Inferno's examples, of the official sandbox and of Epic's manual.

Their shapes and their faults, with values of our own. Each is answered as it is; with ketamine in the place of its
drug each gets the right dose card and, where its id allows it, a suggestion that is valid R4.
"""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fhirpathpy
import pytest

from cds_service.cards.model import EXTENSION
from cds_service.cards.texts import escaped
from tests.conformance.invariants import REQUEST, VIOLATIONS
from tests.hooks.client import Service, card, encoded, topics, updates
from tests.hooks.conformance import faults
from tests.scenarios.build import DRUGS, ROUTES, concept, hook_request, observation, quantity

FOLDER = Path(__file__).parent / "examples"
HEAD = {"hookInstance": "7f3c2b10-6d1e-4c55-9a01-000000000301"}
WEIGHED = 70

ORIGINS = {
    "library-order-select-r4": "hook library, order-select, R4: no hook, Bundle without type, doseAndRate an object",
    "library-order-select-stu3": "hook library, order-select, STU3: doseQuantity on the dosage",
    "library-order-sign-r4": "hook library, order-sign, R4: doseQuantity on the dosage",
    "library-order-sign-stu3": "hook library, order-sign, STU3: doseAndRate an object",
    "inferno-order-sign": "Inferno CRD test kit, order-sign: the drafts name another patient than the context",
    "inferno-order-select": "Inferno CRD test kit, order-select: the same, without fullUrl",
    "inferno-every-kind-of-order": "Inferno CRD test kit, prefetch scripts: orders of all types, performer an object",
    "specification-pages": "CDS Hooks 3.0 ballot, paged prefetch: the drug in words, hyphens that are none in ids",
    "specification-snipped": "CDS Hooks, shortened examples: elements named ... that hold a text",
    "sandbox-rx-view-opened": "CDS Hooks sandbox, Rx view opened: no drug, no dosage, no intent, category an object",
    "sandbox-drug-chosen": "CDS Hooks sandbox, a drug chosen: reasonCode an object, one {pill}, a first page",
    "sandbox-order-signed": "CDS Hooks sandbox, order signed: the same order at order-sign",
    "epic-order-select": "Epic's CDS Hooks page: Medication beside the order, three doseAndRate, 190-character ids",
}
ERRORS = {
    "specification-before-1.0": "CDS Hooks before 1.0: user beside the context, a list of medications as its drafts",
    "specification-patient-view": "CDS Hooks, patient-view: sent to the service of another hook",
}
OTHER_HOOKS = {
    f"library-{hook}": f"hook library, {hook}: no service of ours is at this hook"
    for hook in (
        "encounter-start", "encounter-discharge", "appointment-book", "order-dispatch", "medication-refill",
        "allergyintolerance-create", "problem-list-item-create",
    )
}  # fmt: skip
OLDER = {"library-order-select-dstu2": "hook library, order-select, DSTU2: a MedicationOrder"}


def _example(name: str) -> tuple[dict[str, Any], str]:
    """(request, hook). The hook library shows contexts alone; the rest of such a request is put around it."""
    request = json.loads((FOLDER / f"{name}.json").read_bytes(), parse_float=Decimal)
    hook = request.get("hook") or ("order-select" if "order-select" in name else "order-sign")
    return {"hook": hook, **HEAD, **request}, hook


def _drafts(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in request["context"]["draftOrders"]["entry"]]


def _with_ketamine(request: dict[str, Any]) -> dict[str, Any]:
    """The request with ketamine where its drug stood, 50 mg where its dose stood, and a weight of this morning."""
    request = copy.deepcopy(request)
    for draft in _drafts(request):
        if draft["resourceType"] == "Medication":
            draft["code"]["coding"][1] = concept(*DRUGS["ketamine"])["coding"][0]
            draft["code"]["text"] = draft["ingredient"][0]["itemCodeableConcept"]["text"] = "ketamine injection"
        if draft["resourceType"] == "MedicationRequest":
            _put_in(draft)
    weight = observation("29463-7", {"valueQuantity": quantity(f"{WEIGHED} kg")}, "2 hours ago", 1)
    weight["subject"]["reference"] = f"Patient/{request['context']['patientId']}"
    body_size = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": weight}]}
    request["prefetch"] = {**request.get("prefetch", {}), "bodySize": body_size}
    return request


def _put_in(draft: dict[str, Any]) -> None:
    """In the same shape: a code, words alone, or a reference with a display."""
    given = draft.get("medicationCodeableConcept", {})
    if "medicationReference" in draft:
        draft["medicationReference"]["display"] = "ketamine injection"
    elif "coding" in given or not given:
        draft["medicationCodeableConcept"] = concept(*DRUGS["ketamine"])
    else:
        draft["medicationCodeableConcept"] = {"text": "Ketamine 50 mg/mL injection"}
    for dosage in draft.setdefault("dosageInstruction", [{"doseAndRate": [{"doseQuantity": {}}]}]):
        dosage.pop("text", None)
        holder = dosage.get("doseAndRate", dosage)
        for entry in holder if isinstance(holder, list) else [holder]:
            other = entry.get("type", {}).get("text") == "admin-amount"
            entry["doseQuantity"] = quantity("2 {tbl}") if other else quantity("50 mg")


@pytest.mark.parametrize("name", ORIGINS, ids=ORIGINS.get)
def test_an_example_without_ketamine_gets_no_cards(name: str, service: Service) -> None:
    request, hook = _example(name)
    assert service.call(request, hook) == {"cards": []}


@pytest.mark.parametrize("name", ERRORS, ids=ERRORS.get)
def test_an_example_of_another_hook_or_age_is_refused(name: str, service: Service) -> None:
    request, _ = _example(name)
    status, answer = service.post(encoded(request), "order-sign")
    assert status == 400
    assert answer["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("name", OTHER_HOOKS, ids=OTHER_HOOKS.get)
def test_an_example_of_a_hook_without_a_service_is_refused_by_each_service_of_an_order(
    name: str, service: Service
) -> None:
    request, hook = _example(name)
    assert f"library-{hook}" == name
    for asked in ("order-select", "order-sign"):
        status, answer = service.post(encoded(request), asked)
        assert status == 400
        assert f"hook is not {asked}" in answer["issue"][0]["diagnostics"]


def test_every_example_is_posted() -> None:
    posted = {*ORIGINS, *ERRORS, *OTHER_HOOKS, *OLDER}
    assert {path.stem for path in FOLDER.glob("*.json")} == posted


def test_a_context_alone_is_refused_and_the_answer_says_what_is_missing(service: Service) -> None:
    body = (FOLDER / "library-order-sign-r4.json").read_bytes()
    status, answer = service.post(body, "order-sign")
    assert status == 400
    assert answer["issue"][0]["diagnostics"] == ("hook is not order-sign; hookInstance is missing or not a string")


@pytest.mark.parametrize("name", OLDER, ids=OLDER.get)
def test_an_order_of_dstu2_is_answered_and_not_judged(name: str, service: Service) -> None:
    """usageRequirements ask for R4."""
    request, hook = _example(name)
    assert service.call(request, hook) == {"cards": []}


# With ketamine -----------------------------------------------------------------------------------------------------


OTHER_PATIENT = ("inferno-order-sign", "inferno-order-select")
NOT_R4_IDS = ("specification-pages",)
JUDGED = [name for name in ORIGINS if name not in OTHER_PATIENT]


def _judged(name: str, service: Service) -> dict[str, Any]:
    request, hook = _example(name)
    answer = service.call(_with_ketamine(request), hook)
    assert faults(answer) == []
    return answer


@pytest.mark.parametrize("name", JUDGED, ids=ORIGINS.get)
def test_with_ketamine_an_example_gets_the_dose_card(name: str, service: Service) -> None:
    found = card(_judged(name, service), "bolus-exceeds-protocol-max")
    assert found["indicator"] == "critical"
    assert f"50 mg / {WEIGHED} kg = 0.7143 mg/kg" in found["detail"]
    (step,) = found["extension"][EXTENSION]["regimen"]
    assert (step["kind"], step["mg"], step["mgPerKg"]) == ("bolus", "50", "0.7143")


@pytest.mark.parametrize("name", [name for name in JUDGED if name not in NOT_R4_IDS], ids=ORIGINS.get)
def test_with_ketamine_an_example_gets_a_lower_dose_in_the_whole_order(name: str, service: Service) -> None:
    """`faults` has validated it as R4: lists where the example had objects, with an intent, without what R4 lacks."""
    request, _ = _example(name)
    answer = _judged(name, service)
    (first, *_) = card(answer, "bolus-exceeds-protocol-max")["suggestions"]
    assert first["label"].startswith("Change to 24 mg")
    (resource, *_) = updates(answer)
    (entry,) = resource["dosageInstruction"][0]["doseAndRate"]
    assert str(entry["doseQuantity"]["value"]) == "24"
    assert resource["intent"] == "order"
    original = next(draft for draft in _drafts(request) if draft.get("id") == resource["id"])
    changed = {"dosageInstruction", "medicationCodeableConcept", "medicationReference"}
    invalid = {"category", "reasonCode", "intent", "performer", "..."}
    for key in set(original) - changed - invalid:
        assert resource[key] == original[key]
    for key in ("category", "reasonCode"):
        if isinstance(original.get(key), dict):
            assert resource[key] == [original[key]]
    assert "..." not in json.dumps(resource, default=str)


@pytest.mark.parametrize("name", NOT_R4_IDS, ids=ORIGINS.get)
def test_an_order_whose_id_is_not_of_r4_can_only_be_removed(name: str, service: Service) -> None:
    answer = _judged(name, service)
    actions = [a for s in card(answer, "bolus-exceeds-protocol-max")["suggestions"] for a in s["actions"]]
    assert [(action["type"], action["resourceId"]) for action in actions] == [
        ("delete", "MedicationRequest/draft\u2011rx\u20111")
    ]


@pytest.mark.parametrize("name", OTHER_PATIENT, ids=ORIGINS.get)
def test_a_ketamine_draft_of_another_patient_is_reported_and_not_judged(name: str, service: Service) -> None:
    request, hook = _example(name)
    answer = service.call(_with_ketamine(request), hook)
    assert topics(answer) == ["could-not-check"]
    assert "a ketamine draft names another patient and was not judged" in answer["cards"][0]["detail"]


@pytest.mark.parametrize("name", JUDGED, ids=ORIGINS.get)
def test_what_an_example_does_not_send_is_said(name: str, service: Service) -> None:
    detail = card(_judged(name, service), "could-not-check")["detail"]
    assert "allerg" in detail
    assert "vital signs" in detail


def test_a_context_alone_with_ketamine_is_judged_and_what_is_missing_is_said(service: Service) -> None:
    context = json.loads((FOLDER / "library-order-sign-r4.json").read_bytes(), parse_float=Decimal)
    answer = service.call(_with_ketamine(context), "order-sign")
    assert topics(answer)[0] == "bolus-exceeds-protocol-max"
    detail = card(answer, "could-not-check")["detail"]
    assert escaped("hook is not order-sign") in detail
    assert detail.endswith("more"), "the missing hookInstance is counted"


# The sandbox -------------------------------------------------------------------------------------------------------


def test_the_sandbox_gets_the_same_verdict_when_it_selects_and_when_it_signs(service: Service) -> None:
    selected, signed = (_judged(name, service) for name in ("sandbox-drug-chosen", "sandbox-order-signed"))
    assert topics(selected) == topics(signed)
    assert updates(selected) == updates(signed)


def test_a_page_with_a_next_link_is_not_taken_for_the_whole_list(service: Service) -> None:
    detail = card(_judged("sandbox-order-signed", service), "could-not-check")["detail"]
    assert "problem list: only its first page was sent" in detail


def test_a_dose_that_is_missing_is_said_when_the_order_is_signed_and_not_while_it_is_selected(
    service: Service,
) -> None:
    """The sandbox calls order-select at every keystroke, first with nothing in the order."""
    request, _ = _example("sandbox-rx-view-opened")
    (draft,) = _drafts(request)
    draft["medicationCodeableConcept"] = concept(*DRUGS["ketamine"])
    for hook in ("order-select", "order-sign"):
        answer = service.call(request | {"hook": hook})
        assert faults(answer) == []
        rules = [rule["id"] for rule in card(answer, "could-not-check")["extension"][EXTENSION]["rules"]]
        assert ("free-text-or-unparseable-dose" in rules) == (hook == "order-sign")


# Epic --------------------------------------------------------------------------------------------------------------


def test_of_three_doses_of_epic_the_one_that_was_ordered_is_judged_and_the_others_go_when_it_changes(
    service: Service,
) -> None:
    answer = _judged("epic-order-select", service)
    (resource, *_) = updates(answer)
    (entry,) = resource["dosageInstruction"][0]["doseAndRate"]
    assert entry["type"]["text"] == "ordered"


def test_epic_ids_of_190_characters_come_back_whole(service: Service) -> None:
    answer = _judged("epic-order-select", service)
    (selected,) = _example("epic-order-select")[0]["context"]["selections"]
    assert len(selected.partition("/")[2]) == 190
    assert {f"MedicationRequest/{resource['id']}" for resource in updates(answer)} == {selected}
    assert card(answer, "bolus-exceeds-protocol-max")["extension"][EXTENSION]["order"] == selected


def test_epic_knows_ketamine_by_the_medication_that_stands_beside_the_order(service: Service) -> None:
    request, hook = _example("epic-order-select")
    request = _with_ketamine(request)
    for draft in _drafts(request):
        if draft["resourceType"] == "MedicationRequest":
            del draft["medicationReference"]["display"]
    assert "bolus-exceeds-protocol-max" in topics(service.call(request, hook))


def test_epic_route_is_read_behind_the_local_code(service: Service) -> None:
    assert (
        "No route is stated"
        not in card(_judged("epic-order-select", service), "bolus-exceeds-protocol-max")["detail"]
    )
    request, hook = _example("epic-order-select")
    request = _with_ketamine(request)
    for draft in _drafts(request):
        for dosage in draft.get("dosageInstruction", ()):
            if "route" in dosage:
                dosage["route"] = {"coding": [dosage["route"]["coding"][0], concept(*ROUTES["oral"])["coding"][0]]}
    rules = [rule["id"] for c in service.call(request, hook)["cards"] for rule in c["extension"][EXTENSION]["rules"]]
    assert "route-not-in-protocol" in rules


def test_a_search_of_epic_without_rows_is_an_answer(service: Service) -> None:
    """One OperationOutcome of mode outcome: nothing is recorded, which is not the same as not sent."""
    request, hook = _example("epic-order-select")
    with_it = card(service.call(_with_ketamine(request), hook), "could-not-check")["detail"]
    del request["prefetch"]["allergy-user"]
    without = card(service.call(_with_ketamine(request), hook), "could-not-check")["detail"]
    assert "allergy list" not in _not_sent(with_it)
    assert "allergy list" in _not_sent(without)


def _not_sent(detail: str) -> str:
    """The line that names the lists which were not sent."""
    return next((line for line in detail.splitlines() if "it was not sent" in line), "")


# The requests themselves --------------------------------------------------------------------------------------------


# Beside those of all requests one of the hooks' contexts (HL7/cds-hooks), in words of our own.
REQUEST_INVARIANTS = {**REQUEST, "ord-1": "context.selections.all(matches('^[A-Za-z]+/.+$'))"}
BREAKING = {**VIOLATIONS, "ord-1": {"context": {"selections": ["o1"]}}}


def _holds(invariant: str, request: dict[str, Any]) -> bool:
    plain = json.loads(json.dumps(request, default=float))
    return fhirpathpy.evaluate(plain, REQUEST_INVARIANTS[invariant]) == [True]


@pytest.mark.parametrize("invariant", REQUEST_INVARIANTS)
def test_the_requests_of_the_tests_keep_the_invariants_of_the_specification(invariant: str) -> None:
    """Or what passes here would say little about real clients."""
    built = [hook_request({"hook": hook, "order": {"rate": "1 mg/kg/h"}}) for hook in ("order-select", "order-sign")]
    for request in [*built, *(_example(name)[0] for name in [*ORIGINS, *OLDER])]:
        assert _holds(invariant, request)
    assert not _holds(invariant, BREAKING[invariant])


@pytest.mark.parametrize("name", [name for name in ORIGINS if "select" in name])
def test_what_an_example_selects_stands_among_its_drafts(name: str) -> None:
    request, _ = _example(name)
    drafts = {f"{draft['resourceType']}/{draft['id']}" for draft in _drafts(request)}
    assert set(request["context"]["selections"]) <= drafts

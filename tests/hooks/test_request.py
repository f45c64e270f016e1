"""What is required of a request, and that a ketamine draft is judged whatever else is wrong with it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from cds_service.cards.texts import escaped
from cds_service.hooks.errors import Malformed
from cds_service.hooks.request import parse
from tests.hooks.client import Service, card, encoded, topics
from tests.hooks.conformance import faults
from tests.said import told
from tests.scenarios.build import hook_request

Change = Callable[[dict[str, Any]], object]


def _sign(drug: str = "ketamine", **order: Any) -> dict[str, Any]:
    return hook_request({"order": {"rate": "1.2 mg/kg/h", "drug": drug, **order}})


def _set(*path: str, to: Any) -> Change:
    def change(request: dict[str, Any]) -> None:
        for part in path[:-1]:
            request = request[part]
        request[path[-1]] = to

    return change


def _delete(*path: str) -> Change:
    def change(request: dict[str, Any]) -> None:
        for part in path[:-1]:
            request = request[part]
        del request[path[-1]]

    return change


def _drafts(make: Callable[[dict[str, Any]], Any]) -> Change:
    """draftOrders made from the Bundle that stood there."""

    def change(request: dict[str, Any]) -> None:
        request["context"]["draftOrders"] = make(request["context"]["draftOrders"])

    return change


SURVIVED: dict[str, tuple[Change, str]] = {
    # What is wrong: (how, what is said of it). The draft stays whole.
    "no hook": (_delete("hook"), "hook is not order-sign"),
    "another hook": (_set("hook", to="patient-view"), "hook is not order-sign"),
    "a hook that is no string": (_set("hook", to=["order-sign"]), "hook is not order-sign"),
    "no hookInstance": (_delete("hookInstance"), "hookInstance is missing or not a string"),
    "a hookInstance that is null": (_set("hookInstance", to=None), "hookInstance is missing or not a string"),
    "a hookInstance that is a number": (_set("hookInstance", to=7), "hookInstance is missing or not a string"),
    "an empty hookInstance": (_set("hookInstance", to=""), "hookInstance is missing or not a string"),
    "no patientId": (_delete("context", "patientId"), "context.patientId is missing or not a string"),
    "a patientId that is an object": (
        _set("context", "patientId", to={"value": "p1"}),
        "context.patientId is missing or not a string",
    ),
    "drafts in a list": (
        _drafts(lambda bundle: [entry["resource"] for entry in bundle["entry"]]),
        "context.draftOrders is not a Bundle",
    ),
    "entries in a list": (_drafts(lambda bundle: bundle["entry"]), "context.draftOrders is not a Bundle"),
    "a draft alone": (_drafts(lambda bundle: bundle["entry"][0]["resource"]), "context.draftOrders is not a Bundle"),
    "a Bundle without resourceType": (
        _drafts(lambda bundle: {"entry": bundle["entry"]}),
        "context.draftOrders is not a Bundle",
    ),
}
REFUSED: dict[str, tuple[Change, str]] = {
    "no context": (_delete("context"), "context is missing or not an object"),
    "a context that is null": (_set("context", to=None), "context is missing or not an object"),
    "a context that is a list": (_set("context", to=[{"patientId": "p1"}]), "context is missing or not an object"),
    "no draftOrders": (_delete("context", "draftOrders"), "context.draftOrders is missing"),
    "draftOrders that are null": (_set("context", "draftOrders", to=None), "context.draftOrders is not a Bundle"),
    "draftOrders that are a text": (_set("context", "draftOrders", to="b"), "context.draftOrders is not a Bundle"),
    "an empty object as draftOrders": (_set("context", "draftOrders", to={}), "context.draftOrders is not a Bundle"),
}


def _changed(request: dict[str, Any], change: Change) -> bytes:
    change(request)
    return encoded(request)


@pytest.mark.parametrize("fault", [*SURVIVED, *REFUSED])
def test_a_faulty_request_without_ketamine_is_refused(fault: str, service: Service) -> None:
    change, says = (SURVIVED | REFUSED)[fault]
    status, answer = service.post(_changed(_sign("7052 morphine"), change), "order-sign")
    assert status == 400
    assert answer["resourceType"] == "OperationOutcome"
    (issue,) = answer["issue"]
    assert (issue["severity"], issue["code"]) == ("error", "structure")
    assert says in issue["diagnostics"].split("; ")


@pytest.mark.parametrize("fault", SURVIVED)
def test_the_same_fault_beside_a_ketamine_draft_stands_on_the_card(fault: str, service: Service) -> None:
    change, says = SURVIVED[fault]
    status, answer = service.post(_changed(_sign(), change), "order-sign")
    assert status == 200
    assert faults(answer) == []
    assert topics(answer)[0] == "rate-exceeds-ceiling"
    assert f"- {escaped(says)}" in card(answer, "could-not-check")["detail"].split("\n")


def test_all_faults_of_a_request_are_said_at_once(service: Service) -> None:
    status, answer = service.post(b"{}", "order-select")
    assert status == 400
    assert answer["issue"][0]["diagnostics"].split("; ") == [
        "hook is not order-select",
        "hookInstance is missing or not a string",
        "context is missing or not an object",
        "context.draftOrders is missing",
        "context.patientId is missing or not a string",
    ]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"a"', b"1", b"{", b'{"hook":}', b"\xff\xfe", b"hook=order-sign"]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, service: Service) -> None:
    status, answer = service.post(body, "order-sign")
    assert status == 400
    said = answer["issue"][0]["diagnostics"]
    assert re.fullmatch(r"the body is not a JSON object(: it goes wrong at line \d+, column \d+)?", said)


def test_json_that_is_nested_without_end_is_refused(service: Service) -> None:
    status, _ = service.post(b'{"prefetch":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "order-sign")
    assert status == 400


def test_what_is_not_required_may_be_missing(service: Service) -> None:
    request = _sign("7052 morphine")
    for name in ("userId", "encounterId"):
        del request["context"][name]
    del request["prefetch"]
    assert service.call(request) == {"cards": []}


@pytest.mark.parametrize("status", ["draft", "active", "on-hold", None])
def test_an_order_that_is_signed_again_is_judged_like_a_draft(status: str | None, service: Service) -> None:
    assert topics(service.call(_sign(status=status)))[0] == "rate-exceeds-ceiling"


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error", "stopped", "completed"])
def test_an_order_that_is_withdrawn_is_not_judged(status: str, service: Service) -> None:
    """One that ends an order may get a word on how; it needs an infusion that runs."""
    assert service.call(_sign(status=status))["cards"] == []


# Which drafts are judged -------------------------------------------------------------------------------------------


def _select(**scenario: Any) -> dict[str, Any]:
    orders = [{"rate": "1.2 mg/kg/h"}, {"drug": "7052 morphine", "dose": "5 mg"}]
    return hook_request({"hook": "order-select", "orders": orders} | scenario)


def test_order_select_judges_what_is_selected(service: Service) -> None:
    assert topics(service.call(_select(selected=["o1"])))[0] == "rate-exceeds-ceiling"
    assert service.call(_select(selected=["o2"])) == {"cards": []}


@pytest.mark.parametrize("selections", [[], ["MedicationRequest/unknown"], None, "missing", 7, [None], {"a": 1}])
def test_selections_that_name_no_draft_select_all(selections: Any, service: Service) -> None:
    request = _select()
    request["context"]["selections"] = selections
    if selections == "missing":
        del request["context"]["selections"]
    assert topics(service.call(request))[0] == "rate-exceeds-ceiling"


@pytest.mark.parametrize(
    "selection", ["MedicationRequest/o1", "o1", "https://ehr.example.org/r4/MedicationRequest/o1/_history/2"]
)
def test_a_selection_is_understood_as_a_relative_bare_or_absolute_reference(selection: str, service: Service) -> None:
    request = _select(selected=["o2"])
    request["context"]["selections"] = selection
    assert topics(service.call(request))[0] == "rate-exceeds-ceiling"


def test_a_faulty_request_with_a_ketamine_draft_that_is_not_selected_is_no_error(service: Service) -> None:
    request = _select(selected=["o2"])
    del request["hookInstance"]
    assert service.call(request) == {"cards": []}


def test_a_faulty_request_whose_draft_may_be_ketamine_says_so(service: Service) -> None:
    request = _sign()
    draft = request["context"]["draftOrders"]["entry"][0]["resource"]
    del draft["medicationCodeableConcept"], request["hookInstance"]
    draft["medicationReference"] = {"reference": "Medication/elsewhere"}
    detail = card(service.call(request), "could-not-check")["detail"]
    assert "whether it is ketamine is not known" in detail
    assert "hookInstance is missing" in detail


# Bytes as they come ------------------------------------------------------------------------------------------------


REPLACED = "characters of the request that could not be read were replaced"


def test_a_byte_order_mark_is_passed_over(service: Service) -> None:
    status, answer = service.post(b"\xef\xbb\xbf" + encoded(_sign()), "order-sign")
    assert status == 200
    assert topics(answer) == ["rate-exceeds-ceiling"]


def test_a_unit_in_latin_1_is_not_an_all_clear(service: Service) -> None:
    body = encoded(_sign()).replace(b"mg/kg/h", b"\xb5g/kg/min")
    status, answer = service.post(body, "order-sign")
    assert status == 200
    detail = card(answer, "could-not-check")["detail"]
    assert REPLACED in detail
    assert "is not in the table" in detail


@pytest.mark.parametrize(
    ("escape", "becomes"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00 and more", "\ufffd and more"),
        (rb"\uD83D\uD83D\uDE00", "\ufffd\U0001f600"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\"\ud83d", '"\ufffd'),
    ],
)
def test_half_of_a_character_does_not_cost_the_whole_request(escape: bytes, becomes: str) -> None:
    request = parse(b'{"hook":"order-sign","hookInstance":"' + escape + b'"}', "order-sign")
    assert request.hook_instance == becomes
    assert REPLACED in told(request.notes)


@pytest.mark.parametrize(
    ("escape", "becomes"), [(rb"\ud83d\ude00", "\U0001f600"), (rb"\\ud83d", r"\ud83d"), (b"\xc2\xb5g", "µg")]
)
def test_whole_characters_stay_as_they_are(escape: bytes, becomes: str) -> None:
    request = parse(b'{"hook":"order-sign","hookInstance":"' + escape + b'"}', "order-sign")
    assert request.hook_instance == becomes
    assert request.notes == ()


def test_a_broken_character_in_a_key_is_no_failure(service: Service) -> None:
    body = encoded(_sign()).replace(b'"patient":{', b'"p\xffatient":{')
    status, answer = service.post(body, "order-sign")
    assert status == 200
    assert topics(answer)[0] == "rate-exceeds-ceiling"


def test_a_key_that_stands_twice_is_no_failure(service: Service) -> None:
    body = encoded(_sign()).replace(b'"hook":', b'"hook":"order-select","prefetch":[],"hook":')
    status, answer = service.post(body, "order-sign")
    assert status == 200
    assert topics(answer) == ["rate-exceeds-ceiling"]


# The parts of a request --------------------------------------------------------------------------------------------


def _parsed(change: Change, hook: str = "order-sign") -> Any:
    request = copy.deepcopy(_sign())
    change(request)
    return parse(encoded(request), hook)


def test_a_request_is_read_in_its_parts() -> None:
    request = _parsed(_set("fhirServer", to="https://ehr.example.org/r4"))
    assert (request.hook, request.hook_instance) == ("order-sign", "0f0f0f0f-1111-4222-8333-444444444444")
    assert (request.patient_id, request.encounter_id) == ("p1", "e1")
    assert request.context == {"patientId": "p1", "encounterId": "e1"}
    assert request.selections is None
    assert request.fhir_server == "https://ehr.example.org/r4"
    assert [item.read.type for item in request.drafts] == ["MedicationRequest"]
    assert "conditions" in request.prefetch
    assert (request.faults, request.notes) == ((), ())


def test_a_patient_id_may_be_written_as_a_reference() -> None:
    assert _parsed(_set("context", "patientId", to="Patient/p1")).patient_id == "p1"


def test_an_encounter_id_that_cannot_be_read_is_none() -> None:
    assert _parsed(_set("context", "encounterId", to=["e1"])).context == {"patientId": "p1"}


@pytest.mark.parametrize("prefetch", [[], "text", 1, True])
def test_a_prefetch_that_is_no_object_is_noted(prefetch: Any) -> None:
    request = _parsed(_set("prefetch", to=prefetch))
    assert request.prefetch == {}
    assert told(request.notes) == ("the prefetch could not be read",)


@pytest.mark.parametrize("change", [_delete("prefetch"), _set("prefetch", to=None), _set("prefetch", to={})])
def test_no_prefetch_is_no_fault(change: Change) -> None:
    request = _parsed(change)
    assert told((request.prefetch, request.notes)) == ({}, ())


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "", "tökén", 5, None, "a\x00"])
def test_a_token_that_could_not_stand_in_a_header_is_none(token: Any) -> None:
    request = _parsed(_set("fhirAuthorization", to={"access_token": token, "token_type": "Bearer"}))
    assert request.access_token is None


@pytest.mark.parametrize("authorization", ["Bearer x", ["x"], 1, None, {}])
def test_an_authorization_that_is_no_object_is_none(authorization: Any) -> None:
    assert _parsed(_set("fhirAuthorization", to=authorization)).access_token is None


def test_a_token_is_never_shown() -> None:
    request = _parsed(_set("fhirAuthorization", to={"access_token": "a-secret-token"}))
    assert request.access_token == "a-secret-token"
    assert "a-secret-token" not in repr(request)


def test_a_malformed_body_raises_for_those_who_call_parse() -> None:
    with pytest.raises(Malformed, match="not a JSON object"):
        parse(b"[]", "order-sign")

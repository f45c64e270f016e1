"""An element that stands twice in one place of a draft: the last is judged, and the card says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hooks.client import Service, card, topics
from tests.scenarios.build import hook_request

CEILING = "rate-exceeds-ceiling"
REPEATED: dict[str, tuple[str, str]] = {
    # What stands twice: (before what in the request, what is put there).
    "a figure": ('"value": 2', '"value": 20, '),
    "a dosage": ('"dosageInstruction":', '"dosageInstruction": [{"text": "20 mg/kg/h"}], '),
    "a name in two writings": ('"status": "draft"', '"\\u0073tatus": "active", '),
    "the entries": ('"entry": [{"resource": {"resourceType": "MedicationRequest"', '"entry": [], '),
}


def _body(indent: int | None = None, **elements: Any) -> str:
    request = hook_request({"order": {"rate": "2 mg/kg/h"}})
    (entry,) = request["context"]["draftOrders"]["entry"]
    entry["resource"] |= elements
    return json.dumps(request, indent=indent, default=float)


def _answer(body: str, service: Service) -> dict[str, Any]:
    status, answer = service.post(body.encode(), "order-sign")
    assert status == 200
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("what", REPEATED)
def test_what_stands_twice_in_a_draft_is_said_and_the_last_is_judged(what: str, service: Service) -> None:
    place, more = REPEATED[what]
    body = _body()
    assert place in body
    answer = _answer(body.replace(place, more + place, 1), service)
    assert CEILING in topics(answer)
    said = card(answer, "could-not-check")
    assert said["indicator"] == "warning"
    assert "is repeated in the same place" in said["detail"]


def test_a_drug_in_whose_place_another_stands_as_well_is_said(service: Service) -> None:
    request = json.loads(_body())
    (entry,) = request["context"]["draftOrders"]["entry"]
    entry["resource"]["last"] = ""
    other = '"medicationCodeableConcept": {"text": "paracetamol"}'
    (said,) = _answer(json.dumps(request).replace('"last": ""', other), service)["cards"]
    assert (said["source"]["topic"]["code"], said["indicator"]) == ("could-not-check", "warning")
    assert "whether it is ketamine is not known" in said["detail"]


def test_of_another_drug_nothing_is_said(service: Service) -> None:
    body = _body(medicationCodeableConcept={"text": "paracetamol"})
    repeated = body.replace('"status": "draft"', '"status": "draft", "status": "draft"')
    assert repeated != body
    assert _answer(repeated, service) == _answer(body, service)
    assert topics(_answer(repeated, service)) == []


@pytest.mark.parametrize("indent", [None, 2])
def test_what_only_looks_as_if_it_stood_twice_is_no_remark(indent: int | None, service: Service) -> None:
    words = 'say "value": again, "value" : {"value":1}'
    body = _body(indent, note=[{"text": words}, {"text": words}])
    escaped = body.replace('say \\"', "say \\u0022")
    assert escaped != body
    for written in (body, escaped):
        answer = _answer(written, service)
        assert CEILING in topics(answer)
        assert "could-not-check" not in topics(answer)

"""Calling a service: statuses, prefetch and the FHIR server, time, and callers in a browser; at any URL."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.conftest import Records
from tests.conformance.invariants import FEEDBACK, broken
from tests.conformance.target import JSON, ORIGIN, Answer, Exchange, Target
from tests.servers.local import LocalServer

requirement = pytest.mark.requirement

ACCESS_TOKEN = "access-token-of-the-suite"
NO_MORE_THAN = 0.5
"""Seconds: what the specification calls quick."""
TRIES = 5
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
NOTHING = {"resourceType": "Bundle", "type": "searchset", "total": 0}

Request = Mapping[str, Any]


def _summary(answer: Answer) -> list[tuple[Any, ...]]:
    """What each card says to people; that there was not enough to go by is an answer too (54)."""
    if answer.status == 412:
        return [(412,)]
    assert answer.status == 200, answer.body[:300]
    return [(card.get("summary"), card.get("indicator"), card.get("detail")) for card in answer.content["cards"]]


def _without(request: Request, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in keys}


def _prefetching(exchanges: list[Exchange]) -> list[Exchange]:
    """The exchanges that brought prefetch and were answered with cards."""
    found = [
        each
        for each in exchanges
        if isinstance(each.posed.body.get("prefetch"), dict) and each.answer.status == 200 and _summary(each.answer)
    ]
    if not found:
        pytest.skip("no request with prefetch gave a card")
    return found


# Statuses ----------------------------------------------------------------------------------------------------------


@requirement("16", "74")
def test_a_valid_request_is_answered_200_with_an_object_that_holds_cards(exchanges: list[Exchange]) -> None:
    """But where what it names could not be fetched: that is requirement 54."""
    for each in exchanges:
        if each.posed.is_valid and not (each.answer.status == 412 and "fhirServer" in each.posed.body):
            assert each.answer.status == 200, f"{each}: {each.answer.body[:300]!r}"
            assert isinstance(each.answer.content, dict)
            assert isinstance(each.answer.content.get("cards"), list)


@requirement("1")
def test_every_answer_is_json(exchanges: list[Exchange]) -> None:
    for each in exchanges:
        assert each.answer.media_type in (JSON, "application/fhir+json"), str(each)
        assert each.answer.content is not None, str(each)


@requirement("3")
def test_nothing_in_an_answer_is_null_or_empty_but_the_list_of_cards(responses: list[Request]) -> None:
    for response in responses:
        assert list(_empty(response, "response")) == []


def _empty(value: Any, path: str) -> list[str]:
    """Extensions are excepted: what is in them is agreed between the two sides (214)."""
    if value is None or value in ("", [], {}):
        return [] if path == "response.cards" else [path]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in members if key != "extension" for found in _empty(item, f"{path}.{key}")]


@requirement("75")
def test_system_actions_are_an_array_that_is_not_empty(responses: list[Request], target: Target) -> None:
    given = [response["systemActions"] for response in responses if "systemActions" in response]
    if target.is_ours:
        assert given == [], "this service changes no order without a clinician"
    elif not given:
        pytest.skip("no response has systemActions")
    assert all(isinstance(each, list) and each for each in given)


@requirement("77")
def test_where_there_is_nothing_to_say_the_answer_is_200_without_cards(
    exchanges: list[Exchange], target: Target
) -> None:
    """Nobody has anything to say about no orders."""
    nothing = {"resourceType": "Bundle", "type": "collection"}
    asked = [each for each in exchanges if isinstance(each.posed.body["context"].get("draftOrders"), dict)]
    if not asked:
        pytest.skip("the service is at no hook of an order")
    for each in asked:
        if each.posed.is_valid:
            context = {**each.posed.body["context"], "draftOrders": nothing, "selections": ["MedicationRequest/none"]}
            answer = target.call(each.service["id"], {**each.posed.body, "context": context})
            assert (answer.status, answer.content.get("cards")) == (200, []), str(each)


@requirement("76", "1")
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"hook":7}'])
def test_a_body_that_is_no_request_is_an_error_of_the_caller(
    body: bytes, target: Target, services: list[dict[str, Any]]
) -> None:
    for service in services:
        answer = target.post(service["id"], body)
        assert 400 <= answer.status < 500
        assert answer.media_type in (JSON, "application/fhir+json")


@requirement("76")
def test_a_service_that_is_not_there_is_404(target: Target) -> None:
    assert target.call("no-service-of-this-name", {}).status == 404


@requirement("27")
def test_every_request_is_answered_in_half_a_second(exchanges: list[Exchange], target: Target) -> None:
    """The best of a few tries: the machine may be busy, the service may not be slow by itself."""
    for each in exchanges:
        best = each.answer.seconds
        for _ in range(TRIES):
            if best < NO_MORE_THAN:
                break
            best = min(best, target.call(each.service["id"], each.posed.body).seconds)
        assert best < NO_MORE_THAN, str(each)


# Prefetch and the FHIR server --------------------------------------------------------------------------------------


@requirement("28")
def test_what_was_prefetched_is_used(exchanges: list[Exchange], target: Target) -> None:
    differs = [
        each
        for each in _prefetching(exchanges)
        if _summary(target.call(each.service["id"], _without(each.posed.body, "prefetch"))) != _summary(each.answer)
    ]
    assert differs, "no answer depends on what was prefetched"


@requirement("52")
def test_an_operation_outcome_in_the_prefetch_is_not_taken_for_an_empty_list(
    exchanges: list[Exchange], target: Target
) -> None:
    differs = False
    for each in _prefetching(exchanges):
        answers = []
        for value in (OUTCOME, NOTHING):
            request = dict(each.posed.body)
            request["prefetch"] = dict.fromkeys(request["prefetch"], value)
            answers.append(_summary(target.call(each.service["id"], request)))
        differs |= answers[0] != answers[1]
    assert differs


@requirement("54")
def test_where_data_is_missing_it_is_412_or_a_card_says_what_is_missing(
    exchanges: list[Exchange], target: Target
) -> None:
    """412 where the service cannot do without; where it can, it is not silent."""
    for each in _prefetching(exchanges):
        answer = target.call(each.service["id"], _without(each.posed.body, "prefetch", "fhirServer"))
        assert answer.status in (200, 412)
        if answer.status == 200:
            assert answer.content["cards"], f"{each}: silence, although nothing could be read"


def _served(request: Request, service: Request) -> dict[str, Any]:
    """The prefetched resources, each at the address of its template."""
    found = {}
    for key, template in service.get("prefetch", {}).items():
        for name, value in request["context"].items():
            template = template.replace(f"{{{{context.{name}}}}}", str(value))
        if key in request["prefetch"] and "{{" not in template:
            found[template] = request["prefetch"][key]
    return found


def _asking(each: Exchange, fhir: LocalServer) -> dict[str, Any]:
    """The request without prefetch, with the FHIR server of the suite in its place."""
    request = _without(copy.deepcopy(dict(each.posed.body)), "prefetch")
    request["fhirServer"] = fhir.base
    request["fhirAuthorization"] = {
        "access_token": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "patient/*.read",
        "subject": "conformance",
        "patient": each.posed.body["context"]["patientId"],
    }
    return request


@requirement("60", "61")
def test_each_call_of_the_fhir_server_carries_the_access_token(
    exchanges: list[Exchange], target: Target, fhir: LocalServer, records: Records
) -> None:
    fhir.received.clear()
    for each in _prefetching(exchanges):
        target.call(each.service["id"], _asking(each, fhir))
    if not fhir.received and not target.is_ours:
        pytest.skip(f"the service did not ask the suite's FHIR server at {fhir.base}")
    assert fhir.received
    assert {asked.headers.get("authorization") for asked in fhir.received} == {f"Bearer {ACCESS_TOKEN}"}


@requirement("34")
def test_the_fhir_server_gives_the_cards_that_prefetch_gives(
    exchanges: list[Exchange], target: Target, fhir: LocalServer, records: Records
) -> None:
    compared = 0
    fhir.received.clear()
    for each in _prefetching(exchanges):
        served = _served(each.posed.body, each.service)
        if len(served) < len(each.posed.body["prefetch"]):
            continue  # the client has keys of its own, which say nothing of an address
        records.at = served
        try:
            fetched = target.call(each.service["id"], _asking(each, fhir))
        finally:
            records.at = {}
        if not fhir.received and not target.is_ours:
            pytest.skip(f"the service did not ask the suite's FHIR server at {fhir.base}")
        whole = dict(each.posed.body)
        whole["prefetch"] = {key: NOTHING for key in each.service["prefetch"] if "?" in each.service["prefetch"][key]}
        whole["prefetch"] |= each.posed.body["prefetch"]
        assert _summary(fetched) == _summary(target.call(each.service["id"], whole)), str(each)
        compared += 1
    if not compared and not target.is_ours:
        pytest.skip("no request has the prefetch that discovery asks for")
    assert compared


# Browsers, extensions, other hooks ---------------------------------------------------------------------------------


@requirement("208")
def test_a_client_in_a_browser_is_let_in_after_its_preflight(target: Target, services: list[dict[str, Any]]) -> None:
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization,content-type"
    for service in services:
        preflight = target.send("OPTIONS", f"/cds-services/{service['id']}", headers=asks)
        if "Access-Control-Allow-Origin" not in preflight.headers and not target.is_ours:
            pytest.skip(f"the service does not let in {ORIGIN}")
        assert preflight.status in (200, 204)
        assert preflight.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
        assert "authorization" in allowed
        assert "content-type" in allowed
        answer = target.post(service["id"], b"{}", Origin=ORIGIN)
        assert answer.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")


@requirement("214")
def test_an_extension_is_an_object(responses: list[Request], cards: list[Request]) -> None:
    given = [each["extension"] for each in (*responses, *cards) if "extension" in each]
    if not given:
        pytest.skip("nothing has an extension")
    assert all(isinstance(each, dict) for each in given)


@requirement("215")
def test_extensions_are_named_in_reversed_domain_notation(responses: list[Request], cards: list[Request]) -> None:
    given = [each["extension"] for each in (*responses, *cards) if isinstance(each.get("extension"), dict)]
    if not given:
        pytest.skip("nothing has an extension")
    assert {key for each in given for key in each if key.count(".") < 2} == set()


@requirement("214")
def test_an_extension_of_the_request_changes_nothing(exchanges: list[Exchange], target: Target) -> None:
    for each in exchanges:
        if each.answer.status == 200:
            extended = dict(each.posed.body) | {"extension": {"org.example.suite": {"a": [1, {"b": None}]}}}
            answer = target.call(each.service["id"], extended)
            assert _summary(answer) == _summary(each.answer), str(each)


@requirement("210")
def test_a_later_hook_gives_the_cards_of_the_order_as_it_then_is(exchanges: list[Exchange], target: Target) -> None:
    """The same order, selected and then signed: both answers stand for themselves, with uuids of their own."""
    hooks = {each.service["hook"]: each.service["id"] for each in exchanges}
    if not {"order-select", "order-sign"} <= hooks.keys():
        pytest.skip("the service is not at both hooks of an order")
    signed = next(each for each in _prefetching(exchanges) if each.posed.hook == "order-sign")
    entries = signed.posed.body["context"]["draftOrders"]["entry"]
    chosen = [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in entries]
    selected: dict[str, Any] = json.loads(json.dumps(signed.posed.body, default=float))
    selected |= {"hook": "order-select", "hookInstance": "7f3c2b10-6d1e-4c55-9a01-000000000302"}
    selected["context"]["selections"] = chosen
    earlier = target.call(hooks["order-select"], selected)
    assert _summary(earlier)
    assert {card.get("uuid") for card in earlier.content["cards"]}.isdisjoint(
        card.get("uuid") for card in signed.answer.content["cards"]
    )


# Feedback ----------------------------------------------------------------------------------------------------------


@requirement("148")
def test_feedback_is_taken(exchanges: list[Exchange], target: Target) -> None:
    shown = [
        (each, card)
        for each in exchanges
        if each.answer.status == 200
        for card in each.answer.content["cards"]
        if "uuid" in card
    ]
    if not shown:
        pytest.skip("no card has a uuid that feedback could name")
    each, card = shown[0]
    for said in _feedback(card):
        assert broken(said, FEEDBACK) == []
        body = json.dumps(said).encode()
        answer = target.post(f"{each.service['id']}/feedback", body)
        if answer.status == 404 and not target.is_ours:
            pytest.skip("the service has no feedback endpoint")
        assert answer.status == 200, answer.body[:300]


def _feedback(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Taken, overridden with and without a reason, and both at once."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    suggestions = [{"id": each["uuid"]} for each in card.get("suggestions", ()) if "uuid" in each]
    entry = {"card": card["uuid"], "outcomeTimestamp": when}
    said: list[dict[str, Any]] = [entry | {"outcome": "overridden"}]
    if suggestions:
        said.append(entry | {"outcome": "accepted", "acceptedSuggestions": suggestions[:1]})
    for reason in card.get("overrideReasons", [])[:1]:
        given = {"reason": {"code": reason["code"], "system": reason["system"]}, "userComment": "seen"}
        said.append(entry | {"outcome": "overridden", "overrideReason": given})
    return [*({"feedback": [each]} for each in said), {"feedback": said}]

"""Errors over HTTP: the right status, an OperationOutcome in JSON, and nothing of what was sent."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import pages, services
from tests.hooks.client import client, encoded, topics
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import hook_request

SIGN = "/cds-services/ketamine-order-sign"
SECRET = "SECRET-7c1f"
LIMIT = 20_000
JSON = "application/json"
READING = {"GET", "HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge, Settings(max_body_bytes=LIMIT))


def _outcome(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The one issue of the OperationOutcome that every error is."""
    assert answer.status_code == status
    assert answer.content_type == JSON
    body = decoded(answer.data)
    assert set(body) == {"resourceType", "issue"}
    assert body["resourceType"] == "OperationOutcome"
    (issue,) = body["issue"]
    assert (issue["severity"], issue["code"]) == ("error", code)
    assert issue["diagnostics"]
    assert SECRET not in answer.text
    assert all(SECRET not in value for value in answer.headers.values())
    return issue


def _ketamine(**order: Any) -> bytes:
    return encoded(hook_request({"order": {"rate": "1.2 mg/kg/h", **order}}))


# 400 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [SECRET, f'"{SECRET}"', f'["{SECRET}"]', f'{{"a": {SECRET}}}'])
def test_a_body_that_is_no_json_object_is_400(body: str, http: FlaskClient) -> None:
    _outcome(http.post(SIGN, data=body, content_type=JSON), 400, "structure")


@pytest.mark.parametrize(
    "element", ["hook", "hookInstance", "context", "prefetch", "fhirServer", "fhirAuthorization"]
)
@pytest.mark.parametrize("value", [SECRET, [SECRET], {SECRET: SECRET}])
def test_nothing_that_was_sent_comes_back_in_an_error(element: str, value: Any, http: FlaskClient) -> None:
    _outcome(http.post(SIGN, json={element: value}), 400, "structure")


@pytest.mark.parametrize("element", ["patientId", "draftOrders", "selections", "userId"])
def test_nothing_of_the_context_comes_back_in_an_error(element: str, http: FlaskClient) -> None:
    _outcome(http.post(SIGN, json={"context": {element: SECRET}}), 400, "structure")


# 404, 405 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [SECRET, "ketamine-patient-views", "order-sign", "KETAMINE-ORDER-SIGN"])
def test_an_unknown_service_is_404_and_the_known_ones_are_named(service: str, http: FlaskClient) -> None:
    issue = _outcome(http.post(f"/cds-services/{service}", json={}), 404, "not-found")
    assert "ketamine-order-select, ketamine-order-sign" in issue["diagnostics"]


@pytest.mark.parametrize("path", [f"/{SECRET}", f"/protocol/{SECRET}", f"{SIGN}/x"])
def test_an_unknown_path_is_404(path: str, http: FlaskClient) -> None:
    _outcome(http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/cds-services", {"GET", "HEAD", "OPTIONS"}),
        (SIGN, {"POST", "OPTIONS"}),
        ("/protocol/x", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_another_method_is_405_and_the_allowed_ones_are_named(
    path: str, methods: set[str], http: FlaskClient
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
        answer = http.open(path, method=method, data=SECRET)
        _outcome(answer, 405, "not-supported")
        assert {allowed.strip() for allowed in answer.headers["Allow"].split(",")} == methods


def test_options_names_the_methods_and_has_no_body(http: FlaskClient) -> None:
    answer = http.options(SIGN)
    assert (answer.status_code, answer.data) == (200, b"")
    assert {allowed.strip() for allowed in answer.headers["Allow"].split(",")} == {"POST", "OPTIONS"}


def test_head_of_an_error_has_its_status_and_no_body(http: FlaskClient) -> None:
    assert (http.head("/nothing").status_code, http.head("/nothing").data) == (404, b"")
    assert (http.head(SIGN).status_code, http.head(SIGN).data) == (405, b"")


# 413, 415 ----------------------------------------------------------------------------------------------------------


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413(http: FlaskClient) -> None:
    body = _ketamine()
    fits = body + b" " * (LIMIT - len(body))
    assert http.post(SIGN, data=fits, content_type=JSON).status_code == 200
    issue = _outcome(http.post(SIGN, data=fits + b" ", content_type=JSON), 413, "too-long")
    assert str(LIMIT) in issue["diagnostics"]


def test_a_body_without_a_declared_length_is_held_to_the_same_limit(http: FlaskClient) -> None:
    def post(body: bytes) -> TestResponse:
        environment = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        stream = io.BytesIO(body)
        return http.post(
            SIGN,
            input_stream=stream,
            content_type=JSON,
            environ_overrides=environment,
            headers={"Content-Length": ""},
        )

    assert topics(decoded(post(_ketamine()).data)) == ["rate-exceeds-ceiling"]
    _outcome(post(b" " * (LIMIT + 1)), 413, "too-long")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jsonp", SECRET]
)
def test_another_media_type_is_415(media_type: str, http: FlaskClient) -> None:
    _outcome(http.post(SIGN, data=_ketamine(), content_type=media_type), 415, "not-supported")


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/json; charset=utf-8", "application/fhir+json", "APPLICATION/JSON", None],
)
def test_json_by_any_of_its_names_is_read(media_type: str | None, http: FlaskClient) -> None:
    answer = http.post(SIGN, data=_ketamine(), content_type=media_type)
    assert answer.status_code == 200
    assert topics(decoded(answer.data)) == ["rate-exceeds-ceiling"]


# Failures of the service itself ------------------------------------------------------------------------------------


def test_a_failure_of_the_service_is_said_on_a_card_and_logged_without_what_was_sent(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(f"about {SECRET}")

    monkeypatch.setattr(services, "advice", fail)
    with caplog.at_level(logging.DEBUG):
        answer = client(knowledge).post(SIGN, data=_ketamine(), content_type=JSON)
    assert answer.status_code == 200
    body = decoded(answer.data)
    assert faults(body) == []
    (card,) = body["cards"]
    assert card["summary"] == knowledge.texts.words.say("failed")
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == "could-not-check"
    assert "RuntimeError" in caplog.text
    assert "test_errors.py" in caplog.text
    assert SECRET not in caplog.text + answer.text


def test_the_failure_card_is_no_answer_that_could_be_taken_for_a_check(knowledge: Knowledge) -> None:
    assert "not checked" in knowledge.texts.words.say("failed")


def test_an_answer_that_cannot_be_written_is_a_failure_that_is_said(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = services.advice

    def unwritable(*given: Any) -> Any:
        made = real(*given)
        assert made.response.extension is not None
        made.response.extension["io.github.ketamine-cds"]["broken"] = "\ud83d"
        return made

    monkeypatch.setattr(services, "advice", unwritable)
    answer = client(knowledge).post(SIGN, data=_ketamine(), content_type=JSON)
    assert answer.status_code == 200
    assert decoded(answer.data)["cards"][0]["summary"] == knowledge.texts.words.say("failed")


def test_any_other_failure_is_an_operation_outcome_without_the_reason(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    http = client(knowledge)
    http.application.testing = False
    monkeypatch.setattr(pages, "render_template", fail)
    _outcome(http.get("/protocol/weight-missing"), 500, "processing")


# Pages -------------------------------------------------------------------------------------------------------------


def test_every_topic_that_a_card_can_have_has_its_page(knowledge: Knowledge) -> None:
    http = client(knowledge)
    for topic in [*knowledge.protocol.rules, "could-not-check", "further-warnings"]:
        answer = http.get(f"/protocol/{topic}")
        assert answer.status_code == 200, topic
        assert answer.mimetype == "text/html"
        assert knowledge.protocol.version in answer.text

"""Logs, figures, health and traces: what operators see of a request, and what nobody may ever see of a patient."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import logs, metrics, observe, traces
from cds_service.web.app import create_app
from tests.hooks.client import client, encoded
from tests.scenarios.build import NOW, hook_request
from tests.servers.local import Received, Reply, local_server
from tests.web.test_server import PATIENCE, started

SIGN = "/cds-services/ketamine-order-sign"
JSON = {"Content-Type": "application/json"}
ORDER = {"order": {"rate": "1.2 mg/kg/h"}}

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Figures:
    """What /metrics says more than when this was made."""

    def __init__(self, http: FlaskClient) -> None:
        self._http = http
        self._before = samples(http.get("/metrics").text)

    def more(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return samples(self._http.get("/metrics").text).get(key, 0) - self._before.get(key, 0)


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge)


@pytest.fixture
def lines(http: FlaskClient) -> Iterator[list[dict[str, Any]]]:
    """What this service's logger writes, as the lines that would stand on standard error."""
    found: list[dict[str, Any]] = []

    class Catching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(self.format(record)))

    handler, ours = Catching(), logging.getLogger(logs.OURS)
    handler.setFormatter(logs.JsonLines())
    ours.addHandler(handler)
    level = ours.level
    ours.setLevel(logging.INFO)
    yield found
    ours.removeHandler(handler)
    ours.setLevel(level)


# Log lines ---------------------------------------------------------------------------------------------------------


def test_a_call_is_one_line_that_says_who_what_and_how_long(http: FlaskClient, lines: list[dict[str, Any]]) -> None:
    request = hook_request(ORDER | {"patient": {"missing": ["conditions"]}})
    sent = http.post(SIGN, data=encoded(request), headers={**JSON, "X-Request-ID": "ehr-4711.a:b"})
    (line,) = lines
    cards = sent.get_json()["cards"]
    missing = sent.get_json()["extension"]["io.github.ketamine-cds"]["notChecked"]
    assert missing
    assert line["ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert {key: line[key] for key in line if key not in ("ms", "time")} == {
        "level": "INFO",
        "logger": "ketamine_cds",
        "says": "answered",
        "request": "ehr-4711.a:b",
        "client": "anonymous",
        "service": "ketamine-order-sign",
        "status": 200,
        "cards": len(cards),
        "couldNotCheck": len(missing),
    }


@pytest.mark.parametrize(
    ("method", "path", "service", "status"),
    [
        ("GET", "/cds-services", "discover", 200),
        ("POST", "/cds-services/Miller-1950", "unknown", 404),
        ("GET", "/patients/Miller", "none", 404),
        ("DELETE", SIGN, "none", 405),
        ("GET", "/healthz", "healthz", 200),
    ],
)
def test_a_path_is_logged_only_by_the_name_of_its_route(
    method: str, path: str, service: str, status: int, http: FlaskClient, lines: list[dict[str, Any]]
) -> None:
    http.open(path, method=method, data=b"{}", content_type="application/json")
    assert [(line["service"], line["status"]) for line in lines] == [(service, status)]
    assert "Miller" not in str(lines)


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>", "née", "", "../etc", "-"])
def test_a_request_id_that_is_no_plain_token_is_replaced(given: str, http: FlaskClient) -> None:
    sent = http.get("/healthz", headers={"X-Request-ID": given.encode().decode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", sent.headers["X-Request-ID"])


def test_every_answer_has_its_request_id_also_an_error(http: FlaskClient) -> None:
    for path in ("/cds-services", "/nothing", "/healthz"):
        assert http.get(path, headers={"X-Request-ID": "abc"}).headers["X-Request-ID"] == "abc"
    assert http.get("/nothing").headers["X-Request-ID"] != http.get("/nothing").headers["X-Request-ID"]


def _line(name: str, message: str, *arguments: object, error: BaseException | None = None) -> dict[str, Any]:
    given = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.ERROR, "/a/module.py", 7, message, arguments, given)
    written: dict[str, Any] = json.loads(logs.JsonLines().format(record))
    return written


def test_of_a_library_only_the_place_is_logged_where_it_spoke() -> None:
    line = _line("urllib3.connectionpool", "Failed to parse headers (url=%s)", "https://ehr/Condition?patient=p1")
    assert "patient" not in str(line)
    assert line["place"] == "module:7"


def test_of_an_error_its_type_and_place_are_logged_and_not_its_message() -> None:
    try:
        raise ValueError("weight of Miller")
    except ValueError as error:
        line = _line("ketamine_cds.store", "not written", error=error)
    assert line["says"] == "not written"
    assert line["error"].startswith("ValueError at ")
    assert "Miller" not in str(line)


PROGRAM = """
import logging, threading
from cds_service.web import logs
logs.to_stderr("WARNING")
logging.getLogger("ketamine_cds").info("too low")
logging.getLogger("ketamine_cds").warning("wrong number of arguments: %d", "Miller")
logging.getLogger("a.library").info("Miller")
logging.getLogger("a.library").warning("Miller")
def fail(): raise ValueError("Miller")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


def test_standard_error_holds_json_lines_only_and_no_message_of_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    written = [json.loads(line) for line in done.stderr.splitlines()]
    assert "Miller" not in done.stderr
    assert [line["logger"] for line in written] == ["a.library", "ketamine_cds"]
    assert written[1]["says"].startswith("a thread ended: ValueError at ")


def test_a_log_that_nobody_reads_holds_up_nobody_and_says_later_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's own handler waits for the reader, and every thread that logs waits for the handler."""
    monkeypatch.setattr(logs.Aside, "WAITING", 100)
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as pipe, os.fdopen(writing, "w", encoding="utf-8") as stream:
        handler = logs.Aside(stream)
        handler.setFormatter(logs.JsonLines())

        def tell(words: str) -> None:
            handler.handle(logging.LogRecord(logs.OURS, logging.INFO, __file__, 1, words, None, None))

        for _ in range(1000):  # a pipe holds 64 kB
            tell("x" * 1000)
        says: list[str] = []
        reader = threading.Thread(target=lambda: says.extend(json.loads(line)["says"] for line in pipe))
        reader.start()
        handler.flush()
        tell("the last one")
        handler.flush()
        stream.close()
        reader.join(PATIENCE)
    left_out = sum(int(each.split()[0]) for each in says if each.endswith("lines of the log were left out"))
    assert left_out > 0
    assert says.count("x" * 1000) + left_out == 1000
    assert "the last one" in says


# Figures -----------------------------------------------------------------------------------------------------------


def test_a_call_is_counted_by_service_status_cards_and_missing_facts(http: FlaskClient) -> None:
    figures = Figures(http)
    request = hook_request(ORDER | {"patient": {"missing": ["conditions"]}})
    answer = http.post(SIGN, data=encoded(request), headers=JSON).get_json()
    http.post(SIGN, data=b"{", headers=JSON)
    service = "ketamine-order-sign"
    assert figures.more("ketamine_cds_requests_total", service=service, status="200") == 1
    assert figures.more("ketamine_cds_requests_total", service=service, status="400") == 1
    assert figures.more("ketamine_cds_request_duration_seconds_count", service=service) == 2
    assert figures.more("ketamine_cds_request_duration_seconds_bucket", service=service, le="+Inf") == 2
    for card in answer["cards"]:
        topic = card["source"]["topic"]["code"]
        assert figures.more("ketamine_cds_cards_total", rule=topic, severity=card["indicator"]) == 1
    missing = len(answer["extension"]["io.github.ketamine-cds"]["notChecked"])
    assert 0 < figures.more("ketamine_cds_could_not_tell_total", fact="conditions") <= missing
    assert figures.more("ketamine_cds_failures_total") == 0


def test_searches_on_a_fhir_server_are_counted_by_how_they_ended(knowledge: Knowledge) -> None:
    nothing = b'{"resourceType":"Bundle","type":"searchset"}'
    half = b'{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"https://else.org/2"}]}'

    def script(request: Received) -> Reply:
        if "/Condition" in request.path:
            return Reply(status=403)
        return Reply(half if "/AllergyIntolerance" in request.path else nothing)

    with local_server(script) as server:
        http = client(knowledge, Settings(fhir_servers=(server.base,), fhir_deadline_ms=20_000))
        figures = Figures(http)
        request = hook_request(ORDER) | {"prefetch": {}, "fhirServer": server.base}
        assert http.post(SIGN, data=encoded(request), headers=JSON).status_code == 200
        asked = len(server.received)
    ended = {
        result: figures.more("ketamine_cds_fallback_fetches_total", result=result)
        for result in ("complete", "partial", "failed")
    }
    assert ended["partial"] == 1
    assert ended["failed"] >= 1
    assert sum(ended.values()) == asked


def test_without_a_fhir_server_no_search_is_counted(http: FlaskClient) -> None:
    figures = Figures(http)
    http.post(SIGN, data=encoded(hook_request(ORDER) | {"prefetch": {}}), headers=JSON)
    for result in ("complete", "partial", "failed"):
        assert figures.more("ketamine_cds_fallback_fetches_total", result=result) == 0


def test_a_failure_of_the_service_is_counted(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("cds_service.web.services.advice", fail)
    http = client(knowledge)
    figures = Figures(http)
    assert http.post(SIGN, data=encoded(hook_request(ORDER)), headers=JSON).status_code == 200
    assert figures.more("ketamine_cds_failures_total") == 1


def test_a_label_is_always_a_word_that_the_service_knows(http: FlaskClient) -> None:
    """Else a caller could fill the memory with labels, or write a name into the figures."""
    for number in range(20):
        http.get(f"/cds-services/Miller{number}")
        http.post(f"/Miller{number}")
        http.post(f"/cds-services/Miller{number}", data=b"{}", headers=JSON)
    assert "Miller" not in http.get("/metrics").text


def test_watching_a_request_costs_less_than_three_in_a_hundred(http: FlaskClient) -> None:
    """The time of all counting of a call beside that of the call itself; the quickest of several rounds of each."""
    body = encoded(hook_request(ORDER))

    def call() -> None:
        http.post(SIGN, data=body, headers=JSON)

    def count() -> None:
        metrics.answered("ketamine-order-sign", 200, 0.004)
        metrics.carded([("rate-exceeds-ceiling", "critical"), ("could-not-check", "warning")])
        metrics.could_not_tell(["conditions", "allergies", "weight"])
        metrics.fetched("complete")

    assert _quickest(count, 200) < 0.03 * _quickest(call, 5)


def _quickest(act: Any, times: int) -> float:
    """Seconds for one, of the quickest round."""
    rounds = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(times):
            act()
        rounds.append((time.perf_counter() - start) / times)
    return min(rounds)


# Health ------------------------------------------------------------------------------------------------------------


def test_the_service_is_well_and_ready(http: FlaskClient) -> None:
    assert http.get("/healthz").get_json() == {"status": "ok", "checks": {}}
    ready = http.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "ready")
    assert ready.get_json()["checks"]["protocol"] is True


def _raise() -> bool:
    raise ConnectionError("password of the store")


@pytest.mark.parametrize("check", [lambda: False, _raise])
def test_the_service_is_not_ready_while_a_check_does_not_hold(
    check: observe.Check, knowledge: Knowledge, lines: list[dict[str, Any]]
) -> None:
    http = client(knowledge)
    observe.ready_if(http.application, "store", check)
    ready = http.get("/readyz")
    assert ready.status_code == 503
    assert ready.get_json() == {"status": "not ready", "checks": {"protocol": True, "store": False}}
    assert http.get("/healthz").status_code == 200
    assert "password" not in str(lines) + ready.text


# Traces ------------------------------------------------------------------------------------------------------------


def test_without_being_asked_no_tracing_library_is_loaded(tmp_path: Path) -> None:
    program = "import sys, cds_service.web.app; assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=PATIENCE)


@pytest.mark.parametrize("variable", traces.ASKING)
def test_asking_for_traces_without_the_extra_stops_the_start(variable: str, tmp_path: Path) -> None:
    if all(map(traces._is_installed, traces.NEEDED)):
        pytest.skip("the extra otel is installed")
    with started(tmp_path, None, **{variable: "http://127.0.0.1:4318"}) as running:
        assert running.process.wait(PATIENCE) == 3
        assert running.said == (
            f"ketamine-cds: {variable} asks for traces, and the extra otel is not installed: "
            "install ketamine-cds[otel], or take the variable away\n"
        )


def test_an_application_that_cannot_trace_as_asked_is_not_made(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr(traces, "NEEDED", ("no.such.module",))
    with pytest.raises(RuntimeError, match="the extra otel is not installed"):
        create_app(Settings(), knowledge, clock=lambda: NOW)


class Span:
    """A span as the library hands it over: of its attributes the address holds what the caller wrote."""

    def __init__(self) -> None:
        self.name = "GET /Miller"
        self.attributes = {"http.url": "http://127.0.0.1/Miller?patient=Miller", "http.method": "GET"}
        self.update_name = lambda name: setattr(self, "name", name)
        self.set_attribute = self.attributes.__setitem__
        self.is_recording = lambda: True


@pytest.mark.parametrize(
    ("path", "name"),
    [("/cds-services/Miller/feedback", "POST /cds-services/<service_id>/feedback"), ("/Miller?a=Miller", "POST")],
)
def test_a_span_holds_the_route_and_not_the_address(path: str, name: str, http: FlaskClient) -> None:
    span = Span()
    with http.application.test_request_context(path, method="POST"):
        traces._withhold(span, "200 OK", [])
    assert span.name == name
    assert "Miller" not in str(span.attributes)
    assert span.attributes["http.method"] == "GET"

"""Logs and figures of a service as it is really run: nothing of a patient in them, and one sum of all workers."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fuzz.mutate import bases, case
from tests.hooks.client import encoded
from tests.waiting import until
from tests.web.test_observe import JSON, SIGN, samples
from tests.web.test_server import PATIENCE, Running, started

TOKEN = "secret-token-of-the-ehr-eyJhbGciOi"
FUZZED = 300
OUR_WORDS = {"ketamine"}
"""Of the examples' words those that stand in our own names: the service's, the logger's."""


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, string) of every text in a request."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, str):
        yield key, value


def _secrets(request: Mapping[str, Any]) -> set[str]:
    """What could tell of a patient: names, identifiers, references, tokens and every text in words."""
    told = {"id", "reference", "patientId", "encounterId", "userId", "family", "given", "text", "display", "value"}
    told |= {
        "birthDate",
        "hookInstance",
        "access_token",
        "fhirServer",
        "patientInstruction",
        "fullUrl",
        "valueString",
    }
    return {text for key, text in _strings(request) if key in told and len(text) > 3}


def _figures(served: Running) -> dict[Any, float]:
    return samples(requests.get(f"{served.base}/metrics", timeout=PATIENCE).text)


def _lines(served: Running) -> list[str]:
    return [line for line in served.said.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("observed"), None, KETAMINE_CDS_WORKERS="2") as running:
        running.wait_for("Listening on ")
        yield running


def test_nothing_of_a_patient_stands_in_the_logs_or_figures_of_a_served_run(served: Running) -> None:
    """All examples, errors, a FHIR server that is asked for, and mutated bodies."""
    secrets = {TOKEN, "Miller"}
    rng, stock = random.Random(7), bases()
    with requests.Session() as session:

        def post(path: str, body: bytes, **headers: str) -> int:
            return session.post(served.base + path, body, headers=JSON | headers, timeout=PATIENCE).status_code

        for base in stock:
            secrets |= _secrets(base.value)
            authorization = {"access_token": TOKEN, "token_type": "Bearer"}
            whole = base.value | {"fhirServer": "http://127.0.0.1:9/Miller", "fhirAuthorization": authorization}
            status = post(f"/cds-services/{base.service}", encoded(whole), Authorization=f"Bearer {TOKEN}")
            assert status in (200, 400, 412)
        for number in range(FUZZED):
            each = case(rng, stock)
            assert post(f"/cds-services/{each.service}", each.body) < 500, f"number {number}: {each.kinds}"
        assert post("/cds-services/Miller", b"{}") == 404
        assert post("/Miller?patient=Miller", TOKEN.encode()) == 404
        assert post(SIGN, b'{"hook":"Miller"}') == 400
        figures = session.get(f"{served.base}/metrics", timeout=PATIENCE).text
    until(lambda: len(_lines(served)) >= len(stock) + FUZZED + 3, "a line for each request")  # written aside
    lines = _lines(served)
    assert "Traceback" not in served.said
    # The ids that the service makes are random digits: a short identifier stands in one of them now and then.
    written = re.sub(r'"request":"[0-9a-f]{32}"', "", "\n".join(lines))
    for secret in secrets - OUR_WORDS:
        assert secret not in written, f"{secret!r} stands in the logs"
    labels = {value for _, of in samples(figures) for _, value in of}
    assert labels.isdisjoint(secrets)
    assert not [value for value in labels if "Miller" in value or TOKEN in value]
    assert not [value for value in labels if not re.fullmatch(r"[A-Za-z0-9/.+ -]{1,60}", value)]


def test_the_figures_of_all_workers_are_added_up(served: Running) -> None:
    """Connections that are opened anew meet both workers; each of them answers for both."""

    def counted() -> float:
        text = requests.get(f"{served.base}/metrics", timeout=PATIENCE).text
        labels = frozenset({("service", "discover"), ("status", "200"), ("client", "anonymous")})
        return samples(text)["ketamine_cds_requests_total", labels]

    requests.get(f"{served.base}/cds-services", timeout=PATIENCE)
    before = counted()
    for _ in range(40):
        requests.get(f"{served.base}/cds-services", timeout=PATIENCE)
    assert {counted() for _ in range(10)} == {before + 40}


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="the kernel does not tell its connections")
def test_connections_are_counted_whether_or_not_they_ask_anything(served: Running) -> None:
    def figure(name: str) -> float:
        return sum(
            value for (full, _), value in _figures(served).items() if full == f"ketamine_cds_connections_{name}"
        )

    opened, used = figure("open"), figure("used_total")
    address = ("127.0.0.1", int(served.base.rpartition(":")[2]))
    with closing(HTTPConnection(*address, timeout=PATIENCE)) as asking, socket.create_connection(address):
        for _ in range(2):
            asking.request("GET", "/healthz")
            asking.getresponse().read()
        assert figure("open") >= opened + 2
        assert 1 <= figure("used_total") - used <= 4, "one for each of these readings, one for both that asked"
    assert figure("waiting") >= 0
    assert figure("overflows") >= 0


def test_the_log_lines_of_a_served_run_are_json_with_a_request_id(served: Running) -> None:
    sent = requests.get(f"{served.base}/cds-services", headers={"X-Request-ID": "from-a-test"}, timeout=PATIENCE)
    assert sent.headers["X-Request-ID"] == "from-a-test"
    served.wait_for("from-a-test")
    (line,) = [json.loads(line) for line in served.said.splitlines() if "from-a-test" in line]
    assert (line["service"], line["status"], line["client"]) == ("discover", 200, "anonymous")


def test_the_folder_of_the_figures_goes_with_the_service(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(tmp_path, None, TMPDIR=str(temporary)) as running:
        running.wait_for("Listening on ")
        assert list(temporary.glob("ketamine-cds-*/*.db"))
        assert running.stop() == 0
    assert list(temporary.glob("ketamine-cds-*")) == []

"""The service as `make run` starts it: a real granian process, an example over HTTP, and a clean end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from cds_service.hooks.discovery import BY_ID
from tests.hooks.client import encoded, topics
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import hook_request
from tests.servers.ports import unused_port
from tests.waiting import until

PATIENCE = 180
"""Seconds for a machine that is busy with something else; only a failure takes so long."""
JSON = {"Content-Type": "application/json"}
ORDER = {"order": {"rate": "1.2 mg/kg/h"}, "patient": {"weight": "80 kg"}}


class Running:
    """A started service and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, base: str) -> None:
        self.process = process
        self.output = output
        self.base = base

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8")

    def wait_for(self, words: str) -> str:
        def is_said() -> bool:
            is_over = self.process.poll() is not None
            assert words in self.said or not is_over, f"the service ended: {self.said}"
            return words in self.said

        until(is_said, f"{words!r} was not said")
        return self.said

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def started(
    folder: Path, request: dict[str, Any] | None, arguments: Sequence[str] = (), **settings: str
) -> Iterator[Running]:
    port = unused_port()
    command = [sys.executable, "-m", "cds_service.cli", "serve", *arguments]
    if request is not None:
        (folder / "request.json").write_bytes(encoded(request))
        command += ["--example", str(folder / "request.json")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KETAMINE_CDS_")}
    environment |= {
        "KETAMINE_CDS_PORT": str(port),
        "KETAMINE_CDS_WORKERS": "1",
        "KETAMINE_CDS_SPARE_WORKERS": "0",
        "KETAMINE_CDS_CONSOLE": "off",
        "KETAMINE_CDS_STATE_DIR": str(folder / "state"),
        **settings,
    }
    output = folder / "output.txt"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        ) as process,
    ):
        try:
            yield Running(process, output, f"http://127.0.0.1:{port}")
        finally:
            # Its workers too: they outlive a parent that is killed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(
        tmp_path_factory.mktemp("service"), hook_request(ORDER), KETAMINE_CDS_MAX_BODY_BYTES="100000"
    ) as running:
        running.wait_for("Listening on ")
        yield running


def test_the_start_shows_the_order_its_cards_and_where_the_service_listens(service: Running) -> None:
    said = service.wait_for("Listening on ")
    lines = said.splitlines()
    assert (
        f"Posted {service.output.parent / 'request.json'} to {service.base}/cds-services/ketamine-order-sign" in lines
    )
    assert "  order: ketamine: 1.2 mg/kg/h" in lines
    assert any(line.startswith("CRITICAL  Rate 1.2 mg/kg/h is above the ceiling 1") for line in lines)
    assert any(line.startswith("          -> Change to 0.5 mg/kg/h (40 mg/h)") for line in lines)
    assert f"Listening on {service.base}. Services: {service.base}/cds-services" in lines
    assert "Traceback" not in said


def test_the_start_says_where_to_look_and_what_to_know_below_the_cards(service: Running) -> None:
    said = service.wait_for("Listening on ")
    after = said[said.index("-> Change to") :]
    browser, rule, another, notes = (
        after.index(words)
        for words in (
            f"In the browser: {service.base}/\n",
            f"Rule and sources of this card: {service.base}/protocol/rate-exceeds-ceiling",
            "Try: ",
            "Before it is more than a trial:\n- AUTHENTICATION OFF",
        )
    )
    assert browser < rule < another < notes
    for url in (f"{service.base}/", *re.findall(r"this card: (\S+)", after)):
        assert requests.get(url, timeout=PATIENCE).headers["Content-Type"].startswith("text/html")


def test_discovery_is_served(service: Running) -> None:
    answer = requests.get(f"{service.base}/cds-services", timeout=PATIENCE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert [each["id"] for each in answer.json()["services"]] == list(BY_ID)


def test_an_order_is_judged_over_http(service: Running) -> None:
    """The clock is the machine's: the weight of the request is of another day, and that is said."""
    url = f"{service.base}/cds-services/ketamine-order-sign"
    answer = requests.post(url, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    body = decoded(answer.content)
    assert faults(body) == []
    assert topics(body)[0] == "rate-exceeds-ceiling"


def test_a_card_links_to_a_page_that_is_served(service: Running) -> None:
    url = f"{service.base}/cds-services/ketamine-order-sign"
    answer = requests.post(url, encoded(hook_request(ORDER)), headers=JSON, timeout=PATIENCE)
    for card in answer.json()["cards"]:
        page = requests.get(card["source"]["url"], timeout=PATIENCE)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")


def test_a_body_in_pieces_is_read_whole(service: Running) -> None:
    """Chunked: no length is declared."""
    body = encoded(hook_request(ORDER))
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
    url = f"{service.base}/cds-services/ketamine-order-sign"
    answer = requests.post(url, pieces, headers=JSON, timeout=PATIENCE)
    assert answer.status_code == 200
    assert topics(answer.json())[0] == "rate-exceeds-ceiling"


def test_a_body_that_is_too_large_is_refused(service: Running) -> None:
    url = f"{service.base}/cds-services/ketamine-order-sign"
    whole = requests.post(url, b" " * 100_001, headers=JSON, timeout=PATIENCE)
    pieces = requests.post(url, (b" " * 1000 for _ in range(101)), headers=JSON, timeout=PATIENCE)
    for answer in (whole, pieces):
        assert answer.status_code == 413
        assert answer.json()["issue"][0]["code"] == "too-long"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/cds-services/ketamine-order-sign", 405),
     ("POST", "/cds-services/unknown", 404), ("POST", "/cds-services/ketamine-order-sign", 400),
     ("POST", "/cds-services", 405)],
)  # fmt: skip
def test_errors_are_operation_outcomes(method: str, path: str, status: int, service: Running) -> None:
    answer = requests.request(method, service.base + path, timeout=PATIENCE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_head_and_options_are_served(service: Running) -> None:
    head = requests.head(f"{service.base}/cds-services", timeout=PATIENCE)
    assert (head.status_code, head.content) == (200, b"")
    options = requests.options(f"{service.base}/cds-services/ketamine-order-sign", timeout=PATIENCE)
    assert options.status_code == 200
    assert "POST" in options.headers["Allow"]


def test_a_connection_is_kept_for_the_next_call(service: Running) -> None:
    connection = http.client.HTTPConnection(service.base.removeprefix("http://"), timeout=PATIENCE)
    body = encoded(hook_request(ORDER))
    for _ in range(3):
        connection.request("POST", "/cds-services/ketamine-order-sign", body, JSON)
        first = connection.sock
        assert topics(json.loads(connection.getresponse().read()))[0] == "rate-exceeds-ceiling"
        assert connection.sock is first
    connection.close()


def test_a_terminated_service_ends_and_lets_go_of_its_port(tmp_path: Path) -> None:
    with started(tmp_path, None) as running:
        running.wait_for("Listening on ")
        assert "Posted" not in running.said
        assert running.stop() == 0
        assert "Traceback" not in running.said
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{running.base}/cds-services", timeout=5)


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started(tmp_path, None, KETAMINE_CDS_PORT=port) as running:
            assert running.process.wait(PATIENCE) == 3
            assert running.said == (
                f"ketamine-cds: cannot listen on 127.0.0.1, port {port}: Address already in use; "
                "--host and --port name others, as KETAMINE_CDS_HOST and KETAMINE_CDS_PORT do\n"
            )


def test_the_command_names_an_address_whatever_the_settings_say(tmp_path: Path) -> None:
    port = str(unused_port())
    elsewhere = {"KETAMINE_CDS_HOST": "192.0.2.1", "KETAMINE_CDS_PORT": "1"}
    with started(tmp_path, None, ["--host", "127.0.0.1", "--port", port], **elsewhere) as running:
        assert f"Listening on http://127.0.0.1:{port}." in running.wait_for("Listening on ")
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE).ok


def test_a_port_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    with started(tmp_path, None, ["--port", "http"]) as running:
        assert running.process.wait(PATIENCE) == 3
        assert running.said.startswith("ketamine-cds: KETAMINE_CDS_PORT is 'http'; expected is ")


# What stops a start ------------------------------------------------------------------------------------------------


def _overlay(folder: Path) -> dict[str, str]:
    (folder / "site.yaml").write_text("site: X\nlimits: [{limit: no-such-limit}]", "utf-8")
    return {"KETAMINE_CDS_OVERLAY": str(folder / "site.yaml")}


@pytest.mark.parametrize(
    ("request_sent", "settings", "says"),
    [
        ({"hook": "encounter-start"}, lambda _: {}, "the request's hook is 'encounter-start'; known are"),
        ({}, lambda _: {}, "the request's hook is None; known are"),
        (None, lambda _: {"KETAMINE_CDS_WORKERS": "0"}, "KETAMINE_CDS_WORKERS is '0'; expected is"),
        (None, lambda _: {"KETAMINE_CDS_TYPO": "1"}, "KETAMINE_CDS_TYPO is not a setting"),
        (None, _overlay, "site.yaml: "),
    ],
)
def test_what_cannot_be_served_is_said_before_the_start(
    request_sent: dict[str, Any] | None, settings: Callable[[Path], dict[str, str]], says: str, tmp_path: Path
) -> None:
    with started(tmp_path, request_sent, **settings(tmp_path)) as running:
        assert running.process.wait(PATIENCE) == 3
        assert running.said.startswith(f"ketamine-cds: {says}")
        assert running.said.count("\n") == 1

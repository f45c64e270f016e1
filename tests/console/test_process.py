"""The console's own process: it comes back, it goes with the service, and an order never waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cds_service.console import process
from cds_service.console.process import Supervisor, pause_after
from cds_service.settings import Settings
from tests.scenarios.build import hook_request
from tests.servers.ports import unused_port
from tests.waiting import until
from tests.web.test_server import ORDER, PATIENCE, Running, started


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """Of a process that does nothing, and waits no longer than it must."""
    monkeypatch.setattr(process, "COMMAND", [sys.executable, "-c", "import sys; sys.stdin.read()"])
    monkeypatch.setattr(process, "pause_after", lambda failures: 0.05)
    made = Supervisor(Settings())
    made.start()
    until(lambda: made.pid is not None, "it did not start")
    yield made
    made.stop()


def test_a_console_that_is_killed_is_started_again(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    first = supervisor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.pid not in (None, first), "no other took its place")
    assert [record.message for record in caplog.records] == [
        "the console ended (-9); it is started again in 0.05 s, and orders go on"
    ]


def test_a_console_that_is_to_read_its_files_anew_is_replaced_without_a_word(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    first = supervisor.pid
    supervisor.restart()
    until(lambda: supervisor.pid not in (None, first), "no other took its place")
    assert caplog.records == []


def test_it_ends_with_its_supervisor(supervisor: Supervisor) -> None:
    pid = supervisor.pid
    supervisor.stop()
    assert supervisor.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_the_pauses_grow_and_end() -> None:
    pauses = [pause_after(failures) for failures in range(40)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    """A whole service whose console finds its port taken at first."""
    port = unused_port()
    with (
        socket.create_server(("127.0.0.1", port)) as taken,
        started(
            tmp_path_factory.mktemp("console"),
            hook_request(ORDER),
            KETAMINE_CDS_CONSOLE="loopback",
            KETAMINE_CDS_CONSOLE_PORT=str(port),
            KETAMINE_CDS_SANDBOX="loopback",
        ) as service,
    ):
        service.wait_for(f"the console cannot listen on port {port}; it is started again in")
        service.wait_for("Listening on ")
        assert requests.get(f"{service.base}/healthz", timeout=PATIENCE).ok
        taken.close()
        yield service, port


def test_orders_are_judged_without_it_and_it_comes_once_its_port_is_free(running: tuple[Running, int]) -> None:
    service, port = running
    page = f"http://127.0.0.1:{port}/"
    assert f"In the browser: {page}" in service.said
    assert f"Console: {page}" in service.said
    assert f"simulate --service {service.base} --patient standard" in service.said
    until(lambda: _answers(page), "the console did not come")
    shown = requests.get(f"{service.base}/", headers={"Accept": "text/html"}, timeout=PATIENCE)
    assert (shown.url, shown.status_code) == (page, 200)
    assert "Maja Lindqvist" in shown.text


def test_its_death_costs_no_order_and_it_goes_with_the_service(running: tuple[Running, int]) -> None:
    service, port = running
    page = f"http://127.0.0.1:{port}/"
    until(lambda: _answers(page), "the console did not come")
    (console,) = _consoles(service.process.pid)
    os.kill(console, signal.SIGKILL)
    assert requests.get(f"{service.base}/cds-services", timeout=PATIENCE).ok
    service.wait_for("the console ended (-9); it is started again")
    until(lambda: bool(_consoles(service.process.pid)), "no other took its place")
    (other,) = _consoles(service.process.pid)
    service.process.kill()
    service.process.wait()
    until(lambda: not Path(f"/proc/{other}").exists(), "the console outlives its service")


def _answers(page: str) -> bool:
    try:
        return requests.get(f"{page}healthz", timeout=5).ok
    except requests.RequestException:
        return False


def _consoles(parent: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if line.endswith("-m cds_service.console")]

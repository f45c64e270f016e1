"""Workers that die, hang or cannot start, a parent that dies, files that are read anew: the service goes on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests

from bench.servers import Server
from cds_service.commands import workers as supervision
from tests.hooks.client import encoded
from tests.scenarios.build import hook_request
from tests.servers.local import Received, Reply, local_server
from tests.timing import least
from tests.waiting import until
from tests.web.test_observe import samples
from tests.web.test_server import JSON, ORDER, PATIENCE, Running, started

SIGN = "/cds-services/ketamine-order-sign"
BODY = encoded(hook_request(ORDER))
LOOK = 0.05
HUNG_SECONDS = 5


def workers(service: Running) -> set[int]:
    """The processes that the parent has started to serve, a spare one among them."""
    return set(Server(0, service.process.pid).workers())


def errors(service: Running) -> list[str]:
    lines = [json.loads(line) for line in service.said.splitlines() if line.startswith("{")]
    return [line["says"] for line in lines if line["level"] == "ERROR"]


def judged(service: Running, timeout: float = PATIENCE) -> bool:
    """Whether one order, on a connection of its own, is answered with cards."""
    try:
        answer = requests.post(service.base + SIGN, BODY, headers=JSON, timeout=timeout)
    except requests.RequestException:
        return False
    return answer.status_code == 200 and bool(answer.json()["cards"])


def figures(service: Running) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(requests.get(f"{service.base}/metrics", timeout=PATIENCE).text)


def restarts(service: Running) -> dict[str, float]:
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in figures(service).items()
        if name == "ketamine_cds_worker_restarts_total"
    }


def serving(service: Running) -> float:
    return figures(service)["ketamine_cds_workers_serving", frozenset()]


class Load:
    """Orders from a few clients, one after the other on connections of their own, until it is told to end."""

    def __init__(self, service: Running, clients: int = 3) -> None:
        self.answered: list[float] = []
        self.lost: list[float] = []
        self._service = service
        self._end = Event()
        self._pool = ThreadPoolExecutor(clients)
        self._posting = [self._pool.submit(self._post) for _ in range(clients)]

    def _post(self) -> None:
        while not self._end.is_set():
            is_judged = judged(self._service, timeout=PATIENCE)
            (self.answered if is_judged else self.lost).append(time.monotonic())

    def __enter__(self) -> Load:
        until(lambda: len(self.answered) > 5, "the load is answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for each in self._posting:
            each.result(PATIENCE)
        self._pool.shutdown()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers and, three seconds later, a spare one."""
    settings = {"KETAMINE_CDS_WORKERS": "2", "KETAMINE_CDS_HUNG_SECONDS": str(HUNG_SECONDS)}
    with started(tmp_path_factory.mktemp("workers"), None, KETAMINE_CDS_SPARE_WORKERS="1", **settings) as running:
        running.wait_for("Listening on ")
        yield running


def _complete(service: Running, places: int = 2, spares: int = 1) -> set[int]:
    """The workers, once all places are taken by such as answer: one that is still loading cannot stand in."""
    count = places + spares
    until(lambda: len(workers(service)) == count and serving(service) == places, f"{count} workers")
    return workers(service)


def test_a_worker_that_is_killed_is_replaced_said_once_and_counted(service: Running) -> None:
    before, said = _complete(service), len(errors(service))
    counted = restarts(service).get("SIGKILL", 0)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    assert judged(service)
    until(lambda: len(errors(service)) > said, "the line in the log")
    after = _complete(service)
    assert victim not in after
    assert service.process.poll() is None
    assert errors(service)[said:] == [f"worker {victim} was lost (SIGKILL) and is replaced"]
    assert restarts(service)["SIGKILL"] == counted + 1


def test_a_worker_that_is_stopped_is_replaced_and_nobody_waits_for_it(service: Running) -> None:
    """A stopped process is as silent as an interpreter that hangs. New connections go to the other worker."""
    before, said = _complete(service), len(errors(service))
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    assert all(judged(service, timeout=HUNG_SECONDS) for _ in range(5))
    until(lambda: len(errors(service)) > said, "the line in the log")
    assert errors(service)[said:] == [f"worker {victim} was lost (hung) and is replaced"]
    until(lambda: victim not in workers(service), "the end of the process")
    _complete(service)


def test_a_pause_of_the_whole_service_costs_no_worker(service: Running) -> None:
    """Ctrl-Z, a container that is paused, a machine that is moved."""
    before, said = _complete(service), len(errors(service))
    os.killpg(service.process.pid, signal.SIGSTOP)
    time.sleep(HUNG_SECONDS + 1)
    os.killpg(service.process.pid, signal.SIGCONT)
    assert judged(service)
    time.sleep(1)
    assert workers(service) == before
    assert errors(service)[said:] == []


def test_workers_that_are_killed_under_load_cost_the_calls_that_they_had_in_hand(service: Running) -> None:
    _complete(service)
    with Load(service) as load:
        victims = sorted(_complete(service))[:2]
        os.kill(victims[0], signal.SIGKILL)
        at = time.monotonic()
        until(lambda: any(when > at for when in load.answered), "an answer after the kill")
    assert len(load.lost) <= 3, "each client loses at most the call that it waits for"


@pytest.mark.timing
def test_calls_are_answered_within_two_seconds_of_the_death_of_the_only_worker(tmp_path: Path) -> None:
    with started(tmp_path, None, KETAMINE_CDS_SPARE_WORKERS="1") as only:
        only.wait_for("Listening on ")

        def recovering() -> float:
            before = _complete(only, places=1)
            time.sleep(5)  # until the spare one is loaded
            os.kill(min(before), signal.SIGKILL)
            return until(lambda: judged(only, timeout=2), "an answer")

        assert least(recovering, 2) < 2


def test_a_reload_takes_the_workers_places_and_loses_no_call(service: Running) -> None:
    before = _complete(service)
    with Load(service) as load:
        service.process.send_signal(signal.SIGHUP)
        until(lambda: not (workers(service) & before), "workers that have read the files anew")
    assert load.lost == []


def _connected(service: Running) -> http.client.HTTPConnection:
    """A connection on which nothing is asked yet."""
    connection = http.client.HTTPConnection(service.base.removeprefix("http://"), timeout=PATIENCE)
    connection.connect()
    return connection


def _asked(connection: http.client.HTTPConnection) -> bool:
    """Ask for cards on the connection as it is, and get them. Whether the answer says that it is the last one."""
    connection.auto_open = 0
    connection.request("POST", SIGN, BODY, JSON)
    answer = connection.getresponse()
    assert json.loads(answer.read())["cards"]
    return answer.getheader("Connection") == "close"


def _reloaded(service: Running, kept: http.client.HTTPConnection) -> None:
    """Reload, until the worker that `kept` leads to has told it to go elsewhere."""
    service.process.send_signal(signal.SIGHUP)
    until(lambda: _asked(kept), "the last answer on a connection that is kept")


def test_a_worker_that_is_replaced_answers_whoever_is_connected_and_says_that_it_closes(tmp_path: Path) -> None:
    """Also a request that comes only after its place is taken, on a connection that it had accepted before."""
    with started(tmp_path, None, KETAMINE_CDS_HEADER_SECONDS="300") as only:
        only.wait_for("Listening on ")
        before = workers(only)
        with (
            closing(_connected(only)) as silent,
            closing(_connected(only)) as idle,
            closing(_connected(only)) as kept,
        ):
            assert not _asked(idle)
            _reloaded(only, kept)
            assert workers(only) > before
            assert _asked(silent), "nothing was asked before"
            assert _asked(idle), "one answer went before"
            until(lambda: not (workers(only) & before), "the end of a worker without connections")


def test_of_workers_that_are_replaced_no_more_wait_for_idle_connections_than_serve(tmp_path: Path) -> None:
    with started(tmp_path, None, KETAMINE_CDS_HEADER_SECONDS="300") as only:
        only.wait_for("Listening on ")
        first = workers(only)
        with closing(_connected(only)) as idle, closing(_connected(only)) as kept:
            assert not _asked(idle)
            _reloaded(only, kept)
            second = workers(only) - first
            with closing(_connected(only)) as awaited, closing(_connected(only)) as kept:
                assert not _asked(awaited)
                _reloaded(only, kept)
                until(lambda: not (workers(only) & first), "the end of the worker that waited longest")
                assert workers(only) > second
                assert _asked(awaited)


@pytest.mark.timing
def test_a_first_request_that_is_on_its_way_when_the_service_stops_is_answered(tmp_path: Path) -> None:
    with started(tmp_path, None) as only:
        only.wait_for("Listening on ")
        with closing(_connected(only)) as silent:
            assert judged(only), "on a later connection, so that the silent one is accepted"
            only.process.send_signal(signal.SIGTERM)
            with suppress(ConnectionRefusedError):
                while True:
                    with suppress(ConnectionResetError), closing(_connected(only)):
                        pass
            assert _asked(silent)
        assert only.process.wait(PATIENCE) == 0


def test_after_a_reload_with_a_faulty_file_the_service_goes_on_as_it_was(tmp_path: Path) -> None:
    """And where a worker dies before the file is mended, the others serve and the log says what is wrong."""
    overlay = tmp_path / "site.yaml"
    overlay.write_text("site: North\n", "utf-8")
    settings = {"KETAMINE_CDS_WORKERS": "2", "KETAMINE_CDS_OVERLAY": str(overlay)}
    with started(tmp_path, None, **settings) as running:
        running.wait_for("Listening on ")
        before = _complete(running, spares=0)
        overlay.write_text("site: North\nlimits: [{limit: no-such-limit}]", "utf-8")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: bool(errors(running)), "the refusal")
        (refusal,) = errors(running)
        assert refusal.startswith("nothing was reloaded, the service goes on as it was: site.yaml: ")
        assert workers(running) == before
        os.kill(min(before), signal.SIGKILL)
        running.wait_for("a worker cannot start")
        assert any(says.startswith("a worker cannot start: site.yaml: ") for says in errors(running))
        assert judged(running)
        overlay.write_text("site: North\n", "utf-8")
        until(lambda: len(workers(running) - before) == 1 and "not-loaded" in restarts(running), "a new worker")
        assert judged(running)


def test_early_ends_make_each_further_try_wait_twice_as_long() -> None:
    pauses = [supervision.pause_after(failures) for failures in range(12)]
    assert pauses[0] == 0
    assert pauses[1:4] == [0.5, 1, 2]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_a_parent_that_is_killed_takes_its_workers_along_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    port = ""
    with started(tmp_path, None, TMPDIR=str(temporary), KETAMINE_CDS_WORKERS="2") as running:
        running.wait_for("Listening on ")
        port = running.base.rpartition(":")[2]
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(PATIENCE)

        def is_free() -> bool:
            with suppress(OSError), socket.create_server(("127.0.0.1", int(port))):
                return True
            return False

        until(is_free, "a free port", 5)
    (left,) = temporary.glob("ketamine-cds-*")
    assert left.stat().st_mode & 0o777 == 0o700
    with started(tmp_path, None, TMPDIR=str(temporary)) as running:
        running.wait_for("Listening on ")
        assert not left.exists()
        assert len(list(temporary.glob("ketamine-cds-*"))) == 1


def _held_up(arrived: Event) -> Callable[[Received], Reply]:
    def reply(request: Received) -> Reply:
        arrived.set()
        time.sleep(1)
        return Reply(body=b'{"resourceType":"Bundle","type":"searchset"}')

    return reply


def test_a_call_that_is_in_progress_is_answered_before_the_end(tmp_path: Path) -> None:
    arrived = Event()
    with local_server(_held_up(arrived)) as ehr:
        settings = {"KETAMINE_CDS_FHIR_SERVERS": ehr.base, "KETAMINE_CDS_FHIR_DEADLINE_MS": "5000"}
        with started(tmp_path, None, **settings) as running, ThreadPoolExecutor(1) as pool:
            running.wait_for("Listening on ")
            request: dict[str, Any] = hook_request(ORDER) | {"prefetch": {}, "fhirServer": ehr.base}
            call = pool.submit(requests.post, running.base + SIGN, encoded(request), headers=JSON, timeout=PATIENCE)
            assert arrived.wait(PATIENCE)
            assert running.stop() == 0
            assert call.result(PATIENCE).json()["cards"]


def test_the_interrupt_of_a_terminal_does_not_end_a_worker_by_itself(service: Running) -> None:
    """It reaches every process; only the parent acts on it, and stops the workers in order."""
    before = _complete(service)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert judged(service)
    time.sleep(4 * LOOK)
    assert workers(service) == before
    assert service.process.poll() is None


def test_ctrl_c_under_load_ends_without_a_word_and_with_every_answer_recorded(tmp_path: Path) -> None:
    with started(tmp_path, None, KETAMINE_CDS_WORKERS="2", KETAMINE_CDS_LOG_LEVEL="ERROR") as running:
        said = running.wait_for("Listening on ")
        with Load(running) as load:
            os.killpg(running.process.pid, signal.SIGINT)
            assert running.process.wait(PATIENCE) == 0
        assert running.said == said
        with closing(sqlite3.connect(tmp_path / "state" / "store.sqlite")) as store:
            assert store.execute("SELECT count(*) FROM invocation").fetchone() == (len(load.answered),)


@pytest.mark.timing
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_service_ends_within_a_second_with_its_records_written(number: int, tmp_path: Path) -> None:
    """A client keeps its connection, as clients do."""

    def ending() -> float:
        with started(tmp_path, None, KETAMINE_CDS_WORKERS="2") as running:
            running.wait_for("Listening on ")
            with closing(http.client.HTTPConnection(running.base.removeprefix("http://"), timeout=PATIENCE)) as kept:
                kept.request("POST", SIGN, BODY, JSON)
                kept.getresponse().read()
                began = time.monotonic()
                os.killpg(running.process.pid, number)  # as the terminal does
                assert running.process.wait(PATIENCE) == 0
                return time.monotonic() - began

    assert least(ending, 1) < 1

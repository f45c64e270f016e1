"""The store behind a real server: what it acknowledged survives a kill, and no answer waits for the audit."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests

from cds_service.audit import LOOK_UP_SECONDS
from cds_service.store import engines, retention
from tests.hooks.client import encoded
from tests.scenarios.build import hook_request
from tests.servers.ports import unused_port
from tests.servers.postgres import Postgres
from tests.timing import least
from tests.waiting import until

PATIENCE = 180
SIGN = "/cds-services/ketamine-order-sign"
JSON = {"Content-Type": "application/json"}
CLIENTS = 4
POSTS = 1_000


@contextmanager
def served(url: str, folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`ketamine-cds serve` with two workers in a process group of its own."""
    port = unused_port()
    key = folder / "key"
    key.write_text("a key that is long enough to be one")
    key.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KETAMINE_CDS_")}
    environment |= {
        "KETAMINE_CDS_PORT": str(port),
        "KETAMINE_CDS_WORKERS": "2",
        "KETAMINE_CDS_SPARE_WORKERS": "0",
        "KETAMINE_CDS_CONSOLE": "off",
        "KETAMINE_CDS_STATE_DIR": str(folder),
        "KETAMINE_CDS_STORE": url,
        "KETAMINE_CDS_STORE_KEY_FILE": str(key),
        **settings,
    }
    with (
        (folder / "output.txt").open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-m", "cds_service.cli", "serve"],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        base = f"http://127.0.0.1:{port}"
        try:
            _await(process, base)
            yield process, base
        finally:
            killed(process)


def killed(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of the server and its workers, all at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)


def _await(process: subprocess.Popen[bytes], base: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, "the service ended"
        assert time.monotonic() < end, "the service does not answer"
        with suppress(requests.RequestException):
            if requests.get(f"{base}/healthz", timeout=2).ok:  # discovery may ask for a token
                return
        time.sleep(0.1)


def _exported(url: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in retention.export(engines.url_of(url)) if record["record"] == kind]


def _order() -> bytes:
    request = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
    request["hookInstance"] = str(uuid4())
    return encoded(request)


def _posted(base: str, cards: list[str], acknowledged: list[str], enough: threading.Event, until: int) -> None:
    """Post feedback on each card until the server is gone; remember what it acknowledged."""
    with requests.Session() as session:
        for card in cards:
            body = {"feedback": [{"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-22T10:00:00Z"}]}
            try:
                answer = session.post(f"{base}{SIGN}/feedback", json=body, timeout=PATIENCE)
            except requests.RequestException:
                return
            if answer.status_code == 200:
                acknowledged.append(card)
            if len(acknowledged) >= until:
                enough.set()


def test_every_acknowledged_feedback_is_there_after_a_kill(url: str, tmp_path: Path) -> None:
    """Killed in the middle of 1,000 posts of four clients; then all are sent again, as a client would."""
    cards = [str(uuid4()) for _ in range(POSTS)]
    parts = [cards[number::CLIENTS] for number in range(CLIENTS)]
    acknowledged: list[str] = []
    enough = threading.Event()
    with served(url, tmp_path) as (process, base), ThreadPoolExecutor(CLIENTS) as pool:
        posting = [pool.submit(_posted, base, part, acknowledged, enough, POSTS // 3) for part in parts]
        assert enough.wait(PATIENCE)
        killed(process)
        for each in posting:
            each.result(PATIENCE)
    before = list(acknowledged)
    assert POSTS // 3 <= len(before) < POSTS, "it was killed in the middle"
    with served(url, tmp_path) as (_, base):
        assert requests.get(f"{base}/readyz", timeout=PATIENCE).status_code == 200
        stored = [record["card_uuid"] for record in _exported(url, "feedback")]
        assert set(before) <= set(stored)
        with ThreadPoolExecutor(CLIENTS) as pool:
            for part in parts:
                pool.submit(_posted, base, part, acknowledged, enough, POSTS)
    assert sorted(acknowledged[len(before) :]) == sorted(cards)
    assert sorted(record["card_uuid"] for record in _exported(url, "feedback")) == sorted(cards)


def test_what_two_workers_answered_is_recorded_when_they_are_terminated(url: str, tmp_path: Path) -> None:
    """SIGTERM right after the last answer: the queues of both workers are written before they end."""
    instances: list[str] = []

    def post(number: int) -> None:
        body = _order()
        answer = requests.post(f"{base}{SIGN}", body, headers=JSON, timeout=PATIENCE)
        assert answer.json()["cards"]
        instances.append(json.loads(body)["hookInstance"])

    with served(url, tmp_path) as (process, base):
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(post, range(120)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert len(instances) == 120
    assert sorted(record["hook_instance"] for record in _exported(url, "invocation")) == sorted(instances)


def _answered(base: str, count: int = 60) -> list[float]:
    """So many orders, one after the other, each with its cards; the seconds of each, the quickest first."""
    taken = []
    with requests.Session() as session:
        for _ in range(count):
            body = _order()
            began = time.monotonic()
            assert session.post(f"{base}{SIGN}", body, headers=JSON, timeout=PATIENCE).json()["cards"]
            taken.append(time.monotonic() - began)
    return sorted(taken)


def _delay(base: str, undisturbed: list[float]) -> float:
    """Seconds that the slowest of a few answers waits longer than it did without a fault.

    A look-up that is late is given up after LOOK_UP_SECONDS, which is part of it, and not tried again for a while.
    """
    return least(lambda: _answered(base, 20)[-1] - undisturbed[-1], _NOTICED)


_NOTICED = LOOK_UP_SECONDS + 0.15


def _drops(base: str) -> float:
    lines = requests.get(f"{base}/metrics", timeout=PATIENCE).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("ketamine_cds_audit_drops_total"))


def test_a_locked_store_delays_no_answer_and_gets_the_records_when_it_is_free(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.database()
    with served(url, tmp_path) as (process, base):
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE invocation, finding, feedback IN ACCESS EXCLUSIVE MODE")
            _answered(base)  # all of them while it is locked: none waits for the end of that
            other.rollback()
        assert _drops(base) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert len(_exported(url, "invocation")) == 60


def test_a_store_that_is_away_delays_no_answer_and_feedback_is_refused_honestly(
    postgres: Postgres, tmp_path: Path
) -> None:
    """What cannot be written until the end is counted and said."""
    url = postgres.database()
    feedback = {"feedback": [{"card": str(uuid4()), "outcome": "accepted", "acceptedSuggestions": []}]}
    with served(url, tmp_path) as (process, base):
        _answered(base)
        wait_for_records(url, 60)
        postgres.stop()
        try:
            _answered(base)
            assert requests.post(f"{base}{SIGN}/feedback", json=feedback, timeout=PATIENCE).status_code == 503
            time.sleep(1)  # for so long an answer is remembered
            ready = requests.get(f"{base}/readyz", timeout=PATIENCE)
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["checks"]["store"] is False
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            postgres.start()
    lost = [line for line in (tmp_path / "output.txt").read_text().splitlines() if "the audit lost" in line]
    assert 1 <= len(lost) <= 2
    assert len(_exported(url, "invocation")) == 60


def test_the_service_starts_while_its_store_is_away_and_uses_it_once_it_is_back(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.database()
    postgres.stop()
    try:
        with served(url, tmp_path) as (process, base):
            assert "NOT RECORDED" in (tmp_path / "output.txt").read_text()
            assert requests.post(f"{base}{SIGN}", _order(), headers=JSON, timeout=PATIENCE).json()["cards"]
            postgres.start()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    finally:
        postgres.stop()
        postgres.start()
    assert len(_exported(url, "invocation")) == 1


def test_a_locked_file_delays_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with served(f"sqlite:///{file}", tmp_path) as (process, base):
        with locked(file):
            _answered(base)  # all of them while it is locked
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert len(_exported(f"sqlite:///{file}", "invocation")) == 60


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def wait_for_records(url: str, count: int) -> None:
    until(lambda: len(_exported(url, "invocation")) >= count, f"not {count} records")


# How long an order waits --------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_a_locked_file_makes_no_order_wait_longer_than_a_look_up_may_take(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with served(f"sqlite:///{file}", tmp_path) as (_, base):
        undisturbed = _answered(base, 20)
        with locked(file):
            assert _delay(base, undisturbed) < _NOTICED


@pytest.mark.timing
def test_a_server_that_is_away_makes_no_order_wait_longer_than_a_look_up_may_take(
    postgres: Postgres, tmp_path: Path
) -> None:
    with served(postgres.database(), tmp_path) as (_, base):
        undisturbed = _answered(base, 20)
        postgres.stop()
        try:
            assert _delay(base, undisturbed) < _NOTICED
        finally:
            postgres.start()

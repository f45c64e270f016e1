"""Databases that fail, one fault at a time: an order waits for none of them, and all is well again soon after."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cds_service.audit import Audit
from cds_service.hooks.replay import PATIENCE_SECONDS, SqlReplayGuard
from cds_service.knowledge import Knowledge
from cds_service.patience import Asking, Unanswered
from cds_service.settings import Settings
from cds_service.store import engines, retention
from cds_service.store.engines import StoreError
from cds_service.store.keys import Key
from cds_service.store.store import Store
from cds_service.web.app import create_app
from cds_service.web.audit import open_audit
from tests.hooks.tokens import PUBLIC_URL
from tests.scenarios.build import NOW as CALLED
from tests.servers.local import unused_port
from tests.servers.postgres import Postgres, postgres
from tests.store.build import NOW, ORDER, feedback, invocation
from tests.web.callers import Caller

__all__ = ["postgres"]

BACK_SECONDS = 5.0
"""So soon after a fault all is as before."""
SLACK = 2.0
"""For a machine that is busy with something else: what is shown is that nothing waits for the fault to end."""
SOON = 60.0


def _token() -> str:
    return str(uuid4())


def _used_once(guard: SqlReplayGuard) -> float:
    """Use a token, and again; the seconds that the first took."""
    token, began = _token(), time.monotonic()
    assert guard.first_use("i", token, NOW)
    taken = time.monotonic() - began
    assert not guard.first_use("i", token, NOW), "this worker remembers its own"
    return taken


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def _silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def _stopped(server: Postgres) -> Iterator[None]:
    """A server whose connections stay open while it does nothing: every process of it is stopped."""
    main = server._process
    assert main is not None
    folder = Path(f"/proc/{main.pid}/task/{main.pid}/children")
    children = [int(pid) for pid in folder.read_text().split()]
    for pid in (main.pid, *children):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in (main.pid, *children):
            os.kill(pid, signal.SIGCONT)


# Asking ----------------------------------------------------------------------------------------------------------


def test_after_a_question_without_an_answer_nobody_asks_for_a_while_and_then_one_does() -> None:
    asked, failures = [], []

    def question() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise ValueError("the weight of Miller")
        return "well"

    asking = Asking("it fails", patience=SOON, pause=0.2, failed=lambda: failures.append(1))
    for _ in range(5):
        with pytest.raises(Unanswered) as unanswered:
            asking.ask(question)
        assert "Miller" not in str(unanswered.value)
    assert len(asked) == len(failures) == 1
    time.sleep(0.3)
    with pytest.raises(Unanswered):
        asking.ask(question)
    assert asking.is_away
    time.sleep(0.3)
    assert asking.ask(question) == "well"
    assert (len(asked), asking.is_away) == (3, False)


def test_questions_that_hang_hold_no_more_threads_than_there_are_and_their_callers_for_no_longer_than_patience() -> (
    None
):
    gate, held = threading.Event(), []
    asking = Asking("it hangs", patience=0.05, pause=0, threads=2, held=held.append)
    before = threading.active_count()
    try:
        for _ in range(20):
            with pytest.raises(Unanswered):
                asking.ask(gate.wait)
        assert asking.held == 2
        assert threading.active_count() <= before + 2
    finally:
        gate.set()
    assert _within(SOON, lambda: asking.held == 0)
    assert held[:2] == [1, 2]
    assert asking.ask(lambda: "well", SOON) == "well"


def test_a_caller_who_has_less_time_than_is_usual_finds_no_outage() -> None:
    gate = threading.Event()
    asking = Asking("it is slow", patience=SOON, pause=SOON, threads=2)
    with pytest.raises(Unanswered):
        asking.ask(gate.wait, 0.01)
    assert not asking.is_away
    assert asking.ask(lambda: "well") == "well"
    gate.set()


def test_an_outage_is_one_warning_and_its_end_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ketamine_cds")
    asking = Asking("it fails", patience=SOON, pause=0)
    for _ in range(5):
        with pytest.raises(Unanswered):
            asking.ask(lambda: 1 // 0)
    asking.ask(lambda: 1)
    asking.ask(lambda: 1)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", "it fails: ZeroDivisionError"), ("INFO", "no longer, after 0 s: it fails")]


# Used tokens -----------------------------------------------------------------------------------------------------


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SqlReplayGuard]:
    made = SqlReplayGuard(f"sqlite:///{tmp_path / 'used.sqlite3'}", lambda: NOW)
    yield made
    made.close()


def test_while_another_process_locks_the_file_no_order_waits_for_it(guard: SqlReplayGuard, tmp_path: Path) -> None:
    _used_once(guard)
    other = sqlite3.connect(tmp_path / "used.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert sum(_used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert _within(BACK_SECONDS + SLACK, lambda: _shares(guard, tmp_path))


def _shares(guard: SqlReplayGuard, folder: Path) -> bool:
    """Whether another worker refuses what this one has taken."""
    token = _token()
    assert guard.first_use("i", token, NOW)
    other = SqlReplayGuard(f"sqlite:///{folder / 'used.sqlite3'}", lambda: NOW)
    other.patience = SOON
    try:
        return not other.first_use("i", token, NOW)
    finally:
        other.close()


def test_what_was_used_during_an_outage_is_shared_after_it(guard: SqlReplayGuard, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "used.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert guard.first_use("i", "during the outage", NOW)
    other.execute("ROLLBACK")
    other.close()
    assert _within(BACK_SECONDS + SLACK, lambda: _shares(guard, tmp_path))
    another = SqlReplayGuard(f"sqlite:///{tmp_path / 'used.sqlite3'}", lambda: NOW)
    another.patience = SOON
    assert not another.first_use("i", "during the outage", NOW)
    another.close()


@pytest.mark.parametrize(
    "content", [os.urandom(4096), b"no database\n" * 900, b"SQLite format 3\x00" + b"\xff" * 4080]
)
def test_a_file_that_is_damaged_at_the_start_is_set_aside_and_said(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "used.sqlite3"
    file.write_bytes(content)
    guard = SqlReplayGuard(f"sqlite:///{file}", lambda: NOW)
    assert _shares(guard, tmp_path)
    guard.close()
    (aside,) = tmp_path.glob("used.sqlite3.broken-*Z")
    assert aside.read_bytes() == content
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"{file} cannot be used: ")
    assert aside.name in line


def test_a_file_that_is_overwritten_while_it_is_used_is_set_aside(guard: SqlReplayGuard, tmp_path: Path) -> None:
    _used_once(guard)
    file = tmp_path / "used.sqlite3"
    for each in (file, tmp_path / "used.sqlite3-wal"):
        each.write_bytes(os.urandom(40_000))
    assert _within(BACK_SECONDS + SLACK, lambda: _shares(guard, tmp_path))
    assert list(tmp_path.glob("used.sqlite3.broken-*"))


def test_a_file_that_is_deleted_while_it_is_used_is_made_anew(guard: SqlReplayGuard, tmp_path: Path) -> None:
    _used_once(guard)
    for file in tmp_path.glob("used.sqlite3*"):
        file.unlink()
    assert _within(BACK_SECONDS + SLACK, lambda: _shares(guard, tmp_path))


def test_files_of_many_damages_do_not_fill_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite3"
    for _ in range(9):
        for each in tmp_path.glob("used.sqlite3*"):
            if "broken" not in each.name:
                each.unlink()
        file.write_bytes(b"no database\n" * 900)
        guard = SqlReplayGuard(f"sqlite:///{file}", lambda: NOW)
        _used_once(guard)
        guard.close()
    assert len(list(tmp_path.glob("used.sqlite3.broken-*"))) == 5


def test_files_that_were_open_to_others_are_made_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite3"
    sqlite3.connect(file).close()
    file.write_bytes(b"")
    file.chmod(0o644)
    guard = SqlReplayGuard(f"sqlite:///{file}", lambda: NOW)
    _used_once(guard)
    assert {each.stat().st_mode & 0o777 for each in tmp_path.glob("used.sqlite3*")} == {0o600}
    guard.close()


def test_a_server_that_is_silent_or_not_there_at_the_start_does_not_stop_it_and_no_order_waits() -> None:
    with _silent() as port:
        for each in (port, unused_port()):
            guard = SqlReplayGuard(f"postgresql://u:s3cret@127.0.0.1:{each}/x", lambda: NOW)
            assert sum(_used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
            assert not guard.reachable()
            guard.close()


def test_a_server_that_falls_silent_holds_no_order_and_no_thread_without_end(postgres: Postgres) -> None:
    guard = SqlReplayGuard(postgres.database(), lambda: NOW)
    guard.patience = SOON
    _used_once(guard)
    guard.patience = PATIENCE_SECONDS
    with _stopped(postgres):
        assert sum(_used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
        # The server's own limit cannot end a statement now; this side hangs up.
        time.sleep(1.2)
        _used_once(guard)
        assert _within(SOON, lambda: guard._asking.held == 0), "while the server is silent"
    assert _within(BACK_SECONDS + SLACK, guard.reachable)
    guard.close()


def test_a_server_that_is_stopped_and_started_is_used_again(postgres: Postgres) -> None:
    guard = SqlReplayGuard(postgres.database(), lambda: NOW)
    _used_once(guard)
    postgres.stop()
    try:
        assert sum(_used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
    finally:
        postgres.start()
    assert _within(BACK_SECONDS + SLACK, guard.reachable)
    guard.close()


# The store -------------------------------------------------------------------------------------------------------


def _recorded(url: str, kind: str = "invocation") -> list[dict[str, Any]]:
    return [each for each in retention.export(engines.url_of(url)) if each["record"] == kind]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{file}")
    made.write([invocation()])
    yield made
    made.close()


def test_feedback_is_never_acknowledged_into_a_file_that_was_deleted(store: Store, file: Path) -> None:
    for each in file.parent.glob("store.sqlite*"):
        each.unlink()
    card = _token()
    store.add_feedback([feedback(card)])
    assert [each["card_uuid"] for each in _recorded(f"sqlite:///{file}", "feedback")] == [card]


def test_feedback_into_a_file_that_is_deleted_in_the_middle_is_refused(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its first statement and its commit."""
    known = store._known

    def deleting(connection: Any, uuids: set[str]) -> set[str]:
        for each in file.parent.glob("store.sqlite*"):
            each.unlink()
        return known(connection, uuids)

    monkeypatch.setattr(store, "_known", deleting)
    with pytest.raises(StoreError, match="the file was deleted or replaced"):
        store.add_feedback([feedback(_token())])
    monkeypatch.undo()
    store.add_feedback([feedback(_token())])
    assert len(_recorded(f"sqlite:///{file}", "feedback")) == 1


def test_a_file_that_another_took_the_place_of_is_left_for_the_new_one(
    store: Store, file: Path, tmp_path: Path
) -> None:
    """A backup that is put back, say."""
    other = tmp_path / "backup.sqlite"
    backup = Store(f"sqlite:///{other}")
    backup.write([invocation(), invocation()])
    backup.close()
    for each in file.parent.glob("store.sqlite-*"):
        each.unlink()
    other.rename(file)
    store.write([invocation()])
    assert len(_recorded(f"sqlite:///{file}")) == 3


def test_a_write_ahead_log_that_is_deleted_is_noticed(store: Store, file: Path) -> None:
    file.with_name("store.sqlite-wal").unlink()
    card = _token()
    assert _within(BACK_SECONDS, lambda: _added(store, card))
    store.close()
    assert card in [each["card_uuid"] for each in _recorded(f"sqlite:///{file}", "feedback")]


def _added(store: Store, card: str) -> bool:
    try:
        store.add_feedback([feedback(card)])
    except StoreError:
        return False
    return True


def test_a_store_that_is_overwritten_while_it_is_used_is_set_aside_and_records_go_on(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(f"sqlite:///{file}")
    audit = Audit(store)
    assert audit.writer is not None
    audit.writer.put(invocation())
    assert _within(SOON, lambda: audit.writer is not None and audit.writer.written == 1)
    for each in (file, file.with_name("store.sqlite-wal")):
        each.write_bytes(os.urandom(40_000))
    audit.writer.put(invocation())
    assert _within(BACK_SECONDS + SLACK, lambda: audit.writer is not None and audit.writer.written == 2)
    audit.close()
    assert audit.writer.dropped == 0
    assert len(_recorded(f"sqlite:///{file}")) == 1
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert str(file) in line


def test_a_store_of_a_newer_version_is_left_alone_and_records_wait(store: Store, file: Path) -> None:
    """An upgrade that is taken back: the newer one may come again."""
    store.close()
    with sqlite3.connect(file) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    older = Audit(Store(f"sqlite:///{file}"))
    assert older.writer is not None
    older.writer.put(invocation())
    assert _within(SOON, lambda: older.writer is not None and older.writer.is_away)
    assert (older.writer.waiting, older.writer.dropped, older.is_well()) == (1, 0, False)
    assert not list(file.parent.glob("*.broken-*"))
    with sqlite3.connect(file) as other:
        other.execute("UPDATE alembic_version SET version_num = '0001'")
    assert _within(BACK_SECONDS + SLACK, lambda: older.writer is not None and older.writer.written == 1)
    older.close()


def test_a_store_without_its_tables_gets_them_again(tmp_path: Path, postgres: Postgres) -> None:
    """A database that was made anew while the service ran."""
    import psycopg

    url = postgres.database()
    store = Store(url)
    store.write([invocation()])
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("DROP SCHEMA public CASCADE")
        other.execute("CREATE SCHEMA public")
    assert _within(BACK_SECONDS, lambda: _added(store, _token()))
    store.close()


def test_a_server_that_falls_silent_ends_every_wait_and_the_records_arrive_once(postgres: Postgres) -> None:
    """A commit whose answer was lost is tried again, and passes over what is there already."""
    url = postgres.database()
    key = Key(b"a key that is long enough to be one")
    audit = Audit(Store(url), key)
    assert audit.writer is not None
    assert audit.looking is not None
    audit.writer.put(invocation())
    assert _within(SOON, lambda: audit.writer is not None and audit.writer.written == 1)
    audit.looking.overrides([ORDER], "anonymous", NOW)
    with _stopped(postgres):
        audit.writer.put(invocation())
        began = time.monotonic()
        for _ in range(20):
            assert audit.looking.overrides([ORDER], "anonymous", NOW) == []
        assert time.monotonic() - began < 20 * audit.looking.patience + SLACK
        assert _within(SOON, lambda: audit.writer is not None and audit.writer.is_away)
        assert not audit.is_well()
    assert _within(SOON, lambda: audit.writer is not None and audit.writer.written == 2)
    assert audit.is_well()
    audit.close()
    assert audit.writer.dropped == 0
    assert len(_recorded(url)) == 2


def test_an_outage_of_the_writer_is_one_warning_with_the_place_and_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ketamine_cds")
    folder = tmp_path / "state"
    folder.write_text("a file where the folder should be")
    told: list[tuple[int, float]] = []
    audit = Audit(Store(f"sqlite:///{folder / 'store.sqlite'}"))
    assert audit.writer is not None
    audit.writer._waits = lambda count, age: told.append((count, age))
    for _ in range(3):
        audit.writer.put(invocation())
        time.sleep(0.5)
    assert _within(SOON, lambda: bool(told) and told[-1][0] == 3 and told[-1][1] > 0.5)
    folder.unlink()
    assert _within(BACK_SECONDS + SLACK, lambda: audit.writer is not None and audit.writer.written == 3)
    assert _within(SOON, lambda: told[-1] == (0, 0.0))
    audit.close()
    said = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, _ in said] == ["WARNING", "INFO"]
    assert said[0][1].startswith(
        f"the audit cannot be written, and records wait: {folder}/store.sqlite cannot be used:"
    )


def _fill(disk: Path) -> None:
    full = os.open(disk / "full", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(full, b"0" * 4096)
    os.close(full)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_while_the_disk_is_full_records_wait_and_arrive_once_there_is_room(tmp_path: Path) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        url = f"sqlite:///{disk / 'store.sqlite'}"
        store = Store(url)
        audit, guard = Audit(store), SqlReplayGuard(f"sqlite:///{disk / 'used.sqlite3'}", lambda: NOW)
        assert audit.writer is not None
        audit.writer.put(invocation())
        assert _within(SOON, lambda: audit.writer is not None and audit.writer.written == 1)
        _fill(disk)
        for _ in range(50):
            audit.writer.put(invocation())
        assert sum(_used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
        assert _within(SOON, lambda: audit.writer is not None and audit.writer.is_away)
        assert not audit.is_well()
        with pytest.raises(StoreError, match=r"full|disk I/O error"):
            store.add_feedback([feedback(_token()) for _ in range(500)])
        (disk / "full").unlink()
        assert _within(BACK_SECONDS + SLACK, lambda: audit.writer is not None and audit.writer.written == 51)
        assert audit.is_well()
        audit.close()
        guard.close()
        assert len(_recorded(url)) == 51
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


# A whole order ---------------------------------------------------------------------------------------------------


def test_an_order_is_judged_while_every_database_is_silent(knowledge: Knowledge, tmp_path: Path) -> None:
    """With authentication, a store and its key: the look-ups of used tokens and of overrides are both given up."""
    key = tmp_path / "key"
    key.write_text("a key that is long enough to be one")
    key.chmod(0o600)
    caller = Caller(tmp_path, "north")
    (tmp_path / "clients.yaml").write_text(json.dumps({"clients": [caller.entry]}), "utf-8")
    with _silent() as port:
        url = f"postgresql://u:s3cret@127.0.0.1:{port}/x"
        settings = Settings(
            auth="required",
            clients=str(tmp_path / "clients.yaml"),
            public_url=PUBLIC_URL,
            state_dir=str(tmp_path),
            replay_url=url,
            store=url,
            store_key_file=str(key),
        )
        audit = open_audit(settings)
        http = create_app(settings, knowledge, lambda: CALLED, audit).test_client()
        began = time.monotonic()
        for _ in range(5):
            answer = caller.sign(http)
            assert answer.status_code == 200
            assert answer.get_json()["cards"]
        assert time.monotonic() - began < 5 * 0.5 + SLACK
        ready = http.get("/readyz")
        assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
        assert ready.get_json()["checks"] == {"protocol": True, "order": True, "used-tokens": False, "store": False}
        audit.close()

"""The database of used tokens fails, one fault at a time: no order waits for it, and all is well again soon after."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cds_service.audit import Audit
from cds_service.hooks.replay import PATIENCE_SECONDS, SqlReplayGuard
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.store.engines import Unavailable
from cds_service.store.files import SqliteFile
from cds_service.store.store import Store
from cds_service.web.app import create_app
from cds_service.web.audit import open_audit
from tests.hooks.tokens import PUBLIC_URL
from tests.scenarios.build import NOW as CALLED
from tests.servers.ports import unused_port
from tests.servers.postgres import Postgres, postgres
from tests.store.build import NOW, invocation
from tests.store.faults import BACK_SECONDS, SLACK, away, silent, stopped, token, used_once
from tests.waiting import SOON, until
from tests.web.callers import Caller

__all__ = ["postgres"]


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SqlReplayGuard]:
    made = SqlReplayGuard(f"sqlite:///{tmp_path / 'used.sqlite3'}", lambda: NOW)
    yield made
    made.close()


def _patient(file: Path) -> SqlReplayGuard:
    """One that a busy machine does not make give up."""
    made = SqlReplayGuard(f"sqlite:///{file}", lambda: NOW)
    made.patience = SOON
    return made


def test_while_another_process_locks_the_file_no_order_waits_for_it(guard: SqlReplayGuard, tmp_path: Path) -> None:
    used_once(guard)
    other = sqlite3.connect(tmp_path / "used.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert sum(used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
    finally:
        other.execute("ROLLBACK")
        other.close()
    until(lambda: _shares(guard, tmp_path))


def _shares(guard: SqlReplayGuard, folder: Path) -> bool:
    """Whether another worker refuses what this one has taken."""
    jti = token()
    assert guard.first_use("i", jti, NOW)
    other = _patient(folder / "used.sqlite3")
    try:
        return not other.first_use("i", jti, NOW)
    finally:
        other.close()


def test_what_was_used_during_an_outage_is_shared_after_it(guard: SqlReplayGuard, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "used.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert guard.first_use("i", "during the outage", NOW)
    other.execute("ROLLBACK")
    other.close()
    until(lambda: _shares(guard, tmp_path))
    another = _patient(tmp_path / "used.sqlite3")
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
    guard = _patient(file)
    assert _shares(guard, tmp_path)
    guard.close()
    (aside,) = tmp_path.glob("used.sqlite3.broken-*Z")
    assert aside.read_bytes() == content
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"{file} cannot be used: ")
    assert aside.name in line


def test_a_file_that_is_overwritten_while_it_is_used_is_set_aside(guard: SqlReplayGuard, tmp_path: Path) -> None:
    used_once(guard)
    file = tmp_path / "used.sqlite3"
    for each in (file, tmp_path / "used.sqlite3-wal"):
        each.write_bytes(os.urandom(40_000))
    until(lambda: _shares(guard, tmp_path))
    assert list(tmp_path.glob("used.sqlite3.broken-*"))


def test_a_file_that_is_deleted_while_it_is_used_is_made_anew(guard: SqlReplayGuard, tmp_path: Path) -> None:
    used_once(guard)
    for file in tmp_path.glob("used.sqlite3*"):
        file.unlink(missing_ok=True)
    until(lambda: _shares(guard, tmp_path))


def test_files_of_many_damages_do_not_fill_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite3"
    for _ in range(9):
        for each in tmp_path.glob("used.sqlite3*"):
            if "broken" not in each.name:
                each.unlink(missing_ok=True)
        file.write_bytes(b"no database\n" * 900)
        guard = _patient(file)
        used_once(guard)
        guard.close()
    kept = [each.name for each in tmp_path.glob("used.sqlite3.broken-*")]
    assert len([each for each in kept if not each.endswith(("-wal", "-shm"))]) == 5, kept


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_neither_used_nor_closed_to_others_nor_set_aside(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    """A link may lead to a device, such as /dev/null, which is everybody's."""
    theirs, path = tmp_path / "theirs", tmp_path / "used.sqlite3"
    make(theirs)
    theirs.chmod(0o777)
    path.symlink_to(theirs)
    with pytest.raises(Unavailable, match="it is no regular file"):
        SqliteFile(path).prepare()
    assert path.is_symlink()
    assert theirs.stat().st_mode & 0o777 == 0o777


def test_files_that_were_open_to_others_are_made_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite3"
    sqlite3.connect(file).close()
    file.write_bytes(b"")
    file.chmod(0o644)
    guard = _patient(file)
    used_once(guard)
    assert {each.stat().st_mode & 0o777 for each in tmp_path.glob("used.sqlite3*")} == {0o600}
    guard.close()


def test_a_server_that_is_silent_or_not_there_at_the_start_does_not_stop_it_and_no_order_waits() -> None:
    with silent() as port:
        for each in (port, unused_port()):
            guard = SqlReplayGuard(f"postgresql://u:s3cret@127.0.0.1:{each}/x", lambda: NOW)
            assert sum(used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
            assert not guard.reachable()
            guard.close()


def test_a_server_that_falls_silent_holds_no_order_and_no_thread_without_end(postgres: Postgres) -> None:
    guard = SqlReplayGuard(postgres.database(), lambda: NOW)
    guard.patience = SOON
    used_once(guard)
    guard.patience = PATIENCE_SECONDS
    with stopped(postgres):
        assert sum(used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
        # The server's own limit cannot end a statement now; this side hangs up.
        time.sleep(1.2)
        used_once(guard)
        until(lambda: guard._asking.held == 0, "while the server is silent")
    until(guard.reachable)
    guard.close()


@pytest.mark.timing
@pytest.mark.parametrize("fault", ["silent", "stopped"])
def test_five_seconds_after_the_end_of_a_fault_all_is_as_before(fault: str, postgres: Postgres) -> None:
    guard, audit = SqlReplayGuard(postgres.database(), lambda: NOW), Audit(Store(postgres.database()))
    assert audit.writer is not None
    audit.writer.put(invocation())
    until(lambda: audit.writer is not None and audit.writer.written == 1)
    with stopped(postgres) if fault == "silent" else away(postgres):
        end = time.monotonic() + 8
        while time.monotonic() < end:
            used_once(guard)
            audit.writer.put(invocation())
            time.sleep(0.5)
    until(lambda: guard.reachable() and audit.is_well() and not audit.writer.waiting, seconds=BACK_SECONDS)
    guard.close()
    audit.close()


def test_a_server_that_is_stopped_and_started_is_used_again(postgres: Postgres) -> None:
    guard = SqlReplayGuard(postgres.database(), lambda: NOW)
    used_once(guard)
    with away(postgres):
        assert sum(used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
    until(guard.reachable)
    guard.close()


# A whole order ---------------------------------------------------------------------------------------------------


def test_an_order_is_judged_while_every_database_is_silent(knowledge: Knowledge, tmp_path: Path) -> None:
    """With authentication, a store and its key: the look-ups of used tokens and of overrides are both given up."""
    key = tmp_path / "key"
    key.write_text("a key that is long enough to be one")
    key.chmod(0o600)
    caller = Caller(tmp_path, "north")
    (tmp_path / "clients.yaml").write_text(json.dumps({"clients": [caller.entry]}), "utf-8")
    with silent() as port:
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

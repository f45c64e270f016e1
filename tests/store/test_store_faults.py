"""The audit store fails, one fault at a time: an order waits for none of them, and all is well again soon after."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cds_service.audit import Audit
from cds_service.hooks.replay import PATIENCE_SECONDS, SqlReplayGuard
from cds_service.store import engines, retention
from cds_service.store.engines import StoreError
from cds_service.store.keys import Key
from cds_service.store.migrate import HEAD
from cds_service.store.store import Store
from tests.servers.postgres import Postgres, postgres
from tests.small_disk import fill, needs_root, small_disk
from tests.store.build import NOW, ORDER, feedback, invocation
from tests.store.faults import SLACK, stopped, token, used_once
from tests.waiting import until

__all__ = ["postgres"]


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
    card = token()
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
        store.add_feedback([feedback(token())])
    monkeypatch.undo()
    store.add_feedback([feedback(token())])
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
    card = token()
    until(lambda: _added(store, card))
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
    until(lambda: audit.writer is not None and audit.writer.written == 1)
    for each in (file, file.with_name("store.sqlite-wal")):
        each.write_bytes(os.urandom(40_000))
    audit.writer.put(invocation())
    until(lambda: audit.writer is not None and audit.writer.written == 2)
    audit.close()
    assert audit.writer.dropped == 0
    assert len(_recorded(f"sqlite:///{file}")) == 1
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert str(file) in line


def test_a_store_of_a_newer_version_is_left_alone_and_records_wait(store: Store, file: Path) -> None:
    """An upgrade that is taken back: the newer one may come again."""
    store.close()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    older = Audit(Store(f"sqlite:///{file}"))
    assert older.writer is not None
    older.writer.put(invocation())
    until(lambda: older.writer is not None and older.writer.is_away)
    assert (older.writer.waiting, older.writer.dropped, older.is_well()) == (1, 0, False)
    assert not list(file.parent.glob("*.broken-*"))
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = ?", (HEAD,))
    until(lambda: older.writer is not None and older.writer.written == 1)
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
    until(lambda: _added(store, token()))
    store.close()


def test_a_server_that_falls_silent_ends_every_wait_and_the_records_arrive_once(postgres: Postgres) -> None:
    """A commit whose answer was lost is tried again, and passes over what is there already."""
    url = postgres.database()
    key = Key(b"a key that is long enough to be one")
    audit = Audit(Store(url), key)
    assert audit.writer is not None
    assert audit.looking is not None
    audit.writer.put(invocation())
    until(lambda: audit.writer is not None and audit.writer.written == 1)
    audit.looking.overrides([ORDER], "anonymous", NOW)
    with stopped(postgres):
        audit.writer.put(invocation())
        began = time.monotonic()
        for _ in range(20):
            assert audit.looking.overrides([ORDER], "anonymous", NOW) == []
        assert time.monotonic() - began < 20 * audit.looking.patience + SLACK
        until(lambda: audit.writer is not None and audit.writer.is_away)
        assert not audit.is_well()
    until(lambda: audit.writer is not None and audit.writer.written == 2)
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
    until(lambda: bool(told) and told[-1][0] == 3 and told[-1][1] > 0.5)
    folder.unlink()
    until(lambda: audit.writer is not None and audit.writer.written == 3)
    until(lambda: told[-1] == (0, 0.0))
    audit.close()
    said = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, _ in said] == ["WARNING", "INFO"]
    assert said[0][1].startswith(
        f"the audit cannot be written, and records wait: {folder}/store.sqlite cannot be used:"
    )


@needs_root
def test_while_the_disk_is_full_records_wait_and_arrive_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=1) as disk:
        url = f"sqlite:///{disk / 'store.sqlite'}"
        store = Store(url)
        audit, guard = Audit(store), SqlReplayGuard(f"sqlite:///{disk / 'used.sqlite3'}", lambda: NOW)
        assert audit.writer is not None
        audit.writer.put(invocation())
        until(lambda: audit.writer is not None and audit.writer.written == 1)
        full = fill(disk)
        for _ in range(50):
            audit.writer.put(invocation())
        assert sum(used_once(guard) for _ in range(20)) < 20 * PATIENCE_SECONDS + SLACK
        until(lambda: audit.writer is not None and audit.writer.is_away)
        assert not audit.is_well()
        with pytest.raises(StoreError, match=r"full|disk I/O error"):
            store.add_feedback([feedback(token()) for _ in range(500)])
        full.unlink()
        until(lambda: audit.writer is not None and audit.writer.written == 51)
        assert audit.is_well()
        audit.close()
        guard.close()
        assert len(_recorded(url)) == 51


def test_after_an_outage_no_other_process_takes_the_log_to_which_this_one_writes(store: Store, file: Path) -> None:
    """SQLite lets whoever is last remove it, and knows by locks who else is there; a file that is opened and closed
    beside it lets go of them."""
    with closing(sqlite3.connect(file, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            store.write([invocation()])
        another.execute("ROLLBACK")
        store.write([invocation()])
    log = file.with_name("store.sqlite-wal")
    before = log.stat().st_ino
    reads = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM invocation'); c.close()"
    subprocess.run([sys.executable, "-c", reads, file], check=True)
    assert log.stat().st_ino == before
    store.write([invocation()])
    assert len(_recorded(f"sqlite:///{file}")) == 3


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_record_that_no_database_could_take_is_lost_alone_and_not_tried_for_ever(
    kind: str, file: Path, postgres: Postgres
) -> None:
    url = f"sqlite:///{file}" if kind == "sqlite" else postgres.database()
    audit = Audit(Store(url))
    assert audit.writer is not None
    wrong: list[dict[str, Any]] = [{"service": None}, {"at": "yesterday"}, {"microseconds": 2**70}, {"service": {1}}]
    for change in wrong:
        audit.writer.put(invocation())
        audit.writer.put(invocation(**change))
    until(lambda: audit.writer is not None and audit.writer.waiting == 0)
    audit.close()
    assert (audit.writer.written, audit.writer.dropped) == (4, 4)
    assert len(_recorded(url)) == 4


def test_a_table_that_is_away_is_an_outage(postgres: Postgres) -> None:
    """While somebody mends something, say: the records wait."""
    import psycopg

    url = postgres.database()
    audit = Audit(Store(url))
    assert audit.writer is not None
    audit.writer.put(invocation())
    until(lambda: audit.writer is not None and audit.writer.written == 1)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("ALTER TABLE invocation RENAME TO elsewhere")
        audit.writer.put(invocation())
        until(lambda: audit.writer is not None and audit.writer.is_away)
        assert (audit.writer.waiting, audit.writer.dropped) == (1, 0)
        other.execute("ALTER TABLE elsewhere RENAME TO invocation")
        until(lambda: audit.writer is not None and audit.writer.written == 2)
    audit.close()

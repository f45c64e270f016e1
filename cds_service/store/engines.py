"""Connections to SQLite or PostgreSQL: how long each waits, and how sure its commits are."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class StoreError(Exception):
    """The store cannot be used as it is asked to; the message holds no record and no password."""


class Unavailable(StoreError):
    """The store cannot be reached, or is locked or full: the same call may succeed later."""


@contextmanager
def told() -> Iterator[None]:
    """Errors of the database as errors of the store: never with the statement, whose values are records."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable(f"the store cannot be reached or written: {_kind(error)}") from None
    except SQLAlchemyError as error:
        raise StoreError(f"the store cannot be used: {_kind(error)}") from None


def _kind(error: SQLAlchemyError) -> str:
    original = error.orig if isinstance(error, DBAPIError) else None
    return type(original or error).__name__


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a connection is for."""

    waits_ms: int
    """How long a statement waits: for a lock of SQLite, for PostgreSQL altogether."""
    durable: bool = False
    """A commit is on the disk when it returns, even if the machine loses power then."""
    reads_only: bool = False


AUDIT = Purpose(waits_ms=5_000)
FEEDBACK = Purpose(waits_ms=5_000, durable=True)
LOOK_UP = Purpose(waits_ms=100, reads_only=True)
UPKEEP = Purpose(waits_ms=60_000, durable=True)
"""Migrations, prune and export."""

_CONNECT_SECONDS = 3
_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


def url_of(text: str) -> URL:
    """The URL with its driver. Raises StoreError."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError("the store's URL cannot be read") from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise StoreError("the store's URL must start with sqlite:/// or postgresql://")
    if driver.startswith("sqlite") and not url.database:
        raise StoreError("the store's URL names no file")
    return url.set(drivername=driver)


def engine(url: URL, purpose: Purpose) -> sa.Engine:
    """An engine of few connections, each set up for its purpose. Nothing is connected yet."""
    if url.get_backend_name() == "sqlite":
        made = sa.create_engine(url, connect_args={"timeout": purpose.waits_ms / 1000, "isolation_level": None})
        event.listen(made, "connect", _sqlite_set_up(purpose))
        # The lock is taken when a transaction begins: one that reads first could not wait for it later.
        start = "BEGIN" if purpose.reads_only else "BEGIN IMMEDIATE"
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql(start))
        return made
    options = [
        f"-c statement_timeout={purpose.waits_ms}",
        f"-c synchronous_commit={'on' if purpose.durable else 'off'}",
        f"-c default_transaction_read_only={'on' if purpose.reads_only else 'off'}",
        "-c timezone=UTC",
    ]
    # One that the server closed meanwhile is noticed and replaced before it is used.
    return sa.create_engine(
        url,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": " ".join(options),
            "application_name": "ketamine-cds",
        },
        pool_size=2,
        max_overflow=8,
        pool_timeout=purpose.waits_ms / 1000,
        pool_pre_ping=True,
    )


def prepare(url: URL) -> None:
    """Make the folder and the file of a SQLite store, readable by their owner alone. Raises StoreError.

    A write-ahead log, once set, stays set: readers then wait for no writer.
    """
    if url.get_backend_name() != "sqlite" or url.database is None:
        return
    path = Path(url.database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _write_ahead(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}") from error


def _write_ahead(path: Path) -> None:
    """SQLite does not wait for the lock that this change needs: workers that start together would fail."""
    connection = sqlite3.connect(path, timeout=_CONNECT_SECONDS)
    try:
        end = time.monotonic() + _CONNECT_SECONDS
        while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
    finally:
        connection.close()


def _sqlite_set_up(purpose: Purpose) -> Any:
    def set_up(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {purpose.waits_ms}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if purpose.durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")

    return set_up

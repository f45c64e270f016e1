"""Connections to SQLite or PostgreSQL: how long each waits, and how sure its commits are."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cds_service.patience import SaysWhy


class StoreError(SaysWhy):
    """The store cannot be used as it is asked to; the message holds no record and no password."""


class Unavailable(StoreError):
    """The store cannot be reached, or is locked or full: the same call may succeed later."""


class Broken(Unavailable):
    """The file is no database, or a damaged one."""


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def told(where: str) -> Iterator[None]:
    """Translate SQLAlchemy's errors to StoreError, without the statement, whose parameters are patient records.

    A message about a record may quote its values and is dropped; one about the database itself is kept.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if _is_of_a_record(error):
            raise StoreError(f"{where}: a record is refused ({_kind(error)})") from None
        kind = Broken if is_damage(getattr(error, "orig", None)) else Unavailable
        raise kind(f"{where} cannot be used: {_reason(error)}") from None


def _is_of_a_record(error: SQLAlchemyError) -> bool:
    """Whether retrying is useless because the record itself is at fault.

    A table that is missing, a right that was taken away or a server that became read-only are the database's.
    """
    if isinstance(error, PoolTimeout):
        return False
    if isinstance(error, ProgrammingError):
        return getattr(error.orig, "sqlstate", None) is None
    return isinstance(error, IntegrityError | DataError) or not isinstance(error, DBAPIError)


def is_damage(error: object) -> bool:
    """Whether SQLite reports that the file is damaged or not a database."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _DAMAGED


def _reason(error: SQLAlchemyError) -> str:
    """The driver's message if it is about the database itself, otherwise only the type of the error."""
    original = error.orig if isinstance(error, DBAPIError) else None
    if original is None or getattr(original, "sqlstate", None):
        return " ".join(filter(None, (_kind(error), getattr(original, "sqlstate", None))))
    return (str(original).splitlines() or [_kind(error)])[0]


def _kind(error: SQLAlchemyError) -> str:
    original = error.orig if isinstance(error, DBAPIError) else None
    return type(original or error).__name__


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a connection is for."""

    waits_ms: int
    """How long a statement waits: for a lock of SQLite, for PostgreSQL altogether."""
    durable: bool = False
    """A commit is on disk when it returns and survives a power failure."""
    reads_only: bool = False


AUDIT = Purpose(waits_ms=5_000)
FEEDBACK = Purpose(waits_ms=5_000, durable=True)
LOOK_UP = Purpose(waits_ms=100, reads_only=True)
TOKENS = Purpose(waits_ms=1_000)
"""Used tokens. Without a sync at each: what a power failure takes is less than a token's life."""
VERSION = Purpose(waits_ms=3_000, reads_only=True)
UPKEEP = Purpose(waits_ms=60_000, durable=True)
"""Migrations, prune and export."""

_CONNECT_SECONDS = 3
_GRACE_SECONDS = 1.0
"""PostgreSQL ends a statement that takes too long; a server that is silent cannot, and then this side hangs up."""
_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


def url_of(text: str) -> URL:
    """The URL with its driver. Raises StoreError."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError("its URL cannot be read") from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise StoreError("its URL must start with sqlite:/// or postgresql://")
    if driver.startswith("sqlite") and not url.database:
        raise StoreError("its URL names no file")
    return url.set(drivername=driver)


def shown(url: URL) -> str:
    """Where the store is, for people: the path of a file, or the URL without password, options and driver."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername=url.get_backend_name(), password=None, query={}).render_as_string()


def engine(url: URL, purpose: Purpose) -> sa.Engine:
    """An engine of few connections, each set up for its purpose. Nothing is connected yet."""
    if url.get_backend_name() == "sqlite":
        made = sa.create_engine(url, connect_args={"timeout": purpose.waits_ms / 1000, "isolation_level": None})
        event.listen(made, "connect", _sqlite_set_up(purpose))
        # Take the lock when a transaction begins: SQLite refuses to wait for it once the transaction has read.
        start = "BEGIN" if purpose.reads_only else "BEGIN IMMEDIATE"
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql(start))
        # Python closes a file that nobody uses any more, but since 3.13 with a warning.
        weakref.finalize(made, made.pool.dispose).atexit = False
        return made
    options = [
        f"-c statement_timeout={purpose.waits_ms}",
        f"-c synchronous_commit={'on' if purpose.durable else 'off'}",
        f"-c default_transaction_read_only={'on' if purpose.reads_only else 'off'}",
        "-c timezone=UTC",
    ]
    # A connection that the server has closed is replaced before it is used.
    made = sa.create_engine(
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
    event.listen(made, "do_connect", _connected(purpose.waits_ms / 1000 + _GRACE_SECONDS))
    return made


def _connected(seconds: float) -> Any:
    def connect(dialect: object, record: object, given: Any, named: Any) -> Any:
        connection = _bounded().connect(*given, **named)
        connection.answers_within = seconds
        return connection

    return connect


@lru_cache(maxsize=1)
def _bounded() -> Any:
    """psycopg's connection, which by itself waits without end for a server that keeps silent."""
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        answers_within: float = _CONNECT_SECONDS

        def wait(self, gen: Generator[Any, Any, Any], *given: Any, **named: Any) -> Any:
            try:
                return super().wait(_until(gen, time.monotonic() + self.answers_within), *given, **named)
            except TimeoutError:
                self.pgconn.finish()  # a late answer would be taken for the answer to the next query
                raise psycopg.OperationalError(f"no answer within {self.answers_within:g} s") from None

    return Bounded


def _until(steps: Generator[Any, Any, Any], end: float) -> Generator[Any, Any, Any]:
    """The same steps until `end` (monotonic). Raises TimeoutError for the first step after it."""
    ready = None
    try:
        while True:
            ready = yield steps.send(ready)
            if not ready and time.monotonic() > end:
                raise TimeoutError
    except StopIteration as ended:
        return ended.value


def _sqlite_set_up(purpose: Purpose) -> Any:
    def set_up(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {purpose.waits_ms}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if purpose.durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")

    return set_up

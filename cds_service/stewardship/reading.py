"""The store as the pages read it: never written, never for longer than a bound, never more rows than a bound."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cds_service.store import engines
from cds_service.store.engines import Purpose, StoreError, told

SECONDS = 10.0
"""For all statements of one page together: who looks at a page waits no longer, and SQLite's log grows meanwhile."""
MOST_ROWS = 50_000
"""Of one statement: three months by day, service and client of a large hospital, or a list for CSV."""
_STEPS = 1_000
"""Instructions of SQLite's machine between two looks at the clock: some microseconds."""
_CANCELED = "57014"
"""SQLSTATE query_canceled, with which PostgreSQL ends a statement that takes too long."""


class NothingRecorded(StoreError):
    """The store is off, or nothing was ever written to it."""


class TooMuch(StoreError):
    """What was asked for takes too long or has too many rows; a shorter period may do."""


class Reading:
    """One transaction that only reads, until its end."""

    def __init__(self, connection: sa.Connection, seconds: float, most_rows: int) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._most_rows = most_rows
        self._is_postgresql = connection.dialect.name == "postgresql"
        if not self._is_postgresql:
            _driver(connection).execute("PRAGMA query_only = ON")
            _driver(connection).set_progress_handler(lambda: time.monotonic() > self._end, _STEPS)

    def rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        """All rows of a query. Raises TooMuch where they are too many, or time is up."""
        found = self.first(query, self._most_rows + 1)
        if len(found) > self._most_rows:
            raise TooMuch(f"it has more than {self._most_rows} rows; choose a shorter period")
        return found

    def first(self, query: sa.Select[Any], most: int) -> Sequence[sa.RowMapping]:
        """The first rows of a query. Raises TooMuch where time is up."""
        try:
            if self._is_postgresql:
                left = max(1, round((self._end - time.monotonic()) * 1000))
                self._connection.exec_driver_sql(f"SET LOCAL statement_timeout = {left}")
            return self._connection.execute(query.limit(most)).mappings().all()
        except DBAPIError as error:
            if _is_over(error.orig):
                raise TooMuch(f"it takes longer than {self._seconds:g} s; choose a shorter period") from None
            raise


class Reader:
    """The store at a URL; None is no store. Threads may share it. Nothing is opened before the first reading.

    It makes no file and no table, so that it can look at the store of a service that runs.
    """

    def __init__(self, url: str | None, seconds: float = SECONDS, most_rows: int = MOST_ROWS) -> None:
        """Raises StoreError where the URL cannot be used."""
        self._url = engines.url_of(url) if url is not None else None
        self._seconds, self._most_rows = seconds, most_rows
        purpose = Purpose(waits_ms=round(seconds * 1000), reads_only=True)
        self._engine = engines.engine(self._url, purpose) if self._url is not None else None

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A transaction for the statements of one page. Raises StoreError."""
        if self._engine is None or self._url is None:
            raise NothingRecorded("nothing is recorded: KETAMINE_CDS_STORE is off")
        is_file = self._url.get_backend_name() == "sqlite"
        if is_file and not Path(str(self._url.database)).is_file():
            raise NothingRecorded(f"nothing is recorded yet: there is no {self._url.database}")
        where = engines.shown(self._url)
        try:
            with told(where), self._engine.connect() as connection, connection.begin():
                yield Reading(connection, self._seconds, self._most_rows)
        finally:
            if is_file:
                self._engine.dispose()  # the file may be another at the next reading

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection


def _is_over(error: object) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_INTERRUPT or getattr(error, "sqlstate", None) == _CANCELED

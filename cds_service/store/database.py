"""A database as one process uses it: opened on first use, reopened after an outage, recreated if it is damaged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from cds_service.store import engines
from cds_service.store.engines import Broken, Purpose, StoreError, Unavailable, told
from cds_service.store.files import file_of

log = logging.getLogger("ketamine_cds")

_OPENING_SECONDS = 5.0


class Database:
    """Threads may share it; after a fork, each process makes its own.

    A file of SQLite that was deleted or replaced is noticed before and after each transaction: nothing that was
    written to a deleted file counts as written.
    """

    def __init__(self, url: URL, set_up: Callable[[URL], object]) -> None:
        """`set_up` makes the tables; it may be called any number of times."""
        self.url = url
        self.where = engines.shown(url)
        self._set_up = set_up
        self._file = file_of(url)
        self._engines: dict[Purpose, sa.Engine] = {}
        self._lock = threading.Lock()
        self._is_open = False
        self._failed = (0, "")
        """How often opening has failed, and why it did last."""

    def open(self) -> None:
        """Make the file and its tables, once. Raises StoreError."""
        if self._is_open:
            return
        seen, _ = self._failed
        if not self._lock.acquire(timeout=_OPENING_SECONDS):
            raise Unavailable(f"{self.where} cannot be used: it is still being opened")
        try:
            failures, why = self._failed
            if not self._is_open and failures != seen:  # another thread tried while this one waited for the lock
                raise Unavailable(why)
            if not self._is_open:
                self._open()
        finally:
            self._lock.release()

    def _open(self) -> None:
        try:
            try:
                self._prepare()
            except Broken as damage:
                if self._file is None or not self._file.set_aside(str(damage)):
                    raise
                self._prepare()
        except StoreError as error:
            self._failed = (self._failed[0] + 1, str(error))
            raise
        if self._file is not None:
            self._file.watch()
        self._is_open = True

    def _prepare(self) -> None:
        if self._file is not None:
            self._file.prepare()
        self._set_up(self.url)

    @contextmanager
    def transaction(self, purpose: Purpose) -> Iterator[sa.Connection]:
        """A transaction that commits on exit. Raises StoreError, after which nothing counts as written."""
        self.open()
        self._look_at_file()
        self.open()
        try:
            with told(self.where), self._engine(purpose).begin() as connection:
                yield connection
        except Broken as damage:
            if self._file is not None and self._file.set_aside(str(damage)):
                self._start_anew(None)
            raise
        except Unavailable:
            self._is_open = False  # the database that comes back may lack the tables
            raise
        if self._file is not None and not purpose.reads_only:
            self._file.committed()
            fault = self._look_at_file()
            if fault:
                raise Unavailable(f"{self.where} cannot be used: {fault}")

    def _look_at_file(self) -> str | None:
        """What has happened to the file; the next use then creates it again. None if nothing has."""
        if self._file is None:
            return None
        if not self._file.is_there:
            self._start_anew(f"{self.where} was deleted or replaced; it is opened anew")
            return "the file was deleted or replaced"
        if self._file.is_damaged and self._file.set_aside(f"{self.where} cannot be used: it was written over"):
            self._start_anew(None)
            return "the file was written over"
        return None

    def _start_anew(self, says: str | None) -> None:
        with self._lock:
            if self._is_open and says:
                log.error(says)
            self._is_open = False
            self._let_go()  # not of the file, which another thread may still use

    def _engine(self, purpose: Purpose) -> sa.Engine:
        made = self._engines.get(purpose)
        return made or self._engines.setdefault(purpose, engines.engine(self.url, purpose))

    def close(self) -> None:
        """Let go of all connections; the next use makes new ones."""
        self._let_go()
        if self._file is not None:
            self._file.unwatch()

    def _let_go(self) -> None:
        for engine in list(self._engines.values()):
            engine.dispose()


def new(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that skips rows whose key exists."""
    return _new(connection.dialect.name, table)


@lru_cache(maxsize=32)
def _new(dialect: str, table: sa.Table) -> Any:
    """Built once: building a statement takes as long as writing some rows by it."""
    # Its dialect is loaded since the connection was made; the other one would take 2 MB.
    insert: Any = import_module(f"sqlalchemy.dialects.{dialect}").insert
    return insert(table).on_conflict_do_nothing()

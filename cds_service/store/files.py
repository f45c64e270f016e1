"""The file of a SQLite database: its owner's alone, noticed when it is deleted, set aside when it is damaged."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from cds_service.store.engines import Broken, Unavailable, is_damage

log = logging.getLogger("ketamine_cds")

_LOCK_SECONDS = 3
_OTHERS = 0o077
_MAGIC = b"SQLite format 3\x00"
_BESIDE = ("-wal", "-shm")
"""Files that SQLite keeps beside its own; the first holds what was committed last."""
_MOST_SET_ASIDE = 5
"""A disk that damages whatever is written must not fill with what it damaged."""


class SqliteFile:
    """One database file, as one process uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        self._head: int | None = None

    def prepare(self) -> None:
        """Create the folder and the file if they are missing, readable by their owner only. Raises Unavailable.

        A write-ahead log, once set, stays set: readers then wait for no writer.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never open an existing file here: closing it would release this process's locks on it.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            if not stat.S_ISREG(self.path.stat().st_mode):  # to be closed to others, or set aside
                raise Unavailable(f"{self.path} cannot be used: it is no regular file")
            self._opened, self._log = _identity(self.path), None
            self._tighten()
            self._write_ahead()
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be used: {error.strerror}") from error
        except sqlite3.Error as error:
            raise (Broken if is_damage(error) else Unavailable)(f"{self.path} cannot be used: {error}") from error

    def committed(self) -> None:
        """Remember the write-ahead log of a commit. Whoever deletes it deletes what was committed last."""
        self._log = self._log or _identity(self._beside("-wal"))

    def watch(self) -> None:
        """Keep the file open, to look at it without SQLite, which believes what it has read before.

        As long as it is the same file it stays open. Closing it would let go of all locks that this process has on
        it. Another process that closes its own connection would then take itself for the last, and remove the
        write-ahead log to which this one goes on to write.
        """
        if self._head is not None and _identity(self.path) == _identity_of(os.fstat(self._head)):
            return
        self.unwatch()
        with suppress(OSError):
            self._head = os.open(self.path, os.O_RDONLY)

    def unwatch(self) -> None:
        if self._head is not None:
            os.close(self._head)
            self._head = None

    @property
    def is_damaged(self) -> bool:
        """Whether something was written over the beginning of the file."""
        head = self._head
        if head is None:
            return False
        try:
            return os.pread(head, len(_MAGIC), 0) != _MAGIC
        except OSError:  # another thread has just closed it
            return False

    @property
    def is_there(self) -> bool:
        """Whether the path still leads to the file that was opened: what is written to a deleted one is lost."""
        if self._opened is None or _identity(self.path) != self._opened:
            return False
        return self._log is None or _identity(self._beside("-wal")) == self._log

    def set_aside(self, why: str) -> bool:
        """Rename a damaged file so that the next `prepare` creates a new one. False if it was left in place.

        Of several processes that find the same damage one does it; the others find another file in its place.
        """
        try:
            with self._locked():
                if _identity(self.path) != self._opened:
                    return True
                kept = self.path.parent.glob(f"{self.path.name}.broken-*")
                if sum(not each.name.endswith(_BESIDE) for each in kept) >= _MOST_SET_ASIDE:
                    log.error("%s; there are %d damaged files beside it already", why, _MOST_SET_ASIDE)
                    return False
                name = f"{self.path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
                for suffix in ("", *_BESIDE):
                    with suppress(FileNotFoundError):
                        self._beside(suffix).rename(self.path.with_name(name + suffix))
        except OSError as error:
            log.error("%s; it cannot be set aside: %s", why, error.strerror)
            return False
        log.error("%s; it is kept as %s, and made anew", why, name)
        return True

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _tighten(self) -> None:
        for file in (self.path, *map(self._beside, _BESIDE)):
            with suppress(OSError):  # missing, or owned by another process that will do it
                if file.stat().st_mode & _OTHERS:
                    file.chmod(0o600)

    def _write_ahead(self) -> None:
        """SQLite does not wait for the lock that this change needs: workers that start together would fail."""
        connection = sqlite3.connect(self.path, timeout=_LOCK_SECONDS)
        try:
            end = time.monotonic() + _LOCK_SECONDS
            while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.02)
        finally:
            connection.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Over all processes."""
        lock = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def file_of(url: URL) -> SqliteFile | None:
    """The file of a SQLite URL; None for a database server."""
    return SqliteFile(Path(url.database or "")) if url.get_backend_name() == "sqlite" else None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that is there."""
    try:
        return _identity_of(path.stat())
    except OSError:
        return None


def _identity_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino

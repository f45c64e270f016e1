"""Logs on standard error, as JSON or to be read by a person, in which nothing can stand that came from a request.

Of this service's own loggers the message is written; of all others only where they spoke: a library may put a URL
with a patient's id, or a value, into its words. Of an error its type and place are written, never its message.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from datetime import UTC, datetime
from multiprocessing.util import Finalize
from typing import TextIO

import msgspec
from flask import g, has_app_context

from cds_service.web.wire import place

OURS = "ketamine_cds"
"""The logger under which everything of this service logs."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One line. `ms` is the time from the first look at a request to its answer, in milliseconds."""

    time: str
    level: str
    logger: str
    says: str | None = None
    place: str | None = None
    error: str | None = None
    request: str | None = None
    client: str | None = None
    service: str | None = None
    status: int | None = None
    ms: float | None = None
    cards: int | None = None
    could_not_check: int | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the line of an answered request says; the rest of what is known of it is left out on purpose."""

    client: str | None
    service: str
    status: int
    ms: float
    cards: int | None = None
    could_not_check: int | None = None


class Lines(logging.Formatter, ABC):
    """A record as one line. What it may say is decided here, how that is written below."""

    def format(self, record: logging.LogRecord) -> str:
        return self.written(self.line(record))

    @abstractmethod
    def written(self, line: Line) -> str:
        """The line as it is read."""

    def line(self, record: logging.LogRecord) -> Line:
        error = record.exc_info[1] if record.exc_info else None
        is_ours = record.name == OURS or record.name.startswith(f"{OURS}.")
        answered = getattr(record, "answered", None)
        tenant = g.get("tenant") if has_app_context() else None
        return Line(
            time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            level=record.levelname,
            logger=record.name,
            says=record.getMessage() if is_ours else None,
            place=None if is_ours else f"{record.module}:{record.lineno}",
            error=f"{type(error).__name__} at {place(error)}" if error else None,
            request=g.get("request_id") if has_app_context() else None,
            **(
                msgspec.structs.asdict(answered)
                if isinstance(answered, Answered)
                else {"client": tenant.id if tenant else None}
            ),
        )


class JsonLines(Lines):
    """For machines: an object with the members that are known."""

    def written(self, line: Line) -> str:
        return msgspec.json.encode(line).decode()


class ReadableLines(Lines):
    """For a person at a terminal: the local time, the level unless it is INFO, and what is known, in that order."""

    def written(self, line: Line) -> str:
        moment = datetime.fromisoformat(line.time).astimezone()
        level = None if line.level == "INFO" else line.level
        said = [f"{moment:%H:%M:%S} ", level, line.says or line.logger, line.place, line.error, line.service]
        if line.status is not None:
            said.append(f"{line.status}")
        if line.ms is not None:
            said.append(f"in {line.ms:.0f} ms,")
        if line.cards is not None:
            said.append(f"{line.cards} cards, {line.could_not_check or 0} could not check,")
        if line.client is not None:
            said.append(f"client {line.client}")
        return " ".join(part for part in said if part).rstrip(",")


class Aside(logging.Handler):
    """Writes lines in a thread of its own: a log that nobody reads any more must not hold up the orders.

    Python's handler writes while it holds a lock that all threads share, and a pipe that is full never lets go. Lines
    for which there is no room are left out, and the next one that is written says how many.
    """

    WAITING = 10_000
    _LINGER = 0.02
    """Seconds that the thread waits for more lines to write with the first, and lets the answer leave."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._has_some = threading.Event()
        self._is_writing = False
        self._left_out = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()
        # The end of a worker process runs no other exit handlers; after the audit, which still has something to say.
        Finalize(None, self.flush, exitpriority=0)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if len(self._lines) >= self.WAITING:
                self._left_out += 1
                return
            self._lines.append(line)
            if not self._has_some.is_set():  # to wake a thread costs more than the line
                self._has_some.set()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait a little for what is still to be written; at the end of the process, that is."""
        end = time.monotonic() + 1
        while (self._lines or self._is_writing) and time.monotonic() < end:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            self._has_some.wait()
            time.sleep(self._LINGER)
            self._is_writing = True
            self._has_some.clear()  # before the lines are taken: one that comes now is waited for again
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if self._left_out:
                says, self._left_out = f"{self._left_out} lines of the log were left out", 0
                lines.append(self.format(logging.makeLogRecord({"name": OURS, "levelname": "WARNING", "msg": says})))
            try:
                self._stream.writelines(f"{line}\n" for line in lines)
                self._stream.flush()
            except (OSError, ValueError):  # nobody is there to read it, or to be told
                pass
            finally:
                self._is_writing = False


def to_stderr(level: str = "INFO", form: str = "auto") -> None:
    """Log to standard error from `level` on; libraries from WARNING on. Nothing is printed beside these lines.

    `form` is that of KETAMINE_CDS_LOG_FORMAT: json, text, or auto (text where a person watches).
    """
    handler = Aside(sys.stderr)
    is_read = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(ReadableLines() if is_read else JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(level)
    # No line says them, and each record would ask for them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.raiseExceptions = False  # else a line that cannot be formatted is printed with its arguments
    threading.excepthook = _ended


def _ended(ended: threading.ExceptHookArgs) -> None:
    """A thread that ended by an error: its type and place, where Python would print its message."""
    error = ended.exc_value
    where = place(error) if error else "?"
    logging.getLogger(OURS).error("a thread ended: %s at %s", ended.exc_type.__name__, where)

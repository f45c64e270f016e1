"""A finished report, for those who sign it, compare by it or look at it: bounded, and only as it was written."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cds_service.errors import UNREADABLE, CdsError
from cds_service.retrospect.policies import OLD
from cds_service.retrospect.tables import Table

SUMMARY = "summary.json"
MOST_BYTES = 4_000_000
"""Of a file that is read."""
MOST_ROWS = 10_000
"""Of a table."""

_NAME = re.compile(r"[a-z]+(-[a-z]+)*")


class NotAReport(CdsError):
    """A folder that holds no report of a replay, or one that was changed after it was written."""


class Replayed(msgspec.Struct, frozen=True):
    """A policy of a replay: its name there, its overlay file with its SHA-256, the digest of all that it loaded."""

    name: str
    file: str
    sha256: str = ""
    digest: str = ""
    """Empty in a report of an earlier version."""


class Plotted(msgspec.Struct, frozen=True):
    """What is needed to draw the doses of a unit once more."""

    title: str
    unit: str
    orders: int
    step: float
    limits: dict[str, float] = {}

    @property
    def tables(self) -> tuple[str, str]:
        """The names of the tables with its bars and with its curve."""
        name = self.unit.replace("/", "-per-")
        return f"doses-{name}", f"limits-{name}"


class Summary(msgspec.Struct, frozen=True):
    """summary.json."""

    policies: list[Replayed]
    as_of: str
    orders: int
    judged: int
    left_out: dict[str, int] = {}
    lines_not_read: dict[str, int] = {}
    measures: dict[str, float] = {}
    plots: list[Plotted] = []
    tables: dict[str, str] = {}
    """Name -> SHA-256 of its file."""


@dataclass(frozen=True)
class Result:
    """A report in its folder. `digest` is the SHA-256 of its summary, which names the digest of each table."""

    folder: Path
    digest: str
    summary: Summary

    @property
    def old(self) -> Replayed | None:
        """The policy with which the others are compared."""
        return next((each for each in self.summary.policies if each.name == OLD), None)

    @property
    def new(self) -> Sequence[Replayed]:
        return [each for each in self.summary.policies if each.name != OLD]

    @property
    def of_what(self) -> str:
        """The policies with their digests."""
        return ", ".join(f"{each.file} {each.digest or 'without a digest'}" for each in self.summary.policies)

    def table(self, name: str) -> Table:
        """A table of the report, its cells as texts. Raises NotAReport."""
        if not _NAME.fullmatch(name):
            raise NotAReport(f"{self.folder} names a table that no report has")
        file = f"{name}.csv"
        raw = _bytes(self.folder / file)
        written = self.summary.tables.get(name)
        if written is not None and sha256(raw) != written:
            raise NotAReport(f"{self.folder / file} was changed after the report was written")
        try:
            rows = list(csv.reader(raw.decode().splitlines()))
        except (csv.Error, UnicodeDecodeError) as error:
            raise NotAReport(f"{self.folder / file} cannot be read: {type(error).__name__}") from error
        if not rows or len(rows) > MOST_ROWS or any(len(row) != len(rows[0]) for row in rows):
            raise NotAReport(f"{self.folder / file} is no table of at most {MOST_ROWS} rows")
        return Table(name, rows[0], rows[1:])


def opened(folder: Path) -> Result:
    """The report in a folder. Raises NotAReport."""
    raw = _bytes(folder / SUMMARY)
    try:
        return Result(folder, sha256(raw), msgspec.json.decode(raw, type=Summary))
    except (msgspec.MsgspecError, *UNREADABLE) as error:
        raise NotAReport(f"{folder / SUMMARY} is no summary of a replay") from error


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _bytes(file: Path) -> bytes:
    """A file of the report itself: nothing that only points elsewhere, and nothing without end."""
    try:
        if file.is_symlink() or not file.is_file():
            raise NotAReport(f"{file.parent} holds no report of a replay: there is no {file.name}")
        with file.open("rb") as opened_file:
            raw = opened_file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise NotAReport(f"{file} cannot be read: {type(error).__name__}") from error
    if len(raw) > MOST_BYTES:
        raise NotAReport(f"{file} is larger than {MOST_BYTES} bytes")
    return raw

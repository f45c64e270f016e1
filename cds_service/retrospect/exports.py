"""The files of an export: which hold what, and what of them could not be read."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cds_service.errors import CdsError
from cds_service.fhir.resources import TYPES
from cds_service.retrospect.engines import package

REQUESTS = "hook requests"
"""What a file holds whose lines are requests, in the place of a type."""
MIXED = "mixed"
"""A file whose name and first line do not tell."""
_SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".parquet")
LONGEST_LINE = 16_000_000
"""Bytes. Of a longer line only the beginning is kept, which is no JSON: it is counted among those not read."""
_BEGINNING = 10_000
_BROKEN = b'{"breaks off\n'
"""Stands for the line in which a packed file breaks off, so that it is counted."""
_WORD = re.compile(r"[A-Za-z]+")
UNFINISHED = "state.json"
"""Lies in a folder where a replay keeps what is not finished."""
UNFINISHED_EXPORT = "unfinished-export.json"
"""Lies in a folder into which an export was not fetched to its end."""
COLUMN = "json"
"""The column of a Parquet file that holds a resource or a request as text."""


class NoExport(CdsError):
    """There is nothing to replay."""


class _Line(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    hook: str | None = None


@dataclass(frozen=True)
class Export:
    """The files by what they hold, and sentences about what is wrong with some of them."""

    files: Mapping[str, Sequence[Path]]
    notes: list[str] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Path]:
        """The files that may hold resources of these types."""
        return [file for kind in (*kinds, MIXED) for file in self.files.get(kind, ())]

    @property
    def types(self) -> frozenset[str]:
        """The types that the export has; all of them where a file is mixed."""
        return frozenset(TYPES) if MIXED in self.files else frozenset(self.files) - {REQUESTS}

    @property
    def all(self) -> list[Path]:
        return sorted(file for files in self.files.values() for file in files)


def find(source: Path, plain: Path) -> Export:
    """The files of a folder, or the one file. Packed ones are unpacked into the folder `plain`.

    What an unfinished replay keeps is none of them, and neither is a table of something else. Raises NoExport.
    """
    if not source.exists():
        raise NoExport(f"{source}: there is no such file or folder")
    if (source / UNFINISHED_EXPORT).exists():
        raise NoExport(f"{source}: the export in it is not finished; the command that fetched it goes on with it")
    found = [source] if source.is_file() else sorted(each for each in source.rglob("*") if _is_of_export(each))
    if not found:
        raise NoExport(f"{source}: it holds no file {', '.join(_SUFFIXES)}")
    files: dict[str, list[Path]] = {}
    notes: list[str] = []
    for number, each in enumerate(found):
        if each.suffix == ".parquet" and not _has_column(each):
            notes.append(f"{each.name} has no column {COLUMN} and was left out")
            continue
        file = unpacked(each, plain / str(number), notes) if each.name.endswith(".gz") else each
        if file.suffix != ".parquet" and not _ends_with_a_line(file):
            notes.append(f"{each.name} breaks off in a line")
        files.setdefault(_held(file), []).append(file)
    if not files:
        raise NoExport(f"{source}: {'; '.join(notes)}")
    return Export(files, notes)


def repaired(export: Export, plain: Path) -> Export:
    """The same files with bytes that are no UTF-8 replaced, as the service does it: such a line may still be read."""
    files: dict[str, list[Path]] = {}
    for kind, given in export.files.items():
        for number, file in enumerate(given):
            again = file if file.suffix == ".parquet" else unpacked(file, plain / f"{kind}-{number}", export.notes)
            files.setdefault(kind, []).append(again)
    return Export(files, export.notes)


def _is_of_export(file: Path) -> bool:
    if not (file.is_file() and file.name.endswith(_SUFFIXES)):
        return False
    return not any((folder / UNFINISHED).exists() for folder in file.parents)


def _has_column(file: Path) -> bool:
    """Raises NoExport: of a Parquet file that breaks off nothing at all can be read."""
    try:
        names: list[str] = package("pyarrow.parquet").read_schema(file).names
    except package("pyarrow").ArrowInvalid as error:
        raise NoExport(f"{file.name} is no whole Parquet file; fetch it again, or take it away") from error
    return COLUMN in names


def unpacked(file: Path, plain: Path, notes: list[str]) -> Path:
    """The file unpacked, with bytes that are no UTF-8 replaced; of one that breaks off its beginning."""
    plain.mkdir(parents=True, exist_ok=True)
    made = plain / file.name.removesuffix(".gz")
    with (gzip.open if file.name.endswith(".gz") else open)(file, "rb") as source, made.open("wb") as target:
        try:
            for line in source:
                text = line.decode("utf-8", "replace").encode()
                target.write(text if len(text) <= LONGEST_LINE else text[:_BEGINNING] + b"\n")
        except (EOFError, OSError, zlib.error):
            notes.append(f"{file.name} is packed and breaks off")
            target.write(_BROKEN)
    return made


def _ends_with_a_line(file: Path) -> bool:
    """Whether the last line is closed, or whole all the same."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        if size == 0:
            return True
        opened.seek(size - 1)
        if opened.read() == b"\n":
            return True
        opened.seek(max(0, size - LONGEST_LINE))
        last = opened.read().rpartition(b"\n")[2]
    try:
        msgspec.json.decode(last, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return last.strip().endswith(b"}")


def _held(file: Path) -> str:
    """What a file holds, by its name or by its first line that can be read."""
    for word in _WORD.findall(file.name.partition(".ndjson")[0]):
        if word in TYPES:
            return str(word)
    for line in _first_lines(file):
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            continue
        if read.hook is not None and read.resource_type is None:
            return REQUESTS
    return MIXED


def _first_lines(file: Path) -> Iterator[bytes]:
    if file.suffix == ".parquet":
        opened = package("pyarrow.parquet").ParquetFile(file)
        for batch in opened.iter_batches(10, columns=[COLUMN]):
            yield from (str(text).encode() for text in batch.column(0).to_pylist())
            return
        return
    with file.open("rb") as opened_text:
        for _ in range(10):
            yield opened_text.readline()

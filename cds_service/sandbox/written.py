"""Orders that were written to the sandbox: files in a folder that all worker processes share, until it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.sandbox.charts import Resource

FOLDER = "CDS_SANDBOX_FOLDER"
"""The variable by which the process that starts the workers tells them of the folder."""
MOST = 200


class Full(CdsError):
    """The sandbox holds as many written orders as it keeps."""


@contextmanager
def shared_folder() -> Iterator[None]:
    """For whoever starts workers: a folder for what is written, only this user's, while it lasts."""
    with TemporaryDirectory(prefix="ketamine-cds-sandbox-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


class Folder(MutableMapping[str, bytes]):
    """A file for each name. Names must be fit for files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._file(name).read_bytes()
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, content: bytes) -> None:
        """In one step, so that nobody reads half of it."""
        with NamedTemporaryFile(dir=self._path, suffix=".part", delete=False) as made:
            made.write(content)
        Path(made.name).replace(self._file(name))

    def __delitem__(self, name: str) -> None:
        self._file(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (file.name.removesuffix(".json") for file in sorted(self._path.glob("*.json")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, name: str) -> Path:
        return self._path / f"{name}.json"


class Written:
    """The orders that were written, by id: in the workers' folder, or in this process where there is none."""

    def __init__(self) -> None:
        self._kept: MutableMapping[str, bytes] = Folder(Path(os.environ[FOLDER])) if FOLDER in os.environ else {}

    def all(self) -> Iterator[tuple[str, Resource]]:
        for name, order in list(self._kept.items()):
            yield name, lenient.untyped(order)

    def next_version(self, name: str) -> str:
        """That of an order which nobody wrote before is 2: what a chart has is its first."""
        order = self._kept.get(name)
        return str(int(lenient.untyped(order)["meta"]["versionId"]) + 1) if order else "2"

    def put(self, name: str, order: bytes) -> None:
        """Raises Full."""
        if name not in self._kept and len(self._kept) >= MOST:
            raise Full(f"the sandbox keeps {MOST} written orders; they are gone when it is started anew")
        self._kept[name] = order

"""ketamine-cds export as it is called, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cds_service import cli
from tests.retrospect.bulk_server import BulkServer
from tests.servers.local import LocalServer, local_server

FILES = {
    "Patient-1": b'{"resourceType":"Patient","id":"a"}\n{"resourceType":"Patient","id":"b"}\n',
    "Observation-1": b'{"resourceType":"Observation","id":"1"}\n' * 5,
    "Observation-2": b'{"resourceType":"Observation","id":"2"}',
}
COUNTS = {"Observation-2": 1}
TYPES = ("--types", "Patient,Observation")


@contextmanager
def running(server: BulkServer) -> Iterator[LocalServer]:
    with local_server(server.answer) as local:
        server.base = local.base
        yield local


def fetch(server: BulkServer, into: Path, *options: str) -> int:
    return cli.main(["export", server.base, "--into", str(into), *TYPES, *options])


def held(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir()) if each.suffix != ".json"}

"""Starts a second real FHIR server for the tests, unlike HAPI: Medplum's router over its repository in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.node import NodeServer
from tests.servers.ports import unused_port
from tests.servers.process import fhir_server

_BUILD = Path(__file__).parents[2] / "build" / "fhir-router"
_SERVER = NodeServer("Medplum's FHIR router", Path(__file__).with_suffix(""), _BUILD, least=(18, 0))
why_not, needed = _SERVER.why_not, _SERVER.needed


@contextmanager
def fhir_router() -> Iterator[str]:
    """Run an empty server on a free port of 127.0.0.1; yield its base URL, no slash at the end.

    Raises FhirServerError when it cannot run here (see `why_not`) or does not come up.
    """
    port = unused_port()
    with fhir_server("the FHIR router", _SERVER.command(str(port)), _BUILD, port) as url:
        yield url

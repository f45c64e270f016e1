"""Starts an authorization server of another project for the tests: oidc-provider, with SMART App Launch on top."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.servers.node import NodeServer
from tests.servers.ports import unused_port
from tests.servers.process import fhir_server

_BUILD = Path(__file__).parents[2] / "build" / "smart-server"
_SERVER = NodeServer("the authorization server", Path(__file__).with_suffix(""), _BUILD, least=(18, 19))
_SECONDS = 30
needed = _SERVER.needed


@dataclass(frozen=True)
class SmartServer:
    """A running one. It is reached as `localhost`, which for a browser is another site than 127.0.0.1."""

    origin: str

    @property
    def fhir(self) -> str:
        """The base URL of the FHIR server that lets only its tokens in; no slash at the end."""
        return f"{self.origin}/fhir"

    def launch(self, **context: str) -> str:
        """The id of a launch that a clinician begins in the EHR, with the patient in context."""
        answer = requests.post(f"{self.origin}/launches", json=context, timeout=_SECONDS)
        return str(answer.json()["launch"])

    def tokens(self) -> list[str]:
        """All that it has given out."""
        given: list[str] = requests.get(f"{self.origin}/tokens", timeout=_SECONDS).json()
        return given


@contextmanager
def smart_server(
    fhir: str, clients: Sequence[Mapping[str, Any]], users: Mapping[str, Sequence[str]], port: int = 0
) -> Iterator[SmartServer]:
    """Run it before the FHIR server at `fhir`, on a free port; `users` are who may sign in, with their groups.

    Raises FhirServerError when it cannot run here or does not come up.
    """
    port = port or unused_port()
    told = json.dumps({"port": port, "fhir": fhir, "clients": clients, "users": users})
    with fhir_server("the authorization server", _SERVER.command(told), _BUILD, port):
        yield SmartServer(f"http://localhost:{port}")

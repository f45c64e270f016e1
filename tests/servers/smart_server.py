"""Starts an authorization server of another project for the tests: oidc-provider, with SMART App Launch on top."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import npm
from tests.servers.process import FhirServerError, fhir_server, free_port, locked

_RECIPE = Path(__file__).with_suffix("")
_BUILD = Path(__file__).parents[2] / "build" / "smart-server"
_LEAST_NODE = (18, 19)
_SECONDS = 30


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

    Raises FhirServerError when it cannot run here (see `why_not`) or does not come up.
    """
    if reason := why_not():
        raise FhirServerError(reason)
    _install()
    port = port or free_port()
    told = json.dumps({"port": port, "fhir": fhir, "clients": clients, "users": users})
    command = [str(shutil.which("node")), "server.mjs", told]
    with fhir_server("the authorization server", command, _BUILD, port):
        yield SmartServer(f"http://localhost:{port}")


def why_not() -> str | None:
    """Say why it cannot run on this machine, for a skip message; None when it can."""
    least = ".".join(map(str, _LEAST_NODE))
    node = shutil.which("node")
    if node is None:
        return f"the authorization server needs Node.js {least} or later: no node on the PATH"
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < _LEAST_NODE:
        return f"the authorization server needs Node.js {least} or later: {node} is {said.strip()}"
    if shutil.which("npm") is None and not npm.is_installed(_RECIPE, _BUILD):
        return "the authorization server needs npm once, to fetch its packages: no npm on the PATH"
    return None


def needed() -> None:
    """Skip the tests that need it where it cannot run; KETAMINE_TEST_REQUIRE_NODE=1, as in CI, fails them."""
    if reason := why_not():
        (pytest.fail if os.environ.get("KETAMINE_TEST_REQUIRE_NODE") == "1" else pytest.skip)(reason)


def _install() -> None:
    """Its packages, and beside them the server as it is now."""
    with locked(_BUILD):
        try:
            npm.install(_RECIPE, _BUILD)
        except npm.NotInstalled as error:
            raise FhirServerError(str(error)) from error
        shutil.copyfile(_RECIPE / "server.mjs", _BUILD / "server.mjs")

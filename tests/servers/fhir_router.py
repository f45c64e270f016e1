"""Starts a second real FHIR server for the tests, unlike HAPI: Medplum's router over its repository in memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import npm
from tests.servers.process import FhirServerError, fhir_server, free_port, locked

_RECIPE = Path(__file__).with_suffix("")
_BUILD = Path(__file__).parents[2] / "build" / "fhir-router"
_LEAST_NODE = 18


@contextmanager
def fhir_router() -> Iterator[str]:
    """Run an empty server on a free port of 127.0.0.1; yield its base URL, no slash at the end.

    Raises FhirServerError when it cannot run here (see `why_not`) or does not come up.
    """
    if reason := why_not():
        raise FhirServerError(reason)
    _install()
    port = free_port()
    with fhir_server("the FHIR router", [str(shutil.which("node")), "server.mjs", str(port)], _BUILD, port) as url:
        yield url


def why_not() -> str | None:
    """Say why it cannot run on this machine, for a skip message; None when it can."""
    node = shutil.which("node")
    if node is None:
        return f"Medplum's FHIR router needs Node.js {_LEAST_NODE} or later: no node on the PATH"
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < _LEAST_NODE:
        return f"Medplum's FHIR router needs Node.js {_LEAST_NODE} or later: {node} is {said.strip()}"
    if shutil.which("npm") is None and not npm.is_installed(_RECIPE, _BUILD):
        return "Medplum's FHIR router needs npm once, to fetch its packages: no npm on the PATH"
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

"""Servers of the tests that run on Node.js, with packages of npm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import npm
from tests.servers.process import FhirServerError, locked

_SERVER = "server.mjs"


@dataclass(frozen=True)
class NodeServer:
    """`recipe` has its package.json and server.mjs, `build` is where its packages are kept."""

    name: str
    recipe: Path
    build: Path
    least: tuple[int, int]
    """The first version of Node.js that it runs on."""

    def why_not(self) -> str | None:
        """Say why it cannot run on this machine, for a skip message; None when it can."""
        least = f"{self.name} needs Node.js {self.least[0]}.{self.least[1]} or later"
        node = shutil.which("node")
        if node is None:
            return f"{least}: no node on the PATH"
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"v(\d+)\.(\d+)", said)
        if version is None or (int(version[1]), int(version[2])) < self.least:
            return f"{least}: {node} is {said.strip()}"
        if shutil.which("npm") is None and not npm.is_installed(self.recipe, self.build):
            return f"{self.name} needs npm once, to fetch its packages: no npm on the PATH"
        return None

    def needed(self) -> None:
        """Skip the tests that need it where it cannot run; KETAMINE_TEST_REQUIRE_NODE=1, as in CI, fails them."""
        if reason := self.why_not():
            (pytest.fail if os.environ.get("KETAMINE_TEST_REQUIRE_NODE") == "1" else pytest.skip)(reason)

    def command(self, told: str) -> list[str]:
        """What starts it, told this, once its packages are there, and beside them the server as it is now.

        Raises FhirServerError when it cannot run here.
        """
        if reason := self.why_not():
            raise FhirServerError(reason)
        with locked(self.build):
            try:
                npm.install(self.recipe, self.build)
            except npm.NotInstalled as error:
                raise FhirServerError(str(error)) from error
            shutil.copyfile(self.recipe / _SERVER, self.build / _SERVER)
        return [str(shutil.which("node")), _SERVER, told]

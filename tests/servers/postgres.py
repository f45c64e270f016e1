"""A PostgreSQL server of the tests' own, in a temporary folder, from the binaries of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.servers.ports import unused_port

REQUIRE = "KETAMINE_TEST_REQUIRE_POSTGRES"
USER = "cds"
_OTHER_USER = "postgres"
_PATIENCE = 120


@dataclass
class Postgres:
    """A running server. `database()` makes an empty database and gives its URL."""

    port: int
    folder: Path
    binaries: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server, whose processes are its children."""
        assert self._process is not None
        return self._process.pid

    def database(self) -> str:
        name = f"cds{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        # It is our service that tests kill, not this server or its machine.
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        command = [
            self.binaries / "postgres",
            "-D",
            self.folder / "data",
            "-p",
            self.port,
            "-k",
            self.folder,
            *options,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(_as_other_user(*command), stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=3).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, "the server does not answer"
                time.sleep(0.05)

    def stop(self) -> None:
        """At once, and whoever is connected loses the connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_PATIENCE)
            self._process = None


def _binaries() -> Path | None:
    """The folder with initdb and the server; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").is_file()), None)


def _as_other_user(*command: object) -> list[str]:
    """PostgreSQL refuses to run as root. The server ends with the tests, even if they are killed."""
    given = [str(part) for part in command]
    if os.geteuid() == 0:
        user = [f"--reuid={_OTHER_USER}", f"--regid={_OTHER_USER}", "--clear-groups"]
        return ["setpriv", *user, "--pdeathsig=QUIT", *given]
    return ["setpriv", "--pdeathsig=QUIT", *given] if shutil.which("setpriv") else given


def why_not() -> str | None:
    """Why no server can be started here."""
    if _binaries() is None:
        return "there is no PostgreSQL on this machine (Debian: apt-get install postgresql)"
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return "PostgreSQL does not run as root, and there is no setpriv to start it as another user"
        try:
            pwd.getpwnam(_OTHER_USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {_OTHER_USER}"
    return None


@contextmanager
def started() -> Iterator[Postgres]:
    """A server with its data in a folder of its own; both are gone afterwards."""
    binaries = _binaries()
    assert binaries is not None
    # Not pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="ketamine-cds-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, _OTHER_USER, _OTHER_USER)
    server = Postgres(unused_port(), folder, binaries)
    try:
        data = ["-D", folder / "data", "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = _as_other_user(binaries / "initdb", *data)
        subprocess.run(command, check=True, timeout=_PATIENCE, stdout=subprocess.DEVNULL, cwd=folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Skips where there is none, unless KETAMINE_TEST_REQUIRE_POSTGRES is set: then that is a failure."""
    missing = why_not()
    if missing is not None:
        if os.environ.get(REQUIRE):
            pytest.fail(f"{REQUIRE} is set, but {missing}")
        pytest.skip(missing)
    with started() as server:
        yield server

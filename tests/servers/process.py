"""A server of another program as a child process: started on a free port, awaited, and taken down."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import requests

_START_SECONDS = 300  # 15 on a machine of its own
_STOP_SECONDS = 15


class FhirServerError(Exception):
    """A FHIR server could not be started here, or refused what a test sent to it."""


@contextmanager
def fhir_server(name: str, command: Sequence[str], folder: Path, port: int) -> Iterator[str]:
    """Run a FHIR server that ends with its standard input; yield its base URL, no slash at the end.

    Raises FhirServerError when it does not answer in time; the message holds what it said.
    """
    with tempfile.TemporaryFile() as log:
        # The pipe takes it down even when this process is killed.
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            base_url = f"http://127.0.0.1:{port}/fhir"
            _await_metadata(name, base_url, server, log)
            yield base_url
        finally:
            _stop(server)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other test workers out of a folder into which something is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _await_metadata(name: str, base_url: str, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if server.poll() is not None:
            raise FhirServerError(f"{name} ended with exit code {server.returncode} before it was up:\n{_tail(log)}")
        try:
            # HapiServer holds its port from its first moment, so a request waits there for the answer; not
            # for long, since whoever else holds the port might never give one.
            if requests.get(f"{base_url}/metadata", timeout=min(left, 5)).status_code == requests.codes.ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise FhirServerError(f"{name} did not answer {base_url}/metadata within {_START_SECONDS} s:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4000:].decode(errors="replace")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    finally:
        if server.stdin is not None:
            server.stdin.close()

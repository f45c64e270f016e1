"""The servers that are measured, each as it is started for use, and what their workers hold of the memory."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import client
from cds_service.settings import PREFIX
from tests.servers.ports import unused_port

_PATIENCE = 240.0
_SETTLES = 10.0
_ROOT = Path(__file__).parents[1]
_MEMORY = re.compile(r"^(Rss|Pss):\s+(\d+) kB", re.MULTILINE)


class NotStarted(Exception):
    """A server that did not come up; the message holds what it said."""


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    def workers(self) -> list[int]:
        """The processes that serve, a spare one among them."""
        return _workers(self.pid)

    def cpu_seconds(self) -> float:
        """What the workers have had of the processors so far; 0 where the system does not tell."""
        return client.processor_seconds(self.workers())

    def memory(self) -> list[dict[str, float]]:
        """For each worker, RSS and PSS in MB (10^6 bytes); empty where /proc does not say."""
        found = []
        for pid in self.workers():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
            except OSError:
                continue
            found.append({name: int(kilobytes) * 1024 / 1e6 for name, kilobytes in _MEMORY.findall(text)})
        return found


@contextmanager
def service(workers: int, **settings: str) -> Iterator[Server]:
    """`ketamine-cds serve`, with its default settings but for these (`state_dir="…"`)."""
    port = unused_port()
    given = {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
    # A spare worker and the console serve no order: their memory would be counted with those that do.
    given = (
        {f"{PREFIX}SPARE_WORKERS": "0", f"{PREFIX}CONSOLE": "off"}
        | given
        | {f"{PREFIX}PORT": str(port), f"{PREFIX}WORKERS": str(workers)}
    )
    with _running(["cds_service.cli", "serve"], port, given) as server:
        yield server


@contextmanager
def noop(workers: int) -> Iterator[Server]:
    """The routes of bench.noop."""
    port = unused_port()
    with _running(["bench.noop_wsgi", str(port), str(workers)], port, {}) as server:
        yield server


@contextmanager
def healthchain(workers: int) -> Iterator[Server]:
    """The route of bench.healthchain_app in the environment of `make peers`, behind the server that ours has too."""
    port, app = unused_port(), ["--interface", "asgi", "bench.healthchain_app:app"]
    command = ["granian", "--port", str(port), "--workers", str(workers), "--log-level", "error", *app]
    with _running(command, port, {}, _ROOT / ".venv-peers" / "bin" / "python") as server:
        time.sleep(_SETTLES)  # its parent listens before a worker has loaded it
        yield server


@contextmanager
def fhir(answers: Path, milliseconds: float) -> Iterator[Server]:
    """That of bench.fhir_server."""
    port = unused_port()
    with _running(["bench.fhir_server", str(port), str(answers), str(milliseconds)], port, {}) as server:
        yield server


@contextmanager
def _running(
    module: Sequence[str], port: int, settings: dict[str, str], python: Path = Path(sys.executable)
) -> Iterator[Server]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [str(python), "-m", *module], cwd=_ROOT, env=plain | settings, stdout=said, stderr=said
        )
        try:
            _await(process, port)
            yield Server(port, process.pid)
        except NotStarted as error:
            said.seek(0)
            raise NotStarted(f"{error}:\n{said.read()[-4000:].decode(errors='replace')}") from error
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NotStarted(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NotStarted(f"{process.args!r} did not listen within {_PATIENCE} s")


def _workers(pid: int) -> list[int]:
    """The processes that a server has started, without the one in which Python tracks shared memory."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    except OSError:
        return []
    return [child for child, command in commands.items() if b"resource_tracker" not in command]

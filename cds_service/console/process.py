"""The console's own process: started beside the workers, started anew where it ends, gone with the service.

Whatever becomes of it, orders go on: it has its own port, its own memory and its own threads.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cds_service.settings import Settings
from cds_service.web import metrics

log = logging.getLogger("ketamine_cds")

COMMAND = [sys.executable, "-m", "cds_service.console"]
CANNOT_LISTEN = 98
"""The exit status of a console whose port is taken."""
_STEADY = 30.0
"""A console that has served for so many seconds did not end in a crash loop."""
_LONGEST_PAUSE = 60.0
_STOPPING_SECONDS = 5.0


class Supervisor:
    """Keeps one console running. `restart` lets it read all files anew."""

    def __init__(self, settings: Settings) -> None:
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        self._port = settings.console_port
        self._process: subprocess.Popen[bytes] | None = None
        self._was_told = False
        """To end, so that another takes its place."""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="console", daemon=True)

    @property
    def pid(self) -> int | None:
        """That of the console which runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until it listens, but no longer than that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                socket.create_connection((self._host, self._port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)

    def restart(self) -> None:
        if self._process is not None:
            self._was_told = True
            self._process.terminate()

    def stop(self) -> None:
        self._ends.set()
        self.restart()
        if self._thread.is_alive():
            self._thread.join(_STOPPING_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _keep(self) -> None:
        failures = 0
        # Its figures are not those of the workers.
        environment = {name: value for name, value in os.environ.items() if name != metrics.FOLDER}
        while not self._ends.is_set():
            began, self._was_told = time.monotonic(), False
            # Its standard input is a pipe from here: when this process is gone, however it went, the console ends.
            self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, env=environment)
            with self._process:
                status = self._process.wait()
            if self._was_told:
                continue
            failures = 0 if time.monotonic() - began > _STEADY else failures + 1
            pause = pause_after(failures)
            log.error("the console %s; it is started again in %g s, and orders go on", self._why(status), pause)
            self._ends.wait(pause)

    def _why(self, status: int) -> str:
        return f"cannot listen on port {self._port}" if status == CANNOT_LISTEN else f"ended ({status})"


def pause_after(failures: int) -> float:
    """Seconds until the next try, after so many early ends in a row."""
    return min(0.5 * 2.0 ** min(failures, 20), _LONGEST_PAUSE)


@contextmanager
def supervised(settings: Settings) -> Iterator[Supervisor | None]:
    """A console that can be started, where the settings have one; it is stopped at the end."""
    if not settings.has_console:
        yield None
        return
    supervisor = Supervisor(settings)
    try:
        yield supervisor
    finally:
        supervisor.stop()

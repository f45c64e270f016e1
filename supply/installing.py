"""pip install with one line that says how far it is: python -m supply.installing WHAT ARGUMENTS-OF-PIP…

On a terminal the line is written anew each second; elsewhere each step is a line of its own. Where pip fails, all
that it said follows. It runs before anything is installed, so it needs Python alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")


class Progress:
    """What pip does at the moment, said to a person."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._fetched = 0
        self._step = "asking the index"
        self._told = ""
        self._is_watched = sys.stdout.isatty()

    def read(self, line: str) -> None:
        """A line of pip's."""
        if collecting := re.match(r"Collecting ([\w.-]+)", line):
            self._fetched += 1
            self._step = f"fetching, package {self._fetched} ({collecting[1]})" if self._is_watched else "fetching"
        elif line.startswith("Installing collected packages"):
            count = line.count(",") + 1
            self._step = f"installing {count} package{'' if count == 1 else 's'}"
        self.tell()

    def tell(self, done: bool = False) -> None:
        step = "done" if done else self._step
        seconds = f"{time.monotonic() - self._began:.0f} s"
        if self._is_watched:
            print(f"\r\033[K{self._what}: {step}, {seconds}", end="\n" if done else "", flush=True)
        elif step != self._told:
            print(f"{self._what}: {step}" + (f", {seconds}" if done else ""), flush=True)
            self._told = step


def main(arguments: Sequence[str]) -> int:
    what, *rest = arguments
    progress, said = Progress(what), []
    with subprocess.Popen([*_PIP, *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        ended = threading.Event()
        threading.Thread(target=_tick, args=(progress, ended), daemon=True).start()
        for line in pip.stdout:
            said.append(line)
            progress.read(line)
        ended.set()
    if pip.returncode:
        print(f"\n{what}: pip could not install it. It said:\n{''.join(said)}", file=sys.stderr)
        return pip.returncode
    progress.tell(done=True)
    return 0


def _tick(progress: Progress, ended: threading.Event) -> None:
    """The time goes on while pip is silent."""
    while not ended.wait(1):
        progress.tell()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

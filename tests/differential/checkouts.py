"""Commits of this repository, each asked as a child process, by the interpreter and the packages of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.elsewhere import ROOT, checkout
from cds_service.scenarios.request import encoded
from tests.differential.asked import Asked

_SCRIPT = Path(__file__).with_name("answering.py")
_NAMES = """import json
from tests.scenarios.build import scenarios
print(json.dumps([f"{file}: {each['name']}" for file, each in scenarios()]))"""

Answers = Mapping[str, Any]
"""Name of a request -> its answer (answering.Answer)."""


def answers(folder: Path, asked: Sequence[Asked]) -> Answers:
    """What the checkout in the folder says. Raises subprocess.CalledProcessError where it cannot be asked."""
    lines = (json.dumps([each.request["hook"], encoded(each.request).decode()]) for each in asked)
    out = _run(folder, [str(_SCRIPT)], "\n".join(lines)).splitlines()
    return {each.name: json.loads(line) for each, line in zip(asked, out, strict=True)}


def scenario_names(folder: Path) -> frozenset[str]:
    """Those that a checkout has."""
    return frozenset(json.loads(_run(folder, ["-c", _NAMES])))


def _run(folder: Path, arguments: Sequence[str], told: str = "") -> str:
    plain = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=plain,
        input=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout


class History:
    """The commits between one and another, and what each says of some requests."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = asked
        self._said: dict[str, Answers | None] = {}

    def answers(self, commit: str) -> Answers | None:
        """None where a commit does not run. Asked once of all commits whose code and protocol are the same."""
        key = git("rev-parse", f"{commit}:cds_service", f"{commit}:cards")
        if key not in self._said:
            with checkout(commit) as folder:
                try:
                    self._said[key] = answers(folder, self._asked)
                except subprocess.CalledProcessError:
                    self._said[key] = None
            print(f"asked {len(self._said)} commits", file=sys.stderr)
        return self._said[key]


def git(*arguments: str) -> str:
    """What git says. Raises subprocess.CalledProcessError."""
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()

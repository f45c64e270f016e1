"""The packages that the service runs with, as requirements/run.txt locks them."""

from __future__ import annotations

import re
from pathlib import Path

RUN = Path(__file__).parents[1] / "requirements/run.txt"
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)(.*)$", re.MULTILINE)
_ELSEWHERE = "sys_platform == 'win32'"


def packages(path: Path = RUN) -> dict[str, str]:
    """Version by name, of all but what only another platform needs."""
    return {name: version for name, version, rest in _PIN.findall(path.read_text("utf-8")) if _ELSEWHERE not in rest}

"""The pages that people read, and the commands that their code blocks show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "cards/*.md", "examples/**/*.md", "tests/*/README.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>[\w-]*)\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:\$ )?(?P<settings>(?:\w+=\S+ )*)(?:\.venv/bin/)?(?P<line>(?:ketamine-cds|make)\b.*)")


@dataclass(frozen=True)
class Shown:
    """A command of a code block: its settings, and its line without them, comments and where its output goes."""

    page: str
    settings: dict[str, str]
    line: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def shown() -> Iterator[Shown]:
    """Every command of this project, in the order of the pages; a line that ends with a backslash goes on."""
    for path in PAGES:
        for block in _BLOCK.finditer(path.read_text("utf-8")):
            for line in re.sub(r"\\\n\s*", "", block["text"]).splitlines():
                if found := _COMMAND.fullmatch(line.strip()):
                    settings = dict(each.split("=", 1) for each in found["settings"].split())
                    plain = re.split(r"\s+# |\s+[>|] ", found["line"])[0].strip()
                    yield Shown(path.relative_to(ROOT).as_posix(), settings, plain)

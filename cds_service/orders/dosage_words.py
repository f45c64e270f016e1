"""The words of dosage.toml, and how they are looked for in a text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Any

WORDS: dict[str, Any] = tomllib.loads(resources.files(__package__).joinpath("dosage.toml").read_text("utf-8"))
"""The file, table by table."""


def one_of(words: Iterable[str]) -> str:
    """The source of a regular expression for any of `words` as they are written, the longest first."""
    return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + ")"

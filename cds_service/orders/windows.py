"""Looking for a pattern in a long text without holding up other calls: a search cannot be interrupted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cds_service.deadline import give_way

_WINDOW = 2_000
"""Characters in which a match begins: up to three milliseconds for the widest pattern."""
REACH = 500
"""Characters that a match has at most, with what it looks at behind itself: seven numerals, a unit over others."""


def matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """As `pattern.finditer(text)`, of a pattern that matches at least one and at most REACH characters."""
    at = 0
    while at < len(text):
        edge = at + _WINDOW
        found = pattern.search(text, at, edge + REACH)
        if found is not None and found.start() < edge:
            yield found
            at = found.end()
        else:
            at = edge
        give_way()

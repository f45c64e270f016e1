"""What is raised where a protocol, or a site's change to it, cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cds_service.errors import ConfigurationError


class ProtocolError(ConfigurationError):
    """A protocol (or overlay) that cannot be used. The message says where, what, and what is expected."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of a sentence; empty where nothing is known."""
    near = difflib.get_close_matches(name, list(known), 1, 0)
    return f"; did you mean {near[0]}?" if near else ""

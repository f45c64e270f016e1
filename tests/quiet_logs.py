"""What the whole suite logs is looked through: no token, no patient's name or reference stands in it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

TOLD = re.compile(r"eyJ[\w-]{8,}\.|Bearer\s+\w|Patient/\w|patient=\w|\"family\"|\"given\"")
"""A signed token, an authorization, a patient's reference or search, a name as FHIR writes it."""


class _Watch(logging.Handler):
    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(level=logging.NOTSET)
        self.names = frozenset(names)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = f"{record.getMessage()} {vars(record).get('answered', '')} {record.exc_text or ''}"
        if TOLD.search(said) or any(name in said for name in self.names):
            self.told.append(f"{record.name} at {record.filename}:{record.lineno}: {said}")


@contextmanager
def looked_through(names: Iterable[str], loggers: Sequence[str] = ("", "ketamine_cds")) -> Iterator[None]:
    """Everything that these loggers (all of them) say inside. Raises AssertionError at the end."""
    watch = _Watch(names)
    watched = [logging.getLogger(name or None) for name in loggers]
    for logger in watched:
        logger.addHandler(watch)
    try:
        yield
    finally:
        for logger in watched:
            logger.removeHandler(watch)
    assert not watch.told, watch.told

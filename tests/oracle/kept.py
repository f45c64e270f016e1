"""What the engines said, kept between runs: only what changed, a case or a library, is judged anew."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cds_service.protocol.cql import Library

_FILE = Path(__file__).parents[2] / "build" / "oracle" / "kept.sqlite"
_WAIT_SECONDS = 60

Said = dict[str, tuple[str, dict[str, Any]]]
"""Library -> (digest of what the answer rests on, the answer)."""


class Kept:
    """The answers of one engine, by the case's name. Each is written at once, so that a run can be broken off."""

    def __init__(self, engine: str, file: Path = _FILE) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = engine
        self._rows = sqlite3.connect(file, timeout=_WAIT_SECONDS, isolation_level=None)
        self._rows.execute("PRAGMA synchronous = OFF")  # what a crash loses is asked for again
        self._rows.execute("CREATE TABLE IF NOT EXISTS said (engine, name, answers, PRIMARY KEY (engine, name))")

    def close(self) -> None:
        self._rows.close()

    def of(self, case: str, digests: Mapping[str, str]) -> Said:
        """What still holds: the answers whose digest is the same."""
        said = self._all(case)
        return {name: (made, said_of) for name, (made, said_of) in said.items() if digests.get(name) == made}

    def keep(self, case: str, said: Said) -> None:
        """Beside what other libraries said of it."""
        answers = json.dumps(self._all(case) | said)
        self._rows.execute("REPLACE INTO said VALUES (?, ?, ?)", (self._engine, case, answers))

    def _all(self, case: str) -> Said:
        found = self._rows.execute("SELECT answers FROM said WHERE engine = ? AND name = ?", (self._engine, case))
        said: Said = json.loads(row[0]) if (row := found.fetchone()) else {}
        return said


class Texts:
    """The libraries of a protocol by their names: what each is made of, with all that it includes."""

    def __init__(self, libraries: Iterable[Library]) -> None:
        self._libraries = {each.name: each for each in libraries}
        self._digests = {name: self._digest(name) for name in self._libraries}
        self.value_sets = {name: frozenset(self._value_sets(name)) for name in self._libraries}
        """Library -> the URLs of all value sets that it or an included one names."""

    def digest(self, name: str, *rest: bytes) -> str:
        """Of the library and all that it includes, and of `rest`."""
        made = hashlib.sha256(self._digests[name])
        for each in rest:
            made.update(hashlib.sha256(each).digest())
        return made.hexdigest()

    def _digest(self, name: str) -> bytes:
        parts = sorted(hashlib.sha256(self._libraries[each].text.encode()).digest() for each in self._closure(name))
        return b"".join(parts)

    def _closure(self, name: str) -> frozenset[str]:
        included = (_name(url) for url in self._libraries[name].depends_on if "/Library/" in url)
        inner = (self._closure(each) for each in included if each in self._libraries)
        return frozenset({name}).union(*inner)

    def _value_sets(self, name: str) -> Iterable[str]:
        for each in self._closure(name):
            yield from (url for url in self._libraries[each].depends_on if "/ValueSet/" in url)


def _name(url: str) -> str:
    """Of a library, from its canonical URL."""
    return url.rpartition("/")[2].partition("|")[0]

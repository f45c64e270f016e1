"""One line of logic over named facts, as a rule's tiers have it: `high systolic or crisis unless intubated`.

The words are `and`, `or`, `not`, `unless` and parentheses; everything between them is the name of a fact. `not` binds
closest, then `and`, then `or`; `unless` takes away from all that stands before it. In front of a fact `unless` is the
exception by itself. All of it is three-valued: see cds_service/rules/clauses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cds_service.errors import ConfigurationError

WORDS = ("and", "or", "not", "unless")
_TOKEN = re.compile(r"\s*(?:([()])|\b(and|or|not|unless)\b)\s*")

Raw = dict[str, Any]
"""A clause in the tagged form that the model reads."""


class LogicError(ConfigurationError):
    """A line that cannot be read. The message says what is wrong with it."""


def is_name(name: str) -> bool:
    """Whether a fact may be called so: none of the words of logic, no parenthesis, no space at an end."""
    return bool(name) and name == name.strip() and not _TOKEN.search(name)


def parse(line: str, fact: Callable[[str], Raw]) -> Raw:
    """The clause that the line says; `fact` gives that of a name. Raises LogicError."""
    return _Line(line, fact).whole()


class _Line:
    def __init__(self, line: str, fact: Callable[[str], Raw]) -> None:
        self._line = line
        self._fact = fact
        self._tokens = [part.strip() for part in _TOKEN.split(" ".join(line.split())) if part and part.strip()]
        self._at = 0

    def whole(self) -> Raw:
        clause = self._exception()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return clause

    def _exception(self) -> Raw:
        clause = self._any()
        while self._take("unless"):
            clause = _joined("all", [clause, {"fact": "unless", "of": [self._any()]}])
        return clause

    def _any(self) -> Raw:
        return self._list("or", "any", self._all)

    def _all(self) -> Raw:
        return self._list("and", "all", self._one)

    def _list(self, word: str, kind: str, part: Callable[[], Raw]) -> Raw:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else {"fact": kind, "of": parts}

    def _one(self) -> Raw:
        for word in ("not", "unless"):
            if self._take(word):
                return {"fact": word, "of": [self._one()]}
        if self._take("("):
            clause = self._exception()
            if not self._take(")"):
                raise self._unexpected("a closing parenthesis")
            return clause
        if self._at == len(self._tokens) or self._tokens[self._at] in (*WORDS, "(", ")"):
            raise self._unexpected("the name of a fact")
        self._at += 1
        return self._fact(self._tokens[self._at - 1])

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _unexpected(self, wanted: str = "and, or, unless or the end") -> LogicError:
        found = self._tokens[self._at] if self._at < len(self._tokens) else "the end"
        return LogicError(f"“{self._line}”: {found} stands where {wanted} should")


def _joined(kind: str, parts: list[Raw]) -> Raw:
    """The parts under one `all`: one that is itself an `all` is opened."""
    opened = [inner for part in parts for inner in (part["of"] if part["fact"] == kind else [part])]
    return {"fact": kind, "of": opened}

"""How the units of doses are written: by parts and what joins them, in UCUM and in the words of five languages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

_LONGEST = 80
"""The longest spelling of a unit, in characters."""
_POWER = r"(?:\^?-1|⁻¹)"
_NOTE = r"\{[^{}]{1,30}\}"

Factors = tuple[tuple[str, int], ...]
"""The parts of a unit with their exponents, by name: (("h", -1), ("kg", -1), ("mg", 1))."""


class _NoUnit(Exception):
    pass


class Writings:
    """The writings of `parts`, joined by `joints` (both as in units.toml); `minutes` says how long each time is."""

    def __init__(self, parts: Mapping[str, Any], joints: Mapping[str, Any], minutes: Mapping[str, Fraction]) -> None:
        self._letters = {text: name for name, part in parts.items() for text in part["letters"]}
        self._words = {text: name for name, part in parts.items() for text in part["words"]}
        self._annotations = {name: part["annotations"] for name, part in parts.items() if "annotations" in part}
        self._per, self._times = frozenset(joints["per"]), "".join(joints["times"])
        self._each_time = _one_of(joints["each_time"])
        self._minutes = minutes
        part = _one_of(self._letters, self._words)
        self._token = re.compile(
            rf"\s*(?:(?P<each>/\s*{self._each_time}(?![^\W\d_]))"
            rf"|(?P<per>/|{_one_of((), self._per)}(?![^\W_]))"
            rf"|(?P<number>[1-9]\d{{0,3}})[\s.]?(?={part})"
            rf"|(?P<part>{part})(?![^\W\d_])(?P<down>{_POWER})?(?P<note>{_NOTE})?"
            rf"|(?P<times>[{re.escape(self._times)}])|(?P<open>\()|(?P<close>\)))"
        )

    def factors(self, text: str) -> Factors | None:
        """The parts of a unit; None if the text is not a combination of parts."""
        text = text.strip()
        if not text or len(text) > _LONGEST:
            return None
        try:
            return tuple(sorted(_Parser(self, self._tokens(text)).unit().items()))
        except _NoUnit:
            return None

    def pattern(self, first: Sequence[str], then: Sequence[str]) -> str:
        """The source of a regular expression for a unit in running text: a part of `first`, then parts of `then`."""
        below = self._spelt(then)
        joint = rf"(?:\s*/\s*\(?|\s+{_one_of((), self._per)}\s+|[{re.escape(self._times)}]|\s(?={below}{_POWER}))"
        more = rf"{joint}(?:(?:\d{{1,4}}[\s.]?)?{below}(?:{_POWER})?(?:{_NOTE})?|{self._each_time})\)?"
        return rf"{self._spelt(first)}(?:{_NOTE})?(?:{more}){{0,3}}(?![\w/{{])"

    def spellings(self, part: str) -> list[str]:
        """Every writing of one part."""
        return [text for known in (self._letters, self._words) for text, name in known.items() if name == part]

    def _spelt(self, parts: Sequence[str]) -> str:
        return _one_of((), [text for part in parts for text in self.spellings(part)])

    def _tokens(self, text: str) -> list[re.Match[str]]:
        found: list[re.Match[str]] = []
        at = 0
        while at < len(text):
            match = self._token.match(text, at)
            if match is None:
                raise _NoUnit
            found.append(match)
            at = match.end()
        return found

    def name(self, written: str, note: str | None) -> str:
        """The part with this spelling. An annotation may name the substance, or for a kilogram the body."""
        name = self._letters.get(written) or self._words.get(written.lower())
        if name is None:
            raise _NoUnit
        if note is not None:
            said = re.sub(r"[\s_-]+", " ", note[1:-1]).strip().lower()
            if name in self._annotations:
                harmless = said in self._annotations[name]
            else:
                harmless = all(w.isalpha() and w not in self._per and not self.factors(w) for w in said.split(" "))
            if not harmless:
                raise _NoUnit
        return name

    def so_many(self, number: int, name: str) -> str:
        """The part that `24 h` is: a day."""
        if number == 1:
            return name
        length = self._minutes.get(name, Fraction(0)) * number
        for other, minutes in self._minutes.items():
            if minutes == length:
                return other
        raise _NoUnit


class _Parser:
    """Recursive descent over the tokens of one unit.

    UCUM reads from the left: `mg/kg.h` is mg.h/kg there. No dose is that, and people mean mg/(kg.h): without an
    exponent, all that follows a solidus is below it.
    """

    def __init__(self, writings: Writings, tokens: list[re.Match[str]]) -> None:
        self.writings, self.tokens, self.at = writings, tokens, 0

    def unit(self) -> dict[str, int]:
        found = self._expression()
        if self.at < len(self.tokens):
            raise _NoUnit
        return found

    def _next(self, *kinds: str) -> re.Match[str] | None:
        match = self.tokens[self.at] if self.at < len(self.tokens) else None
        if match is None or not any(match[kind] for kind in kinds):
            return None
        self.at += 1
        return match

    def _expression(self, in_bracket: bool = False) -> dict[str, int]:
        found: dict[str, int] = {}
        below = self._next("per") is not None
        self._factor(found, -1 if below else 1, slashed=below, counted=in_bracket)
        while self.at < len(self.tokens):
            if self._next("each"):
                continue
            slashed = self._next("per") is not None
            below = below or slashed
            if not slashed and not self._next("times"):
                match = self.tokens[self.at]
                if not (match["part"] and match["down"] and match[0][0].isspace()):
                    break
            self._factor(found, -1 if below else 1, slashed)
        return found

    def _factor(self, found: dict[str, int], sign: int, slashed: bool, counted: bool = False) -> None:
        """Read one part or a bracket into `found`. A number may precede a part in the denominator."""
        if self._next("open"):
            inside = self._expression(in_bracket=sign < 0)
            if not self._next("close"):
                raise _NoUnit
            made = {name: sign * exponent for name, exponent in inside.items()}
        else:
            number, part = self._next("number"), self._next("part")
            if part is None or (number and sign > 0 and not counted) or (part["down"] and slashed):
                raise _NoUnit
            name = self.writings.name(part["part"], part["note"])
            if number:
                name = self.writings.so_many(int(number["number"]), name)
            made = {name: -1 if part["down"] else sign}
        if made.keys() & found.keys():
            raise _NoUnit
        found |= made


def _one_of(letters: Sequence[str] | Mapping[str, str], words: Any = ()) -> str:
    """A group of texts, the longest first; words in any case."""
    exactly = "|".join(re.escape(text) for text in sorted(letters, key=len, reverse=True))
    anyhow = "|".join(re.escape(text) for text in sorted(words, key=len, reverse=True))
    return "(?:" + "|".join(each for each in (f"(?i:{anyhow})" if anyhow else "", exactly) if each) + ")"

"""How often a dose is given, in words: read only to raise a finding, never to clear one."""

from __future__ import annotations

import re
from fractions import Fraction

from cds_service import units
from cds_service.deadline import give_way
from cds_service.orders.dosage_words import WORDS, one_of

_OFTEN = WORDS["often"]
CODES = {
    code.upper(): units.quantity(each["period"], each["unit"], "time").value / each["frequency"]
    for code, each in WORDS["timing"].items()
}
"""Abbreviation -> minutes between two doses."""
_ONCE = frozenset(word.upper() for word in WORDS["once"]["words"])
SHORTEST = Fraction(WORDS["once"]["shortest_minutes"])
"""Minutes: doses that follow each other faster are one dose, or no reading at all."""


_TIME = (
    "(" + one_of(text for part in ("min", "h", "d", "wk") for text in units.WRITINGS.spellings(part)) + r")(?![^\W_])"
)
_COUNTS = {word: str(value) for word, value in WORDS["spelt"]["numerals"].items() if float(value).is_integer()}
_NUMBER = rf"(\d{{1,4}}(?:[.,]\d{{1,2}})?|{one_of(_COUNTS)}(?![^\W_]))"
_EVERY = re.compile(
    rf"\b{one_of(_OFTEN['every'])}\s*(?:{_NUMBER}(?:\s*(?:-|–|to|bis|à|a)\s*\d{{1,4}})?\s*)?{_TIME}", re.IGNORECASE
)
_TIMES = re.compile(
    rf"(?<![\d.,])(?:(\d{{1,2}})\s*{one_of(_OFTEN['times'])}|({one_of(_OFTEN['numbers'])}))\s*"
    rf"(?:{one_of(_OFTEN['per'])}\s*{_TIME}|({one_of(_OFTEN['periods'])})\b)",
    re.IGNORECASE,
)
_ADVERB = re.compile(rf"\b({one_of(_OFTEN['periods'])})\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[;\n]|[.,](?!\d)")
_DOSES = re.compile(rf"\b{one_of(_OFTEN['doses'])}\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[;,\n]|\.\s")
_AS_NEEDED = re.compile(rf"(?<![^\W_]){one_of(_OFTEN['as_needed'])}(?![^\W_])", re.IGNORECASE)
_WATCH = re.compile(rf"\b{one_of(_OFTEN['watch'])}\b", re.IGNORECASE)
_AGAIN = re.compile(
    rf"(?P<not>\b{one_of(_OFTEN['not'])}\s+(?:\w+\s+){{0,2}})?\b{one_of(_OFTEN['again'])}\b"
    rf"(?!\s+(?:\w+\s+){{0,2}}{one_of(_OFTEN['watch'])}\b)",
    re.IGNORECASE,
)


def by_code(word: str) -> Fraction | None:
    """Minutes between two doses, by an abbreviation as a whole: `BID`."""
    return CODES.get(word.strip().upper())


def is_once(word: str) -> bool:
    """Whether a word as a whole says one dose: `STAT`."""
    return word.strip().upper() in _ONCE


def interval(text: str) -> Fraction | None:
    """Minutes between two doses, the fewest that a text names; None where it names none."""
    found = [
        units.quantity(_COUNTS.get(number.lower(), number or "1").replace(",", "."), _known(unit), "time").value
        for number, unit in _EVERY.findall(text)
    ]
    give_way()
    for number, word, unit, adverb in _TIMES.findall(text):
        times = int(number) if number else _OFTEN["numbers"][word.lower()]
        period = units.quantity(1, _known(unit) if unit else _OFTEN["periods"][adverb.lower()], "time").value
        if times:
            found.append(period / times)
    if not found:
        found = [units.quantity(1, _OFTEN["periods"][a.lower()], "time").value for a in _ADVERB.findall(text)]
    return min((each for each in found if each > 0), default=None)


def is_as_needed(text: str) -> bool:
    """Whether a text says of a dose that it is given as needed, or again without a word of when: `may repeat twice`.

    `check the pressure as needed` says it of no dose.
    """
    clauses = map(_of_dose, _CLAUSE_END.split(text))
    return any(_AS_NEEDED.search(clause) or (is_again(clause) and interval(clause) is None) for clause in clauses)


def _of_dose(clause: str) -> str:
    """What a clause says until it speaks of a watch: `10 mg every 5 min while the pressure holds`."""
    watch = _WATCH.search(clause)
    return clause[: watch.end()] if watch else clause


def is_again(text: str) -> bool:
    """Whether a text says that a dose may be given again."""
    return again_at(text) is not None


def again_at(text: str) -> int | None:
    """Where the first words end that say so."""
    return next((found.end() for found in _AGAIN.finditer(text) if found["not"] is None), None)


def _known(unit: str) -> str:
    return unit if units.is_of(unit, "time") else unit.lower()


def of_doses(text: str, has_amount: re.Pattern[str]) -> Fraction | None:
    """As `interval`, of the clauses that speak of a dose: `check the pressure every 5 min` is no dose.

    One that says nothing but how often speaks of it, too: `q5min`.
    """
    clauses = [
        clause
        for clause in map(_of_dose, _CLAUSE.split(text))
        if has_amount.search(clause) or _DOSES.search(clause) or _EVERY.fullmatch(clause.strip())
    ]
    return min((each for clause in clauses if (each := interval(clause)) is not None), default=None)

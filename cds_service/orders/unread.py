"""Amounts in words that no figure with a unit gives: `two hundred mg`, `half an ampoule`. They are said, never read.

What repeats an amount of the structure needs no word, so the numerals are read for that alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import msgspec

from cds_service import units
from cds_service.deadline import in_stretches
from cds_service.orders.dosage_words import WORDS, one_of
from cds_service.orders.windows import matches

_SPELT, _WORDS = WORDS["spelt"], WORDS["words"]
_NUMERALS = {word: Fraction(value) for word, value in _SPELT["numerals"].items()}
_FRACTIONS = {word: Fraction(value) for word, value in _SPELT["fractions"].items()}
_SIGNS = {sign: Fraction(value) for sign, value in _SPELT["signs"].items()}


_PART = one_of([*_NUMERALS, *_FRACTIONS])
_JOINT = rf"(?:-|\s+)?(?:{one_of(_SPELT['and'])}(?:-|\s+)?(?:an?\s+)?)?"
_NUMERAL = rf"(?<![^\W_])(?i:{_PART}(?:{_JOINT}{_PART}){{0,6}})(?![^\W_])"
_SIMPLE = rf"(?<![\d.,/⁄])(?:\d{{1,3}}\s*)?(?:[123]\s*[/⁄]\s*[23458](?![\d.,])|{one_of(_SIGNS)})"
"""A fraction in figures: `1/2`, `1 1/2`, `½`. `10/20` may be two doses, and is none."""
_OF = rf"(?:-|\s+(?:{one_of(_SPELT['of'])}\s+){{0,2}})"
_MASS = units.WRITINGS.pattern(("g", "mg", "ug", "ng"), ("kg", "s", "min", "h", "d", "wk"))
_AMOUNT = re.compile(
    rf"(?:(?P<numeral>{_NUMERAL})(?:{_OF}|\s*)|(?P<simple>{_SIMPLE})\s*(?i:{_OF}|\s*))(?P<unit>{_MASS})"
)
_REVERSED = re.compile(
    rf"(?<![\w.,/])(?P<unit>mg/kg/h|mg/kg|mg)\s*[:=]?\s*(?P<number>\d{{1,6}}(?:[.,]\d{{1,4}})?)(?!\s*{_MASS})(?![\w/])"
)
_HOW_MANY = rf"(?:{_NUMERAL}|{_SIMPLE}|(?<![\d.,/])\d{{1,2}}(?:[.,]\d)?)"
_SOME = rf"(?i:(?<![^\W_]){one_of([*_SPELT['whole'], *_FRACTIONS])}(?![^\W_]))|{_SIMPLE}"
_CONTAINERS = re.compile(
    rf"(?:(?:{_HOW_MANY}|{_SOME}){_OF}(?i:{one_of(_SPELT['vials'])})|(?:{_SOME}){_OF}(?i:{one_of(_WORDS['containers'])}))(?![^\W_])"
)
_PREPARED = re.compile(rf"(?<![^\W_]){one_of(_SPELT['prepared'])}[\s:]+$", re.IGNORECASE)
_LONGEST_PREPARED = 30
_HOLDS = re.compile(
    rf"\s*(?:[=(]|{one_of([*_WORDS['within'], *_SPELT['hold']])}(?![^\W_])|{one_of(_SPELT['of'])}\s*\d)",
    re.IGNORECASE,
)
_FIGURE = r"\d{1,6}(?:[.,]\d{1,4})?"
_TIMES = one_of(text for part in ("min", "h", "d") for text in units.WRITINGS.spellings(part))
_PER_TIME = rf"\s*(?:/|{one_of(_SPELT['per'])}(?![^\W_]))\s*{_TIMES}"
_BARE = re.compile(
    rf"(?:(?<![^\W_]){one_of(_SPELT['give'])}[\s:]+){{1,4}}(?P<number>{_FIGURE})(?:{_PER_TIME})?|(?P<rate>{_FIGURE}){_PER_TIME}",
    re.IGNORECASE,
)
_MANY_TIMES = re.compile(
    rf"(?<![\d.,/])(?P<before>\d{{1,2}})\s*[x×]\s*(?=\d{{1,6}}(?:[.,]\d{{1,4}})?\s*{_MASS})|{_MASS}\s*[x×]\s*(?P<after>\d{{1,2}})(?![\d.,])(?!\s*\w)"
)
_ODD = re.compile(rf"(?<![\d.,/]){_FIGURE}\s*(?i:{one_of(_SPELT['odd_units'])})(?![^\W_])")
_CLAUSES = re.compile(r"[;\n]|,(?!\d)|\.(?=\s|$)")


_LETTERS = re.compile(r"[^\W\d_]+")
_SIGNED = re.compile(rf"[123]\s*[/⁄]\s*[23458]|{one_of(_SIGNS)}")
_BEGINNINGS = frozenset(_LETTERS.findall(word)[0].lower()[:3] for word in (*_NUMERALS, *_FRACTIONS))
_HELD = frozenset(_LETTERS.findall(word)[0].lower() for word in (*_SPELT["vials"], *_WORDS["containers"]))
_TIMES_SIGN = re.compile(r"[x×]\s*\d")
_ODD_WORDS = frozenset(map(str.lower, _SPELT["odd_units"]))


MARKS = frozenset(
    {
        *(word for word in (*_NUMERALS, *_FRACTIONS, *_SPELT["whole"]) if word.isalpha()),
        *_SIGNS,
        *(word.rstrip(".") for word in _SPELT["vials"]),
    }
)
"""Without one of these words, or a figure, no text holds an amount."""


class Unread(msgspec.Struct, frozen=True):
    """An amount in its own words; `quantity` is what it seems to be, `times` how many doses it seems to make."""

    words: str
    quantity: units.Quantity | None = None
    number: Fraction | None = None
    """A number without a unit."""
    times: int | None = None


class Found(NamedTuple):
    start: int
    end: int
    unread: Unread


def amounts(text: str) -> tuple[Found, ...]:
    """Every such amount with its place in the text, in the order of the text. `text` has no two blanks in a row.

    Most texts have none: what an amount needs is looked for before the amount is.
    """
    words = frozenset(_LETTERS.findall(text.lower()))
    found = list(_bare(text))
    if any(word[:3] in _BEGINNINGS for word in words) or _SIGNED.search(text):
        found += _spelt(text)
    if "mg" in words:
        found += _reversed(text)
    if not _HELD.isdisjoint(words):
        found += _containers(text)
    if _TIMES_SIGN.search(text):
        found += _many_times(text)
    if not _ODD_WORDS.isdisjoint(words):
        found += [_found(match, Unread(match[0])) for match in matches(_ODD, text)]
    return tuple(sorted(found, key=lambda each: each.start))


def _spelt(text: str) -> Iterator[Found]:
    for match in matches(_AMOUNT, text):
        number = _valued(match["numeral"]) if match["numeral"] else _in_figures(match["simple"])
        yield _found(match, Unread(match[0], _quantity(number, match["unit"])))


def _reversed(text: str) -> Iterator[Found]:
    for match in matches(_REVERSED, text):
        if text[: match.start()].rstrip()[-1:].isdigit():
            continue  # the `mg = 2` of `20 mg = 2 mL`
        number = Fraction(match["number"].replace(",", "."))
        yield _found(match, Unread(match[0], _quantity(number, match["unit"])))


def _containers(text: str) -> Iterator[Found]:
    """So many vials, but those of a preparation: `dilute 1 vial in 500 mL`, `1 ampoule = 50 mg`."""
    for match in matches(_CONTAINERS, text):
        before = text[max(0, match.start() - _LONGEST_PREPARED) : match.start()]
        if not _PREPARED.search(before) and not _HOLDS.match(text, match.end()):
            yield _found(match, Unread(match[0]))


def _many_times(text: str) -> Iterator[Found]:
    for match in matches(_MANY_TIMES, text):
        times = int(match["before"] or match["after"])
        if times > 1:
            yield _found(match, Unread(match[0].strip(), times=times))


def _bare(text: str) -> Iterator[Found]:
    """A number alone: `give 200`, `run at 50/h`."""
    start = 0
    for clause in in_stretches(_CLAUSES.split(text), 50):
        at = text.index(clause, start)
        start = at + len(clause)
        if match := _BARE.fullmatch(clause.strip()):
            number = Fraction((match["number"] or match["rate"]).replace(",", "."))
            yield Found(at, start, Unread(clause.strip(), number=number))


def _found(match: re.Match[str], unread: Unread) -> Found:
    return Found(match.start(), match.end(), unread)


def _quantity(number: Fraction, spelling: str) -> units.Quantity | None:
    for text in (spelling, spelling.lower()):
        try:
            unit = units.find(text, "mass", "mass_per_bodymass", "mass_per_time", "mass_per_bodymass_time")
        except units.UnknownUnit:
            continue
        return units.Quantity(number * unit.factor, unit)
    return None


_EACH = re.compile(rf"{one_of(_SPELT['and'])}(?![^\W_])|{_PART}|{one_of(_SPELT['and'])}", re.IGNORECASE)


def _valued(numeral: str) -> Fraction:
    """`two hundred and fifty`, `fünfundzwanzig`, `one and a half`."""
    whole = part = Fraction(0)
    added = True
    for word in (each.lower() for each in _EACH.findall(numeral)):
        if word in _FRACTIONS:
            part = part + _FRACTIONS[word] if added else part * _FRACTIONS[word]
        elif (value := _NUMERALS.get(word, Fraction(0))) >= 1000:
            whole, part = whole + max(part, Fraction(1)) * value, Fraction(0)
        elif value == 100:
            part = max(part, Fraction(1)) * value
        else:
            part += value
        added = word not in _NUMERALS
    return whole + part


def _in_figures(text: str) -> Fraction:
    sign = next((sign for sign in _SIGNS if sign in text), None)
    if sign is not None:
        return Fraction(text.replace(sign, "").strip() or 0) + _SIGNS[sign]
    *whole, above = re.split(r"\s+", re.split(r"[/⁄]", text)[0].strip())
    return Fraction(whole[0] if whole else 0) + Fraction(above) / Fraction(re.split(r"[/⁄]", text)[1].strip())

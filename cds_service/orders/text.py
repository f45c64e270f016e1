"""Doses in words: read only to raise a finding, never to clear one."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import msgspec

from cds_service import units
from cds_service.deadline import give_way
from cds_service.lazy import cached_property
from cds_service.orders import often, unread
from cds_service.orders.dosage_words import WORDS, one_of
from cds_service.orders.measure import COUNT_DIMENSIONS, DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.orders.unread import Unread
from cds_service.orders.windows import REACH, matches
from cds_service.units import Quantity

_WORDS = WORDS["words"]


_NUMBER = r"(?<![\d.,])(\d{1,6}(?:[.,]\d{1,6})?|[.,]\d{1,6})"
# `kg` first is what the patient weighs, no dose.
_UNIT = units.WRITINGS.pattern(
    ("g", "mg", "ug", "ng", "L", "mL", "uL"), ("kg", "s", "min", "h", "d", "wk", "mL", "L")
)
AMOUNT = re.compile(rf"{_NUMBER}\s*({_UNIT})")
"""A number and what may be a unit of dose, of rate or of strength."""
_COUNTED = re.compile(rf"(?<![\d.,])(\d{{1,3}})\s*({one_of(units.writings_of(*COUNT_DIMENSIONS))})(?![^\W_])")
_LENGTH = one_of(text for part in ("s", "min", "h", "d") for text in units.WRITINGS.spellings(part))
_TIME = rf"\s+{_NUMBER}\s*({_LENGTH})(?![^\W_])"
_OVER = re.compile(rf"\b{one_of(_WORDS['over'])}{_TIME}", re.IGNORECASE)
_IN = re.compile(rf"{_UNIT}\s+(?:(?:iv\s+)?in){_TIME}", re.IGNORECASE)
"""Only behind an amount: `repeat in 90 min` is no run time."""
_IN_TIME = re.compile(rf"(?<=\s)in{_TIME}", re.IGNORECASE)
"""The end of it, which is found sooner."""
_VOLUME = rf"(?:\d{{1,6}}(?:[.,]\d{{1,6}})?\s*)?{one_of(t for p in ('mL', 'L') for t in units.WRITINGS.spellings(p))}"
_WITHIN = re.compile(
    rf"\s*(?:{one_of(_WORDS['within'])}\s*(?:a\s+)?{_VOLUME}(?![^\W_])|{one_of(_WORDS['containers'])}\b"
    rf"|(?:of\s+)?{one_of(_WORDS['diluents'])}\b)",
    re.IGNORECASE,
)
_BAG = re.compile(
    rf"{_NUMBER}\s*(?i:{one_of(units.WRITINGS.spellings('mg'))})\s*(?i:{one_of(_WORDS['within'])})\s*(?:a\s+)?"
    rf"(\d{{1,6}}(?:[.,]\d{{1,6}})?)?\s*(?i:{one_of(units.WRITINGS.spellings('mL'))})(?![^\W_])"
)
"""What is mixed: `500 mg in 50 mL`, `250 mg/50 ml`, `1 mg/mL`."""
_STOCK = re.compile(rf"(?<![^\W_]){one_of(WORDS['spelt']['vials'])}(?![^\W_])", re.IGNORECASE)
_CLAUSES = re.compile(r"[;\n]|,(?!\d)|\.(?=\s+[A-ZÄÖÜÉ]|\s*$)")
_MAXIMUM = re.compile(rf"(?<![^\W_]){one_of(_WORDS['most'])}(?![^\W_])", re.IGNORECASE)
_PREPARING = re.compile(
    rf"(?<![^\W_]){one_of(_WORDS['preparing'])}\s+(?:{one_of(_WORDS['prepared'])}\s+)?$", re.IGNORECASE
)
_LONGEST_PREPARING = 30
_TOTAL = re.compile(rf"(?<![^\W_]){one_of(_WORDS['totals'])}(?![^\W_])", re.IGNORECASE)
_LONGEST_MAXIMUM = max(map(len, _WORDS["most"]))
_RESTATES = re.compile(
    rf"(?:[=≈~(\[]|(?<![^\W_]){one_of(_WORDS['restates'])}(?![^\W_]))\s*"
    rf"(?:{one_of(_WORDS['restated'])}[:\s]\s*)?(?:(\d{{1,2}})\s*[x×]\s*)?$",
    re.IGNORECASE,
)
"""Right before an amount that says the one before it again: `0.3 mg/kg (21 mg)`, `84 mg (3 x 28 mg)`."""
_OF_ANOTHER = re.compile(
    rf"(?<![^\W_]){one_of(_WORDS['others'])}(?![^\W_])[\s:]*(?:{one_of(_WORDS['forms'])}\s+)?$", re.IGNORECASE
)
"""Right before an amount that is another medicine's: `with midazolam 2 mg`."""
_LONGEST_OTHER = 40
_OWN_BEHIND = re.compile(rf"[\s,]*(?:{one_of(WORDS['spelt']['of'])}\s+)?{one_of(_WORDS['own'])}", re.IGNORECASE)
_OWN_BEFORE = re.compile(
    rf"{one_of(_WORDS['own'])}[^\W\d_]*[\s/+,-]*(?:{one_of(WORDS['spelt']['and'])}\s+)?$", re.IGNORECASE
)
_RANGE = re.compile(r"\d\s*(?:-|–|to|bis|à|a)\s*$", re.IGNORECASE)
_LONGEST_RANGE = 12
_PER = re.compile(rf"\s*{one_of(_WORDS['of'])}\b", re.IGNORECASE)
_LONGEST_RESTATING = 40
_OF_ONE = re.compile(rf"\s*(?:{one_of(_WORDS['of'])}\s+)?{one_of(_WORDS['of_one'])}(?![^\W_])", re.IGNORECASE)
"""What one device holds: `2 devices, 28 mg each`."""
_DILUTED = re.compile(rf"(?:{one_of(_WORDS['within'])}|{one_of(_WORDS['diluents'])})\s*(?:a\s+)?$", re.IGNORECASE)


class Restated(msgspec.Struct, frozen=True):
    """An amount that says the one `before` it again, so many `times`."""

    before: Quantity
    again: Quantity
    times: int = 1


class Spoken(msgspec.Struct, frozen=True):
    """The amounts that a text states. `minutes` only where it says over how long."""

    doses: tuple[Quantity, ...] = ()
    rates: tuple[Quantity, ...] = ()
    minutes: Fraction | None = None
    most: tuple[Quantity, ...] = ()
    """Those of the rates that stand in a clause of a maximum: `max 10 mg per hour`."""
    largest: tuple[Quantity, ...] = ()
    """Those of the doses that do: `0.3 mg/kg (max 30 mg)`."""
    totals: tuple[Quantity, ...] = ()
    """Those of the largest that many doses come to: `max total 60 mg`."""
    unread: tuple[Unread, ...] = ()
    """What seems to be an amount, and is none with a figure and a unit."""
    ends: bool = False
    """Whether one of the rates is a maximum, or the upper end of a range."""
    restated: tuple[Restated, ...] = ()
    """Doses and rates that say another again."""
    mixture: tuple[Fraction, Fraction] | None = None
    """(mg, mL) of what runs, where the text names one mixture and no other volume."""


NOTHING = Spoken()


def _number(text: str) -> Fraction:
    """`0,5` and `.5` are 0.5. `1,000` may be a thousand: since a text only raises, the larger reading counts."""
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", text):
        return Fraction(text.replace(",", ""))
    text = text.replace(",", ".")
    return Fraction(f"0{text}" if text.startswith(".") else text)


_BLANKS = re.compile(r"\s{2,}")


def _one_blank(run: re.Match[str]) -> str:
    """A line break where there is one: there a clause ends."""
    return "\n" if "\n" in run[0] else " "


def read(text: str | None, alone: bool = True, counted: bool = False) -> Spoken:
    """Every dose and rate with a unit of the closed table. Of a range the number before the unit, its upper end.

    What a bag or a vial holds is a dose only where the text stands `alone`, without a structured dose, and nothing in
    it runs by volume. `counted`: so many devices are one too.
    """
    if not text:
        return NOTHING
    text = _BLANKS.sub(_one_blank, text)
    strange = unread.amounts(text)
    found, restated = _by_role(text, strange, counted)
    doses, rates = found["dose"], found["rate"]
    runs = any(rate.unit.dimension.startswith("volume") for rate in rates)
    poured = sum(each.unit.dimension == "volume" for each in (*doses, *found["prepared"]))
    mixture = _mixture(text) if runs + poured == 1 else None
    if mixture is not None and poured and mixture[1] != 1:
        mixture = None
    if alone and not runs:
        doses += (*found["content"], *found["prepared"])
    if not doses:
        doses += found["of_one"]
    return Spoken(
        doses=tuple(doses),
        rates=tuple(rates),
        minutes=_minutes(text),
        most=tuple(found["most"]),
        largest=tuple(found["largest"]),
        totals=tuple(found["total"]),
        ends=bool(found["most"] or found["ranged"]),
        restated=tuple(restated),
        unread=tuple(each.unread for each in strange),
        mixture=mixture,
    )


def _by_role(
    text: str, strange: Sequence[unread.Found], counted: bool
) -> tuple[dict[str, list[Quantity]], list[Restated]]:
    """The amounts of a text, but those in the `strange` ones: each `dose`, `rate`, `content`, `of_one` or `prepared`,
    and those of a maximum also `most` (a rate), `largest` and, of many doses, `total`. With what says another again.
    """
    found: dict[str, list[Quantity]] = defaultdict(list)
    placed: list[tuple[int, bool, Quantity]] = []
    maxima = _Maxima(text)
    ahead = deque((each.start, each.end) for each in strange if each.unread.times is None)
    strange_until = 0
    for match in matches(AMOUNT, text):
        while ahead and ahead[0][0] < match.start(2):
            strange_until = max(strange_until, ahead.popleft()[1])
        if match.start(2) < strange_until:
            continue  # the `2 mg/kg` of `1/2 mg/kg`
        unit = _unit(match[2])
        if unit is None or is_of_another(text, match):
            continue
        said = Quantity(_number(match[1]) * unit.factor, unit)
        is_rate = unit.dimension in RATE_DIMENSIONS
        role = "rate" if is_rate else _role(match, unit.dimension)
        if counted and role == "dose" and _OF_ONE.match(text, match.end()):
            role = "of_one"
        found[role].append(said)
        if role in ("rate", "dose"):
            placed.append((match.start(), is_rate, said))
        if maxima.stand_before(match.start()):
            found["most" if is_rate else "largest"].append(said)
            if not is_rate and maxima.are_of_many(match):
                found["total"].append(said)
        elif is_rate and _RANGE.search(text, max(0, match.start() - _LONGEST_RANGE), match.start()):
            found["ranged"].append(said)
    for match in _COUNTED.finditer(text) if counted else ():
        placed.append((match.start(), False, units.quantity(match[1], match[2], *COUNT_DIMENSIONS)))
        found["dose"].append(placed[-1][2])
    give_way()
    return found, list(_restated(text, placed))


def _restated(text: str, placed: Sequence[tuple[int, bool, Quantity]]) -> Iterator[Restated]:
    """Those of the doses and rates of a text, each with its place, that say again the one before them."""
    for (_, was_rate, before), (start, is_rate, again) in pairwise(sorted(placed, key=itemgetter(0))):
        if was_rate == is_rate and (mark := _RESTATES.search(text, max(0, start - _LONGEST_RESTATING), start)):
            yield Restated(before, again, int(mark[1] or 1))


def _mixture(text: str) -> tuple[Fraction, Fraction] | None:
    """(mg, mL) of the one mixture that a text names, of the whole of it; None where it speaks of vials."""
    bags = [(_number(bag[1]), _number(bag[2] or "1")) for bag in matches(_BAG, text)]
    if any(not ml for _, ml in bags) or len({mg / ml for mg, ml in bags}) != 1 or _STOCK.search(text):
        return None
    return max(bags, key=itemgetter(1))


class _Clause(NamedTuple):
    has_total: bool
    """It speaks of what many doses come to."""
    repeated_from: int | None
    """The place from which it has said that an amount is repeated."""


class _Maxima:
    """The words of a maximum in a text, and where its clauses begin: found once, however many amounts it states."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._read: dict[int, _Clause] = {}

    @cached_property
    def _clauses(self) -> list[int]:
        return [0, *(cut.end() for cut in _CLAUSES.finditer(self._text))]

    @cached_property
    def _words(self) -> list[tuple[int, int]]:
        return [word.span() for word in _MAXIMUM.finditer(self._text)]

    def _begin_of_clause(self, number: int) -> int:
        return self._clauses[bisect_right(self._clauses, number) - 1]

    def _clause(self, begin: int) -> _Clause:
        if begin not in self._read:
            following = bisect_right(self._clauses, begin)
            end = self._clauses[following] if following < len(self._clauses) else len(self._text)
            clause = self._text[begin:end]
            again, first = often.again_at(clause), AMOUNT.search(clause)
            self._read[begin] = _Clause(
                _TOTAL.search(clause) is not None,
                None if again is None or first is None else begin + max(again, first.end()),
            )
        return self._read[begin]

    def are_of_many(self, amount: re.Match[str]) -> bool:
        """Whether the maximum at this place is that of many doses: `repeat 10 mg to max 30 mg`, `max total 60 mg`."""
        clause = self._clause(self._begin_of_clause(amount.start()))
        if clause.has_total:
            return True
        is_repeated = clause.repeated_from is not None and clause.repeated_from <= amount.start()
        return is_repeated and _PER.match(self._text, amount.end()) is None

    def stand_before(self, number: int) -> bool:
        """Whether one stands in the same clause before the number that begins at this place."""
        text, begin = self._text, self._begin_of_clause(number)
        end = number
        while end > begin and text[end - 1].isspace():
            end -= 1
        if end > begin and text[end - 1] == ".":
            return False  # a full stop, whatever follows it
        first = bisect_left(self._words, (begin, 0))
        if first < len(self._words) and self._words[first][1] <= number:
            return True
        touching = _MAXIMUM.search(text, max(begin, number - _LONGEST_MAXIMUM), number)  # as in `max10 mg/h`
        return touching is not None


def is_of_another(text: str, amount: re.Match[str]) -> bool:
    """Whether an amount or a strength stands right behind the name of another medicine, and not of a mixture."""
    begin = amount.start()
    named = _OF_ANOTHER.search(text, max(0, begin - _LONGEST_OTHER), begin)
    if named is None or _OWN_BEHIND.match(text, amount.end()):
        return False
    return _OWN_BEFORE.search(text, max(0, named.start() - _LONGEST_OTHER), named.start()) is None


def states_an_amount(text: str) -> bool:
    said = read(text)
    return bool(said.doses or said.rates)


def maxima(text: str) -> tuple[str, ...]:
    """The clauses of a text that state a maximum and no amount, as `max 2 doses per hour`: they hold for any dose."""
    clauses = [clause.strip(" .") for clause in _CLAUSES.split(text)]
    return tuple(clause for clause in clauses if _MAXIMUM.search(clause) and not states_an_amount(clause))


def _unit(spelling: str) -> units.Unit | None:
    """In running text capitals are capitals: MG is a milligram there."""
    bare = spelling if "(" in spelling else spelling.rstrip(")")
    for text in (bare, bare.lower()):
        try:
            return units.find(text, *RATE_DIMENSIONS, *DOSE_DIMENSIONS)
        except units.UnknownUnit:
            continue
    return None


def _role(match: re.Match[str], dimension: str) -> str:
    """The `content` of a bag (twice in `500 mg in 500 mL`), what is `prepared` (`dilute 50 mg`), or a `dose`."""
    text, begin = match.string, match.start()
    if _WITHIN.match(text, match.end()):
        return "content"
    if dimension == "volume" and _DILUTED.search(text, max(0, begin - REACH), begin):
        return "content"
    return "prepared" if _PREPARING.search(text, max(0, begin - _LONGEST_PREPARING), begin) else "dose"


def _minutes(text: str) -> Fraction | None:
    over = _OVER.search(text)
    if over is None and _IN_TIME.search(text):
        over = next(matches(_IN, text), None)
    if over is None:
        return None
    number, unit = over.groups()[-2:]
    length = units.find(unit if units.is_of(unit, "time") else unit.lower(), "time")
    return _number(number) * length.factor or None

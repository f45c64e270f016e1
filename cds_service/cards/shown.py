"""A limit as a text says it: its numbers, and the filters that put them in another unit or in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from cds_service import units
from cds_service.figures import show
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.limits import LimitBook, listed


class TextError(ProtocolError):
    """A card text that cannot be used; the service does not start with it."""


Say = Callable[[str, Mapping[str, object]], str | None]
"""The word of that key with its placeholders filled, in the language of the text; None where there is none."""


class Shown(str):
    """A limit's numbers in the limit's own unit, such as `0.5` or `1 to 2`. Filters read the numbers."""

    numbers: tuple[Fraction, ...]
    unit: str
    """The UCUM code of the limit."""
    site: bool
    """Whether the site set it, so that a sentence about a source does not hold."""


def shown(book: LimitBook, name: str, say: Say) -> Shown:
    """A limit of the book, as a text says it."""
    limit = book.limit(name)
    return _made(book.numbers(name), limit.unit, limit.site is not None, say)


def _made(numbers: Iterable[Fraction], unit: str, site: bool, say: Say) -> Shown:
    numbers = tuple(numbers)
    figures = [show(number) for number in numbers]
    between = say("range", {"low": figures[0], "high": figures[-1]}) if len(figures) == 2 else None
    made = Shown(between or listed(figures))
    made.numbers, made.unit, made.site = numbers, unit, site
    return made


def filters(say: Say) -> dict[str, Callable[..., str]]:
    """The filters of a language, by name. Each raises TextError for what is no limit of the right kind."""

    def converted(code: str) -> Callable[[object], Shown]:
        def convert(value: object) -> Shown:
            limit = _limit(value)
            if limit.unit == code:
                return limit
            try:
                factor = units.find(limit.unit, "time").factor / units.find(code, "time").factor
            except units.UnknownUnit as error:
                raise TextError(f"a limit in {limit.unit} cannot be said in {code}") from error
            return _made((number * factor for number in limit.numbers), code, limit.site, say)

        return convert

    def spelled(value: object) -> str:
        """`three` for 3, where the language has a word for it."""
        limit = _limit(value)
        return _word(say, "number", _single(limit)) or str(limit)

    def fraction(value: object) -> str:
        """`half` for 0.5, else per cent."""
        number = _single(_limit(value))
        return _word(say, "fraction", number) or f"{show(number * 100)} %"

    def fraction_of(value: object) -> str:
        """As it stands before what it is a part of: `half`, `a quarter of`."""
        return _word(say, "fraction-of", _single(_limit(value))) or _said(say, "fraction-of", fraction(value))

    def times(value: object, other: object) -> str:
        """How many times one limit is another: `twice`, `3 times`."""
        number = _single(_limit(value)) / _single(_limit(other))
        return _word(say, "times", number) or _said(say, "times", show(number))

    def inverse(value: object) -> Shown:
        limit = _limit(value)
        return _made((1 / number for number in limit.numbers), limit.unit, limit.site, say)

    def period(value: object) -> str:
        """`day` for 24 h: of an hour, a day or a week the bare word, of all others hours with their number."""
        return _word(say, "period", _minutes(value)) or _said(say, "period", converted("h")(value))

    def a_period(value: object) -> str:
        """As `period`, with its article: `a day`."""
        return _word(say, "a-period", _minutes(value)) or _said(say, "period", converted("h")(value))

    def _minutes(value: object) -> Fraction:
        return _single(converted("min")(value))

    named = {"minutes": "min", "hours": "h", "days": "d", "weeks": "wk"}
    return {
        **{name: converted(code) for name, code in named.items()},
        **{f.__name__: f for f in (spelled, fraction, fraction_of, times, inverse, period, a_period)},
    }


def _limit(value: object) -> Shown:
    if not isinstance(value, Shown):
        raise TextError(f"{str(value)!r} is no limit, which this filter needs")
    return value


def _single(limit: Shown) -> Fraction:
    if len(limit.numbers) != 1:
        raise TextError(f"the limit {str(limit)!r} has several numbers, and this filter needs one")
    return limit.numbers[0]


def _word(say: Say, kind: str, number: Fraction) -> str | None:
    return say(f"{kind}-{number}", {})


def _said(say: Say, key: str, number: str) -> str:
    return say(key, {"number": number}) or number

"""Numbers as a card shows them: short, and never rounded onto or across the limit they are compared with."""

from __future__ import annotations

from fractions import Fraction

_EXACT_PLACES = 4
_SIGNIFICANT = 4


def show(value: Fraction, *limits: Fraction) -> str:
    """`value` in at most four places where it is exact so, else to four significant digits.

    More digits are shown where the rounded figure would equal a limit that the value does not, or would stand on
    its other side: 0.501 beside the limit 0.5 stays 0.501.
    """
    scaled, rest = divmod(value.numerator * 10**_EXACT_PLACES, value.denominator)
    if not rest:
        return _plain(scaled, _EXACT_PLACES)
    places = max(_SIGNIFICANT - _magnitude(value), 0)
    others = [limit for limit in limits if limit != value]
    while any(_side(_rounded(value, places), limit) != _side(value, limit) for limit in others):
        places += 1
    return _plain(_scaled(value, places), places)


def _magnitude(value: Fraction) -> int:
    """Digits before the point; below a tenth, less the zeros after it."""
    numerator, denominator = abs(value.numerator), value.denominator
    magnitude = 0
    while numerator >= denominator * 10**magnitude:
        magnitude += 1
    while magnitude < 1 and numerator * 10 ** (1 - magnitude) < denominator:
        magnitude -= 1
    return magnitude


def _rounded(value: Fraction, places: int) -> Fraction:
    return Fraction(_scaled(value, places), 10**places)


def _scaled(value: Fraction, places: int) -> int:
    """`value` times 10 to the power of `places`, rounded half to even."""
    scaled: int = value.numerator * 10**places
    whole, rest = divmod(scaled, value.denominator)
    is_above = 2 * rest > value.denominator or (2 * rest == value.denominator and whole % 2 == 1)
    return whole + 1 if is_above else whole


def _side(value: Fraction, limit: Fraction) -> int:
    return (value > limit) - (value < limit)


def _plain(scaled: int, places: int) -> str:
    """The whole number `scaled` with its point moved left, without trailing zeros."""
    whole, part = divmod(abs(scaled), 10**places)
    shown = f"{whole}.{part:0{places}}".rstrip("0") if part else str(whole)
    return f"-{shown}" if scaled < 0 else shown

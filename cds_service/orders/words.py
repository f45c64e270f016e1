"""A dosage in words, as a card and a label say it, and as the text of an order does."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cds_service.figures import show
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.measure import COUNT_DIMENSIONS
from cds_service.says import Listed, Said, Says, listed
from cds_service.says import orders as says


def amount(given: Amount) -> Says:
    """`0.5 mg/kg/h`, `0.1 to 0.6 mg/kg/h`, `500 mg per 24 h`."""
    text: Says = show(given.written)
    if given.low is not None and given.low != given.value and not given.open_ended and given.value:
        text = says.RANGE_OF(show(given.low * given.written / given.value), text)
    if given.open_ended:
        text = says.FROM(text)
    if given.per_minutes is not None:
        return says.AMOUNT_PER(text, given.unit, duration(given.per_minutes))
    if given.dimension in COUNT_DIMENSIONS:
        counted = says.AMOUNT_OF_ONE if given.written == 1 else says.AMOUNT_OF_MANY
        return counted(text, given.unit.strip("{}"))
    return listed((text, given.unit), " ")


def duration(minutes: Fraction) -> str:
    """`40 min`, `24 h`, `5 d`."""
    for length, unit in ((1440, "d"), (60, "h")):
        long_enough = minutes >= 2 * length or (minutes == length and unit == "h")
        if long_enough and minutes % length == 0:
            return f"{show(minutes / length)} {unit}"
    return f"{show(minutes)} min"


_DAY, _WEEK = 1440, 10080


def often(interval: Fraction) -> Says:
    """`every 8 h`, `every 2 d`; of whole doses a week that fall on no whole days, `2 times a week`."""
    per_week = _WEEK / interval
    if interval == _WEEK:
        return says.ONCE_A_WEEK
    if interval > _DAY and interval % _DAY and per_week.denominator == 1:
        return says.TIMES_A_WEEK(show(per_week))
    return says.EVERY(duration(interval))


def dosage(written: Written) -> Says:
    """One dosage instruction: `0.3 mg/kg over 15 min every 15 min as needed`."""
    parts: list[Says] = []
    if written.dose:
        parts.append(amount(written.dose[0]))
    if written.rate:
        rate = amount(written.rate[0])
        parts.append(says.AT_RATE(rate) if parts else rate)
    if not parts:
        return written.text or next(iter(written.words), says.NO_DOSE)
    if written.minutes is not None:
        parts.append(says.OVER(duration(written.minutes)))
    elif written.bounds_minutes is not None:
        parts.append(says.FOR(duration(written.bounds_minutes)))
    if written.repeat.in_a_week is not None:
        parts.append(says.TIMES_A_WEEK(show(written.repeat.in_a_week)))
    elif written.repeat.interval is not None:
        parts.append(often(written.repeat.interval))
    if written.as_needed:
        parts.append(says.AS_NEEDED)
    if written.cap is not None:
        parts.append(says.AT_MOST(amount(written.cap.amount), duration(written.cap.minutes)))
    return listed(parts, " ")


def regimen(written: Sequence[Written]) -> Says:
    """All dosage instructions of an order."""
    return listed(map(dosage, written), says.THEN) if written else says.NO_DOSE


_IN_AN_ORDER = {
    says.NO_DOSE.key: "no dose",
    says.RANGE_OF.key: "{} to {}",
    says.FROM.key: "from {}",
    says.AMOUNT_PER.key: "{} {} per {}",
    says.AMOUNT_OF_ONE.key: "{} {}",
    says.AMOUNT_OF_MANY.key: "{} {}s",
    says.AT_RATE.key: "at {}",
    says.OVER.key: "over {}",
    says.FOR.key: "for {}",
    says.EVERY.key: "every {}",
    says.ONCE_A_WEEK.key: "once a week",
    says.TIMES_A_WEEK.key: "{} times a week",
    says.AS_NEEDED.key: "as needed",
    says.AT_MOST.key: "(at most {} in {})",
    says.THEN.key: ", then ",
}
"""How a dosage is written into an order that goes back: it is read again here, and is the same in every language."""


def written_out(dosage: Says) -> str:
    """A dosage as the text of an order."""
    if isinstance(dosage, Said):
        return _IN_AN_ORDER[dosage.key].format(*map(written_out, dosage.values))
    if isinstance(dosage, Listed):
        return written_out(dosage.between).join(map(written_out, dosage.parts))
    return str(dosage)

"""A dosage in words, as a card, a label or a dosage text says it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cds_service.figures import show
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.measure import COUNT_DIMENSIONS


def amount(given: Amount) -> str:
    """`0.5 mg/kg/h`, `0.1 to 0.6 mg/kg/h`, `500 mg per 24 h`."""
    text = show(given.written)
    if given.low is not None and not given.open_ended and given.value:
        text = f"{show(given.low * given.written / given.value)} to {text}"
    if given.open_ended:
        text = f"from {text}"
    if given.per_minutes is not None:
        return f"{text} {given.unit} per {duration(given.per_minutes)}"
    if given.dimension in COUNT_DIMENSIONS:
        return f"{text} {given.unit.strip('{}')}{'' if given.written == 1 else 's'}"
    return f"{text} {given.unit}"


def duration(minutes: Fraction) -> str:
    """`40 min`, `24 h`, `5 d`."""
    for length, unit in ((1440, "d"), (60, "h")):
        long_enough = minutes >= 2 * length or (minutes == length and unit == "h")
        if long_enough and minutes % length == 0:
            return f"{show(minutes / length)} {unit}"
    return f"{show(minutes)} min"


_DAY, _WEEK = 1440, 10080


def often(interval: Fraction) -> str:
    """`every 8 h`, `every 2 d`; of whole doses a week that fall on no whole days, `2 times a week`."""
    per_week = _WEEK / interval
    if interval == _WEEK:
        return "once a week"
    if interval > _DAY and interval % _DAY and per_week.denominator == 1:
        return f"{show(per_week)} times a week"
    return f"every {duration(interval)}"


def dosage(written: Written) -> str:
    """One dosage instruction: `0.3 mg/kg over 15 min every 15 min as needed`."""
    parts = []
    if written.dose:
        parts.append(amount(written.dose[0]))
    if written.rate:
        parts.append(("at " if parts else "") + amount(written.rate[0]))
    if not parts:
        return written.text or next(iter(written.words), "no dose")
    if written.minutes is not None:
        parts.append(f"over {duration(written.minutes)}")
    elif written.bounds_minutes is not None:
        parts.append(f"for {duration(written.bounds_minutes)}")
    if written.repeat.in_a_week is not None:
        parts.append(f"{show(written.repeat.in_a_week)} times a week")
    elif written.repeat.interval is not None:
        parts.append(often(written.repeat.interval))
    if written.as_needed:
        parts.append("as needed")
    if written.cap is not None:
        parts.append(f"(at most {amount(written.cap.amount)} in {duration(written.cap.minutes)})")
    return " ".join(parts)


def regimen(written: Sequence[Written]) -> str:
    """All dosage instructions of an order."""
    return ", then ".join(dosage(each) for each in written) or "no dose"

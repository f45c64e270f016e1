"""`now` counts only through ages: moving all dates with it, or saying them in another zone, changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import spelling, writing
from tests.properties.asking import DOSE_ROWS, fired, judged, request, weighed
from tests.properties.counts import examples
from tests.scenarios.build import NOW

KETAMINE = {"medicationCodeableConcept": writing.medicines_named("ketamine")[0]}
ZONES = [
    ZoneInfo(name)
    for name in ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "UTC")
]
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
]
"""Moments at which one of the zones puts its clocks on or back."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$")
_DAY = re.compile(r"\d{4}-\d\d-\d\d$")


def _each_date(value: Any, moment: Callable[[datetime], datetime], day: Callable[[date], date]) -> Any:
    """The request with every date in it changed."""
    if isinstance(value, dict):
        return {key: _each_date(item, moment, day) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_date(item, moment, day) for item in value]
    if isinstance(value, str) and _MOMENT.match(value):
        return moment(datetime.fromisoformat(value)).isoformat()
    if isinstance(value, str) and _DAY.match(value):
        return day(date.fromisoformat(value)).isoformat()
    return value


def _told(asked: dict[str, Any], now: datetime) -> list[tuple[str, str, str, str]]:
    """Every rule's end, for each order."""
    return [
        (order.order, outcome.rule.id, outcome.status, str(outcome.severity))
        for order in judged(asked, now)
        for outcome in order.outcomes
    ]


# Requests full of dates ------------------------------------------------------------------------------------------

_ago = st.one_of(
    st.integers(1, 24 * 40 * 60),
    st.sampled_from([hours * 60 + more for hours in (4, 24, 48, 168, 720) for more in (-1, 0, 1)]),
)


def _when(minutes: int) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat()


@st.composite
def _dosage(draw: st.DrawFn, number: int) -> dict[str, Any]:
    start = NOW + timedelta(minutes=draw(st.integers(0, 300)))
    end = start + timedelta(minutes=draw(st.sampled_from([5, 10, 30, 40, 59, 60, 61, 120, 4000])))
    per_kg = draw(st.integers(1, 130)) / Fraction(100)
    rate = {"rateQuantity": spelling.quantity(per_kg, "mg/kg/h")}
    dose = {"doseQuantity": spelling.quantity(per_kg / 2, "mg/kg")}
    period = {"repeat": {"boundsPeriod": {"start": start.isoformat(), "end": end.isoformat()}}}
    event = {"event": [start.isoformat()]}
    entry, timing = draw(st.sampled_from([(rate, period), (rate, event), (dose, event), (rate, {}), (dose, period)]))
    made: dict[str, Any] = {"doseAndRate": [entry]} | ({"timing": timing} if timing else {})
    return made | ({"sequence": number} if draw(st.booleans()) else {})


@st.composite
def _requests(draw: st.DrawFn) -> dict[str, Any]:
    dosages = [draw(_dosage(number)) for number in range(1, 1 + draw(st.integers(1, 3)))]
    reasons = draw(st.sampled_from([["pain"], ["depression"], []]))
    kilograms = st.sampled_from([70, 71, 77, 78, 154, 63, 85])
    weights = [
        weighed({"value": draw(kilograms), "unit": "kg"}, _when(draw(_ago)), number)
        for number in range(1, 1 + draw(st.integers(1, 3)))
    ]
    given_dose = {"when": _when(draw(_ago)), "rate": f"{draw(st.integers(1, 30)) / 100} mg/kg/h"}
    given_dose |= draw(st.sampled_from([{}, {"status": "in-progress"}]))
    patient = {
        "blood pressure": f"{draw(st.sampled_from(['120/75', '150/95', '190/110']))}, {_when(draw(_ago))}",
        "given": draw(st.sampled_from([[], [given_dose]])),
        "problems": draw(st.sampled_from([[], [{"code": "82271004 Injury of head", "onset": _when(draw(_ago))}]])),
        "age": 45,
    }
    return request(writing.order(KETAMINE, dosages, reasons), weights=weights, **patient)


_shifts = st.one_of(
    st.integers(-(10**6), 10**6).map(lambda minutes: timedelta(minutes=minutes)),
    st.tuples(st.sampled_from(CHANGES), st.integers(-3000, 3000)).map(
        lambda drawn: drawn[0] + timedelta(minutes=drawn[1]) - NOW
    ),
)


@examples(60)
@given(asked=_requests(), shift=_shifts, zone=st.sampled_from(ZONES))
def test_everything_moved_by_as_much_as_now_is_judged_the_same(
    asked: dict[str, Any], shift: timedelta, zone: ZoneInfo
) -> None:
    """Also to the other side of a change of the clocks, and with `now` in a zone that has them."""
    days = timedelta(days=round(shift / timedelta(days=1)))
    moved = _each_date(asked, lambda moment: moment + shift, lambda day: day + days)
    assert _told(moved, (NOW + shift).astimezone(zone)) == _told(asked, NOW)


_offsets = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))


@examples(60)
@given(data=st.data(), asked=_requests(), zone=st.one_of(_offsets, st.sampled_from(ZONES)))
def test_the_same_moments_in_other_zones_are_judged_the_same(
    data: st.DataObject, asked: dict[str, Any], zone: tzinfo
) -> None:
    elsewhere = _each_date(asked, lambda moment: moment.astimezone(data.draw(_offsets)), lambda day: day)
    assert _told(elsewhere, NOW.astimezone(zone)) == _told(asked, NOW)


@examples(30)
@given(asked=_requests(), days=st.integers(-700, 700), ago=st.integers(0, 40))
def test_whole_days_may_be_moved_by_whole_days(asked: dict[str, Any], days: int, ago: int) -> None:
    """A weight whose time of day is not recorded."""
    observation = asked["prefetch"]["bodySize"]["entry"][0]["resource"]
    observation["effectiveDateTime"] = (NOW - timedelta(days=ago)).date().isoformat()
    shift = timedelta(days=days)
    moved = _each_date(asked, lambda moment: moment + shift, lambda day: day + shift)
    assert _told(moved, NOW + shift) == _told(asked, NOW)


@examples(30)
@given(asked=_requests(), hours=st.integers(-12, 14))
def test_a_date_without_a_zone_takes_that_of_now(asked: dict[str, Any], hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    local = _each_date(asked, lambda moment: moment.astimezone(zone), lambda day: day)
    for entry in local["prefetch"]["bodySize"]["entry"]:
        entry["resource"]["effectiveDateTime"] = entry["resource"]["effectiveDateTime"][:19]
    assert _told(local, NOW.astimezone(zone)) == _told(asked, NOW)


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_a_week_over_a_change_of_the_clocks_is_a_week(change: datetime, zone: ZoneInfo) -> None:
    now = (change + timedelta(days=3)).astimezone(zone)
    for minutes, stale in ((7 * 24 * 60, False), (7 * 24 * 60 + 1, True)):
        when = (now.astimezone(UTC) - timedelta(minutes=minutes)).astimezone(zone)
        entry = {"rateQuantity": {"value": 10, "code": "mg/h"}}
        order = writing.order(KETAMINE, [{"doseAndRate": [entry]}], ["pain"])
        asked = request(order, weights=[weighed({"value": 70, "unit": "kg"}, when.isoformat())])
        assert ("weight-stale" in fired(judged(asked, now)[0])) == stale


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_an_infusion_over_a_change_of_the_clocks_runs_as_long_as_it_runs(change: datetime, zone: ZoneInfo) -> None:
    """A period of 40 minutes that the clock on the wall shows as 100, or as minus 20."""
    start, end = ((change + timedelta(minutes=each)).astimezone(zone).isoformat() for each in (-20, 20))
    repeat = {"boundsPeriod": {"start": start, "end": end}}
    entry = {"rateQuantity": spelling.quantity(Fraction(3, 4), "mg/kg/h")}
    order = writing.order(KETAMINE, [{"doseAndRate": [entry], "timing": {"repeat": repeat}}], ["depression"])
    assert fired(judged(request(order), change.astimezone(zone))[0], *DOSE_ROWS) == {}

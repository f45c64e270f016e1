"""FHIR dates: partial ones as the span of their days, ones without a zone, and how old each is at a moment."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir import dates
from cds_service.fhir.dates import ONE_DAY, When, months_between, parse, years_between

BERLIN = ZoneInfo("Europe/Berlin")
CHICAGO = ZoneInfo("America/Chicago")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=BERLIN)
NO_TIME = timedelta(0)


def when(text: str, zone: tzinfo = BERLIN) -> When:
    found = parse(text, zone)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1980", date(1980, 1, 1), date(1980, 12, 31)),
        ("1980-02", date(1980, 2, 1), date(1980, 2, 29)),
        ("1981-02", date(1981, 2, 1), date(1981, 2, 28)),
        ("1980-12", date(1980, 12, 1), date(1980, 12, 31)),
        ("1980-02-29", date(1980, 2, 29), date(1980, 2, 29)),
    ],
)
def test_a_partial_birth_date_is_read_as_the_span_of_its_days(text: str, first: date, last: date) -> None:
    found = when(text)
    assert (found.earliest.date(), found.latest.date()) == (first, last)
    assert found.date_only
    assert found.text == text
    assert found.day() == last


@pytest.mark.parametrize(("text", "span"), [("2026-11-00", "2026-11"), ("2026-00", "2026"), ("2026-00-00", "2026")])
def test_a_month_or_day_of_zero_is_one_that_is_not_known(text: str, span: str) -> None:
    assert (when(text).earliest, when(text).latest) == (when(span).earliest, when(span).latest)


def test_a_date_lasts_from_midnight_to_midnight_in_the_zone_of_the_hospital() -> None:
    found = when("2026-11-22", CHICAGO)
    assert found.earliest == datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    assert found.latest - found.earliest == ONE_DAY - timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T08:00:00Z", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("2026-11-22T08:00:00+01:00", datetime(2026, 11, 22, 7, tzinfo=UTC)),
        ("2026-11-22T08:00:00-05:30", datetime(2026, 11, 22, 13, 30, tzinfo=UTC)),
        ("2026-11-22T08:00:00.250Z", datetime(2026, 11, 22, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-22T08:00:00.1234567Z", datetime(2026, 11, 22, 8, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-22T08:00:00", datetime(2026, 11, 22, 7, tzinfo=UTC)),
        ("2026-07-01T08:00:00", datetime(2026, 7, 1, 6, tzinfo=UTC)),
        ("2026-11-22T08:00", datetime(2026, 11, 22, 7, tzinfo=UTC)),
        ("2026-11-22T08:00Z", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        (" 2026-11-22T08:00:00Z\n", datetime(2026, 11, 22, 8, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_and_the_zone_of_the_hospital_is_taken_where_none_is_named(
    text: str, moment: datetime
) -> None:
    found = when(text)
    assert found.earliest == found.latest == moment
    assert not found.date_only


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "yesterday", "22.11.2026", "11/22/2026", "2026-13", "2026-02-30", "1981-02-29",
        "2026-11-31", "26-11-22", "20261122", "2026-W47", "2026-11-22T", "2026-11-22T08", "2026-11-22T25:00:00Z",
        "2026-11-22T08:61:00Z", "2026-11-22T08:00:00+25:00", "2026-11-22 08:00:00", "2026-11-22T08:00:00 CET",
        "2026-1-2", "0000", "0001-01-01", "9999-12-31T23:59:59+14:00", "99999", "-2026", "2026-11-22/2026-11-23",
        "P1D", "2026-11-22T08:00:00Zx", "9" * 10_000,
    ],
    ids=lambda text: f"{text!s:.30}",
)  # fmt: skip
def test_what_is_no_date_is_none_and_never_a_guess(text: str | None) -> None:
    assert parse(text, BERLIN) is None


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.+Z-]{0,20})?"))
def test_no_text_makes_a_date_fail(text: str) -> None:
    found = parse(text, CHICAGO)
    if found is not None:
        assert found.earliest <= found.latest
        assert found.earliest.tzinfo is not None
        for each in (found.age(NOW), found.age_at_most(NOW)):
            assert isinstance(each, timedelta)
        found.is_future(NOW, ONE_DAY)


moments = st.datetimes(
    datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9.5))])
)


@given(moments)
def test_a_moment_that_is_written_in_iso_8601_is_read_back(moment: datetime) -> None:
    assert when(moment.isoformat()).latest == moment
    assert when(moment.astimezone(UTC).isoformat().replace("+00:00", "Z")).latest == moment


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)), st.sampled_from([4, 7, 10]))
def test_a_day_lies_within_every_shortened_form_of_its_date(day: date, length: int) -> None:
    found = when(day.isoformat()[:length])
    assert found.earliest.date() <= day <= found.latest.date()
    assert found.age(NOW) <= max(NOW.date() - day, NO_TIME) <= max(found.age_at_most(NOW), NO_TIME)


# How old


@pytest.mark.parametrize(
    ("text", "youngest", "oldest"),
    [
        ("2026-11-22T11:00:00", timedelta(hours=1), timedelta(hours=1)),
        ("2026-11-22", NO_TIME, NO_TIME),
        ("2026-11-21", ONE_DAY, ONE_DAY),
        ("2026-11", NO_TIME, timedelta(days=21)),
        ("2026-10", timedelta(days=22), timedelta(days=52)),
        ("2026", NO_TIME, timedelta(days=325)),
        ("2025", timedelta(days=326), timedelta(days=690)),
    ],
)
def test_a_date_has_an_age_at_the_least_and_at_the_most(text: str, youngest: timedelta, oldest: timedelta) -> None:
    assert when(text).age(NOW) == youngest
    assert when(text).age_at_most(NOW) == oldest


def test_a_date_of_today_is_zero_days_old_at_any_hour() -> None:
    for hour in range(24):
        now = NOW.replace(hour=hour)
        assert when("2026-11-22").age(now) == when("2026-11-22").age_at_most(now) == NO_TIME
        assert when("2026-11-21").age(now) == ONE_DAY


@pytest.mark.parametrize("clock", [UTC, BERLIN, CHICAGO, timezone(timedelta(hours=14))])
def test_the_age_in_days_is_counted_where_the_hospital_is_whatever_the_clock_of_now(clock: tzinfo) -> None:
    late = datetime(2026, 11, 23, 0, 30, tzinfo=BERLIN).astimezone(clock)
    assert when("2026-11-23").age(late) == NO_TIME
    assert when("2026-11-22").age(late) == ONE_DAY
    assert when("2026-11-22").age_at_most(late) == ONE_DAY
    assert not when("2026-11-23").is_future(late, NO_TIME)
    assert when("2026-11-24").is_future(late, NO_TIME)


def test_the_hour_that_the_clocks_are_set_back_is_counted() -> None:
    before = when("2026-10-25T01:00:00")
    assert before.age(datetime(2026, 10, 25, 4, 0, tzinfo=BERLIN).astimezone(UTC)) == timedelta(hours=4)


# Before and after


def test_a_moment_is_in_the_future_only_beyond_what_clocks_differ() -> None:
    tolerance = timedelta(minutes=5)
    assert not when("2026-11-22T12:05:00").is_future(NOW, tolerance)
    assert when("2026-11-22T12:05:01").is_future(NOW, tolerance)
    assert not when("2026-11-22T11:00:00").is_future(NOW, tolerance)


@pytest.mark.parametrize(
    ("text", "future"), [("2026-11-22", False), ("2026-11", False), ("2026", False), ("2026-11-23", True)]
)
def test_a_date_is_in_the_future_only_when_all_of_its_days_are(text: str, future: bool) -> None:
    assert when(text).is_future(NOW, NO_TIME) is future


def test_the_newest_of_several_is_the_one_that_ends_last() -> None:
    ordered = ["2025", "2026-11-21", "2026-11-22T07:00:00Z", "2026-11-22T08:30:00", "2026-11-22", "2026"]
    assert [each.text for each in sorted(when(text) for text in reversed(ordered))] == ordered
    assert max(when(text) for text in ordered).text == "2026"


# Years and months of age


@pytest.mark.parametrize(
    ("birth", "day", "years", "months"),
    [
        (date(1980, 2, 29), date(2026, 2, 28), 45, 551),
        (date(1980, 2, 29), date(2026, 3, 1), 46, 552),
        (date(2026, 8, 22), date(2026, 11, 21), 0, 2),
        (date(2026, 8, 22), date(2026, 11, 22), 0, 3),
        (date(2025, 12, 31), date(2026, 1, 1), 0, 0),
        (date(2008, 11, 22), date(2026, 11, 22), 18, 216),
        (date(2008, 11, 23), date(2026, 11, 22), 17, 215),
    ],
)
def test_years_and_months_are_counted_when_they_are_completed(
    birth: date, day: date, years: int, months: int
) -> None:
    assert years_between(birth, day) == years
    assert months_between(birth, day) == months


days = st.dates(date(1900, 1, 1), date(2100, 1, 1))


@given(days, days)
def test_twelve_completed_months_are_a_completed_year(birth: date, day: date) -> None:
    assert years_between(birth, day) == months_between(birth, day) // 12


@given(days, st.integers(0, 20_000))
def test_nobody_grows_younger(birth: date, lived: int) -> None:
    day = birth + timedelta(days=lived)
    assert 0 <= years_between(birth, day) <= years_between(birth, day + ONE_DAY)
    assert 0 <= months_between(birth, day) <= months_between(birth, day + ONE_DAY)


def test_the_calendar_is_limited_to_years_in_which_its_arithmetic_holds() -> None:
    for year in (dates._YEARS.start, dates._YEARS[-1]):
        found = when(str(year))
        assert found.age_at_most(NOW).days == (NOW.date() - date(year, 1, 1)).days
    assert parse(str(dates._YEARS.start - 1), BERLIN) is None
    assert parse(str(dates._YEARS.stop), BERLIN) is None

"""Readings of a window are those that are recent enough, however much of the list is looked at."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from cds_service.chart.chart import Chart
from cds_service.fhir import bundles
from cds_service.fhir.records import Records
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW

WINDOWS = [timedelta(0), timedelta(hours=1), timedelta(hours=24), timedelta(days=7), timedelta(days=400)]
SET = "obs_sbp"


def chart(knowledge: Knowledge, *dates: str) -> Chart:
    coded = {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}
    entries = [
        {"resource": {"resourceType": "Observation", "id": f"o{place}", "status": "final", "code": coded}
         | {"subject": {"reference": "Patient/p1"}, "effectiveDateTime": date, "valueQuantity": {"value": place}}}
        for place, date in enumerate(dates)
    ]  # fmt: skip
    records = Records("p1")
    records.add(bundles.page_to_read(msgspec.json.encode({"resourceType": "Bundle", "entry": entries})))
    return Chart(records, knowledge.valuesets, NOW, timedelta(0))


def dates() -> list[str]:
    """Moments and days around the ends of the windows, and months and years, in this zone and in another."""
    found = [
        NOW - window + timedelta(hours=by) for window in WINDOWS for by in (-72, -49, -47, -25, -23, -1, 0, 1, 25)
    ]
    past = [each for each in found if each <= NOW]
    moments = [each.isoformat() for each in past] + [each.astimezone(None).isoformat() for each in past[::3]]
    return (
        moments
        + [each.isoformat()[:10] for each in past]
        + [each.isoformat()[:length] for each in past for length in (7, 4)]
    )


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_holds_the_readings_that_are_recent_enough(knowledge: Knowledge, window: timedelta) -> None:
    read = chart(knowledge, *dates())
    every = read.measurements(SET)
    assert len(every) > 50
    expected = [m for m in every if read.age_within(m.when, window)]
    assert read.measurements_within(SET, window) == expected
    assert read.measurements_within(SET, window) is read.measurements_within(SET, window)


def test_a_window_longer_than_the_calendar_holds_them_all(knowledge: Knowledge) -> None:
    read = chart(knowledge, *dates())
    assert read.measurements_within(SET, timedelta(days=4_000_000)) == read.measurements(SET)


def test_a_reading_of_which_only_the_month_is_known_is_coarse(knowledge: Knowledge) -> None:
    assert chart(knowledge, "2026-11").has_coarse_readings
    assert not chart(knowledge, "2026-11-02", NOW.isoformat()).has_coarse_readings

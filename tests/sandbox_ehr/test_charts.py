"""The sandbox's patients: valid R4, the same for all who ask within an hour, and each says what it is there for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest

from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from cds_service.sandbox import charts
from tests.scenarios.build import NOW

RESOURCES = charts.resources_at(NOW)


def test_there_are_at_least_twelve_patients_and_each_says_why() -> None:
    assert len(charts.patients()) >= 12
    assert all(len(each.why) > 30 and each.name for each in charts.patients())


@pytest.mark.parametrize("key", RESOURCES, ids="/".join)
def test_every_resource_is_valid_r4(key: tuple[str, str]) -> None:
    kind, _ = key
    model = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
    model.model_validate(RESOURCES[key])


def test_the_charts_are_the_same_within_an_hour_and_move_with_it() -> None:
    again = charts.resources_at(NOW + timedelta(minutes=59))
    assert lenient.encode(list(again.values())) == lenient.encode(list(RESOURCES.values()))
    later = charts.resources_at(NOW + timedelta(hours=1))
    assert later["Observation", "standard-observation-1"]["effectiveDateTime"] == "2026-11-22T09:00:00+00:00"
    assert RESOURCES["Observation", "standard-observation-1"]["effectiveDateTime"] == "2026-11-22T08:00:00+00:00"


@pytest.mark.parametrize("day", ["2028-02-29", "2027-03-01", "2026-12-31", "2027-01-01"])
def test_ages_are_those_of_the_files_on_any_day(day: str) -> None:
    at = datetime.fromisoformat(day).replace(hour=10, tzinfo=UTC)
    born = datetime.fromisoformat(charts.resources_at(at)["Patient", "child"]["birthDate"])
    years = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
    assert years == 6


def test_nothing_lies_in_the_future() -> None:
    def dates(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [each for item in value.values() for each in dates(item)]
        if isinstance(value, list):
            return [each for item in value for each in dates(item)]
        return [value] if isinstance(value, str) and value[:2] in ("19", "20") and value[4:5] == "-" else []

    found = [each for resource in RESOURCES.values() for each in dates(resource)]
    assert found
    assert max(found) <= NOW.isoformat()


def test_nearly_every_code_is_one_that_the_service_knows(knowledge: Knowledge) -> None:
    """A code that is mistyped would make a patient uninteresting without a word."""
    unknown = {
        (coding["system"], coding["code"], coding["display"])
        for resource in RESOURCES.values()
        for element in ("code", "medicationCodeableConcept")
        for coding in resource.get(element, {}).get("coding", ())
        if not knowledge.valuesets.knows(coding["system"], coding["code"])
    }
    assert {display for *_, display in unknown} == {"Obesity", "sertraline"}

"""The charts of the sandbox: one file for each synthetic patient, dated relative to the present hour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from cds_service.protocol.parsing import parse_yaml

Resource = dict[str, Any]

WHOSE = {
    "Encounter": "subject",
    "Observation": "subject",
    "Condition": "subject",
    "AllergyIntolerance": "patient",
    "MedicationRequest": "subject",
    "MedicationStatement": "subject",
    "MedicationAdministration": "subject",
    "Procedure": "subject",
    "ServiceRequest": "subject",
}
"""The types beside Patient that a chart may hold, and the element of each that names the patient."""
_USUAL: Mapping[str, Resource] = {
    "Observation": {"status": "final"},
    "MedicationRequest": {"status": "active", "intent": "order"},
    "ServiceRequest": {"status": "active", "intent": "order"},
}
"""What an entry says where its file does not."""

_MOMENT = re.compile(r"(now|today)(?:-(\d+)(min|h|d|w|y))?")
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?) (\S+)")
_QUANTITIES = ("numerator", "denominator", "low", "high", "dose", "boundsDuration")
_CODED = re.compile(r"([a-z]+) \S+(?: .+)?")


@dataclass(frozen=True)
class Patient:
    """A patient of the sandbox: the id on its server, why the chart is there, and a name to show."""

    id: str
    why: str
    name: str


def patients() -> tuple[Patient, ...]:
    """All of them, by id."""
    return tuple(
        Patient(name, written["why"], _name(written["Patient"])) for name, written in sorted(_files().items())
    )


def resources_at(now: datetime) -> Mapping[tuple[str, str], Resource]:
    """Every resource of every chart by (type, id), as it stands in the hour of `now`.

    All that ask within an hour get the same. Nobody may change what is returned.
    """
    return _resources(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=2)
def _resources(hour: datetime) -> Mapping[tuple[str, str], Resource]:
    made: dict[tuple[str, str], Resource] = {}
    for name, written in _files().items():
        for each in _chart(name, written, hour):
            assert (each["resourceType"], each["id"]) not in made, f"{each['id']} stands twice"
            made[each["resourceType"], each["id"]] = each
    return made


@cache
def _files() -> Mapping[str, Any]:
    """patient id -> what its file says."""
    folder = resources.files(__package__).joinpath("patients")
    return {
        file.name.removesuffix(".yaml"): parse_yaml(file.read_text("utf-8"), file.name) for file in folder.iterdir()
    }


@cache
def _systems() -> Mapping[str, str]:
    text = resources.files(__package__).joinpath("shorthand.yaml").read_text("utf-8")
    systems: Mapping[str, str] = parse_yaml(text, "shorthand.yaml")
    return systems


def _chart(name: str, written: Mapping[str, Any], hour: datetime) -> list[Resource]:
    made = [{"resourceType": "Patient", "id": name} | _expanded(written["Patient"], "", hour)]
    for kind, whose in WHOSE.items():
        for number, entry in enumerate(written.get(kind, ()), 1):
            given = {"resourceType": kind, "id": f"{name}-{kind.lower()}-{number}", **_USUAL.get(kind, {})}
            made.append(given | {whose: {"reference": f"Patient/{name}"}} | _expanded(entry, "", hour))
    unknown = set(written) - {"why", "Patient", *WHOSE}
    assert not unknown, f"{name}: a chart has no {unknown}"
    return made


def _expanded(value: Any, key: str, hour: datetime) -> Any:
    """What a file abbreviates, written out: moments, quantities, and codes with their system."""
    if isinstance(value, dict):
        return {name: _expanded(item, name, hour) for name, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, key, hour) for item in value]
    if not isinstance(value, str):
        return value
    if moment := _MOMENT.fullmatch(value):
        return _moment(moment, hour)
    if (key.endswith("Quantity") or key in _QUANTITIES) and (written := _QUANTITY.fullmatch(value)):
        return quantity(written[1], written[2])
    if key not in ("text", "status") and (code := _CODED.fullmatch(value)) and code[1] in _systems():
        return coded(value)["coding"][0] if key == "class" else coded(value)
    return value


def quantity(number: str, unit: str) -> Resource:
    """A FHIR Quantity; `unit` is a UCUM code."""
    return {"value": Decimal(number), "unit": unit, "system": _systems()["ucum"], "code": unit}


def coded(shorthand: str) -> Resource:
    """The CodeableConcept of `sct 47625008 Intravenous route`; the first word stands in shorthand.yaml."""
    system, _, rest = shorthand.partition(" ")
    code, _, display = rest.partition(" ")
    return {"coding": [{"system": _systems()[system], "code": code} | ({"display": display} if display else {})]}


def _moment(written: re.Match[str], hour: datetime) -> str:
    """`now-2h` as a dateTime, `today-45y` as a date; a year is one of the calendar."""
    count, unit = int(written[2] or 0), written[3]
    if unit == "y":
        then = hour - timedelta(days=1)  # a birthday that is over, also where yesterday was 29 February
        at = then.replace(year=then.year - count, day=min(then.day, 28))
    else:
        at = hour - timedelta(**{_UNITS[unit]: count}) if unit else hour
    return at.date().isoformat() if written[1] == "today" else at.isoformat(timespec="seconds")


def _name(patient: Mapping[str, Any]) -> str:
    (name,) = patient["name"]
    return " ".join([*name["given"], name["family"]])

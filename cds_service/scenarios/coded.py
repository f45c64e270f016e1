"""The small parts of a scenario as FHIR: moments, quantities, and words or codes as CodeableConcepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cds_service.errors import CdsError
from cds_service.protocol.errors import did_you_mean
from cds_service.terminology.systems import UCUM

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
"""When the shipped scenarios take place: at an hour at which “six hours ago” is the same day."""
PATIENT = "p1"
HL7 = "http://terminology.hl7.org/CodeSystem/"
ACT_CODE = f"{HL7}v3-ActCode"

Coding = tuple[str, str, str]
"""(system, code, display)"""


def on_the_day_of(now: datetime) -> datetime:
    """When scenarios take place that are judged today: at their usual hour, in UTC."""
    return datetime.combine(now.astimezone(UTC), NOW.timetz())


class ScenarioError(CdsError):
    """A scenario that cannot be read, or that says what nobody understands."""


class Codes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.replace("_", " ")):
    """codes.yaml; the system of a coding by its name in `systems`."""

    systems: dict[str, str]
    drugs: dict[str, Coding]
    reasons: dict[str, Coding]
    routes: dict[str, Coding]
    places: dict[str, Coding]
    settings: dict[str, str]
    symptoms: dict[str, str]
    weights: dict[str, str]
    height: str
    pressure: dict[str, str]
    push: Coding
    diluent: Coding
    no_known_allergy: Coding
    usual_drug: str
    usual_reason: str
    adjunct: str
    monitoring: list[str]

    def of(self, table: Mapping[str, Coding]) -> dict[str, Coding]:
        """A table with the systems as they are sent."""
        return {word: self.sent(coding) for word, coding in table.items()}

    def sent(self, coding: Coding) -> Coding:
        system, code, display = coding
        return self.systems[system], code, display


CODES = msgspec.yaml.decode(Path(__file__).with_name("codes.yaml").read_bytes(), type=Codes)
SNOMED, LOINC, RXNORM = (CODES.systems[name] for name in ("snomed", "loinc", "rxnorm"))
DRUGS, REASONS, ROUTES, PLACES = map(CODES.of, (CODES.drugs, CODES.reasons, CODES.routes, CODES.places))

_QUANTITY = re.compile(r"(-?[\d.]+)\s*(\S.*)?$")
_AGO = re.compile(r"(\d+)\s*(minutes?|hours?|days?|months?|years?) ago$")
_AHEAD = re.compile(r"in (\d+)\s*(minutes?|hours?|days?)$")
_DAYS = {"day": 1, "month": 30.5, "year": 365.25}


def moment(text: str, now: datetime = NOW) -> str:
    """`2 hours ago`, `10 days ago`, `in 3 hours`, or a FHIR date as it stands."""
    if ahead := _AHEAD.match(text):
        unit = ahead.group(2).rstrip("s")
        return (now + timedelta(**{f"{unit}s": int(ahead.group(1))})).isoformat(timespec="seconds")
    match = _AGO.match(text)
    if match is None:
        return text
    number, unit = int(match.group(1)), match.group(2).rstrip("s")
    days = _DAYS.get(unit)
    past = timedelta(days=number * days) if days else timedelta(**{f"{unit}s": number})
    return (now - past).isoformat(timespec="seconds")


def quantity(text: Any) -> dict[str, Any]:
    """`0.5 mg/kg/h`, with the unit as a UCUM code. What is written otherwise is given as FHIR (`raw`)."""
    match = _QUANTITY.match(str(text))
    if match is None:
        raise ScenarioError(f"{text!r} is not a quantity")
    value: dict[str, Any] = {"value": Decimal(match.group(1))}
    if match.group(2):
        value |= {"unit": match.group(2), "system": UCUM, "code": match.group(2)}
    return value


def concept(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}


def coded(given: Any, known: Mapping[str, Coding], system: str = SNOMED) -> dict[str, Any]:
    """A known word, `CODE display`, `ICD-10 CODE display`, `words: …`, or a CodeableConcept as it stands."""
    if isinstance(given, dict):
        return given
    if given in known:
        return concept(*known[given])
    text = str(given)
    if text.startswith("ICD-10 "):
        code, _, display = text.removeprefix("ICD-10 ").partition(" ")
        return concept(CODES.systems["icd-10"], code, display or None)
    if text.startswith("words: "):
        return {"text": text.removeprefix("words: ")}
    code, _, display = text.partition(" ")
    if not any(map(str.isdigit, code)):
        meant = did_you_mean(text, known)
        raise ScenarioError(f"{text!r} is neither `CODE name` nor `words: …` nor a word of scenarios{meant}")
    return concept(system, code, display or None)


def word_of(known: Mapping[str, str], word: str, kind: str) -> str:
    """The code of a word. Raises ScenarioError with the nearest word."""
    if word not in known:
        raise ScenarioError(f"there is no {kind} {word!r}{did_you_mean(str(word), known)}")
    return known[word]


def refuse_rest(left: Iterable[str], what: str, known: Iterable[str] = ()) -> None:
    """What nobody took of what was written. Raises ScenarioError."""
    for name in left:
        raise ScenarioError(f"{what} has no {name!r}{did_you_mean(str(name), known)}")

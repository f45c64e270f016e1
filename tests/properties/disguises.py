"""How real feeds disguise an entry: another spelling of its system, words for a code, foreign statuses, units, dates.

A disguise changes one resource in place. Two that take words need the display of a known code, which scenarios often
leave out: `KNOWN` is filled with the displays of the value sets by the test.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]
Disguise = Callable[[Json], Any]
UNKNOWN = {"coding": [{"system": "urn:example:house", "code": "X1"}]}
KNOWN: dict[tuple[str, str], str] = {}
"""(system, code) -> its words."""

_SPELLINGS = {
    "http://snomed.info/sct": ("urn:oid:2.16.840.1.113883.6.96", "https://www.snomed.info/sct/"),
    "http://loinc.org": ("urn:oid:2.16.840.1.113883.6.1", "https://www.loinc.org/"),
    "http://www.nlm.nih.gov/research/umls/rxnorm": (
        "2.16.840.1.113883.6.88",
        "https://nlm.nih.gov/research/umls/rxnorm",
    ),
    "http://hl7.org/fhir/sid/icd-10-cm": ("urn:oid:2.16.840.1.113883.6.90", "https://hl7.org/fhir/sid/icd-10-cm/"),
}
_DATES = ("effectiveDateTime", "effectivePeriod", "issued")
_CHANGED = [{"url": "http://example.org/x", "valueBoolean": True}]


def remove(*names: str) -> Disguise:
    def disguise(entry: Json) -> None:
        for name in names:
            entry.pop(name, None)

    return disguise


def put(**elements: Any) -> Disguise:
    def disguise(entry: Json) -> None:
        entry |= copy.deepcopy(elements)

    return disguise


def _parts(entry: Json) -> tuple[Json, ...]:
    return (entry, *entry.get("component", ()))


def _no_value(entry: Json) -> None:
    for name in [name for name in entry if name.startswith("value")]:
        del entry[name]


def _in_words(entry: Json) -> None:
    for part in _parts(entry):
        _no_value(part)
        part.pop("interpretation", None)
        part["valueString"] = "see report"


def _coded_value(entry: Json) -> None:
    for part in _parts(entry):
        if "valueQuantity" in part:
            _no_value(part)
            part["valueCodeableConcept"] = copy.deepcopy(UNKNOWN)


def _without_value(entry: Json) -> None:
    for part in _parts(entry):
        _no_value(part)
        part.pop("interpretation", None)
        part["dataAbsentReason"] = {"text": "unknown"}


def _foreign_unit(entry: Json) -> None:
    for part in _parts(entry):
        if "valueQuantity" in part:
            part["valueQuantity"] = {"value": part["valueQuantity"]["value"], "unit": "furlong"}


def _foreign_rate(entry: Json) -> None:
    given = entry.get("dosage") or {}
    if "rateQuantity" in given:
        given["rateQuantity"] = {"value": given["rateQuantity"]["value"], "unit": "drops/min"}


def _rate_in_words(entry: Json) -> None:
    given = entry.get("dosage") or {}
    if rate := given.pop("rateQuantity", None):
        given["text"] = f"now at {rate['value']} {rate['unit']}"


def _foreign_status(entry: Json) -> None:
    """A weight that is only preliminary is none, and fires by being so."""
    if entry.get("status") != "preliminary":
        entry["status"] = "zz-house"


def _concepts(entry: Json) -> Iterator[Json]:
    for part in _parts(entry):
        for name in ("code", "medicationCodeableConcept"):
            if isinstance(part.get(name), dict):
                yield part[name]


def _versioned(entry: Json) -> None:
    for concept in _concepts(entry):
        for coding in concept.get("coding", ()):
            coding["system"] += "|2026"


def _spelt(which: int) -> Disguise:
    def disguise(entry: Json) -> None:
        for concept in _concepts(entry):
            for coding in concept.get("coding", ()):
                if coding["system"] in _SPELLINGS:
                    coding["system"] = _SPELLINGS[coding["system"]][which]

    return disguise


def _words(concept: Json) -> str | None:
    codings = concept.get("coding", ())
    said = [KNOWN.get((coding["system"], coding["code"])) or coding.get("display") for coding in codings]
    return next((words for words in [concept.get("text"), *said] if words), None)


def _unknown_beside_words(entry: Json) -> None:
    for concept in _concepts(entry):
        if words := _words(concept):
            concept["coding"] = [{"system": "urn:example:house", "code": "X1", "display": words}]


def _words_alone(entry: Json) -> None:
    for concept in _concepts(entry):
        if words := _words(concept):
            concept.pop("coding", None)
            concept["text"] = words


OF_ALL: dict[str, Disguise] = {
    "a version on its system": _versioned,
    "its system as an OID": _spelt(0),
    "its system with https, www or a slash": _spelt(1),
    "a code that nobody knows beside its words": _unknown_beside_words,
    "its words alone": _words_alone,
    "a status that nobody knows": _foreign_status,
    "an unknown extension": put(modifierExtension=_CHANGED),
    "unknown rules": put(implicitRules="http://example.org/x"),
}
_NO_CODE: dict[str, Disguise] = {
    "no code and no words": put(code={}),
    "a code that nobody knows": put(code=UNKNOWN),
}
_STATUS: dict[str, Disguise] = {
    "a clinical status that nobody knows": put(clinicalStatus={"text": "zz-house"}),
    "a clinical status in German": put(clinicalStatus={"text": "AKTIV"}),
    "a verification that nobody knows": put(verificationStatus={"text": "zz-house"}),
}
_MEDICINE: dict[str, Disguise] = {
    "a reference that leads nowhere": lambda entry: (
        remove("medicationCodeableConcept", "contained")(entry),
        put(medicationReference={"reference": "Medication/nowhere"})(entry),
    ),
    "a code that nobody knows": put(medicationCodeableConcept=UNKNOWN),
    "nothing that says what it is": put(medicationCodeableConcept={}),
}
DISGUISES: dict[str, dict[str, Disguise]] = {
    "Observation": OF_ALL
    | {
        "no date": remove(*_DATES),
        "a year for a date": lambda entry: (remove(*_DATES)(entry), put(effectiveDateTime="2026")(entry)),
        "a date that lies ahead": lambda entry: (
            remove(*_DATES)(entry),
            put(effectiveDateTime="2027-01-01")(entry),
        ),
        "a value in words": _in_words,
        "a coded value for a quantity": _coded_value,
        "no value": _without_value,
        "a unit that nobody knows": _foreign_unit,
    },
    "Condition": OF_ALL
    | _NO_CODE
    | _STATUS
    | {"a date that lies ahead": put(onsetDateTime="2027-01-01"), "no date": remove("onsetDateTime", "recordedDate")},
    "AllergyIntolerance": OF_ALL | _NO_CODE | _STATUS,
    "Procedure": OF_ALL
    | _NO_CODE
    | {
        "no date": remove("performedDateTime", "performedPeriod"),
        "a date that lies ahead": put(performedDateTime="2027-01-01"),
    },
    "MedicationRequest": OF_ALL | _MEDICINE | {"no date": remove("authoredOn")},
    "MedicationStatement": OF_ALL | _MEDICINE,
    "MedicationAdministration": OF_ALL
    | _MEDICINE
    | {
        "no date": remove("effectiveDateTime", "effectivePeriod"),
        "a rate in a unit that nobody knows": _foreign_rate,
        "a rate in words": _rate_in_words,
    },
}

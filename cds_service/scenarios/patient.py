"""A scenario's patient as the prefetch that an EHR would send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cds_service.scenarios.coded import (
    ACT_CODE,
    CODES,
    DRUGS,
    HL7,
    LOINC,
    NOW,
    PATIENT,
    PLACES,
    ROUTES,
    RXNORM,
    SNOMED,
    coded,
    concept,
    moment,
    quantity,
    refuse_rest,
    word_of,
)
from cds_service.scenarios.orders import medication_request

_ADJUNCT = {"drug": CODES.adjunct, "supply": "none", "id": "paracetamol"}
KEYS = (
    "age", "sex", "born", "setting", "place", "weight", "height", "blood pressure", "vitals", "results",
    "liver tests", "acute tests", "symptoms", "problems", "allergies", "medicines", "adjunct", "given", "running",
    "procedures", "monitoring", "missing", "raw",
)  # fmt: skip
_OF_RESULT = {"code", "value", "answer", "date", "upper limit", "lower limit", "interpretation", "when", "raw"}
_OF_PROBLEM = {"code", "status", "verification", "onset", "recorded", "ended", "raw"}
_OF_ALLERGY = {"to", "status", "type", "verification", "raw"}
_OF_DOSE = {"status", "drug", "when", "rate", "dose", "route", "order", "ended", "raw"}
_OF_PROCEDURE = {"code", "status", "when", "this encounter", "raw"}
_OF_WEIGHT = {"value", "when", "basis", "status", "raw"}


def observation(
    code: str, value: dict[str, Any], when: str, number: int, system: str = LOINC, now: datetime = NOW
) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"obs{number}",
        "status": "final",
        "code": concept(system, code),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": moment(when, now),
    } | value


def _running(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(orders, administrations) of an infusion in progress: its rate, or `rate`, `ordered`, `since`, `order`.

    The order is another rate only where `ordered` says so; one that is named is among the drafts, or nowhere.
    """
    given = dict(given) if isinstance(given, dict) else {"rate": given}
    order, since = given.pop("order", None), given.pop("since", "6 hours ago")
    rate = given.pop("rate")
    ordered = given.pop("ordered", rate)
    refuse_rest(given, "a running infusion", ("rate", "ordered", "since", "order"))
    administration = {"status": "in-progress", "order": order or "running", "when": since}
    if rate != "none":
        administration["rate"] = rate
    return [] if order else [{"id": "running", "rate": ordered}], [administration]


def _symptom(given: Any) -> Any:
    """`headache, 2 hours ago`: an observation by its own code; or a result as it stands."""
    if isinstance(given, dict):
        return given | {"code": CODES.symptoms.get(given["code"], given["code"])}
    name, _, when = str(given).partition(", ")
    return {"code": word_of(CODES.symptoms, name, "symptom"), "when": when or "1 hours ago"}


class Chart:
    """The prefetch of one scenario."""

    def __init__(self, patient: Mapping[str, Any], now: datetime = NOW) -> None:
        self.now = now
        self.given = dict(patient)
        self.number = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    def _observation(self, code: str, value: dict[str, Any], when: str, system: str = LOINC) -> dict[str, Any]:
        return observation(code, value, when, self.next(), system, self.now)

    def prefetch(self) -> dict[str, Any]:
        take = self.given.pop
        missing = take("missing", [])
        orders, administrations = _running(take("running")) if "running" in self.given else ([], [])
        made = {
            "patient": self._patient(take("age", 45), take("sex", "male"), take("born", None)),
            "encounter": self._encounter(take("setting", "ward"), take("place", None)),
            "bodySize": bundle([*self._weights(take("weight", "70 kg")), *self._height(take("height", None))]),
            "vitalSigns": bundle(
                self._pressure(take("blood pressure", "120/75")) + self._results(take("vitals", []))
            ),
            "results": bundle(self._results(take("results", []))),
            "liverResults": bundle(self._results(take("liver tests", []))),
            "acuteResults": bundle(self._results(take("acute tests", []))),
            "symptoms": bundle(self._results([_symptom(s) for s in take("symptoms", [])])),
            "conditions": bundle([self._problem(p) for p in take("problems", [])]),
            "allergies": bundle(self._allergies(take("allergies", ["no known allergy"]))),
            "medications": bundle(
                [
                    self._medicine(m)
                    for m in [*take("medicines", []), *orders, *([_ADJUNCT] if take("adjunct", True) else [])]
                ]
            ),
            "medicationStatements": bundle([]),
            "administrations": bundle([self._given_dose(m) for m in [*take("given", []), *administrations]]),
            "procedures": bundle([self._procedure(p) for p in take("procedures", [])]),
            "serviceRequests": bundle(
                [self._service(code) for code in self._monitoring(take("monitoring", "all four"))]
            ),
        }
        made |= take("raw", {})
        refuse_rest(self.given, "a patient", KEYS)
        return {key: value for key, value in made.items() if key not in missing}

    def _patient(self, age: Any, sex: str, born: str | None) -> dict[str, Any]:
        made: dict[str, Any] = {"resourceType": "Patient", "id": PATIENT, "gender": sex}
        if born != "unknown":
            years, _, unit = str(age).partition(" ")
            days = float(years) * (30.5 if unit.startswith("month") else 365.25)
            made["birthDate"] = born or (self.now - timedelta(days=days + 1)).date().isoformat()
        return made

    def _encounter(self, setting: str, place: str | None) -> dict[str, Any] | None:
        if setting == "unknown":
            return None
        made: dict[str, Any] = {
            "resourceType": "Encounter",
            "id": "e1",
            "status": "in-progress",
            "class": {"system": ACT_CODE, "code": word_of(CODES.settings, setting, "setting")},
            "subject": {"reference": f"Patient/{PATIENT}"},
        }
        if place:
            made["contained"] = [{"resourceType": "Location", "id": "l", "type": [coded(place, PLACES)]}]
            made["location"] = [{"location": {"reference": "#l"}, "status": "active"}]
        return made

    def _weights(self, given: Any) -> list[dict[str, Any]]:
        if given == "none":
            return []
        made = []
        for each in given if isinstance(given, list) else [given]:
            each = each if isinstance(each, dict) else {"value": each}
            refuse_rest(each.keys() - _OF_WEIGHT, "a weight", _OF_WEIGHT)
            value = {"valueQuantity": each.get("raw") or quantity(each["value"])}
            code = word_of(CODES.weights, each.get("basis", "measured"), "basis of a weight")
            made.append(self._observation(code, value, each.get("when", "2 hours ago")))
            made[-1]["status"] = each.get("status", "final")
        return made

    def _height(self, given: str | None) -> list[dict[str, Any]]:
        if given is None:
            return []
        return [self._observation(CODES.height, {"valueQuantity": quantity(given)}, "2 days ago")]

    def _pressure(self, given: Any) -> list[dict[str, Any]]:
        if given == "none":
            return []
        made = []
        for each in given if isinstance(given, list) else [given]:
            values, _, when = str(each).partition(", ")
            numbers, _, unit = values.partition(" ")
            systolic, diastolic = numbers.split("/")
            unit = "" if unit == "no-unit" else unit or "mm[Hg]"
            parts = [
                {"code": concept(LOINC, code, name), "valueQuantity": quantity(f"{value} {unit}".strip())}
                for code, name, value in (
                    (CODES.pressure["systolic"], "Systolic blood pressure", systolic),
                    (CODES.pressure["diastolic"], "Diastolic blood pressure", diastolic),
                )
            ]
            made.append(self._observation(CODES.pressure["panel"], {"component": parts}, when or "2 hours ago"))
        return made

    def _results(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = []
        for each in given:
            refuse_rest(each.keys() - _OF_RESULT, "a result", _OF_RESULT)
            value: dict[str, Any] = {}
            if "value" in each:
                value["valueQuantity"] = quantity(each["value"])
            if "answer" in each:
                value["valueCodeableConcept"] = coded(each["answer"], {})
            if "date" in each:
                value["valueDateTime"] = each["date"]
            if "upper limit" in each:
                value["referenceRange"] = [{"high": quantity(each["upper limit"])}]
            if "lower limit" in each:
                value.setdefault("referenceRange", [{}])[0]["low"] = quantity(each["lower limit"])
            if "interpretation" in each:
                system = f"{HL7}v3-ObservationInterpretation"
                value["interpretation"] = [concept(system, each["interpretation"])]
            value |= each.get("raw", {})
            system = LOINC if "-" in each["code"] else SNOMED
            made.append(self._observation(each["code"], value, each.get("when", "1 hours ago"), system))
        return made

    def _problem(self, given: Any) -> dict[str, Any]:
        given = given if isinstance(given, dict) else {"code": given}
        refuse_rest(given.keys() - _OF_PROBLEM, "a problem", _OF_PROBLEM)
        made: dict[str, Any] = {
            "resourceType": "Condition",
            "id": f"c{self.next()}",
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": coded(given["code"], {}),
        }
        status = given.get("status", "active")
        if status != "none":
            made["clinicalStatus"] = concept(f"{HL7}condition-clinical", status)
        if "verification" in given:
            system = f"{HL7}condition-ver-status"
            made["verificationStatus"] = concept(system, given["verification"])
        if "onset" in given:
            made["onsetDateTime"] = moment(str(given["onset"]), self.now)
        if "recorded" in given:
            made["recordedDate"] = moment(str(given["recorded"]), self.now)
        if "ended" in given:
            made["abatementDateTime"] = moment(str(given["ended"]), self.now)
        return {**made, **given.get("raw", {})}

    def _allergies(self, given: list[Any]) -> list[dict[str, Any]]:
        made = []
        for each in given:
            each = each if isinstance(each, dict) else {"to": each}
            refuse_rest(each.keys() - _OF_ALLERGY, "an allergy", _OF_ALLERGY)
            known = DRUGS | {"no known allergy": CODES.sent(CODES.no_known_allergy)}
            code = coded(each["to"], known)
            status = concept(f"{HL7}allergyintolerance-clinical", each.get("status", "active"))
            allergy = {
                "resourceType": "AllergyIntolerance",
                "id": f"a{self.next()}",
                "patient": {"reference": f"Patient/{PATIENT}"},
                "clinicalStatus": status,
                "code": code,
            }
            if "type" in each:
                allergy["type"] = each["type"]
            if "verification" in each:
                system = f"{HL7}allergyintolerance-verification"
                allergy["verificationStatus"] = concept(system, each["verification"])
            made.append(allergy | each.get("raw", {}))
        return made

    def _medicine(self, given: Any) -> dict[str, Any]:
        given = given if isinstance(given, dict) else {"drug": given}
        given = {"status": "active", "id": f"m{self.next()}", "indication": "none", "supply": "none"} | given
        when = given.pop("when", "1 days ago")
        made = medication_request(given, 0, self.now)
        made["authoredOn"] = moment(when, self.now)
        return made

    def _given_dose(self, given: dict[str, Any]) -> dict[str, Any]:
        refuse_rest(given.keys() - _OF_DOSE, "a given dose", _OF_DOSE)
        made: dict[str, Any] = {
            "resourceType": "MedicationAdministration",
            "id": f"g{self.next()}",
            "status": given.get("status", "completed"),
            "subject": {"reference": f"Patient/{PATIENT}"},
            "medicationCodeableConcept": coded(given.get("drug", CODES.usual_drug), DRUGS, RXNORM),
            "effectiveDateTime": moment(given.get("when", "1 hours ago"), self.now),
        }
        dosage_given: dict[str, Any] = {}
        if "rate" in given:
            dosage_given["rateQuantity"] = quantity(given["rate"])
        if "dose" in given:
            dosage_given["dose"] = quantity(given["dose"])
        if "route" in given:
            dosage_given["route"] = coded(given["route"], ROUTES)
        if dosage_given:
            made["dosage"] = dosage_given
        if "order" in given:
            made["request"] = {"reference": f"MedicationRequest/{given['order']}"}
        if "ended" in given:
            made["effectivePeriod"] = {
                "start": made.pop("effectiveDateTime"),
                "end": moment(given["ended"], self.now),
            }
        return {**made, **given.get("raw", {})}

    def _procedure(self, given: dict[str, Any]) -> dict[str, Any]:
        refuse_rest(given.keys() - _OF_PROCEDURE, "a procedure", _OF_PROCEDURE)
        made = {
            "resourceType": "Procedure",
            "id": f"pr{self.next()}",
            "status": given.get("status", "completed"),
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": coded(given["code"], {}),
            "performedDateTime": moment(given.get("when", "1 hours ago"), self.now),
        }
        if given.get("this encounter"):
            made["encounter"] = {"reference": "Encounter/e1"}
        return {**made, **given.get("raw", {})}

    def _monitoring(self, given: Any) -> list[str]:
        return list(CODES.monitoring) if given == "all four" else list(given)

    def _service(self, code: str) -> dict[str, Any]:
        return {
            "resourceType": "ServiceRequest",
            "id": f"s{self.next()}",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": concept(SNOMED, str(code)),
        }


def bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
    return bundle | ({"entry": entries} if entries else {})

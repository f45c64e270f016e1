"""From a scenario, as a pharmacist writes it, to the CDS Hooks request that an EHR would send.

What a scenario does not name is normal: an adult of 45 on a ward, weighed and with a normal blood pressure this
morning, no problems, paracetamol and no other medicine, "no known allergy", all monitoring ordered; an intravenous
order of racemic ketamine for acute pain with a supply for a day.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cds_service.folders import CARDS
from cds_service.hooks.request import HookRequest, parse
from cds_service.protocol.loader import parse_yaml

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
PATIENT = "p1"

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"
ACT_CODE = f"{HL7}v3-ActCode"
HSLOC = "https://www.cdc.gov/nhsn/cdaportal/terminology/codesystem/hsloc.html"

PARACETAMOL = "161"
DRUGS = {
    "ketamine": (RXNORM, "6130", "ketamine"),
    "esketamine": (RXNORM, "2119365", "esketamine"),
    "lidocaine": (RXNORM, "6387", "lidocaine"),
}
REASONS = {
    "pain": (SNOMED, "274663001", "Acute pain"),
    "depression": (SNOMED, "370143000", "Major depressive disorder"),
    "agitation": (SNOMED, "47295007", "Psychomotor agitation"),
    "sedation": (SNOMED, "314271007", "Induction of conscious sedation"),
    "status epilepticus": (SNOMED, "230456007", "Status epilepticus"),
    "migraine": (SNOMED, "37796009", "Migraine"),
    "unknown": ("http://example.org/reasons", "x1", "a local reason"),
}
ROUTES = {
    "intravenous": (SNOMED, "47625008", "Intravenous route"),
    "intramuscular": (SNOMED, "78421000", "Intramuscular route"),
    "subcutaneous": (SNOMED, "34206005", "Subcutaneous route"),
    "intraosseous": (SNOMED, "417255000", "Intraosseous route"),
    "nasal": (SNOMED, "46713006", "Nasal route"),
    "oral": (SNOMED, "26643006", "Oral route"),
    "sublingual": (SNOMED, "37839007", "Sublingual route"),
    "rectal": (SNOMED, "37161004", "Rectal route"),
    "topical": (SNOMED, "6064005", "Topical route"),
    "epidural": (SNOMED, "404820008", "Epidural route"),
    "intrathecal": (SNOMED, "72607000", "Intrathecal route"),
    "intra-arterial": (SNOMED, "58100008", "Intra-arterial route"),
    "push": (f"{HL7}v3-RouteOfAdministration", "IVPUSH", "Injection, intravenous, push"),
}
SETTINGS = {"ward": "IMP", "emergency": "EMER", "outpatient": "AMB", "home": "HH", "virtual": "VR"}
PLACES = {
    "intensive care": (f"{HL7}v3-RoleCode", "ICU", "Intensive care unit"),
    "emergency department": (f"{HL7}v3-RoleCode", "ER", "Emergency room"),
    "recovery room": (HSLOC, "1097-5", "Post-Anesthesia Care Unit/Recovery Room"),
    "operating room": (HSLOC, "1096-7", "Operating Room/Suite"),
    "hospice": (HSLOC, "1165-0", "Inpatient Hospice"),
    "telemetry ward": (HSLOC, "1208-8", "Telemetry Ward"),
}
ADJUNCT = {"drug": f"{PARACETAMOL} acetaminophen", "supply": "none", "id": "paracetamol"}
SYMPTOMS = {
    "headache": "25064002",
    "dizziness": "404640003",
    "hallucinations": "7011001",
    "agitation": "47295007",
    "nausea": "422587007",
    "vomiting": "422400008",
    "apnoea": "1023001",
    "hypoxia": "389086002",
}
MONITORING = ("23852006", "284034009", "135840009", "53617003")

_QUANTITY = re.compile(r"(-?[\d.]+)\s*(\S.*)?$")
_AGO = re.compile(r"(\d+)\s*(minutes?|hours?|days?|months?|years?) ago$")
_AHEAD = re.compile(r"in (\d+)\s*(minutes?|hours?|days?)$")


def moment(text: str) -> str:
    """`2 hours ago`, `10 days ago`, `in 3 hours`, or a FHIR date as it stands."""
    if ahead := _AHEAD.match(text):
        unit = ahead.group(2).rstrip("s")
        return (NOW + timedelta(**{f"{unit}s": int(ahead.group(1))})).isoformat(timespec="seconds")
    match = _AGO.match(text)
    if match is None:
        return text
    number, unit = int(match.group(1)), match.group(2).rstrip("s")
    days = {"day": 1, "month": 30.5, "year": 365.25}.get(unit)
    past = timedelta(days=number * days) if days else timedelta(**{f"{unit}s": number})
    return (NOW - past).isoformat(timespec="seconds")


def quantity(text: str) -> dict[str, Any]:
    """`0.5 mg/kg/h`, with the unit as a UCUM code; `20 [mcg/kg/min]!http://mimic…` is not needed: see `raw`."""
    match = _QUANTITY.match(str(text))
    assert match, f"{text!r} is not a quantity"
    value: dict[str, Any] = {"value": Decimal(match.group(1))}
    if match.group(2):
        value |= {"unit": match.group(2), "system": UCUM, "code": match.group(2)}
    return value


def concept(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}


def _coded(given: Any, known: dict[str, tuple[str, str, str]], system: str = SNOMED) -> dict[str, Any]:
    """A word of this file, `code display`, `ICD-10 code`, or a CodeableConcept as it stands."""
    if isinstance(given, dict):
        return given
    if given in known:
        return concept(*known[given])
    text = str(given)
    if text.startswith("ICD-10 "):
        code, _, display = text.removeprefix("ICD-10 ").partition(" ")
        return concept("http://hl7.org/fhir/sid/icd-10-cm", code, display or None)
    if text.startswith("words: "):
        return {"text": text.removeprefix("words: ")}
    code, _, display = text.partition(" ")
    return concept(system, code, display or None)


# Orders -----------------------------------------------------------------------------------------------------

_STEP_KEYS = {
    "dose", "rate", "over", "over at most", "for", "from", "until", "every", "times", "timing", "on days", "push",
    "as needed", "as needed for", "at most", "text", "also", "sequence", "route", "entries", "raw", "starts", "count",
}  # fmt: skip


def _amount(kind: str, text: Any) -> dict[str, Any]:
    """A quantity, a range (`0.1 to 0.6 mg/kg/h`, `from 0.1 mg/kg/h`) or a ratio (`500 mg per 24 h`)."""
    if isinstance(text, dict):
        return {f"{kind}Quantity": text}
    text = str(text)
    if " per " in text:
        above, below = text.split(" per ")
        return {"rateRatio": {"numerator": quantity(above), "denominator": quantity(below)}}
    if text.startswith("from "):
        return {f"{kind}Range": {"low": quantity(text.removeprefix("from "))}}
    if " to " in text:
        low, high = text.split(" to ")
        unit = quantity(high)["unit"]
        return {f"{kind}Range": {"low": quantity(f"{low} {unit}"), "high": quantity(high)}}
    return {f"{kind}Quantity": quantity(text)}


def _repeat(step: dict[str, Any]) -> dict[str, Any]:
    repeat: dict[str, Any] = {}
    if "over" in step:
        over = quantity(step["over"])
        repeat |= {"duration": over["value"], "durationUnit": over["unit"]}
    if "over at most" in step:
        longest = quantity(step["over at most"])
        repeat |= {"durationMax": longest["value"], "durationUnit": longest["unit"]}
    if "for" in step:
        repeat["boundsDuration"] = quantity(step["for"])
    if "from" in step or "until" in step:
        bounds = {"start": step.get("from"), "end": step.get("until")}
        repeat["boundsPeriod"] = {name: moment(text) for name, text in bounds.items() if text is not None}
    if "every" in step:
        every = quantity(step["every"])
        repeat |= {"frequency": 1, "period": every["value"], "periodUnit": every["unit"]}
    if "times" in step:
        frequency, period = str(step["times"]).split(" per ")
        every = quantity(period)
        repeat |= {"frequency": int(frequency), "period": every["value"], "periodUnit": every["unit"]}
    if "count" in step:
        repeat["count"] = step["count"]
    if "on days" in step:
        repeat["dayOfWeek"] = step["on days"]
    return repeat


def dosage(step: dict[str, Any], default_route: Any = "intravenous") -> dict[str, Any]:
    """One dosageInstruction."""
    unknown = set(step) - _STEP_KEYS
    assert not unknown, f"a step has no {unknown}"
    made: dict[str, Any] = {}
    entry: dict[str, Any] = {}
    for kind in ("dose", "rate"):
        if kind in step:
            entry |= _amount(kind, step[kind])
    if entry:
        made["doseAndRate"] = [entry]
    if "entries" in step:
        made["doseAndRate"] = [
            ({"type": {"text": each["type"]}} if "type" in each else {})
            | {k: v for kind in ("dose", "rate") if kind in each for k, v in _amount(kind, each[kind]).items()}
            for each in step["entries"]
        ]
    timing: dict[str, Any] = {}
    if repeat := _repeat(step):
        timing["repeat"] = repeat
    if "timing" in step:
        timing["code"] = {"text": step["timing"]}
    if "starts" in step:
        starts = step["starts"] if isinstance(step["starts"], list) else [step["starts"]]
        timing["event"] = [moment(each) for each in starts]
    if timing:
        made["timing"] = timing
    route = step.get("route", default_route)
    if route != "unstated":
        made["route"] = _coded(route, ROUTES)
    if step.get("push"):
        made["method"] = concept(SNOMED, "420620005", "Push")
    if step.get("as needed"):
        made["asNeededBoolean"] = True
    if "as needed for" in step:
        made["asNeededCodeableConcept"] = {"text": step["as needed for"]}
    if "also" in step:
        made["additionalInstruction"] = [{"text": step["also"]}]
    if "at most" in step:
        most, period = str(step["at most"]).split(" per ")
        made["maxDosePerPeriod"] = {"numerator": quantity(most), "denominator": quantity(period)}
    for key in ("text", "sequence"):
        if key in step:
            made[key] = step[key]
    return made | step.get("raw", {})


def medication_request(order: dict[str, Any], number: int) -> dict[str, Any]:
    """One draft. `steps` are dosage instructions; an order with one step may name its parts directly."""
    order = dict(order)
    step_keys = {key for key in order if key in _STEP_KEYS and key != "raw"}
    steps = order.pop("steps", None)
    if steps is None:
        steps = [{key: order.pop(key) for key in step_keys}] if step_keys else []
    drug = order.pop("drug", "ketamine")
    made: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "id": order.pop("id", f"o{number}"),
        "status": order.pop("status", "draft"),
        "intent": order.pop("intent", "order"),
        "subject": {"reference": order.pop("subject", f"Patient/{PATIENT}")},
        "dosageInstruction": [dosage(step) for step in steps],
    }
    if not made["dosageInstruction"]:
        del made["dosageInstruction"]
    reasons = order.pop("indication", "pain")
    reasons = reasons if isinstance(reasons, list) else [reasons]
    if reasons != ["none"]:
        made["reasonCode"] = [_coded(reason, REASONS) for reason in reasons]
    strength, diluent = order.pop("strength", None), order.pop("diluent", None)
    if strength is None:
        made["medicationCodeableConcept"] = _coded(drug, DRUGS, RXNORM)
    else:
        made["medicationReference"] = {"reference": "#m"}
        made["contained"] = [_medication(drug, strength, diluent)]
    supply = order.pop("supply", "24 h")
    if supply != "none":
        made["dispenseRequest"] = {"expectedSupplyDuration": quantity(supply)}
    if "group" in order:
        made["groupIdentifier"] = {"system": "urn:example:groups", "value": str(order.pop("group"))}
    if "replaces" in order:
        made["priorPrescription"] = {"reference": f"MedicationRequest/{order.pop('replaces')}"}
    made |= order.pop("raw", {})
    assert not order, f"an order has no {set(order)}"
    return made


def _medication(drug: Any, strength: str, diluent: bool | None) -> dict[str, Any]:
    above, _, below = str(strength).partition(" per ")
    ratio = {"numerator": quantity(above), "denominator": quantity(below or "1 mL")}
    if not below:
        amount = quantity(above)
        mass, volume = amount["unit"].split("/")
        ratio = {"numerator": quantity(f"{amount['value']} {mass}"), "denominator": quantity(f"1 {volume}")}
    ingredients = [{"itemCodeableConcept": _coded(drug, DRUGS, RXNORM), "strength": ratio}]
    if diluent:
        ingredients.append({"itemCodeableConcept": concept(RXNORM, "9863", "sodium chloride")})
    return {"resourceType": "Medication", "id": "m", "code": {"text": "infusion"}, "ingredient": ingredients}


# The patient ------------------------------------------------------------------------------------------------


def observation(code: str, value: dict[str, Any], when: str, number: int, system: str = LOINC) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"obs{number}",
        "status": "final",
        "code": concept(system, code),
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": moment(when),
    } | value


def _running(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(orders, administrations) of an infusion in progress: its rate, or `rate`, `ordered`, `since`, `order`.

    The order is another rate only where `ordered` says so; one that is named is among the drafts, or nowhere.
    """
    given = dict(given) if isinstance(given, dict) else {"rate": given}
    order, since = given.pop("order", None), given.pop("since", "6 hours ago")
    rate = given.pop("rate")
    ordered = given.pop("ordered", rate)
    assert not given, f"a running infusion has no {set(given)}"
    administration = {"status": "in-progress", "order": order or "running", "when": since}
    if rate != "none":
        administration["rate"] = rate
    return [] if order else [{"id": "running", "rate": ordered}], [administration]


def _symptom(given: Any) -> Any:
    """`headache, 2 hours ago`: an observation by its own code; or a result as it stands."""
    if isinstance(given, dict):
        return given | {"code": SYMPTOMS.get(given["code"], given["code"])}
    name, _, when = str(given).partition(", ")
    return {"code": SYMPTOMS[name], "when": when or "1 hours ago"}


class _Chart:
    """The prefetch of one scenario."""

    def __init__(self, patient: dict[str, Any]) -> None:
        self.given = dict(patient)
        self.number = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    def prefetch(self) -> dict[str, Any]:
        take = self.given.pop
        missing = take("missing", [])
        orders, administrations = _running(take("running")) if "running" in self.given else ([], [])
        made = {
            "patient": self._patient(take("age", 45), take("sex", "male"), take("born", None)),
            "encounter": self._encounter(take("setting", "ward"), take("place", None)),
            "bodySize": _bundle([*self._weights(take("weight", "70 kg")), *self._height(take("height", None))]),
            "vitalSigns": _bundle(
                self._pressure(take("blood pressure", "120/75")) + self._results(take("vitals", []))
            ),
            "results": _bundle(self._results(take("results", []))),
            "liverResults": _bundle(self._results(take("liver tests", []))),
            "acuteResults": _bundle(self._results(take("acute tests", []))),
            "symptoms": _bundle(self._results([_symptom(s) for s in take("symptoms", [])])),
            "conditions": _bundle([self._problem(p) for p in take("problems", [])]),
            "allergies": _bundle(self._allergies(take("allergies", ["no known allergy"]))),
            "medications": _bundle(
                [
                    self._medicine(m)
                    for m in [*take("medicines", []), *orders, *([ADJUNCT] if take("adjunct", True) else [])]
                ]
            ),
            "medicationStatements": _bundle([]),
            "administrations": _bundle([self._given_dose(m) for m in [*take("given", []), *administrations]]),
            "procedures": _bundle([self._procedure(p) for p in take("procedures", [])]),
            "serviceRequests": _bundle(
                [self._service(code) for code in self._monitoring(take("monitoring", "all four"))]
            ),
        }
        made |= take("raw", {})
        assert not self.given, f"a patient has no {set(self.given)}"
        return {key: value for key, value in made.items() if key not in missing}

    def _patient(self, age: Any, sex: str, born: str | None) -> dict[str, Any]:
        made: dict[str, Any] = {"resourceType": "Patient", "id": PATIENT, "gender": sex}
        if born != "unknown":
            years, _, unit = str(age).partition(" ")
            days = float(years) * (30.5 if unit.startswith("month") else 365.25)
            made["birthDate"] = born or (NOW - timedelta(days=days + 1)).date().isoformat()
        return made

    def _encounter(self, setting: str, place: str | None) -> dict[str, Any] | None:
        if setting == "unknown":
            return None
        made: dict[str, Any] = {
            "resourceType": "Encounter",
            "id": "e1",
            "status": "in-progress",
            "class": {"system": ACT_CODE, "code": SETTINGS[setting]},
            "subject": {"reference": f"Patient/{PATIENT}"},
        }
        if place:
            made["contained"] = [{"resourceType": "Location", "id": "l", "type": [_coded(place, PLACES)]}]
            made["location"] = [{"location": {"reference": "#l"}, "status": "active"}]
        return made

    def _weights(self, given: Any) -> list[dict[str, Any]]:
        if given == "none":
            return []
        codes = {"measured": "29463-7", "stated": "3142-7", "estimated": "8335-2"}
        made = []
        for each in given if isinstance(given, list) else [given]:
            each = each if isinstance(each, dict) else {"value": each}
            value = {"valueQuantity": each.get("raw") or quantity(each["value"])}
            when = each.get("when", "2 hours ago")
            made.append(observation(codes[each.get("basis", "measured")], value, when, self.next()))
            made[-1]["status"] = each.get("status", "final")
        return made

    def _height(self, given: str | None) -> list[dict[str, Any]]:
        if given is None:
            return []
        return [observation("8302-2", {"valueQuantity": quantity(given)}, "2 days ago", self.next())]

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
                    ("8480-6", "Systolic blood pressure", systolic),
                    ("8462-4", "Diastolic blood pressure", diastolic),
                )
            ]
            made.append(observation("85354-9", {"component": parts}, when or "2 hours ago", self.next()))
        return made

    def _results(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = []
        for each in given:
            value: dict[str, Any] = {}
            if "value" in each:
                value["valueQuantity"] = quantity(each["value"])
            if "answer" in each:
                value["valueCodeableConcept"] = _coded(each["answer"], {})
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
            made.append(observation(each["code"], value, each.get("when", "1 hours ago"), self.next(), system))
        return made

    def _problem(self, given: Any) -> dict[str, Any]:
        given = given if isinstance(given, dict) else {"code": given}
        made: dict[str, Any] = {
            "resourceType": "Condition",
            "id": f"c{self.next()}",
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": _coded(given["code"], {}),
        }
        status = given.get("status", "active")
        if status != "none":
            made["clinicalStatus"] = concept(f"{HL7}condition-clinical", status)
        if "verification" in given:
            system = f"{HL7}condition-ver-status"
            made["verificationStatus"] = concept(system, given["verification"])
        if "onset" in given:
            made["onsetDateTime"] = moment(str(given["onset"]))
        if "recorded" in given:
            made["recordedDate"] = moment(str(given["recorded"]))
        if "ended" in given:
            made["abatementDateTime"] = moment(str(given["ended"]))
        return made | given.get("raw", {})

    def _allergies(self, given: list[Any]) -> list[dict[str, Any]]:
        made = []
        for each in given:
            each = each if isinstance(each, dict) else {"to": each}
            known = DRUGS | {"no known allergy": (SNOMED, "716186003", "No known allergy")}
            code = _coded(each["to"], known)
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
        made = medication_request(given, 0)
        made["authoredOn"] = moment(when)
        return made

    def _given_dose(self, given: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "resourceType": "MedicationAdministration",
            "id": f"g{self.next()}",
            "status": given.get("status", "completed"),
            "subject": {"reference": f"Patient/{PATIENT}"},
            "medicationCodeableConcept": _coded(given.get("drug", "ketamine"), DRUGS, RXNORM),
            "effectiveDateTime": moment(given.get("when", "1 hours ago")),
        }
        dosage_given: dict[str, Any] = {}
        if "rate" in given:
            dosage_given["rateQuantity"] = quantity(given["rate"])
        if "dose" in given:
            dosage_given["dose"] = quantity(given["dose"])
        if "route" in given:
            dosage_given["route"] = _coded(given["route"], ROUTES)
        if dosage_given:
            made["dosage"] = dosage_given
        if "order" in given:
            made["request"] = {"reference": f"MedicationRequest/{given['order']}"}
        if "ended" in given:
            made["effectivePeriod"] = {"start": made.pop("effectiveDateTime"), "end": moment(given["ended"])}
        return made | given.get("raw", {})

    def _procedure(self, given: dict[str, Any]) -> dict[str, Any]:
        made = {
            "resourceType": "Procedure",
            "id": f"pr{self.next()}",
            "status": given.get("status", "completed"),
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": _coded(given["code"], {}),
            "performedDateTime": moment(given.get("when", "1 hours ago")),
        }
        if given.get("this encounter"):
            made["encounter"] = {"reference": "Encounter/e1"}
        return made | given.get("raw", {})

    def _monitoring(self, given: Any) -> list[str]:
        return list(MONITORING) if given == "all four" else list(given)

    def _service(self, code: str) -> dict[str, Any]:
        return {
            "resourceType": "ServiceRequest",
            "id": f"s{self.next()}",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{PATIENT}"},
            "code": concept(SNOMED, str(code)),
        }


def _bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
    return bundle | ({"entry": entries} if entries else {})


@functools.cache
def scenarios() -> tuple[tuple[str, dict[str, Any]], ...]:
    """(file, scenario): those of each rule, in its folder, and those of no single one, in this folder.

    The same objects each time.
    """
    of_none = [(path.stem, path) for path in sorted(Path(__file__).parent.glob("*.yaml"))]
    return (*(each for folder in sorted(CARDS.iterdir()) for each in of_protocol(folder)), *_in_files(of_none))


def of_protocol(folder: Path) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(rule, scenario): those in the folders of a protocol's rules."""
    return _in_files((path.parent.name, path) for path in sorted(folder.glob("rules/*/scenarios.yaml")))


def _in_files(files: Iterable[tuple[str, Path]]) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((name, each) for name, path in files for each in parse_yaml(path.read_text("utf-8"), name))


def hook_request(scenario: dict[str, Any]) -> dict[str, Any]:
    """The whole request of a scenario."""
    hook = scenario.get("hook", "order-sign")
    viewing = hook == "patient-view"
    orders = [] if viewing else scenario.get("orders") or [scenario["order"]]
    drafts = [medication_request(order, number) for number, order in enumerate(orders, 1)]
    drafts += scenario.get("other drafts", [])
    context: dict[str, Any] = {
        "userId": "Practitioner/pr1",
        "patientId": PATIENT,
        "encounterId": "e1",
        "draftOrders": {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": draft} for draft in drafts],
        },
    }
    if viewing:
        del context["draftOrders"]
    if hook == "order-select":
        selected = scenario.get("selected", [draft["id"] for draft in drafts])
        context["selections"] = [f"MedicationRequest/{name}" for name in selected]
    return {
        "hook": hook,
        "hookInstance": "0f0f0f0f-1111-4222-8333-444444444444",
        "context": context,
        "prefetch": _Chart(scenario.get("patient", {})).prefetch(),
    }


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def parsed(request: Mapping[str, Any], hook: str) -> HookRequest:
    """A request as the service reads it from the wire."""
    return parse(_ENCODER.encode(request), hook)


def sent(scenario: dict[str, Any]) -> HookRequest:
    """The request of a scenario as the service reads it from the wire."""
    return parsed(hook_request(scenario), scenario.get("hook", "order-sign"))

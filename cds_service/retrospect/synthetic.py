"""Synthetic hospital data as a Bulk Data export: seeded, of nobody, and known to be so by every identifier.

Every chart is drawn as it stood when its order was signed, and then written as an export of a year later shows it:
what was running is completed, some problems are resolved, and what was charted later is there too. So it can be tried
whether a replay finds its way back. Nursing orders, administrations and allergies are among it, which public samples
lack.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

from cds_service.fhir import lenient
from cds_service.protocol.parsing import parse_yaml
from cds_service.scenarios.coded import HL7, LOINC, PATIENT, concept
from cds_service.scenarios.patient import Chart
from cds_service.scenarios.request import hook_request
from cds_service.terminology.systems import UCUM

END = datetime(2026, 11, 1, tzinfo=UTC)
"""When the export is made. Orders were signed in the year before it."""
TYPES = (
    "Patient", "Encounter", "Observation", "Condition", "AllergyIntolerance", "MedicationRequest",
    "MedicationStatement", "MedicationAdministration", "Procedure", "ServiceRequest",
)  # fmt: skip
_LABEL = b'"meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]},'
"""R4's mark for test data."""
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """One judged order as it was signed: the request of that moment, and what it became in the export."""

    patient: str
    order: str
    moment: datetime
    request: Mapping[str, Any]
    exported: Sequence[Mapping[str, Any]]


def signed(count: int, seed: int, undated: float = 0.0) -> Iterator[Signed]:
    """So many judged orders. `undated`: the part of what ended whose export does not say when."""
    for number in range(count):
        yield _signed(number, seed, undated)


def write(
    folder: Path, orders: int, seed: int = 1, undated: float = 0.0, share: float | None = None
) -> dict[str, int]:
    """Write an export with so many orders, a `share` of them judged; how many resources of each type there are."""
    words = _words()
    judged = max(1, round(orders * (words["share of judged orders"] if share is None else share)))
    folder.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(TYPES, 0)
    files = {kind: (folder / f"{kind}.ndjson").open("wb") for kind in TYPES}
    try:
        for each in signed(judged, seed, undated):
            for resource in each.exported:
                _put(files, counts, resource["resourceType"], lenient.encode(resource))
            _bulk(files, counts, each.patient, random.Random(f"{seed} bulk {each.patient}"), 0)
        per_patient = words["orders of a patient"]
        for number in range(0, orders - judged, per_patient):
            dice = random.Random(f"{seed} other {number}")
            _other(files, counts, f"syn-o{number}", dice, min(per_patient, orders - judged - number))
    finally:
        for file in files.values():
            file.close()
    return counts


@cache
def _words() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("synthetic.yaml").read_text("utf-8")
    words: dict[str, Any] = parse_yaml(text, "synthetic.yaml")
    return words


def _drawn(dice: random.Random, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    (one,) = dice.choices(entries, [entry.get("often", 1) for entry in entries])
    return {name: value for name, value in one.items() if name != "often"}


def _put(files: Mapping[str, IO[bytes]], counts: dict[str, int], kind: str, raw: bytes) -> None:
    files[kind].write(raw.replace(b"{", b"{" + _LABEL, 1) + b"\n")
    counts[kind] += 1


# A judged order ---------------------------------------------------------------------------------------------------


def _signed(number: int, seed: int, undated: float) -> Signed:
    dice = random.Random(f"{seed} judged {number}")
    words = _words()
    moment = (END - timedelta(minutes=dice.randrange(30 * 24 * 60, 365 * 24 * 60))).replace(second=0)
    ward = _drawn(dice, words["wards"])
    name = ward.pop("name")
    patient = _drawn(dice, words["charts"]) | {"age": dice.choice(words["ages"])} | ward
    scenario = {"name": name, "patient": patient, "order": _drawn(dice, words["orders"]) | {"id": "order"}}
    own = f"syn-j{number}"
    sent = _of_patient(hook_request(scenario, moment), own)
    _date(sent, name, moment, dice)
    order = sent["context"]["draftOrders"]["entry"][0]["resource"]
    kept = [_aged(each, moment, dice, undated) for each in (*_all(sent["prefetch"]), order)]
    later = _later(own, moment, dice, words["later"])
    return Signed(own, order["id"], moment, sent, [*kept, *later])


def _of_patient(request: dict[str, Any], own: str) -> dict[str, Any]:
    """The request of another patient: every id is its own."""
    text = lenient.encode(request)
    names = {each["id"] for each in _all(request["prefetch"])} | {"order", PATIENT}
    for name in sorted(names, key=len, reverse=True):
        new = own.encode() if name == PATIENT else f"{own}-{name}".encode()
        old = name.encode()
        text = text.replace(b'"id":"' + old + b'"', b'"id":"' + new + b'"')
        text = text.replace(b"/" + old + b'"', b"/" + new + b'"')
        for of_context in (b"patientId", b"encounterId"):
            text = text.replace(b'"' + of_context + b'":"' + old + b'"', b'"' + of_context + b'":"' + new + b'"')
    changed: dict[str, Any] = lenient.untyped(text)
    return changed


def _date(request: dict[str, Any], ward: str, moment: datetime, dice: random.Random) -> None:
    """Give everything of a request the dates that an EHR would have, and the stay its ward."""
    for each in _all(request["prefetch"]):
        kind = each["resourceType"]
        if kind in ("Condition", "AllergyIntolerance"):
            each.setdefault("recordedDate", _iso(moment - dice.randrange(2, 700) * _DAY))
        elif kind == "ServiceRequest":
            each["authoredOn"] = _iso(moment - _HOUR)
        elif kind == "Encounter":
            each["period"] = {"start": _iso(moment - 2 * _DAY)}
            place = (each.get("location") or [{"location": {}}])[0]
            each["location"] = [{**place, "location": {**place["location"], "display": ward}, "status": "active"}]
        elif kind == "Observation" and "effectiveDateTime" in each:
            each["issued"] = each["effectiveDateTime"]
    for entry in request["context"]["draftOrders"]["entry"]:
        entry["resource"] |= {
            "authoredOn": _iso(moment),
            "encounter": {"reference": f"Encounter/{request['context']['encounterId']}"},
            "requester": {"reference": f"Practitioner/syn-{dice.randrange(20)}"},
        }


def _all(prefetch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every resource of a prefetch."""
    for value in prefetch.values():
        if value is not None and value["resourceType"] == "Bundle":
            yield from (entry["resource"] for entry in value.get("entry", ()))
        elif value is not None:
            yield value


def _aged(resource: Mapping[str, Any], moment: datetime, dice: random.Random, undated: float) -> dict[str, Any]:
    """A record as an export of a year later shows it."""
    made, kind = dict(resource), resource["resourceType"]
    says_when = dice.random() >= undated
    end = _iso(moment + dice.randrange(1, 9) * _DAY)
    if kind == "Encounter":
        made |= {"status": "finished", "period": {**made["period"], **({"end": end} if says_when else {})}}
    elif kind == "MedicationRequest":
        made["status"] = "completed" if says_when else "stopped"
        if says_when and made.get("authoredOn") != _iso(moment):
            timing = {"repeat": {"boundsPeriod": {"start": made["authoredOn"], "end": end}}}
            given = made.get("dosageInstruction") or [{}]
            made["dosageInstruction"] = [{**given[0], "timing": timing}, *given[1:]]
    elif kind == "ServiceRequest":
        made["status"] = "completed"
        if says_when:
            made["occurrencePeriod"] = {"start": made["authoredOn"], "end": end}
    elif kind == "MedicationAdministration" and made["status"] == "in-progress":
        start = made.pop("effectiveDateTime")
        made |= {"status": "completed", "effectivePeriod": {"start": start, **({"end": end} if says_when else {})}}
    elif kind == "Condition" and dice.random() < 0.5:
        made["clinicalStatus"] = concept(f"{HL7}condition-clinical", "resolved")
        if says_when:
            made["abatementDateTime"] = _iso(moment + 30 * _DAY)
    return made


def _later(own: str, moment: datetime, dice: random.Random, words: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was charted after the order, and would change what is found if it had been known."""
    at = moment + dice.randrange(1, 20) * _DAY
    patient: dict[str, Any] = {"weight": dice.choice(words["weights"]), "adjunct": False, "monitoring": []}
    patient["problems"] = [{"code": dice.choice(words["problems"]), "recorded": _iso(at)}]
    patient["allergies"] = [dice.choice(words["allergies"])] if dice.random() < 0.3 else []
    made = Chart({**patient, "blood pressure": "none"}, at).prefetch()
    for number, each in enumerate(_all({key: made[key] for key in ("bodySize", "conditions", "allergies")})):
        whose = "patient" if each["resourceType"] == "AllergyIntolerance" else "subject"
        each |= {"id": f"{own}-later{number}", whose: {"reference": f"Patient/{own}"}}
        if each["resourceType"] == "AllergyIntolerance":
            each["recordedDate"] = _iso(at)
        yield each


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


# All others -------------------------------------------------------------------------------------------------------


def _other(
    files: Mapping[str, IO[bytes]], counts: dict[str, int], own: str, dice: random.Random, orders: int
) -> None:
    """A patient without an order that is judged."""
    born = END.year - dice.choice(_words()["ages"])
    _put(
        files,
        counts,
        "Patient",
        b'{"resourceType":"Patient","id":"%b","birthDate":"%d-03-02"}' % (own.encode(), born),
    )
    _bulk(files, counts, own, dice, orders)


def _bulk(files: Mapping[str, IO[bytes]], counts: dict[str, int], own: str, dice: random.Random, orders: int) -> None:
    """The many orders and observations that nobody looks at, for the size of the thing."""
    words = _words()
    kinds = words["observations"]
    days = [END - timedelta(minutes=dice.randrange(365 * 24 * 60)) for _ in range(max(orders, 1))]
    for number in range(orders):
        code, _, name = dice.choice(words["other drugs"]).partition(" ")
        _put(files, counts, "MedicationRequest", _ORDER % (own, number, own, code, name, _iso(days[number])))
    for number in range(words["observations of an order"] * max(orders, 1)):
        code, name, low, high, unit = kinds[number % len(kinds)]
        at = _iso(days[number % len(days)] + timedelta(minutes=number))
        value = dice.randrange(low * 10, high * 10 + 1) / 10
        _put(files, counts, "Observation", _VALUE % (own, number, code, name, own, at, at, value, unit, unit))


class _Template(str):
    """Text that becomes bytes when it is filled."""

    def __mod__(self, values: Any) -> bytes:  # type: ignore[override]
        return str.__mod__(self, values).encode()


_ORDER = _Template(
    '{"resourceType":"MedicationRequest","id":"%s-m%d","status":"completed","intent":"order",'
    '"subject":{"reference":"Patient/%s"},"medicationCodeableConcept":{"coding":[{"system":'
    '"http://www.nlm.nih.gov/research/umls/rxnorm","code":"%s","display":"%s"}]},"authoredOn":"%s"}'
)
_VALUE = _Template(
    '{"resourceType":"Observation","id":"%s-v%d","status":"final","category":[{"coding":[{"system":'
    f'"{HL7}observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"{LOINC}",'
    '"code":"%s","display":"%s"}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":"%s","issued":"%s",'
    f'"valueQuantity":{{"value":%s,"unit":"%s","system":"{UCUM}","code":"%s"}}}}'
)

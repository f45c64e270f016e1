"""Work grows as the request does: for every list of every resource that is read, counted in calls, not in time.

The places come from the structs of cds_service/fhir/resources.py: a new list is counted as soon as it is read.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from cds_service import bounds
from cds_service.advise import advise
from cds_service.fhir import bundles, lenient
from cds_service.fhir.datatypes import CodeableConcept, Coding, Quantity, Reference
from cds_service.fhir.resources import TYPES
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from tests.properties.asking import knowledge
from tests.scenarios.build import NOW, hook_request

Json = dict[str, Any]
EXPONENT = 1.2
"""Twice the list may cost 2.3 times as much. The fixed cost of a request is taken off before."""
FEW = 400
"""Calls that a list may cost whatever its length."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")
KETAMINE = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130", "display": "ketamine"}


# Where the lists are ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A list in a resource: the names that lead to it."""

    type: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.type, *self.path))


def _unwrapped(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.UnionType):
        return next(each for each in info.types if not isinstance(each, inspect.NoneType))
    return info


def _lists(info: inspect.Type, path: tuple[str, ...], above: tuple[type, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each list below a struct; a struct that holds itself is gone into once."""
    info = _unwrapped(info)
    if isinstance(info, inspect.VarTupleType):
        yield path
        yield from _lists(info.item_type, path, above)
    elif isinstance(info, inspect.StructType) and above.count(info.cls) < 2:
        for field in info.fields:
            yield from _lists(field.type, (*path, field.encode_name), (*above, info.cls))


PLACES = [Place(name, path) for name, cls in TYPES.items() for path in _lists(inspect.type_info(cls), ())]


# What stands in them ----------------------------------------------------------------------------------------------


@cache
def _codings() -> Sequence[Json]:
    """Every code that a value set holds: what is looked up costs more than what is nowhere."""
    sets = knowledge().valuesets
    found = {(system, m.code): m.display for name in sets.names() for system, m in sets[name].members}
    return [{"system": system, "code": code, "display": display} for (system, code), display in found.items()]


def _coding(number: int) -> Json:
    """Of the known codes the same few in lists of every length, or longer ones would fire more rules; between them
    codes that are known nowhere, each another."""
    known = _codings()[number // 2 % 8 * 97 % len(_codings())]
    return known if number % 2 else known | {"code": f"unknown-{number}"}


def _value(info: inspect.Type, number: int, path: tuple[str, ...], length: int, above: tuple[type, ...] = ()) -> Any:
    """A value of a type, another for each number, with `length` members in the list to which `path` leads."""
    info = _unwrapped(info)
    if isinstance(info, inspect.VarTupleType):
        if isinstance(_unwrapped(info.item_type), inspect.RawType):
            return [_medication(f"c{i}", []) for i in range(length if not path else 1)]
        here = not path
        return [_value(info.item_type, number + i, path, length, above) for i in range(length if here else 1)]
    if isinstance(info, inspect.StructType):
        if info.cls is Coding and not path:
            return _coding(number)
        if info.cls is Reference:
            return {"reference": f"Condition/{number}", "display": f"ketamine {number}"}
        if info.cls is Quantity:
            return {"value": 60 + number, "unit": "kg", "code": "kg"}
        if above.count(info.cls) == 2:
            return {}
        return {
            field.encode_name: value
            for field in info.fields
            if (value := _field(info, field, number, path, length, above)) is not None
        }
    if isinstance(info, inspect.IntType):
        return 1 + number
    if isinstance(info, inspect.DecimalType):
        return 1 + number
    if isinstance(info, inspect.BoolType):
        return False
    return f"morphine {number}"


_DATES = ("Date", "Time", "start", "end", "issued", "authoredOn", "Asserted", "Instant", "recorded", "event")


def _field(
    info: inspect.StructType,
    field: inspect.Field,
    number: int,
    path: tuple[str, ...],
    length: int,
    above: tuple[type, ...],
) -> Any:
    name = field.encode_name
    if info.cls is CodeableConcept and name == "text" and not path:
        return None  # a code is looked at first
    if name.endswith(_DATES) and isinstance(_unwrapped(field.type), inspect.StrType):
        return f"2026-11-{1 + number % 20:02}T08:00:00Z"
    if name in ("status", "intent", "durationUnit", "periodUnit", "clinicalStatus", "verificationStatus"):
        return {"intent": "order", "durationUnit": "min", "periodUnit": "h"}.get(name)
    deeper = path[1:] if path and path[0] == name else ("elsewhere",)
    return _value(field.type, number, deeper, length, (*above, info.cls))


def _medication(identifier: str, ingredients: list[Json]) -> Json:
    code = {"coding": [_coding(int(identifier[1:]))]}
    return {"resourceType": "Medication", "id": identifier, "code": code, "ingredient": ingredients}


def _filled(place: Place, length: int) -> Json:
    made: Json = _value(inspect.type_info(TYPES[place.type]), 0, place.path, length)
    return made | {"resourceType": place.type, "id": "x1"}


def _placed(resource: Json) -> Json:
    """A request in which the resource counts: an order of ketamine as a draft, all else as what is known of the
    patient."""
    asked = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
    entries = asked["context"]["draftOrders"]["entry"]
    resource = resource | {"subject": {"reference": "Patient/p1"}, "patient": {"reference": "Patient/p1"}}
    kind = resource["resourceType"]
    if kind == "Patient":
        resource["id"] = "p1"
    if kind == "MedicationRequest":
        coding = resource.get("medicationCodeableConcept", {}).get("coding", [])
        draft = resource | {"medicationCodeableConcept": {"coding": [*coding[:-1], KETAMINE]}, "status": "draft"}
        draft.pop("medicationReference", None)
        entries.append({"resource": draft})
    elif kind == "Medication":
        order = entries[0]["resource"]
        order.pop("medicationCodeableConcept")
        order["contained"] = [resource]
        order["medicationReference"] = {"reference": "#x1"}
        resource["code"] = {"coding": [*resource["code"]["coding"][:-1], KETAMINE]}
    elif kind == "RequestGroup":
        entries.append({"resource": resource})
    asked["prefetch"]["more"] = {"resourceType": "Bundle", "entry": [{"resource": resource}]}
    return asked


# Counting ---------------------------------------------------------------------------------------------------------


def _calls(asked: Json, hook: str = "order-sign") -> int:
    """How many functions are called, in Python and in C, to answer a request."""
    body = _ENCODER.encode(asked)
    count = 0

    def profiled(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    known = knowledge()
    before = sys.getprofile()
    sys.setprofile(profiled)
    try:
        encode(advise(parse(body, hook), True, known, NoSource(), NOW))
    finally:
        sys.setprofile(before)
    return count


def _exponent(asked: Callable[[int], Json], sizes: tuple[int, int, int], hook: str = "order-sign") -> float:
    """With what power of its length a list's cost grows; each size is twice the one before."""
    encode(advise(parse(_ENCODER.encode(asked(sizes[2])), hook), True, knowledge(), NoSource(), NOW))  # fills caches
    small, middle, large = (_calls(asked(size), hook) for size in sizes)
    if large - middle <= FEW:
        return 0
    return math.log2((large - middle) / max(middle - small, 1))


IN_A_RESOURCE = (bounds.MEMBERS // 4, bounds.MEMBERS // 2, bounds.MEMBERS)


@pytest.fixture(params=[0, sys.maxsize], ids=["cut before it is read", "read as it is"])
def read_in_one_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what is large, or as what is small: where the one becomes the other, the work takes a step."""
    for where, name in ((lenient, "_MANY_BYTES"), (lenient, "_LONG_PART"), (bundles, "_AT_ONCE")):
        monkeypatch.setattr(where, name, request.param)


@pytest.mark.usefixtures("read_in_one_way")
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_work_grows_as_a_list_within_a_resource_does(place: Place) -> None:
    assert _exponent(lambda length: _placed(_filled(place, length)), IN_A_RESOURCE) <= EXPONENT


def test_the_work_grows_as_the_ingredients_do_that_refer_to_contained_resources() -> None:
    def asked(length: int) -> Json:
        asked = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
        order = asked["context"]["draftOrders"]["entry"][0]["resource"]
        order.pop("medicationCodeableConcept")
        references = [{"itemReference": {"reference": f"#c{i}"}} for i in range(1, length)]
        ketamine = _medication("c0", references) | {"code": {"coding": [KETAMINE]}}
        order["contained"] = [ketamine, *(_medication(f"c{i}", []) for i in range(1, length))]
        order["medicationReference"] = {"reference": "#c0"}
        return asked

    assert _exponent(asked, IN_A_RESOURCE) <= EXPONENT


# Resources of one type, drafts, keys ------------------------------------------------------------------------------

ENTRIES = (100, 200, 400)


def _many(kind: str, length: int, changes: Json) -> Json:
    asked = _placed(_filled(Place(kind, ("nowhere",)), 1))
    resource = asked["prefetch"]["more"]["entry"][0]["resource"]
    entries = [{"resource": resource | {"id": f"x{number}"} | changes} for number in range(length)]
    for number, entry in enumerate(entries):
        if "code" in resource:
            entry["resource"]["code"] = {"coding": [_coding(number)], "text": f"x {number}"}
    asked["prefetch"]["more"]["entry"] = entries
    return asked


@pytest.mark.parametrize("kind", TYPES)
def test_the_work_grows_as_the_number_of_prefetched_resources_does(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_AT_ONCE", 0)  # read entry by entry at every size, as large ones are
    assert _exponent(lambda length: _many(kind, length, {}), ENTRIES) <= EXPONENT


@pytest.mark.usefixtures("read_in_one_way")
@pytest.mark.parametrize(
    "weight",
    [
        {"effectiveDateTime": None, "effectivePeriod": None, "effectiveInstant": None, "issued": None},
        {"effectiveDateTime": "2026-11-22T08:00:00Z", "valueQuantity": {"value": 70, "code": "stone?"}},
        {"effectiveDateTime": "2026-11-22T08:00:00Z", "valueQuantity": {"value": 7000, "code": "kg"}},
        {"effectiveDateTime": "2126-11-22T08:00:00Z", "valueQuantity": {"value": 70, "code": "kg"}},
    ],
    ids=["without a date", "without a unit", "not believed", "in the future"],
)
def test_the_work_grows_as_the_number_of_weights_does(weight: Json) -> None:
    coding = {"system": "http://loinc.org", "code": "29463-7"}

    def asked(length: int) -> Json:
        asked = _many("Observation", length, weight | {"component": [], "status": "final"})
        for entry in asked["prefetch"]["more"]["entry"]:
            entry["resource"]["code"] = {"coding": [coding]}
        return asked

    assert _exponent(asked, ENTRIES) <= EXPONENT


@pytest.mark.usefixtures("read_in_one_way")
def test_the_work_grows_as_the_number_of_weights_does_that_make_each_other_doubtful() -> None:
    def asked(length: int) -> Json:
        asked = _many("Observation", length, {"component": [], "status": "final", "effectivePeriod": None})
        for number, entry in enumerate(asked["prefetch"]["more"]["entry"]):
            entry["resource"] |= {
                "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
                "effectiveDateTime": f"2026-11-22T{number // 60:02}:{number % 60:02}:00Z",
                "valueQuantity": {"value": 40 if number == 0 else 70, "code": "kg"},
            }
        return asked

    sizes = (bounds.WEIGHTS * 2, bounds.WEIGHTS * 4, bounds.WEIGHTS * 8)
    assert _exponent(asked, sizes) <= EXPONENT


@pytest.mark.parametrize("kind", ["morphine", "ketamine"])
def test_the_work_grows_as_the_number_of_drafts_does(kind: str) -> None:
    """Of ketamine more are sent than are judged at once."""

    def asked(length: int) -> Json:
        asked = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
        entries = asked["context"]["draftOrders"]["entry"]
        order = entries[0]["resource"] | {"medicationCodeableConcept": {"text": kind}}
        entries += [{"resource": order | {"id": f"x{number}"}} for number in range(length)]
        return asked

    assert _exponent(asked, (60, 120, 240)) <= EXPONENT


def test_the_work_grows_as_the_number_of_running_infusions_does() -> None:
    def asked(length: int) -> Json:
        asked = hook_request({"hook": "patient-view", "patient": {"running": "0.4 mg/kg/h"}})
        page = next(page for key, page in asked["prefetch"].items() if key == "administrations")
        first = page["entry"][0]["resource"]
        page["entry"] = [
            {"resource": first | {"id": f"a{i}", "request": {"reference": f"MedicationRequest/r{i}"}}}
            for i in range(length)
        ]
        return asked

    assert _exponent(asked, (60, 120, 240), "patient-view") <= EXPONENT


def test_the_work_grows_as_the_number_of_keys_does() -> None:
    page = {"resourceType": "Bundle", "entry": []}

    def asked(length: int) -> Json:
        asked = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
        asked["prefetch"] |= {f"conditions{number}": page for number in range(length)}
        return asked

    assert _exponent(asked, (20, 40, 80)) <= EXPONENT


def test_a_loop_over_pairs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all of this could not fail."""
    import cds_service.advise as line

    def pairs(request: Any, *rest: Any) -> list[str]:
        codings = request.drafts[0].read.resource.medication_codeable_concept.coding
        return [str(a) for a in codings for b in codings for _ in range(9) if repr(b)]

    judge = line.gather.ending
    monkeypatch.setattr(line.gather, "ending", lambda request, *rest: pairs(request) and judge(request, *rest))

    def asked(length: int) -> Json:
        asked = hook_request({"order": {"rate": "1.2 mg/kg/h"}})
        concept = asked["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]
        concept["coding"] = [KETAMINE] + [{"system": "urn:x", "code": "x"}] * (length - 1)
        return asked

    assert _exponent(asked, IN_A_RESOURCE) > 1.8

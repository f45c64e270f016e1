"""The quick look at R4: what passes it passes the models of fhir.resources, and goes out as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cds_service.fhir import lenient, outgoing, strict
from tests.scenarios.build import hook_request, scenarios

ORDER: dict[str, Any] = {
    "resourceType": "MedicationRequest",
    "id": "k1",
    "status": "draft",
    "intent": "order",
    "priority": "urgent",
    "authoredOn": "2026-11-22T09:30:00+01:00",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "7", "period": {"start": "2026-11-22"}}],
    "subject": {"reference": "Patient/p1", "identifier": {"value": "8", "assigner": {"display": "Ward 3"}}},
    "medicationCodeableConcept": {
        "coding": [{"system": "http://snomed.info/sct", "code": "373464007", "display": "Kétamine"}],
        "text": "ketamine 50 mg/mL",
    },
    "reasonCode": [{"text": "pain"}],
    "note": [{"authorString": "Dr. A", "time": "2026-11-22T09:30:00Z", "text": "as agreed"}],
    "dosageInstruction": [
        {
            "sequence": 1,
            "text": "0.2 mg/kg/h",
            "asNeededBoolean": False,
            "timing": {
                "event": ["2026-11-22"],
                "repeat": {"count": 3, "period": Decimal("1.50"), "timeOfDay": ["08:00:00"], "offset": 0},
            },
            "route": {"coding": [{"system": "http://snomed.info/sct", "code": "47625008"}]},
            "doseAndRate": [
                {
                    "doseRange": {"low": {"value": 1, "unit": "mg"}, "high": {"value": Decimal("2"), "unit": "mg"}},
                    "rateQuantity": {"value": Decimal("0.2"), "unit": "mg/kg/h", "comparator": "<"},
                }
            ],
            "maxDosePerPeriod": {"numerator": {"value": 20}, "denominator": {"value": 1, "unit": "h"}},
        }
    ],
    "dispenseRequest": {"numberOfRepeatsAllowed": 0, "expectedSupplyDuration": {"value": 1, "unit": "d"}},
    "substitution": {"allowedBoolean": True},
}  # fmt: skip

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.decimals(), st.floats(),
    st.text(max_size=6), st.from_regex(r"[ \n\tA-z0-9:+.-]{0,12}", fullmatch=True),
    st.sampled_from([
        "", " ", "a  b", "é", "1", "true", "24:00:00", "08:00", "2026", "2026-02-30", "2026-11-22T09:30:00",
        "2026-11-22T09:30:00+14:00", "2026-11-22T24:00:00Z", "0000-01-01", "0001-01-01T00:00:00+13:00", "\u0663",
        "2026-11-22T09:30:00.1234567Z", "a\u200bb", Decimal("1E+40"), Decimal("NaN"), Decimal("-0"), 2**31, -(2**31),
        [], {}, [None], [{}], {"value": 1}, {"text": "x"}, {"reference": "Patient/p1"}, {"extension": [{"url": "x"}]},
    ]),
)  # fmt: skip
NAMES = st.sampled_from([
    "id", "_status", "text", "extension", "contained", "unit", "value", "doseQuantity", "reportedBoolean", "foo",
    "reportedReference", "medicationReference", "asNeededCodeableConcept", "language", "meta", "resourceType",
    "fhir_comments", "resource_type", "display", "coding", "div", "start", "boundsRange", "boundsPeriod",
])  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a resource."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    """The order with up to three values replaced, left out, made a list, or added."""
    order = copy.deepcopy(ORDER)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(list(_places(order))))
        parent: Any = order
        for part in path:
            parent = parent[part]
        match draw(st.sampled_from(["replace", "leave out", "list", "add"])):
            case "replace":
                parent[key] = draw(ODD)
            case "leave out":
                del parent[key]
            case "list":
                parent[key] = [parent[key]]
            case "add" if isinstance(parent, dict):
                parent[draw(NAMES)] = draw(ODD)
        if not order:
            break
    return order


def test_an_ordinary_order_passes() -> None:
    assert strict.is_valid(ORDER)


@settings(max_examples=300, deadline=None)
@given(orders())
def test_what_passes_is_valid_to_the_models_and_means_the_same_to_them(order: dict[str, Any]) -> None:
    if strict.is_valid(order):
        read = MedicationRequest.model_validate(order)
        assert outgoing._typed(order, read) == order


@pytest.mark.parametrize("path", list(_places(ORDER)), ids=str)
@pytest.mark.parametrize("value", [None, "", " x", 1.5, "1.5", 10**40, ["x"], {"foo": 1}], ids=repr)
def test_each_element_alone_is_not_passed_with_what_the_models_refuse(path: tuple[Any, ...], value: Any) -> None:
    order = copy.deepcopy(ORDER)
    *before, key = path
    parent: Any = order
    for part in before:
        parent = parent[part]
    parent[key] = value
    try:
        read = MedicationRequest.model_validate(order)
    except ValidationError:
        assert not strict.is_valid(order)
    else:
        assert not strict.is_valid(order) or outgoing._typed(order, read) == order


def test_most_orders_of_the_scenarios_need_no_other_look() -> None:
    passed = []
    for _, scenario in scenarios():
        for entry in hook_request(scenario)["context"].get("draftOrders", {}).get("entry", ()):
            order = lenient.untyped(lenient.encode(entry["resource"]))
            if order["resourceType"] == "MedicationRequest":
                passed.append(strict.is_valid(order))
    assert sum(passed) > 0.8 * len(passed) > 0

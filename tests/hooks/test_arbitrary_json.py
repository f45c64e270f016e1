"""Whatever stands in the place of any element, the answer is valid, and it is never that the service failed.

`make test` takes a few hundred examples, always the same. KETAMINE_TEST_FUZZ_EXAMPLES asks for that many new ones.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hooks.client import Service
from tests.hooks.conformance import faults
from tests.scenarios.build import RXNORM, concept, hook_request, quantity

EXAMPLES = os.environ.get("KETAMINE_TEST_FUZZ_EXAMPLES")
fuzz = settings(
    max_examples=int(EXAMPLES or 300),
    derandomize=EXAMPLES is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PATIENCE = 10.0
"""Seconds. Far more than any answer takes; a search that explodes takes longer."""

_PLACE = re.compile(r": it goes wrong at line \d+, column \d+")
SAID = {
    "the body is not a JSON object",
    "the compressed body is cut off",
    "the body is not compressed as its Content-Encoding says",
    "hook is not order-sign",
    "hook is not order-select",
    "hook is not patient-view",
    "hookInstance is missing or not a string",
    "context is missing or not an object",
    "context.patientId is missing or not a string",
    "context.draftOrders is missing",
    "context.draftOrders is not a Bundle",
}
"""All that a 400 may say: nothing of what was sent."""

Path = tuple[str | int, ...]


class Literal:
    """JSON text that stands as it is: what Python would not write. `depth` is how deep it is nested."""

    def __init__(self, text: str, depth: int = 0) -> None:
        self.text = text
        self.depth = depth

    def __repr__(self) -> str:
        return f"Literal({self.text[:40]!r}, {len(self.text)} characters)"


def written(value: Any) -> str:
    """The JSON of a value; halves of characters as escapes, as Python writes them."""
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


# Requests to start from --------------------------------------------------------------------------------------------

PATIENT = {
    "weight": [{"value": "72.50 kg"}, {"value": "71 kg", "basis": "stated", "when": "30 days ago"}],
    "height": "178 cm",
    "place": "intensive care",
    "blood pressure": ["150/95", "120/75, 10 days ago"],
    "problems": ["38341003 Hypertension", {"code": "13746004 Bipolar", "status": "remission"}, "ICD-10 I20.0 Angina"],
    "allergies": ["7980 penicillin"],
    "medicines": ["7052 morphine", {"drug": "ketamine", "rate": "5 mg/h", "id": "m9"}],
    "given": [{"drug": "ketamine", "when": "3 hours ago", "rate": "5 mg/h", "route": "intravenous"}],
    "procedures": [{"code": "150062003 an operation", "this encounter": True}],
    "results": [{"code": "10839-9", "value": "0.01 ng/mL", "upper limit": "0.04 ng/mL"}],
    "monitoring": ["23852006"],
}
DOSES = {
    "dose": "0.5 mg/kg", "over": "10 min", "every": "6 h", "count": 3, "text": "0.5 mg/kg over 10 min",
    "at most": "200 mg per 24 h", "starts": "1 hours ago", "sequence": 1,
}  # fmt: skip
ENTRIES = {
    "entries": [
        {"type": "calculated", "rate": "87 mg/h"},
        {"type": "admin-amount", "rate": "8.7 mL/h"},
        {"type": "ordered", "rate": "1.2 mg/kg/h"},
    ],
    "for": "24 h",
    "sequence": 2,
}


def _request(hook: str, *orders: dict[str, Any], patient: dict[str, Any] | None = None) -> dict[str, Any]:
    group = {
        "resourceType": "RequestGroup",
        "id": "g1",
        "status": "draft",
        "action": [{"resource": {"reference": "MedicationRequest/o1"}, "action": [{"title": "a"}]}],
    }
    sibling = {"resourceType": "Medication", "id": "med1", "code": concept(RXNORM, "6130", "ketamine")}
    made = hook_request(
        {"hook": hook, "orders": list(orders), "other drafts": [group, sibling], "patient": patient or {}}
    )
    server = {
        "fhirServer": "https://ehr.example.org/r4",
        "fhirAuthorization": {"access_token": "t", "expires_in": 300},
    }
    return made | server | {"extension": {"org.example": {"a": [1]}}}


BASES = [
    _request("order-sign", {"steps": [DOSES, ENTRIES], "strength": "10 mg/mL", "raw": {
        "category": [concept("http://terminology.hl7.org/CodeSystem/medicationrequest-category", "inpatient")],
        "dispenseRequest": {"expectedSupplyDuration": quantity("1 d")},
        "authoredOn": "2026-11-22T09:00:00Z",
        "requester": {"extension": [{"url": "http://example.org/absent", "valueCode": "unknown"}]},
        "note": [{"text": "a note"}],
    }}, patient=PATIENT),
    _request("order-select", {"rate": "0.1 to 2 mg/kg/h", "indication": "none"},
             {"dose": "40 mg", "push": True, "as needed": True, "every": "15 min", "drug": "esketamine"}),
    _request("order-sign", {"dose": "82 mg", "over": "10 min", "indication": "depression"},
             {"rate": "500 mg per 10 h", "drug": "words: ketamine", "route": "subcutaneous", "raw": {
                 "medicationReference": {"reference": "Medication/med1"}}},
             patient={"weight": "none", "missing": ["conditions"]}),
    _request("order-select", {"text": "ketamine 0.5 mg/kg/hr titrate to effect"}),
    _request("order-sign", {"rate": "0.4 mg/kg/h", "status": "stopped"}, {"rate": "0.4 mg/kg/h"},
             {"drug": "6960 Midazolam", "dose": "0.1 mg/kg", "indication": "none"},
             patient={"running": {"rate": "0.4 mg/kg/h", "order": "o1", "since": "2 days ago"}, "given": [
                 {"status": "stopped", "rate": "0.4 mg/kg/h", "when": "5 hours ago", "ended": "2 hours ago"}],
                 "symptoms": ["dizziness, 130 minutes ago"]}),
    _request("patient-view", patient={"running": {"rate": "0.4 mg/kg/h", "ordered": "500 mg per 10 h"}, "symptoms": [
        "headache", "nausea"], "blood pressure": ["190/95, 20 minutes ago", "185/90, 10 minutes ago"]}),
]  # fmt: skip


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in members:
        yield from _paths(item, (*path, key))


def _is_below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


DRAFTS: Path = ("context", "draftOrders")
RUNNING: Path = ("prefetch", "administrations")


def _split(base: Any) -> tuple[list[Path], list[Path]]:
    """(those of what is judged, the others)"""
    judged = RUNNING if base["hook"] == "patient-view" else DRAFTS
    paths = list(_paths(base))
    return [p for p in paths if _is_below(p, judged)], [p for p in paths if not _is_below(p, judged)]


PATHS = [_split(base) for base in BASES]
"""Of each request: (those of its drafts or of what runs, the others)."""
NAMES = sorted({part for of in PATHS for paths in of for path in paths for part in path if isinstance(part, str)})


# What is put in their place ----------------------------------------------------------------------------------------


def _nested(depth: int) -> Iterator[Literal]:
    yield Literal("[" * depth + "]" * depth, depth)
    yield Literal('{"extension":' * depth + "1" + "}" * depth, depth)
    yield Literal('{"action":[' * depth + "]}" * depth, 2 * depth)
    yield Literal('{"contained":[' * depth + "]}" * depth, 2 * depth)


NUMBERS = [
    Literal(text)
    for text in (
        "-0", "-1", "1e400", "-1e-400", "1E+1000000", "1e99999999999999999999", "1e-99999999999999999999", "9" * 5000,
        "0." + "3" * 5000, "1" + "0" * 39, "1" + "0" * 41, "9223372036854775808", "18446744073709551616", "0.000",
    )
]  # fmt: skip
STRINGS = [
    "", " ", "NaN", "Infinity", "-Infinity", "1e400", "sNaN", "٣", "0x10", "1_0", "\x00", "\ud83d", "\u202e",
    "µg/kg/min", "mg/kg/h", "mg", "ketamine", "esketamine", "6130", "draft", "active", "entered-in-error",
    "#", "#m", "/", "Patient/", "Patient/p1", "Patient/other", "MedicationRequest/", "MedicationRequest/o1",
    "Medication/9", "urn:uuid:1", "http://[", "http://ehr.example.org:99999/", "0000", "0001-01-01", "9999-12-31",
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30", "2026-11-22T10:00",
    "2026-11-22T25:00:00Z", "2026-W47", "20261122T100000Z", "[x](javascript:x)", "<img src=x onerror=y>",
    "{{ 7*7 }}", "%s%n", "a\nb", "x" * 100_000, "(" * 20_000, "0.5 mg/kg " * 5_000, "5" * 5_000, "ketamine " * 5_000,
]  # fmt: skip
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.integers(-(10**30), 10**30),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from(NUMBERS),
    st.sampled_from(STRINGS),
    st.text(st.characters(), max_size=8),
    st.sampled_from([literal for depth in (3, 50, 200, 400, 700, 980, 5_000) for literal in _nested(depth)]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(st.characters(), max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutations(draw: st.DrawFn, number: int) -> tuple[Path, str, Any]:
    """(where, what, with what)."""
    in_drafts, elsewhere = PATHS[number]
    path = draw(st.sampled_from(in_drafts) | st.sampled_from(elsewhere))
    how = draw(st.sampled_from(["replace", "replace", "replace", "delete", "duplicate", "list", "object", "borrow"]))
    return path, how, draw(values) if how == "replace" else draw(st.sampled_from(in_drafts + elsewhere))


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, list[tuple[Path, str, Any]]]:
    number = draw(st.integers(0, len(BASES) - 1))
    return number, draw(st.lists(mutations(number), min_size=1, max_size=3))


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _edited(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """A copy in which the element at the path is changed; only what lies above it is copied."""
    if not path:
        return change(value)
    copied = value.copy()
    copied[path[0]] = _edited(copied[path[0]], path[1:], change)
    return copied


def _without(parent: Any, key: Any) -> Any:
    copied = parent.copy()
    del copied[key]
    return copied


def mutated(base: Any, path: Path, how: str, operand: Any) -> Any:
    """The request with one mutation; as it was where an earlier one took the place away."""
    try:
        if how == "delete" and path:
            return _edited(base, path[:-1], lambda parent: _without(parent, path[-1]))
        if how == "duplicate" and path and isinstance(path[-1], int):
            return _edited(base, path[:-1], lambda parent: [*parent, parent[path[-1]]])
        other = _at(base, operand) if how == "borrow" else operand
        changes: dict[str, Callable[[Any], Any]] = {
            "replace": lambda _: operand,
            "borrow": lambda _: other,
            "duplicate": lambda value: [value, value],
            "list": lambda value: [value],
            "object": lambda value: {str(path[-1]) if path else "resource": value},
        }
        return _edited(base, path, changes[how]) if how in changes else base
    except (KeyError, IndexError, TypeError, AttributeError):
        return base


READABLE = 500
"""Levels that are read wherever they stand; no resource has so many."""


def _depth(value: Any) -> int:
    if isinstance(value, Literal):
        return value.depth
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_depth, members), default=0)


# The tests ---------------------------------------------------------------------------------------------------------


def check(service: Service, body: bytes, hook: str, must_be_judged: bool) -> None:
    start = time.thread_time()  # what others do on the machine is not the answer's
    status, answer = service.post(body, hook)
    assert time.thread_time() - start < PATIENCE, "the answer took too long"
    if status == 200:
        assert faults(answer) == []
        return
    assert not must_be_judged, f"a request with a whole ketamine draft was answered {status}: {answer}"
    (issue,) = answer["issue"]
    assert answer["resourceType"] == "OperationOutcome"
    if status == 412:
        assert hook == "patient-view"
        assert issue["code"] == "required"
        return
    assert status == 400
    assert set(issue["diagnostics"].split("; ")) <= SAID


@fuzz
@given(requests())
def test_arbitrary_json_in_the_place_of_any_element_gives_a_valid_answer(
    service: Service, case: tuple[int, list[tuple[Path, str, Any]]]
) -> None:
    number, changes = case
    request: Any = BASES[number]
    for path, how, operand in changes:
        request = mutated(request, path, how, operand)
    body = written(request).encode()
    viewing = BASES[number]["hook"] == "patient-view"
    drafts_are_whole = not viewing and not any(
        _is_below(DRAFTS, path) or _is_below(path, DRAFTS) for path, *_ in changes
    )
    is_readable = all(_depth(operand) <= READABLE for *_, operand in changes)
    check(service, body, BASES[number]["hook"], must_be_judged=drafts_are_whole and is_readable)


@fuzz
@given(st.binary(max_size=64) | values.map(lambda value: written(value).encode()))
def test_an_arbitrary_body_is_refused(service: Service, body: bytes) -> None:
    for hook in ("order-sign", "order-select", "patient-view"):
        status, answer = service.post(body, hook)
        assert status == 400
        assert set(_PLACE.sub("", answer["issue"][0]["diagnostics"]).split("; ")) <= SAID

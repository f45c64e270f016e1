"""Real requests, mutated in types, depth, sizes, unicode, numbers, dates, duplicates, length; a seed repeats it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOOKS = ("order-select", "order-sign", "patient-view")
FEEDBACK = {
    "feedback": [
        {"card": "7f3c2b10-6d1e-4c55-9a01-000000000301", "outcome": "accepted",
         "outcomeTimestamp": "2026-11-22T10:00:00Z",
         "acceptedSuggestions": [{"id": "7f3c2b10-6d1e-4c55-9a01-000000000302"}]},
        {"card": "7f3c2b10-6d1e-4c55-9a01-000000000303", "outcome": "overridden",
         "outcomeTimestamp": "2026-11-22T10:00:00+01:00",
         "overrideReason": {"reason": {"code": "reason-code", "system": "https://ehr.example/reasons"},
                            "userComment": "seen"}},
    ]
}  # fmt: skip
EPIC_FEEDBACK = {
    "feedback": [
        {"card": "7f3c2b10-6d1e-4c55-9a01-000000000304", "outcome": "overridden",
         "outcomeTimestamp": "2026-11-22 10:00:00",
         "overrideReasons": [{"code": "benefit", "system": "http://example.org/reasons", "display": "Benefit"},
                             {"reason": [{"code": "risk-benefit-ratio"}], "userComment": ""}]},
        {"card": "urn:uuid:7f3c2b10-6d1e-4c55-9a01-000000000305", "outcome": "accepted",
         "acceptedSuggestions": ["7f3c2b10-6d1e-4c55-9a01-000000000306"]},
    ]
}  # fmt: skip
STATEMENT = {
    "resourceType": "MedicationStatement", "id": "s1", "status": "active",
    "subject": {"reference": "Patient/example-1"},
    "medicationCodeableConcept": {"text": "ketamine"}, "effectivePeriod": {"start": "2026-11-20"},
    "dosage": [{"timing": {"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 25, "unit": "mg"}}]}],
}  # fmt: skip
DISPENSE = {
    "resourceType": "MedicationDispense", "id": "d1", "status": "completed",
    "subject": {"reference": "Patient/example-1"},
    "medicationCodeableConcept": {"text": "ketamine"}, "whenHandedOver": "2026-11-20",
    "daysSupply": {"value": 30, "unit": "d"}, "dosageInstruction": STATEMENT["dosage"],
}  # fmt: skip
"""What no example has: a medicine that the patient says to take, or was handed."""
WITH_A_STATEMENT = ("ward-infusion-over-the-limit", "order-select-without-a-dose", "running-infusion-dizziness")
"""Of each service one example is sent with them as well."""
FOLDERS = ("examples", "tests/hooks/examples")

Value = Any
Place = tuple[str | int, ...]


class Literal:
    """JSON that is written as it stands: numbers, depths and duplicate keys that no Python value has."""

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True)
class Base:
    """A request to start from: the path below /cds-services that it is for, its value and all places in it."""

    service: str
    value: Value
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Case:
    """A body to send, and what was done to it."""

    service: str
    body: bytes
    kinds: tuple[str, ...]


def bases() -> list[Base]:
    """Every example; what lacks a hook or an instance is given them, so that its inside is reached."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.json")):
        value = json.loads(path.read_bytes(), parse_float=Decimal)
        hook = value.get("hook") or ("order-select" if "order-select" in path.stem else "order-sign")
        whole = {"hook": hook, "hookInstance": "7f3c2b10-6d1e-4c55-9a01-000000000301", **value}
        if hook not in HOOKS:
            hook = "order-sign"
        found.append(Base(f"ketamine-{hook}", whole, tuple(_places(whole))))
        if path.stem in WITH_A_STATEMENT:
            statements = {"resourceType": "Bundle", "entry": [{"resource": each} for each in (STATEMENT, DISPENSE)]}
            whole = whole | {"prefetch": whole["prefetch"] | {"medicationStatements": statements}}
            found.append(Base(f"ketamine-{hook}", whole, tuple(_places(whole))))
    service = "ketamine-order-sign/feedback"
    feedback = [Base(service, each, tuple(_places(each))) for each in (FEEDBACK, EPIC_FEEDBACK)]
    for base in (*found, *feedback):
        _remember(base.value)
    return [*found, *feedback * (len(found) // 20)]


def _places(value: Value, place: Place = ()) -> Iterator[Place]:
    yield place
    for key, item in _members(value):
        yield from _places(item, (*place, key))


def _members(value: Value) -> Iterator[tuple[str | int, Value]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


# What is put in the place of an element -----------------------------------------------------------------------------

NUMBERS = (
    "0", "-0", "-1", "0.000", "1e400", "-1e-400", "1E+1000000", "1e99999999999999999999", "1e-99999999999999999999",
    "9" * 400, "0." + "3" * 400, "1" + "0" * 39, "9223372036854775808", "18446744073709551616", "2147483648", "0.1e1",
    "123456789.123456789", "5e-324", "1.7976931348623157e308", "70", "154", "0.5", "40", "9" * 41, "9" * 5_000,
    "1e-9999999", "-1e-9999999", "1e9999999", "1e999999999999", "-1e999999999999", "1e-999999999999",
    "-1e-999999999999", "0e999999999",
)  # fmt: skip
DATES = (
    "", "0000", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30",
    "2026-11-22T10:00", "2026-11-22T25:00:00Z", "2026-W47", "20261122T100000Z", "2026-11-22", "2026-11",
    "2026-11-22T10:00:00.123456789Z", "2026-11-22T24:00:00Z", "2026-11-22T10:00:60Z", "1875-01-01", "2126-11-22",
    "2026-11-22T10:00:00+99:99", "-2026-11-22", "２０２６-11-22", "2026-11-22T10:00:00z", "22.11.2026",
)  # fmt: skip
TEXTS = (
    "", " ", "\x00", "\ud83d", "\u202e", "\ufeff", "µg/kg/min", "μg/kg/min", "mg/kg/h", "MG", "mL", "{tbl}",
    "ketamine", "KETAMINE", "esketamine", "ｋｅｔａｍｉｎｅ", "ketami\u0301ne", "6130", "draft", "active",
    "entered-in-error", "#", "#m", "/", "Patient/", "Patient/p1", "Patient/other", "../..", "http://[",
    "http://127.0.0.1:1/", "urn:uuid:1", "[x](javascript:x)", "<img src=x onerror=y>", "{{ 7*7 }}", "{% raw %}",
    "%s%n", "a\nb", "٣", "0x10", "1_0", "NaN", "Infinity", "true", "null", "0.5 mg/kg/hr", "1-2 mg",
    "titrate to effect", "½", "𝟘.𝟝", "🧪" * 50,
    "Z" + "\u0300" * 200, "\U000e0041" * 20,
)  # fmt: skip
ELEMENTS = (
    "frequency", "frequencyMax", "count", "countMax", "period", "periodMax", "duration", "durationMax", "offset",
    "sequence", "value", "valueInteger", "valueDecimal", "numberOfRepeatsAllowed", "priority", "rank",
)  # fmt: skip
"""Numeric elements that an object is given where it has none, or another."""
LONG = ("x" * 50_000, "(" * 20_000, "0.5 mg/kg " * 2_000, "5" * 5_000, "ketamine " * 2_000, "é" * 30_000)
DEPTHS = (5, 50, 200, 700, 980, 3_000)
WRAPPERS = (("[", "]"), ('{"extension":[', "]}"), ('{"contained":[', "]}"), ('{"action":[', "]}"))

Maker = Callable[[random.Random, Value, Base], Value]


def _type(rng: random.Random, old: Value, base: Base) -> Value:
    """An element of another type: the text of a number, a list of what stood alone, a scalar for an object …"""
    return rng.choice(
        (None, True, False, 0, -1, "", [], {}, [old], {"value": old}, str(old)[:100], [[old]], {"": old})
    )


def _number(rng: random.Random, old: Value, base: Base) -> Value:
    if isinstance(old, (int, Decimal)) and not isinstance(old, bool) and rng.random() < 0.5:
        scaled = Decimal(old) * Decimal(10) ** rng.randint(-6, 6)
        return Literal(str(rng.choice((scaled, -scaled, scaled + Decimal("0.1")))))
    return Literal(rng.choice(NUMBERS))


def _date(rng: random.Random, old: Value, base: Base) -> Value:
    return rng.choice(DATES)


def _unicode(rng: random.Random, old: Value, base: Base) -> Value:
    if isinstance(old, str) and old and rng.random() < 0.5:
        at = rng.randrange(len(old))
        return old[:at] + chr(rng.choice((rng.randrange(0x20), rng.randrange(0xD800), 0xD83D, 0x1F600))) + old[at:]
    return rng.choice(TEXTS)


def _size(rng: random.Random, old: Value, base: Base) -> Value:
    if isinstance(old, list) and old:
        return old * rng.choice((10, 100, 300, 3_000)) if len(old) < 5 else old * 5
    return rng.choice(LONG)


def _element(rng: random.Random, old: Value, base: Base) -> Value:
    """An object with one more numeric element."""
    if not isinstance(old, dict):
        return _number(rng, old, base)
    return old | {rng.choice(ELEMENTS): Literal(rng.choice(NUMBERS))}


def _depth(rng: random.Random, old: Value, base: Base) -> Value:
    opening, closing = rng.choice(WRAPPERS)
    depth = rng.choice(DEPTHS)
    return Literal(opening * depth + closing * depth)


def _borrowed(rng: random.Random, old: Value, base: Base) -> Value:
    """What stands elsewhere in the request."""
    return _at(base.value, rng.choice(base.places))


def _key_twice(rng: random.Random, old: Value, base: Base) -> Value:
    """An object in which keys stand twice, the second time with another value."""
    if not isinstance(old, dict) or not old:
        return old
    members = [f"{json.dumps(key)}:{written(item)}" for key, item in old.items()]
    again = [f"{json.dumps(key)}:{rng.choice(('null', '7', '[]', '{}'))}" for key in old if rng.random() < 0.5]
    return Literal("{" + ",".join(rng.sample(members + again, len(members) + len(again))) + "}")


IN_PLACE: dict[str, Maker] = {
    "type": _type,
    "number": _number,
    "numeric element": _element,
    "date": _date,
    "unicode": _unicode,
    "size": _size,
    "depth": _depth,
    "borrowed": _borrowed,
    "key twice": _key_twice,
}


# How a request is changed -------------------------------------------------------------------------------------------


def _at(value: Value, place: Place) -> Value:
    for part in place:
        value = value[part]
    return value


def _edited(value: Value, place: Place, change: Callable[[Value], Value]) -> Value:
    """A copy in which the element at the place is changed; only what lies above it is copied."""
    if not place:
        return change(value)
    copied = value.copy()
    copied[place[0]] = _edited(copied[place[0]], place[1:], change)
    return copied


def _removed(value: Value, place: Place) -> Value:
    def without(parent: Value) -> Value:
        copied = parent.copy()
        del copied[place[-1]]
        return copied

    return _edited(value, place[:-1], without) if place else value


def _repeated(value: Value, place: Place) -> Value:
    """The entry of a list once more; anything else becomes a list of two."""
    if place and isinstance(place[-1], int):
        return _edited(value, place[:-1], lambda parent: [*parent, parent[place[-1]]])
    return _edited(value, place, lambda old: [old, old])


def _spoilt(rng: random.Random, body: bytes) -> tuple[str, bytes]:
    """Bytes that are cut off, flipped, doubled or no UTF-8."""
    at = rng.randrange(len(body))
    match rng.choice(("truncated", "truncated", "flipped", "doubled", "bytes", "bom")):
        case "truncated":
            return "truncated", body[:at]
        case "flipped":
            return "flipped", body[:at] + bytes([body[at] ^ (1 << rng.randrange(8))]) + body[at + 1 :]
        case "doubled":
            end = min(len(body), at + rng.randrange(1, 200))
            return "doubled", body[:end] + body[at:]
        case "bytes":
            return "bytes", body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[at:]
    return "bom", rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00")) + body


def case(rng: random.Random, stock: list[Base]) -> Case:
    """One request of the stock with one to four changes; now and then its bytes are spoilt as well."""
    base = rng.choice(stock)
    value, kinds = base.value, []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        place = rng.choice(base.places)
        kind = rng.choice((*IN_PLACE, "removed", "repeated"))
        try:
            if kind == "removed":
                value = _removed(value, place)
            elif kind == "repeated":
                value = _repeated(value, place)
            else:
                made = IN_PLACE[kind](rng, _at(value, place), base)
                value = _edited(value, place, lambda old, made=made: made)  # type: ignore[misc]
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took the place away
        kinds.append(kind)
    body = written(value).encode("utf-8", "surrogatepass")
    if body and rng.random() < 0.08:
        kind, body = _spoilt(rng, body)
        kinds.append(kind)
    return Case(base.service, body, tuple(kinds))


_WRITTEN: dict[int, tuple[Value, str]] = {}
"""By identity, each part of the requests to start from, which lives as long as this does, and how it is written: most
of a mutated request is as it was."""
_HALVES = re.compile("[\ud800-\udfff]")


def _remember(value: Value) -> None:
    for _, item in _members(value):
        _remember(item)
    if isinstance(value, (dict, list)):
        _WRITTEN[id(value)] = (value, written(value))


def written(value: Value) -> str:
    """JSON, with numbers as they were written and literals as they are."""
    if isinstance(value, Literal):
        return value.text
    if id(value) in _WRITTEN:
        return _WRITTEN[id(value)][1]
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=isinstance(value, str) and bool(_HALVES.search(value)))

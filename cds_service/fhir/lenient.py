"""Reading one resource as it really arrives: what can be read is kept, what cannot is named, nothing raises."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from cds_service.fhir.resources import (
    OLDER_NAMES,
    TYPES,
    AnyResource,
    CodeableConcept,
    Quantity,
    Reference,
    Resource,
)

MAX_FAULTS = 8
"""Faults named per resource; one broken resource must not fill a card."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """One resource as far as it could be read. `faults` name the elements that could not, never their content."""

    resource: Resource | None
    type: str | None
    faults: tuple[str, ...] = ()


def _number(text: str) -> Decimal | str:
    """As text where the exponent is beyond even a Decimal; it is then named as unreadable where it stands."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)
"""What decoding raises: also for bytes that are not UTF-8 and for numbers beyond what Python can hold."""

_STRICT = msgspec.json.Decoder(AnyResource)
_ANY = msgspec.json.Decoder(float_hook=_number)
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_NOTHING = object()

# A bare string in the place of these is what the sender meant by one of their fields.
_FROM_STRING = {CodeableConcept: "text", Reference: "reference"}


def decode(raw: msgspec.Raw | bytes) -> Read:
    """The resource in `raw`. A type that is not needed gives resource None without a fault."""
    resource = in_order(raw)
    if resource is not None:
        return Read(resource, type(resource).__name__)
    try:
        return read(_ANY.decode(raw))
    except UNREADABLE:
        return Read(None, None, ("a resource that is not readable JSON",))


def in_order(raw: msgspec.Raw | bytes) -> Resource | None:
    """The resource in `raw` where it is of a type that is needed and has nothing to repair."""
    try:
        resource: Resource = _STRICT.decode(raw)
    except UNREADABLE:
        return None
    return resource


def untyped(raw: msgspec.Raw | bytes) -> Any:
    """The JSON in `raw` with exact decimals. Raises one of UNREADABLE."""
    return _ANY.decode(raw)


def names(raw: msgspec.Raw | bytes) -> frozenset[str]:
    """The names of a resource's elements, also of those that are not read."""
    try:
        return frozenset(_NAMES.decode(raw))
    except UNREADABLE:
        return frozenset()


def read(value: Any) -> Read:
    """The resource in already decoded JSON, element by element."""
    if not isinstance(value, dict):
        return Read(None, None, ("an entry that is not a resource",))
    name = value.get("resourceType")
    cls = TYPES.get(name) or OLDER_NAMES.get(name) if isinstance(name, str) else None
    if cls is None:
        if isinstance(name, str):
            return Read(None, name)
        return Read(None, None, ("a resource without resourceType",))
    faults: list[str] = []
    try:
        resource = msgspec.convert(_struct(value, _info(cls), cls.__name__, faults), cls)
    except UNREADABLE:
        return Read(None, cls.__name__, (f"{cls.__name__} could not be read",))
    return Read(resource, cls.__name__, tuple(faults[:MAX_FAULTS]))


@cache
def _info(cls: type[Any]) -> inspect.StructType:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info


def _struct(value: dict[str, Any], info: inspect.StructType, path: str, faults: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if info.tag_field:
        kept[info.tag_field] = info.tag
    for field in info.fields:
        if field.encode_name not in value:
            continue
        given = value[field.encode_name]
        if given is None:
            continue
        where = f"{path}.{field.encode_name}"
        repaired = _element(given, field.type, where, faults)
        if repaired is not _NOTHING:
            kept[field.encode_name] = repaired
    return kept


def _element(value: Any, info: inspect.Type, path: str, faults: list[str]) -> Any:
    if isinstance(info, inspect.UnionType):
        info = next(t for t in info.types if not isinstance(t, inspect.NoneType))
    if isinstance(info, inspect.ListType):
        items = value if isinstance(value, list) else [value]
        read_items = (
            _element(item, info.item_type, f"{path}[{i}]", faults) for i, item in enumerate(items) if item is not None
        )
        return [item for item in read_items if item is not _NOTHING]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(info, inspect.StructType):
        return _object(value, info, path, faults)
    if isinstance(info, inspect.RawType):
        return msgspec.Raw(encode(value))
    read_value = _primitive(value, info)
    if read_value is _NOTHING:
        faults.append(f"{path} could not be read")
    return read_value


def _object(value: Any, info: inspect.StructType, path: str, faults: list[str]) -> Any:
    if isinstance(value, dict):
        return _struct(value, info, path, faults)
    if isinstance(value, str) and info.cls in _FROM_STRING:
        return {_FROM_STRING[info.cls]: value}
    if info.cls is Quantity and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return {"value": value}
    faults.append(f"{path} could not be read")
    return _NOTHING


def _primitive(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.StrType):
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return str(value)
        return value if isinstance(value, str) else _NOTHING
    if isinstance(info, inspect.BoolType):
        return (
            {"true": True, "false": False}.get(value, _NOTHING)
            if isinstance(value, str)
            else (value if isinstance(value, bool) else _NOTHING)
        )
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return _NOTHING
    try:
        number = Decimal(value)
    except InvalidOperation:
        return _NOTHING
    if isinstance(info, inspect.IntType):
        whole = number.is_finite() and number == number.to_integral_value() and -(2**63) <= number < 2**64
        return int(number) if whole else _NOTHING
    return number


def encode(value: Any) -> bytes:
    """JSON with exact decimals."""
    return _ENCODER.encode(value)

"""Reading one resource as it really arrives: what can be read is kept, what cannot is named, nothing raises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import islice
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from cds_service import bounds
from cds_service.deadline import give_way, in_stretches
from cds_service.fhir.datatypes import CodeableConcept, Quantity, Reference
from cds_service.fhir.resources import OLDER_NAMES, TYPES, AnyResource, Resource
from cds_service.says import Said, Two
from cds_service.says import records as says

MAX_FAULTS = 8
"""Faults named per resource; one broken resource must not fill a card."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """One resource as far as it could be read. `faults` name the elements that could not, never their content."""

    resource: Resource | None
    type: str | None
    faults: tuple[Said, ...] = ()
    is_cut: bool = False
    """It holds more than is read: nothing is absent from it for certain."""


def _number(text: str) -> Decimal | str:
    """As text where it is out of bounds; it is then named as unreadable where it stands."""
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond even a Decimal
        return text
    return number if bounds.is_figure(number) else text


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) <= bounds.DIGITS else text


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)
"""What decoding raises: also for bytes that are not UTF-8 and for numbers beyond what Python can hold."""

_STRICT = msgspec.json.Decoder(AnyResource)
_ANY = msgspec.json.Decoder(float_hook=_number)
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_NOTHING = object()
_AFTER_NAME = b'":'
"""In a text it stands as often in either writing."""
_DIGITS_ALIKE = bytes(ord("0") if ord("0") <= each <= ord("9") else ord(" ") for each in range(256))
_LONG = b"0" * (bounds.DIGITS + 1)
_MANY_BYTES = 50_000
"""So many leave room for so many whole numbers of thousands of digits that turning them to text takes long."""
_LONG_PART = 5_000
"""Bytes of an element of such JSON in which there may be a list that is too long."""
_SHORTENED_LEVELS = 6
"""So deep lie the lists of a resource."""
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},]', re.DOTALL)
_MOST_MARKS = 200_000
"""Strings, brackets and commas that are gone through in JSON that cannot be decoded: some tenths of a second."""
_STRETCH = 500
"""Of them, which take a third of a millisecond."""
_CLOSING = bytes.maketrans(b"[{", b"]}")
_NO_LETTERS = re.compile("[^a-z]")
_LONGEST_NAME = 200
_BY_LETTERS = {name.lower(): cls for name, cls in (OLDER_NAMES | TYPES).items()}
TOO_MUCH = Read(None, None, (says.RESOURCE_TOO_LARGE(str(bounds.RESOURCE_VALUES)),), is_cut=True)
TOO_DEEP = Read(None, None, (says.RESOURCE_TOO_DEEP,), is_cut=True)

# A bare string in the place of these is what the sender meant by one of their fields.
_FROM_STRING = {CodeableConcept: "text", Reference: "reference"}


def decode(raw: msgspec.Raw | bytes) -> Read:
    """The resource in `raw`. A type that is not needed gives resource None without a fault."""
    given = _shortened(raw) if len(memoryview(raw)) > _MANY_BYTES else raw
    resource = in_order(given)
    if resource is not None:
        return Read(resource, type(resource).__name__)
    if bounds.holds_too_much(raw, bounds.RESOURCE_VALUES):
        return TOO_MUCH
    try:
        return read(untyped(given))
    except RecursionError:
        return TOO_DEEP
    except UNREADABLE:
        return Read(None, None, (says.RESOURCE_NO_JSON,))


def in_order(raw: msgspec.Raw | bytes) -> Resource | None:
    """The resource in `raw` where it is of a type that is needed and has nothing to repair."""
    try:
        resource: Resource = _STRICT.decode(raw)
    except UNREADABLE:
        return None
    return resource


def _shortened(raw: msgspec.Raw | bytes, levels: int = _SHORTENED_LEVELS) -> msgspec.Raw | bytes:
    """JSON whose lists have at most one member more than is read, by which it is seen that they were cut.

    For what is so large that decoding it only to leave most of it out would hold up other calls.
    """
    give_way()
    try:
        value = _PARTS.decode(raw)
    except UNREADABLE:
        return raw
    members = dict(enumerate(value[: bounds.MEMBERS + 1])) if isinstance(value, list) else value
    for name, member in members.items() if levels else ():
        if len(memoryview(member)) > _LONG_PART:
            members[name] = msgspec.Raw(_shortened(member, levels - 1))
    return encode([*members.values()] if isinstance(value, list) else members)


def marks(raw: bytes) -> Iterator[tuple[re.Match[bytes], int]]:
    """The strings, brackets and commas of JSON, as far as _MOST_MARKS of them, with the depth after each."""
    depth = 0
    for mark in islice(in_stretches(_MARK.finditer(raw), _STRETCH), _MOST_MARKS):
        if mark[0] in (b"[", b"{"):
            depth += 1
        elif mark[0] in (b"]", b"}"):
            depth -= 1
        yield mark, depth


def without_depths(raw: bytes) -> bytes:
    """JSON with a text, which no reader takes for the value, in the place of what is nested deeper than NESTING."""
    kept: list[bytes] = []
    start, here = 0, 0
    for mark, depth in marks(raw):
        if depth == bounds.NESTING + 1 and here == bounds.NESTING:
            kept.append(raw[start : mark.start()])
        elif depth == bounds.NESTING and here == bounds.NESTING + 1:
            kept.append(b'"nested too deep"')
            start = mark.end()
        here = depth
    return b"".join((*kept, raw[start:]))


def beginning(raw: bytes) -> bytes:
    """JSON up to about bounds.BEGINNING strings, brackets and commas, closed where it is cut.

    For what holds too much: a decoder goes through all of it at once, and every other call of the process waits.
    """
    opened = bytearray()
    for number, mark in enumerate(in_stretches(_MARK.finditer(raw), _STRETCH)):
        if mark[0] in (b"[", b"{"):
            opened += mark[0]
        elif mark[0] in (b"]", b"}"):
            del opened[-1:]
        elif mark[0] != b",":
            continue
        if number >= bounds.BEGINNING and mark[0] in (b"[", b"{", b","):
            return raw[: mark.start() if mark[0] == b"," else mark.end()] + opened[::-1].translate(_CLOSING)
    return raw


def untyped(raw: msgspec.Raw | bytes) -> Any:
    """The JSON in `raw` with exact decimals. Raises one of UNREADABLE."""
    if len(memoryview(raw)) > _MANY_BYTES and _LONG in bytes(raw).translate(_DIGITS_ALIKE):  # quicker than a pattern
        return _with_long_numbers(raw)
    try:
        return _ANY.decode(raw)
    except msgspec.ValidationError:  # a whole number of more digits than the decoder takes
        return _with_long_numbers(raw)


def _with_long_numbers(raw: msgspec.Raw | bytes) -> Any:
    """As `untyped`, without making whole numbers of what has too many digits."""
    text = str(memoryview(raw), "utf-8")
    value = json.loads(text, parse_float=_number, parse_int=_whole_number, parse_constant=_no_number)
    return _ANY.decode(encode(value))


def says_twice(raw: msgspec.Raw | bytes) -> bool:
    """Whether an object in JSON has a name twice, of which only the last is read.

    It is decoded and written anew for that, so of what is longer than orders are nothing is said.
    """
    if len(memoryview(raw)) > _MANY_BYTES:
        return False
    try:
        written, kept = msgspec.json.format(bytes(raw), indent=-1), encode(_ANY.decode(raw))
    except UNREADABLE:
        return False
    return written.count(_AFTER_NAME) > kept.count(_AFTER_NAME)


def names(raw: msgspec.Raw | bytes) -> frozenset[str]:
    """The names of a resource's elements, also of those that are not read."""
    try:
        return frozenset(_NAMES.decode(raw))
    except UNREADABLE:
        return frozenset()


def read(value: Any) -> Read:
    """The resource in already decoded JSON, element by element."""
    if not isinstance(value, dict):
        return Read(None, None, (says.ENTRY_NO_RESOURCE,))
    name = value.get("resourceType")
    cls = _type_of(name) if isinstance(name, str) else None
    if cls is None:
        if isinstance(name, str) and name[:1].isalpha():  # a number that is too long arrives as text
            return Read(None, name)
        return Read(None, None, (says.RESOURCE_WITHOUT_TYPE,))
    faults = _Faults([])
    try:
        resource = msgspec.convert(_struct(value, _info(cls), cls.__name__, faults), cls)
    except RecursionError:
        return TOO_DEEP
    except UNREADABLE:
        return Read(None, cls.__name__, (says.UNREAD(cls.__name__),))
    return Read(resource, cls.__name__, tuple(faults.named[:MAX_FAULTS]), faults.is_cut)


def _type_of(name: str) -> type[Resource] | None:
    """The type of that name, also in another case, between blanks or as the end of an address."""
    known = TYPES.get(name) or OLDER_NAMES.get(name)
    return known or _BY_LETTERS.get(letters(name))


def letters(name: str) -> str:
    """The name of a type by which it is known in any case, between blanks and at the end of an address."""
    return _NO_LETTERS.sub("", name[-_LONGEST_NAME:].rpartition("/")[2].lower())


@dataclass(slots=True)
class _Faults:
    named: list[Said]
    is_cut: bool = False

    def unreadable(self, path: str) -> None:
        self.named.append(says.UNREAD(path))

    def cut(self, path: str, length: int, more: Two) -> None:
        """First of all that is named: what could not be read at all is less than what was not looked at."""
        self.named.insert(0, more(path, str(length)))
        self.is_cut = True


@cache
def _info(cls: type[Any]) -> inspect.StructType:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info


def _struct(value: dict[str, Any], info: inspect.StructType, path: str, faults: _Faults) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    give_way()
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


def _element(value: Any, info: inspect.Type, path: str, faults: _Faults) -> Any:
    if isinstance(info, inspect.UnionType):
        info = next(t for t in info.types if not isinstance(t, inspect.NoneType))
    if isinstance(info, inspect.VarTupleType):
        items = value if isinstance(value, list) else [value]
        if info.max_length is not None and len(items) > info.max_length:
            faults.cut(path, info.max_length, says.MORE_MEMBERS)
            items = items[: info.max_length]
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
        faults.unreadable(path)
    elif isinstance(info, inspect.StrType) and info.max_length is not None and len(read_value) > info.max_length:
        faults.cut(path, info.max_length, says.MORE_CHARACTERS)
        return read_value[: info.max_length]
    return read_value


def _object(value: Any, info: inspect.StructType, path: str, faults: _Faults) -> Any:
    if isinstance(value, dict):
        return _struct(value, info, path, faults)
    if isinstance(value, str) and info.cls in _FROM_STRING:
        return _struct({_FROM_STRING[info.cls]: value}, info, path, faults)
    if info.cls is Quantity and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return _struct({"value": value}, info, path, faults)
    faults.unreadable(path)
    return _NOTHING


def _primitive(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.StrType):
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return str(value) if bounds.is_figure(value) else _NOTHING
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
    if not bounds.is_figure(number):
        return _NOTHING
    if isinstance(info, inspect.IntType):
        whole = number == number.to_integral_value() and -(2**63) <= number < 2**63
        return int(number) if whole else _NOTHING
    return number


_INTEGER = inspect.IntType()


def whole(value: Any) -> int | None:
    """A whole number in whatever way it is written, as 5, 5.0, "5" or a list of one; None where it is none."""
    read = _element(value, _INTEGER, "", _Faults([]))
    return read if isinstance(read, int) else None


def encode(value: Any) -> bytes:
    """JSON with exact decimals."""
    return _ENCODER.encode(value)

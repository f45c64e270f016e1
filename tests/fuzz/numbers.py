"""Every number that a request may hold, replaced by every number that is hard to read: nothing is left to chance.

The places are those where a number stands, and those where one is read if it stands there: which elements are numbers
follows from the structs that the service reads. Feedback has no numbers, so each of its elements becomes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from cds_service.fhir import resources
from tests.fuzz.mutate import NUMBERS, Base, Case, Literal, Place, Value, written

READ = {
    name: struct
    for name, struct in vars(resources).items()
    if inspect.isclass(struct) and issubclass(struct, resources.Resource)
}
"""The struct of each type of resource."""
BESIDE = {"unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
"""What a quantity has that was not there before: an amount without a unit is refused before its number counts."""


def sweep(stock: Sequence[Base], numbers: Sequence[str] = NUMBERS) -> Iterator[Case]:
    """Each of the numbers in each place."""
    for base, place in places(stock).values():
        for number in numbers:
            yield Case(base.service, written(put(base.value, place, Literal(number))).encode(), ("swept",))


def places(stock: Sequence[Base]) -> dict[tuple[object, ...], tuple[Base, Place]]:
    """Service, names and types of resources on the way to each place, and one request that has it."""
    found: dict[tuple[object, ...], tuple[Base, Place]] = {}
    for base in stock:
        every = base.places if base.service.endswith("/feedback") else places_of_numbers(base.value)
        for place in every:
            found.setdefault((base.service, *_path(base.value, place)), (base, place))
    return found


def elements(struct: type) -> list[tuple[str, ...]]:
    """The paths of all numbers below a struct; a list counts as one of its members."""
    return [tuple(part for part in place if isinstance(part, str)) for place in _of_struct({}, struct, (), ())]


def places_of_numbers(value: Value, place: Place = ()) -> Iterator[Place]:
    """Where numbers stand, and where they are read."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        yield place
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places_of_numbers(item, (*place, number))
    elif isinstance(value, dict):
        struct = READ.get(str(value.get("resourceType")))
        if struct is not None:
            yield from _of_struct(value, struct, place, ())
        for name, item in value.items():
            yield from places_of_numbers(item, (*place, name))


def _of_struct(value: Value, struct: type, place: Place, above: tuple[type, ...]) -> Iterator[Place]:
    if struct in above:  # an action within an action: one more tells nothing new
        return
    for field in msgspec.structs.fields(struct):
        kind, is_list = _kind(field.type)
        name = field.encode_name
        here = (*place, name, 0) if is_list else (*place, name)
        if kind in (int, Decimal):
            yield here
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            inner = value.get(name) if isinstance(value, dict) else None
            if is_list:
                inner = inner[0] if isinstance(inner, list) and inner else None
            yield from _of_struct(inner, kind, here, (*above, struct))


def _kind(annotation: Any) -> tuple[Any, bool]:
    """(the type without what is around it, whether it is a list's)."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (list, tuple):  # a tuple of any length is how a list is read
        return _kind(inner[0])[0], True
    if origin in (Union, UnionType):
        return _kind(next(each for each in inner if each is not type(None)))
    return annotation, False


def _path(value: Value, place: Place) -> Iterator[object]:
    """The names on the way, and the types of the resources."""
    for part in place:
        if isinstance(part, str):
            yield part
        value = _below(value, part)
        if isinstance(value, dict) and "resourceType" in value:
            yield value["resourceType"]


def _below(value: Value, part: str | int) -> Value:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def put(value: Value, place: Place, new: Value) -> Value:
    """A copy with `new` at the place; what lacks on the way is made."""
    if not place:
        return new
    part, rest = place[0], place[1:]
    inner = put(_below(value, part), rest, new)
    if isinstance(part, int):
        items = list(value) if isinstance(value, list) else []
        return [*items[:part], inner, *items[part + 1 :]]
    if not isinstance(value, dict):
        value = BESIDE if part == "value" else {}
    return value | {part: inner}

"""A quick look whether a MedicationRequest is plainly valid R4, by shapes that are made from fhir.resources.

It knows less than those models: extensions, contained resources, narratives and odd texts it leaves to them. What
passes here passes there too, and unchanged.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, partial
from typing import Annotated, Any, Union, get_args, get_origin

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cds_service import bounds

Check = Callable[[Any], bool]

_DAY = r"\d{4}-\d\d-\d\d"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_ZONE = r"(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_CODE = re.compile(r"[!-~]+(?: [!-~]+)*")
_URI = re.compile(r"[!-~]+")
_CLOCK = re.compile(_TIME, re.ASCII)
_MOMENT = re.compile(rf"{_DAY}(?:T{_TIME}(?:\.\d{{1,6}})?{_ZONE})?", re.ASCII)
_LEFT_TO_THE_MODELS = frozenset({"contained", "extension", "modifierExtension", "fhir_comments"})


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return type(value) is str and pattern.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return type(value) is str and value.isprintable() and value != "" and value == value.strip()


def _is_moment(value: Any) -> bool:
    if not _matches(_MOMENT, value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return type(value) in (int, Decimal) and bounds.is_figure(value)


def _is_whole(least: int, value: Any) -> bool:
    return type(value) is int and least <= value < 2**31


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_one_of(allowed: frozenset[str], value: Any) -> bool:
    return type(value) is str and value in allowed


def codes_of(info: FieldInfo) -> frozenset[str] | None:
    """The codes that R4 binds a field to; None where it binds none, or the models know only some of them."""
    says: Any = info.json_schema_extra or {}
    known = says.get("enum_values")
    return frozenset(known) if known and "+" not in known else None


def has_wrong_code(read: BaseModel) -> bool:
    """Whether a code that R4 binds is another one, at any depth: the models name these codes and check none."""
    for name, info in type(read).model_fields.items():
        value = getattr(read, name, None)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        allowed = codes_of(info)
        if allowed is not None and any(each is not None and each not in allowed for each in values):
            return True
        if any(isinstance(each, BaseModel) and has_wrong_code(each) for each in values):
            return True
    return False


_PRIMITIVES: Mapping[str, Check] = {
    "Id": partial(_matches, _ID),
    "Code": partial(_matches, _CODE),
    "Uri": partial(_matches, _URI),
    "Canonical": partial(_matches, _URI),
    "String": _is_text,
    "Markdown": _is_text,
    "DateTime": _is_moment,
    "Time": partial(_matches, _CLOCK),
    "Decimal": _is_number,
    "Integer": partial(_is_whole, -(2**31) + 1),
    "UnsignedInt": partial(_is_whole, 0),
    "PositiveInt": partial(_is_whole, 1),
    "bool": _is_boolean,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One type of R4: what its elements are, which are needed, and of which there is only one."""

    elements: Mapping[str, tuple[bool, Check]]
    """By name: whether it is a list, and what each value must be."""
    needed: Sequence[str]
    choices: Sequence[tuple[bool, Sequence[str]]]
    """(whether one is needed, the names) of each choice of types."""

    def fits(self, value: Any) -> bool:
        if type(value) is not dict or not value:
            return False
        for name, item in value.items():
            known = self.elements.get(name)
            if known is None:
                return False
            is_list, check = known
            if is_list:
                if type(item) is not list or not item or not all(map(check, item)):
                    return False
            elif not check(item):
                return False
        for name in self.needed:
            if name not in value:
                return False
        for is_needed, names in self.choices:
            given = len(value.keys() & names)
            if given > 1 or (is_needed and not given):
                return False
        return True


def is_valid(order: Mapping[str, Any]) -> bool:
    """Whether a MedicationRequest is R4 as it stands. False says nothing: the models must then be asked."""
    try:
        return order.get("resourceType") == "MedicationRequest" and _shape("MedicationRequest").fits(order)
    except RecursionError:
        return False


@cache
def _shape(name: str) -> Shape:
    elements: dict[str, tuple[bool, Check]] = {}
    needed: list[str] = []
    choices: dict[str, tuple[bool, list[str]]] = {}
    for field, info in get_fhir_model_class(name).model_fields.items():
        if field.endswith("__ext"):
            continue
        element = info.alias or field
        says: Any = info.json_schema_extra or {}
        if info.is_required() or says.get("element_required"):
            needed.append(element)
        if "one_of_many" in says:
            of = choices.setdefault(says["one_of_many"], (bool(says["one_of_many_required"]), []))
            of[1].append(element)
        is_list, kind = _kind_of(info.annotation)
        allowed = codes_of(info)
        check = _check(kind) if allowed is None else partial(_is_one_of, allowed)
        if check is not None and element not in _LEFT_TO_THE_MODELS:
            elements[element] = (is_list, check)
    if name == "MedicationRequest":
        elements["resourceType"] = (False, _PRIMITIVES["Code"])
    return Shape(elements, needed, list(choices.values()))


def _kind_of(annotation: Any) -> tuple[bool, str]:
    """(whether it is a list, the name of its type) of a field of a model: Optional[List[Annotated[str, Code()]]]."""
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind_of(next(each for each in get_args(annotation) if each is not types.NoneType))
    if get_origin(annotation) is list:
        return True, _kind_of(get_args(annotation)[0])[1]
    if get_origin(annotation) is Annotated:
        return False, type(annotation.__metadata__[0]).__name__
    return False, getattr(annotation, "__name__", "")


def _check(kind: str) -> Check | None:
    """What a value of a type must be; None for a type that is left to the models."""
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if not kind.endswith("Type"):
        return None
    name = kind.removesuffix("Type")
    return lambda value: _shape(name).fits(value)

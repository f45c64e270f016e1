"""The YAML of a protocol: exact numbers, no key twice, and every value checked against the model."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import yaml

from cds_service import bounds, site_file
from cds_service.errors import UNREADABLE
from cds_service.protocol.errors import ProtocolError

T = TypeVar("T")


class _Loader(site_file.Loader):
    """YAML of plain scalars: exact decimals, whole numbers without octal or sixty-based ones, no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return mapping


def _decimal(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


for _tag, _pattern, _first in (
    ("int", r"[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$", "-+0123456789"),
    ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}$", "0123456789"),
    ("bool", r"(?:true|false)$", "tf"),
    ("null", r"(?:null|~|)$", "n~\0"),
    ("merge", r"<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    """The YAML in `text`, numbers as exact decimals. Raises ProtocolError."""
    try:
        read = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise ProtocolError(f"{where}: not readable as YAML: {error}") from error
    if site_file.holds_too_much(read):
        raise ProtocolError(f"{where}: holds more than {bounds.VALUES} values, aliases followed")
    return read


_LOGIC = ("any", "all", "not", "unless")


def _clauses(value: Any) -> Any:
    """`{any: […]}` as it is written, in the tagged form that the model reads."""
    if isinstance(value, list):
        return [_clauses(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, of) = next(iter(value.items()))
        if key in _LOGIC:
            return {"fact": key, "of": _clauses(of if isinstance(of, list) else [of])}
    return {key: _clauses(item) for key, item in value.items()}


def convert(value: Any, kind: type[T], where: str) -> T:
    """`value` checked against the model. Raises ProtocolError with the place of the fault."""
    try:
        return msgspec.convert(_clauses(value), kind)
    except (msgspec.ValidationError, RecursionError) as error:  # an alias can make a list hold itself
        raise ProtocolError(f"{where}: {error}") from error

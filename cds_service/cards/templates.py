"""A text with places for values: one that only names them is filled without Jinja, which the others need."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from keyword import kwlist
from typing import Any, Protocol

from jinja2 import Environment, UndefinedError

from cds_service.lazy import cached_property

_PLACE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")
_MARK = re.compile(r"[{}]")
_LINE = re.compile(r"\r\n?")
_NO_VALUES = frozenset(
    [*kwlist, "caller", "false", "kwargs", "loop", "none", "recursive", "self", "super", "true", "varargs"]
)
"""What Jinja reads as something else than the name of a value."""


class Template(Protocol):
    """What a text becomes. A value that it names and that is not there raises UndefinedError."""

    def render(self, values: Mapping[str, object], /) -> str: ...


def pieces(source: str) -> Sequence[str] | None:
    """The text and, at every second place, the names of its values; None for what only Jinja can read."""
    found = _PLACE.split(_LINE.sub("\n", source).removesuffix("\n"))
    if any(map(_MARK.search, found[::2])) or not _NO_VALUES.isdisjoint(found[1::2]):
        return None
    return found


class Plain:
    """A text whose values stand alone, each as `finalize` shows it."""

    def __init__(self, found: Sequence[str], finalize: Callable[[Any], str]) -> None:
        self._texts, self.names = found[::2], found[1::2]
        self._finalize = finalize

    def render(self, values: Mapping[str, object], /) -> str:
        shown = [self._texts[0]]
        for name, text in zip(self.names, self._texts[1:], strict=True):
            if name not in values:
                raise UndefinedError(f"{name!r} is undefined")
            shown += (self._finalize(values[name]), text)
        return "".join(shown)


class Logical:
    """A text with conditions or filters. It is compiled when it is first filled: most texts are never shown."""

    def __init__(self, environment: Environment, source: str) -> None:
        self._environment, self._source = environment, source

    @cached_property
    def _compiled(self) -> Template:
        return self._environment.from_string(self._source)

    def render(self, values: Mapping[str, object], /) -> str:
        return self._compiled.render(values)

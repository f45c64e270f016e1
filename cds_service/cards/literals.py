"""No number twice: a text may write a number itself only inside a quotation of a source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from cds_service.cards.templates import pieces

_QUOTED = re.compile(r"\{%-?\s*quote\s*-?%\}.*?\{%-?\s*endquote\s*-?%\}", re.DOTALL)
_END = re.compile(r"endquote\s*%\}")
_NAME = re.compile(r"\b[^\W\d_]{1,4}\d\w{0,3}\b(?![.,]\d)")
"""A digit that belongs to a name: up to four letters stand directly before it (T4, CYP3A4, SpO2, kg/m2)."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|[¼-¾⅐-⅞]")
_COUNTED = "counted"
"""The word of the shared words that lists what is counted: minutes, hours, times …"""


class Quote(Extension):
    """`{% quote %}…{% endquote %}`: what a source says, in its own figures. It is shown as it stands."""

    tags = {"quote"}

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """A quotation may end a line: other blocks take the line break after them away, this one keeps it."""
        return _END.sub("endquote +%}", source)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endquote",), drop_needle=True)


class Literals:
    """Finds the numbers that a text of one language writes itself, in figures or in words."""

    def __init__(self, environment: Environment, words: Mapping[str, str]) -> None:
        """`words` are the shared ones of the language: its number words are those that the filters would write."""
        self._environment = environment
        numbers = [word for key, word in words.items() if re.fullmatch(r"number-\d+", key)]
        parts = [word for key, word in words.items() if re.fullmatch(r"(?:fraction|fraction-of|times)-[\d/]+", key)]
        counted = words.get(_COUNTED, "").split()
        self._words = [re.compile(rf"\b(?:{_any(parts)})\b", re.IGNORECASE)] if parts else []
        if numbers and counted:
            self._words.append(re.compile(rf"\b(?:{_any(numbers)})\s+(?:{_any(counted)})\b", re.IGNORECASE))

    def found(self, source: str) -> list[str]:
        """The numbers outside quotations. Raises jinja2.TemplateError for what is no template."""
        source = _QUOTED.sub("", source)
        plain = pieces(source)
        texts = plain[::2] if plain is not None else _written(self._environment.parse(source))
        return [number for text in texts for number in self._in(text)]

    def _in(self, text: str) -> Iterator[str]:
        yield from _NUMBER.findall(_NAME.sub("", text))
        for pattern in self._words:
            yield from (match[0] for match in pattern.finditer(text))


def _written(node: nodes.Node) -> Iterator[str]:
    """What a template writes itself: its text, and the constants that are not compared with a value."""
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.Const):
        yield str(node.value)
    for child in node.iter_child_nodes():
        if not (isinstance(node, nodes.Compare | nodes.Operand) and _is_text(child)):
            yield from _written(child)


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))

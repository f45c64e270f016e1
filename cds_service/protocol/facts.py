"""Named facts, as a rule's folder writes them: each one thing that can be seen in a chart or in the order.

A fact is a mapping whose first key says what is looked for (`problem`, `measured`, `medicine` …) or a line of logic
over other facts. Names are looked up in the rule first and then among those that the protocol and all drugs share;
a name that stands in two of these places is refused, so that one name has one meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin, get_type_hints

from cds_service.protocol import model
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.logic import LogicError, Raw, is_name, parse

_MODELS: dict[str, type[Any]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(model.Clause) if hasattr(kind, "__struct_config__")
}
_TAGS = {"problem": "condition", "measured": "observation", "complaint": "symptom"}
"""What a pharmacist calls a kind of fact whose tag is a word of FHIR; the others have one word for both."""
HEADS = ("sets", "figure")
"""Fields whose value stands beside the first key; of a kind without one, all its fields stand there."""
_LISTS = {
    kind: frozenset(field for field, hint in get_type_hints(kind).items() if get_origin(hint) is list)
    for kind in _MODELS.values()
}
"""The fields of each kind that are lists: one name in their place is a list of one."""
_JOINED = ("any", "all", "not", "unless")
KINDS = (*_TAGS, *(tag for tag in _MODELS if tag not in (*_TAGS.values(), *_JOINED)))
"""The first keys that a fact may have."""


def kind_of(word: str) -> type[Any]:
    """The clause that a fact with this first key becomes."""
    return _MODELS[_TAGS.get(word, word)]


class Facts:
    """The facts that one rule may name: its own, and those that are shared. Shapes: name -> fact as written."""

    def __init__(self, own: Mapping[str, Any], shared: Mapping[str, Any], where: str) -> None:
        for name in own:
            if not is_name(name):
                raise ProtocolError(f"{where}: a fact cannot be called “{name}”")
            if name in shared:
                raise ProtocolError(f"{where}: the fact “{name}” is shared already; give it another name")
        self._known = {**shared, **own}
        self._own = frozenset(own)
        self._where = where
        self._open: list[str] = []
        self.named: set[str] = set()
        """The names that were asked for."""

    def clause(self, line: Any) -> Raw:
        """The clause of a line of logic, in the form that the model reads; or of one fact, written in its place.

        Raises ProtocolError.
        """
        if not isinstance(line, str):
            return self._read("when", line)
        try:
            return parse(line, self._fact)
        except LogicError as error:
            raise ProtocolError(f"{self._where}: {error}") from error

    @property
    def unused(self) -> list[str]:
        """Facts of the rule that none of its lines names."""
        return sorted(self._own - self.named)

    def _fact(self, name: str) -> Raw:
        if name not in self._known:
            near = get_close_matches(name, self._known, 1)
            hint = f"; did you mean “{near[0]}”?" if near else ""
            raise ProtocolError(f"{self._where}: there is no fact “{name}”{hint}")
        if name in self._open:
            raise ProtocolError(f"{self._where}: the fact “{name}” rests on itself")
        self.named.add(name)
        self._open.append(name)
        try:
            written = self._known[name]
            return self.clause(written) if isinstance(written, str) else self._read(name, written)
        finally:
            self._open.pop()

    def _read(self, name: str, written: Any) -> Raw:
        where = f"{self._where}: the fact “{name}”"
        if not isinstance(written, dict) or not written:
            raise ProtocolError(f"{where} is neither a mapping nor a line of logic")
        word, looked_for = next(iter(written.items()))
        if word not in KINDS:
            near = get_close_matches(str(word), KINDS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; it is one of {', '.join(KINDS)}"
            raise ProtocolError(f"{where}: {word} is no kind of fact{hint}")
        kind = kind_of(word)
        rest = {str(key).replace(" ", "_"): value for key, value in list(written.items())[1:]}
        head = next((field for field in HEADS if field in kind.__struct_fields__), None)
        if head is not None:
            fields = {head: looked_for, **rest}
        else:
            fields = {str(key).replace(" ", "_"): value for key, value in (looked_for or {}).items()} | rest
        if isinstance(later := fields.get("unless_later"), str) and kind is model.ConditionIs:
            clause = self.clause(later)
            fields["unless_later"] = clause["of"] if clause["fact"] == "all" else [clause]
        encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
        lists = _LISTS[kind]
        return {"fact": kind.__struct_config__.tag} | {
            encoded.get(key, key): [value] if key in lists and not isinstance(value, list) else value
            for key, value in fields.items()
        }

"""Rules of two policies that rest on the same: what one found of an order and its chart, the other finds, too.

Most of a policy is that of yesterday. Where several judge one reading of a chart, a rule that reads nothing that
differs is judged once. What it reads stands in its mark: the rule, every limit that it names, and the ground, which
is all that a protocol says beside its rules, with the limits named there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import msgspec

from cds_service.lazy import kept
from cds_service.protocol.model import LOWER_RATE, Limit, Protocol, Rule

Known = dict[Hashable, Any]
"""What was found of one order, by marks."""

_APART = ("rules", "limits")
"""Told apart, rule by rule."""
_NOT_READ = ("site", "folders", "facts", "orderables", "statements", "conflicts", "evidence")
"""What no judgement reads: what its rules were made of, what is offered, and what stands in pages and on cards."""
_OF_LOWER_RATE = ("restart_fraction", "restart_most")
"""The conventions that only a rule reads which asks for a lower rate."""


GROUND = ""
"""Stands for the ground among the rules."""


def marks(protocol: Protocol) -> Mapping[str, bytes]:
    """Rule -> its mark, which holds if it reads nothing of other rules; and that of the ground."""
    return kept(protocol, "marks", _marks)


def limits_named(protocol: Protocol, rule: Rule) -> frozenset[str]:
    """The limits that a rule may read, by their general names: its own, and those of the ground."""
    by_name = _by_name(protocol)
    return frozenset(by_name.keys() & {*_texts(_said(protocol, rule)), *_texts(_rest(protocol))})


def _marks(protocol: Protocol) -> Mapping[str, bytes]:
    by_name, rest = _by_name(protocol), _rest(protocol)
    of_ground = _digest(rest, _values(by_name, rest))
    marks = {GROUND: of_ground}
    for rule in protocol.rules.values():
        says = _said(protocol, rule)
        marks[rule.id] = _digest(of_ground.hex(), says, _values(by_name, says))
    return marks


def _rest(protocol: Protocol) -> dict[str, Any]:
    fields = msgspec.structs.asdict(protocol)
    read = {name: value for name, value in fields.items() if name not in (*_APART, *_NOT_READ)}
    rest: dict[str, Any] = msgspec.to_builtins(read)
    for name in _OF_LOWER_RATE:
        rest["conventions"].pop(name, None)
    return rest


def _said(protocol: Protocol, rule: Rule) -> list[Any]:
    lowered = [getattr(protocol.conventions, name) for name in _OF_LOWER_RATE]
    says = msgspec.to_builtins(rule)
    return [says, lowered if LOWER_RATE in _texts(says) else []]


def _by_name(protocol: Protocol) -> Mapping[str, list[Limit]]:
    """The limits under their general names, with those that take their place for another drug."""
    by_name: dict[str, list[Limit]] = defaultdict(list)
    for name, limit in protocol.limits.items():
        by_name[name].append(limit)
        if limit.stands_for is not None:
            by_name[limit.stands_for].append(limit)
    return by_name


def _values(by_name: Mapping[str, list[Limit]], says: Any) -> list[list[Limit]]:
    return [by_name[name] for name in sorted(by_name.keys() & set(_texts(says)))]


def _texts(says: Any) -> Iterator[str]:
    """Every text in it: what is a limit's name among them may be read."""
    if isinstance(says, str):
        yield says
    elif isinstance(says, Mapping):
        for name, value in says.items():
            yield from (name, *_texts(value))
    elif isinstance(says, list | tuple):
        for each in says:
            yield from _texts(each)


def _digest(*says: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(says)).digest()

"""What is computed once per object and kept with it, without the lock that Python's own has before 3.12."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Generic, Self, TypeVar, overload

import msgspec

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Owner = TypeVar("Owner")


class cached_property(Generic[T]):
    """As `functools.cached_property`, which on Python 3.11 has one lock for a property of all objects of a class.

    While one order computes there, every other order of the process would wait. Here two threads that ask the same
    object at once may both compute, which does no harm: what belongs to one request is asked by one thread.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | Self:
        if instance is None:
            return self
        # Python looks into the object before it asks this class again, which has no __set__.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


def kept(owner: Owner, name: str, compute: Callable[[Owner], T]) -> T:
    """What `compute` makes of an immutable object, once: it lives in the object's `__dict__`, and as long as it."""
    known: dict[str, T] = owner.__dict__
    try:
        return known[name]
    except KeyError:
        found = known[name] = compute(owner)
        return found


class Made(Generic[T]):
    """Items that are made when they are first asked for; what that raises, is raised then."""

    def __init__(self, make: Callable[[], Iterable[T]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> tuple[T, ...]:
        return tuple(self._make())

    def __iter__(self) -> Iterator[T]:
        return iter(self._made)


class OnDemand(Mapping[K, T]):
    """A mapping whose values are made when they are first asked for; what that raises, is raised then."""

    def __init__(self, makes: Mapping[K, Callable[[], T]]) -> None:
        self._makes = makes
        self._made: dict[K, T] = {}

    def __getitem__(self, key: K) -> T:
        if key not in self._made:
            self._made[key] = self._makes[key]()
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._makes

    def __iter__(self) -> Iterator[K]:
        return iter(self._makes)

    def __len__(self) -> int:
        return len(self._makes)


KEPT = 4096
"""Readings of one code or text that are kept: a ward's charts have some thousand of them, and strangers' texts that
fill this take a few MB."""
_MOST = 1024
_LONGEST = 600
_ENCODED = msgspec.json.Encoder().encode


def remembered(read: Callable[[K], T]) -> Callable[[K], T]:
    """As `read`, which follows from its argument alone, as the meaning of a code does: charts repeat each other's.

    Of what is brief (bytes, as JSON) so many are kept; what is long is a report, or was not written by a person.
    """

    @lru_cache(maxsize=_MOST)
    def known(asked: K) -> T:
        if len(_ENCODED(asked)) > _LONGEST:
            raise _TooLong
        return read(asked)

    def recalled(asked: K) -> T:
        try:
            return known(asked)
        except _TooLong:
            return read(asked)

    return recalled


class _TooLong(Exception):
    """What is asked is not kept."""

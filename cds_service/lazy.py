"""What is computed once per object and kept with it, without the lock that Python's own has before 3.12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
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
    known = owner.__dict__
    if name not in known:
        known[name] = compute(owner)
    found: T = known[name]
    return found

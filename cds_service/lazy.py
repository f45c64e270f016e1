"""A property that is computed once per object, without the lock that Python's own has before 3.12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


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

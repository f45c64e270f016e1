"""What a terminology server would make of the published value sets, for engines that ask for expansions.

Written apart from the service's own reading of value sets, so that one checks the other. A branch holds the codes
of the cases that lie below it, since the shipped sets name ICD and ATC by their branches alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Coding = tuple[str, str]


class Terminology:
    """The value sets, expanded as far as a case needs them: of all their codes, those that the case holds.

    An engine only asks whether a code of the case is in a set.
    """

    def __init__(self, value_sets: Iterable[Mapping[str, Any]]) -> None:
        self._sets = {each["url"]: _Set(each.get("compose", {})) for each in value_sets}

    @property
    def systems(self) -> frozenset[str]:
        """All that the sets use."""
        return frozenset(system for each in self._sets.values() for system in each.systems)

    def expansions(self, seen: Iterable[Coding]) -> dict[str, list[Coding]]:
        """URL of a value set -> those of `seen` that are in it."""
        seen = set(seen)
        return {url: sorted(each.members(seen)) for url, each in self._sets.items()}


class _Set:
    def __init__(self, compose: Mapping[str, Any]) -> None:
        self._included, self._excluded = [*_entries(compose, "include")], [*_entries(compose, "exclude")]
        self._exact = {(system, code) for system, code, is_branch in self._included if not is_branch}
        self._without = {(system, code) for system, code, is_branch in self._excluded if not is_branch}

    @property
    def systems(self) -> Iterator[str]:
        return (system for system, _, _ in self._included)

    def members(self, seen: set[Coding]) -> Iterator[Coding]:
        yield from seen & self._exact - self._without
        for system, code in seen - self._exact:
            longest_in = _longest(system, code, self._included)
            # An excluded code takes out what lies below it as well.
            if longest_in and longest_in > max(
                _longest(system, code, self._excluded), _beginning(system, code, self._without)
            ):
                yield system, code


def _entries(compose: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str, bool]]:
    for include in compose.get(kind, ()):
        for concept in include.get("concept", ()):
            yield include["system"], concept["code"], False
        for each in include.get("filter", ()):
            yield include["system"], each["value"], True


def _longest(system: str, code: str, entries: Iterable[tuple[str, str, bool]]) -> int:
    return max((len(b) for s, b, is_branch in entries if is_branch and s == system and _is_below(code, b)), default=0)


def _beginning(system: str, code: str, codes: Iterable[Coding]) -> int:
    return max((len(c) for s, c in codes if s == system and _is_below(code, c)), default=0)


def _is_below(code: str, branch: str) -> bool:
    return code.replace(".", "").startswith(branch.replace(".", ""))


def codings(value: Any) -> Iterator[Coding]:
    """Every (system, code) in a resource, at any depth."""
    if isinstance(value, Mapping):
        if isinstance(value.get("system"), str) and isinstance(value.get("code"), str):
            yield value["system"], value["code"]
        for inner in value.values():
            yield from codings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from codings(inner)

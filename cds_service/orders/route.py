"""By which route an order gives the drug: by code; words alone, or words against the code, leave it unstated."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import resources

from cds_service.fhir.datatypes import CodeableConcept
from cds_service.lazy import remembered
from cds_service.orders.dosage_words import WORDS, one_of
from cds_service.orders.windows import matches
from cds_service.says import Named, Said, Says, listed, route_named
from cds_service.says import orders as says
from cds_service.terminology.drugs import plain
from cds_service.terminology.valuesets import ValueSets

UNSTATED = "unstated"


@dataclass(frozen=True, slots=True)
class Route:
    """`kind` is a name of routes.toml, `other` (a code that is in no set) or `unstated`."""

    kind: str
    unclear: Said | None = None
    """Why a route that was given counts as unstated."""
    push: bool = False
    """The route's code itself says bolus or push."""
    given: str | None = None
    named: frozenset[str] = frozenset()
    """All kinds that its codes and its words name."""

    @property
    def in_words(self) -> Says:
        """As it was given, or else by all that it may be."""
        return self.given or listed(map(route_named, sorted(self.named))) or Named("category-route", "route")


_TABLE = tomllib.loads(resources.files(__package__).joinpath("routes.toml").read_text("utf-8"))
_ROUTES = {
    name: (tuple(entry["sets"]), re.compile(r"\b(?:" + "|".join(map(re.escape, entry["words"])) + r")\b"))
    for name, entry in _TABLE.items()
}
_NAMES = tuple(_ROUTES)
_SPOKEN = re.compile(
    r"(?<![^\W_])(?:"
    + "|".join(
        rf"((?i:{one_of([*entry['words'], *entry['adverbs']])})|{one_of(entry['letters'])})"
        for entry in _TABLE.values()
    )
    + r")(?![^\W_])"
)
"""A route in an instruction; the group that matched is its place in `_NAMES`."""
_ENDS = one_of([*WORDS["route"]["ends"], *WORDS["often"]["watch"]])
_BETWEEN = re.compile(rf"[\s)]*(?:(?!(?i:{_ENDS})(?![^\W_]))[^\s.,;()/]+[\s)/]+){{0,5}}")
_REACH = 80
"""Characters before a route in which its amount may begin."""

SETS = {name: sets for name, (sets, _) in _ROUTES.items()}
"""Route -> the value sets of its codes."""
KINDS = (*_ROUTES, "other", UNSTATED)
"""What `Route.kind` can be."""


def kinds_named(text: str) -> set[str]:
    """The routes that a display or text names."""
    words = plain(text)
    return {name for name, (_, pattern) in _ROUTES.items() if pattern.search(words)}


def read(concept: CodeableConcept | None, valuesets: ValueSets) -> Route:
    """The route of a dosage. Codes decide; several codings must agree, and no display may contradict them."""
    if concept is None or not (concept.codes or concept.words):
        return Route(UNSTATED)
    return _routes(valuesets)(concept)


@lru_cache(maxsize=4)
def _routes(valuesets: ValueSets) -> Callable[[CodeableConcept], Route]:
    """What reads a route with these value sets: those of a hospital are the same few again."""
    return remembered(partial(_read, valuesets))


def _read(valuesets: ValueSets, concept: CodeableConcept) -> Route:
    kinds: set[str] = set()
    unknown_code = False
    for system, code in concept.codes:
        members = valuesets.members_of(system, code)
        coded = {name for name, (sets, _) in _ROUTES.items() if any(s in members for s in sets)}
        kinds |= coded
        unknown_code = unknown_code or not coded
    given = concept.name
    spoken = frozenset(kinds.union(*map(kinds_named, concept.words)))
    if not kinds:
        if unknown_code and not concept.words:
            return Route("other", given=given)
        return replace(_by_words(concept, unknown_code), named=spoken)
    if len(kinds) > 1:
        return Route(UNSTATED, says.TWO_ROUTES(listed(map(route_named, sorted(kinds)))), given=given, named=spoken)
    (kind,) = kinds
    for words in concept.words:
        against = kinds_named(words)
        if against and kind not in against:
            why = says.ROUTE_CONTRADICTED(route_named(kind), listed(map(route_named, sorted(against))))
            return Route(UNSTATED, why, given=given, named=spoken)
    push = valuesets.member(valuesets.roles.push_by_route, concept.codes) is not None
    return Route(kind, push=push, given=given, named=spoken)


def held_against(route: Route, texts: Iterable[str], amount: re.Pattern[str]) -> Route:
    """The route, unstated where the instruction's own words give an `amount` by another: `10 mg intrathecally`."""
    if route.kind == "other":
        return route
    passed = {route.kind, "intravenous"} if route.kind == UNSTATED else {route.kind}
    spoken = frozenset(name for text in texts for name in _spoken(text, passed, amount))
    if passed & spoken or not spoken:
        return route
    names = listed(map(route_named, sorted(spoken)))
    code = route_named(route.kind)
    why = says.ROUTE_IN_INSTRUCTIONS(names) if route.kind == UNSTATED else says.ROUTE_AND_INSTRUCTIONS(code, names)
    return Route(UNSTATED, route.unclear or why, given=route.given, named=route.named | spoken)


def _spoken(text: str, passed: Collection[str], amount: re.Pattern[str]) -> set[str]:
    """The routes by which a text gives an amount; none where it names none but those that are `passed`."""
    found = [(match.start(), _NAMES[match.lastindex - 1]) for match in matches(_SPOKEN, text) if match.lastindex]
    if all(name in passed for _, name in found):
        return set()
    return {name for start, name in found if _is_of_amount(text, start, amount)}


def _is_of_amount(text: str, start: int, amount: re.Pattern[str]) -> bool:
    before = text[max(0, start - _REACH) : start]
    return any(_BETWEEN.fullmatch(before, match.end()) for match in amount.finditer(before))


def _by_words(concept: CodeableConcept, unknown_code: bool) -> Route:
    if unknown_code and not any(kinds_named(words) for words in concept.words):
        return Route("other", given=concept.name)
    return Route(UNSTATED, says.ROUTE_IN_WORDS, given=concept.name)

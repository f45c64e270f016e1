"""The CQL library that says how an order is read: its units, routes, uses and the weight, filled in from the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from string import Template
from textwrap import wrap

from cds_service import units
from cds_service.protocol.cql.amounts import JUDGED_AS
from cds_service.protocol.cql.scope import SPANS, Scope, exact, quoted, text
from cds_service.protocol.model import Use

_WIDTH = 112
_LETTERS = 3
"""Of the writings of a part of a unit so many are published; one that is not is no guess, but null."""
_DOSES = ("mass", "mass_per_bodymass", "mass_per_time", "mass_per_bodymass_time")
_OF = {"mass": "mg", "mass_per_bodymass": "mg/kg", "mass_per_time": "mg/h", "mass_per_bodymass_time": "mg/kg/h"}


@dataclass(frozen=True)
class Reading:
    """How the service reads an order, as far as that is data."""

    kinds: Sequence[str]
    """What a route may be: those below, another, and none that is stated."""
    routes: Mapping[str, Sequence[str]]
    """Route -> the value sets of its codes."""
    types: Collection[str]
    """Of a dose and a rate, those that are believed."""
    codes: Mapping[str, Fraction]
    """Abbreviation of a timing -> minutes between two doses."""
    shortest: Fraction
    """Minutes: doses that follow each other faster are no reading."""
    amounts: Collection[str]
    """What marks an amount, or how often, in words where there is no figure: numerals, fractions, vials."""


def written(scope: Scope, reading: Reading, version: str, limits_since: str) -> str:
    """The library's text, without its own name and that of the chart's. `limits_since`: its line on the limits."""
    protocol, roles = scope.protocol, scope.valuesets.roles
    named = protocol.conventions
    by_method = scope.in_any("D.method", [roles.push_by_method])
    blanks = {
        "units": _table((_OF[each], each) for each in _DOSES),
        "times": _table([("min", "time")]),
        "weights": _table([("kg", "body_weight")]),
        "drugs": "\n".join(_drugs(scope)),
        "labelled": _labelled(scope, reading),
        "speeds": ", ".join(f"Round({each.numerator}.0 / {each.denominator}.0, 8)" for each in _speeds()),
        "amounts": "|".join(sorted(each.lower().replace("'", "\\'") for each in reading.amounts)),
        "types": ", ".join(map(text, sorted(reading.types))),
        "tolerance": named.tolerance,
        "bolus": named.bolus,
        "continuous": named.continuous,
        "weight_kinds": "\n".join(_weight_kinds(scope)),
        "adult_age": named.adult_age,
        "weight_range": named.weight_range,
        "ratios": "\n".join(_ratios(scope)),
        "weight_changes": "\n".join(_weight_changes(scope)),
        "push": " or ".join((by_method, scope.in_any("D.route", [roles.push_by_route]))),
        "push_by_method": by_method,
        "codes_of_times": ",\n".join(_codes_of_times(reading)),
        "shortest": exact(reading.shortest),
        "routes": ",\n".join(_routes(scope, reading)),
        **_reasons(scope),
        "uses": "\n\n".join(_uses(scope)),
    }
    for name in (named.bolus, named.continuous, named.tolerance, named.adult_age):
        scope.quantity(name)
    for name in (named.weight_range, named.pounds_ratio, named.kilograms_ratio):
        scope.interval(name)
    for change, _ in named.weight_changes:
        scope.quantity(change)
    template = Template(resources.files(__package__).joinpath("dosage.cql").read_text("utf-8"))
    return template.substitute(
        version=version,
        limits_since=limits_since,
        valuesets="\n".join(scope.definitions()),
        limits="\n\n".join(scope.limit_definitions()),
        **blanks,
    )


# Units --------------------------------------------------------------------------------------------------------


def _table(dimensions: Iterable[tuple[str, str]]) -> str:
    """A row for each factor of a dimension, with every writing that is published of it."""
    rows = []
    for of, dimension in dimensions:
        writings: dict[Fraction, dict[str, None]] = {}
        for code in units.writings_of(dimension):
            factor = units.find(code, dimension).factor
            writings.setdefault(factor, {}).update(dict.fromkeys((code, *_spelt(code, dimension))))
        rows += [_row(of, factor, names) for factor, names in writings.items()]
    return ",\n".join(rows)


def _row(of: str, factor: Fraction, names: Iterable[str]) -> str:
    said = wrap(", ".join(map(text, names)), _WIDTH, initial_indent="    ", subsequent_indent="    ")
    times, by = exact(Fraction(factor.numerator)), exact(Fraction(factor.denominator))
    head = f"  Tuple {{ unit: {text(of)}, factor: {times}, divisor: {by}, written: {{\n"
    return head + "\n".join(said) + "\n  } }"


def _spelt(code: str, dimension: str) -> Iterator[str]:
    """The code with each of its parts in the writings that come first in the table."""
    spelt = [""]
    for part in code.split("/"):
        letters = [each for each in units.WRITINGS.spellings(part) if " " not in each][:_LETTERS]
        spelt = [f"{begun}/{each}".lstrip("/") for begun in spelt for each in letters]
    yield from (each for each in spelt if units.is_of(each, dimension))


def _speeds() -> list[Fraction]:
    """Minutes: a ratio to one of these is a speed."""
    return sorted({units.find(code, "time").factor for code in units.writings_of("time")})


def _codes_of_times(reading: Reading) -> Iterator[str]:
    for code, minutes in reading.codes.items():
        yield f"  Tuple {{ code: {text(code)}, apart: {exact(minutes)} }}"


# Drug, route and weight -----------------------------------------------------------------------------------------


def _drugs(scope: Scope) -> Iterator[str]:
    named = {drug: _codes_in(scope, [scope.valuesets.drugs.set_of(drug)]) for drug in scope.protocol.drugs}
    for drug, is_it in named.items():
        others = "".join(f" and not ({each})" for other, each in named.items() if other != drug)
        yield f"    when {is_it}{others} then {text(drug)}"


def _codes_in(scope: Scope, sets: Iterable[str]) -> str:
    return f'exists (Chart."Order codes" C where {scope.in_any("C", sets)})'


def _labelled(scope: Scope, reading: Reading) -> str:
    nasal = scope.protocol.nasal
    if nasal is None:
        return "  false"
    kind = next(name for name, sets in reading.routes.items() if nasal.route in sets)
    return (
        f'  case\n    when "Drug" is null then null as Boolean\n    when "Drug" != {text(nasal.drug)} then false\n'
        f"    when {_codes_in(scope, [nasal.products])} then true\n"
        f'    when not "Is by"({{ {text(kind)} }}) then false\n    else null as Boolean\n  end'
    )


def _routes(scope: Scope, reading: Reading) -> Iterator[str]:
    for name, sets in reading.routes.items():
        own = scope.in_any("route", sets)
        yield f"    (if {own} then {{ {text(name)} }} else List<String>{{}})"


def _weight_kinds(scope: Scope) -> Iterator[str]:
    roles = scope.valuesets.roles
    *better, last = (roles.weight_measured, roles.weight_stated, roles.weight_estimated)
    for name in better:
        among = f'"Weights among"([Observation: {scope.value_set(name)}])'
        yield f"    when exists {among} then {among}"
    yield f'    else "Weights among"([Observation: {scope.value_set(last)}])'


def _ratios(scope: Scope) -> Iterator[str]:
    named = scope.protocol.conventions
    for name in (named.pounds_ratio, named.kilograms_ratio):
        yield f'    or ("Newest weight".kg / First("Earlier weights").kg) in {quoted(name)}'


def _weight_changes(scope: Scope) -> Iterator[str]:
    for change, window in scope.protocol.conventions.weight_changes:
        number, unit = scope.number_and_unit(window)
        yield (
            '    or exists (\n      "Earlier weights" W\n'
            f'        where "Newest weight".placed same second or before W.placed + {number} {SPANS[unit]}\n'
            f'          and Abs("Newest weight".kg - W.kg) / W.kg * 100.0 > {quoted(change)}.value\n    )'
        )


# What it is for -------------------------------------------------------------------------------------------------


def _sets_of(scope: Scope, is_meant: Mapping[str, bool]) -> list[str]:
    """The value sets of the indications whose use is meant."""
    first = next(iter(scope.protocol.uses))
    found = (each for each in scope.protocol.indications.values() if is_meant[each.use or first])
    return list(dict.fromkeys(name for each in found for name in each.sets))


def _reasons(scope: Scope) -> dict[str, str]:
    uses = scope.protocol.uses
    first = next(iter(uses))
    kinds = {
        "reason_alone": {name: use.alone for name, use in uses.items()},
        "reason_other": {name: not use.alone and name != first for name, use in uses.items()},
        "reason_usual": {name: name == first for name in uses},
    }
    return {blank: _in_or_false(scope, "C", _sets_of(scope, kind)) for blank, kind in kinds.items()}


def _in_or_false(scope: Scope, alias: str, sets: list[str]) -> str:
    return scope.in_any(alias, sets) if sets else "false"


def _uses(scope: Scope) -> Iterator[str]:
    """A definition for each use: whether the order is judged as it."""
    first = next(iter(scope.protocol.uses))
    for name, use in scope.protocol.uses.items():
        yield (
            f"/* Judged as {use.title}. */\ndefine {quoted(JUDGED_AS.format(name))}:\n"
            f'  if "Reasons are unclear" then null as Boolean\n  else {_is_judged(scope, name, use, first)}'
        )


def _is_judged(scope: Scope, name: str, use: Use, first: str) -> str:
    if name == first:
        return (
            'not "Is for one use alone"\n'
            '    and (not exists ("Known reasons" R where R.other)\n'
            '      or exists ("Known reasons" R where R.alone or R.usual))'
        )
    own = _in_or_false(scope, "C", _sets_of(scope, {each: each == name for each in scope.protocol.uses}))
    found = f'exists (Chart."Order reasons" C where {own})'
    return f'"Is for one use alone" and {found}' if use.alone else found

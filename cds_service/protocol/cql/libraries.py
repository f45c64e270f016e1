"""From a protocol to its CQL libraries: one for each rule, and the one that says how a chart is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import resources
from pathlib import Path
from string import Template
from textwrap import wrap

import msgspec

from cds_service import units
from cds_service.fhir.queries import Query
from cds_service.fhir.records import OTHERS
from cds_service.protocol import activities, model
from cds_service.protocol.cql import dosage
from cds_service.protocol.cql.facts import expression
from cds_service.protocol.cql.scope import CHART, DOSAGE, SPANS, Scope, SetPart, Unsaid, quoted, text
from cds_service.protocol.facts import Facts
from cds_service.protocol.limits import in_force_since
from cds_service.protocol.model import Protocol, Rule
from cds_service.protocol.parsing import parse_yaml
from cds_service.protocol.publish import FIRES, Published, tier_name
from cds_service.protocol.published_sets import published_sets
from cds_service.terminology.products import INGREDIENT_SYSTEM, TABLE
from cds_service.terminology.systems import BRANCHED
from cds_service.terminology.valueset import CANONICAL
from cds_service.terminology.valuesets import ValueSets

FHIR_HELPERS = "http://hl7.org/fhir/Library/FHIRHelpers|4.0.1"
_WIDTH = 112
_READING = (
    "Tuple { code System.Concept, at DateTime, placed DateTime, quantity FHIR.Quantity, number Integer, "
    "answer FHIR.CodeableConcept, date DateTime, hasValue Boolean, interpretation List<FHIR.CodeableConcept>, "
    "ranges List<FHIR.Observation.ReferenceRange>, unclear Boolean }"
)
"""What a reading is; CQL 1.5 has no name for a type."""


@dataclass(frozen=True)
class Library:
    """One library: its name is also that of its file."""

    name: str
    text: str
    depends_on: tuple[str, ...] = ()
    """Canonical URLs of the libraries and value sets that it names."""
    rule: str | None = None
    unsaid: tuple[str, ...] = ()
    """Of a rule that is said: the changes of its severity that are not, each with the reason."""


@dataclass(frozen=True)
class Written:
    """All that a protocol comes to in CQL."""

    libraries: tuple[Library, ...]
    """Those of the chart, of the order and of the offers first, that of what cannot be told last."""
    unsaid: Mapping[str, str]
    """Rule -> why CQL does not say it."""
    sets: tuple[SetPart, ...]
    """The value sets and parts of them that the libraries name."""


def libraries(
    published: Published,
    valuesets: ValueSets,
    queries: Iterable[Query],
    reading: dosage.Reading,
    panels: Mapping[str, Collection[str]],
) -> Written:
    """The libraries of every rule that facts and amounts decide, as of `published.day`.

    `panels`: value set of a panel of readings -> those of its parts.
    """
    protocol = published.protocol
    query_of = {name: query.key for query in queries for name in query.sets}
    routes = tuple(reading.kinds)
    scopes: list[Scope] = []

    def scope() -> Scope:
        scopes.append(Scope(protocol, valuesets, query_of, published.day, routes=routes))
        return scopes[-1]

    made = [_chart(published, scope()), _dosage(published, scope(), reading), _offers(published, scope())]
    unsaid: dict[str, str] = {}
    for rule in protocol.rules.values():
        try:
            made.append(_Rule(rule, published, scope(), panels).library())
        except Unsaid as why:
            unsaid[rule.id] = str(why)
            scopes.pop()
    if rules := [each for each in made if each.rule is not None]:
        made.append(_untold(protocol, rules))
    sets = reduce(lambda found, each: found | each.sets, scopes, dict[str, SetPart]())
    return Written(tuple(made), unsaid, tuple(sets[title] for title in sorted(sets)))


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def _chart(published: Published, scope: Scope) -> Library:
    """How a chart is read: the same functions for every protocol, with its value sets and units filled in."""
    protocol, roles = published.protocol, scope.valuesets.roles
    tolerance = scope.protocol.limits[protocol.conventions.clock_tolerance]
    (number,) = {str(each) for each in tolerance.values.values()}
    nothing, how_bad = map(scope.value_set, (roles.nothing_known, roles.answer_how_bad))
    high, yes, no = map(scope.value_set, (roles.above_reference, roles.answer_yes, roles.answer_no))
    systems = sorted({system for name in scope.valuesets.names() for system in _systems(scope.valuesets, name)})
    of_medicines = scope.in_any("concept", _of_medicines(published, scope.valuesets))
    written = Template(resources.files(__package__).joinpath("chart.cql").read_text("utf-8")).substitute(
        version=protocol.version,
        valuesets="\n".join(scope.definitions()),
        reading=_READING,
        above_reference=high.strip('"'),
        answer_yes=yes.strip('"'),
        answer_no=no.strip('"'),
        answer_how_bad=how_bad.strip('"'),
        nothing_known=nothing.strip('"'),
        clock_tolerance=f"{number} {SPANS[tolerance.unit]}",
        systems=_listed(systems),
        branched=_listed(sorted(BRANCHED.intersection(systems))),
        of_medicines=of_medicines.replace(" or ", "\n      or "),
        units=_listed(units.codes()),
        others=_listed(sorted(OTHERS)),
        plain=", ".join(map(text, sorted(units.writings_of("dimensionless")))),
    )
    name = f"{_camel(protocol.id)}{CHART}"
    return Library(name, written.replace("KetamineChart", name), tuple(_depends_on(scope)))


def _depends_on(scope: Scope, *libraries: str) -> Iterator[str]:
    """FHIRHelpers, these libraries of the protocol, and the value sets that are named."""
    yield FHIR_HELPERS
    yield from (f"{CANONICAL}/Library/{name}|{scope.protocol.version}" for name in libraries)
    yield from (f"{CANONICAL}/ValueSet/{scope.sets[title].id}" for title in sorted(scope.sets))


def _systems(valuesets: ValueSets, name: str) -> Iterator[str]:
    for system, _ in (*valuesets[name].members, *valuesets[name].branches):
        yield system


def _of_medicines(published: Published, valuesets: ValueSets) -> list[str]:
    """The published sets that hold ingredients or products."""
    named = published_sets(published.protocol)
    systems = {INGREDIENT_SYSTEM, *TABLE["systems"].values()}
    return [
        name
        for name in valuesets.names()
        if name in named and any(system in systems for system, _ in valuesets[name].members)
    ]


def _listed(names: Iterable[str]) -> str:
    return "\n".join(wrap(", ".join(map(text, names)), _WIDTH, initial_indent="  ", subsequent_indent="  "))


def _dosage(published: Published, scope: Scope, reading: dosage.Reading) -> Library:
    """How an order is read."""
    protocol = published.protocol
    own, chart = (f"{_camel(protocol.id)}{each}" for each in (DOSAGE, CHART))
    written = dosage.written(scope, reading, protocol.version, _limits_since(published))
    written = written.replace("KetamineDosage", own).replace("KetamineChart", chart)
    return Library(own, written, tuple(_depends_on(scope, chart)))


def offers_library(protocol: Protocol) -> str:
    return f"{_camel(protocol.id)}Offers"


def _offers(published: Published, scope: Scope) -> Library:
    """What the offers that bring an order to a limit set it to."""
    protocol = published.protocol
    prefix, name = _camel(protocol.id), offers_library(protocol)
    defined = []
    for offer, limit in activities.limits_of(protocol).items():
        value = scope.of_drug(limit.id)
        number = f"{value}.value" if activities.element_of(offer, limit) in activities.PLAIN_NUMBER else value
        defined.append(f"// {published.words.offer(offer)}\ndefine {quoted(offer)}:\n  {number}")
    named = [f"{prefix}{each}" for each in (CHART, DOSAGE)]
    parts = [
        "/*\nWhat the offers set an order to; the service offers it where no other rule then objects.\n*/\n"
        f"library {name} version '{protocol.version}'",
        "using FHIR version '4.0.1'",
        _includes(prefix, (CHART, DOSAGE), protocol.version),
        "context Patient",
        _limits_since(published),
        *scope.limit_definitions(),
        *defined,
    ]
    return Library(name, "\n\n".join(parts) + "\n", tuple(_depends_on(scope, *named)))


def untold_library(protocol: Protocol) -> str:
    return f"{_camel(protocol.id)}Untold"


def _untold(protocol: Protocol, rules: Sequence[Library]) -> Library:
    """Whether each rule cannot be told, for who applies the plan alone: there, null is as false."""
    name, version = untold_library(protocol), protocol.version
    parts = [
        "/*\nOf each rule, by its id, whether it cannot be told if it fires; true or false, and never null.\n*/\n"
        f"library {name} version '{version}'",
        "using FHIR version '4.0.1'",
        "\n".join(f"include {each.name} version '{version}' called {each.name}" for each in rules),
        "context Patient",
        *(f"define {quoted(str(each.rule))}:\n  {each.name}.{quoted(FIRES)} is null" for each in rules),
    ]
    depends_on = (f"{CANONICAL}/Library/{each.name}|{version}" for each in rules)
    return Library(name, "\n\n".join(parts) + "\n", tuple(depends_on))


def _limits_since(published: Published) -> str:
    """Not the day itself: until a limit changes, a library is the same text, and its translation holds."""
    return f"// Limits, as they hold since {in_force_since(published.protocol, published.day)}"


def _includes(prefix: str, named: Iterable[str], version: str) -> str:
    own = (f"include {prefix}{each} version '{version}' called {each}" for each in named)
    return "\n".join(("include FHIRHelpers version '4.0.1' called FHIRHelpers", *own))


class _Rule:
    """The library of one rule. Its facts keep the names that the rule's file gives them."""

    def __init__(self, rule: Rule, published: Published, scope: Scope, panels: Mapping[str, Collection[str]]) -> None:
        if rule.judges != "order":
            raise Unsaid("it judges the end of an order")
        if rule.judge not in ("clauses", "amounts"):
            raise Unsaid(f"a judgement in code decides it ({rule.judge})")
        self._rule = rule
        self._published = published
        self._scope = scope
        self._panels = panels
        self._named = _names_of(rule, published.protocol)
        self._facts: dict[str, str] = {}

    def library(self) -> Library:
        """Raises Unsaid where a tier rests on what CQL does not say."""
        rule, protocol = self._rule, self._published.protocol
        tiers = [(tier, self._logic(tier.when)) for tier in rule.tiers if tier.when is not None]
        if len(tiers) < len(rule.tiers):
            raise Unsaid("a judgement in code decides a tier of it")
        severity, unsaid = self._severity()
        readings = [*self._readings()]
        firing = "\n  or ".join(_tier(tier.name) for tier, _ in tiers)
        finding = "\n".join(f"    when {_tier(tier.name)} then {text(tier.name)}" for tier, _ in tiers)
        prefix = _camel(protocol.id)
        name = f"{prefix}{_camel(rule.id)}"
        named = (CHART, DOSAGE) if self._scope.reads_dosage else (CHART,)
        parts = [
            self._head(),
            f"library {name} version '{protocol.version}'",
            "using FHIR version '4.0.1'",
            _includes(prefix, named, protocol.version),
            "\n".join(self._scope.definitions()),
            "context Patient",
            _limits_since(self._published),
            *self._scope.limit_definitions(),
            "// Facts",
            *readings,
            *(f"define {quoted(fact)}:\n  {_deeper(said)}" for fact, said in self._facts.items()),
            "// Tiers, from the worst to the least; the first that holds counts",
            *(
                f"/*\n{_wrapped(f'{tier.severity}: {self._published.words.tier(tier)}')}\n*/\n"
                f"define {_tier(tier.name)}:\n  {said}"
                for tier, said in tiers
            ),
            "/* True: it fires. False: it does not. Null: it cannot be told. */\n"
            f"define {quoted(FIRES)}:\n  {firing}",
            f'define "Tier":\n  case\n{finding}\n    else null as String\n  end',
            severity,
        ]
        depends_on = tuple(_depends_on(self._scope, *(f"{prefix}{each}" for each in named)))
        return Library(name, "\n\n".join(filter(None, parts)) + "\n", depends_on, rule.id, tuple(unsaid))

    def _head(self) -> str:
        """Title and sources."""
        rule, protocol = self._rule, self._published.protocol
        lines = [f"{rule.title} ({rule.id}, row {rule.row}), of {protocol.title} {protocol.version}.", ""]
        lines += wrap(self._published.words.trigger(rule), _WIDTH)
        for name in rule.citations:
            entry = protocol.evidence[name]
            lines += wrap(f"{name} ({entry.grade}, {entry.status}): {entry.citation.strip()}", _WIDTH)
        for name in rule.statements:
            statement = protocol.statements[name]
            lines += wrap(f"{name} (source {statement.source}): {statement.says.strip()}", _WIDTH)
        if rule.yields_to:
            lines.append(f"Silent where one of these fires: {', '.join(rule.yields_to)}.")
        lines += [line for unseen in rule.cannot_see for line in wrap(f"Cannot see: {unseen}", _WIDTH)]
        said = "\n".join(lines).replace("*/", "* /")
        return f"/*\n{said}\n*/"

    def _readings(self) -> Iterator[str]:
        for name in self._scope.readings:
            found = [f'{CHART}."Readings" R where R.code in {self._scope.value_set(name)}']
            found += [self._without(name, panel) for panel, parts in self._panels.items() if name in parts]
            every = found[0] if len(found) == 1 else "flatten {\n    (" + "),\n    (".join(found) + ")\n  }"
            yield f"define {quoted(f'{name} readings')}:\n  {every}"

    def _without(self, part: str, panel: str) -> str:
        """The panels that lack this part: a reading of it that is not understood."""
        parts = [f"P in {self._scope.value_set(each)}" for each in sorted(self._panels[panel])]
        return (
            f'{CHART}."Panels" R\n      where R.code in {self._scope.value_set(panel)}\n'
            f"        and not exists (R.parts P where P in {self._scope.value_set(part)})\n"
            f"        and (not exists (R.parts P where {' or '.join(parts)})\n"
            f"          or exists (R.parts P where not ({' or '.join(parts)})))\n"
            "      return all R.reading"
        )

    def _severity(self) -> tuple[str, list[str]]:
        """What the tier's severity comes to, and the changes that are not said."""
        ways, unsaid = [], []
        for change in self._rule.changes:
            try:
                when = self._logic(change.when)
            except Unsaid as why:
                unsaid.append(f"to {change.to}, {change.because}: {why}")
                continue
            tiers = (
                f'"Tier" in {{ {", ".join(map(text, change.tiers))} }} and '
                if change.tiers
                else '"Tier" is not null and '
            )
            ways.append(f"    when {tiers}({when}) is true\n      then {text(change.to)} // {change.because}")
        own = [f'    when "Tier" = {text(tier.name)} then {text(tier.severity)}' for tier in self._rule.tiers]
        lines = "\n".join([*ways, *own])
        left = "".join(f"// Not said: {each}\n" for each in unsaid)
        return f'{left}define "Severity":\n  case\n{lines}\n    else null as String\n  end', unsaid

    def _logic(self, clause: model.Clause) -> str:
        """A line of logic over the names of facts, each of which is defined once."""
        name = self._named.get(msgspec.json.encode(clause))
        if name is not None and name not in self._facts:
            is_logic = isinstance(clause, model.Any | model.All | model.Not | model.Unless)
            self._facts[name] = self._joined(clause) if is_logic else expression(clause, self._scope)
        return quoted(name) if name is not None else self._joined(clause)

    def _joined(self, clause: model.Clause) -> str:
        match clause:
            case model.Any():
                return f"({' or '.join(map(self._logic, clause.of))})"
            case model.All():
                return f"({' and '.join(map(self._logic, clause.of))})"
            case model.Not():
                return f"(not {self._logic(clause.of[0])})"
            case model.Unless():
                return f"({self._logic(clause.of[0])} is not true)"
        return f"({expression(clause, self._scope)})"


def _tier(name: str) -> str:
    return quoted(tier_name(name))


def _wrapped(line: str) -> str:
    return "\n".join(wrap(line.replace("*/", "* /"), _WIDTH))


def _deeper(lines: str) -> str:
    return lines.replace("\n", "\n  ")


def _names_of(rule: Rule, protocol: Protocol) -> dict[bytes, str]:
    """Clause -> the name of the fact that it is, as the rule's file or the shared facts have it."""
    file = next(path for each in protocol.folders if (path := Path(each) / rule.id / "rule.yaml").is_file())
    own = parse_yaml(file.read_text("utf-8"), rule.id).get("facts") or {}
    facts = Facts(own, protocol.facts, rule.id)
    return {
        msgspec.json.encode(msgspec.convert(facts.clause(name), model.Clause)): name
        for name in (*protocol.facts, *own)
    }

"""Loading a protocol from its YAML files, and checking that everything it names exists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec.structs import replace

from cds_service.errors import UNREADABLE
from cds_service.folders import COMMON, KETAMINE
from cds_service.protocol import model
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.facts import Facts
from cds_service.protocol.references import Named, named_in
from cds_service.terminology.valuesets import ValueSets

T = TypeVar("T")


class _Loader(yaml.CSafeLoader):
    """YAML of plain scalars: exact decimals, whole numbers without octal or sixty-based ones, no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return mapping


def _decimal(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


for _tag, _pattern, _first in (
    ("int", r"[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$", "-+0123456789"),
    ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}$", "0123456789"),
    ("bool", r"(?:true|false)$", "tf"),
    ("null", r"(?:null|~|)$", "n~\0"),
    ("merge", r"<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    """The YAML in `text`, numbers as exact decimals. Raises ProtocolError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise ProtocolError(f"{where}: not readable as YAML: {error}") from error


_LOGIC = ("any", "all", "not", "unless")


def _clauses(value: Any) -> Any:
    """`{any: […]}` as it is written, in the tagged form that the model reads."""
    if isinstance(value, list):
        return [_clauses(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, of) = next(iter(value.items()))
        if key in _LOGIC:
            return {"fact": key, "of": _clauses(of if isinstance(of, list) else [of])}
    return {key: _clauses(item) for key, item in value.items()}


def convert(value: Any, kind: type[T], where: str) -> T:
    """`value` checked against the model. Raises ProtocolError with the place of the fault."""
    try:
        return msgspec.convert(_clauses(value), kind)
    except (msgspec.ValidationError, RecursionError) as error:  # an alias can make a list hold itself
        raise ProtocolError(f"{where}: {error}") from error


def load(valuesets: ValueSets, root: Path = KETAMINE) -> model.Protocol:
    """The protocol in the folder `root`, checked. Raises ProtocolError."""
    _refuse_strays(root)
    head = _mapping(root / "protocol.yaml")
    own_conventions = _of_kind(dict, head.pop("conventions", {}), f"{root.name}: conventions")
    shared = shared_facts(root)
    rules, limits = read_rules(root / "rules", shared, sorted(folders(root / "rules")))
    found = {
        "drugs": list(_of_kind(dict, _mapping(root / "drug.yaml").get("drugs", {}), f"{root.name}: drugs")),
        "conventions": _disjoint(_mapping(COMMON / "conventions.yaml"), own_conventions),
        "limits": _disjoint(common_limits(), _disjoint(_with_ids(_mapping(root / "limits.yaml"), root.name), limits)),
        "rules": dict(sorted(rules.items(), key=lambda item: _row(item[1]))),
        **{part: _part(root, part) for part in _PARTS},
        "facts": shared,
        "folders": [str(root / "rules")],
    }
    protocol = convert(_disjoint(head, found), model.Protocol, root.name)
    protocol = with_carriers(with_shown_limits(protocol))
    check(protocol, valuesets)
    for path in sorted((root / "valuesets").glob("*.json")):
        if path.stem not in _sets_read(protocol) | valuesets.drugs.own_sets:
            raise ProtocolError(f"{root.name}: nothing names the value set {path.stem}")
    return protocol


def with_carriers(protocol: model.Protocol) -> model.Protocol:
    """The protocol with what carries each statement and each conflict: the rules and limits that name it."""
    rules: dict[str, list[str]] = {}
    for rule in protocol.rules.values():
        for name in (*rule.statements, *rule.conflicts):
            rules.setdefault(name, []).append(rule.id)
    limits: dict[str, list[str]] = {}
    for limit in protocol.limits.values():
        for name in dict.fromkeys(limit.sources):
            limits.setdefault(name, []).append(limit.id)
    return replace(
        protocol,
        statements={
            key: replace(each, rules=rules.get(key, []), limits=limits.get(key, []))
            for key, each in protocol.statements.items()
        },
        conflicts={key: replace(each, rules=rules.get(key, [])) for key, each in protocol.conflicts.items()},
    )


def _part(root: Path, part: str) -> dict[str, Any]:
    """One of the files of a protocol. What carries a statement or a conflict is derived, never written there."""
    found = _mapping(root / f"{part}.yaml")
    if part in _CARRIED:
        for key, entry in found.items():
            written = {"rules", "limits"}.intersection(entry if isinstance(entry, dict) else ())
            if written:
                raise ProtocolError(f"{part}.yaml: {key}: its {' and '.join(sorted(written))} name it, not it them")
    return found


def _sets_read(protocol: model.Protocol) -> set[str]:
    """The value sets that a rule or an indication names."""
    rules = protocol.rules.values()
    named = [name for rule in rules for name in sets_of(rule)]
    named += [name for indication in protocol.indications.values() for name in indication.sets]
    named += [protocol.nasal.products, protocol.nasal.route] if protocol.nasal is not None else []
    return {name.partition("/")[0] for name in named}


def limits_read(protocol: model.Protocol) -> set[str]:
    """The limits that a rule, a use or the conventions name; the words of the cards may name more."""
    named = {*_named(protocol.conventions), *(name for use in protocol.uses.values() for name in of_use(use))}
    for rule in protocol.rules.values():
        offers = [*rule.suggests, *(name for tier in rule.tiers for name in tier.suggests)]
        named.update(name.removeprefix(kind) for name in offers for kind in model.TO_A_LIMIT if name.startswith(kind))
        named.update(_named_by(rule).limits, rule.limits.values(), *(tier.limits for tier in rule.tiers))
    return named


def _refuse_strays(root: Path) -> None:
    """Whatever nothing reads is refused: it would be a change without effect."""
    files = {
        "README.md",
        "demands.yaml",
        *(f"{name}.yaml" for name in (*_PARTS, "protocol", "drug", "limits", "facts")),
    }
    for path in sorted(root.iterdir()):
        known = _FOLDERS if path.is_dir() else files
        if path.name not in known and not path.name.startswith((".", "_")):
            raise ProtocolError(f"{root.name}: nothing reads {path.name}{did_you_mean(path.name, known)}")


def common_limits() -> dict[str, Any]:
    """The limits of every protocol, as they are written. Raises ProtocolError."""
    return _with_ids(_mapping(COMMON / "limits.yaml"), COMMON.name)


_FOLDERS = ("rules", "valuesets", "vocabularies")
_CARRIED = ("statements", "conflicts")
_PARTS = ("indications", "orderables", "statements", "conflicts", "evidence")
_RULE_FILES = re.compile(r"rule\.yaml|card(\.[a-z]{2,3})?\.md|card\.[a-z]+(\.[a-z]{2,3})?\.md|scenarios\.yaml")


def shared_facts(root: Path) -> dict[str, Any]:
    """The facts that every rule of the protocol may name: those of all drugs, and its own. Raises ProtocolError."""
    common, own = _mapping(COMMON / "facts.yaml"), _mapping(root / "facts.yaml")
    return _disjoint(common, own)


def read_rules(
    folder: Path, shared: Mapping[str, Any], names: Iterable[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The rules of these names, a folder each, and the limits that stand in them. Raises ProtocolError."""
    rules: dict[str, dict[str, Any]] = {}
    limits: dict[str, Any] = {}
    for name in names:
        written = _mapping(folder / name / "rule.yaml")
        for file in sorted((folder / name).iterdir()):
            if not _RULE_FILES.fullmatch(file.name):
                raise ProtocolError(f"{name}: {file.name} is no file of a rule")
        limits = _disjoint(limits, _with_ids(written.pop("limits", {}), name))
        rules[name] = _rule(name, written, shared)
    return rules, limits


def _rule(name: str, written: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as its file has it, in the form that the model reads: every line of logic as a clause."""
    facts = Facts(_of_kind(dict, written.pop("facts", {}), f"{name}: facts"), shared, name)
    tiers = [
        _tier(key, _of_kind((dict, str), tier, f"{name}: the tier {key}"), facts)
        for key, tier in _of_kind(dict, written.pop("tiers", {}), f"{name}: tiers").items()
    ]
    changes = [
        {**change, "when": facts.clause(_of_kind(dict, change, f"{name}: a change").get("when", ""))}
        for change in _of_kind(list, written.pop("changes", []), f"{name}: changes")
    ]
    if facts.unused:
        raise ProtocolError(f"{name}: no line names the fact “{facts.unused[0]}”")
    return {**written, "id": name, "tiers": tiers, "changes": changes}


def _tier(name: str, written: Any, facts: Facts) -> dict[str, Any]:
    """One of `critical: LOGIC`, `name: {critical: LOGIC, limits: […]}` and, where code judges, `name: critical`."""
    tier: dict[str, Any] = {"name": name}
    if isinstance(written, str):
        written = {name: written} if name in model.SEVERITIES else {written: None}
    for key, value in written.items():
        if key in model.SEVERITIES:
            tier |= {"severity": key} | ({} if value is None else {"when": facts.clause(value)})
        else:
            tier[key] = value
    return tier


def with_shown_limits(protocol: model.Protocol) -> model.Protocol:
    """Each tier with the limits that its card shows: those that it lists, and those that its facts ask."""
    rules = {
        name: replace(
            rule,
            tiers=[
                replace(tier, shown=list(dict.fromkeys([*tier.limits, *named_in(tier.when).limits])))
                for tier in rule.tiers
            ],
        )
        for name, rule in protocol.rules.items()
    }
    return replace(protocol, rules=rules)


def folders(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def _mapping(path: Path) -> dict[str, Any]:
    """A YAML file of one mapping; empty where there is none of that name. Raises ProtocolError."""
    where = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        if path.name in ("rule.yaml", "protocol.yaml", "drug.yaml"):
            raise ProtocolError(f"{where} is missing")
        return {}
    found = parse_yaml(path.read_text("utf-8"), where)
    if not isinstance(found, dict):
        raise ProtocolError(f"{where} is not a mapping")
    return found


def _with_ids(limits: Any, where: str) -> dict[str, Any]:
    entries = _of_kind(dict, limits, f"{where}: limits").items()
    return {key: {**_of_kind(dict, entry, f"{where}: the limit {key}"), "id": key} for key, entry in entries}


_KINDS = {dict: "a mapping", list: "a list", (dict, str): "a mapping or a line of logic"}


def _of_kind(kind: Any, value: Any, where: str) -> Any:
    """What was written, if it is of its kind. Raises ProtocolError."""
    if not isinstance(value, kind):
        raise ProtocolError(f"{where}: expected is {_KINDS[kind]}")
    return value


def _row(rule: Mapping[str, Any]) -> int:
    """Its number, by which rules are sorted; the model refuses one that is none."""
    row = rule.get("row")
    return row if isinstance(row, int) else 0


def _disjoint(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    for key in second:
        if key in first:
            raise ProtocolError(f"{key} stands in two files")
    return first | second


def check(protocol: model.Protocol, valuesets: ValueSets) -> None:
    """Everything that an entry names (limit, value set, rule, citation …) exists. Raises ProtocolError."""
    faults = list(_faults(protocol, valuesets))
    if faults:
        raise ProtocolError(f"{protocol.id}: " + "; ".join(faults))


def _faults(protocol: model.Protocol, valuesets: ValueSets) -> Iterator[str]:
    for limit in protocol.limits.values():
        yield from _limit_faults(limit)
        yield from _unknown(limit.id, "use", limit.uses, protocol.uses)
        yield from _unknown(
            limit.id, "source", limit.sources, [*protocol.statements, *protocol.conflicts, *protocol.evidence]
        )
        if limit.stands_for is not None:
            yield from _unknown(limit.id, "limit", [limit.stands_for], protocol.limits)
    for rule in protocol.rules.values():
        yield from _rule_faults(rule, protocol, valuesets)
    for name, orderable in protocol.orderables.items():
        yield from _unknown(name, "order", orderable.bundle, protocol.orderables)
    yield from _unknown("conventions", "limit", list(_named(protocol.conventions)), protocol.limits)
    yield from _unknown(protocol.id, "drug", [name for name in protocol.drugs if name not in valuesets.drugs], ())
    if protocol.nasal is not None:
        nasal = [name for name in (protocol.nasal.products, protocol.nasal.route) if name not in valuesets]
        yield from _unknown("nasal", "value set", nasal, ())
        yield from _unknown("nasal", "drug", [protocol.nasal.drug], protocol.drugs)
        of_nasal = [protocol.nasal.strength, *protocol.nasal.counted.values()]
        yield from _unknown("nasal", "limit", of_nasal, protocol.limits)
    if not protocol.drugs or not protocol.uses:
        yield "it needs a drug, and a use that an order is judged as"
    categories = {rule.category for rule in protocol.rules.values()}
    yield from _unknown("hazards", "rule or category", protocol.hazards, {*protocol.rules, *categories})
    for name, use in protocol.uses.items():
        named = of_use(use)
        yield from _unknown(name, "limit", named, protocol.limits)
    for name, indication in protocol.indications.items():
        yield from _unknown(name, "use", [indication.use] if indication.use else [], protocol.uses)
        yield from _unknown(name, "limit", [indication.usual_rate] if indication.usual_rate else [], protocol.limits)
        yield from _set_faults(name, indication.sets, valuesets)
    for key, statement in protocol.statements.items():
        if not (statement.rules or statement.limits or statement.cards or statement.why_not):
            yield f"{key} is carried by nothing, and no reason is given"


_SIGNED_UNITS = frozenset({"{score}"})
"""Units that go below zero: points of a scale such as that of Richmond (RASS)."""


def _limit_faults(limit: model.Limit) -> Iterator[str]:
    numbers = [n for value in limit.values.values() for n in (value if isinstance(value, list) else [value])]
    if not numbers:
        yield f"{limit.id} has no value"
    for number in numbers:
        if not number.is_finite() or (number < 0 and limit.unit not in _SIGNED_UNITS):
            yield f"{limit.id}: {number} is not a number from 0 upwards"
    if (limit.drug is None) != (limit.stands_for is None):
        yield f"{limit.id}: drug and stands_for belong together"


def _rule_faults(rule: model.Rule, protocol: model.Protocol, valuesets: ValueSets) -> Iterator[str]:
    yield from _unknown(rule.id, "statement", rule.statements, protocol.statements)
    yield from _unknown(rule.id, "conflict", rule.conflicts, protocol.conflicts)
    yield from _unknown(rule.id, "evidence", rule.citations, protocol.evidence)
    suggested = [*rule.suggests, *(name for tier in rule.tiers for name in tier.suggests)]
    named = protocol.conventions
    if model.LOWER_RATE in suggested and None in (named.restart_fraction, named.restart_most):
        yield f"{rule.id} offers {model.LOWER_RATE}, and the conventions name no restart_fraction and restart_most"
    known = {*protocol.orderables, *model.OFFERS}
    known.update(kind + name for kind in model.TO_A_LIMIT for name in protocol.limits)
    yield from _unknown(rule.id, "suggestion", suggested, known)
    yield from _unknown(rule.id, "limit", list(rule.limits.values()), protocol.limits)
    yield from _unknown(rule.id, "rule", rule.yields_to, protocol.rules)
    by_facts = _named_by(rule)
    limits = [*by_facts.limits, *(name for tier in rule.tiers for name in tier.limits)]
    yield from _unknown(rule.id, "limit", limits, protocol.limits)
    yield from _set_faults(rule.id, sets_of(rule), valuesets)
    clauses = [tier.when for tier in rule.tiers if tier.when is not None] + [change.when for change in rule.changes]
    yield from _clause_faults(rule.id, clauses, protocol)
    for change in rule.changes:
        yield from _unknown(rule.id, "tier", change.tiers, [tier.name for tier in rule.tiers])
    yield from _amount_faults(rule, protocol)
    if rule.judge in ("clauses", "amounts") and any(tier.when is None for tier in rule.tiers):
        yield f"{rule.id}: a tier judged by clauses has no `when`"
    elif rule.judge == "amounts" and not all(_has_amount(tier.when) for tier in rule.tiers):
        yield f"{rule.id}: a tier may hold without an amount, which is then not found"


def _amount_faults(rule: model.Rule, protocol: model.Protocol) -> Iterator[str]:
    """An amount is compared with limits in its own unit, for uses that there are."""
    for amount in _amounts_in([tier.when for tier in rule.tiers] + [change.when for change in rule.changes]):
        yield from _unknown(rule.id, "use", amount.use, protocol.uses)
        compared = [
            *amount.above, *amount.at_least, *amount.below, *amount.at_most, *amount.other_than, *amount.doubt_up_to
        ]  # fmt: skip
        for name in compared:
            unit = protocol.limits[name].unit if name in protocol.limits else amount.figure
            if unit != amount.figure:
                yield f"{rule.id}: {name} is in {unit}, and the amount in {amount.figure}"
        if not (amount.above or amount.at_least or amount.below or amount.other_than):
            yield f"{rule.id}: an amount needs a limit that it is above, at least, below or other than"
        starts_together = amount.together and not amount.figure.endswith("/h")
        if (amount.repeats or starts_together) and amount.within is None:
            yield f"{rule.id}: an amount of doses that are added up needs the time within which they start"


def _amounts_in(clauses: Iterable[model.Clause | None]) -> Iterator[model.AmountIs]:
    for clause in clauses:
        if isinstance(clause, model.AmountIs):
            yield clause
        yield from _amounts_in(getattr(clause, "of", []) if isinstance(clause, _LOGICAL) else [])


_LOGICAL = (model.Any, model.All, model.Not, model.Unless)


def _has_amount(clause: model.Clause | None) -> bool:
    """Whether it can only hold with an amount that is past its limit."""
    match clause:
        case model.All():
            return any(map(_has_amount, clause.of))
        case model.Any():
            return all(map(_has_amount, clause.of))
    return isinstance(clause, model.AmountIs)


def not_judged(protocols: Iterable[model.Protocol], valuesets: ValueSets) -> dict[str, list[str]]:
    """Value set without codes -> the rules that name it: what they ask of it is not judged by this software."""
    found: dict[str, list[str]] = {}
    for rule in (rule for protocol in protocols for rule in protocol.rules.values()):
        for name in dict.fromkeys(_named_by(rule).valuesets):
            if name in valuesets and valuesets[name].no_codes and not rule.off:
                found.setdefault(name, []).append(rule.id)
    return found


def indications_read(protocol: model.Protocol) -> set[str]:
    """The indications that a clause of a rule names, as the order's reason or as its order set."""
    clauses = [
        when
        for rule in protocol.rules.values()
        for when in (*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes))
        if when is not None
    ]
    return {
        name
        for clause in each_clause(clauses)
        if isinstance(clause, model.OrderIs)
        for name in (*clause.indication, *clause.only_indication, *clause.context)
    }


def measured_in(*protocols: model.Protocol) -> list[str]:
    """The value sets of observations that a rule of these protocols reads."""
    clauses = [
        when
        for protocol in protocols
        for rule in protocol.rules.values()
        for when in (*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes))
        if when is not None
    ]
    read = (each.sets for each in each_clause(clauses) if isinstance(each, model.ObservationIs))
    return sorted({name.partition("/")[0] for sets in read for name in sets})


def each_clause(clauses: Iterable[model.Clause]) -> Iterator[model.Clause]:
    """The clauses and those within them, at any depth."""
    for clause in clauses:
        yield clause
        if isinstance(clause, model.Any | model.All | model.Not | model.Unless):
            yield from each_clause(clause.of)
        yield from each_clause(each for each in getattr(clause, "unless_later", ()) if not isinstance(each, str))


def _clause_faults(owner: str, clauses: Iterable[model.Clause], protocol: model.Protocol) -> Iterator[str]:
    """Clauses that can never hold, or always do: an unknown indication, or nothing that is asked."""
    for clause in each_clause(clauses):
        if isinstance(clause, model.OrderIs):
            indications = [*clause.indication, *clause.only_indication, *clause.context]
            yield from _unknown(owner, "indication", indications, protocol.indications)
            yield from _unknown(owner, "use", clause.judged_as, protocol.uses)
        fact = clause.__struct_config__.tag
        if isinstance(clause, model.OrderIs | model.PatientIs | model.ExposureIs) and clause == type(clause)():
            yield f"{owner}: a clause {{fact: {fact}}} that asks nothing"
        if isinstance(clause, model.Any | model.All | model.Not | model.Unless) and not clause.of:
            yield f"{owner}: `{fact}` joins no clause"


def _set_faults(owner: str, named: Iterable[str], valuesets: ValueSets) -> Iterator[str]:
    """`set` or `set/group`: both must exist. A set without codes has no groups yet, and is said elsewhere."""
    for name in named:
        if name not in valuesets:
            yield from _unknown(owner, "value set", [name], valuesets.names())
        elif "/" in name and not valuesets[name].no_codes:
            known = [f"{name.partition('/')[0]}/{group}" for group in valuesets[name].groups]
            yield from _unknown(owner, "group of a value set", [name], known)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of a sentence; empty where nothing is known."""
    near = difflib.get_close_matches(name, list(known), 1, 0)
    return f"; did you mean {near[0]}?" if near else ""


def of_use(use: model.Use) -> list[str]:
    """The limits that a use names."""
    usual = msgspec.structs.astuple(use.usual) if use.usual else ()
    return [*([use.session] if use.session else []), *usual]


def _named(conventions: Any) -> Iterator[str]:
    """The limits of the conventions, at any depth."""
    if conventions is None:
        return
    if isinstance(conventions, str):
        yield conventions
    elif isinstance(conventions, model.Conventions):
        yield from _named(list(msgspec.structs.asdict(conventions).values()))
    else:
        for each in conventions.values() if isinstance(conventions, dict) else conventions:
            yield from _named(each)


def _unknown(owner: str, kind: str, named: list[str], known: Any) -> Iterator[str]:
    for name in named:
        if name not in known:
            yield f"{owner} names the {kind} {name}, which does not exist{did_you_mean(name, known)}"


def sets_of(rule: model.Rule) -> list[str]:
    """The value sets that its facts name, and that its judgement is given."""
    return [*_named_by(rule).valuesets, *rule.sets.values()]


def _named_by(rule: model.Rule) -> Named:
    return named_in(*(tier.when for tier in rule.tiers), *(change.when for change in rule.changes))

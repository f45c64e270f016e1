"""Loading a protocol from its YAML files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from cds_service.folders import COMMON, KETAMINE
from cds_service.protocol import model
from cds_service.protocol.checks import check
from cds_service.protocol.errors import ProtocolError, did_you_mean
from cds_service.protocol.facts import Facts
from cds_service.protocol.parsing import convert, parse_yaml
from cds_service.protocol.references import named_in, sets_of
from cds_service.site_file import read_text
from cds_service.terminology.valuesets import ValueSets

T = TypeVar("T")


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
        "limits": _each(
            _disjoint(common_limits(), _disjoint(_with_ids(_mapping(root / "limits.yaml"), root.name), limits)),
            model.Limit,
        ),
        "rules": _each(dict(sorted(rules.items(), key=lambda item: _row(item[1]))), model.Rule),
        **{part: _part(root, part) for part in _PARTS},
        "evidence": _disjoint(_part(root, "evidence"), common_evidence()),
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


def _each(written: Mapping[str, Any], kind: type[T]) -> dict[str, T]:
    """Each by itself, so that what is said of one names it: of all together only the kind would be told."""
    return {name: convert(each, kind, name) for name, each in written.items()}


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


def _refuse_strays(root: Path) -> None:
    """Whatever nothing reads is refused: it would be a change without effect."""
    files = {
        "README.md",
        "demands.yaml",
        "released.yaml",
        *(f"{name}.yaml" for name in (*_PARTS, "protocol", "drug", "limits", "facts")),
    }
    for path in sorted(root.iterdir()):
        known = _FOLDERS if path.is_dir() else files
        is_words = not path.is_dir() and path.match("words.*.yaml")
        if path.name not in known and not is_words and not path.name.startswith((".", "_")):
            raise ProtocolError(f"{root.name}: nothing reads {path.name}{did_you_mean(path.name, known)}")


def common_limits() -> dict[str, Any]:
    """The limits of every protocol, as they are written. Raises ProtocolError."""
    return _with_ids(_mapping(COMMON / "limits.yaml"), COMMON.name)


def common_evidence() -> dict[str, Any]:
    """What these limits rest on, as it is written. Raises ProtocolError."""
    return _mapping(COMMON / "evidence.yaml")


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
    found = parse_yaml(read_text(path, ProtocolError), where)
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

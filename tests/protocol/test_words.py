"""The protocol in English: every clause and every field of one is said, with the numbers in force."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, get_args, get_origin

import msgspec
import pytest

from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.protocol.model import Rule
from cds_service.protocol.parsing import convert
from cds_service.protocol.references import kinds_of
from cds_service.protocol.words import Words, limit

DAY = date(2026, 11, 22)
SAMPLES: dict[str, Any] = {
    "sets": (["dx_stroke"], ["dx_glaucoma", "loc_type/icu"]),
    "of": {
        **dict.fromkeys(
            ("any", "all", "not", "unless"),
            ([{"fact": "patient", "sex": "male"}], [{"fact": "patient", "sex": "female"}]),
        ),
        "amount": (["bolus"], ["short"]),
    },
    "use": (["analgesic"], ["depression"]),
    "judged_as": (["analgesic"], ["depression"]),
    "drug": (["ketamine"], ["esketamine"]),
    "context": (["obstetric"], ["pain", "depression"]),
    "only_indication": (["pain"], ["depression"]),
    "indication": (["pain"], ["depression"]),
    "route": (["oral"], ["nasal", "oral"]),
    "route_other_than": (["oral"], ["nasal", "oral"]),
    "unless_later": {
        "condition": ([{"fact": "observation", "in": ["obs_sbp"], "any_value": True}], []),
        "procedure": (["proc_extubation"], []),
    },
}
"""Two values for the fields that name something; the others are made from their type."""


@pytest.fixture(scope="module")
def words(knowledge: Knowledge) -> Words:
    return Words(knowledge.protocol, knowledge.valuesets, DAY)


def _pairs(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any, Any]]:
    """(field, one value, another) for every field of a kind of clause."""
    for field in msgspec.structs.fields(kind):
        made: Any = SAMPLES.get(field.name)
        if isinstance(made, dict):
            made = made[kind.__struct_config__.tag]
        if made is None:
            made = _of_type(field.type, field.name, kind)
        yield (field.encode_name, *made)


def _of_type(type_: Any, name: str, kind: type[msgspec.Struct]) -> tuple[Any, Any]:
    options = [option for part in (type_, *get_args(type_)) for option in get_args(part) if isinstance(option, str)]
    if options:
        return options[0], options[-1]
    if bool in (type_, *get_args(type_)):
        return False, True
    if get_origin(type_) is list:
        of_limits = kinds_of(kind)[name] == "limit"
        return (["bp-window"], ["icp-high"]) if of_limits else (["dx_stroke"], ["dx_glaucoma"])
    return "bp-window", "acs-recent"


CASES = [
    pytest.param(kind, *pair, id=f"{kind.__struct_config__.tag}-{pair[0]}")
    for kind in get_args(model.Clause)
    for pair in _pairs(kind)
]


@pytest.mark.parametrize(("kind", "field", "one", "other"), CASES)
def test_every_field_of_a_clause_is_said(kind: Any, field: str, one: Any, other: Any, words: Words) -> None:
    needed = {name: value for name, value, _ in _pairs(kind) if name in ("in", "of", "within", "figure")}
    tag = {"fact": kind.__struct_config__.tag}
    said = [words.clause(convert({**tag, **needed, field: value}, kind, "")) for value in (one, other)]
    assert said[0] != said[1]


def test_every_rule_has_a_sentence_for_when_it_fires(words: Words, knowledge: Knowledge) -> None:
    for rule in knowledge.protocol.rules.values():
        said = words.trigger(rule)
        assert said.endswith("."), rule.id
        assert "{" not in said, rule.id
        assert rule.trigger or all(tier.when for tier in rule.tiers), f"{rule.id} needs a trigger"


def test_the_sentence_holds_the_limits_and_the_names_of_the_value_sets(words: Words, knowledge: Knowledge) -> None:
    said = words.trigger(knowledge.protocol.rules["bp-elevated"])
    assert said == (
        "Newest “Systolic BP” above 140 mm[Hg] within 24 h or newest “Diastolic BP” above 90 mm[Hg] within 24 h."
    )


def test_a_site_limit_changes_the_sentence(knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    changed = msgspec.structs.replace(protocol.limits["rate-warn"], values={DAY: Decimal("0.4")})
    protocol = msgspec.structs.replace(protocol, limits={**protocol.limits, "rate-warn": changed})
    rule = protocol.rules["rate-exceeds-protocol-max"]
    assert "above 0.4 mg/kg/h" in Words(protocol, knowledge.valuesets, DAY).trigger(rule)


def test_an_outline_has_a_line_for_each_fact_and_for_what_joins_them(words: Words) -> None:
    fact = {"fact": "observation", "in": ["obs_sbp"], "above": ["bp-warn-systolic"]}
    clause = convert({"any": [fact, {"all": [fact, {"not": fact}]}]}, model.Clause, "")  # type: ignore[arg-type]
    said = "newest “Systolic BP” above 140 mm[Hg]"
    assert list(words.outline(clause)) == [
        (0, "any of"),
        (1, said),
        (1, "all of"),
        (2, said),
        (2, "none of"),
        (3, said),
    ]
    assert words.clause(clause) == f"{said} or ({said} and not ({said}))"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rate-warn", "0.5 mg/kg/h"),
        ("acs-recent", "6 months"),
        ("weight-range", "30 to 250 kg"),
        ("strengths", "1, 2, 10, 50 mg/mL"),
        ("gcs-low", "13"),
    ],
)
def test_a_limit_is_said_with_its_unit(name: str, said: str, knowledge: Knowledge) -> None:
    assert limit(knowledge.protocol.limits[name], DAY) == said


def test_whatever_a_rule_suggests_has_a_label(words: Words, knowledge: Knowledge) -> None:
    rules: list[Rule] = list(knowledge.protocol.rules.values())
    labels = {name: words.offer(name) for rule in rules for name in rule.suggests}
    assert labels["delete"] == "Remove this order"
    assert all(labels.values())

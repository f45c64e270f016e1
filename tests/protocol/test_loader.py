"""A protocol with a fault stops the start, with a message that says where it is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.folders import CARDS
from cds_service.protocol import loader, model
from cds_service.protocol.checks import check
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.parsing import convert, parse_yaml
from cds_service.terminology import valuesets

Edit = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def sets() -> valuesets.ValueSets:
    return valuesets.load()


@pytest.fixture(scope="module")
def shipped(sets: valuesets.ValueSets) -> model.Protocol:
    return loader.load(sets)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped protocol's files, to be spoilt."""
    folder = tmp_path / "ketamine"
    shutil.copytree(CARDS / "ketamine", folder)
    return folder


@pytest.fixture
def edit(copy: Path) -> Edit:
    def replace(file: str, old: str, new: str) -> None:
        path = copy / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new), "utf-8")

    return replace


def load_from(folder: Path, sets: valuesets.ValueSets) -> model.Protocol:
    return loader.load(sets, folder)


def with_tier(protocol: model.Protocol, tier: model.Tier) -> model.Protocol:
    """The protocol, with one tier in place of all those of the rule `psychosis`."""
    rule = msgspec.structs.replace(protocol.rules["psychosis"], tiers=[tier])
    return msgspec.structs.replace(protocol, rules={**protocol.rules, "psychosis": rule})


def test_the_shipped_protocol_loads(shipped: model.Protocol) -> None:
    assert shipped.id == "ketamine"
    assert shipped.limits["rate-warn"].id == "rate-warn"


def test_an_unspoilt_copy_is_the_shipped_protocol(
    copy: Path, sets: valuesets.ValueSets, shipped: model.Protocol
) -> None:
    assert msgspec.structs.replace(load_from(copy, sets), folders=shipped.folders) == shipped


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("limits.yaml", "  note: A ceiling", "  notes: A ceiling", "^[a-z]+-[a-z-]+: .*unknown field `notes`"),
        (
            "rules/unit-slip-suspected/rule.yaml",
            "category: dose",
            "kategory: dose",
            "^unit-slip-suspected: .*`kategory`",
        ),
        (
            "rules/bp-uncontrolled/rule.yaml",
            "above: bp-critical-systolic",
            "abov: bp-critical-systolic",
            "^bp-uncontrolled: .*unknown field `abov`",
        ),
        ("statements.yaml", "  says:", "  said:", "unknown field `said`"),
        ("evidence.yaml", "  read:", "  reed:", "unknown field `reed`"),
        ("protocol.yaml", "version:", "vershun:", "unknown field `vershun`"),
    ],
)
def test_a_misspelt_field_is_refused(
    copy: Path, edit: Edit, sets: valuesets.ValueSets, file: str, old: str, new: str, message: str
) -> None:
    edit(file, old, new)
    with pytest.raises(ProtocolError, match=message):
        load_from(copy, sets)


@pytest.mark.parametrize(
    ("file", "name", "wrong", "message"),
    [
        (
            "rules/bp-elevated/rule.yaml",
            "within: bp-window",
            "within: bp-widow",
            "names the limit bp-widow",
        ),
        (
            "rules/ihd-active-or-stable/rule.yaml",
            "within: acs-recent",
            "within: lately",
            "ihd-active-or-stable names the limit lately",
        ),
        ("rules/pregnancy/rule.yaml", "ans_pregnant_yes", "ans_yes", "pregnancy names the value set ans_yes"),
        ("rules/bp-elevated/rule.yaml", "bp-uncontrolled]", "bp-wild]", "bp-elevated names the rule bp-wild"),
        ("rules/unit-slip-suspected/rule.yaml", "K-05", "K-60", "unit-slip-suspected names the statement K-60"),
        ("rules/obesity-dosing-weight/rule.yaml", "C-24", "C-25", "obesity-dosing-weight names the conflict C-25"),
        ("rules/unit-slip-suspected/rule.yaml", "R49", "R30", "unit-slip-suspected names the evidence R30"),
        (
            "rules/bolus-anaesthetic-range/rule.yaml",
            "delete",
            "remove",
            "names the suggestion remove",
        ),
        ("limits.yaml", "R62", "R35", "weight-unknown-range names the source R35"),
        ("limits.yaml", "stands_for: rate-warn", "stands_for: rate", "names the limit rate, which"),
        ("indications.yaml", "ind_pain", "ind_pains", "pain names the value set ind_pains"),
        ("statements.yaml", "  kind: unit", "  kind: unit\n  rules: []", "K-05: its rules name it, not it them"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(
    copy: Path, edit: Edit, sets: valuesets.ValueSets, file: str, name: str, wrong: str, message: str
) -> None:
    edit(file, name, wrong)
    with pytest.raises(ProtocolError, match=message):
        load_from(copy, sets)


CLAUSES_THAT_NAME_WHAT_DOES_NOT_EXIST: list[dict[str, object]] = [
    {"fact": "condition", "in": ["unheard-of"]},
    {"fact": "condition", "in": ["unheard-of/group"]},
    {"fact": "condition", "in": ["dx_glaucoma"], "within": "unheard-of"},
    {"fact": "condition", "in": ["dx_glaucoma"], "unless_later": [{"fact": "observation", "in": ["unheard-of"]}]},
    {"fact": "observation", "in": ["unheard-of"], "any_value": True},
    {"fact": "observation", "in": ["obs_iop"], "above": ["unheard-of"]},
    {"fact": "observation", "in": ["obs_iop"], "below": ["unheard-of"]},
    {"fact": "observation", "in": ["obs_iop"], "at_most": ["iop-high", "unheard-of"]},
    {"fact": "observation", "in": ["obs_iop"], "at_least": ["unheard-of"]},
    {"fact": "observation", "in": ["obs_hcg"], "answer": ["unheard-of"]},
    {"fact": "observation", "in": ["obs_edd"], "date_ahead": "unheard-of"},
    {"fact": "medicine", "in": ["unheard-of"]},
    {"fact": "condition", "in": ["dx_glaucoma"], "unless_in": ["unheard-of"]},
    {"fact": "medicine", "in": ["rx_opioids"], "only": ["unheard-of"]},
    {"fact": "medicine", "in": ["rx_opioids"], "started_within": "unheard-of"},
    {"fact": "medicine", "in": ["rx_opioids"], "reasons": ["unheard-of"]},
    {"fact": "procedure", "in": ["unheard-of"]},
    {"fact": "procedure", "in": ["ventilated"], "unless_later": ["unheard-of"]},
    {"fact": "allergy", "in": ["unheard-of"]},
    {"fact": "encounter", "in": ["unheard-of/icu"]},
    {"fact": "order", "ingredient": ["unheard-of"]},
    {"fact": "order", "single_dose_at_most": "unheard-of"},
    {"fact": "monitoring", "in": ["mon_ecg", "unheard-of"]},
]


@pytest.mark.parametrize("clause", CLAUSES_THAT_NAME_WHAT_DOES_NOT_EXIST, ids=str)
@pytest.mark.parametrize("around", [[], ["not"], ["any", "all", "not"]], ids=str)
def test_a_clause_that_names_what_does_not_exist_is_refused_at_any_depth(
    shipped: model.Protocol, sets: valuesets.ValueSets, clause: dict[str, object], around: list[str]
) -> None:
    for word in around:
        clause = {word: [clause]}
    tier = convert({"name": "tier", "severity": "warning", "when": clause}, model.Tier, "here")
    with pytest.raises(ProtocolError, match=r"psychosis names the (limit|value set) unheard-of"):
        check(with_tier(shipped, tier), sets)


def test_what_a_change_of_severity_names_is_checked_too(shipped: model.Protocol, sets: valuesets.ValueSets) -> None:
    change = model.Change(to="info", because="rare", when=model.ConditionIs(sets=["unheard-of"]))
    rule = msgspec.structs.replace(shipped.rules["psychosis"], changes=[change])
    protocol = msgspec.structs.replace(shipped, rules={**shipped.rules, "psychosis": rule})
    with pytest.raises(ProtocolError, match="psychosis names the value set unheard-of"):
        check(protocol, sets)


def test_every_fault_is_named_at_once(copy: Path, edit: Edit, sets: valuesets.ValueSets) -> None:
    edit("rules/unit-slip-suspected/rule.yaml", "R49", "R30")
    edit("rules/ihd-active-or-stable/rule.yaml", "within: acs-recent", "within: lately")
    with pytest.raises(ProtocolError, match=r"R30.*; .*lately"):
        load_from(copy, sets)


def test_a_statement_that_nothing_carries_needs_a_reason(copy: Path, edit: Edit, sets: valuesets.ValueSets) -> None:
    edit("rules/migraine-not-recommended/rule.yaml", "[K-34, K-35]", "[K-35]")
    with pytest.raises(ProtocolError, match="K-34 is carried by nothing"):
        load_from(copy, sets)


def test_a_tier_that_is_judged_by_clauses_needs_a_clause(shipped: model.Protocol, sets: valuesets.ValueSets) -> None:
    protocol = with_tier(shipped, model.Tier(name="active", severity="critical"))
    with pytest.raises(ProtocolError, match="psychosis: a tier judged by clauses has no `when`"):
        check(protocol, sets)


def test_a_limit_that_stands_in_two_files_is_refused(copy: Path, edit: Edit, sets: valuesets.ValueSets) -> None:
    edit("rules/psychosis/rule.yaml", "limits:\n", "limits:\n  rate-warn: {}\n")
    with pytest.raises(ProtocolError, match="rate-warn stands in two files"):
        load_from(copy, sets)


def test_a_folder_without_a_rule_and_a_file_that_is_none_of_a_rule_are_refused(
    copy: Path, sets: valuesets.ValueSets
) -> None:
    (copy / "rules" / "psychosis" / "notes.txt").write_text("later", "utf-8")
    with pytest.raises(ProtocolError, match=r"psychosis: notes\.txt is no file of a rule"):
        load_from(copy, sets)
    (copy / "rules" / "psychosis" / "notes.txt").unlink()
    (copy / "rules" / "empty").mkdir()
    with pytest.raises(ProtocolError, match=r"empty/rule\.yaml is missing"):
        load_from(copy, sets)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "psychotic illness or",
            "psycotic illness or",
            "there is no fact “psycotic illness”; did you mean",
        ),
        ("psychotic illness or", "psychotic illness or or", "or stands where the name of a fact should"),
        (
            "psychotic illness: {problem:",
            "psychotic illness: {problm:",
            "problm is no kind of fact; did you mean",
        ),
        ("past psychosis:", "single dose:", "the fact “single dose” is shared already"),
        ("past psychosis:", "past and over:", "a fact cannot be called “past and over”"),
        ("warning: past psychosis", "warning: psychotic illness", "no line names the fact “past psychosis”"),
        (
            "past psychosis: {",
            "past psychosis: past psychosis\n  gone: {",
            "the fact “past psychosis” rests on itself",
        ),
    ],
)
def test_a_fault_in_facts_or_logic_is_said_with_its_place(
    copy: Path, edit: Edit, sets: valuesets.ValueSets, old: str, new: str, message: str
) -> None:
    edit("rules/psychosis/rule.yaml", old, new)
    with pytest.raises(ProtocolError, match=message):
        load_from(copy, sets)


def test_a_key_that_stands_twice_is_refused(copy: Path, edit: Edit, sets: valuesets.ValueSets) -> None:
    edit("limits.yaml", "\n  unit: mg/kg/h\n", "\n  unit: mg/kg/h\n  unit: mg/kg\n")
    with pytest.raises(ProtocolError, match=r"limits\.yaml: not readable as YAML: a key stands twice"):
        load_from(copy, sets)


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "{a: 1, a: 1}", "a:\n  b: {c: 1, d: 2, c: 3}\n"])
def test_a_duplicate_key_is_refused_at_any_depth(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"here\.yaml.*a key stands twice"):
        parse_yaml(text, "here.yaml")


def test_a_number_keeps_its_exact_decimals() -> None:
    values = parse_yaml("[0.35, 0.1, 1.0, 0.50, 1.153]", "here.yaml")
    assert [f"{value}" for value in values] == ["0.35", "0.1", "1.0", "0.50", "1.153"]
    assert all(isinstance(value, Decimal) for value in values)


def test_a_limit_keeps_its_exact_decimal(shipped: model.Protocol) -> None:
    assert shipped.limits["bolus-warn"].values == {date(2026, 11, 22): Decimal("0.35")}
    assert shipped.limits["esketamine-bolus-warn"].values == {date(2026, 11, 22): Decimal("0.175")}
    assert shipped.limits["slip-number-high"].values == {date(2026, 11, 22): [Decimal("0.5"), Decimal("16.7")]}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_any_plain_decimal_survives(value: Decimal) -> None:
    assert parse_yaml(f"value: {value:f}", "here.yaml") == {"value": value}


@pytest.mark.parametrize("text", [".5", ".inf", ".nan", "1:30", "1:30.5", "010", "1e3", "yes", "0x10"])
def test_what_only_looks_like_a_number_stays_a_text_and_fits_no_limit(text: str) -> None:
    """YAML 1.1 would read 010 as 8 and 1:30 as 90."""
    assert parse_yaml(f"a: {text}", "here.yaml") == {"a": text}


@pytest.mark.parametrize("text", ["a: [1", "a: !!python/name:os.system", "\tb", "a: !!int ''", "a: !!timestamp x"])
def test_what_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"here\.yaml: not readable as YAML"):
        parse_yaml(text, "here.yaml")


@given(st.text(max_size=60))
def test_text_of_any_kind_is_read_or_refused_and_never_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        parse_yaml(text, "here.yaml")


LIMIT = {"title": "Rate", "unit": "mg/kg/h", "values": {date(2026, 11, 22): Decimal("0.5")}, "sources": ["K-04"]}


def test_a_limit_needs_a_known_status() -> None:
    assert convert({**LIMIT, "status": "design"}, model.Limit, "here").status == "design"
    with pytest.raises(ProtocolError, match=r"here: .*'guessed'.*\$\.status"):
        convert({**LIMIT, "status": "guessed"}, model.Limit, "here")
    with pytest.raises(ProtocolError, match=r"here: .*missing required field `status`"):
        convert(LIMIT, model.Limit, "here")


@pytest.mark.parametrize(("unit", "number", "fits"), [("{score}", "-2", True), ("mg/kg/h", "-2", False)])
def test_only_points_of_a_scale_go_below_zero(
    shipped: model.Protocol, sets: valuesets.ValueSets, unit: str, number: str, fits: bool
) -> None:
    given = {**LIMIT, "unit": unit, "values": {date(2026, 11, 22): Decimal(number)}, "status": "design"}
    limit = msgspec.structs.replace(convert(given, model.Limit, "here"), id="sedative-rass", sources=["R6"])
    protocol = msgspec.structs.replace(shipped, limits={**shipped.limits, "sedative-rass": limit})
    if fits:
        check(protocol, sets)
    else:
        with pytest.raises(ProtocolError, match="sedative-rass: -2 is not a number from 0 upwards"):
            check(protocol, sets)


def test_a_change_of_a_site_needs_owner_date_and_reason() -> None:
    site = {"owner": "P&T committee", "date": date(2026, 12, 1), "reason": "chronic pain service"}
    limit = convert({**LIMIT, "status": "design", "site": site}, model.Limit, "here")
    assert limit.site == model.SiteChange(
        owner="P&T committee", date=date(2026, 12, 1), reason="chronic pain service"
    )
    for field in site:
        rest = {key: value for key, value in site.items() if key != field}
        with pytest.raises(ProtocolError, match=f"missing required field `{field}`"):
            convert({**LIMIT, "status": "design", "site": rest}, model.Limit, "here")


def test_any_all_and_not_are_read_at_every_depth() -> None:
    written = {
        "name": "tier",
        "severity": "warning",
        "when": {"not": {"any": [{"all": [{"fact": "condition", "in": ["dx_glaucoma"]}]}]}},
    }
    glaucoma = model.ConditionIs(sets=["dx_glaucoma"])
    assert convert(written, model.Tier, "here").when == model.Not(of=[model.Any(of=[model.All(of=[glaucoma])])])


def test_an_unknown_fact_is_refused() -> None:
    written = {"name": "tier", "severity": "warning", "when": {"fact": "horoscope", "in": ["leo"]}}
    with pytest.raises(ProtocolError, match="horoscope"):
        convert(written, model.Tier, "here")

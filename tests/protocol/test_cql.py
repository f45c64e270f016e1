"""The protocol as CQL: every rule is said or listed with the reason, and the libraries name all that they use."""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from cds_service import cli, units
from cds_service.knowledge import Knowledge
from cds_service.protocol import published_sets
from cds_service.protocol.cql import SetPart, Written
from cds_service.protocol.cql.valuesets import parts
from cds_service.published import as_cql

DAY = date(2026, 11, 22)
_NAME = r'"((?:[^"\\]|\\.)*)"'


@pytest.fixture(scope="module")
def written(knowledge: Knowledge) -> Written:
    return as_cql(knowledge, knowledge.protocol, DAY)


def test_every_rule_is_said_or_listed_with_the_reason(written: Written, knowledge: Knowledge) -> None:
    said = [each.rule for each in written.libraries if each.rule is not None]
    assert {*said, *written.unsaid} == {*knowledge.protocol.rules}
    assert not set(said) & set(written.unsaid)
    assert all(written.unsaid.values())


def test_no_rule_falls_out_unseen(written: Written) -> None:
    # A change that makes a rule unsayable must be meant.
    assert sum(each.rule is not None for each in written.libraries) >= 56


def test_a_library_defines_each_name_once_and_uses_none_that_is_not_defined(written: Written) -> None:
    chart, order, *others = written.libraries
    known = {
        alias: set(re.findall(rf"^define(?: function)? {_NAME}", each.text, re.M))
        for alias, each in (("Chart", chart), ("Dosage", order))
    }
    for each in others:
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", each.text, flags=re.S)
        defined = re.findall(rf"^(?:define|valueset) {_NAME}", code, re.M)
        assert len(defined) == len(set(defined)), each.name
        for alias, names in known.items():
            named = set(re.findall(rf"{alias}\.{_NAME}", code))
            assert named <= names, (each.name, named - names)
            assert not named or f"called {alias}" in code, each.name
        own = set(re.findall(rf"(?<![.\w]){_NAME}", code))
        assert own <= {*defined}, (each.name, own - {*defined})


def test_a_library_carries_the_numbers_and_sources_of_its_limits(written: Written) -> None:
    library = next(each for each in written.libraries if each.rule == "bp-uncontrolled")
    assert "define \"bp-critical-systolic\":\n  180 'mm[Hg]'" in library.text
    assert "(verified; K-26, R8)" in library.text
    assert "Hypertension out of control forbids ketamine absolutely" in library.text


def test_the_parts_of_a_panel_stand_in_one_order_in_every_process(written: Written) -> None:
    # Another text would be served without its ELM, and asked of the oracle's engines again.
    library = next(each for each in written.libraries if each.rule == "bp-uncontrolled")
    named = re.findall(r'not exists \(R.parts P where P in "(\w+) codes" or P in "(\w+) codes"', library.text)
    assert named
    assert set(named) == {("obs_dbp", "obs_sbp")}


def test_a_limit_that_each_drug_has_of_its_own_is_chosen_by_the_drug_that_is_ordered(written: Written) -> None:
    library = next(each for each in written.libraries if each.rule == "rate-exceeds-protocol-max")
    assert "when 'ketamine' then 0.5 'mg/kg/h' // verified; K-03, K-04, K-31, R1" in library.text
    assert "when 'esketamine' then 0.25 'mg/kg/h' // verified; R81" in library.text


def test_an_order_is_read_in_the_units_of_the_closed_table_alone(written: Written) -> None:
    table = written.libraries[1].text.partition('define "Units": {')[2].partition('define "Times"')[0]
    rows = re.findall(r"unit: '([^']+)', factor: ([\d.]+), divisor: ([\d.]+), written: \{([^}]*)\}", table)
    assert len(rows) > 15
    for unit, factor, divisor, writings in rows:
        for writing in re.findall(r"'([^']+)'", writings):
            found = units.find(writing, *units.dimensions_of(unit))
            assert found.factor == Fraction(factor) / Fraction(divisor), writing


def test_a_group_of_a_value_set_is_published_with_its_own_codes_alone(written: Written, knowledge: Knowledge) -> None:
    whole = published_sets.value_sets([knowledge.protocol])
    made = parts(written.sets, whole)
    intensive = made[SetPart("loc_type", "icu").id]
    codes = {concept["code"] for each in intensive["compose"]["include"] for concept in each.get("concept", ())}
    assert "ICU" in codes
    assert "ER" not in codes
    assert all(each["compose"]["include"] for each in made.values())


def test_codes_that_say_that_a_problem_is_past_are_apart_from_the_others(
    written: Written, knowledge: Knowledge
) -> None:
    made = parts(written.sets, published_sets.value_sets([knowledge.protocol]))
    past = {name for name in made if name.endswith(".history")}
    assert past
    for name in past:
        current = made[name.removesuffix("history") + "current"]
        of_past = {concept["code"] for i in made[name]["compose"]["include"] for concept in i.get("concept", ())}
        of_current = {concept["code"] for i in current["compose"]["include"] for concept in i.get("concept", ())}
        assert not of_past & of_current


def test_the_command_writes_libraries_value_sets_and_what_is_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["protocol", "publish", "--cql", str(tmp_path)]) == 0
    assert "of 84 rules" in capsys.readouterr().out
    assert "library KetamineChart" in (tmp_path / "KetamineChart.cql").read_text("utf-8")
    assert "library KetamineDosage" in (tmp_path / "KetamineDosage.cql").read_text("utf-8")
    assert "`uncapped-order`" in (tmp_path / "not-said.md").read_text("utf-8")
    for library in tmp_path.glob("*.cql"):
        for name in re.findall(r"/ValueSet/([\w.-]+)'", library.read_text("utf-8")):
            assert (tmp_path / "valuesets" / f"{name}.json").is_file(), name


def test_a_folder_that_cannot_be_written_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert cli.main(["protocol", "publish", "--cql", str(tmp_path / "taken")]) == cli.BAD_INPUT
    assert "taken" in capsys.readouterr().err

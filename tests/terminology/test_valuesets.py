"""Value sets: how a code is matched, what stops the start, and that the shipped sets are those of the research."""

import csv
import json
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.valueset import ValueSet as StrictValueSet
from hypothesis import given
from hypothesis import strategies as st

from cds_service import knowledge as everything
from cds_service import readers
from cds_service.folders import COMMON
from cds_service.knowledge import Knowledge
from cds_service.protocol.loader import load as load_protocol
from cds_service.terminology import valueset, valuesets
from cds_service.terminology.systems import canonical_system
from cds_service.terminology.valueset import ValueSetError
from cds_service.terminology.valuesets import ValueSets
from tests.terminology.test_vocabulary import sets_of

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
ATC = "http://www.whocc.no/atc"
NDC = "http://hl7.org/fhir/sid/ndc"
HSLOC = "https://www.cdc.gov/nhsn/cdaportal/terminology/codesystem/hsloc.html"
CDC_RACE = "urn:oid:2.16.840.1.113883.6.238"
V3_ROUTE = "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration"

SHIPPED = sorted(
    (COMMON / "valuesets").iterdir(),
    key=lambda file: file.name,
)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def sets() -> ValueSets:
    return valuesets.load()


def loaded(*value_sets: Json) -> ValueSets:
    return ValueSets(valueset.read(json.dumps(each).encode(), f"{each.get('name')}.json") for each in value_sets)


def value_set(*include: Json, name: str = "a_set", **more: Any) -> Json:
    return {"resourceType": "ValueSet", "name": name, "compose": {"include": list(include)}, **more}


def enumerated(system: str, *codes: str) -> Json:
    return {"system": system, "concept": [{"code": code} for code in codes]}


def branch(system: str, code: str) -> Json:
    return {"system": system, "filter": [{"property": "concept", "op": "is-a", "value": code}]}


def evidence(**parts: str | int | Decimal) -> list[Json]:
    """The extension that a shipped code carries."""
    kinds = {int: "valueInteger", Decimal: "valueDecimal"}
    inner = [
        {"url": name.replace("_", "-"), kinds.get(type(value), "valueCode"): value} for name, value in parts.items()
    ]
    return [{"url": "https://example.org/StructureDefinition/code-evidence", "extension": inner}]


# Systems: see test_systems.py


@pytest.mark.parametrize(
    ("code", "system", "means", "other_system"),
    [
        ("2106-3", LOINC, "obs_hcg", CDC_RACE),  # hCG in urine; White
        ("1108-0", HSLOC, "loc_type", CDC_RACE),  # emergency department; a tribe
        ("1097-5", HSLOC, "loc_type", CDC_RACE),  # recovery room; a tribe
        ("6130", RXNORM, "ketamine_drug", SNOMED),
        ("77386006", SNOMED, "dx_pregnancy", RXNORM),
    ],
)
def test_the_same_code_string_in_another_system_means_nothing(
    sets: ValueSets, code: str, system: str, means: str, other_system: str
) -> None:
    assert means in sets.members_of(system, code)
    assert sets.members_of(other_system, code) == {}


@given(system=st.text(), code=st.text())
def test_no_text_from_outside_makes_a_look_up_fail(sets: ValueSets, system: str, code: str) -> None:
    for each in (system, ICD_10_CM, NDC, ATC):
        assert isinstance(sets.members_of(each, code), dict)


def test_a_code_of_a_million_characters_is_answered_at_once(sets: ValueSets) -> None:
    started = time.thread_time()
    assert sets.members_of(ICD_10_CM, "X" * 1_000_000) == {}
    assert time.thread_time() - started < 1


# Codes, branches and what is taken out of them


@pytest.mark.parametrize("code", ["F20", "F20.0", "F200", "f20.9", "F20.89", " F20.0 ", "F20.0\u200b"])
def test_an_icd_branch_takes_its_codes_with_or_without_dots(code: str) -> None:
    sets = loaded(value_set(branch(ICD_10_CM, "F20")))
    assert list(sets.members_of(ICD_10_CM, code)) == ["a_set"]


@pytest.mark.parametrize("code", ["F2", "F21", "F", "", "G20", "20", "XF20"])
def test_an_icd_branch_takes_no_neighbour_and_no_parent(code: str) -> None:
    sets = loaded(value_set(branch(ICD_10_CM, "F20")))
    assert sets.members_of(ICD_10_CM, code) == {}


def test_who_and_clinical_modification_branches_are_kept_apart() -> None:
    sets = loaded(value_set(branch(ICD_10_CM, "F20")))
    assert sets.members_of(ICD_10, "F20.0") == {}


def test_an_enumerated_icd_code_takes_no_child() -> None:
    sets = loaded(value_set(enumerated(ICD_10_CM, "R51")))
    assert "a_set" in sets.members_of(ICD_10_CM, "R51")
    assert sets.members_of(ICD_10_CM, "R51.9") == {}


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        ("I25", True),
        ("I25.10", True),
        ("I25.110", False),
        ("I251101", False),
        ("I25.11", True),
        ("I25.119", True),
        ("I25.2", True),
    ],
)
def test_an_exclusion_takes_its_branch_out_of_the_branch_around_it(code: str, taken: bool) -> None:
    compose = {"include": [branch(ICD_10_CM, "I25")], "exclude": [branch(ICD_10_CM, "I25.110")]}
    sets = loaded({"name": "a_set", "compose": compose})
    assert ("a_set" in sets.members_of(ICD_10_CM, code)) == taken


@pytest.mark.parametrize("include", [branch(ICD_10_CM, "O14.05"), enumerated(ICD_10_CM, "O14.05")])
@pytest.mark.parametrize("exclude", [branch(ICD_10_CM, "O1405"), enumerated(ICD_10_CM, "O14.05")])
def test_a_code_that_is_included_and_excluded_is_excluded(include: Json, exclude: Json) -> None:
    compose = {"include": [branch(ICD_10_CM, "O14"), include], "exclude": [exclude]}
    sets = loaded({"name": "a_set", "compose": compose})
    assert sets.members_of(ICD_10_CM, "O14.05") == {}
    assert "a_set" in sets.members_of(ICD_10_CM, "O14.04")


def test_the_longest_match_wins_whichever_comes_first_in_the_file() -> None:
    inner = {**branch(ICD_10_CM, "O10.03"), "extension": evidence(group="puerperium")}
    outer = {**branch(ICD_10_CM, "O10"), "extension": evidence(group="pregnancy")}
    for include in ([inner, outer], [outer, inner]):
        sets = loaded({"name": "a_set", "compose": {"include": include}})
        assert sets.members_of(ICD_10_CM, "O10.031")["a_set"].group == "puerperium"
        assert sets.members_of(ICD_10_CM, "O10.1")["a_set"].group == "pregnancy"


def test_a_longer_inclusion_inside_an_exclusion_wins() -> None:
    compose = {
        "include": [branch(ICD_10_CM, "O"), branch(ICD_10_CM, "O24.43"), enumerated(ICD_10_CM, "O24.9")],
        "exclude": [branch(ICD_10_CM, "O24")],
    }
    sets = loaded({"name": "a_set", "compose": compose})
    found = {
        code: "a_set" in sets.members_of(ICD_10_CM, code) for code in ("O23", "O24.0", "O24.430", "O24.9", "O24.91")
    }
    assert found == {"O23": True, "O24.0": False, "O24.430": True, "O24.9": True, "O24.91": False}


def test_an_exclusion_of_one_set_leaves_another_alone() -> None:
    one = {"name": "one", "compose": {"include": [branch(ATC, "N05A")], "exclude": [branch(ATC, "N05AN")]}}
    sets = loaded(one, value_set(branch(ATC, "N05A"), name="two"))
    assert set(sets.members_of(ATC, "N05AN01")) == {"two"}
    assert set(sets.members_of(ATC, "N05AX08")) == {"one", "two"}


def test_atc_codes_are_compared_as_written() -> None:
    sets = loaded(value_set(branch(ATC, "N05BA")))
    assert "a_set" in sets.members_of(ATC, "N05BA01")
    assert sets.members_of(ATC, "n05ba01") == {}
    assert sets.members_of(ATC, "N05B.A01") == {}


digits = st.text("0123456789", min_size=1, max_size=6)


@given(st.lists(digits, min_size=1, max_size=5), st.lists(digits, max_size=5), digits)
def test_a_branch_set_decides_as_its_definition_says(included: list[str], excluded: list[str], code: str) -> None:
    """The definition: the longest of all roots that the code begins with decides, and an exclusion wins a tie."""
    compose = {
        "include": [branch(ICD_10_CM, root) for root in included],
        "exclude": [branch(ICD_10_CM, root) for root in excluded],
    }
    sets = loaded({"name": "a_set", "compose": compose})
    roots = [
        (len(root), wins) for wins, each in ((0, included), (1, excluded)) for root in each if code.startswith(root)
    ]
    assert ("a_set" in sets.members_of(ICD_10_CM, code)) == (bool(roots) and max(roots)[1] == 0)


@pytest.mark.parametrize(
    ("code", "in_pregnancy"),
    [("O14.05", False), ("O14.04", True), ("O24.430", False), ("O24.41", True), ("O80", False), ("Z33.1", True)],
)
def test_a_woman_who_has_given_birth_is_not_pregnant_by_her_shipped_code(
    sets: ValueSets, code: str, in_pregnancy: bool
) -> None:
    assert ("dx_pregnancy" in sets.members_of(ICD_10_CM, code)) == in_pregnancy


def test_the_shipped_traps_are_not_what_they_look_like(sets: ValueSets) -> None:
    assert "obs_rass" not in sets.members_of(LOINC, "54632-5"), "a delirium question that is published as RASS"
    assert "obs_weight_measured" not in sets.members_of(LOINC, "8336-0"), "a percentile"
    assert "obs_weight_measured" not in sets.members_of(LOINC, "11727-5"), "the weight of the foetus"
    assert "ventilated" not in sets.members_of(SNOMED, "428311008"), "ventilated without a tube"
    assert "dx_stroke" not in sets.members_of(ICD_10_CM, "G45.4"), "transient global amnesia"


def test_the_two_strengths_that_are_easily_swapped_are_the_right_way_round(sets: ValueSets) -> None:
    strengths = {
        code: sets.members_of(RXNORM, code)["ketamine_drug"].strength for code in ("238082", "238083", "238084")
    }
    assert strengths == {"238082": Decimal(10), "238083": Decimal(100), "238084": Decimal(50)}


@pytest.mark.parametrize(
    "written",
    ["00409205310", "0409-2053-10", "00409-2053-10", "0409-2053-10 "],
)
def test_an_ndc_is_found_in_each_of_its_spellings(sets: ValueSets, written: str) -> None:
    assert "ketamine_ndc" in sets.members_of(NDC, written)


@pytest.mark.parametrize(
    ("ten_digits", "eleven_digits"),
    [("1234-5678-90", "01234567890"), ("12345-678-90", "12345067890"), ("12345-6789-0", "12345678900")],
)
def test_each_hyphenated_ten_digit_ndc_layout_is_filled_up_in_its_own_place(
    ten_digits: str, eleven_digits: str
) -> None:
    sets = loaded(value_set(enumerated(NDC, eleven_digits)))
    assert "a_set" in sets.members_of(NDC, ten_digits)


@pytest.mark.parametrize("written", ["0409205310", "0409-2053", "409-2053-1", "00409-2053-11", "", "-", "--"])
def test_an_ndc_that_could_be_several_products_is_none_of_them(sets: ValueSets, written: str) -> None:
    assert sets.members_of(NDC, written) == {}


# Groups and what a set says of a code


def test_a_rule_may_ask_for_a_set_or_for_one_group_of_it(sets: ValueSets) -> None:
    inpatient = [("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IMP")]
    assert sets.member("enc_class", inpatient) is not None
    assert sets.member("enc_class/inpatient", inpatient) is not None
    assert sets.member("enc_class/outpatient", inpatient) is None
    assert "enc_class/inpatient" in sets
    assert sets["enc_class/inpatient"].name == "enc_class"


@pytest.mark.parametrize(
    ("reference", "system", "code"),
    [
        ("obs_thyroid/tsh", LOINC, "3016-3"),
        ("obs_thyroid/ft4", LOINC, "3024-7"),
        ("ae_headache_dizziness/headache", SNOMED, "25064002"),
        ("ae_headache_dizziness/headache", ICD_10_CM, "R51.9"),
        ("dx_substance_use/intoxication", ICD_10_CM, "F10.129"),
        ("dx_cystitis_gu/cystitis", ICD_10_CM, "N30.11"),
        ("dx_cystitis_gu/cystitis", SNOMED, "38822007"),
        ("dx_cystitis_gu/symptom", ICD_10_CM, "R31.0"),
        ("dx_cystitis_gu/symptom", SNOMED, "49650001"),
        ("rx_nmda_antagonists/dextromethorphan", RXNORM, "3289"),
        ("rx_nmda_antagonists/dextromethorphan", ATC, "R05DA09"),
        ("order_category_home", "http://terminology.hl7.org/CodeSystem/medicationrequest-category", "discharge"),
    ],
)
def test_a_group_that_a_rule_asks_for_holds_its_codes(
    sets: ValueSets, reference: str, system: str, code: str
) -> None:
    assert sets.member(reference, [(system, code)]) is not None


@pytest.mark.parametrize(
    ("reference", "system", "code"),
    [
        ("obs_thyroid/tsh", LOINC, "3024-7"),
        ("ae_headache_dizziness/headache", SNOMED, "404640003"),
        ("dx_substance_use/intoxication", ICD_10_CM, "F10.20"),
        ("dx_cystitis_gu/cystitis", ICD_10_CM, "N30.01"),
        ("dx_cystitis_gu/cystitis", ICD_10_CM, "N30.40"),
        ("dx_cystitis_gu/symptom", ICD_10_CM, "N30.10"),
        ("rx_nmda_antagonists/dextromethorphan", RXNORM, "6719"),
        ("order_category_home", "http://terminology.hl7.org/CodeSystem/medicationrequest-category", "outpatient"),
    ],
)
def test_a_group_holds_no_other_code_of_its_set(sets: ValueSets, reference: str, system: str, code: str) -> None:
    assert sets.member(reference, [(system, code)]) is None


def test_any_coding_of_a_concept_counts_and_the_first_that_is_in_the_set_speaks() -> None:
    first = {"code": "a", "display": "first", "extension": evidence(score=1)}
    second = {"code": "b", "display": "second", "extension": evidence(score=2)}
    sets = loaded(value_set({"system": "urn:s", "concept": [first, second]}))
    found = sets.member("a_set", [("urn:local", "x"), ("urn:s", "b"), ("urn:s", "a")])
    assert found is not None
    assert (found.display, found.score) == ("second", 2)
    assert sets.member("a_set", [("urn:local", "x")]) is None
    assert sets.member("a_set", []) is None


def test_a_member_carries_what_the_set_says_of_it() -> None:
    concept = {
        "code": "a",
        "display": "A",
        "extension": evidence(status="verified", group="g", qualifier="history", strength_mg_per_mL=10, score=3),
    }
    sets = loaded(value_set({"system": "urn:s", "concept": [concept]}))
    assert sets.members_of("urn:s", "a") == {
        "a_set": valueset.Member("a_set", "a", "A", group="g", history=True, strength=Decimal(10), score=3)
    }


def test_a_strength_is_exact() -> None:
    extension = json.dumps(evidence(strength_mg_per_mL=7)).replace(": 7}", ": 0.1}")
    text = '{"name": "s", "compose": {"include": [{"system": "urn:s", "concept": [{"code": "a", "extension": %s}]}]}}'
    (member,) = ValueSets([valueset.read((text % extension).encode(), "s")]).members_of("urn:s", "a").values()
    assert member.strength == Decimal("0.1")


@pytest.mark.parametrize("kind", ["concept", "branch"])
def test_a_code_that_nobody_verified_never_decides(kind: str) -> None:
    marked = evidence(status="unverified")
    unverified = (
        {"system": ICD_10_CM, "concept": [{"code": "X1", "extension": marked}]}
        if kind == "concept"
        else {**branch(ICD_10_CM, "X1"), "extension": marked}
    )
    sets = loaded(value_set(unverified, enumerated(ICD_10_CM, "Y1")))
    assert sets.members_of(ICD_10_CM, "X1") == {}
    assert sets.codes("a_set", ICD_10_CM) == ["Y1"]


# Loading


def read_error(value: Json | bytes) -> str:
    with pytest.raises(ValueSetError) as caught:
        valueset.read(value if isinstance(value, bytes) else json.dumps(value).encode(), "site.json")
    return str(caught.value)


@pytest.mark.parametrize(
    "empty",
    [
        {"name": "a_set"},
        {"name": "a_set", "compose": {"include": []}},
        value_set({"system": "urn:s", "concept": []}),
        value_set({"system": "urn:s", "concept": [{"code": "x", "extension": evidence(status="unverified")}]}),
        {"name": "a_set", "compose": {"include": [], "exclude": [enumerated(SNOMED, "1")]}},
        {"name": "a_set", "expansion": {"contains": []}},
    ],
    ids=["nothing", "no include", "no concept", "only unverified", "only excluded", "empty expansion"],
)
def test_a_set_that_would_match_nothing_stops_the_start(empty: Json) -> None:
    message = read_error(empty)
    assert "site.json" in message
    assert "a_set is empty" in message


def test_a_set_that_says_that_it_has_no_codes_is_loaded_and_says_so() -> None:
    marked = {"name": "a_set", "extension": [{"url": "https://example.org/no-codes", "valueBoolean": True}]}
    sets = loaded(marked)
    assert sets["a_set"].no_codes
    assert "a_set" in sets


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "cannot|can be read"),
        (b"[]", "can be read"),
        (b'{"name": "a"', "can be read"),
        ({"compose": {"include": [enumerated(SNOMED, "1")]}}, "name"),
        (value_set({"concept": [{"code": "1"}]}), "system"),
        (value_set({"valueSet": ["http://example.org/other"]}), "system"),
        (value_set({"system": SNOMED, "concept": [{"display": "no code"}]}), "code"),
        (value_set({"system": RXNORM, "concept": [{"code": 6130}]}), "6130"),
        (value_set({"system": LOINC, "filter": [{"property": "STATUS", "op": "=", "value": "A"}]}), "is-a"),
        (value_set({"system": ICD_10_CM, "filter": [{"property": "concept", "op": "in", "value": "A"}]}), "is-a"),
        (value_set(branch(SNOMED, "58214004")), "must be listed"),
    ],
)
def test_a_file_that_means_more_than_can_be_done_stops_the_start(broken: Json | bytes, why: str) -> None:
    message = read_error(broken)
    assert message.startswith("site.json")
    assert any(part in message for part in why.split("|"))


def test_a_directory_without_a_set_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("no sets here")
    with pytest.raises(ValueSetError, match="no value sets"):
        valuesets.load(tmp_path)


def test_one_broken_file_stops_the_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(value_set(enumerated(SNOMED, "1"))))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueSetError, match=r"broken\.json"):
        valuesets.load(tmp_path)


def test_a_sites_own_expansion_is_read_also_where_it_is_nested() -> None:
    expansion = [
        {"system": SNOMED, "code": "58214004", "display": "Schizophrenia"},
        {
            "abstract": True,
            "system": SNOMED,
            "code": "64572001",
            "contains": [
                {"system": SNOMED, "code": "83746006", "contains": [{"system": SNOMED, "code": "191531007"}]}
            ],
        },
        {"display": "only a heading", "contains": [{"system": SNOMED, "code": "26025008"}]},
    ]
    compose = {"include": [branch(SNOMED, "58214004")]}  # what is meant; the expansion says what that is
    sets = loaded({"name": "a_set", "compose": compose, "expansion": {"contains": expansion}})
    found = {
        code
        for code in ("58214004", "64572001", "83746006", "191531007", "26025008")
        if sets.members_of(SNOMED, code)
    }
    assert found == {"58214004", "83746006", "191531007", "26025008"}
    assert sets.members_of(SNOMED, "582140041") == {}, "a SNOMED code is no branch of another that it begins with"


def test_an_expansion_does_not_take_away_what_the_enumeration_says_of_a_code() -> None:
    concept = {"code": "IMP", "display": "inpatient", "extension": evidence(group="inpatient")}
    expansion = {"contains": [{"system": "urn:s", "code": "IMP"}]}
    sets = loaded(value_set({"system": "urn:s", "concept": [concept]}, expansion=expansion))
    assert sets.members_of("urn:s", "IMP")["a_set"].group == "inpatient"


def test_the_codes_of_one_system_are_listed_in_the_order_of_the_file() -> None:
    sets = loaded(value_set(enumerated(LOINC, "b", "a"), enumerated(SNOMED, "1"), enumerated(LOINC, "c")))
    assert sets.codes("a_set", LOINC) == ["b", "a", "c"]


# A site's directory


def directory(folder: Path, *value_sets: Json) -> Path:
    for number, each in enumerate(value_sets):
        (folder / f"{number}.json").write_text(json.dumps(each))
    return folder


def test_a_sites_set_adds_its_codes_to_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    added = {"system": SNOMED, "code": "9990001", "display": "A disease of this site"}
    sets = valuesets.load(directory(tmp_path, {"name": "dx_myasthenia", "expansion": {"contains": [added]}}))
    shipped = valuesets.load()
    assert "dx_myasthenia" in sets.members_of(SNOMED, "9990001")
    assert len(sets["dx_myasthenia"].members) == len(shipped["dx_myasthenia"].members) + 1
    assert sets["dx_myasthenia"].title == shipped["dx_myasthenia"].title
    assert sets.names() == shipped.names()


def test_a_sites_set_does_not_change_what_the_shipped_one_says_of_a_code(tmp_path: Path) -> None:
    again = {"system": RXNORM, "concept": [{"code": "238082", "extension": evidence(strength_mg_per_mL=50)}]}
    sets = valuesets.load(directory(tmp_path, value_set(again, name="ketamine_drug")))
    assert sets.members_of(RXNORM, "238082")["ketamine_drug"].strength == Decimal(10)


def test_what_the_shipped_set_excludes_stays_excluded(tmp_path: Path) -> None:
    site = value_set(enumerated(ICD_10_CM, "O14.05"), name="dx_pregnancy")
    assert "dx_pregnancy" not in valuesets.load(directory(tmp_path, site)).members_of(ICD_10_CM, "O14.05")


def test_a_set_without_codes_has_those_of_the_site(tmp_path: Path) -> None:
    sets = valuesets.load(
        directory(tmp_path, value_set(enumerated("urn:site", "CLINIC"), name="loc_infusion_clinic"))
    )
    assert not sets["loc_infusion_clinic"].no_codes
    assert sets.member("loc_infusion_clinic", [("urn:site", "CLINIC")]) is not None
    assert sets["obs_child_pugh"].no_codes


def test_a_name_that_is_not_shipped_is_a_set_of_the_site_and_may_exclude(tmp_path: Path) -> None:
    compose = {"include": [branch(ATC, "N05A")], "exclude": [branch(ATC, "N05AN")]}
    sets = valuesets.load(directory(tmp_path, {"name": "our_set", "title": "Ours", "compose": compose}))
    assert "our_set" in sets.members_of(ATC, "N05AX08")
    assert "our_set" not in sets.members_of(ATC, "N05AN01")


def test_a_sites_set_may_not_take_codes_away(tmp_path: Path) -> None:
    compose = {"include": [enumerated(SNOMED, "1")], "exclude": [enumerated(SNOMED, "91637004")]}
    with pytest.raises(ValueSetError, match=r"0\.json: dx_myasthenia excludes codes; a site's set can only add"):
        valuesets.load(directory(tmp_path, {"name": "dx_myasthenia", "compose": compose}))


def test_the_expansion_stands_for_filters_and_excludes_that_only_the_server_could_follow(tmp_path: Path) -> None:
    compose = {
        "include": [branch(ICD_10_CM, "G70"), {"valueSet": ["http://example.org/other"]}],
        "exclude": [branch(SNOMED, "91637004")],
    }
    expansion = {"contains": [{"system": ICD_10_CM, "code": "G73.3"}]}
    sets = valuesets.load(directory(tmp_path, {"name": "our_set", "compose": compose, "expansion": expansion}))
    assert "our_set" in sets.members_of(ICD_10_CM, "G73.3")
    assert "our_set" not in sets.members_of(ICD_10_CM, "G70.0")


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "dx_myasthenia"},
        {"name": "dx_myasthenia", "expansion": {"contains": []}},
        {"name": "dx_myasthenia", "expansion": {"contains": [{"code": "1"}]}},
        {"name": 5, "expansion": {"contains": [{"system": SNOMED, "code": "1"}]}},
        {"resourceType": "Bundle", "entry": []},
    ],
)
def test_a_sites_set_that_is_empty_or_unreadable_stops_the_start(broken: Json, tmp_path: Path) -> None:
    with pytest.raises(ValueSetError, match=r"0\.json"):
        valuesets.load(directory(tmp_path, broken))


def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueSetError, match="cannot be read"):
        valuesets.load(tmp_path / "none")


# The shipped sets


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_shipped_set_is_a_valid_r4_value_set_named_like_its_file(file: Any) -> None:
    resource = StrictValueSet.model_validate_json(file.read_bytes())
    assert f"{resource.name}.json" == file.name
    assert resource.id == resource.name.replace("_", "-")
    assert resource.url.endswith(f"/{resource.id}")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_shipped_set_says_what_it_is_and_what_it_must_not_hold(file: Any) -> None:
    resource = StrictValueSet.model_validate_json(file.read_bytes())
    assert resource.version == "2026.11"
    assert (resource.status, resource.experimental) == ("active", False)
    assert resource.date is not None
    assert resource.publisher == "Ketamine CDS"
    purpose, _, rest = (resource.description or "").partition(". ")
    assert purpose
    assert len(rest.split()) > 4


def test_no_set_says_itself_what_reads_it(knowledge: Knowledge) -> None:
    """That is derived from what names it (docs/valuesets.md): a copy would go out of date with the next rule."""
    for file in SHIPPED:
        said = json.loads(file.read_bytes())["description"]
        assert not [rule for rule in knowledge.protocol.rules if "-" in rule and rule in said], file.name
    derived = readers.of([part.protocol for part in knowledge.parts], knowledge.valuesets, knowledge.queries)
    assert derived["rx_midazolam"] == [("rule", "midazolam-dose-exceeds")]
    assert derived["obs_height"] == [("role", "height"), ("query", "bodySize")]
    assert ("route", "intravenous") in derived["route_iv"]


def test_a_set_of_a_protocol_that_nothing_reads_is_refused_and_one_of_a_site_is_known(tmp_path: Path) -> None:
    folder = directory(tmp_path, value_set(enumerated("urn:site", "1"), name="our_own"))
    loaded = everything.load(site_valuesets=str(folder))
    assert loaded.valuesets.placement([("urn:site", "1")], ()).may_mean == frozenset()
    read = readers.of([part.protocol for part in loaded.parts], loaded.valuesets, loaded.queries)
    del read["dx_seizure"]
    with pytest.raises(ValueSetError, match="nothing reads the value set dx_seizure"):
        readers.check(read, loaded.valuesets)


def test_a_set_that_is_kept_though_nothing_reads_it_has_a_reason_and_no_reader(knowledge: Knowledge) -> None:
    kept = knowledge.valuesets.roles.kept
    assert all(kept.values())
    read = readers.of([part.protocol for part in knowledge.parts], knowledge.valuesets, knowledge.queries)
    assert read.keys().isdisjoint(kept)


def test_the_sets_that_name_another_set_name_one_that_is_there(sets: ValueSets) -> None:
    for file in SHIPPED:
        description = json.loads(file.read_bytes())["description"]
        for name in re.findall(r"\b(?:dx|rx|obs|ae|allergy|ans|mon|enc|loc|proc|ind|route|method)_\w+", description):
            assert name in sets, (file.name, name)


def _codes_with_evidence() -> Iterator[tuple[str, str, str, Json]]:
    """(set, system, code, what is said of it) of every shipped code."""
    for file in SHIPPED:
        resource = json.loads(file.read_bytes())
        compose = resource.get("compose", {})
        for include in (*compose.get("include", ()), *compose.get("exclude", ())):
            for coded in include.get("concept", [include]):
                code = coded["code"] if "code" in coded else coded["filter"][0]["value"]
                extensions = coded.get("extension", ())
                said: list[Json] = next(
                    (e["extension"] for e in extensions if e["url"].endswith("/code-evidence")), []
                )
                yield (
                    resource["name"],
                    include["system"],
                    code,
                    {part["url"]: next(value for key, value in part.items() if key != "url") for part in said},
                )


def test_snomed_codes_outside_the_global_patient_set_stay_few() -> None:
    """The Global Patient Set is licensed for everybody; who adds a code outside it raises the number knowingly."""
    in_gps: dict[str, bool] = {}
    for _, system, code, said in _codes_with_evidence():
        if system == SNOMED and said:
            in_gps[code] = in_gps.get(code, False) or said.get("in-global-patient-set", False)
    assert (sum(in_gps.values()), len(in_gps) - sum(in_gps.values())) == (281, 193)


def test_every_system_of_a_shipped_code_has_its_notice() -> None:
    notice = (Path(__file__).parents[2] / "NOTICE").read_text("utf-8")
    names = {
        SNOMED: "SNOMED CT:",
        LOINC: "LOINC:",
        RXNORM: "RxNorm:",
        ICD_10_CM: "ICD-10-CM:",
        ICD_10: "ICD-10-CM:",
        ICD_9_CM: "ICD-9-CM:",
        ATC: "ATC:",
        NDC: "NDC:",
        "http://fdasis.nlm.nih.gov": "UNII:",
        HSLOC: "HSLOC:",
    }
    own = {"https://ketamine-cds.github.io/fhir/CodeSystem/override-reasons"}
    systems = {system for _, system, _, _ in _codes_with_evidence()} - own
    for system in systems:
        assert names.get(system, "HL7 terminology:") in notice, system
    for other in systems - names.keys():
        assert other.startswith(("http://terminology.hl7.org/CodeSystem/", "http://hl7.org/fhir/uv/ips/")), other
    assert "UCUM:" in notice


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_set_with_codes_of_others_says_whose_they_are(file: Any) -> None:
    resource = json.loads(file.read_bytes())
    compose = resource.get("compose", {})
    systems = {part["system"] for part in (*compose.get("include", ()), *compose.get("exclude", ()))}
    for system, owner in (
        (SNOMED, "SNOMED International"),
        (LOINC, "Regenstrief"),
        (ATC, "WHO Collaborating Centre"),
    ):
        assert (owner in resource.get("copyright", "")) == (system in systems)


def test_only_systems_that_a_server_can_descend_are_marked_for_it(sets: ValueSets) -> None:
    marked = {name: sets[name].descendants for name in sets.names() if sets[name].descendants}
    assert "dx_schizophrenia" in marked
    assert "dx_pregnancy" not in marked, "delivery and miscarriage lie below it"
    for name, systems in marked.items():
        assert systems == {SNOMED}
        assert any(system == SNOMED for system, _ in sets[name].members)


NOT_MARKED = {
    "ae_emergency": "chronic disease lies below complaints",
    "adverse_events": "chronic disease lies below complaints",
    "ae_hallucination_dissociation": "chronic disease lies below complaints",
    "ae_headache_dizziness": "chronic disease lies below complaints",
    "ae_hypertension": "chronic disease lies below complaints",
    "ae_nausea": "chronic disease lies below complaints",
    "ae_oversedation": "chronic disease lies below complaints",
    "allergy_anaesthetic_unspecific": "an allergy to any other drug lies below it",
    "dx_cystitis_gu": "infections lie below it, which are a group of their own",
    "dx_lactation": "disorders of the breast lie near it",
    "dx_porphyria_unspecified": "porphyrias that are not acute lie below it",
    "dx_pregnancy": "delivery and miscarriage lie below it",
    "dx_pregnancy_possible": "it holds what is not known",
    "dx_raised_icp_direct": "normal-pressure hydrocephalus lies below it",
    "dx_sterilisation_menopause": "it only quiets: doubt means no",
    "dx_substance_use": "remission lies below it",
    "ketamine_drug": "the recogniser of drugs knows products",
    "proc_eye_surgery": "operations that do not open the eye lie below it",
    "ventilated": "it only quiets: doubt means no",
}
"""Sets of SNOMED codes that a rule reads and of which nothing below a code is meant."""


def test_every_set_that_snomed_could_descend_is_marked_or_says_why_not(sets: ValueSets) -> None:
    rules = load_protocol(sets).rules.values()
    clauses = [part.when for rule in rules for part in (*rule.tiers, *rule.changes) if part.when is not None]
    read = {name for clause in clauses for name in sets_of(clause)}
    coded = {name for name in read if any(system == SNOMED for system, _ in sets[name].members)}
    assert {name for name in coded if not sets[name].descendants} == set(NOT_MARKED)


def test_no_two_shipped_sets_share_a_name_and_none_is_lost(sets: ValueSets) -> None:
    assert sets.names() == [file.name.removesuffix(".json") for file in SHIPPED]


def test_the_shipped_sets_without_codes_are_known(sets: ValueSets) -> None:
    assert [name for name in sets.names() if sets[name].no_codes] == [
        "ae_neuro_deficit",
        "ans_child_pugh_c",
        "loc_infusion_clinic",
        "obs_child_pugh",
        "obs_delirium_screen",
    ]


def test_every_shipped_code_says_where_it_was_seen() -> None:
    for file in SHIPPED:
        for include in json.loads(file.read_bytes()).get("compose", {}).get("include", []):
            for coded in include.get("concept", [include]):
                (extension,) = (e for e in coded["extension"] if e["url"].endswith("/code-evidence"))
                said = {part["url"] for part in extension["extension"]}
                assert {"status", "checked"} <= said, (file.name, coded)


# What this project added to the research: sets, in these sets groups, and branches that say what a branch around
# them must not (acute and irradiation cystitis are no harm of ketamine; a disorder in remission is past, and
# intoxication is more than a disorder).
OWN_SETS = {
    "dx_anaesthetic_allergy",
    "dx_cardiac_high_risk",
    "dx_thyroid_removed",
    "dx_uterine_emergency",
    "ae_neuro_deficit",
    "ans_child_pugh_c",
    "ans_severity",
    "loc_paediatric",
    "no_information",
    "none_known",
    "order_category_home",
}
OWN_GROUPS = {
    "adverse_events",
    "ae_emergency",
    "dx_bipolar",
    "rx_ergot",
    "ae_headache_dizziness",
    "dx_cystitis_gu",
    "dx_intracranial_mass_or_injury",
    "esketamine_drug",
    "ind_anaesthesia_sedation",
    "ind_pain",
    "ind_status",
    "obs_thyroid",
    "route_iv",
    "rx_nmda_antagonists",
    "rx_stimulants",
}
OWN_CODES = {
    *(
        ("override_reasons", "https://ketamine-cds.github.io/fhir/CodeSystem/override-reasons", code, "code")
        for code in (
            "specialist-advised",
            "tolerated-before",
            "monitored-setting",
            "emergency",
            "data-wrong",
            "will-monitor",
        )
    ),
    *(
        ("ind_anaesthesia_sedation", SNOMED, code, "code")
        for code in (
            "112798008",
            "241689008",
            "182682004",
            "429161001",
            "232678001",
            "232679009",
            "232682004",
            "304341005",
            "447996002",
            "72641008",
        )
    ),
    ("ind_anaesthesia_sedation", ICD_10, "R45.1", "branch"),
    *(("ind_status", SNOMED, code, "code") for code in ("4386001", "57546000", "13973009")),
    *(("ind_status", ICD_10, code, "branch") for code in ("G41", "J46")),
    ("ind_status", ICD_10_CM, "J98.01", "branch"),
    *(("ind_mood", ICD_10, code, "branch") for code in ("F32", "F33")),
    *(("loc_type", SNOMED, code, "code") for code in ("225746001", "225738002")),
    ("dx_cystitis_gu", ICD_10_CM, "N30.0", "branch"),
    ("dx_cystitis_gu", ICD_10_CM, "N30.4", "branch"),
    *(
        ("dx_substance_use", ICD_10_CM, f"F1{substance}.{use}{state}", "branch")
        for substance in "012345689"
        for use in "129"
        for state in "12"
    ),
    *(("ans_positive", SNOMED, code, "code") for code in ("373066001", "52101004")),
    *(("ans_negative", SNOMED, code, "code") for code in ("373067005", "2667000")),
    *(("ans_positive", LOINC, code, "code") for code in ("LA33-6", "LA9633-4")),
    *(("ans_negative", LOINC, code, "code") for code in ("LA32-8", "LA9634-2")),
    *(
        (name, f"http://terminology.hl7.org/CodeSystem/v2-{table}", code, "code")
        for name, table, codes in (
            ("ans_positive", "0136", "Y"),
            ("ans_positive", "0532", "Y"),
            ("ans_positive", "0078", "POS DET"),
            ("ans_negative", "0136", "N"),
            ("ans_negative", "0532", "N"),
            ("ans_negative", "0078", "NEG ND"),
            ("ans_high", "0078", "H HH"),
        )
        for code in codes.split()
    ),
}


@pytest.fixture(scope="module")
def source() -> dict[str, list[dict[str, str]]]:
    """Value set -> its codes as they were first drawn up; a set without codes has one row that says so."""
    found: dict[str, list[dict[str, str]]] = {}
    with (Path(__file__).parents[1] / "sources" / "codes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["set"], []).append(row)
    return found


def test_the_shipped_sets_are_those_of_the_source(sets: ValueSets, source: dict[str, list[dict[str, str]]]) -> None:
    assert set(sets.names()) - OWN_SETS == set(source)
    without_codes = {name for name, rows in source.items() if rows[0]["kind"] == "no-codes"}
    assert {name for name in source if sets[name].no_codes} == without_codes


def _said(row: dict[str, str]) -> tuple[Any, ...]:
    return (
        row["group"] or None,
        row["history"] == "yes",
        Decimal(row["strength"]) if row["strength"] else None,
        int(row["score"]) if row["score"] else None,
    )


def test_every_code_is_that_of_the_source_with_all_that_is_said_of_it(
    sets: ValueSets, source: dict[str, list[dict[str, str]]]
) -> None:
    wanted = {
        (name, canonical_system(row["system"]), row["code"], row["kind"]): _said(row)
        for name, rows in source.items()
        for row in rows
        if row["verified"] != "no" and row["kind"] != "no-codes"
    }
    found: dict[tuple[str, str, str, str], tuple[Any, ...]] = {}
    for name in source:
        each = sets[name]
        for kind, members in (("code", each.members), ("branch", each.branches)):
            for system, m in members:
                found[name, system, m.code, kind] = (m.group, m.history, m.strength, m.score)
        for system, code in each.excluded:
            found[name, system, code, "excluded"] = wanted.get((name, system, code, "excluded"), ())
    assert found.keys() >= wanted.keys() | OWN_CODES
    since = {
        (name, system, code) for name, system, code, said in _codes_with_evidence() if said["checked"] > "2026-11-22"
    }
    assert {key[:3] for key in found.keys() - wanted.keys() - OWN_CODES} <= since, (
        "neither in the source nor seen since"
    )
    for key, said in wanted.items():
        if key[0] in OWN_GROUPS and said[0] is None:
            assert found[key][1:] == said[1:], key
        else:
            assert found[key] == said, key


def test_the_unverified_codes_of_the_source_never_decide(
    sets: ValueSets, source: dict[str, list[dict[str, str]]]
) -> None:
    unverified = [row for rows in source.values() for row in rows if row["verified"] == "no"]
    assert unverified, "the source has none left: this test can go"
    for row in unverified:
        assert row["set"] not in sets.members_of(row["system"], row["code"])

"""Value sets: how a code is matched, by which system, and what a member carries."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology import valueset
from cds_service.terminology.valuesets import ValueSets
from tests.terminology.sets import (
    ATC,
    HSLOC,
    ICD_10,
    ICD_10_CM,
    LOINC,
    NDC,
    RXNORM,
    SNOMED,
    Json,
    branch,
    enumerated,
    evidence,
    loaded,
    value_set,
)

CDC_RACE = "urn:oid:2.16.840.1.113883.6.238"


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

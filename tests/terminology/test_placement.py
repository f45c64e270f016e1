"""Where an entry belongs: by its codes, else by its words; and what is left when it has neither."""

import pytest

from cds_service.terminology.valuesets import ValueSets

SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_10_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
LOCAL = ("urn:oid:1.2.3.4", "P-17")


@pytest.mark.parametrize(
    ("system", "code", "in_set"),
    [
        (ICD_10, "F20.9", "dx_schizophrenia"),
        (ICD_10_GM, "I61.9", "dx_intracranial_bleed"),
        (ICD_10_GM, "F20.0", "dx_schizophrenia"),
        ("ICD-10-AM", "I21.0", "dx_acs_mi"),
        ("http://hl7.org/fhir/sid/icd-10-ca", "O14.1", "dx_preeclampsia"),
        (ICD_10, "E05.5", "dx_thyroid_storm"),
        (ICD_10, "I64", "dx_stroke"),
        (ICD_10, "Z33", "dx_pregnancy"),
        (ICD_10, "G41.0", "dx_seizure"),
        (ICD_10, "F15.5", "dx_schizophrenia"),
        (ICD_10, "F10.4", "dx_delirium"),
        (ICD_10_CM, "C79.31", "dx_intracranial_mass_or_injury"),
        (ICD_10_CM, "D32.0", "dx_intracranial_mass_or_injury"),
        (ICD_10_CM, "F15.259", "dx_schizophrenia"),
        (ICD_10_CM, "F19.951", "dx_schizophrenia"),
        (ICD_10_CM, "F53.1", "dx_schizophrenia"),
        (ICD_10_CM, "R65.21", "dx_shock"),
        (ICD_10_CM, "F10.231", "dx_delirium"),
        (ICD_9_CM, "410.71", "dx_acs_mi"),
        ("ICD9", "29530", "dx_schizophrenia"),
        ("urn:oid:2.16.840.1.113883.6.103", "430", "dx_intracranial_bleed"),
        (SNOMED, "54329005", "dx_acs_mi"),
        (SNOMED, "94225005", "dx_intracranial_mass_or_injury"),
        (SNOMED, "417996009", "dx_heart_failure_chronic"),
        ("2.16.840.1.113883.5.1008", "ASKU", "no_information"),
        ("http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips", "no-known-allergies", "none_known"),
    ],
)
def test_a_code_is_placed_by_its_set_its_stem_or_its_parent(
    sets: ValueSets, system: str, code: str, in_set: str
) -> None:
    placed = sets.placement([(system, code)], ["words of another matter"])
    assert in_set in placed.members
    assert placed.may_mean == frozenset()
    assert sets.knows(system, code)


@pytest.mark.parametrize(
    ("system", "code", "not_in"),
    [
        (ICD_10, "O15.2", "dx_pregnancy"),
        (ICD_10, "G91.2", "dx_raised_icp_direct"),
        (ICD_10, "G45.4", "dx_stroke"),
        (ICD_10, "F17.2", "dx_substance_use"),
        (ICD_9_CM, "305.1", "dx_substance_use"),
        (ICD_9_CM, "293.84", "dx_schizophrenia"),
        (ICD_9_CM, "V27.0", "dx_pregnancy"),
        (SNOMED, "1755008", "dx_acs_mi"),
    ],
)
def test_a_code_that_looks_like_it_is_not_in_the_set(sets: ValueSets, system: str, code: str, not_in: str) -> None:
    assert not_in not in sets.members_of(system, code)


@pytest.mark.parametrize("code", ["O14.05", "O24.430"])
def test_a_code_that_a_set_excludes_is_known_and_asks_nothing(sets: ValueSets, code: str) -> None:
    placed = sets.placement([(ICD_10_CM, code)], ["Pregnancy complication in the puerperium"])
    assert "dx_pregnancy" not in placed.members
    assert placed.may_mean == frozenset()


def test_a_coding_that_is_known_is_enough_beside_one_that_is_not(sets: ValueSets) -> None:
    placed = sets.placement([LOCAL, (ICD_10_CM, "I10")], ["Pregnancy"])
    assert "dx_hypertension" in placed.members
    assert placed.may_mean == frozenset()


def test_a_code_that_nobody_knows_is_read_by_its_words(sets: ValueSets) -> None:
    assert sets.placement([LOCAL], ["Brain bleed"]).may_mean == {"dx_intracranial_bleed"}
    assert sets.placement([LOCAL], ["Ingrown toenail", "Unguis incarnatus"]).may_mean == frozenset()
    assert sets.placement([LOCAL], ["Ingrown toenail", "NSTEMI"]).may_mean == {"dx_acs_mi"}


@pytest.mark.parametrize("words", [[], [""], [" ", "\u200b"], ["..."]])
def test_an_entry_with_neither_a_known_code_nor_a_word_may_be_anything(sets: ValueSets, words: list[str]) -> None:
    assert sets.placement([LOCAL], words).may_mean is None
    assert sets.placement([], words).may_mean is None


@pytest.mark.parametrize(
    ("system", "code", "asks"),
    [
        (ICD_10, "E80", "dx_porphyria_unspecified"),
        (ATC, "N01AX", "ketamine_drug"),
        (ICD_10_GM, "G93", "dx_raised_icp_direct"),
    ],
)
def test_a_category_that_says_less_than_its_codes_asks(sets: ValueSets, system: str, code: str, asks: str) -> None:
    may_mean = sets.placement([(system, code)], ["Disorders"]).may_mean
    assert may_mean is not None
    assert asks in may_mean


@pytest.mark.parametrize("code", ["E8", "E", "", "N01AX030"])
def test_a_chapter_or_a_code_beyond_them_is_no_category(sets: ValueSets, code: str) -> None:
    assert sets.below(ICD_10, code) == frozenset()


def test_a_code_of_snomed_is_never_known_by_how_it_begins(sets: ValueSets) -> None:
    assert sets.knows(SNOMED, "156073000"), "excluded from pregnancy: known"
    assert not sets.knows(SNOMED, "1560730001")
    assert not sets.knows(SNOMED, "58214004999")


def test_no_code_however_long_is_known_or_makes_it_fail(sets: ValueSets) -> None:
    for code in ("X" * 1_000_000, "F" * 500, "\x00", "F20" + "0" * 1000):
        assert not sets.knows(SNOMED, code)
        assert sets.placement([(ICD_10_CM, code)], ["toe"]).members == {}

"""Which sets a medicine is in: by code, by product, by name; and when that cannot be told."""

import csv
import json
import time
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology import products, valueset, valuesets
from cds_service.terminology.identity import identify
from cds_service.terminology.medicines import Medicines, Membership, medicines
from cds_service.terminology.valuesets import ValueSets
from tests.said import said

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
ATC = "http://www.whocc.no/atc"
SNOMED = "http://snomed.info/sct"
MORPHINE, MIDAZOLAM, FENTANYL, SODIUM_CHLORIDE, PHENYLEPHRINE, AMANTADINE = (
    "7052", "6960", "4337", "9863", "8163", "620",
)  # fmt: skip

SETS = valuesets.load()
MEDICINES = Medicines(SETS)


def of(*codings: tuple[str, str], text: str | None = None) -> Membership:
    return MEDICINES.membership([(codings, [text] if text else [])])


def drug_sets(membership: Membership) -> set[str]:
    return {name for name in membership.members if name.startswith("rx_")}


def product(display_part: str, form: str | None = None, system: str = "rxnorm") -> tuple[str, str]:
    """The code of the first product of the table whose display holds the text."""
    text = (resources.files("cds_service.terminology") / "products.csv").read_text("utf-8")
    uri = {"rxnorm": RXNORM, "ndc": NDC}[system]
    return next(
        (uri, row["code"])
        for row in csv.DictReader(text.splitlines())
        if row["system"] == system
        and display_part.lower() in row["display"].lower()
        and (form is None or row["form"] == form)
    )


# Products -----------------------------------------------------------------------------------------------------------


def test_every_line_of_the_table_is_found_by_its_code() -> None:
    text = (resources.files("cds_service.terminology") / "products.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        found = products.find({"rxnorm": RXNORM, "ndc": NDC}[row["system"]], row["code"])
        assert found is not None
        assert " ".join(found.ingredients) == row["ingredients"]
        assert (found.form or "") == row["form"]
        assert ("" if found.strength is None else f"{found.strength} mg/mL") == row["strength"]


def test_a_product_is_found_in_every_spelling_of_its_system_and_code() -> None:
    for system, code in (
        (RXNORM + "/", "238082"),
        ("urn:oid:2.16.840.1.113883.6.88", " 238082"),
        (NDC, "0409-2053-10"),
        (NDC, "00409205310"),
    ):
        found = products.find(system, code)
        assert found is not None
        assert found.ingredients == ("6130",)
    assert products.find(SNOMED, "238082") is None
    assert products.find(RXNORM, "1") is None


@pytest.mark.parametrize("system", ["rxnorm", "ndc"])
def test_a_product_is_in_the_sets_of_its_ingredient(system: str) -> None:
    assert drug_sets(of(product("midazolam", "injection"))) == {"rx_benzodiazepines", "rx_midazolam"}
    assert "ketamine_drug" in of(product("ketamine", "injection", system)).members


def test_a_combination_is_in_the_sets_of_each_of_its_ingredients() -> None:
    found = of(product("acetaminophen 325 MG / hydrocodone"))
    assert drug_sets(found) == {"rx_nonopioid_analgesics", "rx_opioids"}
    assert found.members["rx_opioids"].display == "hydrocodone"
    quinidine = of(product("dextromethorphan"))
    assert quinidine.members["rx_nmda_antagonists"].group == "dextromethorphan"


def test_a_ketamine_product_is_ketamine_by_its_code_with_the_strength_of_the_table() -> None:
    identity = identify([(RXNORM, "206972")], ["KETALAR 50 mg/mL vial"], SETS)
    assert identity is not None
    assert (identity.drug, identity.by, identity.disagreement) == ("ketamine", "code", None)
    assert [str(strength) for strength in identity.strengths] == ["50"]


def test_a_product_of_another_drug_is_no_ketamine() -> None:
    assert identify([product("midazolam")], [], SETS) is None


# Forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("display", "form"),
    [
        ("phenylephrine", "ophthalmic"),
        ("phenylephrine", "nasal"),
        ("epinephrine", "inhaled"),
        ("epinephrine", "nasal"),
        ("lidocaine hydrochloride 10 MG/ML", "other"),
    ],
)
def test_a_local_form_of_a_pressor_is_no_pressor(display: str, form: str) -> None:
    assert drug_sets(of(product(display, form))) == set()


def test_an_injected_pressor_is_one_and_decongestant_tablets_are_sympathomimetic() -> None:
    assert "rx_vasopressors" in drug_sets(of(product("phenylephrine", "injection")))
    tablet = drug_sets(of(product("pseudoephedrine", "oral")))
    assert "rx_sympathomimetics" in tablet
    assert "rx_vasopressors" not in tablet


@pytest.mark.parametrize(
    ("display", "form"), [("fentanyl", "nasal"), ("fentanyl", "other"), ("isoflurane", "inhaled")]
)
def test_a_form_that_acts_on_the_whole_body_counts(display: str, form: str) -> None:
    assert drug_sets(of(product(display, form))) != set()


def test_a_loop_diuretic_counts_as_intravenous_only_by_injection() -> None:
    assert "rx_iv_diuretics" in of(product("furosemide", "injection")).members
    assert "rx_iv_diuretics" not in of(product("furosemide", "oral")).members


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("phenylephrine 2.5 % ophthalmic solution", False),
        ("Phenylephrine eye drops", False),
        ("phenylephrine 0.5 % nasal spray", False),
        ("phenylephrine 100 mcg IV push", True),
        ("phenylephrine", True),
        ("phenylephrine injection, not for nasal use", True),
        ("lidocaine 1 % with epinephrine 1:100,000 injection", False),
        ("epinephrine 1 mg/mL injection", True),
    ],
)
def test_without_a_product_code_the_words_say_the_form(text: str, counts: bool) -> None:
    assert ("rx_vasopressors" in of(text=text).members) == counts


def test_the_words_say_the_form_of_an_ingredient_code_too_and_a_product_code_goes_before_them() -> None:
    assert drug_sets(of((RXNORM, PHENYLEPHRINE), text="phenylephrine eye drops")) == set()
    assert drug_sets(of(product("phenylephrine", "injection"), text="not the eye drops")) != set()


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MORPHINE sulfate 2 mg/mL", {"rx_opioids"}),
        ("Midazolam\u200b 5 mg", {"rx_benzodiazepines", "rx_midazolam"}),
        ("methylene  blue 1 %", {"rx_maoi"}),
        ("hydrocodone/acetaminophen 5-325", {"rx_opioids", "rx_nonopioid_analgesics"}),
        ("(morphine)", {"rx_opioids"}),
    ],
)
def test_where_no_code_says_it_the_name_does_and_that_is_said(text: str, expected: set[str]) -> None:
    for found in (of(text=text), of((RXNORM, "99999999"), ("urn:local", "M1"), text=text)):
        assert (drug_sets(found), found.by_name, found.disagreement) == (expected, True, None)


@pytest.mark.parametrize(
    "text",
    [
        "", "water for injection", "ethanol 70 %", "glucose 5 %", "apomorphine", "apo-morphine 10 mg", "morphinan",
        "monoacetylmorphine", "morphineX", "angiotensin II receptor blocker", "caffeine-free tea", "opioids",
        "sodium chloride 0.9 %", "benzodiazepine", "lisinoprilat", "ketorolacum", "midazolam2",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_name_is_none(text: str) -> None:
    assert of(text=text) == Membership({})


@pytest.mark.parametrize("text", ["ketamine 50 mg/mL", "esketamine", "S-ketamine 25 mg/mL", "Ketalar", "norketamine"])
def test_the_judged_drugs_are_not_named_here(text: str) -> None:
    assert of(text=text) == Membership({}), "identity.identify has its own rule"


def test_a_code_goes_before_the_name() -> None:
    found = of((RXNORM, MORPHINE), text="morphine 2 mg/mL")
    assert (drug_sets(found), found.by_name) == ({"rx_opioids"}, False)


def test_no_name_is_that_of_a_product_a_solvent_or_a_class() -> None:
    names = MEDICINES._names
    assert {"morphine", "midazolam", "ethacrynic acid", "vasopressin", "angiotensin ii"} <= names.keys()
    assert not {n for n in names if any(word in n.split() for word in ("injection", "water", "ethanol", "opioids"))}
    for codings in names.values():
        assert all(SETS.members_of(*coding) for coding in codings)


# Disagreement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ((RXNORM, MORPHINE), (RXNORM, MIDAZOLAM), "it is coded both as morphine and as midazolam"),
        ((RXNORM, MIDAZOLAM), (ATC, "N02AA01"), "it is coded both as midazolam and as opioids"),
        ((RXNORM, MORPHINE), (RXNORM, FENTANYL), "it is coded both as morphine and as fentanyl"),
        ((RXNORM, MIDAZOLAM), product("fentanyl", "injection"), "it is coded both as midazolam and as fentanyl"),
        ((ATC, "N05CD08"), (RXNORM, MORPHINE), "it is coded both as midazolam and as morphine"),
        (product("midazolam", system="rxnorm"), (ATC, "N04BB01"), "it is coded both as midazolam and as amantadine"),
    ],
)
def test_two_codings_of_different_drugs_tell_neither(one: Any, other: Any, says: str) -> None:
    found = of(one, other)
    assert found.disagreement is not None
    assert said(found.disagreement) == says
    assert found.members.keys() >= of(one).members.keys() | of(other).members.keys()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((RXNORM, MIDAZOLAM), (ATC, "N05CD08")),
        ((RXNORM, MIDAZOLAM), product("midazolam", "injection")),
        ((RXNORM, "5489"), product("acetaminophen 325 MG / hydrocodone")),
        ((RXNORM, MORPHINE), ("urn:local", MIDAZOLAM)),
        ((RXNORM, MORPHINE), (RXNORM, "99999999")),
        ((RXNORM, MORPHINE), (SNOMED, "1")),
    ],
)
def test_codings_of_one_drug_and_codes_that_nobody_knows_do_not_disagree(one: Any, other: Any) -> None:
    assert of(one, other).disagreement is None
    assert of(other, one).disagreement is None


def test_a_name_of_another_kind_of_drug_contradicts_the_code() -> None:
    found = of(product("acetaminophen 325 MG / hydrocodone"), text="Captopril 25 MG Oral Tablet")
    assert found.disagreement is not None
    assert "called captopril" in said(found.disagreement)
    assert {"rx_opioids", "rx_antihypertensives"} <= drug_sets(found)
    assert of((RXNORM, SODIUM_CHLORIDE), text="fentanyl 10 mcg/mL in sodium chloride").disagreement is not None


def test_a_name_of_the_same_kind_does_not() -> None:
    assert of((RXNORM, MORPHINE), text="opium tincture, as morphine").disagreement is None
    assert of((RXNORM, "725"), text="dextroamphetamine").disagreement is None


def test_the_ingredients_of_one_medicine_add_up_and_do_not_disagree() -> None:
    found = MEDICINES.membership(
        [([], ["PCA bag"]), ([(RXNORM, FENTANYL)], ["fentanyl"]), ([(RXNORM, SODIUM_CHLORIDE)], ["saline"])]
    )
    assert found.disagreement is None
    assert drug_sets(found) == {"rx_opioids", "rx_diluents"}
    uncoded = MEDICINES.membership([([(RXNORM, SODIUM_CHLORIDE)], []), ([], ["fentanyl"])])
    assert (drug_sets(uncoded), uncoded.by_name) == ({"rx_opioids", "rx_diluents"}, True)


# A site's sets, arbitrary input, speed ------------------------------------------------------------------------------


def test_a_set_of_the_site_takes_products_and_names_as_the_shipped_ones_do() -> None:
    site = {
        "name": "our_dopaminergics",
        "compose": {"include": [{"system": RXNORM, "concept": [{"code": AMANTADINE, "display": "amantadine"}]}]},
    }
    shipped = [SETS[name] for name in SETS.names()]
    with_site = Medicines(ValueSets([*shipped, valueset.read(json.dumps(site).encode(), "site.json")]))
    by_code = with_site.membership([([product("amantadine", "oral")], [])])
    by_name = with_site.membership([([], ["Amantadine 100 mg"])])
    for found in (by_code, by_name):
        assert found.members.keys() >= {"our_dopaminergics", "rx_nmda_antagonists"}


@given(
    st.lists(st.tuples(st.sampled_from([RXNORM, NDC, ATC, ""]), st.text()), max_size=3),
    st.lists(st.text(), max_size=3),
)
def test_no_text_from_outside_makes_it_fail(codings: list[tuple[str, str]], texts: list[str]) -> None:
    MEDICINES.membership([(codings, texts)])


def test_a_long_text_is_answered_at_once_and_a_name_is_not_cut_into_another() -> None:
    started = time.thread_time()
    assert of((RXNORM, "7" * 1_000_000), text="morphine, " * 1_000_000).by_name
    assert time.thread_time() - started < 1
    assert of(text="x" * 505 + " caffeine-containing") == Membership({})


def test_charts_share_what_was_looked_up() -> None:
    assert medicines(SETS) is medicines(SETS)
    assert medicines(SETS) is not medicines(valuesets.load())


def test_the_table_of_forms_names_sets_and_forms_that_there_are() -> None:
    forms = {"injection", "oral", "inhaled", "nasal", "topical", "ophthalmic", "rectal", "other", "infiltration"}
    local = products.TABLE["local"]
    assert set(local["sets"]) <= set(SETS.names())
    for named in (local["everywhere"], *local["sets"].values()):
        assert set(named) <= forms
    assert set(products.TABLE["form_words"]) == forms
    assert local["decides"] in forms

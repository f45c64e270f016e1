"""The table of products: every line is whole, and its columns say what its display says."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from cds_service import units
from cds_service.terminology.valuesets import ValueSets
from tests import charts

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
SYSTEMS = {"rxnorm": RXNORM, "ndc": NDC}
SPELLINGS = {"rxnorm": r"[1-9]\d{1,6}", "ndc": r"\d{11}"}
COLUMNS = ["system", "code", "display", "ingredients", "form", "strength", "source", "checked"]
FORMS = {"injection", "oral", "inhaled", "nasal", "topical", "ophthalmic", "rectal", "other"}

OURS = re.compile(r"rx_|ketamine_drug$|esketamine_drug$")
PRODUCT_WORDS = re.compile(
    r"inject|\binj\b|\bspray\b|\bsolution\b|\d|hydrochloride|\[|^(?:ketalar|spravato|sodium chloride 0\.9%)",
    re.IGNORECASE,
)
"""Members of our sets that are products, salts or brands themselves: they are no ingredient's name."""
BRANDS = {
    "akovaz": "ephedrine",
    "dilantin": "phenytoin",
    "dobutrex": "dobutamine",
    "elixophyllin": "theophylline",
    "emerphed": "ephedrine",
    "immphentiv": "phenylephrine",
    "isuprel": "isoproterenol",
    "lasix": "furosemide",
    "levophed": "norepinephrine",
    "primatene mist inhaler": "epinephrine",
    "spravato": "esketamine",
    "theo-24": "theophylline",
    "vasostrict": "vasopressin",
}
"""Displays that say a brand and no ingredient."""

# The first pattern that is found decides; a local anaesthetic with epinephrine is for infiltration, not a pressor.
FORM_WORDS = [
    ("ophthalmic", r"\bOphthalmic\b"),
    ("nasal", r"\bNasal\b"),
    ("rectal", r"\bRectal\b|\bEnema\b"),
    ("inhaled", r"\bInhal"),
    ("topical", r"\bTopical\b|\bShampoo\b"),
    ("other", r"\b(?:Transdermal|Buccal|Sublingual|Mucosal|Implant|Irrigation|Lozenge)\b"),
    ("other", r"caine hydrochloride.*\bepinephrine\b|\bepinephrine\b.*caine hydrochloride"),
    ("injection", r"\bInject|\bCartridge\b|\bPrefilled Syringe\b|\bAuto-Injector\b"),
    ("oral", r"\bOral\b|\bChewable\b|\bPill\b|\bExtended Release Suspension\b"),
]
INFUSED = "inputevents_to_rxnorm.csv"
"""An intensive care unit's list of infusions and pushes: it names the drug, and the form is known all the same."""

IN_NO_SET = {"1886"}
"""Ingredients that no rule asks for: caffeine."""

Row = dict[str, str]


@pytest.fixture(scope="module")
def text() -> str:
    return (resources.files("cds_service.terminology") / "products.csv").read_text("utf-8")


@pytest.fixture(scope="module")
def rows(text: str) -> list[Row]:
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def names(sets: ValueSets) -> dict[str, str]:
    """The RxNorm ingredient code of every ingredient name that stands in a drug set of ours, and of the brands."""
    found = {
        member.display.lower(): member.code
        for name in sets.names()
        if OURS.match(name)
        for system, member in sets[name].members
        if system == RXNORM and not PRODUCT_WORDS.search(member.display)
    }
    return found | {brand: found[ingredient] for brand, ingredient in BRANDS.items()}


def named_in(display: str, names: dict[str, str]) -> set[str]:
    """The ingredient codes whose names are whole words of the display."""
    text = display.lower()
    return {code for name, code in names.items() if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)}


def form_of(row: Row) -> str:
    for form, words in FORM_WORDS:
        if re.search(words, row["display"], re.IGNORECASE):
            return form
    return "injection" if INFUSED in row["source"] else ""


def test_the_header_is_the_agreed_one_and_every_line_has_its_eight_columns(text: str) -> None:
    lines = list(csv.reader(text.splitlines()))
    assert lines[0] == COLUMNS
    assert {len(line) for line in lines} == {len(COLUMNS)}
    assert text.endswith("\n")
    assert "\r" not in text


def test_every_column_is_spelled_as_agreed(rows: list[Row]) -> None:
    assert len(rows) > 600
    for row in rows:
        assert all(value == " ".join(value.split()) for value in row.values()), row
        assert re.fullmatch(SPELLINGS[row["system"]], row["code"]), row
        assert row["display"], row
        assert re.fullmatch(r"\d+(?: \d+)*", row["ingredients"]), row
        assert row["form"] in FORMS | {""}, row
        assert re.fullmatch(r"[\w.-]+/[\w.-]+/[\w./-]+\.\w+", row["source"]), row
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["checked"]), row


def test_no_code_stands_twice(rows: list[Row]) -> None:
    counts = Counter((row["system"], row["code"]) for row in rows)
    assert [key for key, count in counts.items() if count > 1] == []


def test_no_ingredient_is_itself_a_product_of_the_table(rows: list[Row]) -> None:
    products = {row["code"] for row in rows if row["system"] == "rxnorm"}
    assert products.isdisjoint(code for row in rows for code in row["ingredients"].split())


def test_every_ingredient_is_in_a_drug_set_of_ours(rows: list[Row], sets: ValueSets) -> None:
    for code in {code for row in rows for code in row["ingredients"].split()} - IN_NO_SET:
        assert any(OURS.match(name) for name in sets.members_of(RXNORM, code)), code


def test_a_product_that_a_set_holds_itself_is_in_that_set_by_its_ingredients_too(
    rows: list[Row], sets: ValueSets
) -> None:
    for row in rows:
        held = {name for name in sets.members_of(SYSTEMS[row["system"]], row["code"]) if OURS.match(name)}
        by_ingredient = {name for code in row["ingredients"].split() for name in sets.members_of(RXNORM, code)}
        assert held <= by_ingredient, row


def test_the_ingredients_are_exactly_those_that_the_display_names(rows: list[Row], names: dict[str, str]) -> None:
    for row in rows:
        ingredients = row["ingredients"].split()
        assert len(ingredients) == len(set(ingredients)), row
        assert set(ingredients) - IN_NO_SET == named_in(row["display"], names), row


def test_the_form_is_the_one_that_the_display_says(rows: list[Row]) -> None:
    for row in rows:
        assert row["form"] == form_of(row), row


def test_no_nose_lung_or_dental_epinephrine_counts_as_an_injection(rows: list[Row], names: dict[str, str]) -> None:
    pressors = {row["display"]: row["form"] for row in rows if names["epinephrine"] in row["ingredients"].split()}
    assert pressors["epinephrine 1 MG/ML Nasal Solution"] == "nasal"
    assert pressors["160 ACTUAT epinephrine 0.125 MG/ACTUAT Metered Dose Inhaler"] == "inhaled"
    assert pressors["epinephrine 0.01 MG/ML / lidocaine hydrochloride 10 MG/ML Injectable Solution"] == "other"
    assert pressors["250 ML epinephrine 0.016 MG/ML Injection"] == "injection"


def test_every_strength_is_a_concentration_that_the_display_says(rows: list[Row]) -> None:
    for row in rows:
        if row["strength"]:
            number, unit = row["strength"].split()
            assert units.quantity(number, unit, "concentration").value > 0, row
            assert [number] == re.findall(r"(\d[\d.]*) MG/ML", row["display"]), row
            assert " / " not in row["display"], row


def test_every_liquid_for_injection_of_one_ingredient_in_mg_per_ml_has_its_strength(rows: list[Row]) -> None:
    for row in rows:
        if row["form"] == "injection" and " / " not in row["display"] and " MG/ML" in row["display"]:
            assert row["strength"], row


def test_strengths_agree_with_the_value_sets(rows: list[Row], sets: ValueSets) -> None:
    compared = 0
    for row in rows:
        for member in sets.members_of(SYSTEMS[row["system"]], row["code"]).values():
            if member.strength is not None:
                number, unit = row["strength"].split()
                assert units.quantity(number, unit).value == units.quantity(member.strength, "mg/mL").value, row
                compared += 1
    assert compared >= 3


def medication_codings(resource: Any) -> Iterator[tuple[str, str]]:
    """(code, display) of every RxNorm coding of a MedicationRequest or Medication below `resource`."""
    if isinstance(resource, dict):
        if resource.get("resourceType") in {"MedicationRequest", "Medication"}:
            concept = resource.get("medicationCodeableConcept") or resource.get("code") or {}
            for coding in concept.get("coding", ()):
                if coding.get("system") == RXNORM:
                    yield coding["code"], coding.get("display", "")
        for value in resource.values():
            yield from medication_codings(value)
    elif isinstance(resource, list):
        for value in resource:
            yield from medication_codings(value)


def test_every_medicine_of_the_sandbox_patients_with_an_ingredient_of_ours_is_in_the_table(
    rows: list[Row], names: dict[str, str]
) -> None:
    table = {row["code"]: set(row["ingredients"].split()) for row in rows if row["system"] == "rxnorm"}
    checked = set()
    for file in charts.files():
        for code, display in medication_codings(json.loads(charts.read(file))):
            if named := named_in(display, names):
                assert table.get(code) == named, (file.name, code, display)
                checked.add(code)
    assert len(checked) > 10

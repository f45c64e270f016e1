"""The shipped value sets: each is valid, says what it is, and every code is that of the source."""

import csv
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.valueset import ValueSet as StrictValueSet

from cds_service import knowledge as everything
from cds_service import readers
from cds_service.folders import COMMON
from cds_service.knowledge import Knowledge
from cds_service.protocol.loader import load as load_protocol
from cds_service.terminology.systems import canonical_system
from cds_service.terminology.valueset import ValueSetError
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
    directory,
    enumerated,
    value_set,
)
from tests.terminology.test_vocabulary import sets_of

ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"

SHIPPED = sorted(
    (COMMON / "valuesets").iterdir(),
    key=lambda file: file.name,
)


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
    assert (sum(in_gps.values()), len(in_gps) - sum(in_gps.values())) == (281, 204)


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
    "obs_gcs_parts",
    "obs_gestation",
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


VERIFIED_SINCE = {("obs_alt", "1743-4")}
"""Read in public material after the source was written; the set itself says when."""


def test_the_unverified_codes_of_the_source_never_decide(
    sets: ValueSets, source: dict[str, list[dict[str, str]]]
) -> None:
    unverified = [row for rows in source.values() for row in rows if row["verified"] == "no"]
    assert unverified, "the source has none left: this test can go"
    for row in unverified:
        if (row["set"], row["code"]) not in VERIFIED_SINCE:
            assert row["set"] not in sets.members_of(row["system"], row["code"])

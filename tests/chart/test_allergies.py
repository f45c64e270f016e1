"""Allergies: the substance by the one recogniser of drugs, whatever says it; and entries that say nothing."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.advise import advise
from cds_service.fhir.source import NoSource
from cds_service.knowledge import Knowledge
from tests.scenarios.build import NOW, sent

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ORDER = {"rate": "0.2 mg/kg/h"}


def told(knowledge: Knowledge, *allergies: Any) -> dict[str, str]:
    """Rule or card -> severity, for a correct order in a patient with these allergies."""
    request = sent({"order": ORDER, "patient": {"allergies": list(allergies)}})
    cards = advise(request, True, knowledge, NoSource(), NOW).cards
    return {card.source.topic.code: card.indicator for card in cards if card.source.topic}


def coded(system: str, code: str, **more: str) -> dict[str, Any]:
    return {"to": {"coding": [{"system": system, "code": code, **more}]}}


@pytest.mark.parametrize(
    "entry",
    [
        coded(RXNORM, "6130"),
        coded("RxNorm", "6130"),
        coded("https://www.nlm.nih.gov/research/umls/rxnorm", "238082"),
        coded(RXNORM, "238084"),
        coded(RXNORM, "2119365"),
        coded("http://hl7.org/fhir/sid/ndc", "42023-113-10"),
        coded("NDC", "00409205310"),
        coded("http://www.whocc.no/atc", "N01AX03"),
        coded("http://fhir.de/CodeSystem/bfarm/atc", "N01AX14"),
        coded("http://snomed.info/sct/731000124108", "373464007"),
        coded("http://fdasis.nlm.nih.gov", "690G0D6V8H"),
        coded("urn:oid:1.2.3.4", "A-1", display="Ketamine"),
        *({"to": f"words: {text}"} for text in (
            "Ketamine", "ketamine hydrochloride 50 mg/mL", "KETALAR", "Ketanest S", "Ketamin", "kétamine", "Cetamina",
            "Spravato nasal spray", "S-Ketamin", "esketamine", "Calypsol", "ketamine/propofol",
            "Allergy: ketamine (rash)", "Allergie gegen Ketamin", "allergie à la kétamine", "alergia a ketamina",
            "possible ketamine allergy", "Ketamine not tolerated", "s(+)-ketamine",
            "no reaction to penicillin; ketamine: hives",
        )),
        {"to": "words: unknown agent", "raw": {"reaction": [{"substance": {"text": "Ketalar"}}]}},
        {"to": {}, "raw": {"reaction": [{"substance": {"coding": [{"system": RXNORM, "code": "238083"}]}}]}},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_names_ketamine_is_critical_however_it_says_so(knowledge: Knowledge, entry: Any) -> None:
    assert told(knowledge, entry) == {"allergy-ketamine": "critical"}


@pytest.mark.parametrize(
    "entry",
    [
        "words: Penicillin", "words: Ketorolac", "words: ketoconazole shampoo", "words: norketamine", "words: Latex",
        "words: No ketamine allergy", "words: Not allergic to ketamine", "words: keine Allergie gegen Ketamin",
        "words: pas d'allergie à la kétamine", "words: sin alergia a ketamina", "words: local anesthetics",
        "words: No known allergies", "words: Family history of ketamine reaction",
        coded(RXNORM, "7980", display="penicillin"),
        coded(RXNORM, "197853"),
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_names_another_substance_or_denies_it_says_nothing(knowledge: Knowledge, entry: Any) -> None:
    assert told(knowledge, entry) == {}


@pytest.mark.parametrize(
    "entry",
    [
        "words: Anaesthetic agents", "words: Narkosemittel", "words: anesthésique", "words: anestésicos",
        "words: unknown medication", "words: NMDA antagonist", coded("http://www.whocc.no/atc", "N01AX"),
        coded("urn:oid:1.2.3.4", "A-9"), {"to": {}},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_may_mean_ketamine_is_asked_about_with_a_warning(knowledge: Knowledge, entry: Any) -> None:
    assert told(knowledge, "no known allergy", entry) == {"could-not-check": "warning"}


@pytest.mark.parametrize(
    "entry",
    [
        coded("http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "NI"),
        coded("http://hl7.org/fhir/v3/NullFlavor", "ASKU"),
        coded("http://terminology.hl7.org/CodeSystem/data-absent-reason", "not-asked"),
        coded("http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips", "no-allergy-info"),
        coded("SCT", "1631000175102"),
        *(f"words: {text}" for text in ("Unknown", "Unable to assess", "Not on file")),
        *(f"words: {text}" for text in ("nicht erfragt", "non renseigné", "no preguntado")),
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_says_that_nothing_is_known_is_no_list(knowledge: Knowledge, entry: Any) -> None:
    assert told(knowledge, entry) == {"could-not-check": "info"}
    assert told(knowledge, entry, "words: Penicillin") == {}
    assert told(knowledge, entry, "ketamine") == {"allergy-ketamine": "critical"}


def test_no_known_allergy_is_knowledge_by_its_code_alone(knowledge: Knowledge) -> None:
    assert told(knowledge, coded("http://snomed.info/sct", "716186003")) == {}

"""Code systems: one canonical form, however a sender writes them; and no two systems in one form."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.terminology import products, systems
from cds_service.terminology.identity import identify
from cds_service.terminology.systems import canonical, canonical_system
from cds_service.terminology.valuesets import ValueSets

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
ATC = "http://www.whocc.no/atc"
UNII = "http://fdasis.nlm.nih.gov"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
UCUM = "http://unitsofmeasure.org"
HSLOC = "https://www.cdc.gov/nhsn/cdaportal/terminology/codesystem/hsloc.html"
HL7 = "http://terminology.hl7.org/CodeSystem/"

SPELLINGS = {
    SNOMED: """2.16.840.1.113883.6.96; oid:2.16.840.1.113883.6.96; urn:oid:2.16.840.1.113883.6.96|20250301;
        http://snomed.info/sct/731000124108; http://snomed.info/sct/731000124108/version/20230901;
        https://www.snomed.info/sct/83821000000107/version/20240410/; http://snomed.info/xsct/900000000000207008;
        http://snomed.info/sct|http://snomed.info/sct/731000124108/version/20250301; http://snomed.info/sct/|2025;
        http://snomed.info/sct?fhir_vs; snomed.info/sct; SNOMED CT; SNOMED-CT; snomed; SCT; SNOMEDCT_US;
        2.16.840.1.113883.2.1.3.2.4.15; http:\\\\snomed.info\\sct""",
    LOINC: "2.16.840.1.113883.6.1; urn:OID:2.16.840.1.113883.6.1; LOINC; loinc; LN; loinc.org; http://loinc.org/2.77",
    RXNORM: """2.16.840.1.113883.6.88; urn:oid:2.16.840.1.113883.6.88; RxNorm; RXNORM; Rx-Norm; RxCUI;
        http://nlm.nih.gov/research/umls/rxnorm; https://www.nlm.nih.gov/research/umls/RxNorm/""",
    NDC: "2.16.840.1.113883.6.69; urn:oid:2.16.840.1.113883.6.69; NDC; ndc; National Drug Code; NDC-11",
    ATC: """2.16.840.1.113883.6.73; urn:oid:2.16.840.1.113883.6.73; ATC; WHO ATC; http://whocc.no/atc/;
        http://fhir.de/CodeSystem/bfarm/atc|2024; http://www.whocc.no/atc_ddd_index/""",
    UNII: "2.16.840.1.113883.4.9; urn:oid:2.16.840.1.113883.4.9; UNII; unii; https://fdasis.nlm.nih.gov/",
    ICD_10_CM: """2.16.840.1.113883.6.90; urn:oid:2.16.840.1.113883.6.90; ICD-10-CM; ICD10CM; icd-10 cm; I10C;
        http://hl7.org/fhir/sid/icd-10-cm/2024; http://hl7.org/fhir/sid/icd10cm""",
    ICD_10: """2.16.840.1.113883.6.3; urn:oid:2.16.840.1.113883.6.3; ICD10; ICD-10; CIM-10; CIE-10; ICD-10-GM;
        http://fhir.de/CodeSystem/bfarm/icd-10-gm; https://fhir.de/CodeSystem/dimdi/icd-10-gm|2023;
        http://hl7.org/fhir/sid/icd-10-am; http://hl7.org/fhir/sid/icd-10-ca; http://hl7.org/fhir/sid/icd-10/2019;
        urn:oid:1.2.276.0.76.5.409""",
    ICD_9_CM: """2.16.840.1.113883.6.103; urn:oid:2.16.840.1.113883.6.103; urn:oid:2.16.840.1.113883.6.42; ICD-9-CM;
        ICD9; icd-9; http://hl7.org/fhir/sid/icd-9-cm/diagnosis""",
    UCUM: "2.16.840.1.113883.6.8; urn:oid:2.16.840.1.113883.6.8; UCUM; http://unitsofmeasure.org/",
    HSLOC: """urn:oid:2.16.840.1.113883.6.259; http://cts.nlm.nih.gov/fhir/CodeSystem/hsloc;
        http://cts.nlm.nih.gov/fhir/cs/hsloc/; HSLOC""",
    HL7 + "v3-ActCode": "http://hl7.org/fhir/v3/ActCode; urn:oid:2.16.840.1.113883.5.4; ActCode; v3-ActCode",
    HL7 + "v3-RouteOfAdministration": "http://hl7.org/fhir/v3/RouteOfAdministration; 2.16.840.1.113883.5.112",
    HL7 + "v3-ObservationInterpretation": "http://hl7.org/fhir/v3/ObservationInterpretation; 2.16.840.1.113883.5.83",
    HL7 + "v3-NullFlavor": "http://hl7.org/fhir/v3/NullFlavor; urn:oid:2.16.840.1.113883.5.1008; NullFlavor",
    HL7 + "v2-0078": "http://hl7.org/fhir/v2/0078",
}
WRITTEN = [(uri, spelling.strip()) for uri, all_of in SPELLINGS.items() for spelling in all_of.split(";")]
ANY_KNOWN = st.sampled_from(sorted(systems.DRUG_SYSTEMS | systems.BRANCHED | set(SPELLINGS) - {HL7 + "v2-0078"}))


@pytest.mark.parametrize(("uri", "written"), WRITTEN)
def test_a_system_is_the_same_however_a_feed_writes_it(uri: str, written: str) -> None:
    assert canonical_system(written) == uri
    assert canonical_system(f" {written}\u200b") == uri


@given(
    uri=ANY_KNOWN,
    scheme=st.sampled_from(["http://", "https://", "HTTP://", "https://www.", "http://www.", ""]),
    case=st.sampled_from([str, str.lower, str.upper]),
    end=st.sampled_from(["", "/", "//", "|2024", "/|2024-09", "|", "#", "?version=1"]),
    around=st.sampled_from(["", " ", "\u200b", "\ufeff"]),
)
def test_scheme_www_case_version_and_slash_make_no_difference(
    uri: str, scheme: str, case: Callable[[str], str], end: str, around: str
) -> None:
    bare = uri.split("://")[1].removeprefix("www.")
    assert canonical_system(f"{around}{scheme}{case(bare)}{end}{around}") == uri


@given(
    ANY_KNOWN | st.text(max_size=60) | st.from_regex(r"(urn:oid:|https?://)?[a-zA-Z0-9./:-]{0,40}", fullmatch=True)
)
def test_a_canonical_form_is_its_own(text: str) -> None:
    once = canonical_system(text)
    assert canonical_system(once) == once


@pytest.mark.parametrize(
    "other",
    [
        "", "|", "http://snomed.info", "http://snomed.info/sct2", "http://snomed.info/sctx/1", "2.16.840.1",
        "2.16.840.1.113883.6.9", "2.16.840.1.113883.6.960", "http://loinc.org.example",
        "http://example.org/snomed.info/sct",
        "http://hl7.org/fhir/sid/icd-10-pcs", "http://hl7.org/fhir/sid/icd-11", "ICD-11", "ICD-10-PCS",
        "urn:oid:1.2.3.4",
        "http://hl7.org/fhir/v3/Race", "CPT", "local", "http://ehr.example/rxnorm",
    ],
)  # fmt: skip
def test_a_system_that_is_another_one_is_not_taken_for_one_that_is_read(other: str) -> None:
    assert canonical_system(other) not in systems.DRUG_SYSTEMS | systems.BRANCHED | {LOINC, HSLOC}


def test_a_system_of_the_site_is_compared_in_one_spelling_too() -> None:
    assert canonical_system("https://EHR.example/Codes/") == canonical_system("http://ehr.example/Codes")
    assert canonical_system("http://ehr.example/Codes") != canonical_system("http://ehr.example/codes")
    assert (
        canonical_system("urn:oid:1.2.840.114350.1.13.0.1.7.2.696580") == "urn:oid:1.2.840.114350.1.13.0.1.7.2.696580"
    )


def test_a_text_of_a_million_characters_is_no_system_and_is_not_remembered() -> None:
    text = "http://snomed.info/sct/" + "9" * 1_000_000
    before = systems._canonical.cache_info().currsize
    assert canonical_system(text) == text
    assert systems._canonical.cache_info().currsize == before


@pytest.mark.parametrize(
    ("uri", "code", "in_set"),
    [
        (SNOMED, "77386006", "dx_pregnancy"),
        (LOINC, "29463-7", "obs_weight_measured"),
        (RXNORM, "6130", "ketamine_drug"),
        (ICD_10_CM, "Z33.1", "dx_pregnancy"),
        (NDC, "42023011310", "ketamine_ndc"),
        (ATC, "N01AX03", "ketamine_drug"),
        (HSLOC, "1108-0", "loc_type"),
        (HL7 + "v3-ActCode", "IMP", "enc_class"),
        (HL7 + "v3-RouteOfAdministration", "IV", "route_iv"),
    ],
)
def test_a_code_is_in_its_set_in_every_spelling_of_its_system(
    sets: ValueSets, uri: str, code: str, in_set: str
) -> None:
    for written in (uri, *(each for known, each in WRITTEN if known == uri)):
        assert in_set in sets.members_of(written, code), written


@pytest.mark.parametrize("written", [RXNORM, *(each for uri, each in WRITTEN if uri == RXNORM)])
def test_products_and_drugs_are_found_in_every_spelling_too(sets: ValueSets, written: str) -> None:
    assert products.find(written, "311700") is not None
    found = identify([(written, "6130")], [], sets)
    assert found is not None
    assert (found.drug, found.by) == ("ketamine", "code")


def test_codes_are_compared_in_the_spelling_of_their_system() -> None:
    assert canonical("ICD10CM", "f20.0") == (ICD_10_CM, "F200")
    assert canonical("ICD-9-CM", "410.01") == (ICD_9_CM, "41001")
    assert canonical("NDC", "42023-113-10") == (NDC, "42023011310")
    assert canonical("SCT", " 77386006\u200b") == (SNOMED, "77386006")
    assert canonical("S\u200eCT", "\uff17\uff17386006\u0000") == (SNOMED, "77386006")

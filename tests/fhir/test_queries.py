"""The prefetch templates: what the specification recommends, and what a hospital's server is asked."""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir import queries
from cds_service.fhir.queries import Query
from cds_service.fhir.resources import TYPES
from cds_service.knowledge import Knowledge
from cds_service.protocol import model
from cds_service.terminology import valuesets

SETS = valuesets.load()
QUERIES = queries.load(SETS)
EACH = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.key)
SNOMED_CT = "http://snomed.info/sct"
CONTEXT = {"patientId": "p1", "encounterId": "e1", "userId": "Practitioner/u1"}

# Requirement cds-hooks_2.0 no. 58: reads, searches by reference and token with equality, by date, _count and _sort.
# The search parameters of R4 that are of these kinds, by type, as far as we use them.
RECOMMENDED = {
    "Observation": {"patient": "reference", "code": "token"},
    "Condition": {"patient": "reference"},
    "AllergyIntolerance": {"patient": "reference"},
    "MedicationRequest": {"patient": "reference", "status": "token"},
    "MedicationStatement": {"patient": "reference", "status": "token"},
    "MedicationAdministration": {"patient": "reference"},
    "Procedure": {"patient": "reference"},
    "ServiceRequest": {"patient": "reference", "status": "token"},
}
SORTED_BY = {"Observation": "-date", "Procedure": "-date", "MedicationAdministration": "-effective-time"}


def parameters(query: Query) -> dict[str, list[str]]:
    return parse_qs(urlsplit(query.template).query, strict_parsing="?" in query.template)


def test_every_key_is_there_once_and_named_for_a_clinician() -> None:
    assert len({query.key for query in QUERIES}) == len(QUERIES)
    assert all(query.says and query.words for query in QUERIES)
    assert all(re.fullmatch("[a-z]+", word) for query in QUERIES for word in query.words)


@EACH
def test_a_template_is_a_read_or_a_search_of_its_own_type_and_the_type_is_one_that_is_read(query: Query) -> None:
    path = query.template.partition("?")[0]
    assert path.partition("/")[0] == query.type
    assert query.type in TYPES
    assert ("?" in query.template) != ("/" in path)


@EACH
def test_a_template_has_no_token_but_the_patient_and_the_encounter_of_the_context(query: Query) -> None:
    """Requirements cds-hooks_2.0 no. 55 to 59; the library forbids draftOrders and selections as tokens."""
    tokens = re.findall(r"\{\{(.*?)\}\}", query.template)
    assert tokens
    assert set(tokens) <= {"context.patientId", "context.encounterId"}
    assert not set("{}") & set(re.sub(r"\{\{.*?\}\}", "", query.template))


@EACH
def test_a_search_uses_recommended_parameters_without_modifier_chain_or_prefix(query: Query) -> None:
    for name, values in parameters(query).items():
        (value,) = values
        if name == "_count":
            assert 1 <= int(value) <= 200
        elif name == "_sort":
            assert value == SORTED_BY[query.type]
        else:
            assert name in RECOMMENDED[query.type], "a modifier, a chain, or a parameter that is not recommended"


@EACH
def test_a_search_is_for_this_patient(query: Query) -> None:
    if "?" in query.template:
        assert parameters(query)["patient"] == ["{{context.patientId}}"]


@EACH
def test_a_search_by_code_asks_for_the_loinc_codes_of_each_of_its_sets_and_for_nothing_else(query: Query) -> None:
    asked = parameters(query).get("code", [""])[0]
    codes = asked.split(",") if asked else []
    assert frozenset(codes) == query.codes
    assert len(codes) == len(set(codes))
    for name in query.sets:
        of_set = {member.code for system, member in SETS[name].members if system == "http://loinc.org"}
        # RASS has no LOINC code; without its SNOMED CT codes the search would never ask for it.
        of_set = of_set or {member.code for system, member in SETS[name].members if system == SNOMED_CT}
        assert of_set or SETS[name].no_codes, "a set without codes waits for those of a site"
        assert of_set <= query.codes
    for code in codes:
        system = "http://loinc.org" if re.fullmatch(r"\d+-\d", code) else SNOMED_CT
        assert SETS.members_of(system, code).keys() & set(query.sets)


def test_no_code_that_looks_like_the_data_and_is_not_is_asked_for() -> None:
    asked = frozenset[str]().union(*(query.codes for query in QUERIES))
    assert asked.isdisjoint({"8336-0", "11727-5", "54632-5", "20505-4"})


def test_the_newest_values_come_first_where_a_search_may_be_cut_at_a_page() -> None:
    for query in QUERIES:
        if query.type in SORTED_BY:
            assert parameters(query)["_sort"] == [SORTED_BY[query.type]]


def test_no_two_queries_claim_the_same_word_and_the_reads_are_not_mistaken_for_searches() -> None:
    words = [word for query in QUERIES for word in query.words]
    assert len(set(words)) == len(words)


@EACH
def test_the_url_is_the_template_with_the_values_of_the_context(query: Query) -> None:
    url = query.url(CONTEXT)
    assert url is not None
    assert "{{" not in url
    expected = query.template.replace("{{context.patientId}}", "p1").replace("{{context.encounterId}}", "e1")
    assert url == expected


@pytest.mark.parametrize("context", [{}, {"encounterId": ""}, {"patientId": "p1"}])
def test_without_the_value_of_its_token_a_query_has_no_url(context: dict[str, str]) -> None:
    encounter = next(query for query in QUERIES if query.key == "encounter")
    assert encounter.url(context) is None


@given(st.text(min_size=1))
def test_no_id_breaks_out_of_its_place_in_the_url(identifier: str) -> None:
    base = "https://ehr.example/fhir/"
    for query in QUERIES:
        url = query.url({"patientId": identifier, "encounterId": identifier})
        assert url is not None
        parts = urlsplit(urljoin(base, url))
        assert parts.netloc == "ehr.example"
        assert not parts.fragment
        if "?" in query.template:
            assert parts.path == f"/fhir/{query.type}"
            assert parse_qs(parts.query)["patient"] == [identifier]
            assert parse_qs(parts.query).keys() == parameters(query).keys()
        elif identifier.strip("."):  # what a path of dots means is decided by is_below
            assert unquote(parts.path) == f"/fhir/{query.type}/{identifier}"
            assert not parts.query


def test_every_set_of_observations_that_a_rule_reads_is_asked_for(knowledge: Knowledge) -> None:
    """Also those without codes, which a site may give: its own are then searched for like the others."""

    def read(clause: Any) -> set[str]:
        named = clause.sets if isinstance(clause, model.ObservationIs | model.SymptomIs) else ()
        parts = (
            *getattr(clause, "of", ()),
            *(p for p in getattr(clause, "unless_later", ()) if not isinstance(p, str)),
        )
        return {name.partition("/")[0] for name in named}.union(*map(read, parts))

    rules = knowledge.protocol.rules.values()
    clauses = [part.when for rule in rules for part in (*rule.tiers, *rule.changes) if part.when is not None]
    asked = {name for query in knowledge.queries for name in query.sets}
    assert set().union(*map(read, clauses)) - asked == set()

"""The protocol over FHIR: valid R4 by a library, by the specification's invariants, and by a server of others."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import fhirpathpy
import msgspec
import pytest
import requests
from fhir.resources.R4B import get_fhir_model_class
from flask.testing import FlaskClient

from cds_service.knowledge import TOPIC_SYSTEM, Knowledge, load
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.client import client
from tests.hooks.conformance import decoded
from tests.scenarios.build import NOW
from tests.servers.hapi import hapi_server, needed

FHIR_JSON = "application/fhir+json"
PLAN = "PlanDefinition/ketamine"
LIBRARY = "Library/ketamine"
RESOURCES = (
    "metadata", PLAN, LIBRARY, "Library/KetamineBpUncontrolled", "Library/KetamineUntold", "ValueSet",
    "ValueSet/obs-sbp", "ValueSet/dx-stroke",
    "ValueSet/enc-class", "ValueSet/loc-type.icu", "ActivityDefinition/ketamine-lower-to-rate-warn",
    "ActivityDefinition/ketamine-slow-to-depression-minutes", "ActivityDefinition/ketamine-urinalysis",
    "ActivityDefinition/ketamine-ketamine-10-mg-ml",
)  # fmt: skip

_ACTIONS = "PlanDefinition.repeat(action)"
INVARIANTS = {
    # Those of the R4 specification that a JSON schema cannot say, in words of our own.
    "pdf-0 / lib-0 / adf-0": (
        "(PlanDefinition | Library | ActivityDefinition).all(name.matches('^[A-Z][A-Za-z0-9_]{0,254}$'))"
    ),
    "trd-1": f"{_ACTIONS}.trigger.all(data.empty() or timing.empty())",
    "trd-3": f"{_ACTIONS}.trigger.where(type = 'named-event').all(name.exists())",
    "exp-1": f"{_ACTIONS}.condition.expression.all(expression.exists() or reference.exists())",
    "drq-1": f"{_ACTIONS}.input.codeFilter.all(path.exists() xor searchParam.exists())",
    "cpb-1": "CapabilityStatement.all(rest.exists() or messaging.exists() or document.exists())",
    "cpb-2": "CapabilityStatement.all((description.count() + software.count() + implementation.count()) > 0)",
    "cpb-9": "CapabilityStatement.rest.all(resource.type.isDistinct())",
    "cpb-12": "CapabilityStatement.rest.resource.all(searchParam.name.isDistinct())",
    "cpb-15": "CapabilityStatement.where(kind = 'instance').all(implementation.exists())",
    "vsd-1": "ValueSet.compose.include.all(valueSet.exists() or system.exists())",
    "vsd-2": "ValueSet.compose.include.all((concept.exists() or filter.exists()) implies system.exists())",
    "vsd-3": "ValueSet.compose.include.all(concept.empty() or filter.empty())",
    "bdl-1": "Bundle.all(total.empty() or type = 'searchset' or type = 'history')",
    "bdl-7": "Bundle.entry.fullUrl.isDistinct()",
    "ids": "(Bundle.entry.resource | PlanDefinition | Library | ValueSet).all(id.matches('^[A-Za-z0-9.-]{1,64}$'))",
}


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge)


def read(http: FlaskClient, what: str) -> dict[str, Any]:
    answer = http.get(f"/fhir/{what}")
    assert answer.status_code == 200, answer.text
    assert answer.content_type == FHIR_JSON
    body: dict[str, Any] = decoded(answer.data)
    return body


# Valid -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", RESOURCES)
def test_a_resource_is_valid_r4(what: str, http: FlaskClient) -> None:
    resource = read(http, what)
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_the_resources_keep_an_invariant_of_the_specification(invariant: str, http: FlaskClient) -> None:
    holds = fhirpathpy.compile(INVARIANTS[invariant])
    results = [holds(msgspec.json.decode(http.get(f"/fhir/{what}").data)) for what in RESOURCES]
    assert all(result in ([True], []) for result in results), invariant
    assert [True] in results


@pytest.fixture(scope="module")
def hapi() -> Iterator[str]:
    needed()
    with hapi_server() as url:
        yield url


NEWER_THAN_R4 = "Unknown code 'http://hl7.org/fhir/expression-language#text/cql-identifier'"
"""The guide Using CQL with FHIR names an expression so, in R4 as well; the list of R4 itself is older."""


def test_a_server_that_nobody_here_wrote_finds_no_fault_and_keeps_them(hapi: str, http: FlaskClient) -> None:
    activities = [each for each in RESOURCES if each.startswith("ActivityDefinition")]
    for what in (PLAN, LIBRARY, "metadata", "ValueSet/obs-sbp", "ValueSet/dx-stroke", *activities):
        body, headers = http.get(f"/fhir/{what}").data, {"Content-Type": FHIR_JSON}
        kind = read(http, what)["resourceType"]
        outcome = requests.post(f"{hapi}/{kind}/$validate", data=body, headers=headers, timeout=120).json()
        faults = [issue for issue in outcome["issue"] if issue["severity"] in ("error", "fatal")]
        assert {each["diagnostics"] for each in faults} <= {NEWER_THAN_R4}, what
        if what != "metadata":
            kept = requests.put(f"{hapi}/{what}", data=body, headers=headers, timeout=120)
            assert kept.status_code == requests.codes.created, kept.text
    back = requests.get(f"{hapi}/{PLAN}", timeout=60).json()
    sent = read(http, PLAN)
    assert [each["id"] for each in back["action"]] == [each["id"] for each in sent["action"]]
    assert back["action"][0]["documentation"] == sent["action"][0]["documentation"]


# What they say -----------------------------------------------------------------------------------------------


def test_every_rule_is_an_action_with_its_condition_citations_and_the_words_of_its_card(
    http: FlaskClient, knowledge: Knowledge
) -> None:
    plan = read(http, PLAN)
    actions = {action["id"]: action for action in plan["action"] if "code" in action}
    assert list(actions) == list(knowledge.protocol.rules)
    for rule in knowledge.protocol.rules.values():
        action = actions[rule.id]
        assert action["code"] == [{"coding": [{"system": TOPIC_SYSTEM, "code": rule.id, "display": rule.title}]}]
        assert {each["label"] for each in action["documentation"]} == {
            *rule.citations,
            *rule.statements,
            *rule.conflicts,
        }
        assert [trigger["name"] for trigger in action["trigger"]] == list(rule.hooks)
        (condition,) = action["condition"]
        assert condition["expression"]["description"] == action["description"]
        assert [tier["title"] for tier in action["action"]] == [tier.name.replace("-", " ") for tier in rule.tiers]
        assert [tier["code"][0]["coding"][0]["code"] for tier in action["action"]] == [t.severity for t in rule.tiers]
        for tier in action["action"]:
            assert tier["textEquivalent"]


def test_an_action_follows_each_rule_that_cql_says_and_applies_where_the_rule_cannot_be_told(
    http: FlaskClient,
) -> None:
    actions = read(http, PLAN)["action"]
    (content,) = read(http, "Library/KetamineUntold")["content"]
    cql = base64.b64decode(content["data"]).decode()
    said = 0
    for rule, following in zip(actions, [*actions[1:], {"id": ""}], strict=True):
        is_said = rule["condition"][0]["expression"].get("expression") == "Fires"
        assert (following["id"] == f"{rule['id']}.could-not-tell") == is_said
        if is_said:
            library = rule["condition"][0]["expression"]["reference"].partition("|")[0].rpartition("/")[2]
            (condition,) = following["condition"]
            assert condition["expression"]["expression"] == rule["id"]
            assert f'define "{rule["id"]}":\n  {library}."Fires" is null\n' in cql
            assert following["trigger"] == rule["trigger"]
            said += 1
    assert said >= 56


def test_the_words_of_a_card_and_a_rules_clauses_are_published(http: FlaskClient) -> None:
    plan = read(http, PLAN)
    rule = next(action for action in plan["action"] if action["id"] == "bp-uncontrolled")
    assert rule["textEquivalent"].startswith(
        "Blood pressure ‹found› mmHg is above 180/100: treat it before ketamine."
    )
    assert rule["priority"] == "stat"
    expression = rule["action"][0]["condition"][0]["expression"]
    clause = msgspec.json.decode(expression["extension"][0]["valueString"])
    assert clause["of"][0] == {
        "fact": "observation",
        "in": ["obs_sbp"],
        "which": "newest",
        "within": "bp-window",
        "above": ["bp-critical-systolic"],
    }
    citation = next(each for each in rule["documentation"] if each["label"] == "R8")
    assert citation["type"] == "citation"
    assert "Swiss professional information" in citation["citation"]
    assert citation["display"].startswith("label, verified: ")
    assert [offer["type"]["coding"][0]["code"] for offer in rule["action"][0]["action"]] == ["create", "remove"]


def test_a_condition_of_a_rule_that_cql_says_names_a_definition_of_its_library(http: FlaskClient) -> None:
    plan = read(http, PLAN)
    named = 0
    for rule in plan["action"]:
        for condition in (c for step in (rule, *rule.get("action", ())) for c in step.get("condition", ())):
            expression = condition["expression"]
            if expression.get("language") == "text/cql-identifier":
                library = expression["reference"].partition("|")[0].rpartition("/")[2]
                (content,) = read(http, f"Library/{library}")["content"]
                assert content["contentType"] == "text/cql"
                assert f'define "{expression["expression"]}":' in base64.b64decode(content["data"]).decode()
                assert expression["reference"] in plan["library"]
                named += 1
    assert named > 60


def test_an_offer_that_fhir_can_say_is_an_activity_whose_number_is_the_limit_itself(http: FlaskClient) -> None:
    plan = read(http, PLAN)
    offers = [o for rule in plan["action"] for tier in rule.get("action", ()) for o in tier.get("action", ())]
    offers += [inner for each in offers for inner in each.get("action", ())]
    named = {each["definitionCanonical"] for each in offers if "definitionCanonical" in each}
    assert len(named) > 30
    for canonical in named:
        activity = read(http, "/".join(canonical.partition("|")[0].split("/")[-2:]))
        get_fhir_model_class("ActivityDefinition").model_validate(activity)
        assert f"{activity['url']}|{activity['version']}" == canonical
        for value in activity.get("dynamicValue", ()):
            if value["expression"]["language"] == "text/cql-identifier":
                (content,) = read(http, "Library/KetamineOffers")["content"]
                cql = base64.b64decode(content["data"]).decode()
                assert f'define "{value["expression"]["expression"]}":' in cql
    rate = read(http, "ActivityDefinition/ketamine-lower-to-rate-warn")
    assert rate["dynamicValue"][0]["path"] == "dosageInstruction.doseAndRate.rate"
    titles = {each["title"] for each in offers if "definitionCanonical" not in each}
    assert "Remove this order" in titles


def test_what_a_cql_library_depends_on_is_there(http: FlaskClient) -> None:
    depends = [each["resource"] for each in read(http, "Library/KetamineBpUncontrolled")["relatedArtifact"]]
    assert depends[0] == "http://hl7.org/fhir/Library/FHIRHelpers|4.0.1"
    assert any("ValueSet/ventilated.intubation" in each for each in depends)
    for each in depends[1:]:
        kind, name = each.partition("|")[0].split("/")[-2:]
        assert read(http, f"{kind}/{name}")["url"] == each.partition("|")[0]


def test_every_value_set_that_the_plan_and_the_library_name_is_there(http: FlaskClient) -> None:
    sets = {entry["resource"]["url"] for entry in read(http, "ValueSet")["entry"]}
    filters = [
        f for action in read(http, PLAN)["action"] for each in action.get("input", ()) for f in each["codeFilter"]
    ]
    named = {each["valueSet"] for each in filters}
    assert len(named) > 20
    assert named <= sets
    composed = {each["resource"] for each in read(http, LIBRARY)["relatedArtifact"] if each["type"] == "composed-of"}
    assert composed == named


def test_the_library_holds_every_limit_exactly_and_every_citation(http: FlaskClient, knowledge: Knowledge) -> None:
    library = read(http, LIBRARY)
    in_force, all_dates = (decoded(base64.b64decode(content["data"])) for content in library["content"])
    get_fhir_model_class("Parameters").model_validate(in_force)
    parts = {each["name"]: each["part"] for each in in_force["parameter"]}
    assert set(parts) == set(knowledge.protocol.limits)
    values = [part["valueQuantity"] for part in parts["rate-warn"] if part["name"] == "value"]
    unit = {"unit": "mg/kg/h", "system": "http://unitsofmeasure.org", "code": "mg/kg/h"}
    assert values == [{"value": Decimal("0.5"), **unit}]
    assert len([part for part in parts["weight-range"] if part["name"] == "value"]) == 2
    assert {"name": "source", "valueString": "K-03"} in parts["rate-warn"]
    for limit, written in zip(knowledge.protocol.limits.values(), all_dates, strict=True):
        assert written["id"] == limit.id
        assert written["values"] == {str(day): value for day, value in limit.values.items()}
    cited = {each["label"] for each in library["relatedArtifact"] if each["type"] == "citation"}
    assert cited == set(knowledge.protocol.evidence)


def test_a_code_that_nobody_verified_is_not_published(http: FlaskClient, knowledge: Knowledge) -> None:
    for entry in read(http, "ValueSet")["entry"]:
        assert '"unverified"' not in msgspec.json.encode(entry, enc_hook=str).decode()
        include = entry["resource"].get("compose", {}).get("include", ())
        assert include or knowledge.valuesets[entry["resource"]["name"]].no_codes, entry["fullUrl"]


def test_value_sets_are_searched_by_id_and_by_url(http: FlaskClient) -> None:
    def found(query: str) -> list[str]:
        answer = read(http, f"ValueSet?{query}")
        assert answer["total"] == len(answer["entry"])
        return [entry["resource"]["id"] for entry in answer["entry"]]

    assert found("_id=obs-sbp,obs-dbp") == ["obs-dbp", "obs-sbp"]
    assert found("url=https://ketamine-cds.github.io/fhir/ValueSet/dx-stroke") == ["dx-stroke"]
    assert found("_id=no-such-set") == []
    assert len(found("colour=blue")) == len(found("")) > 150
    (link,) = read(http, "ValueSet?colour=blue&_id=a%26b")["link"]
    assert link["url"].endswith("/fhir/ValueSet?_id=a%26b")


# HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "PlanDefinition/other",
        "Library/x",
        "ValueSet/no-such-set",
        "Patient/1",
        "Patient",
        "",
        "a/b/c",
        "ValueSet/%00",
    ],
)
def test_what_is_not_there_is_an_operation_outcome(path: str, http: FlaskClient) -> None:
    answer = http.get(f"/fhir/{path}")
    assert (answer.status_code, answer.content_type) == (404, FHIR_JSON)
    outcome = decoded(answer.data)
    get_fhir_model_class("OperationOutcome").model_validate(outcome)
    assert outcome["issue"][0]["code"] == "not-found"


@pytest.mark.parametrize("what", ["Zq<b>", "Zq%E2%80%AE", "Zq%0D%0AX-A:b", "Zq", "metadata"])
def test_no_word_of_an_address_comes_back_from_where_nothing_is(what: str, http: FlaskClient) -> None:
    says = decoded(http.get(f"/fhir/{what}/Zq1").data)["issue"][0]["diagnostics"]
    assert "Zq" not in says
    assert "this server reads ActivityDefinition" in says
    assert "Zq" not in http.get(f"/fhir/ValueSet/{what}").text


def test_a_client_that_has_the_version_is_told_so(http: FlaskClient, knowledge: Knowledge) -> None:
    for what in RESOURCES:
        tag = http.get(f"/fhir/{what}").headers["ETag"]
        assert tag.startswith(f'W/"{knowledge.protocol.version}-')
        again = http.get(f"/fhir/{what}", headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")
        assert http.get(f"/fhir/{what}", headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_what_a_site_changed_is_published_under_another_tag(tmp_path: Any, http: FlaskClient) -> None:
    overlay = tmp_path / "site.yaml"
    changes = [
        "site: Example Hospital\n",
        "limits: [{limit: rate-warn, value: 0.4, owner: P&T, date: 2026-11-20, reason: agreed <here>}]\n",
        "rules: [{rule: bp-elevated, off: true, owner: P&T, date: 2026-11-20, reason: agreed}]\n",
    ]
    overlay.write_text("".join(changes), "utf-8")
    changed = create_app(Settings(), load(overlay=str(overlay)), clock=lambda: NOW).test_client()
    for what in (PLAN, LIBRARY):
        assert changed.get(f"/fhir/{what}").headers["ETag"] != http.get(f"/fhir/{what}").headers["ETag"]
        resource = read(changed, what)
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        assert resource["description"].endswith("With the overlay of Example Hospital.")
    plan = {action["id"]: action for action in read(changed, PLAN)["action"]}
    assert "bp-elevated" not in plan
    assert "above 0.4 mg/kg/h" in plan["rate-exceeds-protocol-max"]["description"]


def test_a_limit_that_takes_effect_tomorrow_is_published_tomorrow(tmp_path: Any) -> None:
    overlay = tmp_path / "site.yaml"
    tomorrow = (NOW + timedelta(days=1)).date()
    change = f"{{limit: rate-warn, value: 0.4, owner: P&T, date: {tomorrow}, reason: agreed}}"
    overlay.write_text(f"site: Example Hospital\nlimits: [{change}]\n", "utf-8")
    moments = [NOW, NOW + timedelta(days=1)]
    http = create_app(Settings(), load(overlay=str(overlay)), clock=lambda: moments[0]).test_client()
    said = []
    while moments:
        said.append(read(http, PLAN)["action"][0]["description"])
        moments.pop(0)
    assert ["above 0.5 mg/kg/h" in said[0], "above 0.4 mg/kg/h" in said[1]] == [True, True]


# The pages for people ------------------------------------------------------------------------------------------


def test_the_page_of_every_rule_has_its_words_limits_and_citations(http: FlaskClient, knowledge: Knowledge) -> None:
    for rule in knowledge.protocol.rules.values():
        page = http.get(f"/protocol/{rule.id}")
        assert page.status_code == 200, rule.id
        for name in rule.citations:
            assert f"<td>{name}</td>" in page.text, rule.id
        for tier in rule.tiers:
            assert tier.name.replace("-", " ") in page.text, rule.id


def test_the_page_of_a_rule_says_when_it_fires(http: FlaskClient) -> None:
    page = http.get("/protocol/bp-uncontrolled").text
    assert "newest “Systolic BP” above 180 mm[Hg] within 24 h" in page
    assert "Blood pressure ‹found› mmHg is above 180/100" in page
    assert "Silent: intubated in this encounter" in page
    assert "Order a repeat blood pressure" in page
    assert "Swiss professional information" in page

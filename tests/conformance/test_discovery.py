"""Discovery and prefetch templates, requirement by requirement, at any URL."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.conformance.target import JSON, Answer, Target, posed

requirement = pytest.mark.requirement

USER_IDS = {"userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId"}
TOKEN = re.compile(r"\{\{(.*?)\}\}")
PREFIXES = ("eq", "lt", "gt", "ge", "le")

Service = dict[str, Any]
Template = tuple[Service, str, str]
"""(service, key, template)."""


@pytest.fixture(scope="module")
def discovery(target: Target) -> Answer:
    return target.discovery()


@pytest.fixture(scope="module")
def listed(discovery: Answer) -> list[Any]:
    content = discovery.content
    found = content.get("services") if isinstance(content, dict) else None
    assert isinstance(found, list), "discovery has no array of services"
    assert found, "discovery lists no service"
    return found


@pytest.fixture(scope="module")
def templates(listed: list[Any]) -> list[Template]:
    found = [
        (service, key, template)
        for service in listed
        if isinstance(service, dict) and isinstance(service.get("prefetch"), dict)
        for key, template in service["prefetch"].items()
    ]
    if not found:
        pytest.skip("no service asks for prefetch")
    return [(service, key, str(template)) for service, key, template in found]


def _each_has(listed: list[Any], field: str) -> bool:
    return all(isinstance(service, dict) and _is_text(service.get(field)) for service in listed)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


@requirement("4", "5", "13")
def test_discovery_is_always_found_at_its_place_and_answers_200(target: Target) -> None:
    assert [target.discovery().status for _ in range(3)] == [200, 200, 200]


@requirement("1")
def test_discovery_is_json(discovery: Answer) -> None:
    assert discovery.media_type == JSON
    assert discovery.content is not None


@requirement("6")
def test_discovery_is_an_object_with_an_array_of_services(discovery: Answer) -> None:
    assert isinstance(discovery.content, dict)
    assert isinstance(discovery.content.get("services"), list)


@requirement("7")
def test_every_service_names_its_hook(listed: list[Any]) -> None:
    assert _each_has(listed, "hook")


@requirement("8")
def test_every_service_has_a_title(listed: list[Any]) -> None:
    assert _each_has(listed, "title")


@requirement("9")
def test_every_service_has_a_description(listed: list[Any]) -> None:
    assert _each_has(listed, "description")


@requirement("10")
def test_every_service_has_an_id_that_can_end_a_url(listed: list[Any]) -> None:
    assert _each_has(listed, "id")
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]+", service["id"]) for service in listed)


@requirement("11")
def test_prefetch_is_an_object_of_texts(listed: list[Any]) -> None:
    given = [service["prefetch"] for service in listed if "prefetch" in service]
    if not given:
        pytest.skip("no service asks for prefetch")
    assert all(isinstance(each, dict) and all(map(_is_text, each.values())) for each in given)


@requirement("12")
def test_usage_requirements_are_a_text(listed: list[Any]) -> None:
    given = [service["usageRequirements"] for service in listed if "usageRequirements" in service]
    if not given:
        pytest.skip("no service states usage requirements")
    assert all(map(_is_text, given))


@requirement("3")
def test_nothing_in_discovery_is_null_or_empty(discovery: Answer) -> None:
    assert list(_empty(discovery.content, "discovery")) == []


def _empty(value: Any, path: str) -> list[str]:
    if value is None or value in ("", [], {}):
        return [] if path == "discovery.services" else [path]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in members for found in _empty(item, f"{path}.{key}")]


@requirement("14", "1")
def test_what_discovery_does_not_offer_is_an_error_in_json(target: Target) -> None:
    answer = target.send("POST", "/cds-services", b"{}", {"Content-Type": JSON})
    assert 400 <= answer.status < 500
    assert answer.media_type in (JSON, "application/fhir+json")


@requirement("211")
def test_one_id_stands_twice_only_at_different_hooks(listed: list[Any]) -> None:
    """A repeated id says that the cards of one hook replace those of the other."""
    pairs = [(service["id"], service["hook"]) for service in listed]
    assert len(set(pairs)) == len(pairs)


# Prefetch templates ------------------------------------------------------------------------------------------------


@requirement("29", "36")
def test_every_template_has_a_key(templates: list[Template]) -> None:
    assert all(_is_text(key) for _, key, _ in templates)
    assert all(_is_text(template) for _, _, template in templates)


@requirement("35", "55")
def test_braces_stand_only_in_pairs_around_a_token(templates: list[Template]) -> None:
    tokens = [token for _, _, template in templates for token in TOKEN.findall(template)]
    if not tokens:
        pytest.skip("no template has a token")
    assert [template for _, _, template in templates if re.search(r"[{}]", TOKEN.sub("", template))] == []
    assert all(re.fullmatch(r"[^{}\s]+", token) for token in tokens)


@requirement("56", "59")
def test_a_token_is_a_context_field_or_an_id_of_the_user(templates: list[Template]) -> None:
    tokens = {token for _, _, template in templates for token in TOKEN.findall(template)}
    assert {token for token in tokens if token not in USER_IDS and not re.fullmatch(r"context\.\w+", token)} == set()


@requirement("57")
def test_a_token_stands_for_a_primitive_field_of_the_context(templates: list[Template]) -> None:
    contexts = [(each.hook, each.body["context"]) for each in posed() if isinstance(each.body.get("context"), dict)]
    for service, _, template in templates:
        for name in (token.removeprefix("context.") for token in TOKEN.findall(template) if token not in USER_IDS):
            sent = [context[name] for hook, context in contexts if hook == service["hook"] and name in context]
            assert not [value for value in sent if isinstance(value, (dict, list))], f"{name} is no primitive"


@requirement("58")
def test_templates_keep_to_reads_and_simple_searches(templates: list[Template]) -> None:
    assert [(key, template) for _, key, template in templates if not _is_simple(template)] == []


def _is_simple(template: str) -> bool:
    parts = urlsplit(template)
    if parts.scheme or parts.netloc:
        return False
    if not parts.query:
        return re.fullmatch(r"[A-Z][A-Za-z]+/(\{\{[\w.]+\}\}|[A-Za-z0-9.-]+)", template) is not None
    if not re.fullmatch(r"[A-Z][A-Za-z]+", parts.path):
        return False
    return all(_is_simple_parameter(name, value) for name, value in parse_qsl(parts.query, strict_parsing=True))


def _is_simple_parameter(name: str, value: str) -> bool:
    """A reference, a token by equality or :in, a date with one of five prefixes, _count or _sort; nothing chained."""
    base, _, modifier = name.partition(":")
    if modifier not in ("", "in") or "." in base:
        return False
    if base.startswith("_"):
        return base in ("_count", "_sort", "_id", "_lastUpdated")
    prefix = re.match(r"([a-z]{2})\d{4}", value)
    return prefix is None or prefix[1] in PREFIXES


MAY_BE_TOKENS = {
    "library-4": ("order-sign", "userId"),
    "library-8": ("order-sign", "patientId"),
    "library-12": ("order-sign", "encounterId"),
    "library-20": ("appointment-book", "userId"),
    "library-24": ("appointment-book", "patientId"),
    "library-28": ("appointment-book", "encounterId"),
    "library-36": ("encounter-start", "userId"),
    "library-40": ("encounter-start", "patientId"),
    "library-44": ("encounter-start", "encounterId"),
    "library-48": ("encounter-discharge", "userId"),
    "library-52": ("encounter-discharge", "patientId"),
    "library-56": ("encounter-discharge", "encounterId"),
    "library-60": ("order-dispatch", "patientId"),
    "library-64": ("order-dispatch", "dispatchedOrders"),
    "library-68": ("order-dispatch", "performer"),
    "library-77": ("order-select", "userId"),
    "library-81": ("order-select", "patientId"),
    "library-85": ("order-select", "encounterId"),
}
NO_TOKENS = {
    "library-16": ("order-sign", "draftOrders"),
    "library-32": ("appointment-book", "appointments"),
    "library-73": ("order-dispatch", "fulfillmentTasks"),
    "library-89": ("order-select", "selections"),
    "library-93": ("order-select", "draftOrders"),
}


def _fields_at(hook: str, templates: list[Template]) -> list[str]:
    """The context fields that templates of the hook's services use as tokens."""
    at_hook = [template for service, _, template in templates if service.get("hook") == hook]
    if not at_hook:
        pytest.skip(f"no service at {hook}")
    return [token.removeprefix("context.").partition(".")[0] for each in at_hook for token in TOKEN.findall(each)]


@pytest.mark.parametrize(
    ("hook", "field"), [pytest.param(*pair, marks=requirement(id)) for id, pair in MAY_BE_TOKENS.items()]
)
def test_a_context_field_may_be_a_token(hook: str, field: str, templates: list[Template]) -> None:
    if field not in _fields_at(hook, templates):
        pytest.skip(f"no template at {hook} uses {field}")
    used = [template for service, _, template in templates if service.get("hook") == hook and field in template]
    assert all(f"{{{{context.{field}}}}}" in template for template in used)


@pytest.mark.parametrize(
    ("hook", "field"), [pytest.param(*pair, marks=requirement(id)) for id, pair in NO_TOKENS.items()]
)
def test_a_context_field_that_may_not_be_a_token_is_none(hook: str, field: str, templates: list[Template]) -> None:
    assert field not in _fields_at(hook, templates)

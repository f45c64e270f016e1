"""Cards and all that is in them, requirement by requirement, over every answer that the suite gets; at any URL."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from fhir.resources.R4B import get_fhir_model_class

from tests.conformance.invariants import RESPONSE, broken
from tests.conformance.target import Exchange

requirement = pytest.mark.requirement

Element = Mapping[str, Any]

HTML = re.compile(r"(?<!\\)<[a-zA-Z/!]")


def _texts(things: list[Element], key: str) -> list[Any]:
    return [thing[key] for thing in things if key in thing]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _all_have_text(things: list[Element], key: str) -> bool:
    return all(_is_text(thing.get(key)) for thing in things)


def _is_absolute(url: Any) -> bool:
    return isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).netloc)


def _used(values: list[Any], why_not: str) -> list[Any]:
    if not values:
        pytest.skip(why_not)
    return values


def _is_coding(coding: Any) -> bool:
    return isinstance(coding, dict) and _is_text(coding.get("code")) and _is_text(coding.get("system"))


@pytest.mark.parametrize("invariant", RESPONSE)
def test_every_answer_keeps_the_invariants_of_the_specification(invariant: str, responses: list[Element]) -> None:
    for response in responses:
        assert invariant not in broken(response, RESPONSE)


# Cards -------------------------------------------------------------------------------------------------------------


@requirement("80", "82")
def test_a_uuid_is_a_text_that_no_other_card_of_the_call_has(responses: list[Element], cards: list[Element]) -> None:
    _used(_texts(cards, "uuid"), "no card has a uuid")
    assert all(map(_is_text, _texts(cards, "uuid")))
    for response in responses:
        counted = Counter(_texts(response["cards"], "uuid"))
        assert [uuid for uuid, times in counted.items() if times > 1] == []


@requirement("83")
def test_a_summary_is_a_text_of_less_than_140_characters(cards: list[Element]) -> None:
    assert _all_have_text(cards, "summary")
    assert [card["summary"] for card in cards if len(card["summary"]) >= 140] == []


@requirement("84", "85")
def test_a_detail_is_markdown_without_html(cards: list[Element]) -> None:
    details = _used(_texts(cards, "detail"), "no card has a detail")
    assert all(map(_is_text, details))
    assert [detail for detail in details if HTML.search(detail)] == []


@requirement("87")
def test_every_card_has_an_indicator(cards: list[Element]) -> None:
    assert _all_have_text(cards, "indicator")


@requirement("88")
def test_an_indicator_is_one_of_three(cards: list[Element]) -> None:
    assert {card.get("indicator") for card in cards} <= {"info", "warning", "critical"}


@requirement("90")
def test_every_card_has_a_source(cards: list[Element]) -> None:
    assert all(isinstance(card.get("source"), dict) for card in cards)


@requirement("92")
def test_suggestions_are_an_array_of_objects(cards: list[Element]) -> None:
    given = _used(_texts(cards, "suggestions"), "no card has a suggestion")
    assert all(isinstance(each, list) and all(isinstance(one, dict) for one in each) for each in given)


@requirement("94")
def test_a_card_may_do_without_suggestions(cards: list[Element]) -> None:
    plain = _used([card for card in cards if "suggestions" not in card], "every card has suggestions")
    assert not [card for card in plain if "selectionBehavior" in card]


@requirement("93", "96")
def test_where_there_are_suggestions_there_is_a_selection_behavior(cards: list[Element]) -> None:
    suggesting = _used([card for card in cards if card.get("suggestions")], "no card has a suggestion")
    assert _all_have_text(suggesting, "selectionBehavior")


@requirement("95")
def test_suggestions_of_which_any_may_be_taken_do_not_change_the_same_thing(cards: list[Element]) -> None:
    suggesting = _used([card for card in cards if card.get("suggestions")], "no card has a suggestion")
    assert {card.get("selectionBehavior") for card in suggesting} <= {"at-most-one", "any"}
    for card in suggesting:
        if card["selectionBehavior"] == "any":
            touched = Counter(
                what for suggestion in card["suggestions"] for what in set(_touched(suggestion.get("actions", ())))
            )
            assert [what for what, times in touched.items() if times > 1] == []


def _touched(actions: Any) -> list[str]:
    """The resources that exist and that the actions change or remove."""
    found = []
    for action in actions:
        resource = action.get("resource") or {}
        if action.get("type") == "delete":
            found.append(str(action.get("resourceId")))
        elif action.get("type") == "update":
            found.append(f"{resource.get('resourceType')}/{resource.get('id')}")
    return found


@requirement("98")
def test_override_reasons_are_an_array_of_codings(cards: list[Element]) -> None:
    given = _used(_texts(cards, "overrideReasons"), "no card has override reasons")
    assert all(isinstance(each, list) and all(map(_is_coding, each)) for each in given)


@requirement("99", "100", "136", "219")
def test_every_override_reason_can_be_read(reasons: list[Element]) -> None:
    assert _all_have_text(reasons, "display")
    assert not [reason for reason in reasons if reason["display"] == reason.get("code")]


@requirement("103")
def test_links_are_an_array_of_objects(cards: list[Element]) -> None:
    given = _used(_texts(cards, "links"), "no card has a link")
    assert all(isinstance(each, list) and all(isinstance(one, dict) for one in each) for each in given)


@requirement("104")
def test_a_card_may_do_without_links(cards: list[Element]) -> None:
    assert not [card for card in cards if card.get("links") in ([], None) and "links" in card]


# Sources -----------------------------------------------------------------------------------------------------------


@requirement("105", "106")
def test_every_source_has_a_label(sources: list[Element]) -> None:
    assert _all_have_text(sources, "label")


@requirement("107")
def test_a_source_url_is_absolute(sources: list[Element]) -> None:
    assert all(map(_is_absolute, _used(_texts(sources, "url"), "no source has a url")))


@requirement("109")
def test_a_source_url_leads_to_nothing_of_the_case(exchanges: list[Exchange]) -> None:
    """The same topic has the same address for every patient, and no identifier of the request is in it."""
    by_topic = defaultdict(set)
    for each in exchanges:
        for card in each.answer.content.get("cards", ()) if each.answer.status == 200 else ():
            url = card["source"].get("url", "")
            by_topic[json.dumps(card["source"].get("topic", card["source"]["label"]))].add(url)
            assert not [identifier for identifier in _identifiers(each) if identifier in url]
    _used(list(by_topic), "no card has a source with a url")
    assert {topic: urls for topic, urls in by_topic.items() if len(urls) > 1} == {}


def _identifiers(each: Exchange) -> set[str]:
    context = each.posed.body["context"]
    given = {context.get("patientId"), context.get("encounterId"), each.posed.body["hookInstance"]}
    return {value for value in given if isinstance(value, str) and len(value) > 2}


@requirement("110")
def test_a_view_of_the_case_is_a_link(exchanges: list[Exchange]) -> None:
    leading = [
        (each, link)
        for each in exchanges
        if each.answer.status == 200
        for card in each.answer.content["cards"]
        for link in card.get("links", ())
        if any(identifier in str(link.get("url")) for identifier in _identifiers(each))
    ]
    _used(leading, "no card leads to a view of the case")
    assert all(_is_absolute(link["url"]) for _, link in leading)


@requirement("111", "112", "113")
def test_an_icon_is_the_absolute_url_of_a_png(sources: list[Element]) -> None:
    icons = _used(_texts(sources, "icon"), "no source has an icon")
    assert all(map(_is_absolute, icons))
    assert all(urlsplit(icon).path.lower().endswith(".png") for icon in icons)


@requirement("115", "216", "217", "218")
def test_a_topic_is_a_coding(sources: list[Element]) -> None:
    assert all(map(_is_coding, _used(_texts(sources, "topic"), "no source has a topic")))


@requirement("220")
def test_the_display_of_a_topic_is_a_text(topics: list[Element]) -> None:
    assert all(map(_is_text, _used(_texts(topics, "display"), "no topic has a display")))


@requirement("216", "217", "218")
def test_every_override_reason_has_a_code_and_a_system(reasons: list[Element]) -> None:
    assert all(map(_is_coding, reasons))


# Suggestions and actions -------------------------------------------------------------------------------------------


@requirement("117")
def test_every_suggestion_has_a_label(suggestions: list[Element]) -> None:
    assert _all_have_text(suggestions, "label")


@requirement("119")
def test_a_suggestion_uuid_is_a_text(suggestions: list[Element]) -> None:
    assert all(map(_is_text, _used(_texts(suggestions, "uuid"), "no suggestion has a uuid")))


@requirement("120", "121", "122")
def test_is_recommended_is_a_boolean_and_alternatives_have_one_at_most(
    cards: list[Element], suggestions: list[Element]
) -> None:
    given = _used(_texts(suggestions, "isRecommended"), "no suggestion is recommended above others")
    assert all(isinstance(each, bool) for each in given)
    for card in cards:
        if card.get("selectionBehavior") == "at-most-one":
            assert [each.get("isRecommended") for each in card["suggestions"]].count(True) <= 1


@requirement("124")
def test_the_actions_of_a_suggestion_are_an_array(suggestions: list[Element]) -> None:
    given = _used(_texts(suggestions, "actions"), "no suggestion has an action")
    assert all(isinstance(each, list) and all(isinstance(one, dict) for one in each) for each in given)


@requirement("125")
def test_the_actions_of_a_suggestion_can_all_be_taken(suggestions: list[Element]) -> None:
    """Two of them at the same resource could not; alternatives are suggestions of their own."""
    for suggestion in suggestions:
        touched = Counter(_touched(suggestion.get("actions", ())))
        assert [what for what, times in touched.items() if times > 1] == []


@requirement("127")
def test_an_action_creates_updates_or_deletes(actions: list[Element]) -> None:
    assert {action.get("type") for action in actions} <= {"create", "update", "delete"}


@requirement("128")
def test_every_action_has_a_description(actions: list[Element]) -> None:
    assert _all_have_text(actions, "description")


def _resources(actions: list[Element], *types: str) -> list[Any]:
    found = [action.get("resource") for action in actions if action.get("type") in types]
    return _used(found, f"no action is of type {' or '.join(types)}")


@requirement("130")
def test_the_resource_of_an_action_is_valid_fhir_r4(actions: list[Element]) -> None:
    for resource in _resources(actions, "create", "update"):
        assert isinstance(resource, dict)
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@requirement("131")
def test_what_is_to_be_created_is_new(actions: list[Element], exchanges: list[Exchange]) -> None:
    known = {
        str(entry["resource"].get("id"))
        for each in exchanges
        for entry in each.posed.body["context"].get("draftOrders", {}).get("entry", ())
    }
    assert not [each for each in _resources(actions, "create") if str(each.get("id")) in known]


@requirement("132")
def test_an_update_is_the_whole_order(exchanges: list[Exchange]) -> None:
    """Every element that R4 knows and that the draft had is there again, changed or not."""
    updated = 0
    for each in exchanges:
        known_to_client = _sent(each)
        for resource in _updates(each):
            updated += 1
            original = known_to_client[resource["resourceType"], resource["id"]]
            known = set(get_fhir_model_class(resource["resourceType"]).model_fields)
            choices = ("medicationCodeableConcept", "medicationReference")
            left_out = {key for key in original if key in known and key not in resource and key not in choices}
            assert left_out == set(), str(each)
    _used([None] * updated, "no action is an update")


def _sent(each: Exchange) -> dict[tuple[str, str], Element]:
    """The resources of the request, drafts and prefetched ones, by type and id."""
    bundles = [each.posed.body["context"].get("draftOrders"), *(each.posed.body.get("prefetch") or {}).values()]
    entries = [entry for bundle in bundles if isinstance(bundle, dict) for entry in bundle.get("entry", ())]
    resources = [entry["resource"] for entry in entries if "id" in entry.get("resource", {})]
    return {(resource["resourceType"], resource["id"]): resource for resource in resources}


def _updates(each: Exchange) -> list[Any]:
    cards = each.answer.content.get("cards", ()) if each.answer.status == 200 else ()
    actions = [a for card in cards for s in card.get("suggestions", ()) for a in s.get("actions", ())]
    return [action["resource"] for action in actions if action.get("type") == "update"]


@requirement("133", "134")
def test_a_delete_names_what_is_to_be_deleted_and_holds_no_resource(actions: list[Element]) -> None:
    deletes = _used([each for each in actions if each.get("type") == "delete"], "no action is a delete")
    assert not [each for each in deletes if "resource" in each]
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+/[^\s/?#]+", str(each.get("resourceId"))) for each in deletes)


@requirement("135")
def test_a_resource_id_is_a_text(actions: list[Element]) -> None:
    assert all(map(_is_text, _used(_texts(actions, "resourceId"), "no action has a resourceId")))


# Links -------------------------------------------------------------------------------------------------------------


@requirement("138")
def test_every_link_has_a_label(links: list[Element]) -> None:
    assert _all_have_text(links, "label")


@requirement("139", "140")
def test_every_link_has_a_url(links: list[Element]) -> None:
    assert all(_is_absolute(link.get("url")) for link in links)


@requirement("141", "142")
def test_the_type_of_a_link_is_absolute_or_smart(links: list[Element]) -> None:
    assert {link.get("type") for link in links} <= {"absolute", "smart"}


@requirement("147")
def test_an_absolute_link_has_no_app_context(links: list[Element]) -> None:
    plain = _used([link for link in links if link.get("type") == "absolute"], "no link is absolute")
    assert not [link for link in plain if "appContext" in link]


@requirement("144", "145", "146")
def test_an_app_context_is_a_text_on_a_smart_link(links: list[Element]) -> None:
    given = _used([link for link in links if "appContext" in link], "no link has an appContext")
    assert all(_is_text(link["appContext"]) and link.get("type") == "smart" for link in given)

"""Client profiles: every example in every client's form is valid CDS Hooks, and nothing is taken away in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from msgspec.structs import replace

from cds_service.advise import advise, failure
from cds_service.cards.model import EXTENSION, Action, Card, Coding, Response, Source, Suggestion
from cds_service.commands.examples import AS_OF, read
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks import profiles
from cds_service.hooks.profiles import Profile
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from tests.hooks.conformance import decoded, faults

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
STANDARD = profiles.load("standard")
STYLES = ("update", "delete-create", "create", "no-update", "none")
PROFILES: dict[str, Profile] = {
    **{name: profiles.load(name) for name in profiles.shipped()},
    **{style: msgspec.convert({**msgspec.to_builtins(STANDARD), "suggestions": style}, Profile) for style in STYLES},
    "one action": replace(STANDARD, suggestions="delete-create", one_action=True),
    "no alternatives": replace(STANDARD, alternatives=False),
    "one card": replace(STANDARD, card_limit=1),
    "summary": replace(STANDARD, text="summary", card_limit=1),
    "no extension": replace(STANDARD, extension=False),
    "all at once": Profile(
        says="x",
        suggestions="delete-create",
        one_action=True,
        alternatives=False,
        say_suggestions=True,
        topic_code="alphanumeric",
        text="detail",
        extension=False,
        card_limit=1,
        words=STANDARD.words,
    ),
}


@pytest.fixture(scope="module")
def composed(knowledge: Knowledge) -> dict[str, Response]:
    """The cards of every example, as composed."""
    made = {}
    for path in EXAMPLES:
        body = read(str(path))
        hook = str(body["hook"])
        request = parse(lenient.encode(body), hook)
        made[path.stem] = advise(request, hook == "order-sign", knowledge, NoSource(), AS_OF)
    assert any(card.suggestions for response in made.values() for card in response.cards)
    return made


def applied(response: Response, profile: Profile) -> Any:
    """The response as it is sent."""
    return decoded(encode(profile.apply(response)))


def left_out_on_purpose(profile: Profile) -> tuple[str, ...]:
    """Faults that are promises of this service beyond the specification, from which a profile releases it."""
    released = {
        "contract: a card lacks our extension": not profile.extension,
        "85: the detail is not a text": profile.text == "summary",
        # The checker knows of ServiceRequests only; created MedicationRequests are looked at below.
        "130: create of a MedicationRequest": profile.suggestions in ("delete-create", "create"),
    }
    return tuple(fault for fault, is_released in released.items() if is_released)


@pytest.mark.parametrize("name", PROFILES)
def test_every_example_in_every_form_is_valid_cds_hooks(name: str, composed: dict[str, Response]) -> None:
    profile = PROFILES[name]
    for example, response in composed.items():
        released = left_out_on_purpose(profile)
        found = [fault for fault in faults(applied(response, profile)) if not fault.startswith(released or ("\0",))]
        assert found == [], example


@pytest.mark.parametrize("name", PROFILES)
def test_a_failure_of_the_service_can_be_said_in_every_form(name: str, knowledge: Knowledge) -> None:
    (card,) = applied(failure(knowledge), PROFILES[name])["cards"]
    assert card["summary"].startswith(knowledge.texts.words.say("failed"))


@pytest.mark.parametrize("name", PROFILES)
def test_no_form_changes_severities_identifiers_or_the_order_of_cards(
    name: str, composed: dict[str, Response]
) -> None:
    for response in composed.values():
        sent = PROFILES[name].apply(response).cards
        for was, made in zip(response.cards, sent, strict=False):
            assert (was.uuid, was.indicator, _reasons(was)) == (made.uuid, made.indicator, _reasons(made))


def _reasons(card: Card) -> list[tuple[str, str, str | None]]:
    return [(reason.system, reason.code, reason.display) for reason in card.override_reasons or ()]


@pytest.mark.parametrize("name", PROFILES)
def test_every_suggestion_is_sent_or_said(name: str, composed: dict[str, Response]) -> None:
    profile = PROFILES[name]
    for response in composed.values():
        for was, made in zip(response.cards, profile.apply(response).cards, strict=False):
            text = f"{made.summary}\n{made.detail or ''}".replace("\\", "").replace("&amp;", "&")
            kept = {s.uuid for s in made.suggestions or ()}
            for suggestion in was.suggestions or ():
                is_sent = suggestion.uuid in kept or profile.one_action
                assert is_sent or suggestion.label in text or profile.text == "summary"


def test_the_standard_profile_changes_nothing(composed: dict[str, Response]) -> None:
    for response in composed.values():
        assert encode(STANDARD.apply(response)) == encode(response)


# Suggestions -------------------------------------------------------------------------------------------------------


def order(number: str = "1", dose: int = 5) -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": number,
        "meta": {"versionId": "1"},
        "identifier": [{"value": "x"}],
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
        "medicationCodeableConcept": {"text": "ketamine"},
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": {"value": dose}}]}],
    }


UPDATE = Action(type="update", description="Change the order to 5", resource=order())
OTHER_UPDATE = Action(type="update", description="Change the order to 4", resource=order(dose=4))
DELETE = Action(type="delete", description="Remove the order", resource_id="MedicationRequest/1")
CREATE = Action(type="create", description="Order an ECG", resource={"resourceType": "ServiceRequest"})


def suggestion(label: str, *actions: Action) -> Suggestion:
    return Suggestion(label=label, uuid=str(uuid5(NAMESPACE_URL, label)), actions=list(actions))


def card(*suggestions: Suggestion, indicator: Any = "warning", number: int = 0, behavior: Any = None) -> Card:
    return Card(
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        summary=f"Card {number}",
        detail="The body.\n\n**Sources**\n\n- One",
        indicator=indicator,
        source=Source(label="x", topic=Coding(system="s", code=f"a-rule-{number}")),
        suggestions=list(suggestions) or None,
        selection_behavior=behavior or ("any" if suggestions else None),
        extension={EXTENSION: {"rules": [{"id": f"r{number}"}], "limits": [{"id": "shared"}]}},
    )


def one(card: Card, profile: Profile) -> Card:
    (made,) = profile.apply(Response(cards=[card])).cards
    return made


def actions(card: Card) -> list[list[str]]:
    return [[action.type for action in each.actions] for each in card.suggestions or ()]


@pytest.mark.parametrize(
    ("style", "expected", "said"),
    [
        ("update", [["update"], ["delete"], ["create"]], []),
        ("delete-create", [["delete", "create"], ["delete"], ["create"]], []),
        ("create", [["create"], ["create"]], ["Remove"]),
        ("no-update", [["delete"], ["create"]], ["Change"]),
        ("none", [], ["Change", "Remove", "ECG"]),
    ],
)
def test_a_style_sends_what_the_client_can_apply_and_says_the_rest(
    style: Any, expected: list[list[str]], said: list[str]
) -> None:
    given = card(
        suggestion("Change", UPDATE), suggestion("Remove", DELETE), suggestion("ECG", CREATE), behavior="at-most-one"
    )
    made = one(given, replace(STANDARD, suggestions=style))
    assert actions(made) == expected
    section = "".join(f"- {label}\n" for label in said).rstrip()
    body = f"The body.\n\n**Suggested**\n\n{section}\n\n**Sources**\n\n- One"
    assert made.detail == (body if said else given.detail)


def test_an_update_becomes_a_deletion_and_a_new_order_without_what_was_the_old_ones() -> None:
    made = one(card(suggestion("Change", UPDATE)), replace(STANDARD, suggestions="delete-create"))
    assert made.suggestions is not None
    delete, create = made.suggestions[0].actions
    assert (delete.resource_id, delete.resource) == ("MedicationRequest/1", None)
    assert create.resource is not None
    assert set(create.resource) == set(order()) - {"id", "meta", "identifier"}
    assert create.description == UPDATE.description
    MedicationRequest.model_validate(create.resource)
    assert UPDATE.resource == order(), "the composed response is left as it was"


@pytest.mark.parametrize("style", ["delete-create", "create"])
def test_created_orders_of_the_examples_are_valid_r4_and_new(style: Any, composed: dict[str, Response]) -> None:
    seen = 0
    for response in composed.values():
        for resource in _created_orders(replace(STANDARD, suggestions=style).apply(response)):
            MedicationRequest.model_validate(resource)
            assert "id" not in resource
            seen += 1
    assert seen > 5


def _created_orders(response: Response) -> Iterator[dict[str, Any]]:
    for made in response.cards:
        for each in made.suggestions or ():
            for action in each.actions:
                if (
                    action.type == "create"
                    and action.resource
                    and action.resource["resourceType"] != "ServiceRequest"
                ):
                    yield dict(action.resource)


def test_one_action_splits_a_suggestion_and_each_part_keeps_its_own_words() -> None:
    made = one(
        card(suggestion("Change", UPDATE, CREATE)), replace(STANDARD, suggestions="delete-create", one_action=True)
    )
    assert actions(made) == [["delete"], ["create"], ["create"]]
    assert made.suggestions is not None
    assert [each.label for each in made.suggestions] == [
        STANDARD.words.remove,
        "Change the order to 5",
        "Order an ECG",
    ]
    assert len({each.uuid for each in made.suggestions}) == 3
    assert made.selection_behavior == "any"


def test_of_alternatives_only_the_first_is_sent_where_a_client_could_take_both() -> None:
    """Two changed copies of one order would be two orders."""
    given = card(suggestion("To 5", UPDATE), suggestion("To 4", OTHER_UPDATE), behavior="at-most-one")
    for profile in (
        replace(STANDARD, alternatives=False),
        replace(STANDARD, suggestions="delete-create", alternatives=False),
        replace(STANDARD, suggestions="delete-create", one_action=True),
        replace(STANDARD, suggestions="create", alternatives=False),
    ):
        made = one(given, profile)
        assert made.selection_behavior == "any"
        assert "- To 4" in str(made.detail)
        assert "- To 5" not in str(made.detail)
        assert sum(action == "create" or action == "update" for each in actions(made) for action in each) == 1


def test_alternatives_stay_alternatives_where_the_client_knows_them() -> None:
    given = card(suggestion("To 5", UPDATE), suggestion("To 4", OTHER_UPDATE), behavior="at-most-one")
    for style in ("update", "delete-create", "create"):
        made = one(given, replace(STANDARD, suggestions=style))
        assert made.selection_behavior == "at-most-one"
        assert len(made.suggestions or ()) == 2


def test_what_is_left_of_alternatives_may_be_taken_together() -> None:
    given = card(
        suggestion("To 5", UPDATE), suggestion("Remove", DELETE), suggestion("ECG", CREATE), behavior="at-most-one"
    )
    assert one(given, replace(STANDARD, suggestions="no-update")).selection_behavior == "any"


def test_suggestions_can_be_said_although_they_are_sent() -> None:
    made = one(card(suggestion("To *5*", UPDATE)), replace(STANDARD, say_suggestions=True))
    assert actions(made) == [["update"]]
    assert "- To \\*5\\*" in str(made.detail)


def test_a_card_without_suggestions_has_no_selection_behavior() -> None:
    made = one(card(suggestion("Change", UPDATE)), replace(STANDARD, suggestions="none"))
    assert (made.suggestions, made.selection_behavior) == (None, None)


# Text and topic ----------------------------------------------------------------------------------------------------


def test_where_only_the_summary_is_shown_the_suggestion_stands_there_if_it_fits() -> None:
    profile = replace(STANDARD, text="summary", suggestions="none")
    made = one(card(suggestion("Change to 5", UPDATE)), profile)
    assert (made.summary, made.detail) == ("Card 0. Change to 5", None)
    long = replace(card(suggestion("Change to 5", UPDATE)), summary="x" * 130)
    assert one(long, profile).summary == "x" * 130


def test_epic_gets_a_code_of_letters_and_digits_that_tells_all_topics_apart(knowledge: Knowledge) -> None:
    topics = [*knowledge.protocol.rules, "could-not-check", "further-warnings"]
    cards = [replace(card(number=n), source=Source(label="x", topic=Coding(system="s", code=t)))
             for n, t in enumerate(topics)]  # fmt: skip
    sent = PROFILES["epic"].apply(Response(cards=cards)).cards
    codes = [made.source.topic.code for made in sent if made.source.topic]
    assert all(code.isalnum() and code.isascii() and len(code) <= 100 for code in codes)
    assert len(set(codes)) == len(topics)


def test_without_the_extension_neither_card_nor_response_has_one(composed: dict[str, Response]) -> None:
    for response in composed.values():
        assert b"extension" not in encode(
            Response(cards=[replace(c, suggestions=None) for c in PROFILES["no extension"].apply(response).cards])
        )
        assert PROFILES["no extension"].apply(response).extension is None


# Room --------------------------------------------------------------------------------------------------------------


def shown(limit: int, indicators: Sequence[Any], text: Any = "detail") -> list[Card]:
    cards = [card(indicator=each, number=number) for number, each in enumerate(indicators)]
    return replace(STANDARD, card_limit=limit, text=text).apply(Response(cards=cards)).cards


def test_the_most_interruptive_cards_are_shown_and_the_last_names_the_others() -> None:
    first, second = shown(2, ["warning", "warning", "info", "info"])
    assert (first.summary, second.summary) == ("Card 0", "Card 1")
    assert first.detail == "The body.\n\n**Sources**\n\n- One"
    assert str(second.detail).endswith("- One\n\n**Not shown for lack of room**\n\n- Card 2\n- Card 3")


def test_a_card_that_stands_for_others_lists_their_rules() -> None:
    (only,) = shown(1, ["warning", "warning", "info"])
    assert only.extension is not None
    assert only.extension[EXTENSION] == {
        "rules": [{"id": "r0"}, {"id": "r1"}, {"id": "r2"}],
        "limits": [{"id": "shared"}],
    }


def test_a_critical_card_is_never_cut() -> None:
    made = shown(1, ["critical", "critical", "critical", "warning"])
    assert [each.indicator for each in made] == ["critical"] * 3
    assert "- Card 3" in str(made[2].detail)


def test_where_only_the_summary_is_shown_the_number_of_cut_cards_stands_there() -> None:
    (only,) = shown(1, ["warning", "info", "info"], text="summary")
    assert only.summary == "Card 0 (2 more not shown)"
    long = [replace(card(number=n), summary="x" * 139) for n in range(3)]
    (only,) = replace(STANDARD, card_limit=1, text="summary").apply(Response(cards=long)).cards
    assert len(only.summary) == 139
    assert only.summary.endswith("x (2 more not shown)")


@pytest.mark.parametrize("limit", [0, 3, 4])
def test_where_there_is_room_nothing_is_cut(limit: int) -> None:
    assert [each.detail for each in shown(limit, ["warning", "info", "info"])] == [card().detail] * 3


def test_a_response_without_cards_stays_so() -> None:
    for profile in PROFILES.values():
        assert profile.apply(Response(cards=[])).cards == []

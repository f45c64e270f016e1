"""Client profiles: the same cards in the form that a client can show and apply. Each profile is a TOML file.

A profile takes nothing away in silence: a suggestion that a client cannot apply is said in the text, a card for which
there is no room is named on the last one, and a critical card is never cut.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from cds_service.cards.model import EXTENSION, Action, Card, Response, Suggestion
from cds_service.cards.texts import SUMMARY_LIMIT, as_markdown
from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.site_file import read_text

STANDARD = "standard"
_LONGEST_SUMMARY = SUMMARY_LIMIT - 1
_OF_THE_OLD_ORDER = ("id", "meta", "identifier")
"""Elements that a created order must not share with the one that it replaces."""


class ProfileError(ConfigurationError):
    """A profile that cannot be used; the message names the file and the field."""


class Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a profile itself says on a card."""

    suggested: str
    cut: str
    remove: str
    more: str
    """With `{count}`."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client can show and apply. profiles/standard.toml says what each field means."""

    says: str
    suggestions: Literal["update", "delete-create", "create", "no-update", "none"]
    one_action: bool
    alternatives: bool
    say_suggestions: bool
    topic_code: Literal["as-is", "alphanumeric"]
    text: Literal["detail", "summary"]
    extension: bool
    card_limit: int
    words: Words

    def __post_init__(self) -> None:
        if self.card_limit < 0:
            raise ValueError("card_limit is 0 (no limit) or more")
        if "{count}" not in self.words.more:
            raise ValueError("words.more has no {count}")

    def apply(self, response: Response) -> Response:
        """The response in this client's form. Identifiers stay, so that feedback finds its card and suggestion."""
        cards = [_suggesting(card, self) for card in response.cards]
        cards = [_named(card, self) for card in _limited(cards, self)]
        if self.extension:
            return replace(response, cards=cards)
        return Response(cards=[_plain(card) for card in cards])


def _plain(card: Card) -> Card:
    """The card without what CDS Hooks leaves to extensions."""
    reasons = card.override_reasons and [replace(reason, extension=None) for reason in card.override_reasons]
    return replace(card, extension=None, override_reasons=reasons)


def shipped() -> list[str]:
    """The names of the profiles that come with the service."""
    files = resources.files(__package__).joinpath("profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(name: str, folder: Path | None = None) -> Profile:
    """A shipped profile, or the site's own: `name` is then a file that ends with .toml, relative to `folder`.

    Raises ProfileError.
    """
    own = name.endswith(".toml")
    if not own and name not in shipped():
        raise ProfileError(f"profile {name!r} is unknown; known are {', '.join(shipped())}, or a file *.toml")
    text = read_text((folder or Path()) / name, ProfileError, "profile ") if own else _shipped(name)
    standard = tomllib.loads(_shipped(STANDARD))
    try:
        given = tomllib.loads(text)
        words = {**standard["words"], **given.get("words", {})}
        return msgspec.convert({**standard, **given, "words": words}, Profile)
    except (msgspec.ValidationError, *UNREADABLE) as error:
        raise ProfileError(f"profile {name}: {error}") from error


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath("profiles", f"{name}.toml").read_text("utf-8")


# Suggestions ----------------------------------------------------------------------------------------------------


def _suggesting(card: Card, profile: Profile) -> Card:
    """The card with the suggestions that the client can apply; the others stand in its text."""
    possible = [(suggestion, _possible(suggestion, profile)) for suggestion in card.suggestions or ()]
    splits = profile.one_action and any(made is not None and len(made.actions) > 1 for _, made in possible)
    sent: list[Suggestion] = []
    said: list[str] = []
    touched: set[str] = set()
    exclusive = False
    for suggestion, made in possible:
        orders = _touched(suggestion)
        excluded = not orders.isdisjoint(touched)
        # Once each action stands on its own, nothing keeps a client from taking two that exclude each other.
        if made is None or (excluded and (splits or not profile.alternatives)):
            said.append(suggestion.label)
            continue
        exclusive = exclusive or excluded
        touched |= orders
        sent += _split(made) if splits else [made]
        if profile.say_suggestions:
            said.append(suggestion.label)
    return replace(
        _saying(card, said, profile),
        suggestions=sent or None,
        selection_behavior=("at-most-one" if exclusive else "any") if sent else None,
    )


def _possible(suggestion: Suggestion, profile: Profile) -> Suggestion | None:
    """The suggestion as the client could apply it; None where it could not."""
    actions = suggestion.actions
    if profile.suggestions == "none":
        return None
    if profile.suggestions == "update":
        return suggestion
    if profile.suggestions == "no-update":
        return None if any(action.type == "update" for action in actions) else suggestion
    if profile.suggestions == "create":
        made = [_created(action) for action in actions if action.type != "delete"]
        return replace(suggestion, actions=made) if made else None
    replaced: list[Action] = []
    for action in actions:
        if action.type == "update":
            # Deletions come first, as in a FHIR transaction.
            replaced.insert(0, Action(type="delete", description=profile.words.remove, resource_id=_order(action)))
        replaced.append(_created(action))
    return replace(suggestion, actions=replaced)


def _created(action: Action) -> Action:
    """An update as the creation of what it would have led to."""
    if action.type != "update":
        return action
    resource = {name: value for name, value in (action.resource or {}).items() if name not in _OF_THE_OLD_ORDER}
    return Action(type="create", description=action.description, resource=resource)


def _split(suggestion: Suggestion) -> list[Suggestion]:
    """Each action as a suggestion of its own."""
    if len(suggestion.actions) == 1:
        return [suggestion]
    return [
        Suggestion(
            label=action.description, uuid=str(uuid5(UUID(suggestion.uuid), f"action {number}")), actions=[action]
        )
        for number, action in enumerate(suggestion.actions)
    ]


def _touched(suggestion: Suggestion) -> set[str]:
    """The orders that a suggestion changes or removes."""
    return {_order(action) for action in suggestion.actions if action.type != "create"}


def _order(action: Action) -> str:
    """The order that an update or a deletion is about, as Type/id."""
    resource = action.resource or {}
    return action.resource_id or f"{resource.get('resourceType')}/{resource.get('id')}"


# Text -----------------------------------------------------------------------------------------------------------


def _saying(card: Card, labels: Sequence[str], profile: Profile) -> Card:
    """What to do stands behind the first paragraph; beside the summary where that is all the client shows."""
    if not labels:
        return card
    if profile.text == "summary":
        both = f"{card.summary}. {labels[0]}"
        return replace(card, summary=both) if len(both) <= _LONGEST_SUMMARY else card
    first, blank, rest = (card.detail or "").partition("\n\n")
    section = _section(profile.words.suggested, labels)
    return replace(card, detail=f"{first}\n\n{section}{blank}{rest}" if first else section)


def _section(heading: str, lines: Iterable[str]) -> str:
    return "\n".join([f"**{heading}**", "", *(f"- {as_markdown(line)}" for line in lines)])


def _named(card: Card, profile: Profile) -> Card:
    """The topic and the text in the client's form."""
    topic = card.source.topic
    if profile.topic_code == "alphanumeric" and topic is not None:
        code = "".join(character for character in topic.code if character.isalnum())
        card = replace(card, source=replace(card.source, topic=replace(topic, code=code)))
    return replace(card, detail=None) if profile.text == "summary" else card


# Room -----------------------------------------------------------------------------------------------------------


def _limited(cards: Sequence[Card], profile: Profile) -> list[Card]:
    """As many as there is room for, worst first as composed; the last one names the others and their rules."""
    critical = sum(card.indicator == "critical" for card in cards)
    room = max(profile.card_limit, critical) if profile.card_limit else len(cards)
    shown, cut = list(cards[:room]), cards[room:]
    if not cut:
        return shown
    last = shown[-1]
    if profile.text == "summary":
        more = profile.words.more.replace("{count}", str(len(cut)))
        summary = f"{last.summary[: _LONGEST_SUMMARY - len(more) - 1].rstrip()} {more}"
        last = replace(last, summary=summary)
    else:
        section = _section(profile.words.cut, (card.summary for card in cut))
        last = replace(last, detail=f"{last.detail}\n\n{section}" if last.detail else section)
    return [*shown[:-1], replace(last, extension=_standing_for(last, cut))]


def _standing_for(last: Card, cut: Iterable[Card]) -> dict[str, Any]:
    """The extension of a card that also stands for others: their rules are listed with its own."""
    extension = dict(last.extension or {})
    ours = dict(extension.get(EXTENSION, {}))
    for card in cut:
        theirs = (card.extension or {}).get(EXTENSION, {})
        for part in ("rules", "limits"):
            known = list(ours.get(part, ()))
            ours[part] = known + [entry for entry in theirs.get(part, ()) if entry not in known]
    return {**extension, EXTENSION: ours}

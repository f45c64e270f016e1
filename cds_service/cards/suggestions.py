"""Suggestions: a rule's proposals, with the words of the card texts and identifiers that stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid5

from cds_service.cards.model import Action, Suggestion
from cds_service.cards.texts import Words
from cds_service.orders.proposal import Proposal
from cds_service.protocol.limits import LimitBook


def suggestions(proposals: Iterable[Proposal], words: Words, card_uuid: UUID, book: LimitBook) -> list[Suggestion]:
    """Each different proposal once: another dose first, the removal of an order last."""
    made: list[Suggestion] = []
    for number, proposal in enumerate(sorted(_different(proposals), key=lambda proposal: proposal.place)):
        label = words.say(f"label-{proposal.kind}", book, **proposal.values)
        description = words.say(f"description-{proposal.kind}", book, **proposal.values)
        actions = [
            Action(type=a.type, description=description, resource=a.resource, resource_id=a.resource_id)
            for a in proposal.actions
        ]
        made.append(Suggestion(label=label, uuid=str(uuid5(card_uuid, f"suggestion {number}")), actions=actions))
    return made


def _different(proposals: Iterable[Proposal]) -> list[Proposal]:
    kept: list[Proposal] = []
    for proposal in proposals:
        if not any(other.actions == proposal.actions for other in kept):
            kept.append(proposal)
    return kept


def are_alternatives(made: Sequence[Suggestion]) -> bool:
    """Whether two of them change or remove the same order, so that at most one can be taken."""
    touched = [_touched(action) for suggestion in made for action in suggestion.actions if action.type != "create"]
    return len(set(touched)) < len(touched)


def _touched(action: Action) -> str:
    """The order, as Type/id."""
    resource = action.resource or {}
    return action.resource_id or f"{resource.get('resourceType')}/{resource.get('id')}"

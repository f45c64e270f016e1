"""No card means: checked, and fine; and no sentence stays a key. Held over every answer that any test gets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import cds_service.advise
from cds_service.advise import Advice
from cds_service.cards.model import EXTENSION
from cds_service.cards.sentences import SENTENCES
from tests.said import said

SAID = {"failed", "not-sent", "not-placed"}
"""Why a rule may be untold that leaves no order without a card. Never measured is part of the rule, and what is not
judged by this software is said at its start."""


def silent(made: Advice) -> list[tuple[str, str, str]]:
    """(rule, kind, reason) of what was not checked in an answer without cards, though it could have warned."""
    if made.response.cards:
        return []
    return [
        (outcome.rule.id, reason.kind, said(reason.says))
        for judged in made.judged
        for outcome in judged.outcomes
        if any(tier.severity != "info" for tier in outcome.rule.tiers)
        for reason in (*outcome.reasons, *outcome.exceptions)
        if reason.kind in SAID
    ]


_KEYS = sorted((re.escape(key) for key in SENTENCES if "-" in key), key=len, reverse=True)
_KEY = re.compile(rf"(?<![\w/-])(?:{'|'.join(_KEYS)})(?![\w-])")


def keys_shown(made: Advice) -> list[str]:
    """The keys of sentences that stand in an answer in the place of their words."""
    said = [each["reason"] for each in (made.response.extension or {}).get(EXTENSION, {}).get("notChecked") or ()]
    for card in made.response.cards:
        said += [card.summary, card.detail or "", *(suggestion.label for suggestion in card.suggestions or ())]
    return _KEY.findall("\n".join(said))


class Watch:
    """What the answers came to. `quiet` counts those without cards that judged an order."""

    def __init__(self) -> None:
        self.quiet = 0
        self.broken: list[tuple[str, str, str]] = []
        self.keys: list[str] = []


@contextmanager
def watching() -> Iterator[Watch]:
    """Every answer is looked at. Of what a client is known never to send the operator is told instead."""
    watch = Watch()

    class Watched(Advice):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            watch.keys += keys_shown(self)
            if self.judged and not self.response.cards:
                watch.quiet += 1
                watch.broken += [each for each in silent(self) if each[1] != "not-sent"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cds_service.advise, "Advice", Watched)
        yield watch

"""No card means: checked, and fine. Held over every answer that any test gets, at whatever door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import cds_service.advise
from cds_service.advise import Advice
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


class Watch:
    """What the answers came to. `quiet` counts those without cards that judged an order."""

    def __init__(self) -> None:
        self.quiet = 0
        self.broken: list[tuple[str, str, str]] = []


@contextmanager
def watching() -> Iterator[Watch]:
    """Every answer is looked at. Of what a client is known never to send the operator is told instead."""
    watch = Watch()

    class Watched(Advice):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.judged and not self.response.cards:
                watch.quiet += 1
                watch.broken += [each for each in silent(self) if each[1] != "not-sent"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cds_service.advise, "Advice", Watched)
        yield watch

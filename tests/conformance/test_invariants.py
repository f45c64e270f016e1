"""The invariants hold of what is right, and are broken by what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.invariants import FEEDBACK, REQUEST, RESPONSE, VIOLATIONS, broken, plain
from tests.conformance.target import posed

ALL = {**REQUEST, **RESPONSE, **FEEDBACK}
GOOD_FEEDBACK = {
    "feedback": [
        {"card": "c", "outcome": "accepted", "acceptedSuggestions": [{"id": "s"}], "outcomeTimestamp": "2026-11-22"},
        {"card": "c", "outcome": "overridden", "overrideReason": {"userComment": "seen"}},
        {"card": "c", "outcome": "overridden"},
    ]
}
GOOD_RESPONSE = {
    "cards": [
        {
            "selectionBehavior": "at-most-one",
            "suggestions": [
                {"label": "a", "isRecommended": True, "actionSelectionBehavior": "all", "actions": [
                    {"type": "delete", "resourceId": "Basic/1", "description": "d"}]},
                {"label": "b"},
            ],
            "overrideReasons": [{"system": "s", "code": "c", "display": "d"}],
            "links": [{"type": "smart", "appContext": "x"}, {"type": "absolute"}],
        }
    ]
}  # fmt: skip


def test_there_are_twelve() -> None:
    assert len(ALL) == 12


@pytest.mark.parametrize("invariant", ALL)
def test_an_invariant_is_broken_by_what_breaks_it_and_by_nothing_else(invariant: str) -> None:
    wrong: Any = VIOLATIONS[invariant]
    if invariant in RESPONSE:
        wrong = {"cards": [{}, wrong]}
    assert invariant in broken(wrong, ALL)
    for right in (GOOD_FEEDBACK, GOOD_RESPONSE, {"cards": []}, {}):
        assert broken(right, ALL) == []


@pytest.mark.parametrize("each", posed(), ids=lambda each: each.name)
def test_the_requests_of_the_suite_keep_the_invariants_of_requests(each: Any) -> None:
    """Or what passes here would say little about real clients."""
    assert broken(plain(each.body), REQUEST) == []

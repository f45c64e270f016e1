"""Feedback as clients send it, in every spelling; a bad entry is refused by itself and free text never kept."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service import bounds
from cds_service.hooks.errors import Malformed, TooLarge
from cds_service.hooks.feedback import Entry, Refusal, parse

CARD = "0ee39951-9dce-41e8-81ee-13c829b6794b"
SUGGESTION = "83e4cfc3-8ed4-421d-b3ec-7609e6a38125"
REASONS = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
AT = "2020-08-25T21:18:16.375Z"


def _parsed(*items: Any) -> tuple[list[Entry], list[Refusal]]:
    return parse(json.dumps({"feedback": items}).encode(), CODED)


def _one(**changes: Any) -> Entry:
    item = {"card": CARD, "outcome": "overridden", "outcomeTimestamp": AT} | changes
    (entry,), refusals = _parsed({name: value for name, value in item.items() if value is not None})
    assert refusals == []
    return entry


def test_an_accepted_suggestion_as_the_sandbox_sends_it() -> None:
    entry = _one(outcome="accepted", acceptedSuggestions=[{"id": SUGGESTION}])
    assert entry == Entry(CARD, "accepted", (SUGGESTION,), (), False, AT)


def test_a_card_dismissed_without_a_reason() -> None:
    assert _one() == Entry(CARD, "overridden", (), (), False, AT)


CODING = {"code": "patient-requested", "system": REASONS, "display": "The patient asked for it"}
CODED = ((REASONS, "patient-requested"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"overrideReason": {"reason": CODING}},
        {"overrideReason": CODING},
        {"overrideReason": [{"reason": CODING}]},
        {"overrideReasons": {"reason": CODING}},
        {"overrideReasons": [{"reason": CODING}]},
        {"overrideReasons": [CODING]},
        {
            "overrideReason": {
                "reason": CODING | {"system": "http://cds-hooks.hl7.org/CodeSystem/non-adherence-reason"}
            }
        },
        {"overrideReason": {"reason": [CODING, CODING]}},
        {"overrideReason": {"reason": CODING}, "overrideReasons": [{"reason": CODING}]},
    ],
)
def test_a_coded_reason_is_read_wherever_it_stands(changes: dict[str, Any]) -> None:
    entry = _one(**changes)
    assert (entry.reasons, entry.commented) == (CODED, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"overrideReason": {"userComment": "Ms Secret is fine"}},
        {"overrideReasons": [{"userComment": "Ms Secret is fine"}]},
        {"overrideReason": {"reason": {"display": "Ms Secret is fine"}}},
        {"overrideReason": {"reason": {"code": "Ms Secret is fine", "system": REASONS}}},
        {"overrideReason": {"reason": "Ms Secret is fine"}},
        {"overrideReason": "Ms Secret is fine"},
        {"userComment": "Ms Secret is fine"},
    ],
)
def test_of_words_only_that_there_were_some_is_kept(changes: dict[str, Any]) -> None:
    entry = _one(**changes)
    assert (entry.reasons, entry.commented) == ((), True)
    assert "Secret" not in repr(entry)


@pytest.mark.parametrize(
    "changes",
    [
        {"overrideReason": {}},
        {"overrideReason": {"userComment": "  "}},
        {"overrideReason": {"reason": {"system": REASONS}}},
        {"overrideReasons": []},
        {"overrideReason": {"userComment": 5}},
    ],
)
def test_an_empty_reason_is_none(changes: dict[str, Any]) -> None:
    entry = _one(**changes)
    assert (entry.reasons, entry.commented) == ((), False)


def test_code_and_comment_are_read_together() -> None:
    entry = _one(overrideReason={"reason": CODING, "userComment": "and more"})
    assert (entry.reasons, entry.commented) == (CODED, True)


def test_an_offered_code_without_its_system_is_that_of_the_card() -> None:
    assert _one(overrideReason={"reason": {"code": "patient-requested"}}).reasons == CODED


@pytest.mark.parametrize(
    "coding",
    [
        {"code": "SMITH_JOHN_19600101_MRN12345", "system": REASONS},
        {"code": "SMITH_JOHN_19600101_MRN12345"},
        {"code": "patient-requested", "system": "urn:SMITH_JOHN"},
        {"code": "patient-requested", "system": ""},
        {"code": "Patient-Requested", "system": REASONS},
    ],
)
def test_a_code_that_no_card_offers_is_kept_as_other_and_its_system_not_at_all(coding: dict[str, str]) -> None:
    """A code is any word of the client's: it may hold a name."""
    entry = _one(overrideReason={"reason": coding})
    assert entry.reasons == ((None, "other"),)
    assert "SMITH" not in repr(entry)


def test_of_many_reasons_that_are_not_offered_one_other_is_kept() -> None:
    reasons = [{"code": f"c{number}"} for number in range(5)]
    assert _one(overrideReason={"reason": [*reasons, CODING]}).reasons == ((None, "other"), *CODED)


def test_what_the_specification_requires_and_the_entry_can_do_without_may_be_missing() -> None:
    assert _one(outcomeTimestamp=None).at is None
    assert _one(outcome="accepted").suggestions == ()


@pytest.mark.parametrize(
    "at", ["2020-08-25", "2020-08-25T21:18", "2020-08-25T21:18:16+02:00", "2020-08-25 21:18:16.375123+0200"]
)
def test_a_timestamp_is_kept_as_it_was_written(at: str) -> None:
    assert _one(outcomeTimestamp=at).at == at


def test_a_card_is_told_by_its_uuid_however_that_is_written() -> None:
    assert {_one(card=card).card for card in (CARD, CARD.upper(), f"urn:uuid:{CARD}")} == {CARD}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (5, "not an object"),
        (None, "not an object"),
        ({}, "outcome"),
        ({"card": CARD, "outcome": "ignored"}, "outcome"),
        ({"card": CARD, "outcome": ["accepted"]}, "outcome"),
        ({"outcome": "accepted"}, "card is not a UUID"),
        ({"card": "Patient Secret", "outcome": "accepted"}, "card is not a UUID"),
        ({"card": 5, "outcome": "accepted"}, "card is not a UUID"),
        ({"card": CARD, "outcome": "accepted", "acceptedSuggestions": SUGGESTION}, "not an array"),
        ({"card": CARD, "outcome": "accepted", "acceptedSuggestions": [{}]}, "suggestion is not a UUID"),
        ({"card": CARD, "outcome": "accepted", "acceptedSuggestions": [{"id": "Secret"}]}, "is not a UUID"),
        ({"card": CARD, "outcome": "accepted", "acceptedSuggestions": [SUGGESTION] * 101}, "at most 100"),
        ({"card": CARD, "outcome": "overridden", "outcomeTimestamp": "Secret"}, "outcomeTimestamp"),
        ({"card": CARD, "outcome": "overridden", "outcomeTimestamp": 1598390296}, "outcomeTimestamp"),
        ({"card": CARD, "outcome": "overridden", "overrideReasons": [CODING] * 21}, "more than 20"),
    ],
)
def test_a_bad_entry_is_refused_by_itself_and_not_repeated(bad: Any, says: str) -> None:
    good = {"card": CARD, "outcome": "overridden"}
    entries, refusals = _parsed(good, bad, good)
    assert len(entries) == 2
    (refusal,) = refusals
    assert refusal.where == "feedback[1]"
    assert says in refusal.says
    assert "Secret" not in refusal.says


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b"{}", b'{"feedback": {}}', b'{"feedback": null}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_body_that_is_no_feedback_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body, CODED)


def test_a_byte_order_mark_is_survived() -> None:
    entries, _ = parse(
        b"\xef\xbb\xbf" + json.dumps({"feedback": [{"card": CARD, "outcome": "accepted"}]}).encode(), CODED
    )
    assert len(entries) == 1


def test_half_a_character_in_a_comment_costs_nothing() -> None:
    good = {"card": CARD, "outcome": "overridden", "overrideReason": {"userComment": "X"}}
    for half in (b"\\ud83d", b"\xf0\x9f"):
        entries, _ = parse(json.dumps({"feedback": [good]}).encode().replace(b"X", half), CODED)
        assert entries[0].commented


@pytest.mark.parametrize(
    "number", ["9" * 40_000, f"-{'9' * 5_000}", f"1.{'9' * 40_000}", "1E+400", "-0", "1e999999999"]
)
@pytest.mark.parametrize("place", ["beside the entries", "in an entry", "as a comment", "as a code"])
def test_no_number_costs_an_entry(place: str, number: str) -> None:
    more = {
        "beside the entries": {},
        "in an entry": {"rank": 7},
        "as a comment": {"overrideReason": {"userComment": 7}},
        "as a code": {"overrideReason": {"reason": {"code": 7}}},
    }[place]
    sent = {"rank": 7 if place == "beside the entries" else None} | {
        "feedback": [{"card": CARD, "outcome": "overridden"} | more]
    }
    (entry,), refusals = parse(json.dumps(sent).replace(": 7", f": {number}").encode(), CODED)
    assert refusals == []
    assert entry == Entry(CARD, "overridden", (), (), False, None)


@pytest.mark.timing
def test_numbers_of_many_digits_take_no_longer_than_their_length() -> None:
    """12 MB of them held the interpreter for 0.4 s, and one of more digits was no JSON."""
    entry = f'"feedback": [{{"card": "{CARD}", "outcome": "overridden"}}]'
    body = f'{{"x": [{",".join(["9" * 4_200] * 3_000)}], {entry}}}'.encode()

    def taken() -> float:
        begun = time.thread_time()
        assert parse(body, CODED)[1] == []
        return time.thread_time() - begun

    assert min(taken() for _ in range(3)) < 0.2


def test_no_entries_are_none() -> None:
    assert _parsed() == ([], [])


def test_one_entry_more_than_the_bound_is_too_large() -> None:
    entry = {"card": CARD, "outcome": "accepted"}
    entries, refusals = _parsed(*[entry] * bounds.FEEDBACK)
    assert (len(entries), refusals) == (bounds.FEEDBACK, [])
    with pytest.raises(TooLarge):
        _parsed(*[entry] * (bounds.FEEDBACK + 1))


def test_feedback_of_more_values_than_the_bound_is_too_large() -> None:
    """Before it is decoded: a body of five million empty objects would hold up every order for a second."""
    entry = {"card": CARD, "outcome": "accepted"}
    free = bounds.FEEDBACK_VALUES - 5  # those of the body and of an entry without the list
    entries, _ = _parsed(entry | {"x": [0] * free})
    assert len(entries) == 1
    with pytest.raises(TooLarge):
        _parsed(entry | {"x": [0] * (free + 1)})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([CARD, "accepted", AT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = ("card", "outcome", "acceptedSuggestions", "overrideReason", "overrideReasons", "outcomeTimestamp")


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(_NAMES, _JSON)) | _JSON, max_size=4))
def test_whatever_is_sent_each_entry_is_taken_or_refused(items: list[Any]) -> None:
    entries, refusals = _parsed(*items)
    assert len(entries) + len(refusals) == len(items)

"""One call is found by its hook instance, by a card, by itself, or on its day, without anything of a patient."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from cds_service.stewardship import look_up
from cds_service.stewardship.counts import Period
from cds_service.stewardship.reading import Reader
from cds_service.store.store import Store
from tests.stewardship.build import RULE, WEEK, answered
from tests.store.build import NOW, finding, invocation


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    reader = Reader(url)
    yield reader
    reader.close()


def test_a_call_is_found_by_its_hook_instance_its_card_or_itself(store: Store, reader: Reader) -> None:
    record, other = invocation(), invocation()
    store.write([record, other])
    for identifier in (record.hook_instance, record.cards[0].uuid, record.id):
        with reader.reading() as reading:
            assert [call.id for call in look_up.of(reading, str(identifier))] == [record.id]


def test_a_call_has_each_outcome_and_what_became_of_its_cards(store: Store, reader: Reader) -> None:
    (card,) = answered(store, "overridden")
    with reader.reading() as reading:
        (call,) = look_up.of(reading, card)
    (shown,), (ended,) = call.cards, call.findings
    assert (shown.uuid, shown.topic, [each.outcome for each in shown.answers]) == (card, RULE, ["overridden"])
    assert shown.answers[0].reasons == (("http://example.org/reasons", "benefit-outweighs-risk"),)
    assert (ended.rule, ended.status, ended.tier, ended.card_uuid) == (RULE, "fired", "above-warn", card)


def test_nothing_of_a_patient_comes_along(store: Store, reader: Reader) -> None:
    record = invocation()
    store.write([record])
    with reader.reading() as reading:
        told = msgspec.json.encode(look_up.of(reading, record.id)).decode()
    kept = record.findings[0]
    hidden = [record.patient, kept.order, kept.dose_shape, *kept.facts, f'"{kept.figure}"', "dose_amounts", '"56"']
    assert [each for each in hidden if str(each) in told] == []


def test_the_calls_of_a_day_are_listed_the_newest_first_by_rule_and_client(store: Store, reader: Reader) -> None:
    at = [NOW - timedelta(hours=each) for each in (1, 2, 3)]
    store.write([invocation(id=str(uuid4()), at=each) for each in at])
    quiet = finding(None, rule="other", status="suppressed")
    store.write([invocation(client="north", findings=[finding(None, rule="other")]), invocation(findings=[quiet])])
    with reader.reading() as reading:
        assert [call.at for call in look_up.newest(reading, WEEK, RULE)] == at
        assert [call.client for call in look_up.newest(reading, WEEK, "other")] == ["north"]
        north = Period(WEEK.since, WEEK.until, client="north")
        assert len(look_up.newest(reading, north)) == 1


def test_a_list_ends_after_so_many(store: Store, reader: Reader) -> None:
    store.write([invocation() for _ in range(look_up.MOST_CALLS + 1)])
    with reader.reading() as reading:
        assert len(look_up.newest(reading, WEEK)) == look_up.MOST_CALLS


@pytest.mark.parametrize("text", ["", "x", "11111111-1111-4111-8111-11111111111", "1; DROP TABLE card"])
def test_what_is_no_identifier_is_told_before_the_store_is_asked(text: str) -> None:
    assert look_up.as_uuid(text) is None


def test_an_identifier_is_read_in_any_of_its_spellings() -> None:
    written = "0F0F0F0F-1111-4222-8333-444444444444"
    for text in (written, f" urn:uuid:{written.lower()} ", written.replace("-", "")):
        assert look_up.as_uuid(text) == written.lower()

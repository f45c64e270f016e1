"""The service beside real FHIR servers: what it says of a patient is what plain queries find there.

`make sandbox` runs this on servers that it starts, `make sandbox URL=…` on the server at that base. It is only read
unless KETAMINE_TEST_SANDBOX_ALLOW_WRITE=1 or --allow-write says otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from cds_service.cards.model import EXTENSION
from tests.said import said
from tests.sandbox import facts
from tests.sandbox.conftest import ROUTER
from tests.sandbox.ehr import (
    BODY_WEIGHT,
    Ehr,
    clean_up,
    found_by_search,
    loaded,
    ordered,
    own_patients,
    refusing,
    window,
    without,
)
from tests.sandbox.figures import count
from tests.sandbox.plain import PlainChart, Resource

HOOKS = ("order-select", "order-sign", "patient-view")
ABOVE_A_LIMIT: dict[str, Any] = {"rate": "0.6 mg/kg/h"}
DANGEROUS: dict[str, Any] = {"rate": "1.2 mg/kg/h"}
"""Above the ceiling whatever the patient weighs."""
OTHERS: tuple[dict[str, Any], ...] = (
    {"rate": "40 mL/h", "strength": "500 mg per 250 mL"},
    {"dose": "60 mg", "push": True},
)
TOKEN = "a-token-of-the-ehr"


@pytest.fixture
def writable(ehr: Ehr) -> Ehr:
    """The server with patients of this project on it."""
    if not ehr.plain.may_write:
        pytest.skip(
            "the given server is only read; KETAMINE_TEST_SANDBOX_ALLOW_WRITE=1 or --allow-write lets it write"
        )
    return ehr


def _hold(ehr: Ehr, *found: facts.Differences) -> None:
    count(ehr.name, "facts compared", sum(each.compared for each in found))
    assert [difference for each in found for difference in each] == []


def _rules(answer: dict[str, Any]) -> dict[str, str]:
    """Rule -> severity, over all cards."""
    return {
        rule["id"]: rule["severity"] for card in answer["cards"] for rule in card["extension"][EXTENSION]["rules"]
    }


# Only read ---------------------------------------------------------------------------------------------------------


def test_patients_are_found_by_a_search_in_the_address_and_in_the_body(ehr: Ehr) -> None:
    found = found_by_search(ehr.plain)
    assert found
    patient = found[0]
    in_address = ehr.plain.search("Observation", patient=patient, code=BODY_WEIGHT)
    in_body = ehr.plain.search_by_post("Observation", patient=patient, code=BODY_WEIGHT)
    assert sorted(each["id"] for each in in_body) == sorted(each["id"] for each in in_address)


def test_what_the_service_fetches_is_what_plain_queries_find(ehr: Ehr) -> None:
    assert ehr.charts
    for plain in ehr.charts:
        records, chart = ehr.read(plain)
        _hold(ehr, facts.of_lists(records, plain, ehr.knowledge.queries), facts.of_chart(chart, plain))


def test_every_fact_on_a_card_is_one_of_the_server(ehr: Ehr) -> None:
    compared = 0
    for plain in ehr.charts:
        request = ehr.request("order-sign", plain, ordered(plain, **ABOVE_A_LIMIT))
        answer = ehr.call(request)
        assert answer["cards"]
        found = facts.of_cards(answer, ehr.facts(request), plain, ehr.weight_codes)
        compared += found.compared
        _hold(ehr, found)
    assert compared >= len(ehr.charts)


def test_prefetch_and_fetch_give_the_same_cards(ehr: Ehr) -> None:
    for plain in ehr.found:
        draft = ordered(plain, **DANGEROUS)
        fetched = ehr.call(ehr.request("order-sign", plain, draft))
        assert ehr.call(ehr.request("order-sign", plain, draft, prefetch=ehr.prefetch(plain))) == fetched
        assert _rules(fetched)["rate-exceeds-ceiling"] == "critical"


def test_with_the_token_all_is_read_and_without_it_that_is_said(ehr: Ehr) -> None:
    plain = ehr.charts[0]
    draft = ordered(plain, **DANGEROUS)
    expected = ehr.call(ehr.request("order-sign", plain, draft))
    with window(ehr.plain, wants=TOKEN) as guarded:
        let_in = ehr.seen_through(guarded, TOKEN)
        assert let_in.call(let_in.request("order-sign", plain, draft)) == expected
        assert {asked.method for asked in guarded.received} == {"GET"}
        shut_out = ehr.seen_through(guarded, "another-token")
        answer = shut_out.call(shut_out.request("order-sign", plain, draft))
    assert "Nothing could be read from the EHR (the FHIR server answered 401)" in str(answer["cards"])
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"


def test_a_server_that_passes_over_search_parameters_gives_no_other_facts(ehr: Ehr) -> None:
    with window(ehr.plain, without("code", "status", "_sort")) as careless:
        seen = ehr.seen_through(careless)
        for plain in ehr.charts[:3]:
            records, chart = seen.read(plain)
            _hold(ehr, facts.of_lists(records, plain, ehr.knowledge.queries), facts.of_chart(chart, plain))


def test_a_server_that_refuses_a_search_parameter_costs_only_those_lists(ehr: Ehr) -> None:
    plain = ehr.charts[0]
    with window(ehr.plain, refusing("_sort")) as strict:
        seen = ehr.seen_through(strict)
        records, chart = seen.read(plain)
        answer = seen.call(seen.request("order-sign", plain, ordered(plain, **DANGEROUS)))
    refused = {query.key for query in ehr.knowledge.queries if "_sort" in query.template}
    assert {key for key, why in records.gaps.items() if "answered 400" in said(why)} == refused
    assert "the FHIR server answered 400" in str(answer["cards"])
    assert _rules(answer)["rate-exceeds-ceiling"] == "critical"
    _hold(ehr, facts.of_lists(records, plain, ehr.knowledge.queries), facts.of_chart(chart, plain))


def test_small_pages_lose_nothing_in_silence(ehr: Ehr) -> None:
    """Where the server links its pages they are followed; where it cuts, the list is not taken for whole."""

    def of_two(path: str) -> str:
        return "&".join("_count=2" if each.startswith("_count=") else each for each in path.split("&"))

    cut: set[str] = set()
    with window(ehr.plain, of_two) as small:
        seen = ehr.seen_through(small)
        for plain in ehr.own[-2:] or ehr.found[:2]:
            records, chart = seen.read(plain)
            cut |= {key for key, why in records.gaps.items() if "came" in said(why)}
            _hold(ehr, facts.of_lists(records, plain, ehr.knowledge.queries), facts.of_chart(chart, plain))
    if ehr.name == ROUTER:
        assert {"conditions", "vitalSigns", "bodySize"} <= cut


# Written, too ------------------------------------------------------------------------------------------------------


def test_all_hooks_give_the_same_cards_with_and_without_prefetch(writable: Ehr) -> None:
    ehr = writable
    said: set[str] = set()
    for plain in ehr.own:
        prefetch, draft = ehr.prefetch(plain), ordered(plain, **ABOVE_A_LIMIT)
        for hook in HOOKS:
            drafts = () if hook == "patient-view" else (draft,)
            fetched = ehr.call(ehr.request(hook, plain, *drafts))
            assert ehr.call(ehr.request(hook, plain, *drafts, prefetch=prefetch)) == fetched, (hook, plain.patient)
            said |= {f"{hook} {rule}" for rule in _rules(fetched)}
    assert {"order-sign rate-exceeds-protocol-max", "order-select rate-exceeds-protocol-max"} <= said
    assert {"order-sign heart-failure", "order-sign pregnancy", "order-sign psychosis"} <= said


def test_every_suggestion_can_be_taken_and_what_it_changes_is_valid_to_the_server(writable: Ehr) -> None:
    ehr = writable
    kinds: set[str] = set()
    of_each = [(plain, ABOVE_A_LIMIT) for plain in ehr.own]
    for plain, order in [*of_each, *itertools.product(ehr.own[:4], OTHERS)]:
        kinds |= set(_take_all(ehr, plain, order))
    assert {"update", "delete"} <= kinds


def _take_all(ehr: Ehr, plain: PlainChart, order: dict[str, Any]) -> Iterator[str]:
    """Write the draft, call, and do what each suggestion says; the kinds of action that were done."""
    draft = ehr.plain.write("POST", "MedicationRequest", _without_id(ordered(plain, **order)))
    written = [f"MedicationRequest/{draft['id']}"]
    prefetch = ehr.prefetch(plain)
    answer = ehr.call(ehr.request("order-sign", plain, draft, prefetch=prefetch))
    suggestions = [each for card in answer["cards"] for each in card.get("suggestions", ())]
    # An order that is removed can be changed no more.
    for suggestion in sorted(suggestions, key=lambda each: each["actions"][0]["type"] == "delete"):
        for action in suggestion["actions"]:
            yield action["type"]
            if action["type"] == "update":
                _put(ehr, plain, action["resource"], prefetch)
            elif action["type"] == "create":
                assert not ehr.plain.faults(action["resource"])
                made = ehr.plain.write("POST", action["resource"]["resourceType"], action["resource"])
                written.append(f"{made['resourceType']}/{made['id']}")
            else:
                assert action["resourceId"] == written[0]
                ehr.plain.write("DELETE", action["resourceId"])
                assert ehr.plain.read(written.pop(0)) is None
        count(ehr.name, "suggestions accepted")
    clean_up(ehr.plain, written)


def _put(ehr: Ehr, plain: PlainChart, changed: Resource, prefetch: dict[str, Any]) -> None:
    """The changed order is valid to the server, kept as it was sent, and read back as the same order."""
    assert not ehr.plain.faults(changed)
    place = f"MedicationRequest/{changed['id']}"
    ehr.plain.write("PUT", place, changed)
    kept = ehr.plain.read(place)
    assert kept is not None
    assert kept["dosageInstruction"] == changed["dosageInstruction"]
    as_kept, as_sent = (
        ehr.call(ehr.request("order-sign", plain, each, prefetch=prefetch)) for each in (kept, changed)
    )
    assert _rules(as_kept) == _rules(as_sent)


def _without_id(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "id"}


def test_what_was_written_can_be_taken_away_without_a_trace(writable: Ehr) -> None:
    ehr = writable
    written, plain = loaded(ehr.plain, own_patients(ehr.now)[-1], ehr.knowledge)
    assert len(plain.resources) == len(written)
    clean_up(ehr.plain, written)
    for query in ehr.knowledge.queries:
        if query.is_search:
            assert ehr.plain.search(query.type, patient=plain.patient) == []


def test_nothing_is_written_without_permission(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ehr.plain, "may_write", False)
    with pytest.raises(AssertionError, match="nothing is written without"):
        ehr.plain.write("POST", "Basic", {"resourceType": "Basic", "code": {"text": "never"}})

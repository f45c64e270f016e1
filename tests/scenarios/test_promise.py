"""No card means: checked, and fine. Held over the whole suite, and with each single list failed or not sent."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from cds_service.advise import Advice, advice
from cds_service.cards.model import EXTENSION, Card
from cds_service.cards.texts import Words
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.errors import PreconditionFailed
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from tests.promise import silent, watching
from tests.said import said
from tests.scenarios.build import NOW, hook_request, scenarios

FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
NOT_SENT_ALONE = "Could not check: what was not sent"
"""Where a card says more, that has a severity of its own: an old weight may have been excused by the list."""
NAMES = {"bodySize": "weight"}
"""The rule on the missing weight speaks for its list."""


def asked(body: dict[str, Any], knowledge: Knowledge, sends: frozenset[str] | None = None) -> Advice:
    request = parse(lenient.encode(body), body["hook"])
    return advice(request, body["hook"] == "order-sign", knowledge, NoSource(), NOW, sends=sends)


def could_not_check(made: Advice) -> Card | None:
    cards = made.response.cards
    return next((c for c in cards if c.source.topic and c.source.topic.code == "could-not-check"), None)


@pytest.fixture(scope="module")
def quiet(knowledge: Knowledge) -> list[dict[str, Any]]:
    """The requests of all scenarios that get no card; none of them is silent about anything.

    The end of an order is left out of what follows: the one rule that judges it only informs.
    """
    found = []
    for _, scenario in scenarios():
        body = hook_request(scenario)
        with suppress(PreconditionFailed):
            made = asked(body, knowledge)
            assert silent(made) == [], scenario["name"]
            is_order = any(o.rule.judges == "order" for judged in made.judged for o in judged.outcomes)
            if is_order and not made.response.cards:
                found.append(body)
    assert len(found) > 100
    return found


def test_the_promise_is_looked_at_where_it_could_be_broken(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that kept to itself what it did not understand would be found, and so would one that lost a list."""
    unread = hook_request(
        {"patient": {"vitals": [{"code": "8480-6", "raw": {"effectiveDateTime": None}}]}, "order": ORDER["order"]}
    )
    body = hook_request(ORDER)
    failed = {**body, "prefetch": {**body["prefetch"], "procedures": FAILED}}
    with watching() as watch:
        for sent in (unread, failed, body):
            asked(sent, knowledge)
    assert (watch.quiet, watch.broken) == (1, [])
    monkeypatch.setattr("cds_service.cards.compose.could_not_check.gaps", lambda *_, **__: ([], []))
    with watching() as watch:
        for sent in (unread, failed, body):
            asked(sent, knowledge)
    assert watch.quiet == 3
    assert {kind for _, kind, _ in watch.broken} == {"failed", "not-placed"}


def test_a_sentence_that_stays_a_key_would_be_seen(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    body = hook_request(ORDER)
    failed = {**body, "prefetch": {**body["prefetch"], "procedures": FAILED}}
    with watching() as watch:
        asked(failed, knowledge)
        assert watch.keys == []
        monkeypatch.setattr(Words, "fill", lambda _, says: str(says))
        asked(failed, knowledge)
    assert watch.keys


def test_each_list_that_fails_is_said_on_a_card_that_warns(quiet: list[dict[str, Any]], knowledge: Knowledge) -> None:
    for number, body in enumerate(quiet):
        for query in knowledge.queries[number % 3 :: 3]:
            made = None
            with suppress(PreconditionFailed):
                made = asked({**body, "prefetch": {**body["prefetch"], query.key: FAILED}}, knowledge)
            if made is None or (body["hook"] == "patient-view" and not made.response.cards):
                assert body["hook"] == "patient-view"
                assert made is None or silent(made) == []
                continue
            card = could_not_check(made)
            assert card is not None, query.key
            assert (card.indicator, NAMES.get(query.key, query.says) in (card.detail or "")) == ("warning", True), (
                query.key
            )


def test_each_list_that_is_not_sent_is_said_and_warns_where_no_order_can_do_without(
    quiet: list[dict[str, Any]], knowledge: Knowledge
) -> None:
    for number, body in enumerate(quiet):
        for query in knowledge.queries[number % 3 :: 3]:
            made = None
            sent = {key: value for key, value in body["prefetch"].items() if key != query.key}
            with suppress(PreconditionFailed):
                made = asked({**body, "prefetch": sent}, knowledge)
            if made is None or (body["hook"] == "patient-view" and not made.response.cards):
                assert body["hook"] == "patient-view"
                assert made is None or silent(made) == []
                continue
            card = could_not_check(made)
            assert card is not None, query.key
            assert NAMES.get(query.key, query.says) in (card.detail or "")
            if query.key != "patient" and (query.indispensable or card.summary == NOT_SENT_ALONE):
                assert card.indicator == ("warning" if query.indispensable else "info")


ORDER = {"order": {"rate": "0.2 mg/kg/h"}}


def without(*keys: str) -> dict[str, Any]:
    body = hook_request(ORDER)
    for key in keys:
        del body["prefetch"][key]
    return body


def test_what_was_not_sent_shares_one_line(knowledge: Knowledge) -> None:
    card = could_not_check(asked(without("procedures", "symptoms", "liverResults"), knowledge))
    assert card is not None
    assert card.summary == "Could not check: what was not sent"
    assert "- Not sent to this service, so not looked at: " in (card.detail or "")
    assert (card.detail or "").count("\n- ") == 1


def test_of_what_a_client_is_known_never_to_send_the_clinician_is_not_told(knowledge: Knowledge) -> None:
    sends = frozenset(query.key for query in knowledge.queries) - {"procedures", "medicationStatements"}
    made = asked(without("procedures", "medicationStatements"), knowledge, sends)
    assert made.response.cards == []
    (judged,) = made.judged
    assert {reason.fact for reason in judged.undelivered} == {"procedures", "medicationStatements"}
    untold = (made.response.extension or {})[EXTENSION]["notChecked"]
    assert {"rule": "ddi-theophylline", "reason": said(NoSource().why_not or ""), "kind": "not-sent"} in untold


def test_an_indispensable_list_is_missed_also_of_a_client_that_never_sends_it(knowledge: Knowledge) -> None:
    sends = frozenset(query.key for query in knowledge.queries) - {"conditions"}
    card = could_not_check(asked(without("conditions"), knowledge, sends))
    assert card is not None
    assert card.indicator == "warning"


def test_what_a_client_is_known_to_send_has_failed_where_it_is_missing(knowledge: Knowledge) -> None:
    card = could_not_check(asked(without("procedures"), knowledge, frozenset({"procedures"})))
    assert card is not None
    assert card.indicator == "warning"
    assert "procedures: it was not sent, and this client always sends it" in (card.detail or "")


def test_a_sites_own_rule_is_not_silent_about_its_list(knowledge: Knowledge) -> None:
    """It says nothing of what it needs: its clauses do."""
    body = hook_request(ORDER)
    made = asked({**body, "prefetch": {**body["prefetch"], "procedures": FAILED}}, knowledge)
    untold = {o.rule.id for o in made.judged[0].outcomes if o.status == "could-not-tell"}
    assert {"ihd-active-or-stable", "raised-iop-globe-injury"} <= untold
    assert not any("procedures" in rule.needs for rule in knowledge.protocol.rules.values())

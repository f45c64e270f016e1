"""A replay says what the service itself says, row by row, and no row is lost whatever stands in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cds_service.advise import Advice, advice
from cds_service.cards import could_not_check
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.retrospect import judging, synthetic
from cds_service.retrospect.judging import CARD, ORDER, RULE, AsOf, Outcome, Policy, Row, Study, replay
from cds_service.retrospect.policies import NEW, OLD
from cds_service.retrospect.synthetic import Signed
from cds_service.scenarios.request import hook_request
from tests.retrospect.conftest import chart_of, row_of
from tests.retrospect.server import Server


def rules_in(rows: list[Outcome], policy: str) -> list[tuple[Any, ...]]:
    return sorted(
        (r.rule, r.status, r.tier, r.severity, r.interrupts, r.missing)
        for r in rows
        if r.kind == RULE and r.policy == policy
    )


def missing(outcome: Any) -> str | None:
    return " ".join(sorted({reason.fact for reason in outcome.reasons})) or None


def rules_of(made: Advice) -> list[tuple[Any, ...]]:
    on_card = {
        (id(each), outcome.rule.id)
        for composed in made.composed
        for each, outcome in composed.stands_for
        if composed.card.indicator != "info"
    }
    return sorted(
        (o.rule.id, o.status, o.tier, o.severity, (id(each), o.rule.id) in on_card, missing(o))
        for each in made.judged
        for o in each.outcomes
    )


def cards_of(made: Advice) -> list[tuple[Any, ...]]:
    return sorted((c.source.topic.code, c.indicator) for c in made.response.cards if c.source.topic)


def asked_by_the_ehr(each: Signed) -> bytes:
    """The order as an EHR sends it that prefetches nothing: the service asks the FHIR server for the rest."""
    context = each.request["context"]
    draft = next(r for r in each.exported if r.get("id") == each.order)
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {**draft, "status": "draft"}}]}
    return lenient.encode(
        {
            "hook": "order-sign",
            "hookInstance": each.request["hookInstance"],
            "fhirServer": "https://ehr.example/fhir",
            "context": {**context, "draftOrders": bundle},
        }
    )


def test_as_of_now_no_row_differs_from_the_services_own_answers(
    patients: list[Signed], policies: list[Policy], as_of: Callable[[AsOf], Study]
) -> None:
    differing = []
    for each in patients:
        rows = replay(row_of(each), as_of("now"))
        for policy in policies:
            request = parse(asked_by_the_ehr(each), "order-sign")
            made = advice(request, True, policy.knowledge, Server(each.exported), synthetic.END)
            cards = sorted((r.rule, r.severity) for r in rows if r.kind == CARD and r.policy == policy.name)
            if rules_in(rows, policy.name) != rules_of(made) or cards != cards_of(made):
                differing.append((each.patient, policy.name))
    assert differing == []


def test_two_policies_in_one_reading_say_what_each_says_alone(patients: list[Signed], study: Study) -> None:
    for each in patients[:8]:
        together = replay(row_of(each), study)
        for policy in study.policies:
            alone = replay(row_of(each), replace(study, policies=[policy]))
            assert rules_in(alone, policy.name) == rules_in(together, policy.name)


def test_the_raised_limit_and_the_rule_switched_off_are_seen(patients: list[Signed], study: Study) -> None:
    rows = [row for each in patients for row in replay(row_of(each), study) if row.kind == RULE]
    fired = {
        policy: {(r.order, r.rule) for r in rows if r.policy == policy and r.status == "fired"}
        for policy in (OLD, NEW)
    }
    assert {rule for _, rule in fired[OLD] - fired[NEW]} == {"rate-exceeds-protocol-max"}
    assert not any(r.rule == "duration-missing" and r.policy == NEW for r in rows)


def test_orders_of_one_moment_come_in_one_request(patients: list[Signed], study: Study) -> None:
    """A bolus and an infusion that were signed together are no duplicates of each other."""
    each = next(p for p in patients if any(r["resourceType"] == "Encounter" for r in p.exported))
    order = next(r for r in each.exported if r.get("id") == each.order)
    twin = {**order, "id": "twin"}
    row = Row(each.patient, (lenient.encode(order), lenient.encode(twin)), chart_of([*each.exported, twin]))
    request = {**each.request["context"], "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": {**order, "status": "draft"}}, {"resource": {**twin, "status": "draft"}}]}}  # fmt: skip
    body = lenient.encode({**each.request, "context": request})
    made = advice(parse(body, "order-sign"), True, study.policies[0].knowledge, NoSource(), each.moment)
    rows = replay(row, study)
    assert rules_in(rows, OLD) == rules_of(made)
    assert len({r.order for r in rows if r.kind == ORDER}) == 2


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (b'{"resourceType":"MedicationRequest","id":"x"}', judging.NO_DATE),
        (b"[]", judging.NO_DATE),
        (b'{"resourceType":"MedicationRequest","id":"x","authoredOn":"2026-05-04T10:00:00Z"}', judging.NOT_JUDGED),
    ],
)
def test_an_order_that_cannot_be_judged_has_a_row_all_the_same(order: bytes, status: str, study: Study) -> None:
    (row,) = replay(Row("p", (order,), ()), study)
    assert (row.kind, row.status) == (ORDER, status)


def test_a_row_at_which_the_service_fails_is_counted_and_says_nothing_of_the_patient(
    patients: list[Signed], study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("Erika Mustermann")

    monkeypatch.setattr(judging, "open_request", broken)
    (row,) = replay(row_of(patients[0]), study)
    assert (row.status, row.reason) == (judging.FAILED, "KeyError")
    assert "Mustermann" not in repr(row)


def test_a_hook_request_is_judged_as_it_was_sent(study: Study) -> None:
    sent = hook_request(
        {"name": "x", "patient": {"problems": ["2776000 Delirium"]}, "order": {"rate": "0.55 mg/kg/h"}}, synthetic.END
    )
    sent["fhirServer"] = "https://ehr.example/fhir"
    draft = sent["context"]["draftOrders"]["entry"][0]["resource"]
    draft["authoredOn"] = synthetic.END.isoformat()
    body = lenient.encode(sent)
    rows = replay(Row("", (), (), body), study)
    for policy in study.policies:
        made = advice(parse(body, "order-sign"), True, policy.knowledge, NoSource(), synthetic.END)
        assert rules_in(rows, policy.name) == rules_of(made)
    (order,) = [r for r in rows if r.kind == ORDER]
    assert (order.client, order.indication, order.status) == ("ehr.example", "pain", judging.JUDGED)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"hook": 3}', b'{"hook": "order-sign"}'])
def test_a_line_that_is_no_request_is_counted(body: bytes, study: Study) -> None:
    (row,) = replay(Row("", (), (), body), study)
    assert row.kind == ORDER
    assert row.status in (judging.UNREADABLE, judging.FAILED, judging.NO_DATE)


def test_only_orders_of_the_time_that_was_asked_for_are_judged(patients: list[Signed], study: Study) -> None:
    each = patients[0]
    for since, until, status in (
        (each.moment, None, judging.JUDGED),
        (None, each.moment, judging.OUTSIDE),
        (each.moment + timedelta(minutes=1), None, judging.OUTSIDE),
        (None, each.moment + timedelta(minutes=1), judging.JUDGED),
    ):
        rows = replay(row_of(each), replace(study, since=since, until=until))
        assert [r.status for r in rows if r.kind == ORDER] == [status]


def test_a_type_that_the_export_does_not_hold_makes_its_rules_untold(patients: list[Signed], study: Study) -> None:
    without = replace(study, exported=study.exported - {"Condition"})
    rows = [row for each in patients[:5] for row in replay(row_of(each), without)]
    assert any(
        r.status == "could-not-tell" and r.reason == "not-sent" and "conditions" in (r.missing or "") for r in rows
    )
    assert any(r.kind == CARD and r.rule == could_not_check.TOPIC and not r.interrupts for r in rows)

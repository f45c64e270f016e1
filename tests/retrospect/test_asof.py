"""A record is put back to how it stood when an order was signed, or it is said that this cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.advise import advice
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.retrospect import asof, synthetic
from cds_service.retrospect.asof import CHANGED, ENDED, IN_ERROR, UNDATED, UNREAD, as_known
from cds_service.retrospect.judging import DOUBT, RULE, Policy, Study, replay
from cds_service.retrospect.synthetic import Signed
from cds_service.scenarios.request import parsed
from tests.retrospect.conftest import MOMENT, row_of

BEFORE, DAY_OF, AFTER = "2026-05-03T10:00:00Z", "2026-05-04", "2026-05-05T10:00:00Z"
STAY = {"start": BEFORE, "end": AFTER}
GONE, SAME = None, "as it is"
ACTIVE = {"coding": [{"code": "active"}]}
WRONG = {"coding": [{"code": "entered-in-error"}]}
RESOLVED = {"coding": [{"code": "resolved"}]}


@pytest.mark.parametrize(
    ("kind", "says", "stood"),
    [
        ("Observation", {"effectiveDateTime": BEFORE, "status": "final"}, SAME),
        ("Observation", {"effectiveDateTime": AFTER, "status": "final"}, GONE),
        ("Observation", {"effectiveDateTime": DAY_OF, "status": "final"}, SAME),
        ("Observation", {"effectiveDateTime": BEFORE, "issued": AFTER, "status": "final"}, GONE),
        ("Observation", {"effectiveDateTime": BEFORE, "issued": AFTER, "status": "corrected"}, CHANGED),
        ("Observation", {"effectiveDateTime": BEFORE, "issued": BEFORE, "status": "amended"}, SAME),
        ("Observation", {"effectiveDateTime": BEFORE, "status": "entered-in-error"}, IN_ERROR),
        ("Observation", {"status": "final"}, UNDATED),
        ("Observation", {"status": "final", "effectivePeriod": {"start": AFTER}}, GONE),
        ("Observation", {"effectiveDateTime": ["what"], "status": "final"}, UNREAD),
        ("Condition", {"recordedDate": BEFORE, "clinicalStatus": ACTIVE}, SAME),
        ("Condition", {"recordedDate": AFTER, "clinicalStatus": ACTIVE}, GONE),
        ("Condition", {"onsetDateTime": BEFORE, "clinicalStatus": ACTIVE}, UNDATED),
        ("Condition", {"onsetDateTime": AFTER, "clinicalStatus": ACTIVE}, GONE),
        ("Condition", {"recordedDate": BEFORE, "clinicalStatus": RESOLVED}, ENDED),
        ("Condition", {"recordedDate": BEFORE, "clinicalStatus": RESOLVED, "abatementDateTime": BEFORE}, SAME),
        ("Condition", {"recordedDate": BEFORE, "clinicalStatus": RESOLVED, "meta": {"lastUpdated": BEFORE}}, SAME),
        ("Condition", {"recordedDate": BEFORE, "verificationStatus": WRONG}, IN_ERROR),
        ("AllergyIntolerance", {"recordedDate": BEFORE, "clinicalStatus": ACTIVE}, SAME),
        ("AllergyIntolerance", {"recordedDate": BEFORE, "clinicalStatus": RESOLVED}, ENDED),
        ("AllergyIntolerance", {"clinicalStatus": ACTIVE}, UNDATED),
        ("MedicationRequest", {"authoredOn": BEFORE, "status": "active"}, SAME),
        ("MedicationRequest", {"authoredOn": AFTER, "status": "active"}, GONE),
        ("MedicationRequest", {"authoredOn": BEFORE, "status": "stopped"}, ENDED),
        ("MedicationRequest", {"authoredOn": BEFORE, "status": "draft"}, GONE),
        ("MedicationAdministration", {"effectiveDateTime": BEFORE, "status": "completed"}, SAME),
        ("MedicationAdministration", {"effectivePeriod": {"start": BEFORE}, "status": "completed"}, ENDED),
        ("Procedure", {"performedDateTime": AFTER, "status": "completed"}, GONE),
        ("Procedure", {"performedDateTime": BEFORE, "status": "not-done"}, GONE),
        ("ServiceRequest", {"authoredOn": BEFORE, "status": "completed"}, ENDED),
        ("Encounter", {"period": {"start": AFTER}, "status": "in-progress"}, GONE),
        ("Medication", {"code": {"text": "anything"}}, SAME),
    ],
)  # fmt: skip
def test_a_record_stands_as_its_dates_tell(kind: str, says: dict[str, Any], stood: str | None) -> None:
    raw = lenient.encode({"resourceType": kind, **says})
    known = as_known(kind, raw, MOMENT)
    expected = (raw, None) if stood == SAME else (None, None) if stood is GONE else (None, stood)
    assert known == expected


@pytest.mark.parametrize(
    ("kind", "says", "status"),
    [
        ("Condition", {"recordedDate": BEFORE, "clinicalStatus": RESOLVED, "abatementDateTime": AFTER}, "active"),
        (
            "MedicationRequest",
            {
                "authoredOn": BEFORE, "status": "completed",
                "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": AFTER}}}}],
            },
            "active",
        ),
        ("MedicationAdministration", {"effectivePeriod": STAY, "status": "stopped"}, "in-progress"),
        ("ServiceRequest", {"authoredOn": BEFORE, "status": "revoked", "occurrencePeriod": {"end": AFTER}}, "active"),
        ("Encounter", {"period": STAY, "status": "finished"}, "in-progress"),
    ],
)  # fmt: skip
def test_what_ended_later_was_still_open(kind: str, says: dict[str, Any], status: str) -> None:
    known = as_known(kind, lenient.encode({"resourceType": kind, **says}), MOMENT)
    assert known.raw is not None
    put_back = lenient.untyped(known.raw)
    said = put_back["clinicalStatus"]["coding"][0]["code"] if kind == "Condition" else put_back["status"]
    assert said == status
    assert b"2026-05-05" not in known.raw.replace(b'"boundsPeriod":{"end":"2026-05-05', b"")


def test_an_order_for_the_ward_ended_with_its_stay_at_the_latest() -> None:
    order = {
        "resourceType": "MedicationRequest", "authoredOn": BEFORE, "status": "stopped",
        "category": [{"coding": [{"code": "inpatient"}]}], "encounter": {"reference": "Encounter/e"},
    }  # fmt: skip
    stay = {"resourceType": "Encounter", "id": "e", "period": {"start": BEFORE, "end": "2026-05-03T20:00:00Z"}}
    ended = asof.stays(iter([lenient.encode(stay)]))
    raw = lenient.encode(order)
    assert as_known("MedicationRequest", raw, MOMENT, ended) == (raw, None)
    at_home = lenient.encode({**order, "category": [{"coding": [{"code": "community"}]}]})
    assert as_known("MedicationRequest", at_home, MOMENT, ended).doubt == ENDED


def test_a_place_of_the_stay_that_came_later_is_not_known_yet() -> None:
    places = [
        {"location": {"display": "ward"}, "period": {"start": BEFORE, "end": AFTER}, "status": "completed"},
        {"location": {"display": "home"}, "period": {"start": AFTER}},
    ]
    stay = {
        "resourceType": "Encounter",
        "status": "finished",
        "period": {"start": BEFORE, "end": AFTER},
        "location": places,
    }
    raw = as_known("Encounter", lenient.encode(stay), MOMENT).raw
    assert raw is not None
    assert lenient.untyped(raw)["location"] == [
        {"location": {"display": "ward"}, "period": {"start": BEFORE}, "status": "active"}
    ]


def test_who_died_later_lived_when_the_order_was_signed() -> None:
    for died in ({"deceasedBoolean": True}, {"deceasedDateTime": AFTER}):
        known = as_known("Patient", lenient.encode({"resourceType": "Patient", "id": "p", **died}), MOMENT)
        assert known.raw == b'{"resourceType":"Patient","id":"p"}'


def test_of_an_export_of_a_year_later_the_verdicts_are_those_of_the_day(
    patients: list[Signed], policies: list[Policy], study: Study
) -> None:
    told = set()
    for each in patients:
        rows = replay(row_of(each), study)
        assert not [row for row in rows if row.kind == DOUBT]
        for policy in policies:
            made = advice(parsed(each.request, "order-sign"), True, policy.knowledge, NoSource(), each.moment)
            then = {(o.rule.id, o.status, o.tier, o.severity) for one in made.judged for o in one.outcomes}
            found = {
                (r.rule, r.status, r.tier, r.severity) for r in rows if r.kind == RULE and r.policy == policy.name
            }
            assert found == then
            told |= {status for _, status, _, _ in then}
    assert {"fired", "clear", "could-not-tell"} <= told


def test_where_an_end_has_no_date_the_rules_that_rest_on_it_cannot_be_told(study: Study) -> None:
    undated = list(synthetic.signed(25, 7, undated=1.0))
    rows = [row for each in undated for row in replay(row_of(each), study)]
    doubts = {(row.rule, row.reason) for row in rows if row.kind == DOUBT}
    assert {("Condition", ENDED), ("MedicationRequest", ENDED), ("ServiceRequest", ENDED)} <= doubts
    monitoring = {row.status for row in rows if row.kind == RULE and row.missing == "serviceRequests"}
    assert monitoring == {"could-not-tell"}

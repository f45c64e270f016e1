"""Draft orders in whatever they are wrapped, of whatever version, for a patient in whatever spelling."""

from __future__ import annotations

import copy
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service import bounds
from cds_service.fhir import drafts
from cds_service.fhir.resources import MedicationRequest
from tests.properties.asking import answered
from tests.scenarios.build import PATIENT, RXNORM, hook_request

Json = dict[str, Any]

BASE = hook_request({"order": {"rate": "2 mg/kg/h"}})
ORDER: Json = BASE["context"]["draftOrders"]["entry"][0]["resource"]
ENTRY: Json = {"resource": ORDER}
BUNDLE: Json = {"resourceType": "Bundle", "type": "collection", "entry": [ENTRY]}
MEDICATION: Json = {"resourceType": "Medication", "id": "m", "code": ORDER["medicationCodeableConcept"]}


def _asked(drafts: Any, **context: Any) -> Json:
    return {**BASE, "context": {**BASE["context"], "draftOrders": drafts, **context}}


def _topics(asked: Json) -> list[tuple[str, str]]:
    return [(card["source"]["topic"]["code"], card["indicator"]) for card in answered(asked)]


def _changed(**elements: Any) -> Json:
    order = {key: value for key, value in {**ORDER, **elements}.items() if value is not None}
    return {**BUNDLE, "entry": [{"resource": order}]}


def _held(kind: str, *, by_reference: bool = False) -> Json:
    order = copy.deepcopy(ORDER)
    inside = [order]
    if by_reference:
        del order["medicationCodeableConcept"]
        order["medicationReference"] = {"reference": "#m"}
        inside.append(MEDICATION)
    subject = {"reference": f"Patient/{PATIENT}"}
    holder = {"resourceType": kind, "id": "h", "status": "draft", "intent": "proposal", "subject": subject}
    return {**BUNDLE, "entry": [{"resource": holder | {"contained": inside}}]}


SHAPES: dict[str, Any] = {
    "a Bundle": BUNDLE,
    "a bare order": ORDER,
    "a list of orders": [ORDER],
    "a list of entries": [ENTRY],
    "an entry": ENTRY,
    "a list of Bundles": [BUNDLE],
    "a Bundle in a Bundle": {**BUNDLE, "entry": [{"resource": BUNDLE}]},
    "a Bundle in a Bundle in a list": [
        {**BUNDLE, "entry": [{"resource": {**BUNDLE, "entry": [{"resource": BUNDLE}]}}]}
    ],
    "entries without a resource": {**BUNDLE, "entry": [ORDER]},
    "one entry, no list": {**BUNDLE, "entry": ENTRY},
    "one order as entry": {**BUNDLE, "entry": ORDER},
    "a Bundle without its type": {"entry": [ENTRY]},
    "a string of JSON": json.dumps(BUNDLE, default=float),
    "Parameters": {"resourceType": "Parameters", "parameter": [{"name": "draft", "resource": ORDER}]},
    "Parameters of a Bundle": {"resourceType": "Parameters", "parameter": [{"name": "drafts", "resource": BUNDLE}]},
    "Parameters in parts": {
        "resourceType": "Parameters",
        "parameter": [{"name": "all", "part": [{"name": "x", "valueString": "y"}, {"name": "d", "resource": ORDER}]}],
    },
    "contained in a RequestGroup": _held("RequestGroup"),
    "contained in a CarePlan": _held("CarePlan"),
    "contained with its medication": _held("RequestGroup", by_reference=True),
    "a bundle in small letters": {**BUNDLE, "resourceType": "bundle"},
    "a bundle in small letters in a Bundle": {
        **BUNDLE,
        "entry": [{"resource": {**BUNDLE, "resourceType": "http://hl7.org/fhir/BUNDLE"}}],
    },
    "contained in a group in other letters": _held(" requestGROUP"),
    "in the place of a reference to it": {
        **BUNDLE,
        "entry": [{"resource": {"resourceType": "RequestGroup", "action": [{"action": [{"resource": ORDER}]}]}}],
    },
    "contained in a group, beside JSON in a string that is cut": {
        **BUNDLE,
        "entry": ['{"resourceType', {"resource": {"resourceType": "CarePlan", "contained": [ORDER]}}],
    },
    "in capitals": _changed(resourceType="MEDICATIONREQUEST"),
    "without resourceType": _changed(resourceType=None),
    "of R5": _changed(medicationCodeableConcept=None, medication={"concept": ORDER["medicationCodeableConcept"]}),
    "of DSTU2": _changed(resourceType="MedicationOrder", subject=None, patient=ORDER["subject"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_order_is_judged_in_whatever_it_is_wrapped(shape: str) -> None:
    assert ("rate-exceeds-ceiling", "critical") in _topics(_asked(SHAPES[shape])), shape


@pytest.mark.parametrize("holder", ["RequestGroup", "CarePlan"])
def test_nothing_is_offered_for_an_order_that_lives_in_another_resource(holder: str) -> None:
    """Neither an update nor a deletion could address it."""
    cards = answered(_asked(SHAPES[f"contained in a {holder}"]))
    actions = [a for card in cards for s in card.get("suggestions", ()) for a in s["actions"]]
    assert [action for action in actions if action["type"] != "create"] == []


def test_an_order_in_a_bundle_beside_a_wrapped_one_is_judged_with_it() -> None:
    second = {**ORDER, "id": "o2"}
    both = {**BUNDLE, "entry": [ENTRY, {"resource": {**BUNDLE, "entry": [{"resource": second}]}}]}
    orders = {card["extension"]["io.github.ketamine-cds"]["order"] for card in answered(_asked(both))[:2]}
    assert orders == {"MedicationRequest/o1", "MedicationRequest/o2"}


SPELLINGS = [
    f"Patient/{PATIENT}",
    PATIENT,
    f"http://ehr.example/fhir/Patient/{PATIENT}",
    f"https://ehr.example/fhir/r4/Patient/{PATIENT}/_history/3",
    f"Patient/{PATIENT}/_history/1",
    f"urn:uuid:{PATIENT}",
    f" Patient/{PATIENT} ",
]


@pytest.mark.parametrize("subject", [text for text in SPELLINGS if "/" in text or ":" in text])
@pytest.mark.parametrize("context", SPELLINGS)
def test_the_patient_is_the_same_in_every_spelling(context: str, subject: str) -> None:
    asked = _asked(_changed(subject={"reference": subject}), patientId=context)
    assert ("rate-exceeds-ceiling", "critical") in _topics(asked)


@pytest.mark.parametrize(
    "subject", ["Patient/P1", "Patient/p2", "http://ehr.example/fhir/Patient/p2", "Group/p1", "urn:uuid:p2"]
)
def test_an_order_of_another_patient_is_not_judged_and_warns(subject: str) -> None:
    assert _topics(_asked(_changed(subject={"reference": subject}))) == [("could-not-check", "warning")]


NAMELESS: dict[str, Json] = {
    "an identifier alone": {"medicationReference": {"identifier": {"system": "urn:h", "value": "KET50"}}},
    "an empty concept": {"medicationCodeableConcept": {}},
    "a reference that nobody knows": {"medicationReference": {"reference": "Medication/gone"}},
    "a contained medication that is not there": {"medicationReference": {"reference": "#gone"}},
    "a code of the house alone": {"medicationCodeableConcept": {"coding": [{"system": "urn:h", "code": "KET50"}]}},
    "an R5 reference that nobody knows": {"medication": {"reference": {"reference": "Medication/gone"}}},
}


@pytest.mark.parametrize("how", NAMELESS)
def test_a_draft_that_does_not_say_its_drug_warns_once(how: str) -> None:
    orders = [
        {
            "resource": {k: v for k, v in ORDER.items() if k != "medicationCodeableConcept"}
            | NAMELESS[how]
            | {"id": name}
        }
        for name in ("o1", "o2")
    ]
    (card,) = answered(_asked({**BUNDLE, "entry": orders}))
    assert (card["source"]["topic"]["code"], card["indicator"]) == ("could-not-check", "warning")
    assert card["detail"].count("whether it is ketamine is not known") == 1


@pytest.mark.parametrize(
    "concept",
    [
        {"text": "paracetamol 1 g"},
        {"coding": [{"system": "urn:h", "code": "PCM", "display": "Paracetamol"}]},
        {"coding": [{"system": RXNORM, "code": "161"}]},
    ],
)
def test_a_draft_that_names_another_drug_gets_no_card(concept: Json) -> None:
    assert _topics(_asked(_changed(medicationCodeableConcept=concept))) == []


@pytest.mark.parametrize(
    "medication",
    [
        {"medicationCodeableConcept": {"text": "Infusion"}, "medicationReference": {"reference": "#m"}},
        {"medication": {"concept": {"text": "Infusion"}, "reference": {"reference": "#m"}}},
    ],
)
def test_a_vague_concept_hides_no_ketamine_that_is_referenced_beside_it(medication: Json) -> None:
    asked = _asked(_changed(**{"medicationCodeableConcept": None, **medication}, contained=[MEDICATION]))
    assert ("rate-exceeds-ceiling", "critical") in _topics(asked)
    other = {**MEDICATION, "code": {"text": "paracetamol"}}
    asked = _asked(_changed(**{"medicationCodeableConcept": None, **medication}, contained=[other]))
    assert _topics(asked) == []


def test_an_infusion_of_which_r5_says_what_it_is_made_of_is_judged_and_not_changed() -> None:
    """R4 has no place for that, and without it the order would be another one."""
    made_of = [{"item": {"concept": MEDICATION["code"]}}, {"item": {"concept": {"text": "NaCl 0.9 %"}}}]
    bag = {"resourceType": "Medication", "id": "m", "code": {"text": "Infusion"}, "ingredient": made_of}
    drafts = _changed(medicationCodeableConcept=None, medicationReference={"reference": "#m"}, contained=[bag])
    cards = answered(_asked(drafts))
    assert "rate-exceeds-ceiling" in [card["source"]["topic"]["code"] for card in cards]
    offered = [a["type"] for card in cards for s in card.get("suggestions", ()) for a in s["actions"]]
    assert offered == ["delete"]


@pytest.mark.parametrize(
    ("url", "is_said"),
    [
        ("MedicationRequest/o1", True),
        ("https://ehr.example/fhir/MedicationRequest/o1/_history/2", True),
        ("urn:uuid:00000000-0000-4000-8000-000000000001", True),
        ("https://ehr.example/fhir/ServiceRequest/o1", False),
        ("Medication/m", False),
    ],
)
@pytest.mark.parametrize("empty", [{}, {"resource": None}, {"search": {"mode": "match"}}])
def test_an_order_of_which_only_the_address_was_sent_is_said(empty: Json, url: str, is_said: bool) -> None:
    paracetamol = {**ORDER, "id": "o2", "medicationCodeableConcept": {"text": "paracetamol"}}
    entries = [{"resource": paracetamol}, {"fullUrl": url, **empty}]
    said = [("could-not-check", "warning")] if is_said else []
    assert _topics(_asked({**BUNDLE, "entry": entries})) == said


@pytest.mark.parametrize("kind", ["MedicationDispense", "MedicationAdministration"])
def test_ketamine_in_what_is_no_order_is_said(kind: str) -> None:
    given_out = {
        "resourceType": kind,
        "id": "d1",
        "status": "in-progress",
        "medicationCodeableConcept": ORDER["medicationCodeableConcept"],
        "subject": ORDER["subject"],
    }
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": given_out}]})) == [("could-not-check", "warning")]
    over = {**given_out, "status": "completed"}
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": over}]})) == []
    other = {**given_out, "medicationCodeableConcept": {"text": "paracetamol"}}
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": other}]})) == []


SERVICE: Json = {"resourceType": "ServiceRequest", "id": "s1", "status": "draft", "intent": "order"}
ORDERED_ELSEWHERE: dict[str, Json] = {
    "an infusion": SERVICE | {"code": {"text": "Ketamine infusion"}},
    "an amount": SERVICE | {"code": {"text": "Ketamin 20 mg/h"}},
    "a status that is none": SERVICE | {"status": {"code": ["x"]}, "code": {"text": "Ketamine infusion"}},
    "a note": SERVICE | {"code": {"text": "IV infusion"}, "note": [{"text": "ketamine 2 mg/kg/h"}]},
    "a task": {"resourceType": "Task", "id": "t1", "status": "draft", "description": "Start ketamine infusion"},
    "a plan": {
        "resourceType": "CarePlan",
        "id": "c1",
        "status": "draft",
        "activity": [{"detail": {"productCodeableConcept": ORDER["medicationCodeableConcept"]}}],
    },
}


@pytest.mark.parametrize("order", ORDERED_ELSEWHERE.values(), ids=ORDERED_ELSEWHERE)
def test_ketamine_that_is_ordered_as_something_else_is_said(order: Json) -> None:
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": order}]})) == [("could-not-check", "warning")]
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": {**order, "status": "entered-in-error"}}]})) == []
    told = [topic for topic, _ in _topics(_asked({**BUNDLE, "entry": [ENTRY, {"resource": order}]}))]
    assert "could-not-check" not in told, "beside an order that is judged it says nothing new"


@pytest.mark.parametrize(
    "words",
    ["Ketamine level", "Urine screen for ketamine", "SpO2 monitoring during ketamine infusion", "Chest X-ray"],
)
def test_a_request_that_only_speaks_of_ketamine_gets_no_card(words: str) -> None:
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": SERVICE | {"code": {"text": words}}}]})) == []


def test_what_is_wrapped_beyond_reason_is_said() -> None:
    drafts = BUNDLE
    for _ in range(60):
        drafts = {**BUNDLE, "entry": [{"resource": drafts}]}
    assert _topics(_asked(drafts)) == [("could-not-check", "warning")]


PARACETAMOL: Json = {**ORDER, "id": "p1", "medicationCodeableConcept": {"text": "paracetamol 1 g"}}


def _group(*contained: Any) -> Json:
    return {"resource": {"resourceType": "RequestGroup", "contained": [*contained]}}


HIDDEN: dict[str, Json] = {
    "behind the bound of what a group contains": _group(*[PARACETAMOL] * bounds.MEMBERS, ORDER),
    "in a Bundle in a group": _group({"resourceType": "Bundle", "entry": [ENTRY]}),
    "in a group in a plan": _group(_group(ORDER)["resource"]),
    "in a string in a group": _group(json.dumps(ORDER, default=float)),
    "in a group, under a name": _group({"order": ORDER}),
    "in a string that is cut": {"resource": json.dumps(ORDER, default=float)[:-9]},
    "in a Bundle that writes entry otherwise": {"resource": None, "Resource": ORDER},
    "in the answer to a transaction": {"response": {"outcome": ORDER}},
    "in a service of very many details": {
        "resource": SERVICE
        | {"orderDetail": [*({"text": f"detail {number}"} for number in range(300)), {"text": "ketamine 50 mg IV"}]}
    },
    "in a service of very many codings": {
        "resource": SERVICE
        | {
            "code": {
                "coding": [{"system": "urn:h", "code": f"c{n}", "display": f"code {n}"} for n in range(150)],
                "text": "ketamine infusion 50 mg/h",
            }
        }
    },
}


@pytest.mark.parametrize("where", HIDDEN)
def test_where_an_order_may_be_that_was_not_looked_at_is_said(where: str) -> None:
    assert _topics(_asked({**BUNDLE, "entry": [HIDDEN[where]]})) == [("could-not-check", "warning")]


@pytest.mark.parametrize("name", ["Entry", "entries", "resources"])
def test_drafts_under_another_name_are_said_where_they_name_the_drug(name: str) -> None:
    assert _topics(_asked({"resourceType": "Bundle", name: [ENTRY]})) == [("could-not-check", "warning")]
    assert _topics(_asked({"resourceType": "Bundle", name: [{"resource": PARACETAMOL}]})) == []


def test_at_the_bound_of_what_a_group_contains_the_last_order_is_judged() -> None:
    full = _group(*[PARACETAMOL] * (bounds.MEMBERS - 1), ORDER)
    assert ("rate-exceeds-ceiling", "critical") in _topics(_asked({**BUNDLE, "entry": [full]}))


def test_a_service_of_very_many_details_without_the_drug_gets_no_card() -> None:
    details = [{"text": f"detail {number}"} for number in range(300)]
    assert _topics(_asked({**BUNDLE, "entry": [{"resource": SERVICE | {"orderDetail": details}}]})) == []


@pytest.mark.parametrize("kind", [["RequestGroup"], {}, 7, None], ids=str)
@pytest.mark.parametrize("where", ["beside it", "contained with it"])
def test_an_entry_whose_type_is_no_word_hides_no_other(kind: Any, where: str) -> None:
    odd = {"resourceType": kind, "id": "x"}
    entries = [{"resource": odd}, _group(ORDER)] if where == "beside it" else [_group(odd, ORDER)]
    assert ("rate-exceeds-ceiling", "critical") in _topics(_asked({**BUNDLE, "entry": entries}))


def test_the_orders_of_a_group_share_what_stands_beside_them() -> None:
    """A copy for each of a hundred orders made 15 MB of drafts gigabytes."""
    orders = [{**ORDER, "id": f"o{number}"} for number in range(100)]
    others = [{**MEDICATION, "id": f"m{number}", "code": {"text": "x" * 1_000}} for number in range(100)]
    raw = json.dumps({**BUNDLE, "entry": [_group(*orders, *others)]}, default=float).encode()
    tracemalloc.start()
    try:
        found = drafts.read(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    read = [item.resource for item in found.items if isinstance(item.resource, MedicationRequest)]
    assert [len(order.contained) for order in read] == [100] * 100
    assert peak < 15 * len(raw)


_wrap = st.sampled_from(
    [
        lambda inner: [inner],
        lambda inner: {"resource": inner},
        lambda inner: {**BUNDLE, "entry": [inner]},
        lambda inner: {**BUNDLE, "entry": [{"resource": inner}]},
        lambda inner: {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": inner}]},
    ]
)


@given(st.lists(_wrap, max_size=4))
def test_no_wrapping_hides_an_order(wraps: list[Any]) -> None:
    drafts: Any = ORDER
    for wrap in wraps:
        drafts = wrap(drafts)
    assert ("rate-exceeds-ceiling", "critical") in _topics(_asked(drafts))

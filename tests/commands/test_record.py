"""What simulate --record keeps: enough for the same rules, and not one string of the patient."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.advise import explain
from cds_service.cards.model import EXTENSION
from cds_service.commands import record
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.sandbox import charts, orders
from cds_service.terminology import valuesets
from tests.scenarios.build import NOW, hook_request, scenarios

KNOWN = valuesets.load()
CANARY = "Zebulon-Quatermain"
TYPED = [
    "0.2 mg/kg/h IV for 24 h for pain",
    "0.8 mg/kg/h IV",
    "0.5 mg/kg IV over 40 min for depression",
    "1 mg/kg IM",
]


def _judged(
    request: dict[str, Any], knowledge: Knowledge, now: datetime
) -> dict[str, set[tuple[str, str, str | None]]]:
    """How every rule ended, by order; the orders' own names do not count."""
    hook = str(request["hook"])
    judged, _ = explain(parse(lenient.encode(request), hook), hook == "order-sign", knowledge, NoSource(), now)
    return {str(n): {(o.rule.id, o.status, o.tier) for o in each.outcomes} for n, each in enumerate(judged)}


def _again(request: dict[str, Any], knowledge: Knowledge) -> dict[str, set[tuple[str, str, str | None]]]:
    kept = record.recorded(request, NOW, KNOWN)
    return _judged(kept, knowledge, datetime.fromisoformat(kept["extension"][EXTENSION][record.MOMENT]))


def _request(patient: str, order: str, knowledge: Knowledge) -> dict[str, Any]:
    chart = [each for each in charts.resources_at(NOW).values() if f"Patient/{patient}" in str(each)]

    def fill(key: str, kind: str, codes: frozenset[str]) -> Any:
        if key == "patient":
            return charts.resources_at(NOW)["Patient", patient]
        found = [each for each in chart if each["resourceType"] == kind]
        if codes:
            found = [each for each in found if {c["code"] for c in each["code"]["coding"]} & codes]
        if key == "encounter":
            return found[0] if found else None
        return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}

    draft = orders.read(order, patient, "draft-1")
    context = {
        "userId": "Practitioner/1",
        "patientId": patient,
        "encounterId": f"{patient}-encounter-1",
        "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
    }
    prefetch = {query.key: fill(query.key, query.type, query.codes) for query in knowledge.queries}
    return {"hook": "order-sign", "hookInstance": "1", "context": context, "prefetch": prefetch}


@pytest.mark.parametrize("patient", charts.patients(), ids=lambda each: each.id)
@pytest.mark.parametrize("order", TYPED)
def test_a_record_of_the_sandbox_gives_the_same_rules(
    patient: charts.Patient, order: str, knowledge: Knowledge
) -> None:
    request = _request(patient.id, order, knowledge)
    before = _judged(request, knowledge, NOW)
    assert before
    assert _again(request, knowledge) == before


def test_records_of_the_scenarios_give_the_same_rules_but_where_the_words_are_gone(knowledge: Knowledge) -> None:
    """Orders, problems and answers in words lose them; nearly all others end in the same way, rule for rule."""
    same, other = 0, []
    for file, scenario in scenarios():
        request = hook_request(scenario)
        if _again(request, knowledge) == _judged(request, knowledge, NOW):
            same += 1
        else:
            other.append((file, scenario["name"]))
    assert same > 0.9 * (same + len(other)), other  # one scenario in thirteen is about words


def test_a_chart_full_of_words_leaves_none_of_them(knowledge: Knowledge) -> None:
    request = _request("standard", TYPED[0], knowledge)

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            extra = {
                "text": f"{CANARY} said so",
                "identifier": [{"value": CANARY}],
                CANARY: CANARY,
                "note": [{"text": CANARY}],
            }
            return {key: marked(item) for key, item in value.items()} | extra
        return [marked(each) for each in value] if isinstance(value, list) else value

    kept = lenient.encode(
        record.recorded(marked(request) | {"fhirAuthorization": {"access_token": CANARY}}, NOW, KNOWN)
    )
    assert CANARY not in kept.decode()
    for name in ("Lindqvist", "Maja", "standard", "Practitioner/1", "2026-11-22"):
        assert name not in kept.decode(), name


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
_CANARIES = st.builds(lambda a, b: f"{a}{CANARY}{b}", _WORDS, _WORDS)
_NAMES = st.sampled_from(sorted(record._elements()))
_LEAVES = (
    _CANARIES
    | _CANARIES.map(lambda each: f"Patient/{each}")
    | _CANARIES.map(lambda each: f"https://{each}/fhir/Observation/{each}")
    | _CANARIES.map(lambda each: f"urn:uuid:{each}")
    | _CANARIES.map(lambda each: f"2026-11-22T10:00:00{each}")
    | _CANARIES.map(lambda each: f"ketamine for {each}")
    | st.sampled_from(["http://snomed.info/sct", "http://loinc.org", "Observation", "active", "#m", "0.5"])
    | st.none()
    | st.booleans()
    | st.integers(0, 99)
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES | _CANARIES, inner, max_size=5),
    max_leaves=25,
)


@given(
    st.dictionaries(_NAMES | _CANARIES, _TREES, max_size=4), st.dictionaries(_CANARIES, _TREES, max_size=3), _CANARIES
)
def test_no_string_of_a_request_that_is_not_known_is_in_its_record(
    drafts: dict[str, Any], prefetch: dict[str, Any], name: str
) -> None:
    context = {
        "patientId": name,
        "userId": name,
        "encounterId": name,
        "draftOrders": drafts,
        "selections": [name],
        name: name,
    }
    request = {
        "hook": name,
        "hookInstance": name,
        "fhirServer": name,
        "context": context,
        "prefetch": prefetch,
        name: name,
    }
    assert CANARY not in lenient.encode(record.recorded(request, NOW, KNOWN)).decode()


@given(st.dictionaries(st.sampled_from(["hook", "context", "prefetch"]), _TREES))
def test_a_request_of_any_shape_can_be_kept(request: dict[str, Any]) -> None:
    assert CANARY not in lenient.encode(record.recorded(request, NOW, KNOWN)).decode()


@given(st.dates(datetime(1915, 1, 1).date(), NOW.date()))
def test_age_in_months_is_what_it_was(born: Any) -> None:
    chart = {"patient": {"resourceType": "Patient", "birthDate": born.isoformat()}}
    kept = record.recorded({"hook": "order-sign", "context": {}, "prefetch": chart}, NOW, KNOWN)
    moved = datetime.fromisoformat(kept["prefetch"]["patient"]["birthDate"]).date()
    at = datetime.fromisoformat(kept["extension"][EXTENSION][record.MOMENT]).date()
    assert moved != born
    assert record._age(moved, at) == record._age(born, NOW.date())


def test_all_dates_move_together_and_by_another_number_of_days_each_time() -> None:
    when = ["2026-11-22", "2026-11-20T08:00:00Z", "2026-11-20T08:00:00.5+01:00"]
    request = {
        "hook": "order-sign",
        "context": {},
        "prefetch": {"unheard of": {"resourceType": "Basic", "start": when}},
    }
    offsets = set()
    for _ in range(8):
        moved = record.recorded(request, NOW, KNOWN)["prefetch"]["local-1"]["start"]
        steps = {datetime.fromisoformat(a) - datetime.fromisoformat(b) for a, b in zip(moved, when, strict=True)}
        assert len(steps) == 1
        offsets |= steps
    assert len(offsets) > 1
    assert min(offsets) > timedelta(days=999)


def test_a_list_that_goes_on_elsewhere_is_not_whole_in_its_record_either() -> None:
    link = [{"relation": "next", "url": f"https://{CANARY}/2"}, {"relation": "self", "url": CANARY}]
    request = {"prefetch": {"conditions": {"resourceType": "Bundle", "link": link}}}
    (kept,) = record.recorded(request, NOW, KNOWN)["prefetch"]["conditions"]["link"]
    assert kept == {"relation": "next", "url": "https://ehr.example.org/fhir/next"}


def test_a_code_that_looks_like_a_year_stays_that_code() -> None:
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130"}
    request = {"prefetch": {"medications": {"resourceType": "MedicationRequest", "code": {"coding": [coding]}}}}
    assert record.recorded(request, NOW, KNOWN)["prefetch"]["medications"]["code"]["coding"] == [coding]


def test_the_file_is_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    record.keep({"hook": "order-sign", "context": {"patientId": CANARY}}, str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["context"] == {"patientId": "r1"}
    assert CANARY not in capsys.readouterr().out

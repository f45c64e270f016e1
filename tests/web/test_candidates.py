"""A candidate over HTTP: answers stay as they are, and the store learns what would have been another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from cds_service.candidate import Shadow
from cds_service.errors import CdsError
from cds_service.knowledge import Knowledge
from cds_service.knowledge import load as load_knowledge
from cds_service.settings import SettingError, Settings
from cds_service.store import retention
from cds_service.store.engines import url_of
from cds_service.web import at_start, metrics, tenants
from cds_service.web.app import create_app
from cds_service.web.audit import open_audit
from cds_service.web.candidates import SHADOW
from tests.hooks.client import encoded, topics
from tests.hooks.conformance import decoded
from tests.scenarios.build import NOW, hook_request
from tests.servers.local import Reply, local_server
from tests.test_candidate import BELOW, OWNED, RATE, overlay
from tests.waiting import until
from tests.web.callers import Caller, settings_of
from tests.web.recording import Recording, recording
from tests.web.test_server import JSON, started

STRICT = f"limits: [{{limit: rate-warn, value: 0.2, {OWNED}}}]"


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol takes seconds to load, and the same text gives the same policy."""

    def load(base: str, path: str, *given: Any) -> Knowledge:
        file = Path(path)
        text = file.read_text("utf-8") if file.is_file() else path
        if text not in _LOADED:
            _LOADED[text] = load_knowledge(base, path, *given)
        return _LOADED[text]

    monkeypatch.setattr(tenants, "load_knowledge", load)


_LOADED: dict[str, Knowledge] = {}


@contextmanager
def _service(knowledge: Knowledge, folder: Path, **changes: Any) -> Iterator[Recording]:
    with recording(knowledge, folder, **changes) as made:
        yield made
        _end(made)


def _end(service: Recording) -> None:
    shadow: Shadow | None = service.http.application.extensions.get(SHADOW)
    if shadow is not None:
        shadow.close()


def _compared(service: Recording) -> list[dict[str, Any]]:
    """What the store holds of candidates, once all calls are judged."""
    shadow: Shadow = service.http.application.extensions[SHADOW]
    until(lambda: not shadow.waiting)
    _end(service)
    return [each for each in service.recorded() if each["record"] == "comparison"]


def test_the_answer_is_the_live_one_and_the_store_learns_the_difference(knowledge: Knowledge, tmp_path: Path) -> None:
    with _service(knowledge, tmp_path) as plain:
        expected = plain.call(BELOW)
    with _service(knowledge, tmp_path, candidate=overlay(tmp_path, STRICT)) as service:
        answers = [service.call(BELOW) for _ in range(3)]
        (compared,) = _compared(service)
    assert [topics(each) for each in answers] == [topics(expected)] * 3
    assert RATE not in topics(expected)
    assert (compared["client"], compared["calls"], compared["orders"], compared["dropped"]) == ("anonymous", 3, 3, 0)
    assert compared["interrupting_candidate"] == compared["interrupting_live"] + 3
    assert compared["live"] != compared["candidate"]
    assert compared["differences"] == [
        {
            "rule": RATE,
            "was": "clear",
            "was_severity": None,
            "becomes": "fired",
            "severity": "warning",
            "orders": 3,
        }
    ]


def test_an_order_of_another_drug_is_not_judged_again(knowledge: Knowledge, tmp_path: Path) -> None:
    with _service(knowledge, tmp_path, candidate=overlay(tmp_path, STRICT)) as service:
        service.call({"order": {"drug": "words: Paracetamol", "push": "500 mg"}})
        assert _compared(service) == []


def test_without_a_candidate_there_is_no_thread_and_no_hook(knowledge: Knowledge, tmp_path: Path) -> None:
    with _service(knowledge, tmp_path) as service:
        service.call(BELOW)
        assert SHADOW not in service.http.application.extensions
        assert all(each["record"] != "comparison" for each in service.recorded())


def test_calls_are_counted_by_what_became_of_them(knowledge: Knowledge, tmp_path: Path) -> None:
    def judged() -> float:
        name = b'ketamine_cds_candidate_calls_total{client="anonymous",result="judged"} '
        return float(next((each[len(name) :] for each in metrics.exposed()[0].splitlines() if name in each), 0))

    before = judged()
    with _service(knowledge, tmp_path, candidate=overlay(tmp_path, STRICT)) as service:
        service.call(BELOW)
        _compared(service)
    assert judged() == before + 1


def test_comparisons_are_pruned_with_all_else(knowledge: Knowledge, tmp_path: Path) -> None:
    with _service(knowledge, tmp_path, candidate=overlay(tmp_path, STRICT)) as service:
        service.call(BELOW)
        assert len(_compared(service)) == 1
        retention.prune(url_of(service.settings.store_url or ""), service.now.replace(year=2027))
        assert service.recorded() == []


# Clients ----------------------------------------------------------------------------------------------------------


def test_each_client_has_its_own_candidate_and_one_with_another_overlay_has_none_of_the_settings(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    overlay(tmp_path, STRICT)
    (tmp_path / "own.yaml").write_text(f"site: Own\nlimits: [{{limit: rate-warn, value: 0.4, {OWNED}}}]", "utf-8")
    callers = [
        Caller(tmp_path, "a"),
        Caller(tmp_path, "b", overlay="own.yaml"),
        Caller(tmp_path, "c", overlay="own.yaml", candidate="candidate.yaml"),
        Caller(tmp_path, "d", candidate="own.yaml"),
    ]
    settings = settings_of(tmp_path, *(each.entry for each in callers), candidate=str(tmp_path / "candidate.yaml"))
    loaded = tenants.load(settings, knowledge, lambda: NOW)
    pairs = {name: tenant.policies for name, tenant in loaded.by_id.items()}
    sites = {
        name: (pair.live.knowledge.protocol.site, pair.candidate.knowledge.protocol.site)
        for name, pair in pairs.items()
        if pair is not None
    }
    assert sites == {"a": (None, "Trial"), "c": ("Own", "Trial"), "d": (None, "Own")}
    said = [line for line in at_start.lines(loaded) if line.startswith("CANDIDATE")]
    assert [line.split()[3].rstrip(":") for line in said] == ["a", "c", "d"]


def test_the_store_learns_differences_by_client(knowledge: Knowledge, tmp_path: Path) -> None:
    overlay(tmp_path, STRICT)
    a, b = Caller(tmp_path, "a", candidate="candidate.yaml"), Caller(tmp_path, "b")
    settings = settings_of(tmp_path, a.entry, b.entry)
    audit = open_audit(settings)
    http = create_app(settings, knowledge, lambda: NOW, audit).test_client()
    for caller in (a, b):
        answer = caller.sign(http, hook_request(BELOW))
        assert RATE not in topics(decoded(answer.data))
    shadow: Shadow = http.application.extensions[SHADOW]
    until(lambda: not shadow.waiting)
    shadow.close()
    audit.close()
    found = [each for each in retention.export(url_of(settings.store_url or "")) if each["record"] == "comparison"]
    assert [(each["client"], each["calls"]) for each in found] == [("a", 1)]


def test_a_candidate_without_a_store_stops_the_start(knowledge: Knowledge, tmp_path: Path) -> None:
    settings = Settings(store="off", candidate=overlay(tmp_path, STRICT))
    with pytest.raises(SettingError, match="KETAMINE_CDS_STORE is off"):
        tenants.load(settings, knowledge, lambda: NOW)


def test_a_candidate_that_cannot_be_loaded_stops_the_start(knowledge: Knowledge, tmp_path: Path) -> None:
    a = Caller(tmp_path, "a", candidate="missing.yaml")
    with pytest.raises(CdsError, match=r"missing\.yaml"):
        tenants.load(settings_of(tmp_path, a.entry), knowledge, lambda: NOW)


def test_a_call_that_needs_the_fhir_server_is_judged_on_what_was_fetched_for_its_answer(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    with local_server(Reply(b'{"resourceType": "Bundle", "type": "searchset"}')) as server:
        changes = {"candidate": overlay(tmp_path, STRICT), "fhir_servers": (server.base,)}
        with _service(knowledge, tmp_path, **changes) as service:
            asked = hook_request(BELOW) | {"prefetch": {}, "fhirServer": server.base}
            asked["fhirAuthorization"] = {"access_token": "t"}
            service.post(asked)
            received = len(server.received)
            (compared,) = _compared(service)
            assert received > 5
            assert len(server.received) == received
            assert (compared["calls"], compared["failed"]) == (1, 0)


def test_what_a_served_candidate_counted_is_in_the_store_when_the_service_has_ended(tmp_path: Path) -> None:
    with started(tmp_path, None, KETAMINE_CDS_CANDIDATE=overlay(tmp_path, STRICT)) as running:
        assert "CANDIDATE " in running.wait_for("Listening on ")
        for _ in range(3):
            url, body = f"{running.base}/cds-services/ketamine-order-sign", encoded(hook_request(BELOW))
            answer = requests.post(url, body, headers=JSON, timeout=60)
            assert answer.status_code == 200
        running.stop()
    store = f"sqlite:///{tmp_path / 'state' / 'store.sqlite'}"
    compared = [each for each in retention.export(url_of(store)) if each["record"] == "comparison"]
    assert sum(each["calls"] + each["dropped"] for each in compared) == 3
    assert all(each["failed"] == 0 for each in compared)

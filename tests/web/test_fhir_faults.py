"""A faulty FHIR server, through the whole service: dose judged, fault on a card, token at home, soon forgotten."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from cds_service.cards.model import EXTENSION
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from tests.hooks.client import Service, card, client, encoded
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import hook_request
from tests.servers.local import FOREVER, LocalServer, Received, Reply, Script, local_server
from tests.servers.ports import unused_port
from tests.waiting import until

DEADLINE_MS = 400
PLENTY_MS = 30_000
"""The deadline where a test is not about time: a busy machine then fails nothing."""
ANSWER_MS = 440
"""Other than the default, under which no test runs (conftest.py)."""
MARGIN = 0.05
"""Seconds that an answer may take beyond its deadline."""
HEALED = 15.0
"""Seconds after the end of a fault by which all is as before."""
TRIES = 5
TOKEN = "a-secret-token-of-the-ehr"
ORDER = {"rate": "1.2 mg/kg/h"}
"""Above the ceiling whatever the patient weighs."""
LATE = f"the FHIR server did not answer within {DEADLINE_MS} ms"
MEGABYTE = 1_000_000

NOTHING = b'{"resourceType":"Bundle","type":"searchset","total":0}'
PROBLEM = b'{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/p1"},"code":{"text":"asthma"}}'
FORBIDDEN = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"forbidden"}]}'
LOGIN = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def _bundle(*resources: bytes, following: str = "") -> bytes:
    entries = b",".join(b'{"resource":' + each + b"}" for each in resources)
    link = f'"link":[{{"relation":"next","url":"{following}"}}],' if following else ""
    return b'{"resourceType":"Bundle","type":"searchset",' + link.encode() + b'"entry":[' + entries + b"]}"


def _everything(reply: Reply) -> Script:
    return lambda request: reply


def _problem_list(reply: Reply) -> Script:
    """Only the search for conditions fails; all else is answered as by a server that knows nothing of the patient."""

    def script(request: Received) -> Reply:
        if "/Condition" in request.path:
            return reply
        if "?" in request.path:
            return Reply(NOTHING)
        kind, _, identifier = request.path.removeprefix("/fhir/").partition("/")
        return Reply(msgspec.json.encode({"resourceType": kind, "id": identifier}))

    return script


@dataclass(frozen=True)
class Fault:
    """How the server fails, given another host; what the card says; whether only the problem list is concerned."""

    script: Callable[[LocalServer], Script]
    says: str
    of_all: bool = False

    @property
    def why(self) -> str:
        return self.says.removeprefix("problem list: ")

    @property
    def deadline_ms(self) -> int:
        """Only a server that keeps others waiting is a matter of time."""
        return DEADLINE_MS if LATE in self.says else PLENTY_MS


def _all(reply: Reply, says: str) -> Fault:
    return Fault(lambda other: _everything(reply), says, of_all=True)


def _one(reply: Reply, says: str) -> Fault:
    return Fault(lambda other: _problem_list(reply), f"problem list: {says}")


def _paging_without_end(other: LocalServer) -> Script:
    def following(request: Received) -> Reply:
        page = int(request.path.rpartition("page=")[2]) if "page=" in request.path else 0
        return Reply(_bundle(PROBLEM, following=f"Condition?page={page + 1}"))

    def script(request: Received) -> Reply:
        return following(request) if "/Condition" in request.path else _problem_list(Reply())(request)

    return script


FAULTS = {
    "is slow": _all(Reply(NOTHING, wait=1.0), LATE),
    "never answers": _all(Reply(wait=FOREVER), LATE),
    "drips its answer": _all(Reply(NOTHING, pause=0.05), LATE),
    "is slow with one search": _one(Reply(NOTHING, wait=1.0), LATE),
    "cuts the body": _one(Reply(_bundle(PROBLEM), claims=10_000), "the FHIR server could not be reached"),
    "hangs up": _one(Reply(instead=b""), "the FHIR server could not be reached"),
    "sends a page for people": _one(
        Reply(LOGIN, headers={"Content-Type": "text/html"}), "the answer is not readable as JSON"
    ),
    "sends invalid JSON": _one(Reply(_bundle(PROBLEM)[:-1]), "the answer is not readable as JSON"),
    "sends JSON that is not FHIR": _one(Reply(b'{"error":"denied"}'), "the answer is not a FHIR resource"),
    "puts an OperationOutcome into the Bundle": _one(
        Reply(_bundle(PROBLEM, FORBIDDEN)), "the EHR answered with an error (forbidden)"
    ),
    "pages without end": Fault(_paging_without_end, "problem list: the FHIR server gave more than 20 pages"),
    "sends 50 MB": _one(Reply(_bundle(PROBLEM) + b" " * (50 * MEGABYTE)), "the FHIR server's answer is too large"),
    **{
        f"answers {status} to everything": _all(Reply(FORBIDDEN, status), f"the FHIR server answered {status}")
        for status in (401, 403, 404, 429, 500, 503)
    },
    **{
        f"redirects to another host by {status}": Fault(
            lambda other, status=status: _everything(  # type: ignore[misc]
                Reply(status=status, headers={"Location": f"{other.base}/Condition?patient=p1"})
            ),
            f"the FHIR server answered {status}",
            of_all=True,
        )
        for status in (301, 302, 303, 307, 308)
    },
    "names another host for the next page": Fault(
        lambda other: _problem_list(Reply(_bundle(PROBLEM, following=f"{other.base}/Condition?page=2"))),
        "problem list: the FHIR server's next page is not on that server",
    ),
}


@pytest.fixture(scope="module")
def other() -> Iterator[LocalServer]:
    """A host that nobody has allowed."""
    with local_server(Reply(_bundle(PROBLEM))) as server:
        yield server


def _service(knowledge: Knowledge, base: str, deadline_ms: int = PLENTY_MS, **settings: Any) -> FlaskClient:
    return client(knowledge, Settings(fhir_servers=(base,), fhir_deadline_ms=deadline_ms, **settings))


def _request(base: str) -> dict[str, Any]:
    request = hook_request({"order": ORDER})
    token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read"}
    authorization = token | {"subject": "ketamine-cds", "patient": "p1"}
    return {**request, "prefetch": {}, "fhirServer": base, "fhirAuthorization": authorization}


def _asked(http: FlaskClient, request: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """(answer, seconds)"""
    start = time.perf_counter()
    sent = http.post("/cds-services/ketamine-order-sign", data=encoded(request), content_type="application/json")
    seconds = time.perf_counter() - start
    assert sent.status_code == 200, sent.text
    assert TOKEN not in sent.text
    answer: dict[str, Any] = decoded(sent.data)
    assert faults(answer) == []
    return answer, seconds


def _could_not_check(answer: dict[str, Any]) -> str:
    detail: str = card(answer, "could-not-check")["detail"]
    return detail


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_server_is_said_and_the_token_stays_there(
    fault: str, knowledge: Knowledge, other: LocalServer
) -> None:
    described = FAULTS[fault]
    with local_server(described.script(other)) as server:
        answer, _ = _asked(_service(knowledge, server.base, described.deadline_ms), _request(server.base))
        assert server.received
        assert {asked.headers["authorization"] for asked in server.received} == {f"Bearer {TOKEN}"}
        assert not [asked.path for asked in server.received if TOKEN in asked.path]
    assert (other.received, other.connections) == ([], [])
    (said,) = [line for line in _could_not_check(answer).splitlines() if described.why in line]
    assert ("Nothing could be read from the EHR" in said) is described.of_all
    assert ("problem list" in said) is not described.of_all
    assert "allergy list" not in said
    critical = [rule for rule in _fired(answer) if rule["severity"] == "critical"]
    assert {"id": "rate-exceeds-ceiling", "severity": "critical"} in critical


def _fired(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [rule for each in answer["cards"] for rule in each["extension"][EXTENSION]["rules"]]


def test_what_the_server_has_of_another_patient_is_left_out_and_said(knowledge: Knowledge) -> None:
    theirs = PROBLEM.replace(b"Patient/p1", b"Patient/somebody-else").replace(b"asthma", b"raised ICP")
    with local_server(_problem_list(Reply(_bundle(theirs)))) as server:
        answer = _asked(_service(knowledge, server.base), _request(server.base))[0]
    with local_server(_problem_list(Reply(NOTHING))) as server:
        without = _asked(_service(knowledge, server.base), _request(server.base))[0]
    assert "1 Condition of another patient left out" in _could_not_check(answer)
    assert "somebody-else" not in str(answer)
    assert "ICP" not in str(answer)
    assert _fired(answer) == _fired(without)


def test_json_under_another_content_type_is_read(knowledge: Knowledge) -> None:
    reply = Reply(_bundle(PROBLEM), headers={"Content-Type": "text/plain"})
    with local_server(_problem_list(reply)) as server:
        answer = _asked(_service(knowledge, server.base), _request(server.base))[0]
    assert "problem list" not in _could_not_check(answer)


def test_a_server_that_is_not_allowed_hears_nothing(knowledge: Knowledge, other: LocalServer) -> None:
    with local_server(Reply(NOTHING)) as server:
        answer = _asked(_service(knowledge, server.base), _request(other.base))[0]
        assert server.received == []
    assert (other.received, other.connections) == ([], [])
    assert "not on the allowlist" in _could_not_check(answer)


def test_a_card_about_a_faulty_server_is_told_from_a_patient_without_problems(knowledge: Knowledge) -> None:
    """Silence of the server and an empty list must not read alike."""
    with (
        local_server(_problem_list(Reply(FORBIDDEN, 403))) as faulty,
        local_server(_problem_list(Reply(NOTHING))) as fine,
    ):
        both = [_asked(_service(knowledge, server.base), _request(server.base))[0] for server in (faulty, fine)]
    checked = [{each["rule"] for each in answer["extension"][EXTENSION]["notChecked"]} for answer in both]
    assert checked[1] < checked[0]
    assert Service(knowledge).failed not in str(both)


# In time, and back again --------------------------------------------------------------------------------------------


BOMB = gzip.compress(b'{"resourceType":"Bundle","x":"' + b" " * (40 * MEGABYTE) + b'"}')
STATES = {
    "says nothing": Reply(wait=FOREVER),
    "is slow": Reply(NOTHING, wait=2.0),
    "drips a header": Reply(NOTHING, head_pause=0.1),
    "drips a body": Reply(NOTHING * 9, pause=0.1),
    "hangs up": Reply(instead=b""),
    "answers 500": Reply(FORBIDDEN, 500),
    "sends a page for people": Reply(LOGIN),
    "cuts the body": Reply(_bundle(PROBLEM), claims=10_000),
    "sends 9 MB": Reply(_bundle(PROBLEM) + b" " * (9 * MEGABYTE)),
    "sends a gzip bomb": Reply(BOMB, headers={"Content-Encoding": "gzip"}),
    "sends 300,000 empty entries": Reply(_bundle(*[b"{}"] * 300_000)),
}


def _held(http: FlaskClient) -> float:
    """Threads that wait for a FHIR server, of all services of this process."""
    found = re.search(r"^ketamine_cds_fhir_threads_held(?:\{.*\})? (\S+)$", http.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("state", STATES)
def test_after_a_fault_all_is_as_before(state: str, knowledge: Knowledge) -> None:
    """More orders meet the fault than there are threads; the first after its end is answered in full."""
    fails = [True]

    def script(request: Received) -> Reply:
        return STATES[state] if fails[0] else _problem_list(Reply(NOTHING))(request)

    with local_server(script) as server:
        http = _service(knowledge, server.base, PLENTY_MS, fhir_threads=4, answer_deadline_ms=1_000)
        request, before = _request(server.base), _held(http)
        orders = [threading.Thread(target=_asked, args=(http, request)) for _ in range(3)]
        for order in orders:
            order.start()
        for order in orders:
            order.join()
        until(lambda: _held(http) == before, "threads are held beyond the answer", HEALED)
        fails[0] = False
        until(lambda: "FHIR server" not in _could_not_check(_asked(http, request)[0]), seconds=HEALED)


def test_a_server_that_was_not_there_is_asked_again_as_soon_as_it_is(knowledge: Knowledge) -> None:
    port = unused_port()
    base = f"http://127.0.0.1:{port}/fhir"
    http = _service(knowledge, base)
    assert "the FHIR server could not be reached" in _could_not_check(_asked(http, _request(base))[0])
    with local_server(_problem_list(Reply(NOTHING)), port):
        assert "FHIR server" not in _could_not_check(_asked(http, _request(base))[0])


def test_an_order_is_answered_at_its_deadline_with_its_dose_judged_whatever_the_server_does(
    knowledge: Knowledge,
) -> None:
    """The answer's own deadline ends the searches where theirs is longer."""
    with local_server(Reply(wait=FOREVER)) as server:
        http = _service(knowledge, server.base, PLENTY_MS, answer_deadline_ms=2_000)
        answer, _ = _asked(http, _request(server.base))
    assert "the FHIR server did not answer in time" in _could_not_check(answer)
    assert {"id": "rate-exceeds-ceiling", "severity": "critical"} in _fired(answer)


@pytest.mark.timing
@pytest.mark.parametrize("state", STATES)
def test_an_order_takes_no_longer_than_the_deadline_whatever_the_server_does(
    state: str, knowledge: Knowledge
) -> None:
    """The quickest of a few: a busy machine may be late, the service may not."""
    with local_server(STATES[state]) as server:
        http = _service(knowledge, server.base, DEADLINE_MS, answer_deadline_ms=ANSWER_MS)
        # A served application is warmed up too, before it listens.
        _asked(http, {**_request(server.base), "fhirServer": None})
        quickest = min(_asked(http, _request(server.base))[1] for _ in range(TRIES))
    assert quickest < ANSWER_MS / 1000 + MARGIN


@pytest.mark.parametrize("drafts", [25, 26, 2000])
def test_drafts_by_reference_send_a_bounded_number_of_requests_and_the_rest_is_said_once(
    drafts: int, knowledge: Knowledge
) -> None:
    def script(request: Received) -> Reply:
        kind, _, identifier = request.path.removeprefix("/fhir/").partition("/")
        if kind != "Medication":
            return _problem_list(Reply(NOTHING))(request)
        return Reply(msgspec.json.encode({"resourceType": kind, "id": identifier, "code": {"text": "paracetamol"}}))

    with local_server(script) as server:
        request = _request(server.base)
        (entry,) = request["context"]["draftOrders"]["entry"]
        del entry["resource"]["medicationCodeableConcept"]
        named = [{"id": f"o{i}", "medicationReference": {"reference": f"Medication/{i}"}} for i in range(drafts)]
        request["context"]["draftOrders"]["entry"] = [{"resource": entry["resource"] | each} for each in named]
        answer, _ = _asked(_service(knowledge, server.base), request)
    asked = [received.path for received in server.received if "/Medication/" in received.path]
    assert len(asked) == 25
    assert len(server.received) < 50
    unread = "a draft order's medication is only referenced and could not be read"
    if drafts == 25:
        assert answer == {"cards": []}
    else:
        assert _could_not_check(answer).count(unread) == 1

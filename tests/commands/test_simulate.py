"""The commands keys and simulate towards the real service with tokens, store and sandbox; and towards another."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from cds_service import cli
from cds_service.sandbox import PATH, charts, orders
from cds_service.sandbox.caller import Web
from cds_service.sandbox.records import FhirServer
from cds_service.store import engines, retention
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.servers.ports import unused_port
from tests.store import test_served
from tests.store.test_served import served

ISSUER = "https://ehr.example.org"
ABOVE = "0.6 mg/kg/h IV for 24 h for pain"


@dataclass
class Running:
    """The service, and how its client signs."""

    base: str
    folder: Path

    @property
    def signed(self) -> list[str]:
        return ["--service", self.base, "--key", str(self.folder / "private-key.json"), "--issuer", ISSUER]

    @property
    def feedback(self) -> list[dict[str, Any]]:
        url = engines.url_of(f"sqlite:///{self.folder}/store.sqlite")
        return [each for each in retention.export(url) if each["record"] == "feedback"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With authentication: whoever signs with the keys that `keys new` made is let in."""
    folder = tmp_path_factory.mktemp("simulated")
    assert cli.main(["keys", "new", "--into", str(folder)]) == 0
    clients = {"clients": [{"id": "simulated", "issuers": [ISSUER], "jwks_file": "jwks.json"}]}
    (folder / "clients.yaml").write_text(json.dumps(clients))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_served, "PATIENCE", 300)
        patch.setattr(test_served, "_await", _await)
        with served(
            f"sqlite:///{folder}/store.sqlite",
            folder,
            KETAMINE_CDS_SANDBOX="loopback",
            KETAMINE_CDS_AUTH="required",
            KETAMINE_CDS_CLIENTS=str(folder / "clients.yaml"),
            KETAMINE_CDS_FHIR_DEADLINE_MS="20000",
            KETAMINE_CDS_ANSWER_DEADLINE_MS="0",
        ) as (_, base):
            yield Running(base, folder)


def _await(process: Any, base: str) -> None:
    """Until it answers; discovery would ask for a token."""
    for _ in range(3_000):
        assert process.poll() is None, "the service ended"
        try:
            if requests.get(f"{base}/healthz", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """(status, output, errors) of a command."""
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(list(arguments))
        said = capsys.readouterr()
        return status, said.out, said.err

    return run_command


# keys ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_keys_are_for_their_owner_and_never_overwritten(algorithm: str, run: Any, tmp_path: Path) -> None:
    status, said, _ = run("keys", "new", "--into", str(tmp_path / "new"), "--algorithm", algorithm)
    assert status == 0
    assert "jwks_file" in said
    files = {each.name: each for each in (tmp_path / "new").iterdir()}
    assert {stat.S_IMODE(each.stat().st_mode) for each in files.values()} == {0o600}
    (public,) = json.loads(files["jwks.json"].read_text())["keys"]
    private = json.loads(files["private-key.json"].read_text())
    assert not set(public) & {"d", "p", "q", "dp", "dq", "qi"}
    assert "d" in private
    assert (public["alg"], public["use"], public["kid"]) == (algorithm, "sig", private["kid"])
    before = files["private-key.json"].read_bytes()
    assert run("keys", "new", "--into", str(tmp_path / "new"))[0] == 3
    assert files["private-key.json"].read_bytes() == before
    assert private["d"] not in said


# simulate towards this service --------------------------------------------------------------------------------------


def test_an_order_above_the_limit_gets_its_card(running: Running, run: Any) -> None:
    status, said, _ = run("simulate", "--patient", "standard", "--order", ABOVE, *running.signed)
    assert status == 1
    assert said.startswith("WARNING   Rate 0.6 mg/kg/h is above the protocol maximum 0.5")
    assert "\n--accept 1: Change to 0.5 mg/kg/h" in said


def test_prefetch_and_fallback_give_the_same_cards(running: Running, run: Any) -> None:
    asked = ("simulate", "--patient", "liver-failure", "--order", ABOVE, *running.signed)
    with_prefetch, without = run(*asked), run(*asked, "--no-prefetch")
    assert with_prefetch == without
    assert with_prefetch[0] == 2


def test_an_accepted_change_is_written_judged_again_and_told(running: Running, run: Any) -> None:
    before = len(running.feedback)
    asked = ("simulate", "--patient", "standard", "--order", ABOVE, "--accept", "1", "--put", *running.signed)
    status, said, _ = run(*asked)
    assert status == 0
    assert "No cards" in said.partition("Called again")[2]
    written = said.partition("written to ")[2].partition(": 201")[0]
    order = requests.get(written, timeout=60).json()
    assert order["dosageInstruction"][0]["doseAndRate"][0]["rateQuantity"]["value"] == 0.5
    told = running.feedback[before:]
    assert [each["outcome"] for each in told] == ["accepted"]


def test_an_override_is_told_with_its_reason(running: Running, run: Any) -> None:
    before = len(running.feedback)
    asked = ("simulate", "--patient", "pregnant", "--order", ABOVE, *running.signed)
    status, said, _ = run(*asked, "--override", "1", "--reason", "specialist-advised")
    assert (status, "feedback: taken" in said) == (2, True)
    (told,) = running.feedback[before:]
    assert told["outcome"] == "overridden"
    assert "specialist-advised" in str(told)
    _, _, refused = run(*asked, "--override", "1", "--reason", "because")
    assert "--reason because: that card offers" in refused


def test_a_chart_is_opened_and_the_running_order_changed(running: Running, run: Any) -> None:
    status, said, _ = run(
        "simulate",
        "--patient",
        "running-infusion",
        "--hook",
        "patient-view",
        "--accept",
        "1",
        "--put",
        *running.signed,
    )
    assert status in (1, 2)
    assert "written to " in said
    assert "MedicationRequest/running-infusion-order: 200" in said


def test_a_record_is_judged_again_with_the_same_cards(running: Running, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    asked = (
        "simulate",
        "--patient",
        "uncontrolled-pressure",
        "--order",
        ABOVE,
        "--record",
        str(file),
        *running.signed,
    )
    status, said, _ = run(*asked)
    again, checked, _ = run("check", str(file))
    summaries = [line for line in said.split("\n") if line.startswith(("CRITICAL", "WARNING", "info"))]
    assert (again, [line for line in checked.split("\n") if line in summaries]) == (status, summaries)
    kept = file.read_text()
    for private in ("Oyelaran", "uncontrolled-pressure", running.base):
        assert private not in kept


def test_orders_come_from_files_too(running: Running, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    draft = orders.read(ABOVE, "somebody-else", "x")
    for content in (draft, {"resourceType": "Bundle", "entry": [{"resource": draft}]}):
        file.write_bytes(json.dumps(content, default=float).encode())
        assert run("simulate", str(file), "--patient", "standard", *running.signed)[0] == 1


def test_without_a_token_or_with_another_key_the_service_says_why(running: Running, run: Any, tmp_path: Path) -> None:
    asked = ("simulate", "--patient", "standard", "--order", ABOVE, "--service", running.base)
    status, _, said = run(*asked)
    assert (status, "answered 401: the call must carry a token" in said) == (3, True)
    run("keys", "new", "--into", str(tmp_path / "other"))
    other = ["--key", str(tmp_path / "other" / "private-key.json"), "--issuer", ISSUER]
    status, _, said = run(*asked, *other)
    assert (status, "no key of that kid" in said) == (3, True)


def test_without_a_patient_those_of_the_sandbox_are_listed(running: Running, run: Any) -> None:
    for patient in ([], ["--patient", "nobody"]):
        status, _, said = run("simulate", "--order", ABOVE, *patient, *running.signed)
        assert status == 3
        assert all(each.id in said for each in charts.patients())
        assert "simulate alone says why" in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--order", "a lot"], "names no amount"),
        (["--order", "0.6 mg/kg/h by mouth"], "'by mouth' is not understood"),
        ([], "an order is needed"),
        (["--order", ABOVE, "--put"], "--put writes what --accept changes"),
        (["--order", ABOVE, "--accept", "1", "--override", "1"], "one at a time"),
        (["--order", ABOVE, "--accept", "99"], "the cards have"),
        (["--order", ABOVE, "--id", "nothing"], "no service for order-sign"),
        (["/no/such/file"], "/no/such/file: cannot be read: No such file or directory"),
        (["--order", ABOVE, "--reason", "emergency"], "it goes with --override"),
        (["--order", ABOVE, "--fhir", "nothing"], "--fhir is 'nothing'; expected is an http or https URL"),
        (["--order", ABOVE, "--fhir-token-file", "/nowhere"], "/nowhere: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(given: list[str], says: str, running: Running, run: Any) -> None:
    status, _, said = run("simulate", *given, "--patient", "standard", *running.signed)
    assert status == 3
    assert says in said


def test_a_service_that_is_not_there_is_said(run: Any) -> None:
    status, _, said = run("simulate", "--service", f"http://127.0.0.1:{unused_port()}", "--patient", "x")
    assert (status, "could not be reached" in said) == (3, True)


# simulate towards other services and servers ------------------------------------------------------------------------


def _json(content: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status)


def test_the_cards_of_another_service_are_shown_with_what_they_have(run: Any) -> None:
    """A card needs no uuid, and a topic of another service may lack what ours has."""
    asked: list[dict[str, Any]] = []

    def script(request: Received) -> Reply:
        if request.path == "/other/cds-services":
            return _json(
                {
                    "services": [
                        {"id": "greeter", "hook": "order-sign", "prefetch": {"p": "Patient/{{context.patientId}}"}}
                    ]
                }
            )
        if request.path == "/other/cds-services/greeter":
            asked.append(json.loads(request.body))
            source = {"label": "another", "topic": {"code": "x"}}
            return _json({"cards": [{"summary": "Hello", "indicator": "info", "source": source}]})
        if request.path.startswith("/ehr/Patient/"):
            return _json({"resourceType": "Patient", "id": "p1"})
        return _json({"resourceType": "Bundle", "type": "searchset"})

    with local_server(script) as server:
        base = f"http://127.0.0.1:{server.port}"
        status, said, _ = run(
            "simulate", "--service", f"{base}/other", "--fhir", f"{base}/ehr", "--patient", "p1", "--order", ABOVE
        )
    assert (status, "Hello" in said) == (1, True)
    assert asked[0]["prefetch"] == {"p": {"resourceType": "Patient", "id": "p1"}}


def _pages(server: LocalServer, request: Received) -> Reply:
    number = int(request.path.partition("page=")[2] or 1)
    following = [{"relation": "next", "url": f"{server.base}/Observation?page={number + 1}"}] if number < 3 else []
    entry = [{"resource": {"resourceType": "Observation", "id": f"o{number}"}}]
    return _json({"resourceType": "Bundle", "type": "searchset", "link": following, "entry": entry})


def test_prefetch_holds_all_pages_and_what_the_server_refused() -> None:
    def script(request: Received) -> Reply:
        assert request.headers["authorization"] == "Bearer secret"
        if "Observation" in request.path:
            return _pages(server, request)
        issue = [{"severity": "error", "code": "forbidden", "diagnostics": "no scope"}]
        return _json({"resourceType": "OperationOutcome", "issue": issue}, 403)

    templates = {
        "o": "Observation?patient={{context.patientId}}",
        "c": "Condition?patient={{context.patientId}}",
        "e": "Encounter/{{context.encounterId}}",
        "u": "Practitioner/{{userPractitionerId}}",
    }
    with local_server(script) as server:
        found, left_out = FhirServer(server.base, Web(), "secret").prefetch(
            templates, {"patientId": "a/b?c", "userId": "Practitioner/7"}
        )
        paths = [each.path for each in server.received]
    assert [entry["resource"]["id"] for entry in found["o"]["entry"]] == ["o1", "o2", "o3"]
    assert found["o"]["link"] == []
    assert found["c"]["resourceType"] == "OperationOutcome"
    assert paths[0] == "/fhir/Observation?patient=a%2Fb%3Fc"
    assert "/fhir/Practitioner/7" in paths
    assert "e: the context has no context.encounterId" in left_out
    assert any(line.startswith("c: the FHIR server answered 403: no scope") for line in left_out)


def test_a_page_that_lies_on_another_server_is_not_followed() -> None:
    def script(request: Received) -> Reply:
        link = [{"relation": "next", "url": "http://169.254.169.254/latest"}]
        return _json({"resourceType": "Bundle", "type": "searchset", "link": link})

    with local_server(script) as server:
        found, _ = FhirServer(server.base, Web(), "secret").prefetch({"o": "Observation?x=1"}, {})
        assert len(server.received) == 1
    assert found["o"]["link"], "that there is more is still said"


def test_the_path_of_the_sandbox_is_below_the_service() -> None:
    assert PATH.startswith("/")

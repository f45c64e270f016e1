"""The command doctor: what is well, what is not, what to change; and never a secret or a patient."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from cds_service import cli
from cds_service.commands import doctor, publish
from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from cds_service.sandbox.server import NotServed, Server
from cds_service.sandbox.written import Written
from tests.hooks.tokens import Signer, jwks
from tests.scenarios.build import NOW
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.servers.ports import unused_port

CANARY = "c4n4ry-secret"


@contextmanager
def _fhir_server(change: Callable[[str], Reply | None] = lambda path: None) -> Iterator[LocalServer]:
    """The sandbox's server behind real HTTP, but for what `change` answers in its place."""

    def script(request: Received) -> Reply:
        path = request.path.removeprefix("/fhir/")
        if (other := change(path)) is not None:
            return other
        sandbox = Server(server.base, lambda: NOW, Written())
        kind, _, query = path.partition("?")
        try:
            if path == "metadata":
                return Reply(lenient.encode(sandbox.capabilities()))
            if "/" in kind:
                return Reply(lenient.encode(sandbox.read(*kind.split("/", 1))))
            return Reply(lenient.encode(sandbox.search(kind, parse_qsl(query))))
        except NotServed as error:
            return Reply(b"{}", error.status)

    with local_server(script) as server:
        yield server


@pytest.fixture
def examined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, knowledge: Knowledge
) -> Any:
    """(status, findings) of doctor with these settings."""
    for name in [name for name in os.environ if name.startswith("KETAMINE_CDS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(doctor, "load_knowledge", lambda *given: knowledge)
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KETAMINE_CDS_FHIR_DEADLINE_MS", "20000")

    def run(*arguments: str, **settings: str) -> tuple[int, list[dict[str, str]]]:
        for name, value in settings.items():
            monkeypatch.setenv(f"KETAMINE_CDS_{name}", value)
        status = cli.main(["doctor", "--json", *arguments])
        said = json.loads(capsys.readouterr().out)
        assert said["counted"]["wrong"] == sum(each["verdict"] == "wrong" for each in said["findings"])
        return status, said["findings"]

    return run


def _about(found: list[dict[str, str]], what: str) -> list[dict[str, str]]:
    return [each for each in found if each["what"].startswith(what)]


def _one(found: list[dict[str, str]], what: str) -> dict[str, str]:
    (only,) = _about(found, what)
    return only


def _clients(folder: Path, signer: Signer | None = None, **entry: Any) -> str:
    (folder / "jwks.json").write_bytes(jwks(signer or Signer()))
    made = {"id": "hospital", "issuers": ["https://ehr.example.org"], "jwks_file": "jwks.json"} | entry
    (folder / "clients.yaml").write_text(json.dumps({"clients": [made]}))
    return str(folder / "clients.yaml")


# Well ---------------------------------------------------------------------------------------------------------------


def test_a_client_that_is_connected_well_has_nothing_wrong(examined: Any, tmp_path: Path) -> None:
    with _fhir_server() as server:
        clients = _clients(tmp_path, fhir_servers=[server.base])
        status, found = examined("--client", "hospital", "--patient", "standard", AUTH="required", CLIENTS=clients)
    assert status == 1, "an overlay and a key for the store are still missing"
    assert [each for each in found if each["verdict"] == "wrong"] == []
    assert _one(found, "keys")["says"].endswith("1 keys for ES384")
    assert _one(found, "FHIR server")["says"] == "reached; FHIR 4.0.1"
    assert _one(found, "CapabilityStatement")["verdict"] == "ok"
    searches = _about(found, "search ")
    assert len(searches) == 14
    assert all(each["client"] == "hospital" and " ms of 20000 ms" in each["says"] for each in searches)
    assert _one(found, "all searches at once")["verdict"] == "ok"
    assert _one(found, "medication references")["verdict"] == "ok"


def test_without_a_patient_nobodys_chart_is_read(examined: Any) -> None:
    with _fhir_server() as server:
        _, found = examined(FHIR_SERVERS=server.base)
        asked = {each.path for each in server.received}
    assert not any("standard" in path for path in asked)
    assert [each for each in found if each["verdict"] == "wrong"] == []
    assert "nobody's chart" in _one(found, "all searches at once")["says"]


def test_a_setting_is_shown_with_where_it_comes_from(examined: Any) -> None:
    _, found = examined(PORT="9999")
    assert "KETAMINE_CDS_PORT = 9999 (environment)" in [each["says"] for each in _about(found, "setting")]


def test_libraries_of_which_the_folder_has_no_elm_are_counted(
    examined: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = examined(ELM=str(tmp_path))
    finding = _one(found, "ELM")
    assert finding["verdict"] == "warning"
    assert re.fullmatch(r"of 0 of \d\d CQL libraries of ketamine; the others .*", finding["says"])
    assert finding["change"] == "make elm writes the folder KETAMINE_CDS_ELM anew"
    assert publish.run(tmp_path, None, None, lambda libraries: {each.name: b"{}" for each in libraries}) == 0
    capsys.readouterr()
    _, found = examined(ELM=str(tmp_path))
    assert (_one(found, "ELM")["verdict"], _one(found, "ELM")["says"][:7]) == ("ok", "of all ")


def test_the_exit_status_is_the_worst_finding_in_words_too(examined: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "warning   overlay: none" in said
    assert said.rstrip().split("\n")[-1].endswith("0 wrong")


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (
            "{host}/auth",
            "people sign in at {host}/auth; the redirect URI is http://127.0.0.1:8001/smart/hospital/callback",
        ),
        ("https://elsewhere.example/auth", "authorization_endpoint of the authorization server is not at one of"),
    ],
)
def test_it_tells_where_people_sign_in_for_the_app_or_why_they_cannot(
    authorization: str, says: str, examined: Any, tmp_path: Path
) -> None:
    def change(path: str) -> Reply | None:
        at = {"authorization_endpoint": authorization.format(host=host), "token_endpoint": f"{host}/token"}
        return Reply(json.dumps(at).encode()) if path == ".well-known/smart-configuration" else None

    with _fhir_server(change) as server:
        host = f"http://127.0.0.1:{server.port}"
        clients = _clients(tmp_path, fhir_servers=[server.base], smart={"client_id": "gauge"})
        _, found = examined("--client", "hospital", AUTH="required", CLIENTS=clients)
    app = _one(found, "SMART app")
    assert says.format(host=host) in app["says"]
    assert app["verdict"] == ("ok" if "{host}" in authorization else "wrong")


# Wrong --------------------------------------------------------------------------------------------------------------


def _status(status: int) -> Callable[[str], Reply | None]:
    return lambda path: Reply(b"{}", status) if path.startswith("Condition") else None


@pytest.mark.parametrize("status", [401, 403])
def test_a_search_that_is_refused_names_the_scope(status: int, examined: Any) -> None:
    with _fhir_server(_status(status)) as server:
        ended, found = examined(FHIR_SERVERS=server.base)
    assert ended == 2
    assert _one(found, "search conditions")["change"].startswith("grant patient/Condition.read")


def test_a_slow_search_is_measured_against_the_deadline(examined: Any) -> None:
    slow = Reply(b'{"resourceType":"Bundle","type":"searchset"}', wait=0.4)
    with _fhir_server(lambda path: slow if path.startswith("Procedure") else None) as server:
        ended, found = examined(FHIR_SERVERS=server.base, FHIR_DEADLINE_MS="300")
    assert ended == 1
    assert _one(found, "search procedures")["verdict"] == "warning"
    assert _one(found, "all searches at once")["verdict"] == "warning"


def test_bare_references_are_counted(examined: Any) -> None:
    def medicine(number: int, **medication: Any) -> dict[str, Any]:
        return {
            "resource": {"resourceType": "MedicationRequest", "id": f"m{number}", "status": "active", **medication}
        }

    bare = [medicine(n, medicationReference={"reference": f"Medication/{n}"}) for n in range(3)]
    entry = [*bare, medicine(9, medicationCodeableConcept={"text": "x"})]
    page = Reply(json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entry}).encode())
    with _fhir_server(lambda path: page if path.startswith("MedicationRequest") else None) as server:
        _, found = examined(FHIR_SERVERS=server.base)
    assert _one(found, "medication references")["says"].startswith("3 of 4 medicines")


def test_what_a_statement_does_not_list_is_a_warning(examined: Any) -> None:
    resource = [{"type": "Patient"}, {"type": "Observation", "searchParam": [{"name": "patient"}]}]
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"resource": resource}]}
    reply = Reply(json.dumps(statement).encode())
    with _fhir_server(lambda path: reply if path == "metadata" else None) as server:
        _, found = examined(FHIR_SERVERS=server.base)
    says = [each["says"] for each in _about(found, "CapabilityStatement")]
    assert "lists no search of Observation by code" in says
    assert "does not list Condition" in says


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(b"<html>", 200), "no JSON"),
        (Reply(b"{}", 404), "no R4 statement"),
        (Reply(b"[]", 200), "no R4 statement"),
        (Reply(b'{"fhirVersion":"3.0.2"}', 200), "no R4 statement"),
        (Reply(instead=b"nothing like HTTP\r\n\r\n"), "cannot be reached"),
    ],
)
def test_a_server_that_is_no_fhir_server_is_wrong(reply: Reply, says: str, examined: Any) -> None:
    with local_server(reply) as server:
        status, found = examined(FHIR_SERVERS=server.base)
    assert status == 2
    assert says in _one(found, "FHIR server")["says"]
    assert _about(found, "search ") == []


def test_a_server_that_is_not_there_is_wrong(examined: Any) -> None:
    status, found = examined(FHIR_SERVERS=f"http://127.0.0.1:{unused_port()}/fhir")
    assert (status, "cannot be reached" in _one(found, "FHIR server")["says"]) == (2, True)


def test_a_clock_that_is_far_away_is_a_warning(examined: Any) -> None:
    headers = {"Content-Type": "application/fhir+json", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}
    with local_server(Reply(b'{"fhirVersion":"4.0.1"}', headers=headers)) as server:
        _, found = examined(FHIR_SERVERS=server.base)
    assert [each["verdict"] for each in _about(found, "clock")][-1] == "warning"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"jwks_file": "nowhere.json"}, "cannot be read"),
        ({"algorithms": ["RS384"]}, "no key with a kid for RS384"),
        (
            {"jku": [f"http://127.0.0.1:{unused_port()}/jwks"], "key_network": "loopback", "jwks_file": None},
            "could not be reached",
        ),
    ],
)
def test_keys_that_cannot_verify_are_wrong(entry: dict[str, Any], says: str, examined: Any, tmp_path: Path) -> None:
    status, found = examined(AUTH="required", CLIENTS=_clients(tmp_path, **entry))
    assert (status, says in _one(found, "keys")["says"]) == (2, True)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"PROT": "1"}, "settings"),
        ({"PORT": "x"}, "settings"),
        ({"HOST": "0.0.0.0"}, "authentication"),
        ({"PUBLIC_URL": "http://cds.example.org", "AUTH": "off"}, "public URL"),
        ({"AUTH": "required"}, "clients"),
        ({"TLS_CERTIFICATE": __file__}, "TLS files"),
        ({"STORE_KEY_FILE": __file__}, "store key"),
        ({"STATE_DIR": f"{__file__}/folder"}, "state folder"),
        ({"STORE": f"postgresql://user:{CANARY}@127.0.0.1:1/nowhere"}, "store"),
    ],
)
def test_what_would_keep_it_from_working_is_wrong(settings: dict[str, str], what: str, examined: Any) -> None:
    status, found = examined(**settings)
    assert status == 2
    assert "wrong" in [each["verdict"] for each in found if each["what"] == what]
    assert CANARY not in str(found)


def test_a_client_that_does_not_exist_is_wrong(examined: Any, tmp_path: Path) -> None:
    status, found = examined("--client", "hospitol", AUTH="required", CLIENTS=_clients(tmp_path))
    assert (status, "hospital" in _one(found, "clients")["change"]) == (2, True)


# Secrets and patients -----------------------------------------------------------------------------------------------


def _token(scope: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"scope": scope, "sub": CANARY}).encode()).decode().rstrip("=")
    return f"e30.{claims}.{CANARY}"


@pytest.mark.parametrize(
    ("scope", "verdict"),
    [
        ("patient/*.read", "ok"),
        ("system/*.rs", "ok"),
        ("user/*.cruds openid", "ok"),
        ("patient/Observation.read patient/Patient.read", "warning"),
        ("patient/*.write", "warning"),
        ("patient/*.r", "warning"),
    ],
)
def test_scopes_of_a_token_are_compared_and_the_token_never_shown(
    scope: str, verdict: str, examined: Any, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(_token(scope))
    with _fhir_server() as server:
        _, found = examined("--fhir-token-file", str(file), "--patient", "pregnant", FHIR_SERVERS=server.base)
        assert all(each.headers["authorization"] == f"Bearer {_token(scope)}" for each in server.received[1:])
    assert _one(found, "scopes")["verdict"] == verdict
    for private in (CANARY, "Nakagawa", "77386006", "pregnant"):
        assert private not in str(found)

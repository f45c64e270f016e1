"""A launch, step by step, with an EHR that answers as a test says: confidential clients, old scopes, odd tokens."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.store.keys import UnusableKey
from tests.servers.local import LocalServer, Received, Reply, local_server

CONSOLE = "https://console.example.org"
SECRET = "the secret of a confidential client"
TOKEN: dict[str, Any] = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "patient": "p1"}


@contextmanager
def _ehr(token: Reply | Mapping[str, Any] = TOKEN, **configuration: Any) -> Iterator[LocalServer]:
    """A FHIR server with nothing in it, and its authorization server."""

    def answer(request: Received) -> Reply:
        host = f"http://127.0.0.1:{server.port}"
        if request.path == "/token":
            return token if isinstance(token, Reply) else Reply(json.dumps(token).encode())
        if request.path.endswith("/smart-configuration"):
            at = {"authorization_endpoint": f"{host}/auth", "token_endpoint": f"{host}/token", **configuration}
            return Reply(json.dumps(at).encode())
        return Reply(b'{"resourceType": "Bundle", "type": "searchset"}')

    with local_server(answer) as server:
        yield server


def _console(knowledge: Knowledge, folder: Path, server: LocalServer, **smart: Any) -> FlaskClient:
    file = folder / "clients.yaml"
    entry = {"id": "ehr", "fhir_servers": [server.base], "smart": {"client_id": "gauge", **smart}}
    file.write_text(yaml.safe_dump({"clients": [entry]}))
    key = folder / "console-secret"
    key.write_text("a secret of this site, long enough for a key")
    key.chmod(0o600)
    given = {"console": "on", "console_secret_file": str(key), "console_public_url": CONSOLE}
    settings = Settings(store="off", auth="off", clients=str(file), **given)  # type: ignore[arg-type]
    return create_console(settings, knowledge).test_client()


def _launched(http: FlaskClient, server: LocalServer) -> tuple[dict[str, str], TestResponse]:
    """(what the EHR is asked, the answer to the browser that comes back with a code)."""
    sent = http.get(f"/smart/ehr/launch?iss={server.base}&launch=x", base_url="https://localhost")
    assert sent.status_code == 303, sent.text
    asked = {name: value for name, (value,) in parse_qs(urlsplit(sent.headers["Location"]).query).items()}
    back = f"/smart/ehr/callback?code=the-code&state={asked['state']}"
    return asked, http.get(back, base_url="https://localhost")


def test_a_confidential_client_shows_its_secret_and_the_verifier_of_its_challenge(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    with _ehr() as server:
        asked, answer = _launched(_console(knowledge, tmp_path, server, secret_file="secret"), server)
        (posted,) = [each for each in server.received if each.path == "/token"]
    assert answer.status_code == 303
    assert asked["redirect_uri"] == f"{CONSOLE}/smart/ehr/callback"
    sent = {name: value for name, (value,) in parse_qs(posted.body.decode()).items()}
    assert posted.headers["authorization"] == "Basic " + base64.b64encode(f"gauge:{SECRET}".encode()).decode()
    assert (sent["grant_type"], sent["code"], sent["redirect_uri"]) == (
        "authorization_code",
        "the-code",
        asked["redirect_uri"],
    )
    digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]


def test_a_secret_that_others_can_read_stops_the_console(knowledge: Knowledge, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o644)
    with _ehr() as server, pytest.raises(UnusableKey, match="others than its owner can read it"):
        _console(knowledge, tmp_path, server, secret_file="secret")


@pytest.mark.parametrize(
    ("capabilities", "ends"), [(["permission-v2"], ".rs"), (["permission-v1"], ".read"), (None, ".read")]
)
def test_scopes_are_written_as_the_server_knows_them(
    knowledge: Knowledge, tmp_path: Path, capabilities: list[str] | None, ends: str
) -> None:
    with _ehr(capabilities=capabilities) as server:
        asked, _ = _launched(_console(knowledge, tmp_path, server), server)
    context, *scopes = asked["scope"].split()
    assert context == "launch"
    assert scopes
    assert all(scope.startswith("patient/") and scope.endswith(ends) for scope in scopes)


def test_over_https_its_cookies_go_over_nothing_else(knowledge: Knowledge, tmp_path: Path) -> None:
    with _ehr() as server:
        http = _console(knowledge, tmp_path, server)
        begun = http.get("/smart/ehr/launch", base_url="https://localhost")
        _, answer = _launched(http, server)
    for each in (begun, answer):
        cookie = each.headers["Set-Cookie"]
        assert cookie.startswith("__Secure-ketamine-")
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
        assert "frame-ancestors 'none'" in each.headers["Content-Security-Policy"]
        assert each.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "changed",
    [
        {"expires_in": None},
        {"expires_in": -1},
        {"expires_in": "300"},
        {"expires_in": 10**12},
        {"token_type": "bearer"},
        {"patient": "Patient/p1"},
        {"encounter": ["x"]},
        {"scope": "patient/Patient.read"},
        {"need_patient_banner": "x"},
    ],
)
def test_a_token_is_used_whatever_else_stands_beside_it(
    knowledge: Knowledge, tmp_path: Path, changed: dict[str, Any]
) -> None:
    with _ehr({**TOKEN, **changed}) as server:
        http = _console(knowledge, tmp_path, server)
        _, answer = _launched(http, server)
        assert answer.status_code == 303
        assert http.get(answer.headers["Location"], base_url="https://localhost").status_code == 200
        lasts = int(answer.headers["Set-Cookie"].split("Max-Age=")[1].split(";")[0])
    assert 0 < lasts <= 8 * 3600
    read = {each.headers["authorization"] for each in server.received if "Patient" in each.path}
    assert read == {"Bearer t"}


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ({**TOKEN, "patient": None}, "the EHR named no patient"),
        ({**TOKEN, "patient": ["p1"]}, "the EHR named no patient"),
        ({**TOKEN, "patient": "p1/../p2"}, "the EHR named no patient"),
        ({**TOKEN, "patient": "p1?_include=x"}, "the EHR named no patient"),
        ({**TOKEN, "token_type": "mac"}, "a token of another kind"),
        ({**TOKEN, "token_type": None}, "a token of another kind"),
        ({**TOKEN, "access_token": None}, "a token of another kind"),
        ({**TOKEN, "access_token": {"a": 1}}, "a token of another kind"),
        ({**TOKEN, "access_token": "t" * 20_000}, "too long to be sent"),
        ({"error": "invalid_grant", "error_description": "CANARY"}, "gave no token for the code"),
        (Reply(b'["CANARY"]'), "gave no token for the code"),
        (Reply(b"<html>CANARY", 500), "gave no token for the code"),
        (Reply(b'{"access_token": "t"', 200), "gave no token for the code"),
        (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), "gave no token for the code"),
        (Reply(b"\xff\xfe", 401), "gave no token for the code"),
        (Reply(b"[" * 100_000), "gave no token for the code"),
        (Reply(b"x" * 300_000), "gave no token for the code"),
        (Reply(instead=b"CANARY"), "gave no token for the code"),
    ],
)
def test_an_answer_that_is_no_token_for_a_patient_opens_nothing_and_is_not_repeated(
    knowledge: Knowledge,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    token: Reply | dict[str, Any],
    says: str,
) -> None:
    with _ehr(token) as server:
        _, answer = _launched(_console(knowledge, tmp_path, server), server)
    assert answer.status_code == 403
    assert says in answer.text
    assert "CANARY" not in answer.text + caplog.text
    assert "a launch of the SMART app of client ehr was refused: the " in caplog.text


def test_a_refusal_is_in_the_language_of_the_browser_and_in_english_in_the_log(
    knowledge: Knowledge, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _ehr() as server:
        http = _console(knowledge, tmp_path, server)
        asked = {"base_url": "https://localhost", "headers": {"Accept-Language": "de"}}
        answer = http.get("/smart/ehr/launch?iss=https://other.example", **asked)
        closed = http.get("/smart/ehr/patient/x", **asked)
    assert '<html lang="de">' in answer.text
    assert (
        "Die App wurde nicht geöffnet: der Aufruf nennt einen FHIR-Server, der nicht zu diesem Client" in answer.text
    )
    assert "was refused: the launch names a FHIR server that is not one of this client" in caplog.text
    assert "Bitte die App aus der Akte heraus neu öffnen." in closed.text


@pytest.mark.parametrize(
    "configuration",
    [
        {"authorization_endpoint": "https://elsewhere.example/auth"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"token_endpoint": 3},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_configuration_that_leads_elsewhere_sends_nobody_there(
    knowledge: Knowledge, tmp_path: Path, configuration: dict[str, Any]
) -> None:
    with _ehr(**configuration) as server:
        answer = _console(knowledge, tmp_path, server).get("/smart/ehr/launch", base_url="https://localhost")
    assert answer.status_code == 403
    assert "Location" not in answer.headers


def test_an_origin_that_the_entry_names_may_sign_people_in(knowledge: Knowledge, tmp_path: Path) -> None:
    with _ehr(authorization_endpoint="https://login.example.org/auth?tenant=a") as server:
        http = _console(knowledge, tmp_path, server, authorization_servers=["https://login.example.org"])
        asked = http.get("/smart/ehr/launch", base_url="https://localhost").headers["Location"]
    assert asked.startswith("https://login.example.org/auth?tenant=a&")

"""Callers who are not who they say: each is answered 401, over the real application and with real keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.conformance import decoded
from tests.hooks.tokens import DISCOVERY, ISSUER, PUBLIC_URL, Signer, claims, jwks, segment, unsigned
from tests.scenarios.build import NOW
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.web.test_server import PATIENCE, Running, started

SECONDS = int(NOW.timestamp())


@dataclass
class Site:
    """A service with one client, that client's key server, and what an attacker has."""

    http: FlaskClient
    signer: Signer
    jku: str
    key_server: LocalServer
    published: list[Signer]

    def discover(self, token: str | None) -> TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.get("/cds-services", headers=headers)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def site(knowledge: Knowledge, tmp_path: Path, signer: Signer) -> Iterator[Site]:
    published = [signer]

    def script(request: Received) -> Reply:
        return Reply(jwks(*published)) if request.path == "/jwks" else Reply(status=404)

    with local_server(script) as server:
        jku = f"http://127.0.0.1:{server.port}/jwks"
        http = service(knowledge, tmp_path, jku=[jku], key_network="loopback")
        yield Site(http, signer, jku, server, published)


def service(knowledge: Knowledge, folder: Path, **entry: Any) -> FlaskClient:
    """A service that requires tokens of its one client."""
    file = folder / "clients.yaml"
    file.write_text(json.dumps({"clients": [{"id": "ehr", "issuers": [ISSUER], **entry}]}), "utf-8")
    settings = Settings(auth="required", clients=str(file), public_url=PUBLIC_URL, state_dir=str(folder / "state"))
    return create_app(settings, knowledge, clock=lambda: NOW).test_client()


def assert_refused(answer: TestResponse | requests.Response, token: str | None = None) -> str:
    """401 with a challenge and an OperationOutcome that repeats no part of the token. Returns what it says."""
    body = answer.content if isinstance(answer, requests.Response) else answer.data
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="cds-services"')
    outcome = decoded(body)
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert (issue["severity"], issue["code"]) == ("error", "login")
    for part in (token or "").split("."):
        assert len(part) < 4 or part not in body.decode() + str(answer.headers)
    return str(issue["diagnostics"])


# Good tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_good_token_is_answered(algorithm: str, site: Site) -> None:
    signer = Signer(algorithm, kid="good")
    site.published[:] = [signer]
    assert site.discover(signer.token(NOW, {"jku": site.jku})).status_code == 200


def test_every_call_below_the_services_needs_a_token_and_nothing_else_does(site: Site) -> None:
    sign = "/cds-services/ketamine-order-sign"
    for method, path in [
        ("GET", "/cds-services"), ("HEAD", "/cds-services"), ("POST", sign), ("POST", f"{sign}/feedback"),
        ("GET", sign), ("POST", "/cds-services/unknown"), ("GET", "/cds-services/"), ("DELETE", sign),
    ]:  # fmt: skip
        answer = site.http.open(path, method=method, json={})
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="cds-services"'
    for path in ("/protocol/weight-missing", "/healthz"):
        assert site.http.get(path).status_code == 200, path
    answer = site.http.post(
        sign, json={}, headers={"Authorization": f"Bearer {site.signer.token(NOW, aud=PUBLIC_URL)}"}
    )
    assert answer.status_code == 400, "with a token, the body is looked at"


@pytest.mark.parametrize(
    "path",
    ["//cds-services", "/./cds-services", "/x/../cds-services", "/%63ds-services", "/cds-services%2f",
     "/CDS-SERVICES", "/cds-services;x", "/cds-services?x", "/cds-services/./ketamine-order-sign",
     "///cds-services/ketamine-order-sign"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_other_way_to_write_the_path_goes_round_the_token(path: str, method: str, site: Site) -> None:
    """308 leads to the usual way."""
    assert site.http.open(path, method=method, json={}).status_code in (308, 401, 404)


def test_a_key_that_the_client_has_rotated_in_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.hooks.keysets._PAUSE", 0)
    assert site.discover(site.signer.token(NOW)).status_code == 200
    rotated = Signer(kid="rotated")
    site.published[:] = [rotated]
    assert site.discover(rotated.token(NOW)).status_code == 200
    assert len(site.key_server.received) == 2


def test_keys_may_come_from_a_file(knowledge: Knowledge, tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(signer))
    http = service(knowledge, tmp_path, jwks_file="keys.json")
    assert http.get("/cds-services", headers={"Authorization": f"Bearer {signer.token(NOW)}"}).status_code == 200


@pytest.mark.parametrize("audience", [DISCOVERY, [DISCOVERY, "https://other.example"], "sand_man", ["sand_man"]])
def test_the_audience_may_be_a_list_or_an_alias(
    audience: Any, knowledge: Knowledge, tmp_path: Path, signer: Signer
) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(signer))
    http = service(knowledge, tmp_path, jwks_file="keys.json", audience=["sand_man"])
    token = signer.token(NOW, aud=audience)
    assert http.get("/cds-services", headers={"Authorization": f"Bearer {token}"}).status_code == 200


# Attacks -----------------------------------------------------------------------------------------------------------


def test_no_token(site: Site) -> None:
    assert_refused(site.discover(None))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "x", "eyJ9"])
def test_a_token_without_a_signature(algorithm: str, signature: str, site: Site) -> None:
    token = unsigned(NOW, algorithm) + signature
    assert_refused(site.discover(token), token)


def test_a_token_whose_signature_was_stripped(site: Site) -> None:
    head, payload, _ = site.signer.token(NOW).split(".")
    for token in (f"{head}.{payload}.", f"{head}.{payload}", f"{head}..", f"..{payload}"):
        assert_refused(site.discover(token))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_symmetric_signature_made_with_the_public_key(algorithm: str, site: Site) -> None:
    """Whoever takes alg from the token and the key from the set would take the public key for a shared secret."""
    import hashlib
    import hmac

    public = [site.signer.pem, json.dumps(site.signer.jwk()).encode(), jwks(site.signer), b""]
    for secret in public:
        signed = unsigned(NOW, algorithm).rstrip(".")
        digest = hmac.new(secret, signed.encode(), getattr(hashlib, algorithm.replace("HS", "sha"))).digest()
        token = f"{signed}.{segment(digest)}"
        assert_refused(site.discover(token), token)


ATTACKS: dict[str, Callable[[Site], str]] = {
    "expired": lambda s: s.signer.token(NOW, iat=SECONDS - 900, exp=SECONDS - 600),
    "issued in the future": lambda s: s.signer.token(NOW, iat=SECONDS + 120, exp=SECONDS + 400),
    "not yet valid": lambda s: s.signer.token(NOW, nbf=SECONDS + 120),
    "valid for a year": lambda s: s.signer.token(NOW, exp=SECONDS + 31_536_000),
    "for another service": lambda s: s.signer.token(NOW, aud="https://other.example/cds-services"),
    "for another service of ours": lambda s: s.signer.token(NOW, aud=f"{DISCOVERY}/ketamine-order-sign"),
    "without an audience": lambda s: s.signer.token(NOW, aud=None),
    "of another issuer": lambda s: s.signer.token(NOW, iss="https://evil.example"),
    "without an issuer": lambda s: s.signer.token(NOW, iss=None),
    "of an unknown key": lambda s: Signer(kid="unknown").token(NOW),
    "of another key with the right kid": lambda s: Signer(kid=s.signer.kid).token(NOW),
    "of another kind of key with the right kid": lambda s: Signer("RS384", kid=s.signer.kid).token(NOW),
    "with another algorithm of the same family": lambda s: Signer("ES256", kid=s.signer.kid).token(NOW),
    "without a kid": lambda s: s.signer.token(NOW, {"kid": None}),
    "with a jku of the attacker": lambda s: s.signer.token(NOW, {"jku": "https://evil.example/jwks"}),
    "with a jku to a private address": lambda s: s.signer.token(NOW, {"jku": "http://10.0.0.1/jwks"}),
    "with a jku to cloud metadata": lambda s: s.signer.token(NOW, {"jku": "http://169.254.169.254/latest"}),
    "with a jku beside the right one": lambda s: s.signer.token(NOW, {"jku": f"{s.jku}?x=@evil.example"}),
    "with a jku by another name": lambda s: s.signer.token(NOW, {"jku": s.jku.replace("127.0.0.1", "localhost")}),
    "with its own key in the header": lambda s: _with_own_key(),
    "with a certificate's URL": lambda s: Signer(kid=s.signer.kid).token(NOW, {"x5u": "https://evil.example"}),
    "with a kid that is a path": lambda s: Signer(kid="../../../dev/null").token(NOW),
    "with a kid that is SQL": lambda s: Signer(kid="x' union select 'y").token(NOW),
    "of another type": lambda s: s.signer.token(NOW, {"typ": "at+jwt"}),
    "with an extension": lambda s: s.signer.token(NOW, {"crit": ["exp"], "exp": 1}),
    "without a jti": lambda s: s.signer.token(NOW, jti=None),
    "with a claim twice": lambda s: s.signer.signed(
        _head(s), json.dumps(claims(NOW)).encode().replace(b"{", b'{"iss":"https://evil.example",', 1)
    ),
    "with a header twice": lambda s: s.signer.signed(
        _head(s).replace(b"{", b'{"alg":"none",', 1), json.dumps(claims(NOW)).encode()
    ),
    "with a nested claim twice": lambda s: s.signer.signed(
        _head(s), json.dumps(claims(NOW)).encode().replace(b"{", b'{"x":{"y":1,"y":2},', 1)
    ),
    "that is huge": lambda s: s.signer.token(NOW, x="x" * 100_000),
    "just too long": lambda s: _of_length(s, 8193),
    "deeply nested": lambda s: s.signer.signed(_head(s), b"[" * 5000 + b"]" * 5000),
    "in pieces of another": lambda s: ".".join(
        [*s.signer.token(NOW).split(".")[:2], s.signer.token(NOW, jti="other").split(".")[2]]
    ),
    "that is no token": lambda s: "x",
    "that is a password": lambda s: "dXNlcjpwYXNzd29yZA==",
    "sent as two": lambda s: f"{s.signer.token(NOW)},Bearer {s.signer.token(NOW)}",
}


def _head(site: Site) -> bytes:
    return json.dumps({"alg": "ES384", "kid": site.signer.kid, "typ": "JWT"}).encode()


def _with_own_key() -> str:
    own = Signer()
    return own.token(NOW, {"jwk": own.jwk()})


def _of_length(site: Site, length: int) -> str:
    """A good token of that many characters: each character of `x` is a third more or less."""
    for size in range(5000, 6500):
        token = site.signer.token(NOW, x="x" * size)
        if len(token) >= length:
            return token
    raise AssertionError("no such token")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token(attack: str, site: Site) -> None:
    token = ATTACKS[attack](site)
    assert_refused(site.discover(token), token)


def test_a_token_of_the_longest_length_is_read(site: Site) -> None:
    token = next(t for size in range(5900, 5000, -1) if len(t := site.signer.token(NOW, x="x" * size)) <= 8192)
    assert len(token) > 8180
    assert site.discover(token).status_code == 200


def test_no_attack_makes_the_service_ask_another_server_than_the_clients(site: Site) -> None:
    with local_server(Reply(b"{}")) as elsewhere:
        for header in ({"jku": elsewhere.base}, {"x5u": elsewhere.base}, {"jku": site.jku, "x5u": elsewhere.base}):
            site.discover(Signer().token(NOW, header))
        site.discover(site.signer.token(NOW, iss=elsewhere.base))
        assert elsewhere.connections == []


def test_a_listed_jku_that_leads_to_a_private_address_is_not_asked(
    knowledge: Knowledge, tmp_path: Path, signer: Signer
) -> None:
    """As if the name of the client's key server had been pointed at this machine."""
    with local_server(Reply(jwks(signer))) as server:
        jku = f"https://localhost:{server.port}/jwks"
        http = service(knowledge, tmp_path, jku=[jku])
        answer = http.get("/cds-services", headers={"Authorization": f"Bearer {signer.token(NOW, {'jku': jku})}"})
        assert "cannot be read" in assert_refused(answer)
        assert server.connections == []


def test_a_token_is_taken_once(site: Site) -> None:
    token = site.signer.token(NOW)
    assert site.discover(token).status_code == 200
    assert "used before" in assert_refused(site.discover(token), token)
    assert site.discover(site.signer.token(NOW)).status_code == 200


def test_the_host_header_does_not_say_for_whom_a_token_is(site: Site) -> None:
    token = site.signer.token(NOW, aud="https://evil.example/cds-services")
    headers = {"Authorization": f"Bearer {token}", "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert_refused(site.http.get("/cds-services", headers=headers, base_url="https://evil.example"), token)


def test_a_key_server_that_is_down_is_a_refusal_that_says_so(
    knowledge: Knowledge, tmp_path: Path, signer: Signer
) -> None:
    with local_server(Reply(status=500)) as server:
        jku = f"http://127.0.0.1:{server.port}/jwks"
        http = service(knowledge, tmp_path, jku=[jku], key_network="loopback")
        token = signer.token(NOW)
        answer = http.get("/cds-services", headers={"Authorization": f"Bearer {token}"})
    assert "cannot be read at the moment" in assert_refused(answer, token)


def test_what_is_logged_of_a_refusal_is_a_word(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for attack in ATTACKS.values():
            token = attack(site)
            site.discover(token)
            for part in token.split("."):
                assert len(part) < 8 or part not in caplog.text
    assert "a call was refused: signature" in caplog.text
    assert ISSUER not in caplog.text


# Two worker processes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("workers")
    (folder / "keys.json").write_bytes(jwks(signer))
    entry = {"id": "ehr", "issuers": [ISSUER], "jwks_file": "keys.json"}
    (folder / "clients.yaml").write_text(json.dumps({"clients": [entry]}), "utf-8")
    settings = {
        "KETAMINE_CDS_AUTH": "required",
        "KETAMINE_CDS_CLIENTS": str(folder / "clients.yaml"),
        "KETAMINE_CDS_STATE_DIR": str(folder / "state"),
        "KETAMINE_CDS_WORKERS": "2",
    }
    with started(folder, None, **settings) as running:
        running.wait_for("Listening on ")
        yield running


def _answers(running: Running, token: str, times: int) -> list[int]:
    """Each call over a connection of its own, so that both workers get some."""
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    return [
        requests.get(f"{running.base}/cds-services", headers=headers, timeout=PATIENCE).status_code
        for _ in range(times)
    ]


def test_a_token_that_one_worker_took_no_worker_takes_again(two_workers: Running, signer: Signer) -> None:
    """Forty replays over new connections: were each worker to keep its own list, one would take the token anew."""
    for _ in range(3):
        token = signer.token(datetime.now(UTC), aud=two_workers.base)
        answers = _answers(two_workers, token, 40)
        assert answers == [200, *[401] * 39]


def test_both_workers_take_good_tokens_and_the_start_says_who_may_call(two_workers: Running, signer: Signer) -> None:
    for _ in range(20):
        token = signer.token(datetime.now(UTC), aud=f"{two_workers.base}/cds-services")
        assert _answers(two_workers, token, 1) == [200]
    assert "AUTHENTICATION REQUIRED: a signed token of one of: ehr\n" in two_workers.said


def test_over_the_wire_an_old_token_and_two_authorization_headers_are_refused(
    two_workers: Running, signer: Signer
) -> None:
    import http.client

    now = datetime.now(UTC)
    old = signer.token(now - timedelta(hours=1), aud=two_workers.base)
    assert _answers(two_workers, old, 1) == [401]
    connection = http.client.HTTPConnection(two_workers.base.removeprefix("http://"), timeout=PATIENCE)
    connection.putrequest("GET", "/cds-services")
    for token in ("x", signer.token(now, aud=two_workers.base)):
        connection.putheader("Authorization", f"Bearer {token}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()

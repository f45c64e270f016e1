"""Web origins, headers, depth, rates and tenants, over the real application."""

from __future__ import annotations

import re
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.rate import Bucket
from tests.hooks.client import Service, client, encoded
from tests.hooks.conformance import decoded
from tests.hooks.tokens import PUBLIC_URL, Signer
from tests.scenarios.build import NOW, hook_request
from tests.web.callers import JSON, ORDER, SIGN, Caller, service
from tests.web.test_server import PATIENCE, started

ORIGIN = "https://ehr.example.org"


# Web origins --------------------------------------------------------------------------------------------------------


def preflight(http: FlaskClient, path: str, origin: str, method: str = "POST") -> TestResponse:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return http.options(path, headers=headers)


@pytest.mark.parametrize("path", ["/cds-services", SIGN, f"{SIGN}/feedback"])
def test_a_preflight_of_an_allowed_origin_is_answered_without_a_token(
    path: str, knowledge: Knowledge, tmp_path: Path
) -> None:
    http = service(knowledge, tmp_path, Caller(tmp_path, "a", cors_origins=[ORIGIN]).entry)
    answer = preflight(http, path, ORIGIN)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type, content-encoding"
    assert {"GET", "POST"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://ehr.example.org.evil.example", "http://ehr.example.org",
     "https://ehr.example.org:8443", "https://EHR.example.org", "", "https://ehr.example.org/"],
)  # fmt: skip
def test_another_origin_may_read_nothing(origin: str, knowledge: Knowledge, tmp_path: Path) -> None:
    http = service(knowledge, tmp_path, Caller(tmp_path, "a", cors_origins=[ORIGIN]).entry)
    for answer in (preflight(http, SIGN, origin), http.get("/cds-services", headers={"Origin": origin})):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"], "or a cache would give the answer of one origin to another"


def test_the_answer_to_a_client_may_be_read_by_its_own_origins_only(knowledge: Knowledge, tmp_path: Path) -> None:
    a = Caller(tmp_path, "a", cors_origins=["https://a.example"])
    b = Caller(tmp_path, "b", cors_origins=["https://b.example"])
    http = service(knowledge, tmp_path, a.entry, b.entry)
    assert preflight(http, SIGN, "https://b.example").headers["Access-Control-Allow-Origin"] == "https://b.example"
    assert a.sign(http, Origin="https://a.example").headers["Access-Control-Allow-Origin"] == "https://a.example"
    answer = a.sign(http, Origin="https://b.example")
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_error_can_be_read_by_the_page_that_caused_it(knowledge: Knowledge, tmp_path: Path) -> None:
    http = service(knowledge, tmp_path, Caller(tmp_path, "a", cors_origins=[ORIGIN]).entry)
    answer = http.get("/cds-services", headers={"Origin": ORIGIN})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "WWW-Authenticate" in answer.headers["Access-Control-Expose-Headers"]


def test_the_setting_allows_an_origin_for_everybody_and_a_star_every_origin(knowledge: Knowledge) -> None:
    http = client(knowledge, Settings(cors_origins=(ORIGIN,)))
    assert http.get("/cds-services", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
    http = client(knowledge, Settings(cors_origins=("*",)))
    answer = http.get("/cds-services", headers={"Origin": "https://any.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://any.example"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_without_a_setting_no_page_of_another_origin_may_read(knowledge: Knowledge) -> None:
    answer = preflight(client(knowledge), SIGN, "http://localhost:8080")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Vary" not in answer.headers


def test_pages_are_not_shared_with_other_origins(knowledge: Knowledge) -> None:
    http = client(knowledge, Settings(cors_origins=("*",)))
    answer = http.get("/protocol/weight-missing", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


# Headers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/cds-services", SIGN, "/protocol/weight-missing", "/nothing", "/healthz"])
def test_every_answer_is_taken_for_what_it_says_it_is(path: str, knowledge: Knowledge) -> None:
    answer = client(knowledge).get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in answer.headers


def test_answers_about_patients_are_stored_nowhere_on_the_way(knowledge: Knowledge) -> None:
    http = client(knowledge)
    answers = [http.post(SIGN, data=encoded(hook_request(ORDER)), content_type=JSON), http.post(SIGN, data=b"{")]
    for answer in (*answers, http.get("/cds-services")):
        assert answer.headers["Cache-Control"] == "no-store"


def test_browsers_are_told_to_stay_with_https_where_the_service_has_it(knowledge: Knowledge) -> None:
    https = client(knowledge, Settings(public_url="https://cds.example.org", auth="off"))
    assert https.get("/cds-services").headers["Strict-Transport-Security"].startswith("max-age=")
    assert "Strict-Transport-Security" not in client(knowledge).get("/cds-services").headers


def test_a_page_runs_nothing_loads_nothing_and_has_the_styles_that_it_needs(knowledge: Knowledge) -> None:
    import base64
    import hashlib

    for topic in ("weight-missing", "could-not-check"):
        answer = client(knowledge).get(f"/protocol/{topic}")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        styles = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        assert styles
        for style in styles:
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert " style=" not in answer.text
        assert "<script" not in answer.text


# Depth --------------------------------------------------------------------------------------------------------------

DEEP = 100_000


@pytest.mark.parametrize(
    "deep",
    [b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"[" * DEEP, b'{"a":' * DEEP, b"[{" * DEEP],
    ids=["arrays", "objects", "open arrays", "open objects", "open both"],
)
@pytest.mark.parametrize(
    "where", ["%b", '{"prefetch":{"x":%b}}', '{"context":%b}', '{"hook":%b}', '{"extension":%b}', '{"x":{"y":%b}}']
)
def test_a_body_of_a_hundred_thousand_levels_is_400_at_once(deep: bytes, where: str, knowledge: Knowledge) -> None:
    body = where.encode() % deep
    began = time.thread_time()
    answer = client(knowledge).post(SIGN, data=body, content_type=JSON)
    assert answer.status_code == 400
    assert decoded(answer.data)["issue"][0]["code"] == "structure"
    assert time.thread_time() - began < 1


def test_at_no_depth_does_the_service_fail(knowledge: Knowledge) -> None:
    """Around the decoder's depth too: it is 400, or judged."""
    told = Service(knowledge)
    body = encoded(hook_request(ORDER))
    statuses = set()
    for depth in range(0, 1200, 40):
        deep = b"[" * depth + b"1" + b"]" * depth
        for spot in (b'"resourceType":"MedicationRequest"', b'"resourceType":"Bundle"', b'"hook":"order-sign"'):
            assert spot in body
            status, _ = told.post(body.replace(spot, spot + b',"unknown":' + deep, 1), "order-sign")
            statuses.add(status)
    assert 200 in statuses
    assert statuses <= {200, 400}


# Rate ---------------------------------------------------------------------------------------------------------------


def test_a_client_that_calls_too_often_is_told_when_to_come_back_and_the_others_are_not_held_up(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    busy = Caller(tmp_path, "busy", rate_limit={"per_second": 1, "burst": 3})
    calm = Caller(tmp_path, "calm")
    http = service(knowledge, tmp_path, busy.entry, calm.entry, rate_limit=0)
    statuses = [busy.sign(http).status_code for _ in range(5)]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses[3:]
    answer = busy.sign(http)
    while answer.status_code != 429:
        answer = busy.sign(http)
    assert int(answer.headers["Retry-After"]) >= 1
    (issue,) = decoded(answer.data)["issue"]
    assert issue["code"] == "throttled"
    assert [calm.sign(http).status_code for _ in range(10)] == [200] * 10


def test_on_loopback_there_is_no_limit_unless_it_is_set(knowledge: Knowledge) -> None:
    free, held = client(knowledge), client(knowledge, Settings(rate_limit=1))
    assert {free.get("/cds-services").status_code for _ in range(200)} == {200}
    assert {held.get("/cds-services").status_code for _ in range(20)} == {200, 429}


def test_a_refused_caller_uses_up_nothing_of_the_client_that_he_claims_to_be(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    caller = Caller(tmp_path, "a", rate_limit={"per_second": 1, "burst": 1})
    http = service(knowledge, tmp_path, caller.entry)
    for _ in range(5):
        forged = Signer().token(NOW, iss=caller.issuer, aud=PUBLIC_URL + SIGN)
        assert http.post(SIGN, headers={"Authorization": f"Bearer {forged}"}).status_code == 401
    assert caller.sign(http).status_code == 200


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    moment = [0.0]
    bucket = Bucket(per_second=2, burst=4, clock=lambda: moment[0])
    assert [bucket.wait() for _ in range(4)] == [0] * 4
    assert bucket.wait() == 1
    moment[0] = 0.5
    assert bucket.wait() == 0
    assert bucket.wait() == 1
    moment[0] = 1000.0
    assert [bucket.wait() for _ in range(5)] == [0, 0, 0, 0, 1], "it holds no more than its burst"


# TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_the_service_speaks_tls_itself_where_it_has_a_certificate(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = map(str, certificate)
    with started(tmp_path, None, KETAMINE_CDS_TLS_CERTIFICATE=cert, KETAMINE_CDS_TLS_KEY=key) as running:
        running.wait_for("Listening on https://127.0.0.1:")
        port = int(running.base.rpartition(":")[2])
        trusted = ssl.create_default_context(cafile=cert)
        connection = HTTPSConnection("localhost", port, timeout=PATIENCE, context=trusted)
        # The name is resolved to IPv6 first on some machines, and the service listens on IPv4.
        connection.sock = trusted.wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
        )
        connection.request("GET", "/cds-services")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"]
        assert connection.sock is not None
        assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")
        connection.close()


@pytest.mark.parametrize("given", [("TLS_CERTIFICATE",), ("TLS_KEY",)])
def test_a_certificate_without_its_key_stops_the_start(
    given: tuple[str], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = {f"KETAMINE_CDS_{name}": str(certificate[0]) for name in given}
    with started(tmp_path, None, **settings) as running:
        assert running.process.wait(PATIENCE) == 3
        assert running.said == "ketamine-cds: KETAMINE_CDS_TLS_CERTIFICATE and KETAMINE_CDS_TLS_KEY go together\n"


# The start ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"KETAMINE_CDS_HOST": "0.0.0.0"}, "KETAMINE_CDS_AUTH must be required or off"),
        ({"KETAMINE_CDS_PUBLIC_URL": "https://cds.example.org"}, "KETAMINE_CDS_AUTH must be required or off"),
        ({"KETAMINE_CDS_AUTH": "required"}, "KETAMINE_CDS_CLIENTS must name who may call"),
        ({"KETAMINE_CDS_AUTH": "on"}, "KETAMINE_CDS_AUTH is 'on'; expected is"),
    ],
)
def test_a_service_that_is_open_by_mistake_does_not_start(
    settings: dict[str, str], says: str, tmp_path: Path
) -> None:
    with started(tmp_path, None, **settings) as running:
        assert running.process.wait(PATIENCE) == 3
        assert says in running.said
        assert running.said.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "AUTHENTICATION OFF: open to this machine only, without a token"),
        (
            {"KETAMINE_CDS_AUTH": "off", "KETAMINE_CDS_PUBLIC_URL": "https://cds.example.org"},
            "AUTHENTICATION OFF: open to whoever reaches https://cds.example.org, without a token",
        ),
    ],
)
def test_an_open_service_says_so_at_its_start(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    with started(tmp_path, None, **settings) as running:
        running.wait_for("Listening on ")
        assert says in running.said

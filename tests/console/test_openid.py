"""Login by OpenID Connect: by a provider of another project, and by one that lies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flask.testing import FlaskClient

from cds_service.console import access, openid
from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import SettingError, Settings
from tests.console.smart_ehr import CLINICIAN, LOGIN, LOGIN_SECRET, NOBODY, PHARMACIST, Browser, Ehr, ehr, token_of
from tests.servers import smart_server
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.servers.ports import unused_port

SECRET = "a secret of this site, long enough for a key"
ALLOWED = ("protocol-owners", "committee")


def secret_file(folder: Path, text: str) -> str:
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture(scope="module")
def around(knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ehr]:
    smart_server.needed()
    folder, provider = tmp_path_factory.mktemp("openid"), unused_port()
    settings: dict[str, Any] = {
        "auth": "off",
        "console": "on",
        "console_oidc_issuer": f"http://localhost:{provider}",
        "console_oidc_client_id": LOGIN,
        "console_oidc_secret_file": secret_file(folder, LOGIN_SECRET),
        "console_oidc_scope": "openid groups",
        "console_oidc_allowed": ALLOWED,
    }
    with ehr(knowledge, folder, provider=provider, **settings) as running:
        yield running


@pytest.fixture
def browser() -> Browser:
    return Browser()


def _way_in(around: Ehr, browser: Browser, path: str = "/") -> str:
    """The address of the link on the login page to which somebody is sent who wants to see `path`."""
    page = browser.get(around.console + path)
    assert urlsplit(page.url).path == "/login"
    assert "Secret of this site" not in page.text
    (link,) = [part.split('"')[0] for part in page.text.split('href="') if part.startswith(openid.BEGIN)]
    return around.console + link.replace("&amp;", "&")


# A provider of another project --------------------------------------------------------------------------------------


def test_whoever_the_claim_names_comes_in_and_goes_where_they_wanted(around: Ehr, browser: Browser) -> None:
    page = browser.sign_in(_way_in(around, browser, "/protocol"), PHARMACIST)
    assert '<meta http-equiv="refresh" content="0; url=/protocol">' in page.text
    assert browser.get(f"{around.console}/protocol").url.endswith("/protocol")


@pytest.mark.parametrize("user", [CLINICIAN, NOBODY])
def test_nobody_else_does(around: Ehr, browser: Browser, user: str) -> None:
    answer = browser.sign_in(_way_in(around, browser), user)
    assert answer.status_code == 403
    assert "Not logged in: " in answer.text
    assert urlsplit(browser.get(f"{around.console}/").url).path == "/login"


def test_an_answer_belongs_to_the_browser_that_asked(around: Ehr, browser: Browser) -> None:
    back = browser.signed_in_at(_way_in(around, browser), PHARMACIST)
    other = Browser()
    assert other.get(back).status_code == 403
    assert urlsplit(other.get(f"{around.console}/").url).path == "/login"
    assert browser.get(back).ok
    assert browser.get(back).status_code == 403


def test_the_session_begins_with_the_login_and_ends_with_the_logout(around: Ehr, browser: Browser) -> None:
    browser.get(f"{around.console}/login")
    before = browser.session.cookies.get_dict()
    browser.sign_in(_way_in(around, browser), PHARMACIST)
    assert browser.session.cookies["ketamine-cds-console"] not in before.values()
    page = browser.get(f"{around.console}/")
    assert browser.post(f"{around.console}/logout", csrf_token=token_of(page)).url == f"{around.console}/login"
    assert urlsplit(browser.get(f"{around.console}/").url).path == "/login"


def test_no_token_or_name_stands_in_a_cookie_page_or_log(
    around: Ehr, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    page = browser.sign_in(_way_in(around, browser), PHARMACIST)
    browser.sign_in(_way_in(around, Browser()), CLINICIAN)
    shown = [page.text, *map(str, page.headers.items()), *(str(each.value) for each in browser.session.cookies)]
    for secret in (around.server.tokens()[-1], LOGIN_SECRET, PHARMACIST):
        assert not any(secret in each for each in shown)
        assert secret not in caplog.text


def test_a_login_is_no_way_into_a_patients_chart_nor_a_launch_into_the_console(around: Ehr, browser: Browser) -> None:
    browser.sign_in(_way_in(around, browser), PHARMACIST)
    assert browser.get(f"{around.console}/smart/the-ehr/patient/x").status_code == 401
    clinician = Browser()
    assert "Maja Lindqvist" in clinician.sign_in(around.launching()).text
    assert urlsplit(clinician.get(f"{around.console}/").url).path == "/login"


# A provider that lies -----------------------------------------------------------------------------------------------

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def provider(
    says: Mapping[str, Any], metadata: Mapping[str, Any], lie: str = ""
) -> Iterator[tuple[LocalServer, list[str]]]:
    """(one whose ID tokens hold `says` besides what is right, the nonces it knows); `lie` signs them wrongly."""
    nonces = [""]

    def answer(request: Received) -> Reply:
        host = f"http://127.0.0.1:{server.port}"
        if request.path.endswith("/openid-configuration"):
            found = {
                "issuer": host,
                "authorization_endpoint": f"{host}/auth",
                "token_endpoint": f"{host}/token",
                "jwks_uri": f"{host}/jwks",
                **metadata,
            }
            return Reply(json.dumps(found).encode())
        if request.path == "/jwks":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
            return Reply(json.dumps({"keys": [{**public, "kid": "1", "use": "sig"}]}).encode())
        now = int(time.time())
        claims = {"iss": host, "aud": LOGIN, "sub": "x", "iat": now, "exp": now + 60, "groups": ["committee"]}
        claims = {k: v for k, v in {**claims, "nonce": nonces[-1], **says}.items() if v is not None}
        key, algorithm = {
            "": (KEY, "RS256"),
            "another key": (OTHER_KEY, "RS256"),
            "none": (None, "none"),
            "symmetric": (LOGIN_SECRET.ljust(32), "HS256"),
        }[lie]
        token = jwt.encode(claims, key, algorithm, headers={"kid": "1"})  # type: ignore[arg-type]
        given = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": token}
        return Reply(json.dumps(given).encode())

    with local_server(answer) as server:
        yield server, nonces


def _comes_in(
    knowledge: Knowledge, folder: Path, says: Mapping[str, Any], metadata: Mapping[str, Any], lie: str = ""
) -> bool:
    with provider(says, metadata, lie) as (server, nonces):
        settings = Settings(
            store="off",
            console="on",
            auth="off",
            console_oidc_issuer=f"http://127.0.0.1:{server.port}",
            console_oidc_client_id=LOGIN,
            console_oidc_secret_file=secret_file(folder, LOGIN_SECRET),
            console_oidc_allowed=ALLOWED,
        )
        http: FlaskClient = create_console(settings, knowledge).test_client()
        begun = http.get(openid.BEGIN)
        if begun.status_code == 303:
            asked = parse_qs(urlsplit(begun.headers["Location"]).query)
            nonces += asked["nonce"]
            http.get(openid.CALLBACK, query_string={"state": asked["state"][0], "code": "c"})
        return http.get("/").status_code == 200


@pytest.mark.parametrize(
    "says",
    [
        {},
        {"aud": [LOGIN]},
        {"aud": [LOGIN, "another"], "azp": LOGIN},
        {"groups": "committee"},
        {"groups": ["x", "committee", 3, None]},
    ],
)
def test_an_id_token_that_holds_lets_in(knowledge: Knowledge, tmp_path: Path, says: dict[str, Any]) -> None:
    assert _comes_in(knowledge, tmp_path, says, {})


@pytest.mark.parametrize(
    "says",
    [
        {"iss": "https://other.example"},
        {"aud": "another"},
        {"aud": None},
        {"aud": [LOGIN, "another"], "azp": "another"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"at_hash": "another"},
        {"groups": None},
        {"groups": []},
        {"groups": ["Committee", "committee "]},
        {"groups": "committee wards"},
        {"groups": {"committee": True}},
        {"groups": True},
    ],
)
def test_an_id_token_that_does_not_hold_or_names_nobody_does_not(
    knowledge: Knowledge, tmp_path: Path, says: dict[str, Any]
) -> None:
    assert not _comes_in(knowledge, tmp_path, says, {})


@pytest.mark.parametrize("lie", ["another key", "none", "symmetric"])
def test_an_id_token_with_another_signature_does_not(knowledge: Knowledge, tmp_path: Path, lie: str) -> None:
    assert not _comes_in(knowledge, tmp_path, {}, {}, lie)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"jwks_uri": "http://127.0.0.2:9/jwks"},
        {"authorization_response_iss_parameter_supported": True},
    ],
)
def test_a_provider_that_names_itself_otherwise_does_not(
    knowledge: Knowledge, tmp_path: Path, metadata: dict[str, Any]
) -> None:
    assert not _comes_in(knowledge, tmp_path, {}, metadata)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_nothing_is_asked_of_another_origin_that_a_provider_names(
    knowledge: Knowledge, tmp_path: Path, name: str
) -> None:
    with local_server(Reply(b"{}")) as foreign:
        assert not _comes_in(knowledge, tmp_path, {}, {name: f"{foreign.base}/x"})
        assert foreign.received == []


def test_a_provider_that_is_away_or_sends_elsewhere_is_said(knowledge: Knowledge, tmp_path: Path) -> None:
    with local_server(Reply(b"", 302, {"Location": "http://127.0.0.1:1/"})) as moved:
        settings = Settings(
            store="off",
            console="on",
            console_oidc_issuer=f"http://127.0.0.1:{moved.port}",
            console_oidc_client_id=LOGIN,
            console_oidc_allowed=ALLOWED,
        )
        answer = create_console(settings, knowledge).test_client().get(openid.BEGIN)
    assert answer.status_code == 403
    assert "the authorization server answered 302" in answer.text


# Settings -----------------------------------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "console": "on",
    "console_public_url": "https://console.example.org",
    "console_oidc_issuer": "https://id.example.org",
    "console_oidc_client_id": "console",
    "console_oidc_allowed": ("pharmacy",),
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"console_oidc_allowed": ()}, "CONSOLE_OIDC_ALLOWED must be set too"),
        ({"console_oidc_client_id": None}, "CONSOLE_OIDC_CLIENT_ID must be set too"),
        ({"console_oidc_issuer": None}, "is set without KETAMINE_CDS_CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_issuer": "http://id.example.org"}, "CONSOLE_OIDC_ISSUER must be an https URL"),
        ({"console_public_url": "http://console.example.org"}, "CONSOLE_PUBLIC_URL must be an https URL"),
        ({"console_oidc_scope": "groups"}, "CONSOLE_OIDC_SCOPE must hold openid"),
    ],
)
def test_settings_that_would_let_nobody_or_anybody_in_stop_the_start(changed: dict[str, Any], says: str) -> None:
    assert access.check(Settings(**WHOLE)) is None
    with pytest.raises(SettingError, match=says):
        access.check(Settings(**{**WHOLE, **changed}))


def test_the_secret_of_the_site_works_beside_it(knowledge: Knowledge, tmp_path: Path) -> None:
    both = Settings(**WHOLE, store="off", console_secret_file=secret_file(tmp_path, SECRET))
    http = create_console(both, knowledge).test_client()
    page = http.get("/login").text
    assert "Log in with your account" in page
    given = page.split('name="csrf_token" value="')[1].split('"')[0]
    assert http.post("/login", data={"csrf_token": given, "secret": SECRET}).status_code == 303
    assert http.get("/").status_code == 200


def test_a_claim_may_lie_in_an_object() -> None:
    claims = {"realm_access": {"roles": ["a"]}, "a.b": "c", "x": {"y": 3}}
    assert openid.values(claims, "realm_access.roles") == {"a"}
    assert openid.values(claims, "a.b") == {"c"}
    for name in ("x.y", "x", "realm_access.roles.z", "nothing"):
        assert openid.values(claims, name) == frozenset()

"""Who gets in, what every answer tells the browser, and that nothing of another site is run or believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from cds_service.console import access, assets
from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import SettingError, Settings
from cds_service.store.keys import UnusableKey

SECRET = "a secret of this site, long enough for a key"


def _client(knowledge: Knowledge, **settings: str) -> FlaskClient:
    return create_console(Settings(store="off", **settings), knowledge).test_client()


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def guarded(knowledge: Knowledge, secret_file: str) -> FlaskClient:
    return _client(knowledge, console="on", console_secret_file=secret_file, host="0.0.0.0", auth="off")


def _token(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def _log_in(http: FlaskClient, secret: str = SECRET, after: str = "/") -> int:
    token = _token(http.get("/login").text)
    return http.post("/login", data={"csrf_token": token, "secret": secret, "next": after}).status_code


# Headers and hosts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/static/console.css", "/healthz"])
def test_every_answer_keeps_the_browser_careful(knowledge: Knowledge, path: str) -> None:
    with _client(knowledge).get(path) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'", "style-src 'self'"} <= set(
        policy.split("; ")
    )
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert ("no-store" in headers["Cache-Control"]) is not path.startswith("/static/")


def test_a_page_names_no_script_or_style_of_its_own_making_and_nothing_of_elsewhere(knowledge: Knowledge) -> None:
    page = _client(knowledge).get("/").text
    assert re.findall(r"<script(?![^>]* src=\"/static/)|<style| style=\"| on[a-z]+=\"|javascript:", page) == []
    assert [url for url in re.findall(r'(?:src|href|action)="([^"]+)"', page) if not url.startswith(("/", "#"))] == []


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "localhost:8001", "[::1]:8001", "127.0.0.1", "localhost:9999"])
def test_a_name_of_this_machine_is_answered(knowledge: Knowledge, host: str) -> None:
    assert _client(knowledge).get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.example:8001", "192.0.2.1", "[", "localhost@x.example"]
)
def test_another_name_that_points_here_is_refused(knowledge: Knowledge, host: str) -> None:
    assert _client(knowledge).get("/", headers={"Host": host}).status_code in (400, 421)


# Forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/order", "/order/accept", "/order/override"])
def test_a_form_without_the_token_of_its_session_does_nothing(knowledge: Knowledge, path: str) -> None:
    http = _client(knowledge)
    assert http.post(path, data={"rate": "1 mg/h"}).status_code == 403
    http.get("/")
    for token in ("", "x", "ü"):
        assert http.post(path, data={"csrf_token": token}).status_code == 403
    other = _token(_client(knowledge).get("/").text)
    assert http.post(path, data={"csrf_token": other}).status_code == 403


def test_a_part_that_is_too_old_loads_its_page_anew(knowledge: Knowledge) -> None:
    assert _client(knowledge).post("/order", headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"


# Login --------------------------------------------------------------------------------------------------------------


def test_nothing_is_shown_before_the_login(guarded: FlaskClient) -> None:
    rules = [rule for rule in guarded.application.url_map.iter_rules() if "GET" in (rule.methods or ())]
    shown = {
        rule.rule for rule in rules if guarded.get(re.sub(r"<[^>]+>", "x", rule.rule)).status_code not in (303, 404)
    }
    assert shown == {"/login", "/healthz"}
    posted = [rule for rule in guarded.application.url_map.iter_rules() if "POST" in (rule.methods or ())]
    assert {guarded.post(re.sub(r"<[^>]+>", "x", rule.rule)).status_code for rule in posted} <= {303, 403}
    part = guarded.get("/", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Redirect"]) == (401, "/login")


def test_the_secret_lets_in_until_one_logs_out(guarded: FlaskClient) -> None:
    assert _log_in(guarded) == 303
    page = guarded.get("/")
    assert page.status_code == 200
    assert guarded.post("/logout", data={"csrf_token": _token(page.text)}).status_code == 303
    assert guarded.get("/").status_code == 303


def test_the_session_is_for_this_site_and_no_script(guarded: FlaskClient) -> None:
    cookie = guarded.get("/login").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}


def test_under_https_the_session_goes_over_nothing_else(knowledge: Knowledge, secret_file: str) -> None:
    https = Settings(console="on", console_secret_file=secret_file, tls_certificate="c", tls_key="k", store="off")
    answer = create_console(https, knowledge).test_client().get("/login")
    assert answer.headers["Set-Cookie"].startswith("__Host-console=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("secret", ["", "x", SECRET[:-1], SECRET + "x", "ü" * 40])
def test_another_secret_does_not(guarded: FlaskClient, secret: str) -> None:
    assert _log_in(guarded, secret) == 401
    assert guarded.get("/").status_code == 303


def test_who_tries_again_and_again_has_to_wait(guarded: FlaskClient) -> None:
    tried = [_log_in(guarded, "wrong") for _ in range(8)]
    assert tried[:5] == [401] * 5
    assert 429 in tried[5:]


@pytest.mark.parametrize(
    ("after", "to"),
    [("/?patient=child", "/?patient=child"), ("//x.example", "/"), ("/\\x.example", "/"), ("https://x.example", "/")],
)
def test_a_login_leads_only_within_the_console(guarded: FlaskClient, after: str, to: str) -> None:
    token = _token(guarded.get("/login").text)
    answer = guarded.post("/login", data={"csrf_token": token, "secret": SECRET, "next": after})
    assert answer.headers["Location"] == to


def test_where_others_can_call_a_console_needs_a_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"CONSOLE is 'on', so KETAMINE_CDS_CONSOLE_SECRET_FILE must name a file"):
        access.check(Settings(console="on"))
    open_to_others = tmp_path / "secret"
    open_to_others.write_text(SECRET)
    open_to_others.chmod(0o644)
    with pytest.raises(UnusableKey, match="others than its owner can read it"):
        access.check(Settings(console="on", console_secret_file=str(open_to_others)))
    with pytest.raises(SettingError, match="must differ"):
        access.check(Settings(console_port=8000))


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        ({}, True),
        ({"console": "off"}, False),
        ({"host": "0.0.0.0"}, False),
        ({"public_url": "https://cds.example.org"}, False),
        ({"console_public_url": "https://console.example.org"}, False),
        ({"console_public_url": "http://localhost:9000"}, True),
        ({"host": "0.0.0.0", "console": "on"}, True),
    ],
)
def test_by_default_there_is_a_console_only_where_nobody_else_can_call(settings: dict[str, str], has: bool) -> None:
    assert Settings(**settings).has_console is has  # type: ignore[arg-type]


# Assets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", assets.others())
def test_a_file_of_another_project_is_the_one_that_was_taken_over_and_has_its_licence(name: str) -> None:
    static = Path(assets.__file__).parent / "static"
    assert assets.digest(name) == assets.integrity(name)
    assert (static / assets.others()[name]["licence_file"]).read_text("utf-8")
    notice = (Path(__file__).parents[2] / "NOTICE").read_text("utf-8")
    assert f"{assets.others()[name]['name']} {assets.others()[name]['version']}" in notice

"""Every setting by its variable; an unknown or malformed one stops the start and says what is expected."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cds_service.settings import PREFIX, SettingError, Settings, described, load

GOOD: dict[str, tuple[str, Any]] = {
    "HOST": ("0.0.0.0", "0.0.0.0"),
    "PORT": ("65535", 65535),
    "WORKERS": ("64", 64),
    "PUBLIC_URL": ("https://cds.example.org/ketamine/", "https://cds.example.org/ketamine"),
    "FHIR_SERVERS": (
        "https://a.example.org/r4/ , http://[::1]:8080/fhir,",
        ("https://a.example.org/r4", "http://[::1]:8080/fhir"),
    ),
    "ANSWER_DEADLINE_MS": ("60000", 60_000),
    "FHIR_DEADLINE_MS": ("10", 10),
    "FHIR_THREADS": ("512", 512),
    "FHIR_MAX_BYTES": ("1000", 1000),
    "FHIR_MAX_TOTAL_BYTES": ("1000", 1000),
    "FHIR_CA_BUNDLE": (__file__, __file__),
    "MAX_BODY_BYTES": ("1000000000", 1_000_000_000),
    "CALLS_AT_ONCE": ("10000", 10_000),
    "BYTES_IN_FLIGHT": ("1000", 1_000),
    "JUDGED_AT_ONCE": ("1000", 1_000),
    "HEADER_SECONDS": ("300", 300),
    "BODY_SECONDS": ("300", 300),
    "CONNECTIONS": ("16", 16),
    "BACKLOG": ("65535", 65_535),
    "HUNG_SECONDS": ("300", 300),
    "SPARE_WORKERS": ("8", 8),
    "OVERLAY": ("site.yaml", "site.yaml"),
    "CANDIDATE": (__file__, __file__),
    "VALUESETS": (str(Path(__file__).parent), str(Path(__file__).parent)),
    "ELM": (str(Path(__file__).parent), str(Path(__file__).parent)),
    "PROTOCOLS": (f"{Path(__file__).parent}, /,", (str(Path(__file__).parent), "/")),
    "AUTH": ("required", "required"),
    "CLIENTS": (__file__, __file__),
    "CLOCK_SKEW_SECONDS": ("300", 300),
    "STATE_DIR": ("/var/lib/ketamine-cds", "/var/lib/ketamine-cds"),
    "REPLAY_URL": ("postgresql://db.example.org/cds", "postgresql://db.example.org/cds"),
    "CORS_ORIGINS": ("https://a.example.org, http://[::1]:8080,", ("https://a.example.org", "http://[::1]:8080")),
    "RATE_LIMIT": ("100000", 100_000),
    "STORE": ("postgresql://db.example.org/cds", "postgresql://db.example.org/cds"),
    "STORE_KEY_FILE": (__file__, __file__),
    "RETENTION_DAYS": ("36500", 36_500),
    "KEEP_FACTS_DAYS": ("30", 30),
    "SHADOW": ("on", "on"),
    "TLS_CERTIFICATE": (__file__, __file__),
    "TLS_KEY": (__file__, __file__),
    "LOG_LEVEL": ("WARNING", "WARNING"),
    "LOG_FORMAT": ("json", "json"),
    "CONSOLE": ("on", "on"),
    "CONSOLE_PORT": ("9001", 9001),
    "REPORTS": ("/", "/"),
    "CONSOLE_KEY_FILE": (__file__, __file__),
    "CONSOLE_KEY_ISSUER": ("https://console.example.org", "https://console.example.org"),
    "CONSOLE_SECRET_FILE": (__file__, __file__),
    "CONSOLE_PUBLIC_URL": ("https://console.example.org", "https://console.example.org"),
    "CONSOLE_OIDC_ISSUER": ("https://id.example.org/realm/", "https://id.example.org/realm"),
    "CONSOLE_OIDC_CLIENT_ID": ("console", "console"),
    "CONSOLE_OIDC_SECRET_FILE": (__file__, __file__),
    "CONSOLE_OIDC_SCOPE": ("openid groups", "openid groups"),
    "CONSOLE_OIDC_CLAIM": ("realm_access.roles", "realm_access.roles"),
    "CONSOLE_OIDC_ALLOWED": ("pharmacy, protocol owners,", ("pharmacy", "protocol owners")),
    "SANDBOX": ("loopback", "loopback"),
}
DEFAULTS = Settings(
    host="127.0.0.1",
    port=8000,
    workers=2,
    public_url=None,
    fhir_servers=(),
    answer_deadline_ms=450,
    fhir_deadline_ms=400,
    fhir_threads=32,
    fhir_max_bytes=8_000_000,
    fhir_max_total_bytes=16_000_000,
    fhir_ca_bundle=None,
    max_body_bytes=16_000_000,
    calls_at_once=128,
    bytes_in_flight=64_000_000,
    judged_at_once=16,
    header_seconds=10,
    body_seconds=5,
    connections=1024,
    backlog=1024,
    hung_seconds=5,
    spare_workers=1,
    overlay=None,
    candidate=None,
    valuesets=None,
    elm=None,
    auth=None,
    clients=None,
    clock_skew_seconds=60,
    state_dir=None,
    replay_url=None,
    store=None,
    store_key_file=None,
    retention_days=365,
    shadow="off",
    sandbox="off",
    console="loopback",
    console_port=8001,
    reports=None,
    console_secret_file=None,
    console_public_url=None,
    console_oidc_issuer=None,
    console_oidc_client_id=None,
    console_oidc_secret_file=None,
    console_oidc_scope="openid",
    console_oidc_claim="groups",
    console_oidc_allowed=(),
    cors_origins=(),
    rate_limit=None,
    tls_certificate=None,
    tls_key=None,
)
MAY_BE_ZERO = ("KEEP_FACTS_DAYS", "ANSWER_DEADLINE_MS", "CLOCK_SKEW_SECONDS", "RATE_LIMIT", "SPARE_WORKERS")
NUMBERS = [name for name, (_, value) in GOOD.items() if isinstance(value, int)]
URLS = ("PUBLIC_URL", "FHIR_SERVERS")


def test_without_variables_the_defaults_hold() -> None:
    assert load({}) == DEFAULTS


def test_variables_of_others_are_passed_over() -> None:
    assert load({"PATH": "/bin", "KETAMINE_TEST_X": "1", "ketamine_cds_port": "x", "KETAMINE_CDSX": "1"}) == DEFAULTS


def test_every_setting_is_tried_here() -> None:
    assert {PREFIX + name for name in GOOD} == {variable for variable, _, _ in described()}
    assert {name.lower() for name in GOOD} == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", GOOD)
def test_a_setting_is_read_from_its_variable(name: str) -> None:
    text, value = GOOD[name]
    assert load({PREFIX + name: text}) == dataclasses.replace(DEFAULTS, **{name.lower(): value})


def test_all_settings_are_read_together() -> None:
    settings = load({PREFIX + name: text for name, (text, _) in GOOD.items()})
    assert dataclasses.asdict(settings) == {name.lower(): value for name, (_, value) in GOOD.items()}


def test_an_unknown_setting_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(SettingError, match=r"KETAMINE_CDS_PROT is not a setting; did you mean KETAMINE_CDS_PORT\?"):
        load({"KETAMINE_CDS_PROT": "8000"})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["", " 5", "5 ", "-1", "0", "1e3", "0x10", "1_000", "٨٠", "8000.0", "9" * 5000, "x"])
def test_a_number_that_is_none_is_refused(name: str, text: str) -> None:
    if text == "0" and name in MAY_BE_ZERO:
        assert load({PREFIX + name: text}) == dataclasses.replace(DEFAULTS, **{name.lower(): 0})
        return
    with pytest.raises(SettingError, match=rf"{PREFIX}{name} is .*; expected is a whole number from \d+ to \d+"):
        load({PREFIX + name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "65536"),
        ("WORKERS", "65"),
        ("FHIR_DEADLINE_MS", "9"),
        ("FHIR_THREADS", "513"),
        ("MAX_BODY_BYTES", "999"),
    ],
)
def test_a_number_out_of_its_range_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=f"{PREFIX}{name} is '{text}'; expected is a whole number from"):
        load({PREFIX + name: text})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "text",
    [
        "ehr.example.org/r4",
        "ftp://ehr.example.org",
        "https://",
        "https:///r4",
        "https://ehr.example.org/r4?x=1",
        "https://ehr.example.org/r4#x",
        "https://ehr.example.org/r4?",
        "https://user:secret@ehr.example.org/r4",
        "https://ehr.example.org:0/r4",
        "https://ehr.example.org:99999/r4",
        "https://ehr.example.org:port/r4",
        "https://[::1/r4",
        "https://ehr.exam ple.org",
        "https://ehr.example.org\\r4",
        "https://ehr.example.org/r4\x00",
        "https://ehr.example.org/\tr4",
        "https://ehr.exämple.org",
    ],
)
def test_a_url_that_could_never_match_is_refused(name: str, text: str) -> None:
    with pytest.raises(
        SettingError, match=f"{PREFIX}{name} is .*; expected is an http or https URL without a user or"
    ):
        load({PREFIX + name: text})


def test_one_bad_server_among_good_ones_is_refused() -> None:
    with pytest.raises(SettingError, match="KETAMINE_CDS_FHIR_SERVERS"):
        load({"KETAMINE_CDS_FHIR_SERVERS": "https://a.example.org,b.example.org"})


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_servers_are_none(text: str) -> None:
    assert load({"KETAMINE_CDS_FHIR_SERVERS": text}).fhir_servers == ()


@pytest.mark.parametrize("name", ["HOST", "OVERLAY"])
def test_an_empty_text_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"{PREFIX}{name} is ''; expected is a text that is not empty"):
        load({PREFIX + name: ""})


@pytest.mark.parametrize("text", ["", "/no/such/file.pem", str(Path(__file__).parent)])
def test_a_bundle_of_authorities_that_is_no_file_is_refused(text: str) -> None:
    """Or each search would fail, and every card say that the server cannot be reached."""
    with pytest.raises(SettingError, match=r"KETAMINE_CDS_FHIR_CA_BUNDLE is .*; expected is a file that exists"):
        load({"KETAMINE_CDS_FHIR_CA_BUNDLE": text})


@pytest.mark.parametrize("name", ["ELM", "VALUESETS", "REPORTS"])
def test_a_folder_that_is_missing_or_may_not_be_read_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = f"{PREFIX}{name} is .*; expected is a directory that exists and can be read$"
    with pytest.raises(SettingError, match=refused):
        load({PREFIX + name: str(tmp_path / "none")})
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read every folder
    with pytest.raises(SettingError, match=refused):
        load({PREFIX + name: str(tmp_path)})


@pytest.mark.parametrize(
    "text",
    ["https://ehr.example.org/", "https://EHR.example.org", "ehr.example.org", "null", "https://*.example.org",
     "https://a.example.org https://b.example.org", "https://ehr.example.org/path"],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"KETAMINE_CDS_CORS_ORIGINS is .*; expected is origins"):
        load({"KETAMINE_CDS_CORS_ORIGINS": text})


@pytest.mark.parametrize("text", ["", "on", "true", "OFF", "Required"])
def test_authentication_is_required_or_off_or_loopback_and_no_other_word_is_understood(text: str) -> None:
    with pytest.raises(SettingError, match=r"KETAMINE_CDS_AUTH is .*; expected is one of required, off, loopback"):
        load({"KETAMINE_CDS_AUTH": text})


@pytest.mark.parametrize(
    ("settings", "local", "rate"),
    [(Settings(), True, 0), (Settings(public_url="http://localhost:1"), True, 0),
     (Settings(public_url="https://cds.example.org"), False, 50), (Settings(host="0.0.0.0"), False, 50),
     (Settings(host="0.0.0.0", rate_limit=0), False, 0), (Settings(rate_limit=7), True, 7)],
)  # fmt: skip
def test_a_proxy_before_loopback_makes_the_service_public_and_a_public_one_is_limited(
    settings: Settings, local: bool, rate: int
) -> None:
    assert settings.is_local is local
    assert settings.calls_per_second == rate


@pytest.mark.parametrize("text", ["", "on", "mysql://u:s3cret@x/y", "sqlite://", "Postgresql://u:s3cret@x/y"])
def test_a_store_that_is_none_is_refused_without_showing_its_password(text: str) -> None:
    with pytest.raises(SettingError, match="KETAMINE_CDS_STORE cannot be used; expected is off, or a URL") as refused:
        load({"KETAMINE_CDS_STORE": text})
    assert "s3cret" not in str(refused.value)


# What follows from them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:8000"),
        (Settings(host="::1", port=9), "http://[::1]:9"),
        (Settings(host="0.0.0.0", public_url="https://cds.example.org"), "https://cds.example.org"),
    ],
)
def test_cards_link_to_the_public_url_or_to_where_the_service_listens(settings: Settings, url: str) -> None:
    assert settings.base_url == url


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("cds.example.org", False)],
)  # fmt: skip
def test_loopback_is_known(host: str, loopback: bool) -> None:
    assert Settings(host=host).is_loopback is loopback


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(store="off"), None),
        (Settings(store="postgresql://db.example.org/cds"), "postgresql://db.example.org/cds"),
        (Settings(state_dir="/var/lib/cds"), "sqlite:////var/lib/cds/store.sqlite"),
    ],
)
def test_the_store_is_the_one_that_is_named_or_a_file_in_the_state_folder(
    settings: Settings, url: str | None
) -> None:
    assert settings.store_url == url


def test_settings_are_described_for_the_documentation() -> None:
    rows = {variable: (default, says) for variable, default, says in described()}
    assert rows["KETAMINE_CDS_PORT"] == ("8000", "port to listen on")
    assert rows["KETAMINE_CDS_FHIR_SERVERS"][0] == "–"
    assert all(says for _, says in rows.values())


@pytest.mark.parametrize("command", [["serve"], ["check", "-"], ["explain", "-"]])
def test_a_command_with_a_bad_setting_stops_with_one_line(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cds_service.cli", *command],
        env={"KETAMINE_CDS_PORT": "http"},
        input=b"{}",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 3
    assert run.stdout == b""
    assert run.stderr.decode() == (
        "ketamine-cds: KETAMINE_CDS_PORT is 'http'; expected is a whole number from 1 to 65535\n"
    )

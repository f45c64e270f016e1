"""The file of clients: read whole or refused with the place of the fault, and what each client has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.hooks import clients
from cds_service.hooks.clients import Client, ClientsError, RateLimit
from cds_service.knowledge import Knowledge
from cds_service.settings import SettingError, Settings
from cds_service.web import at_start, tenants
from tests.hooks.entries import OPEN, loaded, written
from tests.said import said
from tests.scenarios.build import NOW

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {"id": "ehr", "issuers": ["https://ehr.example.org"], "jku": ["https://ehr.example.org/jwks"]}
OVERLAY = """
site: {name}
limits:
  - {{limit: rate-warn, value: {value}, owner: P&T committee, date: 2026-11-01, reason: local practice}}
"""


# Reading -----------------------------------------------------------------------------------------------------------


def test_an_entry_needs_no_more_than_who_it_is_and_where_its_keys_are(tmp_path: Path) -> None:
    (client,) = clients.load(written(tmp_path, GOOD))
    assert client == Client(
        id="ehr",
        issuers=["https://ehr.example.org"],
        jku=["https://ehr.example.org/jwks"],
        algorithms=("ES384", "RS384"),
        max_lifetime_seconds=600,
        key_network="public",
        profile="standard",
    )


def test_toml_is_read_as_yaml_is(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.write_text('[[clients]]\nid = "ehr"\nissuers = ["i"]\njwks_file = "k.json"\n', "utf-8")
    assert clients.load(path) == (Client(id="ehr", issuers=["i"], jwks_file=str(tmp_path / "k.json")),)


def test_files_that_an_entry_names_lie_beside_it(tmp_path: Path) -> None:
    (client,) = clients.load(
        written(tmp_path, {**GOOD, "jwks_file": "k.json", "overlay": "sites/a.yaml", "profile": "own.toml"})
    )
    assert client.jwks_file == str(tmp_path / "k.json")
    assert client.overlay == str(tmp_path / "sites/a.yaml")
    assert client.profile == str(tmp_path / "own.toml")


def test_the_example_can_be_read() -> None:
    read = clients.load(ROOT / "examples/clients.yaml")
    assert {"epic", "sandbox", "standard"} == {client.profile for client in read}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"issuer": "x"}, r"unknown field `issuer` - at `\$\.clients\[0\]`"),
        ({"id": "A client"}, r"matching regex .* - at `\$\.clients\[0\]\.id`"),
        ({"id": 7}, r"Expected `str`, got `int` - at `\$\.clients\[0\]\.id`"),
        ({"issuers": "https://ehr.example.org"}, r"Expected `array`, got `str` - at `\$\.clients\[0\]\.issuers`"),
        ({"issuers": [""]}, r"at `\$\.clients\[0\]\.issuers\[0\]`"),
        ({"algorithms": []}, r"at `\$\.clients\[0\]\.algorithms`"),
        ({"algorithms": ["none"]}, r"Invalid enum value 'none' - at `\$\.clients\[0\]\.algorithms\[0\]`"),
        ({"algorithms": ["HS256"]}, "Invalid enum value 'HS256'"),
        ({"max_lifetime_seconds": 0}, r"at `\$\.clients\[0\]\.max_lifetime_seconds`"),
        ({"rate_limit": {"per_second": 0, "burst": 1}}, r"at `\$\.clients\[0\]\.rate_limit\.per_second`"),
        ({"rate_limit": {"per_second": 1}}, "missing required field `burst`"),
        ({"key_network": "everywhere"}, "Invalid enum value 'everywhere'"),
        ({"jku": []}, "client ehr: has issuers, but neither jku nor jwks_file"),
        ({"issuers": []}, "client ehr: has keys or a tenant, but no issuers"),
        ({"jku": ["http://ehr.example.org/jwks"]}, "is not https, which only key_network: loopback allows"),
        ({"jku": ["ehr.example.org/jwks"]}, "jku: 'ehr.example.org/jwks' is not an http or https URL"),
        ({"jku": ["https://user:pw@ehr.example.org/jwks"]}, "is not an http or https URL without a user"),
        ({"fhir_servers": ["ftp://ehr.example.org"]}, "fhir_servers: 'ftp://ehr.example.org' is not"),
        ({"cors_origins": ["https://ehr.example.org/"]}, "cors_origins: 'https://ehr.example.org/' is neither"),
        ({"cors_origins": ["https://EHR.example.org"]}, "cors_origins: .* is neither"),
        ({"cors_origins": ["null"]}, "cors_origins: 'null' is neither"),
        ({"cors_origins": ["https://*.example.org"]}, "cors_origins: .* is neither"),
    ],
)  # fmt: skip
def test_a_fault_is_refused_with_its_place(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, **change})
    with pytest.raises(ClientsError, match=says) as error:
        clients.load(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([GOOD, GOOD], "the id ehr stands twice"),
        ([OPEN, {"id": "open-2"}], "more than one client has no issuers"),
        ([GOOD, {**GOOD, "id": "b"}], "the issuer https://ehr.example.org belongs to several clients"),
        ([GOOD, {**GOOD, "id": "b", "tenant": "t"}], "are not told apart by a tenant each"),
        ([{**GOOD, "tenant": "t"}, {**GOOD, "id": "b", "tenant": "t"}], "are not told apart by a tenant each"),
        ([], r"at `\$\.clients`"),
    ],
)
def test_entries_that_contradict_each_other_are_refused(
    entries: list[dict[str, Any]], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ClientsError, match=says):
        clients.load(written(tmp_path, *entries))


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.yaml", "clients: ["), ("c.toml", "clients = ["), ("c.yaml", ""), ("c.yaml", "[]"), ("c.yaml", "clients: x"),
     ("c.yaml", "clients: []\nclients: []"), ("c.toml", "")],
)  # fmt: skip
def test_a_file_that_is_no_list_of_clients_is_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ClientsError, match=name):
        clients.load(tmp_path / name)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    for name in ("c.yaml", "none.yaml"):
        with pytest.raises(ClientsError, match=f"{name}: cannot be read"):
            clients.load(tmp_path / name)


# At the start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "is_required"),
    [
        (Settings(), False),
        (Settings(host="::1", port=9), False),
        (Settings(public_url="http://localhost:8000"), False),
        (Settings(host="0.0.0.0", auth="off"), False),
        (Settings(auth="required"), True),
        (Settings(host="0.0.0.0", auth="required"), True),
    ],
)
def test_authentication_is_off_on_loopback_and_elsewhere_as_it_is_set(settings: Settings, is_required: bool) -> None:
    assert settings.authenticates is is_required


@pytest.mark.parametrize(
    "settings",
    [
        Settings(host="0.0.0.0"),
        Settings(host="10.0.0.1"),
        Settings(host="cds.example.org"),
        # A proxy before a service on loopback makes it public.
        Settings(public_url="https://cds.example.org"),
        Settings(host="::", public_url="http://127.0.0.1:8000"),
        # The image's own settings, and one that was changed without deciding who may call.
        Settings(host="0.0.0.0", auth="loopback"),
        Settings(host="0.0.0.0", auth="loopback", public_url="https://cds.example.org"),
        Settings(host="0.0.0.0", auth="loopback", public_url="http://localhost:8000", clients="clients.yaml"),
    ],
)
def test_elsewhere_than_on_loopback_the_start_stops_unless_it_is_set(
    settings: Settings, knowledge: Knowledge
) -> None:
    with pytest.raises(SettingError, match="KETAMINE_CDS_AUTH must be required or off"):
        tenants.load(settings, knowledge, lambda: NOW)


def test_an_image_that_is_only_tried_needs_no_decision(knowledge: Knowledge) -> None:
    settings = Settings(host="0.0.0.0", auth="loopback", public_url="http://127.0.0.1:8000")
    assert tenants.load(settings, knowledge, lambda: NOW).authenticator is None


@pytest.mark.parametrize(
    ("entries", "settings", "says"),
    [
        ([OPEN], {}, "KETAMINE_CDS_CLIENTS must name who may call"),
        ([GOOD], {"fhir_servers": ("https://x.example",)}, "KETAMINE_CDS_FHIR_SERVERS is not used"),
        ([GOOD], {"host": "0.0.0.0"}, "KETAMINE_CDS_PUBLIC_URL must say"),
        ([GOOD], {"replay_url": "mysql://x/y"}, "KETAMINE_CDS_REPLAY_URL cannot be used"),
    ],
)
def test_settings_that_leave_nobody_or_anybody_to_call_stop_the_start(
    entries: list[Any], settings: dict[str, Any], says: str, tmp_path: Path, knowledge: Knowledge
) -> None:
    with pytest.raises(SettingError, match=says):
        loaded(tmp_path, knowledge, *entries, **settings)


@pytest.mark.parametrize(
    "settings", [{"state_dir": "/dev/null/state"}, {"replay_url": "sqlite:////dev/null/x.db"}], ids=str
)
def test_used_tokens_that_cannot_be_kept_are_said_and_do_not_stop_the_start(
    settings: dict[str, str], tmp_path: Path, knowledge: Knowledge, caplog: pytest.LogCaptureFixture
) -> None:
    """Orders that go unchecked are worse than a token that another worker might take a second time."""
    made = loaded(tmp_path, knowledge, GOOD, **settings)
    assert made.authenticator is not None
    assert not made.authenticator.remembers()
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("used tokens are not shared by the workers, each remembers its own: /dev/null/")


@pytest.mark.parametrize(
    "change",
    [
        {"issuers": ["https://sandbox.cds-hooks.org"]},
        {"issuers": ["https://ehr.example.org", "https://sandbox.cds-hooks.org/"]},
        {"issuers": ["HTTPS://SANDBOX.cds-hooks.org."]},
        {"issuers": ["sandbox.cds-hooks.org"]},
        {"jku": ["https://sandbox.cds-hooks.org/.well-known/jwks.json"]},
    ],
    ids=str,
)
def test_an_issuer_whose_private_key_is_public_may_call_on_loopback_alone(
    change: dict[str, Any], tmp_path: Path, knowledge: Knowledge
) -> None:
    with pytest.raises(ClientsError, match=r"client ehr: anyone can sign as .*cds\.example\.org"):
        loaded(tmp_path, knowledge, GOOD | change, public_url="https://cds.example.org")
    assert loaded(tmp_path, knowledge, GOOD | change, public_url="http://localhost:8000").by_id
    assert loaded(tmp_path, knowledge, GOOD | change, host="0.0.0.0", public_url="http://127.0.0.1:8000").by_id


def test_without_a_file_there_is_one_anonymous_client_made_of_the_settings(knowledge: Knowledge) -> None:
    made = tenants.load(Settings(fhir_servers=("https://x.example/fhir",)), knowledge, lambda: NOW)
    assert made.authenticator is None
    assert made.anonymous is not None
    assert made.anonymous.id == "anonymous"
    assert made.anonymous.knowledge is knowledge
    assert made.anonymous.servers.allowed == ("https://x.example/fhir",)
    assert made.anonymous.bucket is None


def test_without_authentication_the_entry_without_issuers_is_the_caller(tmp_path: Path, knowledge: Knowledge) -> None:
    entry = {**OPEN, "profile": "sandbox", "fhir_servers": ["http://127.0.0.1:1/fhir/"]}
    made = loaded(tmp_path, knowledge, GOOD, entry, auth="off", fhir_servers=("https://x.example",))
    assert made.anonymous is not None
    assert (made.anonymous.id, made.anonymous.servers.allowed) == ("open", ("http://127.0.0.1:1/fhir",))
    assert set(made.by_id) == {"open"}


def test_with_authentication_nobody_is_anonymous(tmp_path: Path, knowledge: Knowledge) -> None:
    made = loaded(tmp_path, knowledge, GOOD, OPEN)
    assert made.anonymous is None
    assert set(made.by_id) == {"ehr"}


# What is a client's own --------------------------------------------------------------------------------------------


def test_each_client_may_have_an_overlay_and_each_overlay_is_loaded_once(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    (tmp_path / "north.yaml").write_text(OVERLAY.format(name="North", value="0.4"), "utf-8")
    (tmp_path / "south.yaml").write_text(OVERLAY.format(name="South", value="0.3"), "utf-8")
    entries = [
        {**GOOD, "id": name, "tenant": name, **({"overlay": overlay} if overlay else {})}
        for name, overlay in {"a": "north.yaml", "b": "south.yaml", "c": "north.yaml", "d": None}.items()
    ]
    made = loaded(tmp_path, knowledge, *entries)
    known = {name: tenant.knowledge for name, tenant in made.by_id.items()}
    assert known["a"] is known["c"]
    assert known["a"] is not known["b"]
    assert known["d"] is knowledge
    assert [known[name].protocol.site for name in "abd"] == ["North", "South", None]
    assert set(made.sites) == {"north", "south"}
    assert known["a"].public_url.endswith("/sites/north")


def test_the_overlay_of_the_settings_is_not_loaded_twice(tmp_path: Path, knowledge: Knowledge) -> None:
    made = loaded(tmp_path, knowledge, {**GOOD, "overlay": "n.yaml"}, overlay=str(tmp_path / "x" / ".." / "n.yaml"))
    assert made.by_id["ehr"].knowledge is knowledge
    assert made.sites == {}


def test_overlays_of_one_name_in_two_folders_are_refused(tmp_path: Path, knowledge: Knowledge) -> None:
    """Their pages would have one address."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "site.yaml").write_text(OVERLAY.format(name=folder, value="0.4"), "utf-8")
    entries = [{**GOOD, "id": name, "tenant": name, "overlay": f"{name}/site.yaml"} for name in ("a", "b")]
    with pytest.raises(ClientsError, match="overlays need different file names"):
        loaded(tmp_path, knowledge, *entries)


def test_each_client_has_its_own_fhir_servers(tmp_path: Path, knowledge: Knowledge) -> None:
    entries = [
        {**GOOD, "id": name, "tenant": name, "fhir_servers": [f"https://{name}.example/fhir"]} for name in ("a", "b")
    ]
    made = loaded(tmp_path, knowledge, *entries)
    assert made.by_id["a"].servers.source("https://a.example/fhir", None).why_not is None
    why_not = made.by_id["a"].servers.source("https://b.example/fhir", None).why_not
    assert "not on the allowlist" in said(why_not or "")


def test_a_profile_that_does_not_exist_stops_the_start(tmp_path: Path, knowledge: Knowledge) -> None:
    with pytest.raises(
        ClientsError, match="client ehr: profile 'cerner' is unknown; known are epic, sandbox, standa"
    ):
        loaded(tmp_path, knowledge, {**GOOD, "profile": "cerner"})


@pytest.mark.parametrize(
    ("entry", "settings", "has_limit"),
    [
        ({}, {}, False),
        ({}, {"rate_limit": 5}, True),
        ({"rate_limit": {"per_second": 1, "burst": 1}}, {"rate_limit": 0}, True),
        ({}, {"public_url": "https://cds.example.org"}, True),
        ({}, {"public_url": "https://cds.example.org", "rate_limit": 0}, False),
    ],
)
def test_calls_are_limited_by_the_entry_else_by_the_setting_and_not_on_loopback(
    entry: dict[str, Any], settings: dict[str, Any], has_limit: bool, tmp_path: Path, knowledge: Knowledge
) -> None:
    made = loaded(tmp_path, knowledge, {**GOOD, **entry}, **settings)
    assert (made.by_id["ehr"].bucket is not None) is has_limit


def test_a_rate_limit_is_read(tmp_path: Path) -> None:
    (client,) = clients.load(written(tmp_path, {**GOOD, "rate_limit": {"per_second": 20, "burst": 60}}))
    assert client.rate_limit == RateLimit(per_second=20, burst=60)


# What a client sends ------------------------------------------------------------------------------------------------


def test_the_keys_that_a_client_sends_are_those_of_the_service(tmp_path: Path) -> None:
    (client,) = clients.load(written(tmp_path, {**GOOD, "sends": ["patient", "vitalSigns"]}))
    assert client.sends == ["patient", "vitalSigns"]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("vitals", "vitalSigns"), ("Conditions", "conditions"), ("medicationRequests", "medications")],
)
def test_a_key_that_the_service_does_not_know_is_refused_with_the_nearest(
    key: str, nearest: str, tmp_path: Path
) -> None:
    with pytest.raises(ClientsError, match=f"client ehr: sends: '{key}' .* did you mean {nearest}\\?"):
        clients.load(written(tmp_path, {**GOOD, "sends": ["patient", key]}))


def test_at_the_start_the_operator_is_told_what_a_client_never_sends_and_what_has_no_codes(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    most = [query.key for query in knowledge.queries if query.key not in ("procedures", "symptoms")]
    made = loaded(tmp_path, knowledge, {**GOOD, "sends": most}, {**GOOD, "id": "other", "issuers": ["https://o"]})
    told = list(at_start.lines(made))
    assert told[0].startswith("NOT SENT by ehr: symptoms, procedures;")
    assert "loc_infusion_clinic (outpatient-home-use)" in told[1]
    assert len(told) == 2

"""The SMART app of a client: cards lead to it only where its entry says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.hooks import clients
from cds_service.hooks.clients import ClientsError
from cds_service.knowledge import Knowledge
from tests.hooks.entries import OPEN, loaded, written

# The SMART app ------------------------------------------------------------------------------------------------------

APP: dict[str, Any] = {**OPEN, "fhir_servers": ["https://ehr.example.org/r4"], "smart": {"client_id": "gauge"}}
HERE: dict[str, Any] = {"auth": "off", "console": "loopback"}


def test_cards_lead_to_an_app_only_where_the_entry_says_so(tmp_path: Path, knowledge: Knowledge) -> None:
    without = loaded(tmp_path, knowledge, {**APP, "smart": None}, **HERE)
    assert without.anonymous is not None
    assert without.anonymous.app_url is None
    with_it = loaded(tmp_path, knowledge, APP, **HERE)
    assert with_it.anonymous is not None
    assert with_it.anonymous.app_url == "http://127.0.0.1:8001/smart/open/launch"
    at = {**HERE, "console": "on", "console_public_url": "https://console.example.org"}
    elsewhere = loaded(tmp_path, knowledge, APP, **at).anonymous
    assert elsewhere is not None
    assert elsewhere.app_url == "https://console.example.org/smart/open/launch"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"fhir_servers": []}, "the app reads the chart from one of fhir_servers, and there are none"),
        ({"fhir_servers": ["http://ehr.example.org/r4"]}, "is not https, which only a loopback address need not be"),
        ({"smart": {}}, "client_id"),
        ({"smart": {"client_id": "x", "secret": "y"}}, "unknown field `secret`"),
        ({"smart": {"client_id": "x", "authorization_servers": ["https://a.example/path"]}}, "is not https://host"),
        ({"smart": {"client_id": "x", "authorization_servers": ["http://a.example"]}}, "is not https://host"),
    ],
)
def test_a_fault_of_the_app_is_refused_with_its_place(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientsError, match=says):
        clients.load(written(tmp_path, {**APP, **changed}))


def test_an_app_without_a_console_or_without_https_stops_the_start(tmp_path: Path, knowledge: Knowledge) -> None:
    with pytest.raises(ClientsError, match="the app is part of the console, and there is none here"):
        loaded(tmp_path, knowledge, APP, auth="off", console="off")
    with pytest.raises(ClientsError, match="KETAMINE_CDS_CONSOLE_PUBLIC_URL must be https"):
        loaded(tmp_path, knowledge, APP, auth="off", console="on", public_url="http://cds.example.org")

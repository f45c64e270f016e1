"""What the command writes with --as-of now is what the running service answers over HTTP on the same patients."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from cds_service import cli
from cds_service.cards.model import EXTENSION
from cds_service.fhir import lenient
from cds_service.knowledge import Knowledge
from cds_service.retrospect import synthetic
from cds_service.retrospect.policies import OLD
from cds_service.retrospect.synthetic import Signed
from cds_service.settings import Settings
from cds_service.store import keys
from cds_service.web.app import create_app
from tests.hooks.conformance import decoded
from tests.retrospect.conftest import write_export
from tests.retrospect.server import Server
from tests.servers.local import Received, Reply, local_server

PLENTY_MS = 30_000


def test_no_order_is_answered_otherwise_over_http(
    patients: list[Signed], knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule that fired, each that could not be told, and each card, for every order of the export; of what
    informs, whatever is on a card."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_bytes(base64.b64encode(os.urandom(48)))
    monkeypatch.setenv("KETAMINE_CDS_STORE_KEY_FILE", str(key))
    resources = [dict(resource) for each in patients for resource in each.exported]
    source, report = write_export(tmp_path / "export", resources), tmp_path / "report"
    for kind in synthetic.TYPES:
        (source / f"{kind}.ndjson").touch()  # of some types these patients have nothing, which the export says so
    given = ["--as-of", "now", "--now", synthetic.END.isoformat(), "--workers", "1", "--out", str(report)]
    assert cli.main(["replay", str(source), *given]) == 0
    rows = duckdb.sql(f"SELECT * FROM read_parquet('{report / 'outcomes.parquet'}')")
    written = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
    with local_server(as_fhir_server(Server(resources))) as ehr:
        settings = Settings(fhir_servers=(ehr.base,), fhir_deadline_ms=PLENTY_MS, answer_deadline_ms=PLENTY_MS)
        service = create_app(settings, knowledge, clock=lambda: synthetic.END).test_client()
        for each in patients:
            sent = service.post("/cds-services/ketamine-order-sign", json=request_of(each, ehr.base))
            assert sent.status_code == 200
            name = keys.read(str(key)).digest("replay order", each.patient, each.order)[:16]
            mine = [row for row in written if row["order"] == name]
            replayed, answered = said_by_replay(mine), said_over_http(decoded(sent.data))
            assert set(answered.pop("informed")) <= set(replayed.pop("informed"))
            assert replayed == answered, each.patient
            assert any(row["kind"] == "order" and row["status"] == "judged" for row in mine)


def as_fhir_server(server: Server) -> Any:
    def script(received: Received) -> Reply:
        body = server.body(received.path.removeprefix("/fhir/"))
        return Reply(b"", 404) if body is None else Reply(body)

    return script


def request_of(each: Signed, base: str) -> Any:
    draft = next(r for r in each.exported if r.get("id") == each.order)
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {**draft, "status": "draft"}}]}
    context = {**each.request["context"], "draftOrders": bundle}
    made = {
        "hook": "order-sign",
        "hookInstance": each.request["hookInstance"],
        "fhirServer": base,
        "context": context,
    }
    return msgspec.json.decode(lenient.encode(made))


Said = dict[str, list[Any]]


def said_by_replay(rows: list[dict[str, Any]]) -> Said:
    of_rules = [row for row in rows if row["kind"] == "rule" and row["policy"] == OLD]
    return {
        **_by_severity((row["rule"], row["severity"]) for row in of_rules if row["status"] == "fired"),
        "untold": sorted({row["rule"] for row in of_rules if row["status"] == "could-not-tell"}),
        "cards": sorted((row["rule"], row["severity"]) for row in rows if row["kind"] == "card"),
    }


def said_over_http(answer: dict[str, Any]) -> Said:
    listed = [rule for card in answer["cards"] for rule in card["extension"][EXTENSION]["rules"]]
    return {
        **_by_severity((rule["id"], rule["severity"]) for rule in listed),
        "untold": sorted({each["rule"] for each in answer["extension"][EXTENSION]["notChecked"]}),
        "cards": sorted((card["source"]["topic"]["code"], card["indicator"]) for card in answer["cards"]),
    }


def _by_severity(fired: Iterable[tuple[str, str]]) -> Said:
    """What informs is told apart: not all of it has a place on a card."""
    found = sorted(fired)
    return {
        "fired": [each for each in found if each[1] != "info"],
        "informed": [each for each in found if each[1] == "info"],
    }

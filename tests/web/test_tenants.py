"""What each client has of its own: limits, the form of its cards, and the FHIR servers that it may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from tests.hooks.client import client, encoded, topics
from tests.hooks.conformance import decoded, faults
from tests.hooks.tokens import PUBLIC_URL
from tests.scenarios.build import hook_request
from tests.servers.local import Received, Reply, local_server
from tests.web.callers import JSON, ORDER, SIGN, Caller, service


def test_each_client_is_judged_by_its_own_limits_and_its_cards_link_to_them(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    limit = "{limit: rate-warn, value: 0.2, owner: P&T, date: 2026-11-01, reason: local practice}"
    (tmp_path / "strict.yaml").write_text(f"site: Strict\nlimits: [{limit}]", "utf-8")
    strict, plain = Caller(tmp_path, "strict", overlay="strict.yaml"), Caller(tmp_path, "plain")
    http = service(knowledge, tmp_path, strict.entry, plain.entry)
    order = hook_request({"order": {"rate": "0.3 mg/kg/h"}, "patient": {"weight": "80 kg"}})
    strictly, plainly = decoded(strict.sign(http, order).data), decoded(plain.sign(http, order).data)
    assert faults(strictly) == []
    assert "rate-exceeds-protocol-max" in topics(strictly)
    assert "rate-exceeds-protocol-max" not in topics(plainly)
    url = strictly["cards"][0]["source"]["url"]
    assert url.startswith(f"{PUBLIC_URL}/sites/strict/protocol/")
    page = http.get(url.removeprefix(PUBLIC_URL))
    assert page.status_code == 200
    assert "Strict" in page.text
    assert http.get("/sites/unknown/protocol/weight-missing").status_code == 404


def test_each_client_gets_the_cards_in_its_form(knowledge: Knowledge, tmp_path: Path) -> None:
    epic, plain = Caller(tmp_path, "epic", profile="epic"), Caller(tmp_path, "plain")
    http = service(knowledge, tmp_path, epic.entry, plain.entry)
    for_epic, as_is = decoded(epic.sign(http).data), decoded(plain.sign(http).data)
    assert topics(as_is)[0] == "rate-exceeds-ceiling"
    assert topics(for_epic)[0] == "rateexceedsceiling"
    assert as_is["cards"][0]["suggestions"][0]["actions"][0]["type"] == "update"
    assert as_is["cards"][0]["suggestions"][0]["label"] in for_epic["cards"][0]["detail"]


def test_a_client_may_only_name_its_own_fhir_server(knowledge: Knowledge, tmp_path: Path) -> None:
    with local_server(Reply(b"{}", status=404)) as mine, local_server(Reply(b"{}")) as anothers:
        a = Caller(tmp_path, "a", fhir_servers=[mine.base])
        b = Caller(tmp_path, "b", fhir_servers=[anothers.base])
        http = service(knowledge, tmp_path, a.entry, b.entry)
        request = hook_request(ORDER) | {"prefetch": {}}
        for server in (mine, anothers):
            answer = a.sign(http, request | {"fhirServer": server.base, "fhirAuthorization": {"access_token": "t"}})
            assert answer.status_code == 200
        assert mine.received
        assert all(request.headers["authorization"] == "Bearer t" for request in mine.received)
        assert anothers.connections == []


@pytest.mark.parametrize(
    "form",
    ["http://localhost:{port}/fhir", "http://127.0.0.1.:{port}/fhir", "http://[::ffff:127.0.0.1]:{port}/fhir",
     "http://2130706433:{port}/fhir", "http://127.1:{port}/fhir", "http://0x7f000001:{port}/fhir",
     "http://allowed.example@127.0.0.1:{port}/fhir", "http://127.0.0.1:{port}\\@allowed.example/fhir",
     "http://0:{port}/fhir", "http://[::1]:{port}/fhir", "http://127.0.0.1%2f:{port}/fhir"],
)  # fmt: skip
def test_another_way_to_write_an_address_is_another_server(form: str, knowledge: Knowledge) -> None:
    """A private address is asked only where the allowlist names that very host."""
    with local_server(Reply(b"{}")) as server:
        for allowed in ("http://allowed.example/fhir", f"http://127.0.0.1:{server.port}/fhir"):
            http = client(knowledge, Settings(fhir_servers=(allowed,)))
            request = hook_request(ORDER) | {"prefetch": {}, "fhirServer": form.format(port=server.port)}
            assert http.post(SIGN, data=encoded(request), content_type=JSON).status_code == 200
        assert server.connections == []


def test_a_medication_elsewhere_is_not_fetched(knowledge: Knowledge) -> None:
    """The reference of an order may be absolute, and then leads where its writer wants."""

    def script(request: Received) -> Reply:
        return Reply(b"{}", status=404)

    with local_server(script) as mine, local_server(Reply(b"{}")) as anothers:
        http = client(knowledge, Settings(fhir_servers=(mine.base,)))
        request = hook_request(ORDER)
        draft = request["context"]["draftOrders"]["entry"][0]["resource"]
        draft.pop("medicationCodeableConcept", None)
        for reference in (f"{anothers.base}/Medication/1", f"//127.0.0.1:{anothers.port}/Medication/1"):
            draft["medicationReference"] = {"reference": reference}
            http.post(SIGN, data=encoded(request | {"fhirServer": mine.base}), content_type=JSON)
        assert anothers.connections == []

"""Loading the sample patients into a FHIR server; into a real one: tests/servers/test_hapi_server.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.bundle import Bundle

from cds_service.commands import samples
from cds_service.fhir import lenient
from cds_service.sandbox import charts
from cds_service.sandbox.caller import Failed, Web
from tests.servers.local import Received, Reply, local_server
from tests.servers.ports import unused_port

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def test_each_chart_is_one_valid_transaction_and_together_they_hold_everything_once() -> None:
    written = []
    for patient in charts.patients():
        bundle = Bundle.model_validate_json(lenient.encode(samples.transaction(patient.id, NOW)))
        assert bundle.type == "transaction"
        written += [entry.request.url for entry in bundle.entry]
    assert sorted(written) == sorted(f"{kind}/{name}" for kind, name in charts.resources_at(NOW))


def test_a_server_that_still_starts_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    def script(request: Received) -> Reply:
        is_up = len(server.received) > 3
        return Reply(b"{}", 200 if is_up else 503)

    with local_server(script) as server:
        assert samples.main([f"{server.base}/"]) == 0
        posted = [request for request in server.received if request.body]
    assert len(posted) == len(charts.patients())
    assert capsys.readouterr().out == f"{len(charts.patients())} patients are at {server.base}\n"


def test_what_the_server_says_against_a_chart_is_said_and_stops_the_loading(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = b'{"resourceType": "OperationOutcome", "issue": [{"diagnostics": "ids are numbers here"}]}'
    with local_server(lambda request: Reply(outcome, 400 if request.body else 200)) as server:
        assert samples.main([server.base]) == 2
    first = charts.patients()[0].id
    assert capsys.readouterr().err == f"{server.base} answered 400 to the chart of {first}: ids are numbers here\n"


def test_a_server_that_does_not_come_up_is_given_up() -> None:
    with pytest.raises(Failed, match=r"did not answer within 0\.3 s"):
        samples.load(f"http://127.0.0.1:{unused_port()}/fhir", Web(), NOW, patience=0.3)


@pytest.mark.parametrize("given", [[], ["no-url"], ["http://a/fhir", "http://b/fhir"]])
def test_called_wrongly_it_says_what_to_give(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert samples.main(given) == 3
    assert "base URL" in capsys.readouterr().err

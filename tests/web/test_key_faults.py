"""A client whose key server fails, through the whole service: refused in time, and known again at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.knowledge import Knowledge
from cds_service.web.security import read_keys
from tests.hooks.client import encoded
from tests.hooks.tokens import PUBLIC_URL, Signer, jwks
from tests.scenarios.build import NOW, hook_request
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.waiting import until
from tests.web.callers import JSON, ORDER, SIGN, service

ISSUER = "https://ehr.example.org"


class Site:
    """A client with one key server, which waits where `goes_on` is not set."""

    def __init__(self, http: FlaskClient, server: LocalServer, signer: Signer) -> None:
        self.http, self.server, self._signer = http, server, signer
        self.seconds = 0.0
        """How long the last order took."""

    def sign(self) -> int:
        """The status of an order."""
        token = self._signer.token(NOW, iss=ISSUER, aud=PUBLIC_URL + SIGN)
        headers = {"Authorization": f"Bearer {token}"}
        body: Any = encoded(hook_request(ORDER))
        began = time.monotonic()
        status = self.http.post(SIGN, data=body, content_type=JSON, headers=headers).status_code
        self.seconds = time.monotonic() - began
        return status


@contextmanager
def site(knowledge: Knowledge, folder: Path, goes_on: threading.Event, answer_deadline_ms: int) -> Iterator[Site]:
    signer = Signer()

    def script(request: Received) -> Reply:
        goes_on.wait(30)
        return Reply(jwks(signer))

    with local_server(script) as server:
        jku = server.base.replace("/fhir", "/jwks")
        entry = {"id": "ehr", "issuers": [ISSUER], "jku": [jku], "key_network": "loopback"}
        try:
            yield Site(service(knowledge, folder, entry, answer_deadline_ms=answer_deadline_ms), server, signer)
        finally:
            goes_on.set()


def test_an_order_is_refused_at_its_deadline_and_the_reading_goes_on_for_the_next(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    goes_on = threading.Event()
    with site(knowledge, tmp_path, goes_on, answer_deadline_ms=100) as ehr:
        assert [ehr.sign() for _ in range(3)] == [401, 401, 401]
        goes_on.set()
        until(lambda: ehr.sign() == 200, "the keys are still away")


def test_keys_that_a_worker_reads_at_its_start_are_there_for_its_first_order(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    goes_on = threading.Event()
    goes_on.set()
    with site(knowledge, tmp_path, goes_on, answer_deadline_ms=60_000) as ehr:
        read_keys(ehr.http.application)
        assert ehr.sign() == 200
        assert len(ehr.server.received) == 1


@pytest.mark.timing
def test_an_order_of_a_client_whose_key_server_says_nothing_takes_no_longer_than_its_deadline(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    with site(knowledge, tmp_path, threading.Event(), answer_deadline_ms=400) as ehr:
        took = []
        for _ in range(4):  # the first waits for what an application loads late, the others for the keys
            assert ehr.sign() == 401
            took.append(ehr.seconds)
        assert min(took) < 0.5
        assert max(took[1:]) > 0.3, "they did wait"

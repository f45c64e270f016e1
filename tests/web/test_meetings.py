"""Calls that meet in one worker while another may be free: the first answer sends its caller to connect anew."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.web.test_certificates import own_certificate
from tests.web.test_server import PATIENCE, Running, started
from tests.web.test_workers import BODY, SIGN, figures

TWO_WORKERS = {"KETAMINE_CDS_WORKERS": "2"}
CALLS = 3
"""Of which two are in the same of two workers."""


@contextmanager
def _serving(folder: Path, **settings: str) -> Iterator[Running]:
    with started(folder, None, KETAMINE_CDS_BODY_SECONDS=str(PATIENCE), **settings) as running:
        running.wait_for("Listening on ")
        yield running


def _last_answers(service: Running, tls: ssl.SSLContext | None = None) -> list[bool]:
    """Of calls that are all in progress before the first is answered: whether each closes its connection."""
    host = f"localhost:{service.base.rpartition(':')[2]}"
    with ExitStack() as ends:
        calls = [
            http.client.HTTPSConnection(host, timeout=PATIENCE, context=tls)
            if tls
            else http.client.HTTPConnection(host, timeout=PATIENCE)
            for _ in range(CALLS)
        ]
        for call in calls:
            ends.enter_context(closing(call))
            call.putrequest("POST", SIGN)
            call.putheader("Content-Type", "application/json")
            call.putheader("Content-Length", str(len(BODY)))
            call.endheaders(BODY[:-1])
        found = []
        for call in calls:
            call.send(BODY[-1:])
            answer = call.getresponse()
            assert answer.status == 200
            assert answer.read()
            found.append(answer.will_close)
    return found


def test_of_calls_that_meet_in_a_worker_one_is_sent_to_connect_anew_and_counted(tmp_path: Path) -> None:
    with _serving(tmp_path, **TWO_WORKERS) as service:
        *earlier, last = _last_answers(service)
        assert any(earlier)
        assert not last, "it met none"
        assert figures(service)["ketamine_cds_connections_moved_total", frozenset()] == sum(earlier)


def test_where_there_is_no_other_worker_each_keeps_its_connection(tmp_path: Path) -> None:
    with _serving(tmp_path) as service:
        assert _last_answers(service) == [False] * CALLS


def test_over_tls_where_a_connection_costs_more_than_to_wait_each_keeps_its_own(tmp_path: Path) -> None:
    settings, trusts = own_certificate(tmp_path)
    with _serving(tmp_path, **TWO_WORKERS, **settings) as service:
        assert _last_answers(service, trusts) == [False] * CALLS

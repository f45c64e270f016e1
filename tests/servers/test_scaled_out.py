"""Two real instances of the service on one PostgreSQL, behind nginx with the configuration that is documented."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from cds_service.cards.model import EXTENSION
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.fhir import lenient
from cds_service.store import engines, retention
from tests.hooks.tokens import ISSUER, Signer, jwks
from tests.servers import nginx
from tests.servers.postgres import Postgres, postgres
from tests.store.test_served import killed, served, wait_for_records
from tests.waiting import until
from tests.web.recording import CODED

__all__ = ["postgres"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "ward-infusion-over-the-limit.json"
SIGN = "/cds-services/ketamine-order-sign"
OUTSIDE = "https://cds.example.org"
"""The public URL in the shipped configuration, and so the audience of tokens."""
RATE = "rate-exceeds-protocol-max"
PATIENCE = 60
CLIENTS = 4
HANGS = 1.5
"""Seconds for which it hangs before it is killed."""
SETTLED = 0.25
"""Seconds after the kill in which nginx may still meet a connection that has just been closed."""


@dataclass
class Cluster:
    """The proxy, which is what an EHR sees, and the two instances behind it."""

    proxy: nginx.Proxy
    instances: list[tuple[subprocess.Popen[bytes], str]]
    store: str
    signer: Signer
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.verify = self.proxy.certificate
        self.session.trust_env = False

    @property
    def url(self) -> str:
        return self.proxy.url

    def token(self, path: str = SIGN, base: str = OUTSIDE) -> str:
        return self.signer.token(datetime.now(UTC), aud=base + path)

    def post(self, body: bytes, token: str | None = None, base: str | None = None, path: str = SIGN) -> Any:
        """As an EHR calls: a new token for each call, unless one is given. `base`: an instance, past nginx."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token(path)}"}
        return self.session.post((base or self.url) + path, data=body, headers=headers, timeout=PATIENCE)

    def judged(self, number: int) -> float:
        """Orders that an instance has answered, by its own figures."""
        text = requests.get(f"{self.instances[number][1]}/metrics", timeout=PATIENCE).text
        pattern = r'^ketamine_cds_requests_total\{.*service="ketamine-order-sign".*\} (\S+)$'
        return sum(float(count) for count in re.findall(pattern, text, re.MULTILINE))


@pytest.fixture(scope="module")
def cluster(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once, since that takes longer than all calls. The last test takes an instance away."""
    missing = nginx.why_not()
    if missing is not None:
        if os.environ.get(nginx.REQUIRE):
            pytest.fail(f"{nginx.REQUIRE} is set, but {missing}")
        pytest.skip(missing)
    with started(postgres.database(), tmp_path_factory.mktemp("cluster")) as made:
        yield made


@contextmanager
def started(store: str, folder: Path) -> Iterator[Cluster]:
    """Each instance has a state folder of its own, as on a machine of its own; store and used tokens are shared."""
    signer = Signer()
    (folder / "jwks.json").write_bytes(jwks(signer))
    entry = {"id": "hospital", "issuers": [ISSUER], "jwks_file": "jwks.json", "audience": [f"{OUTSIDE}/ketamine"]}
    (folder / "clients.yaml").write_text(json.dumps({"clients": [entry]}))
    settings = {
        "KETAMINE_CDS_PUBLIC_URL": OUTSIDE,
        "KETAMINE_CDS_AUTH": "required",
        "KETAMINE_CDS_CLIENTS": str(folder / "clients.yaml"),
        "KETAMINE_CDS_REPLAY_URL": store,
        "KETAMINE_CDS_WORKERS": "1",
        "KETAMINE_CDS_RATE_LIMIT": "0",
        "KETAMINE_CDS_ANSWER_DEADLINE_MS": "0",  # a busy machine makes no answer wrong
    }
    with ExitStack() as stack:

        def start(name: str) -> tuple[subprocess.Popen[bytes], str]:
            (folder / name).mkdir()
            return stack.enter_context(served(store, folder / name, **settings))

        with ThreadPoolExecutor(2) as pool:
            instances = list(pool.map(start, ("first", "second")))
        ports = [urlsplit(base).port or 0 for _, base in instances]
        made = Cluster(stack.enter_context(nginx.nginx(*ports)), instances, store, signer)
        stack.callback(made.session.close)
        yield made


def order(name: str = "overridden-later") -> bytes:
    """An infusion above the limit, of now. What is overridden of an order stays quiet for that order."""
    request = moved(read(str(EXAMPLE)), datetime.now(UTC) - AS_OF)
    request["context"]["draftOrders"]["entry"][0]["resource"]["id"] = name
    request["hookInstance"] = str(uuid4())
    return lenient.encode(request)


def _records(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    return [record for record in retention.export(engines.url_of(cluster.store)) if record["record"] == kind]


# One answer, whichever instance gives it ----------------------------------------------------------------------------


def test_instances_share_used_tokens_feedback_and_overrides_and_nginx_closes_what_is_inside(cluster: Cluster) -> None:
    """One start of everything for all of it: a start takes longer than the calls."""
    # The inside is closed, however its path is written; both public URLs work.
    for path in ("/metrics", "/healthz", "/readyz", "//metrics", "/./metrics", "/%6detrics", "/x/../readyz"):
        for prefix in ("", "/ketamine"):
            asked = requests.Request("GET", cluster.url).prepare()
            asked.url = cluster.url + prefix + path  # as it is, without being put right
            assert cluster.session.send(asked, timeout=PATIENCE).status_code == 404, prefix + path
    assert cluster.session.get(f"{cluster.url}/openapi.json", timeout=PATIENCE).status_code == 200
    below = cluster.token(base=f"{OUTSIDE}/ketamine")
    assert cluster.post(order(), below, base=f"{cluster.url}/ketamine").json()["cards"]

    # Each instance gets its share of the calls.
    for _ in range(4):
        assert cluster.post(order()).json()["cards"]
    assert min(cluster.judged(0), cluster.judged(1)) >= 2

    # A token that one instance took, neither takes again.
    for here, there in ((0, 1), (1, 0)):
        token = cluster.token()
        bases = [cluster.instances[number][1] for number in (here, there, here)]
        assert [cluster.post(order(), token, base).status_code for base in bases] == [200, 401, 401]

    # Feedback that comes twice, to one instance each, is kept once.
    first = cluster.post(order(), base=cluster.instances[0][1]).json()
    wait_for_records(cluster.store, 8)
    entries = [{"card": card["uuid"], "outcome": "overridden", "overrideReason": CODED} for card in first["cards"]]
    feedback = json.dumps({"feedback": entries}).encode()
    for _, base in cluster.instances:
        assert cluster.post(feedback, base=base, path=f"{SIGN}/feedback").status_code == 200
    kept = _records(cluster, "feedback")
    assert sorted(each["card_uuid"] for each in kept) == sorted(card["uuid"] for card in first["cards"])
    assert all(each["card_known"] for each in kept)

    # What was overridden on one is quiet on both.
    for _, base in cluster.instances:
        quiet = cluster.post(order(), base=base).json()["extension"][EXTENSION]["quiet"]
        assert RATE in [each["rule"] for each in quiet]


def test_a_token_is_spent_before_the_body_is_read_even_where_the_sender_breaks_off(cluster: Cluster) -> None:
    token = cluster.token()
    _break_off(cluster.instances[0][1], token)
    answer = cluster.post(order(), token, cluster.instances[1][1])
    assert answer.status_code == 401
    assert "used before" in answer.text


# An instance dies ---------------------------------------------------------------------------------------------------


def test_under_load_only_what_a_dying_instance_has_in_its_hands_is_lost_and_it_is_sent_nowhere_else(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """It hangs first, so that each client has a call there: the most that can be lost.

    A call that was sent to it is an error even where its token is not spent yet: nginx cannot know. All later ones
    are answered, those among them with which a client calls again.
    """
    stop, made = threading.Event(), list[tuple[float, int]]()

    def load() -> None:
        with requests.Session() as session:
            mine = replace(cluster, session=session)
            while not stop.is_set():
                begun = time.monotonic()
                made.append((begun, _status(mine, mine.token())))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    until(lambda: len(made) > CLIENTS, "orders are answered", PATIENCE)
    process, _ = cluster.instances[0]
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(HANGS)
    killed(process)
    at = time.monotonic()
    until(lambda: sum(begun > at + SETTLED for begun, _ in list(made)) > CLIENTS, "later ones are", PATIENCE)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    lost = [begun for begun, status in made if status != 200]
    later = [status for begun, status in made if begun > at + SETTLED]
    with capsys.disabled():
        print(f"\n{len(lost)} of {len(made)} orders were lost with an instance, none of {len(later)} later ones")
    assert {status for _, status in made} == {200, 502}
    assert 1 <= len(lost) <= CLIENTS
    assert len(later) > CLIENTS
    assert set(later) == {200}


def _status(cluster: Cluster, token: str) -> int:
    answer = cluster.post(order("under-load"), token)
    if answer.status_code == 200:
        assert answer.json()["cards"], "an answer without cards would read as: all clear"
    return int(answer.status_code)


def _break_off(base: str, token: str) -> None:
    """Send a head and a part of the body, and hang up once the service has looked at the head."""
    parts = urlsplit(base)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    connection.putrequest("POST", SIGN)
    for name, value in (("Authorization", f"Bearer {token}"), ("Content-Length", "1000000")):
        connection.putheader(name, value)
    connection.putheader("Content-Type", "application/json")
    connection.endheaders(b'{"hook":')
    time.sleep(1)
    connection.close()

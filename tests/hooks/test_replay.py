"""A token counts once, over all processes that share a database, and nothing of it is stored."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.hooks.replay import MemoryReplayGuard, ReplayGuard, SqlReplayGuard
from tests.hooks.test_authentication import NOW, accepted, authenticator, refused
from tests.hooks.tokens import ISSUER, Signer
from tests.servers.postgres import Postgres, postgres

__all__ = ["postgres"]

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
PATIENCE = 30.0
"""So that a machine that is busy with something else makes no database seem to be away."""


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def database(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of an empty one."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'used.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database(request.param, request, tmp_path)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReplayGuard]:
    if request.param == "memory":
        yield MemoryReplayGuard(lambda: NOW)
        return
    made = SqlReplayGuard(database(request.param, request, tmp_path), lambda: NOW)
    made.patience = PATIENCE
    yield made
    made.close()


def test_a_token_counts_once(guard: ReplayGuard, signer: Signer) -> None:
    gate = authenticator(signer, replay=guard)
    first, second = signer.token(NOW), signer.token(NOW)
    assert accepted(first, gate) == "ehr"
    assert refused(first, gate) == "replayed"
    assert accepted(second, gate) == "ehr"
    assert refused(signer.token(NOW, jti=json.loads(_payload(first))["jti"]), gate) == "replayed"


def _payload(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.split(".")[1] + "==")


def test_a_token_that_is_refused_for_something_else_is_not_used_up(guard: ReplayGuard, signer: Signer) -> None:
    """Else whoever saw a token's jti could use it up with a token of his own."""
    gate = authenticator(signer, replay=guard)
    forged = Signer().token(NOW, jti="known")
    assert refused(forged, gate) == "signature"
    assert refused(signer.token(NOW, jti="known", aud="x"), gate) == "audience"
    assert accepted(signer.token(NOW, jti="known"), gate) == "ehr"


def test_the_same_jti_of_two_issuers_is_two_tokens(guard: ReplayGuard) -> None:
    until = NOW + 60 * SECOND
    assert guard.first_use("a", "bc", until)
    assert guard.first_use("ab", "c", until)
    assert not guard.first_use("a", "bc", until)


@pytest.mark.parametrize("jti", [7, "", None, [], {}])
def test_a_jti_that_is_no_string_is_refused(jti: Any, signer: Signer) -> None:
    assert refused(signer.token(NOW, jti=jti), authenticator(signer)) == "malformed"


def test_a_jti_of_any_characters_counts_once(guard: ReplayGuard) -> None:
    for jti in ("\x00", "'; drop table used_tokens; --", "\ud800", "🐎" * 1000):
        assert guard.first_use("i", jti, NOW + SECOND)
        assert not guard.first_use("i", jti, NOW + SECOND)


def test_guards_that_share_a_database_share_what_was_used_and_of_many_at_once_one_wins(url: str) -> None:
    guards = [SqlReplayGuard(url, lambda: NOW) for _ in range(4)]
    for guard in guards:
        guard.patience = PATIENCE
    for number in range(20):
        won: list[bool] = []
        start = threading.Barrier(len(guards))

        def use(guard: SqlReplayGuard, jti: str, start: threading.Barrier, won: list[bool]) -> None:
            start.wait()
            won.append(guard.first_use("i", jti, NOW + 60 * SECOND))

        users = [threading.Thread(target=use, args=(guard, str(number), start, won)) for guard in guards]
        for user in users:
            user.start()
        for user in users:
            user.join()
        assert sorted(won) == [False, False, False, True]
    for guard in guards:
        guard.close()


def test_used_tokens_are_forgotten_once_they_have_expired(tmp_path: Path) -> None:
    time = Time()
    path = tmp_path / "used.sqlite3"
    guard = SqlReplayGuard(f"sqlite:///{path}", time.now, time.elapsed)
    for number in range(10):
        assert guard.first_use("i", str(number), NOW + 60 * SECOND)
    time.passes(hours=2)
    assert guard.first_use("i", "later", time.now() + 60 * SECOND)
    guard.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from used_tokens").fetchone() == (1,)


class Time:
    """A clock that can be set, beside seconds that only pass."""

    def __init__(self) -> None:
        self.is_off_by = timedelta()
        self.passed = timedelta()

    def now(self) -> datetime:
        return NOW + self.passed + self.is_off_by

    def elapsed(self) -> float:
        return self.passed.total_seconds()

    def passes(self, **span: float) -> None:
        self.passed += timedelta(**span)


@pytest.mark.parametrize("off", [{"seconds": 90}, {"hours": 1}, {"days": 1}, {"days": 400}, {"days": 36500}])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_clock_that_is_set_forward_and_back_brings_no_token_back(
    kind: str, off: dict[str, float], tmp_path: Path
) -> None:
    """With hours of work before, so that forgetting is due, and some between the two settings."""
    time = Time()
    url = f"sqlite:///{tmp_path / 'used.sqlite3'}"
    guard: ReplayGuard = (
        MemoryReplayGuard(time.now, time.elapsed) if kind == "memory" else SqlReplayGuard(url, time.now, time.elapsed)
    )

    def work() -> None:
        for _ in range(30):
            time.passes(minutes=10)
            assert guard.first_use("i", f"at {time.now()}", time.now() + 60 * SECOND)

    work()
    assert guard.first_use("i", "the one", time.now() + 600 * SECOND)
    time.is_off_by = timedelta(**off)
    work()
    time.is_off_by = -time.passed  # to before its first use
    assert not guard.first_use("i", "the one", NOW + 600 * SECOND)


def test_a_restart_while_the_clock_is_wrong_brings_no_token_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'used.sqlite3'}"
    for moment, jti, is_first in ((NOW, "jti", True), (NOW + 400 * DAY, "other", True), (NOW, "jti", False)):
        guard = SqlReplayGuard(url, lambda moment=moment: moment)  # type: ignore[misc]
        guard.patience = PATIENCE
        assert guard.first_use("i", jti, moment + 60 * SECOND) is is_first
        guard.close()


def test_what_is_stored_tells_nothing_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "used.sqlite3"
    guard = SqlReplayGuard(f"sqlite:///{path}", lambda: NOW)
    guard.first_use(ISSUER, "secret-jti", NOW + 60 * SECOND)
    guard.close()
    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"secret-jti" not in stored
    assert ISSUER.encode() not in stored


def test_without_its_database_a_worker_remembers_its_own_tokens_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "used.sqlite3"
    guard = SqlReplayGuard(f"sqlite:///{path}", lambda: NOW)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("drop table used_tokens")
    assert guard.first_use("i", "jti", NOW + SECOND)
    assert not guard.first_use("i", "jti", NOW + SECOND)
    assert "used tokens are not shared" in caplog.text
    assert str(path) in caplog.text
    assert "no such table" in caplog.text
    assert "jti" not in caplog.text
    guard.close()

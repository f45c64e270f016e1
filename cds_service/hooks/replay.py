"""Each token is used once: what was used is kept in a database that all worker processes share."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    make_url,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

log = logging.getLogger("ketamine_cds")

_PRUNE_SECONDS = 60
_USED = Table(
    "used_tokens",
    MetaData(),
    Column("token", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
)


class ReplayGuard(Protocol):
    """Tells the first use of a token from all others."""

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        """True once for each (issuer, jti). From `expires` on the token is refused anyway, and may be forgotten."""
        ...


class MemoryReplayGuard:
    """For one process. `clock` tells what may be forgotten."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._used: dict[str, int] = {}
        self._next_prune = 0
        self._lock = threading.Lock()

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        token, now = _digest(issuer, jti), int(self._clock().timestamp())
        with self._lock:
            if now >= self._next_prune:
                self._next_prune = now + _PRUNE_SECONDS
                self._used = {each: until for each, until in self._used.items() if until >= now}
            is_new = token not in self._used
            self._used[token] = _second_after(expires)
            return is_new


class SqlReplayGuard:
    """For all processes that share the database at `url` (SQLAlchemy; SQLite or PostgreSQL).

    Raises SQLAlchemyError at the start where there is no such database. Where it fails later, tokens are still told
    apart within this process, and that is logged: orders that go unchecked are worse than a token that another
    worker might take a second time.
    """

    def __init__(self, url: str, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._engine = _engine(url)
        self._memory = MemoryReplayGuard(clock)
        self._next_prune = 0
        self._create()

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        if not self._memory.first_use(issuer, jti, expires):
            return False
        row = {"token": _digest(issuer, jti), "expires": _second_after(expires)}
        try:
            self._prune()
            with self._engine.begin() as connection:
                connection.execute(insert(_USED), row)
        except IntegrityError:
            return False
        except SQLAlchemyError as error:
            log.error("used tokens cannot be stored: %s; this worker remembers its own", type(error).__name__)
        return True

    def close(self) -> None:
        self._engine.dispose()

    def _create(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(CreateTable(_USED, if_not_exists=True))
        except IntegrityError:  # PostgreSQL: another worker made it in the same moment
            pass

    def _prune(self) -> None:
        """Forget what has expired, now and then."""
        now = int(self._clock().timestamp())
        if now < self._next_prune:
            return
        self._next_prune = now + _PRUNE_SECONDS
        with self._engine.begin() as connection:
            connection.execute(delete(_USED).where(_USED.c.expires < now))


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        waits = {"connect_timeout": 2, "options": "-c statement_timeout=1000", "tcp_user_timeout": 2000}
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, connect_args=waits, pool_timeout=1, pool_pre_ping=True)
    if parsed.get_backend_name() != "sqlite":
        raise ArgumentError("the URL must start with sqlite:/// or postgresql://")
    engine = create_engine(parsed, connect_args={"timeout": 1})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # Without a sync at each token: what a power failure takes is less than a token's life.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _digest(issuer: str, jti: str) -> str:
    """One key for both, of one length; neither can be read back."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode("utf-8", "surrogatepass")).hexdigest()


def _second_after(moment: datetime) -> int:
    return int(moment.timestamp()) + 1

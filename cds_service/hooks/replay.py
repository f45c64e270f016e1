"""Each token is used once: what was used is kept in a database that all worker processes share."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from cds_service.patience import Asking, Unanswered
from cds_service.store import engines
from cds_service.store.database import Database, new
from cds_service.store.engines import StoreError, told

log = logging.getLogger("ketamine_cds")

PATIENCE_SECONDS = 0.1
"""So long an order waits for the database; then this worker's own memory decides."""
_PAUSE_SECONDS = 1.0
_PRUNE_SECONDS = 60
_MARGIN_SECONDS = 3_600
"""What expired less long ago is kept, so that a clock that is put back within it brings no token back."""
_JUMP_SECONDS = 60
_AFTER_A_JUMP_SECONDS = 90_000
"""Longer than any token lives: until then, what seems to have expired may only be the clock that was put forward."""
_MOST_IN_MEMORY = 500_000
_USED = sa.Table(
    "used_tokens",
    sa.MetaData(),
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),
)


class ReplayGuard(Protocol):
    """Tells the first use of a token from all others."""

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        """True once for each (issuer, jti). From `expires` on the token is refused anyway, and may be forgotten."""
        ...

    def reachable(self) -> bool:
        """Whether it can remember for whoever shares it. May take a while."""
        ...


class _Forgetting:
    """When used tokens may go, by a clock that may be set forward and back while the service runs.

    `clock` is the one by which tokens expire; `elapsed` counts seconds and is never set.
    """

    def __init__(self, clock: Callable[[], datetime], elapsed: Callable[[], float]) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._seen = (self._now(), elapsed())
        # The clock of a machine that has just started may be wrong.
        self._next = elapsed() + _MARGIN_SECONDS

    def before(self) -> int | None:
        """What expired before this second (Unix) may go; None: nothing now. Asked for each token."""
        now, elapsed = self._now(), self._elapsed()
        then, then_elapsed = self._seen
        self._seen = (now, elapsed)
        if abs((now - then) - (elapsed - then_elapsed)) > _JUMP_SECONDS:
            self._next = elapsed + _AFTER_A_JUMP_SECONDS
        if elapsed < self._next:
            return None
        self._next = elapsed + _PRUNE_SECONDS
        return int(now) - _MARGIN_SECONDS

    def _now(self) -> float:
        return self._clock().timestamp()


class MemoryReplayGuard:
    """For one process. `clock` and `elapsed` tell what may be forgotten."""

    def __init__(self, clock: Callable[[], datetime], elapsed: Callable[[], float] = time.monotonic) -> None:
        self._forgetting = _Forgetting(clock, elapsed)
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        token = _digest(issuer, jti)
        with self._lock:
            before = self._forgetting.before()
            if before is not None:
                self._used = {each: until for each, until in self._used.items() if until >= before}
            is_new = token not in self._used
            if is_new and len(self._used) >= _MOST_IN_MEMORY:
                del self._used[next(iter(self._used))]
            self._used[token] = _second_after(expires)
            return is_new

    def reachable(self) -> bool:
        return True


class SqlReplayGuard:
    """For all processes that share the database at `url` (SQLite or PostgreSQL).

    Raises StoreError where the URL itself cannot be used. While the database is away, slow or locked, this worker
    tells tokens apart by itself, and that is logged: orders that go unchecked are worse than a token that another
    worker might take a second time. What was used meanwhile is written once the database is back.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = time.monotonic,
        failed: Callable[[], None] = lambda: None,
        held: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`failed` and `held`: see patience.Asking."""
        self.patience = PATIENCE_SECONDS
        self._database = Database(engines.url_of(url), _set_up)
        trouble = "used tokens are not shared by the workers, each remembers its own"
        self._asking = Asking(trouble, PATIENCE_SECONDS, _PAUSE_SECONDS, threads=4, failed=failed, held=held)
        self._memory = MemoryReplayGuard(clock, elapsed)
        self._forgetting = _Forgetting(clock, elapsed)
        self._owed: dict[str, int] = {}
        try:
            self._database.open()
        except StoreError as error:
            log.error("%s: %s", trouble, error)

    def first_use(self, issuer: str, jti: str, expires: datetime) -> bool:
        if not self._memory.first_use(issuer, jti, expires):
            return False
        token, until = _digest(issuer, jti), _second_after(expires)
        try:
            return self._asking.ask(lambda: self._is_new(token, until), self.patience)
        except Unanswered:
            if len(self._owed) < _MOST_IN_MEMORY:
                self._owed[token] = until
            return True

    def reachable(self) -> bool:
        try:
            with self._database.transaction(engines.TOKENS) as connection:
                connection.execute(sa.select(_USED.c.token).limit(1)).all()
        except StoreError:
            return False
        return True

    def close(self) -> None:
        self._database.close()

    def _is_new(self, token: str, until: int) -> bool:
        """Write a token, and those that are owed. Raises StoreError."""
        owed = dict(self._owed)
        with self._database.transaction(engines.TOKENS) as connection:
            before = self._forgetting.before()
            if before is not None:
                connection.execute(sa.delete(_USED).where(_USED.c.expires < before))
            if owed:
                connection.execute(new(connection, _USED), [_row(*each) for each in owed.items()])
            counted = connection.execution_options(preserve_rowcount=True)
            is_new = counted.execute(new(connection, _USED), _row(token, until)).rowcount == 1
        for each in owed:
            self._owed.pop(each, None)
        return is_new


def _row(token: str, until: int) -> dict[str, Any]:
    return {"token": token, "expires": until}


def _set_up(url: URL) -> None:
    engine = engines.engine(url, engines.TOKENS)
    try:
        with told(engines.shown(url)):
            _create(engine)
    finally:
        engine.dispose()


def _create(engine: sa.Engine) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(CreateTable(_USED, if_not_exists=True))
    except IntegrityError:  # PostgreSQL: another worker made it in the same moment
        pass


def _digest(issuer: str, jti: str) -> str:
    """One key for both, of one length; neither can be read back."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode("utf-8", "surrogatepass")).hexdigest()


def _second_after(moment: datetime) -> int:
    return int(moment.timestamp()) + 1

"""The EHR's FHIR server: all searches at once, one pooled session, one deadline, never off the allowlist."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cds_service.deadline import NEVER, Deadline
from cds_service.fhir.addresses import is_below
from cds_service.fhir.source import Limits, NoSource, Source
from cds_service.says import records as says

if TYPE_CHECKING:
    from cds_service.fhir.exchange import Exchange

log = logging.getLogger("ketamine_cds")

MAX_TOKEN = 16_384
"""Characters of an access token: servers take no longer head, and 15 searches would send each megabyte 15 times."""


class FhirServers:
    """The FHIR servers that may be asked: one pooled session, and a bounded pool of threads for each.

    A server that is slow starves only its own callers, and no thread is held beyond the deadline of its call. `held`
    is told of each thread that begins (1) or ends (-1) to wait for a server.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        limits: Limits,
        threads: int = 32,
        ca_bundle: str | None = None,
        held: Callable[[int], None] = lambda change: None,
    ) -> None:
        self.allowed = tuple(allowed)
        self.limits = limits
        self._exchange: Exchange | None = None
        if self.allowed:  # else the worker never asks a server, and what HTTP takes would be 5 MB for nothing
            from cds_service.fhir.exchange import Exchange

            self._exchange = Exchange(ca_bundle, max(threads, len(self.allowed) + 1), held)
        self._pools = {base: ThreadPoolExecutor(threads, thread_name_prefix="fhir") for base in self.allowed}

    def source(self, base: str | None, token: str | None, deadline: Deadline = NEVER) -> Source:
        """The server that the request names, if it is allowed. What it does is over by the deadline."""
        if not base:
            return NoSource()
        allowed = next((each for each in self.allowed if is_below(base, each)), None)
        if token and len(token) > MAX_TOKEN:
            return NoSource(says.NOT_SENT_TOKEN_TOO_LONG)
        if allowed is None:
            # Not the one that is named: whoever calls may write anything there.
            listed = ", ".join(self.allowed) or "none"
            log.warning("a request names a FHIR server that is not on its client's list; on the list: %s", listed)
            return NoSource(says.NOT_SENT_SERVER_NOT_ALLOWED)
        assert self._exchange is not None
        pool = self._pools[allowed]
        return self._exchange.with_server(base.rstrip("/") + "/", pool, token, self.limits, deadline)

    def close(self) -> None:
        """Let go of the connections; searches that wait for a thread are dropped."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        if self._exchange is not None:
            self._exchange.session.close()

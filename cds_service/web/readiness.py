"""Whether the service can do what it is for: checks that never hang, remembered for a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from cds_service.patience import Asking, SaysWhy, Unanswered
from cds_service.web.wire import place

log = logging.getLogger("ketamine_cds")

_REMEMBERED_SECONDS = 1.0
PATIENCE_SECONDS = 0.3
"""For a database: an order waits for none of them as long as that."""

Check = Callable[[], bool]
"""Whether something that the service needs is there. It may raise: then it is not."""


class Health(msgspec.Struct, frozen=True):
    """The answer of /healthz and /readyz. `checks` says of each named check whether it held."""

    status: str
    """/healthz: ok. /readyz: ready, degraded (orders are judged, something beside them fails) or not ready."""
    checks: Mapping[str, bool] = {}


@dataclass(frozen=True, slots=True)
class _Named:
    holds: Check
    degrades: bool
    asking: Asking


class _DoesNotHold(SaysWhy):
    pass


class Readiness:
    """The checks of one application. A check that never returns holds one thread, and does not hold."""

    def __init__(self) -> None:
        self._checks: dict[str, _Named] = {}
        self._lock = threading.Lock()
        self._known: tuple[float, Health] | None = None

    def add(self, name: str, check: Check, degrades: bool, patience: float) -> None:
        asking = Asking(f"not ready: {name}", patience, pause=0, threads=1)
        self._checks[name] = _Named(check, degrades, asking)
        self._known = None

    def now(self) -> Health:
        """At most a second old. Of many callers at once one looks, and the others take what it finds."""
        with self._lock:
            known = self._known
            if known is None or time.monotonic() - known[0] > _REMEMBERED_SECONDS:
                known = self._known = (time.monotonic(), self._look())
            return known[1]

    def _look(self) -> Health:
        checks = {name: _holds(check) for name, check in self._checks.items()}
        if not all(held or self._checks[name].degrades for name, held in checks.items()):
            return Health("not ready", checks)
        return Health("ready" if all(checks.values()) else "degraded", checks)


def _holds(check: _Named) -> bool:
    def question() -> None:
        try:
            held = check.holds()
        except Exception as error:  # whatever it is, what was looked for is not there
            raise _DoesNotHold(f"{type(error).__name__} at {place(error)}") from None
        if not held:
            raise _DoesNotHold("it does not hold")

    try:
        check.asking.ask(question)
    except Unanswered:
        return False
    return True

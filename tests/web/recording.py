"""The application with a store, as a test of feedback and of what it leads to calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from werkzeug.test import TestResponse

from cds_service.audit import Audit
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.store import engines, retention
from cds_service.web.app import create_app
from cds_service.web.audit import open_audit
from tests.hooks.client import encoded
from tests.hooks.conformance import decoded
from tests.scenarios.build import NOW, hook_request
from tests.waiting import until

SECRET = "a key that is long enough to be one"
CODED = {
    "reason": {
        "system": "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes",
        "code": "risk-benefit-ratio",
    }
}
"""One of those that stand on each card."""
_PATIENCE = 60.0


@dataclass
class Recording:
    """The service with a store and a clock that a test moves."""

    knowledge: Knowledge
    settings: Settings
    audit: Audit
    now: datetime = NOW
    hook: str = "order-sign"
    _last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = create_app(self.settings, self.knowledge, lambda: self.now, self.audit).test_client()

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    def call(self, scenario: dict[str, Any], hook: str | None = None, **changes: Any) -> dict[str, Any]:
        """The answer to a scenario's request; `changes` go into its first order."""
        request = hook_request({"hook": hook or self.hook} | scenario)
        request["hookInstance"] = str(uuid4())
        request["context"]["draftOrders"]["entry"][0]["resource"].update(changes)
        return self.post(request)

    def post(self, request: dict[str, Any]) -> dict[str, Any]:
        path = f"/cds-services/ketamine-{request['hook']}"
        answer = self.http.post(path, data=encoded(request), content_type="application/json")
        assert answer.status_code == 200
        self._last = decoded(answer.data)
        return self._last

    def feedback(self, *entries: Any, service: str = "ketamine-order-sign") -> TestResponse:
        return self.http.post(f"/cds-services/{service}/feedback", json={"feedback": entries})

    def override(self, answer: dict[str, Any], reason: dict[str, Any] | None = CODED) -> None:
        """Every card of an answer is overridden."""
        self.recorded()
        given = {} if reason is None else {"overrideReason": reason}
        entries = [{"card": card["uuid"], "outcome": "overridden", **given} for card in answer["cards"]]
        assert self.feedback(*entries).status_code == 200

    def recorded(self) -> list[dict[str, Any]]:
        """What the store holds by the service's clock, once the writer has written all."""
        assert self.audit.writer is not None
        until(lambda: self.audit.writer.waiting == 0, "the writer did not write all")
        return list(retention.export(engines.url_of(self.settings.store_url or ""), now=self.now))


def cards(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """(indicator, leading rule) of each card."""
    return [(card["indicator"], card["source"]["topic"]["code"]) for card in answer["cards"]]


@contextmanager
def recording(knowledge: Knowledge, folder: Path, key: str = SECRET, **changes: Any) -> Iterator[Recording]:
    file = folder / "key"
    file.write_text(key)
    file.chmod(0o600)
    given = {"state_dir": str(folder), "store_key_file": str(file)} | changes
    settings = Settings(**given)
    audit = open_audit(settings)
    if audit.looking is not None:
        audit.looking.patience = _PATIENCE  # a machine that is busy with something else makes no override forgotten
    try:
        yield Recording(knowledge, settings, audit)
    finally:
        audit.close()

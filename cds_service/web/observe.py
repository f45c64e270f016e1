"""What operators see: a log line and figures for each request, health, readiness, and traces if asked for."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

import msgspec
from flask import Flask, Response, g, request

from cards.model import EXTENSION
from cards.model import Response as HookResponse
from cds_service.advise import Advice
from cds_service.hooks import discovery
from cds_service.web import metrics, traces
from cds_service.web.deployment import Deployment
from cds_service.web.logs import OURS, Answered
from cds_service.web.wire import answer, place

REQUEST_ID = "X-Request-ID"
"""Taken over from the caller where it is a plain token; else made; always sent back."""

log = logging.getLogger(OURS)

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_CHECKS = "ketamine-cds.ready"

Check = Callable[[], bool]
"""Whether something that the service needs is there. It may raise: then it is not."""


class Health(msgspec.Struct, frozen=True):
    """The answer of /healthz and /readyz. `checks` says of each named check whether it held."""

    status: str
    checks: Mapping[str, bool] = {}


def register(app: Flask, deployment: Deployment) -> None:
    """Before all other parts, so that their refusals are seen as well."""
    failed = deployment.knowledge.texts.words.say("failed")
    ready_if(app, "protocol", lambda: bool(deployment.knowledge.protocol.rules))

    @app.before_request
    def begin() -> None:
        given = request.headers.get(REQUEST_ID, "")
        g.began = time.perf_counter()
        g.request_id = given if _SANE.fullmatch(given) else uuid4().hex

    @app.after_request
    def end(sent: Response) -> Response:
        sent.headers[REQUEST_ID] = g.request_id
        seconds = time.perf_counter() - g.began
        service, tenant, invocation = _service(), g.get("tenant"), g.get("invocation")
        made: HookResponse | None = invocation.response if invocation else None
        metrics.answered(service, sent.status_code, seconds)
        if invocation is not None:
            _count(invocation.advice, failed, tenant.id if tenant else "none")
        line = Answered(
            client=tenant.id if tenant else None,
            service=service,
            status=sent.status_code,
            ms=round(seconds * 1000, 2),
            cards=None if made is None else len(made.cards),
            could_not_check=None if made is None else len(_not_checked(made)),
        )
        log.info("answered", extra={"answered": line})
        return sent

    @app.get("/healthz")
    def healthz() -> Response:
        return answer(msgspec.json.encode(Health("ok")))

    @app.get("/readyz")
    def readyz() -> Response:
        checks = {name: _holds(name, check) for name, check in app.extensions[_CHECKS].items()}
        is_ready = all(checks.values())
        return answer(
            msgspec.json.encode(Health("ready" if is_ready else "not ready", checks)), 200 if is_ready else 503
        )

    @app.get("/metrics")
    def exposed() -> Response:
        figures, media_type = metrics.exposed()
        return Response(figures, content_type=media_type)

    metrics.start()
    traces.start(app)


def ready_if(app: Flask, name: str, check: Check) -> None:
    """The service is ready only while `check` holds; any part of the application may add one."""
    app.extensions.setdefault(_CHECKS, {})[name] = check


def _holds(name: str, check: Check) -> bool:
    try:
        return check()
    except Exception as error:  # whatever it is, what was looked for is not there
        log.warning("not ready: %s: %s at %s", name, type(error).__name__, place(error))
        return False


def _service() -> str:
    """What the request was for, in a word from a closed list: never the path, in which anything may stand."""
    name = (request.view_args or {}).get("service_id")
    kind = (request.endpoint or "none").rpartition(".")[2]
    if name is None:
        return kind
    if name not in discovery.BY_ID:
        return "unknown"
    return str(name) if kind == "call" else f"{name}/{kind}"


def _count(advice: Advice, failed: str, client: str) -> None:
    """What was found, whatever of it the client's profile shows."""
    cards = advice.response.cards
    if not cards and not advice.judged:
        return
    metrics.carded((card.source.topic.code if card.source.topic else "none", card.indicator) for card in cards)
    metrics.could_not_tell(
        fact
        for judged in advice.judged
        for outcome in judged.outcomes
        if outcome.status == "could-not-tell"
        for fact in {reason.fact for reason in outcome.reasons}
    )
    lists = {reason.fact for judged in advice.judged for reason in judged.undelivered if reason.kind == "not-sent"}
    metrics.not_sent(client, sorted(lists))
    if cards and cards[0].summary == failed:
        metrics.failed()


def _not_checked(made: HookResponse) -> list[Mapping[str, str]]:
    extension = (made.extension or {}).get(EXTENSION, {})
    found: list[Mapping[str, str]] = extension.get("notChecked", [])
    return found

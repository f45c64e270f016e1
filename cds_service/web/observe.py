"""What operators see: a log line and figures for each request, health, readiness, and traces if asked for."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from random import getrandbits

import msgspec
from flask import Flask, Response, g, request

from cds_service.advise import Advice
from cds_service.cards.model import EXTENSION
from cds_service.cards.model import Response as HookResponse
from cds_service.hooks import discovery
from cds_service.web import connections, metrics, traces
from cds_service.web.deployment import Deployment
from cds_service.web.logs import OURS, Answered
from cds_service.web.readiness import PATIENCE_SECONDS, Check, Health, Readiness
from cds_service.web.synthetic import is_judged
from cds_service.web.wire import answer

REQUEST_ID = "X-Request-ID"
"""Taken over from the caller where it is a plain token; else made; always sent back."""

log = logging.getLogger(OURS)

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_CHECKS = "ketamine-cds.ready"
_JUDGING_SECONDS = 1.0
"""For the synthetic order: far longer than it takes, and less than whoever asks waits."""


def register(app: Flask, deployment: Deployment) -> None:
    """Before all other parts, so that their refusals are seen as well."""
    failed = deployment.knowledge.texts.words.say("failed")
    app.extensions[_CHECKS] = Readiness()
    ready_if(app, "protocol", lambda: bool(deployment.knowledge.protocol.rules))
    known = (deployment.knowledge, *deployment.tenants.sites.values())
    ready_if(
        app, "order", lambda: all(is_judged(each, deployment.clock()) for each in known), patience=_JUDGING_SECONDS
    )
    authenticator = deployment.tenants.authenticator
    if authenticator is not None:
        ready_if(app, "used-tokens", authenticator.remembers, degrades=True)

    @app.before_request
    def begin() -> None:
        given = request.headers.get(REQUEST_ID, "")
        g.began = time.perf_counter()
        g.request_id = given if _SANE.fullmatch(given) else f"{getrandbits(128):032x}"  # no secret

    @app.after_request
    def end(sent: Response) -> Response:
        sent.headers[REQUEST_ID] = g.request_id
        seconds = time.perf_counter() - g.began
        service, tenant, invocation = _service(), g.get("tenant"), g.get("invocation")
        made: HookResponse | None = invocation.response if invocation else None
        client = tenant.id if tenant else None
        metrics.answered(service, sent.status_code, seconds, client)
        if invocation is not None:
            _count(invocation.advice, failed, tenant.id if tenant else "none")
        line = Answered(
            client=client,
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
        readiness: Readiness = app.extensions[_CHECKS]
        health = readiness.now()
        return answer(msgspec.json.encode(health), 503 if health.status == "not ready" else 200)

    @app.get("/metrics")
    def exposed() -> Response:
        metrics.connected(connections.now(deployment.settings.port))
        figures, media_type = metrics.exposed()
        return Response(figures, content_type=media_type)

    metrics.start()
    traces.start(app)


def ready_if(app: Flask, name: str, check: Check, degrades: bool = False, patience: float = PATIENCE_SECONDS) -> None:
    """The service is ready only while `check` holds; any part of the application may add one.

    One that `degrades` is of something beside the orders: without it they are judged all the same. `patience`:
    seconds, after which the check does not hold.
    """
    readiness: Readiness = app.extensions[_CHECKS]
    readiness.add(name, check, degrades, patience)


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
    if advice.judged and not advice.failed:
        metrics.judged()
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

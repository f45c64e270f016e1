"""Services that break the requirements on purpose, so that it is seen that the suite notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, request
from werkzeug.serving import make_server

TEXT = "text/html"


def _suggestion(*actions: Any, **more: Any) -> dict[str, Any]:
    return {"label": 5, "uuid": 7, "isRecommended": "yes", "actions": list(actions), **more}


def _cards(order: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Everything that a card can be wrong in."""
    kind, name = str(order.get("resourceType")), str(order.get("id"))
    update = {"type": "update", "resource": {"resourceType": kind, "id": name}}
    delete = {"type": "delete", "resource": order, "resourceId": 9}
    create = {"type": "create", "resource": order, "description": ""}
    link = {"type": "absolute", "appContext": 5, "url": f"/case/{count}"}
    source = {"url": f"relative/{count}", "icon": "icon.jpg", "topic": {"code": 1, "display": 2}}
    return [
        {
            "uuid": "the same", "summary": "x" * 140, "detail": "<b>bold</b>", "indicator": "fatal", "source": source,
            "suggestions": [_suggestion(update, update, delete, create), _suggestion(update)],
            "overrideReasons": [{"code": "c"}], "links": [link, {"type": "relative"}],
            "extension": "an extension",
        },
        {
            "uuid": "the same", "summary": None, "indicator": 3, "source": {"label": "", "url": "x"},
            "suggestions": [_suggestion(update), _suggestion(update, {"type": "change"})],
            "selectionBehavior": "any", "overrideReasons": {"code": "c"}, "links": {"url": "x"},
            "extension": {"short": {}},
        },
        {"selectionBehavior": "all", "source": "us", "suggestions": {"label": "x"}, "detail": 5},
        {"suggestions": [{"actions": {"type": "create"}}], "selectionBehavior": "at-most-one", "links": []},
    ]  # fmt: skip


def wrong() -> Flask:
    """Found and answered, and everything in it wrong."""
    app = Flask(__name__)
    calls = iter(range(1_000_000))
    slow: dict[str, Any] = {}
    templates = {
        "": "Observation?patient.name:exact=x",
        "a": "Patient/{{patientId}}",
        "b": "Condition?x={{context.draftOrders}}",
        "c": "Condition?x={{context.selections}}",
        "d": "Condition?x={{context.userId}} {{context.patientId}} {{context.encounterId}} {context.userId}}",
        "e": "https://elsewhere.org/Patient/{{context.patientId.value}}",
    }
    services = [
        {"id": "select", "hook": "order-select", "prefetch": templates, "usageRequirements": 5},
        {"id": "sign", "hook": "order-sign", "prefetch": templates},
        {"id": "sign", "hook": "order-sign", "prefetch": {}},
        {"id": "book", "hook": "appointment-book", "prefetch": {"a": "x?y={{context.appointments}}"}},
        {"id": "dispatch", "hook": "order-dispatch", "prefetch": {"a": "x?y={{context.fulfillmentTasks}}"}},
        {"hook": None, "id": 5, "title": "", "description": None},
    ]

    @app.get("/cds-services")
    def discover() -> Response:
        return Response(json.dumps({"services": services}), content_type=TEXT)

    @app.post("/cds-services")
    def discovery_is_posted_to() -> Response:
        return Response("fine", content_type=TEXT)

    @app.route("/cds-services/<path:name>", methods=["POST", "OPTIONS"])
    def call(name: str) -> Response:
        sent = request.get_json(force=True, silent=True) or {}
        slow.setdefault("hookInstance", sent.get("hookInstance"))
        time.sleep(0.55 if sent.get("hookInstance") == slow["hookInstance"] else 0)
        context = sent.get("context", {})
        orders = [each.get("resource", {}) for each in context.get("draftOrders", {}).get("entry", ())]
        cards = _cards(orders[0] if orders else {}, next(calls))
        body = {"cards": cards, "systemActions": [], "extension": 5}
        if request.method == "OPTIONS":
            return Response("", 200, {"Access-Control-Allow-Origin": "https://somebody.example.com"})
        if name == "select" and not sent.get("prefetch"):
            return Response('{"error": "prefetch is needed"}', 500, content_type=TEXT)
        if not sent.get("prefetch"):
            return Response(json.dumps({"cards": []}), content_type=TEXT)  # silent, although it read nothing
        if "extension" in sent:
            body["cards"] = []
        return Response(json.dumps(body), content_type=TEXT)

    return app


def absent() -> Flask:
    """Nothing where it should be."""
    app = Flask(__name__)

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "OPTIONS"])
    @app.route("/<path:path>", methods=["GET", "POST", "OPTIONS"])
    def nothing(path: str) -> Response:
        return Response("[]", 203, content_type=TEXT)

    return app


def trusting() -> Flask:
    """A token is asked for, and any will do."""
    app = Flask(__name__)

    @app.route("/cds-services", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/cds-services/<path:path>", methods=["GET", "POST"])
    def believe(path: str) -> Response:
        if "Authorization" in request.headers or path:
            return Response(json.dumps({"services": []}), content_type="application/json")
        return Response("{}", 401, content_type="application/json")

    return app


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Its base URL, while the context lasts."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    running = threading.Thread(target=server.serve_forever)
    running.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        running.join()
        server.server_close()

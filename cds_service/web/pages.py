"""The protocol as pages for people: cards link to them."""

from __future__ import annotations

from flask import Flask, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from cds_service.cards.compose import FURTHER_WARNINGS
from cds_service.cards.could_not_check import TOPIC as COULD_NOT_CHECK
from cds_service.cards.wording import wording
from cds_service.hooks import discovery
from cds_service.knowledge import Knowledge
from cds_service.protocol.words import Words
from cds_service.web.deployment import Deployment

RESERVED_TOPICS = (COULD_NOT_CHECK, FURTHER_WARNINGS)
"""Cards that stand for several rules."""


def register(app: Flask, deployment: Deployment) -> None:
    @app.get("/")
    def index() -> str | Response:
        """For whoever opens the service in a browser: the console, or without it a page of what is served here.

        Its links are relative, so that a path before them is kept.
        """
        knowledge, settings = deployment.knowledge, deployment.settings
        if settings.has_console and "text/html" in request.headers.get("Accept", "").lower():
            return redirect(f"{settings.console_url}/")
        rules = [rule for part in knowledge.parts for rule in part.protocol.rules.values()]
        return render_template("index.html", services=discovery.SERVICES, rules=rules, protocol=knowledge.protocol)

    @app.get("/protocol/<topic>")
    def protocol_page(topic: str) -> str:
        """The page of a rule, to which its cards link."""
        return _page(deployment.knowledge, topic, deployment)

    @app.get("/sites/<site>/protocol/<topic>")
    def site_page(site: str, topic: str) -> str:
        """The page with the limits of a client's own overlay."""
        knowledge = deployment.tenants.sites.get(site)
        if knowledge is None:
            abort(404)
        return _page(knowledge, topic, deployment)


def _page(knowledge: Knowledge, topic: str, deployment: Deployment) -> str:
    day, part = deployment.clock().date(), knowledge.by_rule.get(topic)
    if part is not None:
        protocol, rule = part.protocol, part.protocol.rules[topic]
        text = knowledge.texts.by_rule[rule.id]
        cards = {tier.name: wording(rule, tier.name, text, protocol, day) for tier in rule.tiers}
        words = Words(protocol, knowledge.valuesets, day)
        return render_template("rule.html", rule=rule, cards=cards, words=words, protocol=protocol)
    if topic not in RESERVED_TOPICS:
        abort(404)
    rules = [rule for part in knowledge.parts for rule in part.protocol.rules.values()]
    shared = [rule for rule in rules if topic == FURTHER_WARNINGS or rule.card == topic]
    return render_template("shared.html", topic=topic, rules=shared, protocol=knowledge.protocol)

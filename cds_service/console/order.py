"""Order entry: a small EHR over the patients of the sandbox. It writes, signs, takes offers, overrides."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask, render_template, request

from cds_service.cards.texts import unescaped
from cds_service.console.desk import Counter, Desk, sent
from cds_service.console.shell import Console
from cds_service.console.words import say
from cds_service.fhir import lenient
from cds_service.sandbox.caller import Failed, dicts


def register(app: Flask, console: Console) -> None:
    console.add("Order", "/")
    counter = Counter(console)
    app.jinja_env.globals["card_blocks"] = blocks
    app.jinja_env.globals["as_json"] = lambda value: lenient.encode(value).decode()

    def patients() -> list[str]:
        return [each.id for each in counter.ehr.patients]

    def page(desk: Desk) -> str:
        """The whole page, or of one that is there the parts that changed."""
        template = (
            "order_parts.html" if "HX-Request" in request.headers and request.method == "POST" else "order.html"
        )
        return render_template(template, desk=desk, choices=counter.choices, patients=counter.ehr.patients)

    @app.get("/")
    def order() -> str:
        """Choose a patient and write an order; its fields may stand in the address."""
        return page(counter.laid(sent(request.args, patients())))

    @app.post("/order")
    def order_written() -> str:
        """What the service says of the order as it is now, or of the order that is signed."""
        return page(counter.laid(sent(request.form, patients()), signing="sign" in request.form))

    @app.post("/order/accept")
    def order_accepted() -> str:
        """Do what a suggestion says, tell the service, and ask it again."""
        desk = counter.accepted(sent(request.form, patients()), _listed("actions"))
        says = _told(
            counter, {"outcome": "accepted", "acceptedSuggestions": [{"id": request.form.get("suggestion", "")}]}
        )
        laid = counter.laid(desk, signing="signing" in request.form)
        return page(replace(laid, said=f"{say('done', label=request.form.get('label', ''))} {says}"))

    @app.post("/order/override")
    def order_overridden() -> str:
        """Tell the service why a card was not followed, and ask it again: what was overridden is quiet for a time."""
        code, _, system = request.form.get("why", "").partition(" ")
        reason = {"code": code} | ({"system": system} if system else {})
        says = _told(counter, {"outcome": "overridden", "overrideReason": {"reason": reason}})
        summary = request.form.get("label", "")
        desk = sent(request.form, patients())
        desk = replace(
            desk, overridden=[*desk.overridden, summary], said=f"{say('overridden', summary=summary)} {says}"
        )
        return page(counter.laid(desk, signing="signing" in request.form))


def _listed(name: str) -> list[dict[str, object]]:
    try:
        return dicts(lenient.untyped(request.form.get(name, "").encode()))
    except lenient.UNREADABLE:
        return []


def _told(counter: Counter, entry: dict[str, object]) -> str:
    """A service without a store takes no feedback: that is said, and nothing is lost by it."""
    try:
        counter.ehr.tell(request.form.get("service", ""), {"card": request.form.get("card", ""), **entry})
    except Failed as error:
        return say("not-told", why=error)
    return say("told")


def blocks(detail: str) -> list[list[str]]:
    """A card's detail as paragraphs of lines, in plain text: the service writes no other Markdown."""
    return [[unescaped(line) for line in part.splitlines()] for part in detail.split("\n\n") if part.strip()]

"""Order entry: a small EHR over the patients of the sandbox."""

from __future__ import annotations

from flask import Flask, render_template

from cds_service.console.shell import Console


def register(app: Flask, console: Console) -> None:
    console.add("Order", "/")

    @app.get("/")
    def order() -> str:
        """Choose a patient and write an order."""
        return render_template("order.html")

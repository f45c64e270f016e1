"""The console as a web application. Each section is a module with one function `register(app, console)`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Flask, render_template, request
from werkzeug.exceptions import HTTPException

from cds_service.console import access, assets, headers, look_up, order, protocol, replay, smart, stewardship, words
from cds_service.console.shell import Console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import now

MOST_BYTES = 2_000_000
"""Of a form: a pasted request with its prefetch is some hundred thousand."""
_SECTIONS = (order, protocol, replay, stewardship, look_up, smart)
"""In the order of the menu: the order; the policy and what another would do; what became of the cards."""


def create_console(
    settings: Settings,
    knowledge: Knowledge,
    clock: Callable[[], datetime] = now,
) -> Flask:
    """The application for these settings. Raises SettingError or UnusableKey where nobody could log in."""
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MOST_BYTES, MAX_FORM_MEMORY_SIZE=MOST_BYTES)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    console = Console(settings, knowledge, clock)
    app.register_error_handler(HTTPException, _problem)
    app.context_processor(lambda: {"console": console, "protocol": knowledge.protocol})
    headers.register(app, console)
    access.register(app, console)
    words.register(app, console)
    assets.register(app)
    for section in _SECTIONS:
        section.register(app, console)

    @app.get("/healthz")
    def alive() -> str:
        """That the console answers."""
        return "ok\n"

    return app


def _problem(error: HTTPException) -> tuple[str, int]:
    """A page that says what is wrong; of a fault of ours the log has type and place, and nobody its message."""
    template = "part_problem.html" if "HX-Request" in request.headers else "problem.html"
    return render_template(template, name=words.problem(error.code)), error.code or 500

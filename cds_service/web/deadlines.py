"""The deadline of the request at hand: it begins before all else, and stands still while the body comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, g

from cds_service.deadline import NEVER, Deadline
from cds_service.web.deployment import Deployment


def register(app: Flask, deployment: Deployment) -> None:
    """Before all parts that may wait for something."""
    seconds = deployment.settings.answer_seconds

    @app.before_request
    def begin() -> None:
        if seconds is not None:
            g.deadline = Deadline.after(seconds)


def current() -> Deadline:
    deadline: Deadline = g.get("deadline", NEVER)
    return deadline


@contextmanager
def standing_still() -> Iterator[None]:
    """While the caller is what is waited for."""
    began = time.monotonic()
    yield
    if "deadline" in g:
        g.deadline = Deadline(g.deadline.until + time.monotonic() - began)

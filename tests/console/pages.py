"""The console as its tests ask it: on loopback, at a fixed time, with the tokens of its forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
BASE = "http://127.0.0.1:8001"
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass(frozen=True)
class Pages:
    """A browser without scripts."""

    client: FlaskClient

    def get(self, path: str, **given: Any) -> TestResponse:
        return self.client.get(path, base_url=BASE, **given)

    def post(self, form_on: str, path: str, **fields: str) -> TestResponse:
        """Send a form that stands on the page `form_on`."""
        token = _TOKEN.search(self.get(form_on).text)
        assert token, f"{form_on} has no form"
        return self.client.post(path, base_url=BASE, data={"csrf_token": token[1], **fields})


def pages(knowledge: Knowledge, **settings: Any) -> Pages:
    """The pages with these settings; nothing is recorded unless they name a store."""
    app = create_console(Settings(**{"store": "off", **settings}), knowledge, clock=lambda: NOW)
    return Pages(app.test_client())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(answer: TestResponse) -> str:
    """What a person reads, in one line."""
    return text_of_html(answer.text)


def text_of_html(page: str) -> str:
    """As `text_of`, of HTML from wherever it comes."""
    parser = _Text()
    parser.feed(page)
    return " ".join(" ".join(parser.parts).split())

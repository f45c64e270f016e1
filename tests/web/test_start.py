"""What a person meets first: the screen at the start, the page at the root, the log on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from cds_service.commands import serve
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web import logs
from tests.hooks.client import client

SPEAK = """
import logging, sys
from cds_service.web import logs
logs.to_stderr("INFO", sys.argv[1])
answered = logs.Answered(client="north", service="signing", status=200, ms=4.1, cards=2, could_not_check=3)
logging.getLogger(logs.OURS).info("answered", extra={"answered": answered})
logging.getLogger(logs.OURS).warning("a check fails")
logging.shutdown()
"""
TEXT = re.compile(
    r"\d\d:\d\d:\d\d  answered signing 200 in 4 ms, 2 cards, 3 could not check, client north\r?\n"
    r"\d\d:\d\d:\d\d  WARNING a check fails\r?\n"
)


def _spoken(form: str, on_terminal: bool) -> str:
    command = [sys.executable, "-c", SPEAK, form]
    if not on_terminal:
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, stderr=theirs, check=True)
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("form", "on_terminal"), [("auto", True), ("text", False)])
def test_a_person_reads_the_log_as_text(form: str, on_terminal: bool) -> None:
    assert TEXT.fullmatch(_spoken(form, on_terminal))


@pytest.mark.parametrize(("form", "on_terminal"), [("auto", False), ("json", True)])
def test_a_machine_reads_the_log_as_json(form: str, on_terminal: bool) -> None:
    first, second = map(json.loads, _spoken(form, on_terminal).splitlines())
    assert (first["says"], first["couldNotCheck"], second["level"]) == ("answered", 3, "WARNING")


def test_text_holds_no_more_than_json_does() -> None:
    line = logs.Line(time="2026-11-28T10:00:00+00:00", level="ERROR", logger="urllib3", place="x:7", error="E at y:1")
    assert logs.ReadableLines().written(line).endswith("ERROR urllib3 x:7 E at y:1")


def test_the_start_names_the_public_url(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(serve, "_await", lambda *_: None)
    serve._show(Settings(public_url="https://cds.example.org/ketamine"), None, None, [], None)
    assert capsys.readouterr().out == (
        "Listening on http://127.0.0.1:8000 for https://cds.example.org/ketamine. "
        "Services: https://cds.example.org/ketamine/cds-services\n"
    )


def test_a_browser_at_the_root_is_led_to_the_console_and_a_program_is_not(knowledge: Knowledge) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    led = client(knowledge).get("/", headers=browser)
    assert (led.status_code, led.headers["Location"]) == (302, "http://127.0.0.1:8001/")
    assert client(knowledge).get("/", headers={"Accept": "*/*"}).status_code == 200
    assert client(knowledge, Settings(console="off")).get("/", headers=browser).status_code == 200


def test_the_page_at_the_root_leads_to_every_rule_and_works_below_a_path(knowledge: Knowledge) -> None:
    http = client(knowledge)
    page = http.get("/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    links = re.findall(r'href="([^"]+)"', page.text)
    assert {f"protocol/{rule}" for rule in knowledge.protocol.rules} <= set(links)
    assert [link for link in links if link.startswith("/") or http.get(f"/{link}").status_code != 200] == []

"""Debian's Chromium, driven by Playwright: pages that say what went wrong on them, and what they asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.servers import npm
from tests.servers.process import locked

REQUIRE = "KETAMINE_TEST_REQUIRE_CHROMIUM"
_HERE = Path(__file__).parents[2] / "build"
SHOTS = Path(os.environ.get("KETAMINE_TEST_SCREENSHOTS") or _HERE / "screenshots")
"""Where the tests leave a picture of each page: what CI keeps, what people look at, and what the docs show."""
_RECIPE = Path(__file__).parent / "axe"
_BUILD = _HERE / "axe"
PATIENCE = 60_000
"""Milliseconds. Only what never comes takes so long."""
_STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def needed() -> str:
    """The browser. Skips where there is none; KETAMINE_TEST_REQUIRE_CHROMIUM=1, as in CI, fails then."""
    missing = [name for name in ("chromium", "npm") if shutil.which(name) is None]
    if missing:
        reason = f"the console's pages are tried in a browser; not on the PATH: {', '.join(missing)}"
        (pytest.fail if os.environ.get(REQUIRE) == "1" else pytest.skip)(reason)
    return str(shutil.which("chromium"))


@contextmanager
def browser() -> Iterator[Browser]:
    chromium = needed()
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*as_root, "--disable-gpu"])
        try:
            yield started
        finally:
            started.close()


@dataclass
class Seen:
    """A page, and what it has complained of and asked other machines for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def shot(self, name: str, whole: bool = False) -> None:
        """A picture of what is in sight, or of the whole page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)

    def barriers(self) -> list[str]:
        """What axe finds on the page as it is now."""
        self.page.evaluate(_axe())  # not as an element of the page, which its policy would not run
        found: dict[str, Any] = self.page.evaluate(
            "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", _STANDARD
        )
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]


@contextmanager
def opened(
    started: Browser,
    url: str,
    width: int = 1280,
    height: int = 720,
    dark: bool = False,
    language: str = "en-US",
) -> Iterator[Seen]:
    """The page at `url`. Raises AssertionError at the end for a complaint, or a request that leaves the machine."""
    scheme: Any = "dark" if dark else "light"
    context = started.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=language)
    seen = Seen(context.new_page())
    seen.page.on("console", lambda said: seen.complaints.append(said.text) if said.type == "error" else None)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    context.on("request", lambda asked: _note(asked.url, seen.left))
    try:
        seen.page.goto(url)
        yield seen
    finally:
        context.close()
    assert not seen.complaints, seen.complaints
    assert not seen.left, seen.left


def _note(url: str, left: list[str]) -> None:
    if urlsplit(url).scheme != "data" and urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        left.append(url)


def _axe() -> str:
    with locked(_BUILD):
        npm.install(_RECIPE, _BUILD)
    return (_BUILD / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")

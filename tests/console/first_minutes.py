"""A stranger's first five minutes: clone, `make run`, open the page, write a tenfold overdose, take the offer.

`python -m tests.console.first_minutes` does so in Chromium, as fast as a person types, and prints what was done
with the seconds that it took. `--here` leaves the clone out and runs this copy as it is.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from playwright.sync_api import Page, expect

from tests.console import browser
from tests.servers.ports import unused_port

ROOT = Path(__file__).parents[2]
TENFOLD = "5 mg/kg/h"
"""The protocol warns above a tenth of it."""
CARD = "#answer .card.critical"
A_KEY = 150
"""Milliseconds between two keys, of a person who types with two fingers."""
PATIENCE = 900


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--here", action="store_true", help="run this copy, as it is installed")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        began = last = time.monotonic()
        for done in _minutes(ROOT if given.here else None, Path(folder)):
            now = time.monotonic()
            print(f"| {done} | {now - last:.1f} | {now - began:.1f} |", flush=True)
            last = now


def _minutes(copy: Path | None, folder: Path) -> Iterator[str]:
    """Does one thing after the other, and says what was done."""
    if copy is None:
        copy = folder / "ketamine-cds"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
        yield "`git clone`"
    with _running(copy, folder) as address, browser.browser() as started:
        _until_it_answers(address)
        yield "`make run`, until the console answers at the address that it shows"
        with browser.opened(started, address) as seen:
            expect(seen.page.locator("#f-rate")).to_be_visible()
            yield "open the address: a patient, an order form"
            yield from _order(seen.page)


def _order(page: Page) -> Iterator[str]:
    page.locator("#f-rate").press_sequentially(TENFOLD, delay=A_KEY)
    yield f"type `{TENFOLD}` into the field for the rate"
    expect(page.locator(CARD)).to_contain_text("above the ceiling", timeout=30_000)
    yield "read the card, critical: the rate is above the ceiling"
    page.locator(f"{CARD} .offers button").first.click()
    expect(page.locator("#f-rate")).to_have_value("0.5 mg/kg/h", timeout=30_000)
    expect(page.locator(CARD)).to_have_count(0)
    yield "click the offer: the order says 0.5 mg/kg/h, the card is gone"
    page.get_by_role("button", name="Sign").click()
    expect(page.locator("#answer-title")).to_contain_text("At signing", timeout=30_000)
    yield "sign it"


@contextmanager
def _running(copy: Path, folder: Path) -> Iterator[str]:
    """The address that `make run` shows for the browser, while it serves."""
    ports = {"KETAMINE_CDS_PORT": str(unused_port()), "KETAMINE_CDS_CONSOLE_PORT": str(unused_port())}
    own = {**ports, "KETAMINE_CDS_STATE_DIR": str(folder / "state")}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("KETAMINE_CDS_")} | own
    said = folder / "make-run.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [str(shutil.which("make")), "run"],
            cwd=copy,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _address(said, process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _until_it_answers(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            requests.get(address, timeout=60)
            return
        except requests.RequestException:
            time.sleep(0.1)


def _address(said: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE
    while not (found := re.search(r"In the browser: (\S+)\n", said.read_text("utf-8", "replace"))):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"make run shows no address:\n{said.read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(0.1)
    return found[1]


if __name__ == "__main__":
    main()

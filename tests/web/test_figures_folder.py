"""The folder of figures is cleared away, or its disk is full: figures are lost, and no order and no worker is."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import requests

from tests.small_disk import fill, needs_root, small_disk
from tests.waiting import until
from tests.web.test_server import PATIENCE, Running, started
from tests.web.test_workers import errors, figures, judged, workers

SETTINGS = {"KETAMINE_CDS_WORKERS": "2"}


def _replaced(running: Running) -> None:
    """Kill a worker, and wait until there are two that answer."""
    before = workers(running)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(workers(running) - {killed}) == 2, "a new worker")
    assert all(judged(running) for _ in range(10))
    assert running.process.poll() is None


def test_a_folder_that_is_cleared_away_costs_no_order_and_comes_back_with_the_next_workers(tmp_path: Path) -> None:
    """As a machine does with what has lain among its temporary files for some days."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(tmp_path, None, TMPDIR=str(temporary), **SETTINGS) as running:
        running.wait_for("Listening on ")
        until(lambda: len(workers(running)) == 2, "two workers")
        (folder,) = temporary.iterdir()
        shutil.rmtree(folder)
        assert all(judged(running) for _ in range(10))
        assert requests.get(f"{running.base}/metrics", timeout=PATIENCE).status_code == 200
        running.wait_for(f"{folder} was cleared away, and the figures with it; SIGHUP")
        _replaced(running)
        assert running.process.poll() is None
        old = workers(running)
        running.process.send_signal(signal.SIGHUP)
        until(lambda: not workers(running) & old and len(workers(running)) == 2, "new workers")
        assert judged(running)
        assert any(name.startswith("ketamine_cds_cards") for name, _ in figures(running))


@needs_root
def test_a_disk_that_is_full_ends_no_process_that_counts(tmp_path: Path) -> None:
    """Who writes into the memory of a file for which the disk has no room is ended by SIGBUS, the parent too."""
    with (
        small_disk(tmp_path, megabytes=4) as disk,
        started(tmp_path, None, TMPDIR=str(disk), **SETTINGS) as running,
    ):
        running.wait_for("Listening on ")
        until(lambda: len(workers(running)) == 2, "two workers")
        fill(disk)
        assert all(judged(running) for _ in range(10))
        _replaced(running)
        running.wait_for("this process counts for itself: ")
        assert [says for says in errors(running) if "SIGBUS" in says] == []
        assert requests.get(f"{running.base}/metrics", timeout=PATIENCE).status_code == 200

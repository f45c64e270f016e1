"""What `docker run -p 8000:8000` would start: built by the Dockerfile's own commands, run as its user, read-only."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.hooks.client import encoded
from tests.scenarios.build import hook_request
from tests.servers.image import CONTEXT, Image, build
from tests.servers.ports import unused_port

PATIENCE = 120
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # The image's user cannot enter pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="ketamine-cds-image-"))
    folder.chmod(0o755)
    try:
        yield build((CONTEXT / "Dockerfile").read_text("utf-8"), folder / "root")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_image_answers_an_order_without_any_setting_and_writes_nothing_but_its_state(
    image: Image, tmp_path: Path
) -> None:
    assert image.user >= 10_000
    port = unused_port()
    settings = {"KETAMINE_CDS_PORT": str(port)}  # 8000 may be taken here
    with (tmp_path / "said").open("wb") as said:
        process = image.start(image.command, settings, stdout=said, stderr=said)
    try:
        base = f"http://127.0.0.1:{port}"
        _await(f"{base}/healthz", process, tmp_path / "said")
        order = encoded(hook_request({"order": {"rate": "1.2 mg/kg/h"}}))
        answer = requests.post(f"{base}/cds-services/ketamine-order-sign", order, headers=JSON, timeout=PATIENCE)
        assert answer.json()["cards"][0]["indicator"] == "critical"
        ready = requests.get(f"{base}/readyz", timeout=PATIENCE).json()
        assert (ready["status"], set(ready["checks"].values())) == ("ready", {True})
        assert image.start(image.health, settings).wait(PATIENCE) == 0
    finally:
        process.terminate()
        ended = process.wait(PATIENCE)
    assert ended == 0
    assert image.start(image.health, settings).wait(PATIENCE) == 1, "nobody answers any more"
    state = Path(f"{image.root}/state")
    assert {"store.sqlite"} <= {each.name for each in state.iterdir()}
    assert [each.name for each in state.iterdir() if not each.name.startswith("store.sqlite")] == []
    assert "AUTHENTICATION OFF: open to whoever reaches http://127.0.0.1:8000" in (tmp_path / "said").read_text()


def test_an_image_with_a_public_url_does_not_start_before_it_is_decided_who_may_call(image: Image) -> None:
    settings = {"KETAMINE_CDS_PUBLIC_URL": "https://cds.example.org", "KETAMINE_CDS_PORT": str(unused_port())}
    assert image.start(image.command, settings).wait(PATIENCE) == 3


def test_the_image_has_neither_an_installer_nor_what_it_was_built_with(image: Image) -> None:
    for program in ("pip", "pip3", "hatchling"):
        assert not (image.root / "opt/ketamine-cds/bin" / program).exists()
    assert sorted(each.name for each in image.root.iterdir()) == ["opt", "state"]
    said = image.start(["ketamine-cds", "--version"], {}, stdout=-1).communicate(timeout=PATIENCE)[0]
    assert said.startswith(b"ketamine-cds ")


def _await(url: str, process: object, said: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, said.read_text()  # type: ignore[attr-defined]
        assert time.monotonic() < end, "the image does not answer"
        with suppress(requests.RequestException):
            if requests.get(url, timeout=2).ok:
                return
        time.sleep(0.1)

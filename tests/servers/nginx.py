"""Debian's nginx with the configuration that this repository ships, on free ports of 127.0.0.1."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from tests.servers.ports import unused_port
from tests.web.test_certificates import GOOD, KEY, pem

REQUIRE = "KETAMINE_TEST_REQUIRE_NGINX"
SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx" / "ketamine-cds.conf"
_PATIENCE = 120
# What nginx.conf of Debian says around it, with files of the test's own. Its processes are those of one user.
_AROUND = """
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/ketamine-cds.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx: its URL, the file of its certificate, and its first process."""

    url: str
    certificate: str
    pid: int


def why_not() -> str | None:
    """Why nginx cannot be started here."""
    if program() is None:
        return "there is no nginx on this machine (Debian: apt-get install nginx)"
    return None


def program() -> str | None:
    """nginx itself, which Debian keeps off the PATH of most users."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def configured(folder: Path, port: int, instances: Sequence[int]) -> str:
    """The shipped file with this port, these instances' ports and a certificate in `folder`; nothing else differs."""
    (folder / "cert.pem").write_bytes(GOOD)
    (folder / "key.pem").write_bytes(pem(KEY))
    text = SHIPPED.read_text("utf-8")
    changes = [
        (r"listen 443 (?=ssl http2;)", f"listen 127.0.0.1:{port} "),
        (r"/etc/ssl/\S+\.pem", str(folder / "cert.pem")),
        (r"/etc/ssl/\S+\.key", str(folder / "key.pem")),
        *(
            (rf"server 10\.0\.0\.1{number}:8000 ", f"server 127.0.0.1:{at} ")
            for number, at in enumerate(instances, 1)
        ),
    ]
    for pattern, instead in changes:
        text, count = re.subn(pattern, instead, text)
        assert count == 1, f"{pattern} stands {count} times in {SHIPPED.name}"
    return text


@contextmanager
def nginx(*instances: int) -> Iterator[Proxy]:
    """Run it before the instances that listen on these ports; https, with a certificate of its own."""
    found = program()
    assert found is not None
    # Its processes may be another user's, who cannot enter pytest's folder.
    with TemporaryDirectory(prefix="ketamine-cds-nginx-") as name:
        folder, port = Path(name), unused_port()
        folder.chmod(0o755)
        (folder / "ketamine-cds.conf").write_text(configured(folder, port, instances), "utf-8")
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder), "utf-8")
        command = [found, "-c", str(folder / "nginx.conf"), "-p", name, "-e", str(folder / "error.log")]
        tried = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tried.returncode == 0, tried.stderr
        process = subprocess.Popen(command)
        try:
            base, certificate = f"https://localhost:{port}", str(folder / "cert.pem")
            _await(process, base, certificate, folder)
            yield Proxy(base, certificate, process.pid)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _await(process: subprocess.Popen[bytes], base: str, certificate: str, folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, (folder / "error.log").read_text()
        assert time.monotonic() < end, "nginx does not answer"
        with suppress(requests.RequestException):
            requests.get(base, verify=certificate, timeout=2)
            return
        time.sleep(0.05)

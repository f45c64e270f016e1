"""The command serve: start the workers, and with --example fire one order at the service over HTTP."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import requests

from cds_service.advise import load
from cds_service.commands.check import orders_of, service_of, table_of
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.commands.refused import Refused
from cds_service.fhir import lenient
from cds_service.protocol.loader import ProtocolError
from cds_service.settings import SettingError, Settings
from cds_service.settings import load as load_settings

_PATIENCE = 30.0


def serve(example: str | None) -> int:
    """Serve until interrupted. Settings and protocol are checked first, so that a fault is said once and clearly."""
    try:
        settings = load_settings()
        load(settings.base_url, settings.overlay)
    except (SettingError, ProtocolError) as error:
        raise Refused(str(error)) from error
    body = moved(read(example), datetime.now(UTC) - AS_OF) if example else None
    if body is not None:
        service_of(body.get("hook"))
    _claim(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    shower = threading.Thread(target=_show, args=(settings, example, body), daemon=True)
    shower.start()
    run("cds_service.web.wsgi:app", settings.host, settings.port, settings.workers)
    return 0


def _claim(settings: Settings) -> None:
    """Raises Refused where the service could not listen: the server itself would only show its own inside."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise Refused(
            f"cannot listen on {settings.host}, port {settings.port}: {why}; "
            "KETAMINE_CDS_HOST and KETAMINE_CDS_PORT name others"
        ) from error


def run(application: str, host: str, port: int, workers: int) -> None:
    """Serve a WSGI application until interrupted. The benchmark's floor is served by it too, so both run alike."""
    from granian import Granian
    from granian.constants import Interfaces

    Granian(
        application, address=host, port=port, interface=Interfaces.WSGI, workers=workers, log_enabled=False
    ).serve()


def _show(settings: Settings, name: str | None, body: dict[str, Any] | None) -> None:
    """Wait until the service answers; show the example and its cards; say how to go on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    base = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    if not _listening(base):
        print(f"the service does not answer at {base}", file=sys.stderr)
        return
    if body is not None:
        service = f"ketamine-{body.get('hook')}"
        headers = {"Content-Type": "application/json"}
        sent = lenient.encode(body)
        answer = requests.post(f"{base}/cds-services/{service}", sent, headers=headers, timeout=_PATIENCE)
        print(f"\nPosted {name} to {base}/cds-services/{service}\n")
        for order in orders_of(body):
            print(f"  order: {order}")
        print(f"\n{table_of(answer.json()) if answer.ok else answer.text}\n")
    print(f"Listening on {base}. Services: {base}/cds-services")
    if name is not None:
        post = f"curl -s -H 'Content-Type: application/json' -d @- {base}/cds-services/ketamine-order-sign"
        print(f"Try: .venv/bin/ketamine-cds example examples/no-weight.json | {post}")
    sys.stdout.flush()


def _listening(base: str) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            return requests.get(f"{base}/cds-services", timeout=2).ok
        except requests.RequestException:
            time.sleep(0.1)
    return False

"""The command serve: start the workers, and with --example fire one order at the service over HTTP."""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import requests

from cds_service import sandbox
from cds_service.commands.check import WIDTH, orders_of, service_of, table_of
from cds_service.commands.examples import AS_OF, moved, read
from cds_service.commands.refused import Refused
from cds_service.console import access, ehr, process, smart
from cds_service.fhir import lenient
from cds_service.knowledge import load
from cds_service.sandbox import written
from cds_service.settings import PREFIX, Settings
from cds_service.settings import load as load_settings
from cds_service.web import at_start, audit, certificates, logs, metrics, tenants, traces
from cds_service.web.app import now

_PATIENCE = 30.0
_THREADS_BESIDE = 16
ANOTHER = "examples/no-weight.json"
"""The example that the start offers beside its own."""


def serve(example: str | None, host: str | None = None, port: str | None = None) -> int:
    """Serve until interrupted. Check settings and protocol first, so that a fault is reported once and clearly.

    `host` and `port` stand for the settings of those names, for the workers and the console too.
    """
    os.environ |= {f"{PREFIX}{name}": text for name, text in (("HOST", host), ("PORT", port)) if text is not None}
    settings = load_settings()
    tls, admitted = certificates.check(settings), _admitted(settings)
    recorded = audit.what_is_recorded(settings)
    untraced = traces.why_not()
    if untraced:
        raise Refused(untraced)
    body = moved(read(example), datetime.now(UTC) - AS_OF) if example else None
    if body is not None:
        service_of(body.get("hook"))
    if body is not None and (tls or admitted.authenticator):
        print("the example is not posted to a service with authentication or TLS of its own", file=sys.stderr)
        example = body = None
    access.check(settings)
    smart.check(settings)
    ehr.signer(settings)
    _claim(settings)
    notes = [_who_may_call(settings, admitted), recorded, *at_start.lines(admitted)]
    notes += [
        f"SANDBOX ON: an EHR with synthetic patients, open to whoever calls: {url}"
        for url in sandbox.servers(settings)
    ]
    if body is None:
        print("\n".join(notes), file=sys.stderr)
    else:  # then they stand below the example, which is what was asked for
        print("Starting the service …", flush=True)
    logs.to_stderr(settings.log_level, settings.log_format)
    with (
        metrics.shared_folder(),
        written.shared_folder() if settings.has_sandbox else nullcontext(),
        process.supervised(settings) as console,
    ):
        threading.Thread(target=_show, args=(settings, example, body, notes, console), daemon=True).start()
        run("cds_service.web.wsgi:app", settings, tls, partial(_check, settings, console))
    # The workers have written their records; shutting down this interpreter would take longer than that.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _admitted(settings: Settings) -> tenants.Tenants:
    """Who may call, with all that belongs to each. Raises what is wrong with any file that the settings name."""
    knowledge = load(settings.base_url, settings.overlay, settings.valuesets, settings.protocols)
    return tenants.load(settings, knowledge, now)


def _check(settings: Settings, console: process.Supervisor | None) -> None:
    """Before a reload, in which the console takes part. Raises what would keep the workers from starting."""
    certificates.check(settings)
    _admitted(settings)
    if console is not None:
        console.restart()


def _who_may_call(settings: Settings, admitted: tenants.Tenants) -> str:
    """Said at each start, so that nobody runs an open service without knowing."""
    if admitted.authenticator is not None:
        return f"AUTHENTICATION REQUIRED: a signed token of one of: {', '.join(admitted.by_id)}"
    reach = "this machine only" if settings.is_local else f"whoever reaches {settings.base_url}"
    unused = "; entries with issuers are not used" if settings.clients else ""
    return f"AUTHENTICATION OFF: open to {reach}, without a token (KETAMINE_CDS_AUTH, docs/clients.md){unused}"


def _claim(settings: Settings) -> None:
    """Raises Refused if the address cannot be listened on; the server itself would print a stack trace."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise Refused(
            f"cannot listen on {settings.host}, port {settings.port}: {why}; "
            "--host and --port name others, as KETAMINE_CDS_HOST and KETAMINE_CDS_PORT do"
        ) from error


def run(
    application: str,
    settings: Settings,
    tls: tuple[Path, Path] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Serve a WSGI application until interrupted. The benchmark's floor is served by it too, so both run alike.

    On SIGHUP, if `check` raises nothing, new workers that reload everything replace the old ones.
    """
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings

    from cds_service.commands.workers import Care, Supervisor
    from cds_service.web.door import Bounds

    # Spawn, do not fork: a forked child never gets a lock that another thread holds (OpenSSL's, for example).
    multiprocessing.set_start_method("spawn", force=True)
    Supervisor(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=settings.header_seconds * 1000),
        websockets=False,
        workers=settings.workers,
        backlog=settings.backlog,
        backpressure=settings.connections,
        log_enabled=False,
        ssl_cert=tls[0] if tls else None,
        ssl_key=tls[1] if tls else None,
        ssl_protocol_min=SSLProtocols.tls12,
        bounds=Bounds(
            # More than admitted calls, so that refusals and health checks find one.
            threads=settings.calls_at_once + _THREADS_BESIDE,
            body_seconds=settings.body_seconds,
            idle_seconds=settings.header_seconds,
            workers=settings.workers,
        ),
        care=Care(settings.hung_seconds, settings.spare_workers),
        check=check,
    ).serve()


def _show(
    settings: Settings,
    name: str | None,
    body: dict[str, Any] | None,
    notes: Sequence[str],
    console: process.Supervisor | None,
) -> None:
    """Wait until the service answers; show the example and its cards; say where to look and how to go on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    scheme = "https" if settings.tls_certificate else "http"
    here = f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"
    _await(here, host, settings.port, scheme == "https")
    if console is not None:
        console.start()  # after the workers, which load on the same processors
    public = settings.public_url or here
    if body is not None:
        for line in _example(here, public, str(name), body, notes, settings, console):
            print(line, flush=True)
    listens = here if public == here else f"{here} for {public}"
    pages = f". Console: {settings.console_url}/" if settings.has_console else ""
    print(f"Listening on {listens}. Services: {public}/cds-services{pages}", flush=True)


def _example(
    here: str,
    public: str,
    name: str,
    body: dict[str, Any],
    notes: Sequence[str],
    settings: Settings,
    console: process.Supervisor | None,
) -> Iterator[str]:
    """One screen: the order, its cards, the browser, another order, what to know before it is more than a trial."""
    service = f"ketamine-{body.get('hook')}"
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{here}/cds-services/{service}", lenient.encode(body), headers=headers, timeout=_PATIENCE)
    cards = answer.json().get("cards", ()) if answer.ok else ()
    yield f"\nPosted {name} to {public}/cds-services/{service}\n"
    yield from (f"  order: {order}" for order in orders_of(body))
    yield f"\n{table_of(answer.json()) if answer.ok else answer.text}\n"
    if console is not None:
        console.wait(_PATIENCE)
    yield f"In the browser: {settings.console_url if console is not None else public}/"
    yield from (f"Rule and sources of this card: {card['source']['url']}" for card in cards[:1])
    if settings.has_sandbox:
        simulate = ".venv/bin/ketamine-cds simulate"
        if settings.base_url != Settings().base_url:  # another terminal does not know of this one's settings
            simulate += f" --service {public}"
        yield f'Try another: {simulate} --patient standard --order "0.6 mg/kg/h IV for 24 h"'
        yield f"Its patients: {simulate}"
    else:
        yield f"Try: .venv/bin/ketamine-cds example {ANOTHER} | .venv/bin/ketamine-cds check -"
    yield "\nBefore it is more than a trial:"
    for note in notes:
        yield from textwrap.wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    yield ""


def _await(base: str, host: str, port: int, is_encrypted: bool) -> None:
    """Wait until the service answers, whatever it answers; where that takes long, say so once.

    Its certificate is for clients to check, not for itself.
    """
    say_so_at = time.monotonic() + _PATIENCE
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    while True:
        encrypted = HTTPSConnection(host, port, timeout=2, context=unchecked) if is_encrypted else None
        connection = encrypted or HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/healthz")  # a call without a token would be counted as a refused one
            connection.getresponse()
            return
        except (OSError, HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
        if time.monotonic() > say_so_at:
            print(f"the service does not answer yet at {base}", file=sys.stderr)
            say_so_at = float("inf")

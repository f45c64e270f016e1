"""The command doctor: look at a deployment as an integration engineer would, and say what to change.

Each finding is ok, a warning or wrong. None holds a secret, and nothing of any patient.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509

from cds_service.commands.looked_at import Finding
from cds_service.errors import ConfigurationError
from cds_service.hooks import clients
from cds_service.hooks.clients import Client, ClientsError
from cds_service.knowledge import Knowledge
from cds_service.knowledge import load as load_knowledge
from cds_service.protocol.references import not_judged
from cds_service.published import as_cql, elm_of
from cds_service.settings import PREFIX, SettingError, Settings
from cds_service.settings import load as load_settings
from cds_service.store import engines, keys
from cds_service.store.engines import StoreError
from cds_service.store.keys import UnusableKey
from cds_service.store.store import Store
from cds_service.web import certificates, tenants

_SECRET = ("store", "replay_url")
"""Settings whose value may hold a password."""
_EXPIRES_SOON = timedelta(days=30)


def run(given: argparse.Namespace) -> int:
    """0: all well, 1: warnings, 2: something is wrong."""
    found: list[Finding] = []
    for finding in _findings(given):
        found.append(finding)
        if not given.json:
            print(finding.line(), flush=True)
    counted = {verdict: sum(each.verdict == verdict for each in found) for verdict in ("ok", "warning", "wrong")}
    if given.json:
        print(msgspec.json.encode({"findings": found, "counted": counted}).decode())
    else:
        print(", ".join(f"{count} {verdict}" for verdict, count in counted.items()))
    return 2 if counted["wrong"] else 1 if counted["warning"] else 0


def _findings(given: argparse.Namespace) -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingError as error:
        yield Finding("wrong", "settings", str(error), "correct or remove that variable")
        return
    yield from _settings(settings)
    yield from _door(settings)
    knowledge = _knowledge(settings)
    if isinstance(knowledge, Finding):
        yield knowledge
        return
    yield from _protocol(settings, knowledge)
    yield from _elm(settings, knowledge)
    yield from _records(settings)
    yield from _clients(settings, knowledge, given)


# Settings, door, protocol, records ----------------------------------------------------------------------------------


def _settings(settings: Settings) -> Iterator[Finding]:
    """Those that are not the default, each with where it comes from."""
    for field in fields(Settings):
        variable = PREFIX + field.name.upper()
        if variable not in os.environ:
            continue
        value = getattr(settings, field.name)
        if field.name in _SECRET:
            shown = value if value == "off" else _without_password(value)
        else:
            shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        yield Finding("ok", "setting", f"{variable} = {shown} (environment)")
    left = [field.name for field in fields(Settings) if PREFIX + field.name.upper() not in os.environ]
    yield Finding("ok", "settings", f"{len(left)} others have their defaults (docs/settings.md)")


def _without_password(url: str) -> str:
    try:
        return engines.shown(engines.url_of(url))
    except StoreError:
        return "(a URL that cannot be read)"


def _door(settings: Settings) -> Iterator[Finding]:
    try:
        required = settings.authenticates
    except SettingError as error:
        yield Finding("wrong", "authentication", str(error), f"set {PREFIX}AUTH")
        return
    if required:
        yield Finding("ok", "authentication", "callers must show a token")
    elif settings.is_local:
        yield Finding("ok", "authentication", "off; only this machine can call")
    else:
        yield Finding("warning", "authentication", "off, and others can call", f"{PREFIX}AUTH=required")
    if not settings.is_reached_on_loopback and not settings.base_url.startswith("https://"):
        yield Finding(
            "wrong", "public URL", f"{settings.base_url} is not https", f"{PREFIX}PUBLIC_URL must name the https URL"
        )
    if settings.has_sandbox and not settings.is_local:
        yield Finding("warning", "sandbox", "on, and others can call", f"{PREFIX}SANDBOX=off in production")
    yield _tls(settings)


def _tls(settings: Settings) -> Finding:
    try:
        pair = certificates.check(settings)
    except SettingError as error:
        return Finding("wrong", "TLS files", str(error), "see docs/deployment.md")
    if pair is None:
        return Finding("ok", "TLS files", "none; a proxy ends TLS, or nobody does")
    first = x509.load_pem_x509_certificates(pair[0].read_bytes())[0]
    ends, now = first.not_valid_after_utc, datetime.now(UTC)
    if not first.not_valid_before_utc <= now <= ends:
        return Finding("wrong", "TLS files", f"the certificate ended or begins later ({ends:%Y-%m-%d})", "renew it")
    if ends - now < _EXPIRES_SOON:
        return Finding("warning", "TLS files", f"the certificate ends on {ends:%Y-%m-%d}", "renew it")
    return Finding("ok", "TLS files", f"the certificate holds until {ends:%Y-%m-%d}, and the key is its own")


def _knowledge(settings: Settings) -> Knowledge | Finding:
    try:
        return load_knowledge(settings.base_url, settings.overlay, settings.valuesets, settings.protocols)
    except ConfigurationError as error:
        return Finding("wrong", "protocol", str(error), "ketamine-cds protocol validate OVERLAY checks it alone")


def _protocol(settings: Settings, knowledge: Knowledge) -> Iterator[Finding]:
    protocols = [part.protocol for part in knowledge.parts]
    for each in protocols:
        yield Finding("ok", "protocol", f"{each.title} {each.version}, {len(each.rules)} rules")
    if settings.overlay is None:
        yield Finding(
            "warning", "overlay", "none: the numbers are the shipped ones, which no site has signed off",
            f"{PREFIX}OVERLAY, see examples/overlay.yaml",
        )  # fmt: skip
    else:
        yield Finding("ok", "overlay", Path(settings.overlay).name)
    for name, rules in not_judged(protocols, knowledge.valuesets).items():
        yield Finding(
            "warning", "value set", f"{name} has no codes; not judged: {', '.join(rules)}",
            f"a FHIR ValueSet named {name} in the folder {PREFIX}VALUESETS",
        )  # fmt: skip


def _elm(settings: Settings, knowledge: Knowledge) -> Iterator[Finding]:
    """Whether /fhir can serve the ELM of each library: one that was written anew since is served without it."""
    if settings.elm is None:
        return
    for protocol in (part.protocol for part in knowledge.parts):
        written = as_cql(knowledge, protocol, date.today())
        elm, every = elm_of(knowledge, protocol, written, settings.elm), len(written.libraries)
        if len(elm) == every:
            yield Finding("ok", "ELM", f"of all {every} CQL libraries of {protocol.id}")
        else:
            yield Finding(
                "warning", "ELM",
                f"of {len(elm)} of {every} CQL libraries of {protocol.id}; the others are another text there",
                f"make elm writes the folder {PREFIX}ELM anew",
            )  # fmt: skip


def _records(settings: Settings) -> Iterator[Finding]:
    """Looked at without being changed: a store that is not there yet is made by the first start."""
    if settings.store_url is None:
        yield Finding("warning", "store", "off: nothing is recorded, and feedback is refused", f"unset {PREFIX}STORE")
    else:
        yield _store(settings.store_url)
        yield _store_key(settings)
    folder = settings.state_folder
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("ok", "state folder", f"{folder}{'' if there == folder else ' will be made'}")
    else:
        yield Finding("wrong", "state folder", f"{there} cannot be written", f"{PREFIX}STATE_DIR names another")
    yield _clock()


def _store(url: str) -> Finding:
    shown = _without_password(url)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return Finding("ok", "store", f"{shown}: is made by the first start")
    try:
        store = Store(url)
        try:
            store.overrides([""], "", datetime.now(UTC))
        finally:
            store.close()
    except StoreError as error:
        return Finding(
            "wrong", "store", str(error), f"{PREFIX}STORE; ketamine-cds store migrate brings it up to date"
        )
    return Finding("ok", "store", f"{shown}: can be read")


def _store_key(settings: Settings) -> Finding:
    if settings.store_key_file is None:
        return Finding(
            "warning", "store key", "none: no override keeps a card quiet",
            f"{PREFIX}STORE_KEY_FILE, made by openssl rand -base64 48",
        )  # fmt: skip
    try:
        keys.read(settings.store_key_file)
    except UnusableKey as error:
        return Finding("wrong", "store key", str(error), "see docs/store.md")
    return Finding("ok", "store key", settings.store_key_file)


def _clock() -> Finding:
    """Against the file system, which may be another machine's. Those of clients are compared where they are asked."""
    with tempfile.NamedTemporaryFile() as made:
        away = abs(datetime.now().timestamp() - Path(made.name).stat().st_mtime)
    now = datetime.now().astimezone()
    if away > 1:
        return Finding("warning", "clock", f"{away:.0f} s beside the file system's", "does NTP run?")
    return Finding("ok", "clock", f"{now.isoformat(timespec='seconds')}")


# Clients ------------------------------------------------------------------------------------------------------------


def _clients(settings: Settings, knowledge: Knowledge, given: argparse.Namespace) -> Iterator[Finding]:
    from cds_service.commands import doctor_client

    try:
        entries = list(clients.load(Path(settings.clients))) if settings.clients else []
        tenants.check(
            settings, settings.authenticates, [e for e in entries if bool(e.issuers) == settings.authenticates]
        )
    except (ClientsError, SettingError) as error:
        yield Finding("wrong", "clients", str(error), "see docs/clients.md")
        return
    if not entries:
        entries = [Client(id=tenants.ANONYMOUS, fhir_servers=list(settings.fhir_servers))]
    if given.client is not None and given.client not in {each.id for each in entries}:
        known = ", ".join(each.id for each in entries)
        yield Finding("wrong", "clients", f"there is no client {given.client}", f"--client names one of: {known}")
        return
    for entry in entries:
        if given.client in (None, entry.id):
            looking: Callable[..., Iterator[Finding]] = doctor_client.findings
            yield from (
                msgspec.structs.replace(each, client=entry.id)
                for each in looking(entry, settings, knowledge, given.patient, given.fhir_token_file)
            )

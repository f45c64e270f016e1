"""A client of the service at run time: its entry, and the knowledge, FHIR servers and profile that are its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from flask import g

from cds_service import sandbox, signature
from cds_service.candidate import Pair, Policy
from cds_service.cards.texts import ENGLISH
from cds_service.deadline import NEVER, Deadline
from cds_service.fhir.client import FhirServers
from cds_service.fhir.source import Limits
from cds_service.hooks import clients, discovery, profiles
from cds_service.hooks.clients import Client, ClientsError, RateLimit
from cds_service.hooks.profiles import Profile, ProfileError
from cds_service.knowledge import Knowledge, listed
from cds_service.knowledge import load as load_knowledge
from cds_service.settings import SettingError, Settings
from cds_service.store.engines import StoreError
from cds_service.web import metrics
from cds_service.web.rate import Bucket

if TYPE_CHECKING:
    from cds_service.hooks.authentication import Authenticator, Keys

ANONYMOUS = "anonymous"
_KEYS_DEADLINE = 2.0
"""Seconds for reading a client's keys. No order waits that long: the reading goes on beside it."""


@dataclass(frozen=True)
class Tenant:
    """One client. `id` stands in logs, metrics and the audit; it is a name that the site chose, never a secret."""

    id: str
    knowledge: Knowledge
    servers: FhirServers
    profile: Profile
    discovery: bytes
    """The body of GET /cds-services."""
    cors_origins: frozenset[str]
    bucket: Bucket | None
    """None: no limit."""
    sends: frozenset[str] | None = None
    """The queries that it is known to send; None where its entry does not say."""
    language: str | None = None
    """Of its cards; None where each call says it."""
    policies: Pair | None = None
    """The policy that answers and a candidate beside it, where there is one."""
    app_url: str | None = None
    """Where the EHR launches the SMART app; None where it has none."""


@dataclass(frozen=True)
class Tenants:
    """All of them. Without an authenticator every caller is the anonymous one."""

    by_id: Mapping[str, Tenant]
    anonymous: Tenant | None
    authenticator: Authenticator | None
    sites: Mapping[str, Knowledge]
    """The knowledge of each overlay that only clients name, by the name of its file."""
    cors_origins: frozenset[str]
    """Of all clients: a preflight does not say who will call."""

    def of(self, authorization: str | None, path: str, now: datetime, deadline: Deadline = NEVER) -> Tenant:
        """The client of a call. Raises Unauthenticated."""
        if self.authenticator is None:
            assert self.anonymous is not None
            return self.anonymous
        return self.by_id[self.authenticator.client(authorization, path, now, deadline).id]


def current() -> Tenant:
    """The client of the request at hand. Only below /cds-services, after authentication."""
    tenant: Tenant = g.tenant
    return tenant


def load(settings: Settings, knowledge: Knowledge, clock: Callable[[], datetime]) -> Tenants:
    """The clients of the settings' file, or the one anonymous client without it. `knowledge` is of the settings.

    Raises SettingError, ClientsError, or what loading a knowledge raises.
    """
    required, entries = settings.authenticates, callers(settings)
    knowledge_of = knowledges(settings, knowledge, entries)
    pair_of = _Candidates(settings)
    made = {entry.id: _tenant(entry, knowledge_of[entry.overlay], settings, pair_of) for entry in entries}
    return Tenants(
        by_id=made,
        anonymous=None if required else next(iter(made.values())),
        authenticator=_authenticator(settings, entries, clock) if required else None,
        sites={_site(path): each for path, each in knowledge_of.items() if path and each is not knowledge},
        cors_origins=frozenset[str]().union(*(tenant.cors_origins for tenant in made.values())),
    )


def callers(settings: Settings) -> list[Client]:
    """The entries of those who may call, or the one of anybody. Raises SettingError or ClientsError."""
    required = settings.authenticates
    entries = clients.load(Path(settings.clients)) if settings.clients else ()
    found = [entry for entry in entries if bool(entry.issuers) == required]
    check(settings, required, found)
    if not required and not found:
        found = [Client(id=ANONYMOUS, fhir_servers=list(settings.fhir_servers))]
    for entry in found:
        if entry.smart is not None:
            _check_app(entry, settings)
    return found


def _check_app(entry: Client, settings: Settings) -> None:
    """Whether an EHR can launch the app of its entry here."""
    if not settings.has_console:
        raise ClientsError(
            f"client {entry.id}: smart: the app is part of the console, and there is none here "
            f"(KETAMINE_CDS_CONSOLE is {settings.console!r})"
        )
    if not clients.is_confidential(settings.console_url):
        raise ClientsError(
            f"client {entry.id}: smart: people reach the console at {settings.console_url}; "
            "KETAMINE_CDS_CONSOLE_PUBLIC_URL must be https"
        )


def app_path(client: str) -> str:
    """Where the SMART app of a client lies in the console."""
    return f"/smart/{client}"


def check(settings: Settings, required: bool, callers: Sequence[Client]) -> None:
    """Whether settings and entries go together. Raises SettingError or ClientsError."""
    if not required:
        return
    if not callers:
        raise SettingError("KETAMINE_CDS_AUTH is 'required'; KETAMINE_CDS_CLIENTS must name who may call")
    if settings.fhir_servers:
        raise SettingError("KETAMINE_CDS_FHIR_SERVERS is not used where clients sign in; each entry names its own")
    if settings.public_url is None and settings.host in ("0.0.0.0", "::"):
        raise SettingError("KETAMINE_CDS_PUBLIC_URL must say for which URL the tokens of clients are made")
    for entry in callers:
        public = clients.signed_by_anyone(entry)
        if public is not None and not settings.is_reached_on_loopback:
            raise ClientsError(
                f"client {entry.id}: anyone can sign as {public}, whose private key is published; "
                f"it may only call where the public URL is on loopback, and that is {settings.base_url}"
            )


def knowledges(settings: Settings, knowledge: Knowledge, callers: Sequence[Client]) -> dict[str | None, Knowledge]:
    """The knowledge of each overlay, loaded once. Its pages lie below a path of its own."""
    found: dict[str | None, Knowledge] = {None: knowledge}
    ours = Path(settings.overlay).resolve() if settings.overlay else None
    names: dict[str, str] = {}
    for path in sorted({entry.overlay for entry in callers if entry.overlay}):
        if ours is not None and Path(path).resolve() == ours:
            found[path] = knowledge
            continue
        if names.setdefault(_site(path), path) != path:
            raise ClientsError(f"{path} and {names[_site(path)]}: overlays need different file names")
        base = f"{settings.base_url}/sites/{_site(path)}"
        found[path] = load_knowledge(base, path, settings.valuesets, settings.protocols)
    return found


def _site(path: str) -> str:
    return Path(path).stem


class _Candidates:
    """The candidates of clients: each overlay is loaded once beside each live policy."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[tuple[int, str], Pair] = {}

    def __call__(self, entry: Client, live: Knowledge) -> Pair | None:
        """The pair of a client. Raises SettingError, ClientsError, or what loading a knowledge raises."""
        settings = self._settings
        path = entry.candidate or (settings.candidate if entry.overlay is None else None)
        if path is None:
            return None
        if settings.store_url is None:
            raise SettingError(
                f"KETAMINE_CDS_STORE is off, so nothing can be counted of the candidate of client {entry.id}"
            )
        key = id(live), str(Path(path).resolve())
        if key not in self._made:
            loaded = load_knowledge(settings.base_url, path, settings.valuesets, settings.protocols)
            candidate = replace(loaded, valuesets=live.valuesets)  # the same sets, so that the chart is read once
            self._made[key] = Pair(_policy(live), _policy(candidate))
        return self._made[key]


def _policy(knowledge: Knowledge) -> Policy:
    return Policy(knowledge, signature.digest(knowledge))


def _tenant(
    entry: Client,
    knowledge: Knowledge,
    settings: Settings,
    pair_of: Callable[[Client, Knowledge], Pair | None],
) -> Tenant:
    try:
        profile = profiles.load(entry.profile)
    except ProfileError as error:
        raise ClientsError(f"client {entry.id}: {error}") from error
    limit = entry.rate_limit
    if limit is None and settings.calls_per_second:
        limit = RateLimit(per_second=settings.calls_per_second, burst=2 * settings.calls_per_second)
    return Tenant(
        id=entry.id,
        knowledge=knowledge,
        servers=FhirServers(
            [*entry.fhir_servers, *sandbox.servers(settings)],
            Limits(
                deadline=settings.fhir_deadline_ms / 1000,
                max_bytes=settings.fhir_max_bytes,
                max_total_bytes=settings.fhir_max_total_bytes,
            ),
            threads=settings.fhir_threads,
            ca_bundle=settings.fhir_ca_bundle,
            held=metrics.fhir_thread,
        ),
        profile=profile,
        discovery=msgspec.json.encode(
            discovery.discovery(
                knowledge.queries, knowledge.protocol.version, listed(knowledge.families), listed(knowledge.drugs)
            )
        ),
        cors_origins=frozenset(entry.cors_origins) | frozenset(settings.cors_origins),
        bucket=Bucket(limit.per_second, limit.burst) if limit else None,
        sends=None if entry.sends is None else frozenset(entry.sends),
        language=_language(entry, knowledge),
        policies=pair_of(entry, knowledge),
        app_url=f"{settings.console_url}{app_path(entry.id)}/launch" if entry.smart is not None else None,
    )


def _language(entry: Client, knowledge: Knowledge) -> str | None:
    """The language of the entry, in which there must be texts."""
    if entry.language is None:
        return None
    found = knowledge.texts.spoken([entry.language]).language
    if found != ENGLISH or entry.language.lower().partition("-")[0] == ENGLISH:
        return entry.language
    known = ", ".join([ENGLISH, *knowledge.texts.others])
    raise ClientsError(f"client {entry.id}: language: there are no texts in {entry.language!r}, only in {known}")


def _authenticator(settings: Settings, callers: Sequence[Client], clock: Callable[[], datetime]) -> Authenticator:
    # Only where clients sign in: what reads and checks tokens takes 10 MB of each worker.
    from cds_service.hooks.authentication import Authenticator
    from cds_service.hooks.replay import SqlReplayGuard

    try:
        replay = SqlReplayGuard(
            replay_url(settings), clock, failed=metrics.unanswered("used tokens"), held=metrics.held("used tokens")
        )
    except StoreError as error:
        raise SettingError(f"KETAMINE_CDS_REPLAY_URL cannot be used: {error}") from error
    return Authenticator(
        [(entry, _keys(entry, settings)) for entry in callers],
        settings.base_url,
        replay,
        tolerance=timedelta(seconds=settings.clock_skew_seconds),
    )


def replay_url(settings: Settings) -> str:
    """Where used tokens are kept."""
    return settings.replay_url or f"sqlite:///{settings.state_folder / 'used-tokens.sqlite3'}"


def _keys(entry: Client, settings: Settings) -> Keys:
    from cds_service.hooks import keysets
    from cds_service.hooks.authentication import Keys

    def at(url: str) -> keysets.KeySet:
        return keysets.from_url(url, entry.key_network, _KEYS_DEADLINE, settings.fhir_ca_bundle)

    file = keysets.from_file(entry.jwks_file) if entry.jwks_file else None
    return Keys(file, {url: at(url) for url in entry.jku})

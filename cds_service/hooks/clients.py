"""The clients of the service: one entry each in a YAML or TOML file, checked whole before the service starts."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from cds_service.errors import UNREADABLE, ConfigurationError
from cds_service.fhir import queries
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.parsing import parse_yaml
from cds_service.settings import is_loopback, is_origin, web_url
from cds_service.site_file import read_text

Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
"""Signatures that a client may be allowed: neither `none` nor a symmetric one has a name (requirements 201, 203)."""

Network = Literal["public", "private", "loopback"]


class ClientsError(ConfigurationError):
    """A file of clients that cannot be used; the message names the file, the place and what is expected."""


_SANDBOX = "sandbox.cds-hooks.org"
"""The public sandbox of CDS Hooks. Its private key is published with its source: anyone can sign as the sandbox."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token bucket, in each worker process: `burst` calls at once, refilled by `per_second`."""

    per_second: Annotated[int, Meta(ge=1, le=100_000)]
    burst: Annotated[int, Meta(ge=1, le=100_000)]


class SmartApp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a client's authorization server knows the app that its cards link to."""

    client_id: Annotated[str, Meta(min_length=1)]
    secret_file: str | None = None
    """Of a confidential client; without it the app is a public one. PKCE protects both."""
    authorization_servers: list[str] = []
    """Their origins, where people are sent and tokens are asked for, besides those of `fhir_servers`."""


class Client(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One client (tenant): who it is, and what it may do. docs/clients.md says what each field means."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Stands in logs, metrics and the audit."""
    issuers: list[Annotated[str, Meta(min_length=1)]] = []
    """`iss` of its tokens. The one entry without issuers is the caller of a service that authenticates nobody."""
    tenant: Annotated[str, Meta(min_length=1)] | None = None
    """`tenant` of its tokens; tells apart the clients of one issuer."""
    jku: list[str] = []
    jwks_file: str | None = None
    key_network: Network = "public"
    """Where the hosts of `jku` may lie."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("ES384", "RS384")
    audience: list[Annotated[str, Meta(min_length=1)]] = []
    """Accepted beside the public URL and the URL that is called."""
    max_lifetime_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 600
    fhir_servers: list[str] = []
    profile: str = "standard"
    overlay: str | None = None
    candidate: str | None = None
    """An overlay that is judged beside it after each answer, and only counted."""
    cors_origins: list[str] = []
    rate_limit: RateLimit | None = None
    language: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """Of its cards; without it they follow the `Accept-Language` of a call."""
    sends: list[str] | None = None
    """The prefetch keys that it sends. One of them that is missing has failed; the operator is told of the others."""
    smart: SmartApp | None = None
    """Without it no card has a link to the app."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    clients: Annotated[list[Client], Meta(min_length=1)]


def load(path: Path) -> tuple[Client, ...]:
    """The clients of a file, with the files that they name made absolute. Raises ClientsError."""
    text = read_text(path, ClientsError)
    try:
        content: Any = tomllib.loads(text) if path.suffix == ".toml" else parse_yaml(text, path.name)
        clients = msgspec.convert(content, _File).clients
    except (ProtocolError, msgspec.ValidationError, *UNREADABLE) as error:
        raise ClientsError(f"{path}: {error}") from error
    faults = list(_faults(clients))
    if faults:
        raise ClientsError(f"{path}: " + "; ".join(faults))
    return tuple(_located(client, path.parent) for client in clients)


def signed_by_anyone(client: Client) -> str | None:
    """The issuer or key URL of an entry whose private key is public; None where there is none."""
    return next((each for each in (*client.issuers, *client.jku) if _is_sandbox(each)), None)


def _is_sandbox(text: str) -> bool:
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
    except ValueError:
        return False
    return host.rstrip(".").lower() == _SANDBOX


def _located(client: Client, folder: Path) -> Client:
    return replace(
        client,
        jwks_file=client.jwks_file and str(folder / client.jwks_file),
        overlay=client.overlay and str(folder / client.overlay),
        candidate=client.candidate and str(folder / client.candidate),
        profile=str(folder / client.profile) if client.profile.endswith(".toml") else client.profile,
        fhir_servers=[server.rstrip("/") for server in client.fhir_servers],
        smart=client.smart and _with_secret(client.smart, folder),
    )


def _with_secret(app: SmartApp, folder: Path) -> SmartApp:
    return replace(app, secret_file=app.secret_file and str(folder / app.secret_file))


def _faults(clients: Sequence[Client]) -> Iterator[str]:
    """What no type can say."""
    ids = [client.id for client in clients]
    yield from (f"the id {each} stands twice" for each in sorted({each for each in ids if ids.count(each) > 1}))
    if sum(not client.issuers for client in clients) > 1:
        yield "more than one client has no issuers"
    callers = [(issuer, client.tenant) for client in clients for issuer in client.issuers]
    for issuer in sorted({issuer for issuer, _ in callers}):
        tenants = [tenant for each, tenant in callers if each == issuer]
        if len(tenants) > 1 and (None in tenants or len(set(tenants)) < len(tenants)):
            yield f"the issuer {issuer} belongs to several clients, and they are not told apart by a tenant each"
    for client in clients:
        yield from (f"client {client.id}: {fault}" for fault in _faults_of(client))


def _faults_of(client: Client) -> Iterator[str]:
    if client.issuers and not (client.jku or client.jwks_file):
        yield "has issuers, but neither jku nor jwks_file"
    if not client.issuers and (client.jku or client.jwks_file or client.tenant):
        yield "has keys or a tenant, but no issuers"
    for name, urls in (("jku", client.jku), ("fhir_servers", client.fhir_servers)):
        for url in urls:
            if not _is_url(url):
                yield f"{name}: {url!r} is not an http or https URL without a user or a query"
            elif name == "jku" and urlsplit(url).scheme != "https" and client.key_network != "loopback":
                yield f"jku: {url!r} is not https, which only key_network: loopback allows"
    for key in client.sends or ():
        if key not in queries.prefetch_keys():
            near = difflib.get_close_matches(key, queries.prefetch_keys(), 1, 0)
            yield f"sends: {key!r} is no prefetch key of this service; did you mean {near[0]}?"
    if client.smart is not None:
        yield from _faults_of_app(client, client.smart)
    for origin in client.cors_origins:
        if origin != "*" and not is_origin(origin):
            yield f"cors_origins: {origin!r} is neither * nor scheme://host[:port]"


def _faults_of_app(client: Client, app: SmartApp) -> Iterator[str]:
    """A token goes only where nobody reads along."""
    if not client.fhir_servers:
        yield "smart: the app reads the chart from one of fhir_servers, and there are none"
    for url in client.fhir_servers:
        if _is_url(url) and not is_confidential(url):
            yield f"smart: {url!r} of fhir_servers is not https, which only a loopback address need not be"
    for origin in app.authorization_servers:
        if not is_origin(origin) or not is_confidential(origin):
            yield f"smart: authorization_servers: {origin!r} is not https://host[:port]"


def is_confidential(url: str) -> bool:
    """Whether what is sent there can be read by nobody on the way: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _is_url(text: str) -> bool:
    try:
        return bool(web_url(text))
    except ValueError:
        return False

"""Settings: environment variables that start with KETAMINE_CDS_. An unknown or malformed one stops the start."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cds_service.errors import ConfigurationError

PREFIX = "KETAMINE_CDS_"
OFF = "off"


class SettingError(ConfigurationError):
    """A setting that cannot be used; the message names it, its value and what is expected."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        is_short = len(text) <= len(str(high))
        if not (text.isascii() and text.isdecimal() and is_short) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def web_url(text: str) -> str:
    """`text` without a slash at its end. Raises ValueError where it could never match what a request names."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an address that is none
        usable = False
    # urlsplit passes over blanks and control characters; a user or a query would never match what a request names.
    if not usable or any(c in text for c in "@?#\\ ") or not (text.isascii() and text.isprintable()):
        raise ValueError("an http or https URL without a user or a query")
    return text.rstrip("/")


def _urls(text: str) -> tuple[str, ...]:
    return tuple(web_url(part.strip()) for part in text.split(",") if part.strip())


def _file(text: str) -> str:
    if not os.path.isfile(text):  # noqa: PTH113 - Path.is_file raises for a name that no file can have
        raise ValueError("a file that exists")
    return text


def _directory(text: str) -> str:
    if not (os.path.isdir(text) and os.access(text, os.R_OK | os.X_OK)):  # noqa: PTH112 - as above
        raise ValueError("a directory that exists and can be read")
    return text


def _directories(text: str) -> tuple[str, ...]:
    try:
        return tuple(_directory(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError("directories that exist and can be read, separated by commas") from error


def _text(text: str) -> str:
    if not text:
        raise ValueError("a text that is not empty")
    return text


def _origin(text: str) -> str:
    if not is_origin(text):
        raise ValueError("an origin (scheme://host[:port] in lower case)")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


def _store(text: str) -> str:
    """Not a ValueError, with which the value would be shown: it may hold a password."""
    if text != OFF and not text.startswith(("sqlite:///", "postgresql://")):
        raise SettingError(
            f"{PREFIX}STORE cannot be used; expected is off, or a URL that starts with sqlite:/// or postgresql://"
        )
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(origin == "*" or is_origin(origin) for origin in origins):
        raise ValueError("origins (scheme://host[:port] in lower case) separated by commas, or *")
    return origins


def is_origin(text: str) -> bool:
    """Whether a browser could send this as its Origin: scheme, host and port in lower case, nothing else."""
    try:
        return web_url(text) == text == text.lower() and not urlsplit(text).path and "*" not in text
    except ValueError:
        return False


def _setting(default: Any, read: Callable[[str], Any], says: str) -> Any:
    return field(default=default, metadata={"read": read, "says": says})


@dataclass(frozen=True)
class Settings:
    """What a deployment may choose. Each field is KETAMINE_CDS_ and its name in capitals."""

    host: str = _setting("127.0.0.1", _text, "address to listen on")
    port: int = _setting(8000, _whole(1, 65535), "port to listen on")
    workers: int = _setting(2, _whole(1, 64), "worker processes")
    public_url: str | None = _setting(
        None, web_url, "where clients reach the service: tokens are made for it, cards link to its protocol pages"
    )
    fhir_servers: tuple[str, ...] = _setting(
        (), _urls, "base URLs of the FHIR servers that may be asked, separated by commas; none by default"
    )
    answer_deadline_ms: int = _setting(
        450,
        _whole(0, 60_000),
        "time for an answer, once the request has come; what is not checked by then is said on a card; 0 is no limit",
    )
    fhir_deadline_ms: int = _setting(
        400, _whole(10, 60_000), "time for all fallback searches of a request together, within that for the answer"
    )
    fhir_threads: int = _setting(32, _whole(1, 512), "fallback searches at once, over all requests of a worker")
    fhir_max_bytes: int = _setting(8_000_000, _whole(1_000, 1_000_000_000), "largest page of a FHIR server")
    fhir_max_total_bytes: int = _setting(
        16_000_000, _whole(1_000, 1_000_000_000), "all pages of FHIR servers for one request together"
    )
    fhir_ca_bundle: str | None = _setting(
        None, _file, "file with the certificate authorities of FHIR servers and of clients' key servers"
    )
    max_body_bytes: int = _setting(16_000_000, _whole(1_000, 1_000_000_000), "largest request")
    calls_at_once: int = _setting(
        128, _whole(1, 10_000), "calls in progress in each worker; more are answered 503 before they are read"
    )
    bytes_in_flight: int = _setting(
        64_000_000,
        _whole(1_000, 100_000_000_000),
        "bytes of bodies in progress in each worker; more are answered 503 before they are read",
    )
    judged_at_once: int = _setting(
        16, _whole(1, 1_000), "calls judged at once in each worker; others wait 200 ms, then a card says: not checked"
    )
    header_seconds: int = _setting(
        10, _whole(1, 300), "time for the header of a request; an idle connection is closed after it as well"
    )
    body_seconds: int = _setting(5, _whole(1, 300), "time for a body to arrive; later the answer is 408")
    connections: int = _setting(
        1024, _whole(16, 100_000), "open connections of each worker; more wait to be accepted"
    )
    backlog: int = _setting(1024, _whole(128, 65_535), "connections that may wait to be accepted")
    hung_seconds: int = _setting(
        5, _whole(2, 300), "a worker that shows no sign of life for so long is killed and replaced"
    )
    spare_workers: int = _setting(
        1, _whole(0, 8), "loaded processes that wait to take the place of a worker that is lost"
    )
    overlay: str | None = _setting(None, _text, "site overlay file of the protocol")
    candidate: str | None = _setting(
        None,
        _file,
        "overlay file that is judged beside KETAMINE_CDS_OVERLAY after each answer, and only counted; see "
        "policy-change.md",
    )
    protocols: tuple[str, ...] = _setting(
        (),
        _directories,
        "folders of the site's own protocols, separated by commas; each is loaded beside the shipped one",
    )
    valuesets: str | None = _setting(
        None, _directory, "directory of the site's own value sets (FHIR ValueSet as JSON), added to the shipped ones"
    )
    elm: str | None = _setting(None, _directory, "folder that `make elm` wrote, for /fhir; see cql.md")
    auth: str | None = _setting(
        None,
        _one_of("required", OFF, "loopback"),
        "required or off: whether callers must show a token (JWT); off on loopback, elsewhere it must be set. "
        "loopback, as in the image: off while the public URL is on loopback and no clients are named",
    )
    clients: str | None = _setting(None, _file, "file of the clients that may call, see clients.md")
    clock_skew_seconds: int = _setting(60, _whole(0, 300), "how far the clock of a client may be off")
    state_dir: str | None = _setting(
        None, _text, "folder for what worker processes share (used tokens); ~/.local/state/ketamine-cds by default"
    )
    replay_url: str | None = _setting(
        None, _text, "database of used tokens instead, as an SQLAlchemy URL; for several machines behind one address"
    )
    store: str | None = _setting(
        None,
        _store,
        "where invocations and feedback are recorded: a URL sqlite:///FILE or postgresql://…, or off; "
        "store.sqlite in the state folder by default",
    )
    store_key_file: str | None = _setting(
        None,
        _file,
        "file with a secret of at least 32 bytes; without it no patient and no order is recorded, see store.md",
    )
    retention_days: int = _setting(365, _whole(1, 36_500), "how long `store prune` keeps records")
    keep_facts_days: int = _setting(
        0,
        _whole(0, 365),
        "how long the facts behind each finding are kept for the look-up: codes, figures and their age, no words; "
        "0: they are not kept; see store.md",
    )
    shadow: str = _setting(OFF, _one_of("on", OFF), "on: evaluate and record, and answer without cards")
    cors_origins: tuple[str, ...] = _setting(
        (), _origins, "web origins that may call from a browser, for every client; separated by commas, or *"
    )
    rate_limit: int | None = _setting(
        None,
        _whole(0, 100_000),
        "calls per second of a client in each worker process; 0 is no limit; no limit on loopback, 50 elsewhere",
    )
    tls_certificate: str | None = _setting(None, _file, "certificate chain (PEM), to serve https without a proxy")
    tls_key: str | None = _setting(None, _file, "its private key (PEM)")
    sandbox: str = _setting(
        OFF,
        _one_of(OFF, "loopback", "on"),
        "on: the service is an EHR with synthetic patients too, open to whoever calls; loopback: where only this "
        "machine can call",
    )
    console: str = _setting(
        "loopback",
        _one_of(OFF, "loopback", "on"),
        "the console, pages to try and to look after the service: loopback, where only this machine can call; "
        "on, for whoever knows the secret of KETAMINE_CDS_CONSOLE_SECRET_FILE or is let in by OpenID Connect",
    )
    console_port: int = _setting(8001, _whole(1, 65535), "port of the console, at the address of the service")
    reports: str | None = _setting(
        None, _directory, "folder whose reports of `ketamine-cds replay` the console shows; none by default"
    )
    console_key_file: str | None = _setting(
        None,
        _file,
        "file with the private key with which the console signs its calls, as `ketamine-cds keys new` writes it",
    )
    console_key_issuer: str | None = _setting(
        None, _text, "as what it signs: an issuer of an entry of KETAMINE_CDS_CLIENTS"
    )
    console_secret_file: str | None = _setting(
        None, _file, "file with the secret of at least 32 bytes with which people log in where the console is on"
    )
    console_public_url: str | None = _setting(
        None,
        _origin,
        "where people reach the console, as an origin; by default the name of the service at the console's port",
    )
    console_oidc_issuer: str | None = _setting(
        None, web_url, "issuer of the OpenID Connect provider that signs people in where the console is on"
    )
    console_oidc_client_id: str | None = _setting(None, _text, "as what the console is registered there")
    console_oidc_secret_file: str | None = _setting(
        None, _file, "file with the client secret of that registration; without it the client is public, with PKCE"
    )
    console_oidc_scope: str = _setting("openid", _text, "scopes that are asked for there, separated by blanks")
    console_oidc_claim: str = _setting(
        "groups", _text, "claim of the ID token that says who may in; a dot leads into an object: realm_access.roles"
    )
    console_oidc_allowed: tuple[str, ...] = _setting(
        (), _names, "values of that claim, separated by commas, of which one lets a person in; nobody else comes in"
    )
    log_level: str = _setting(
        "INFO", _one_of("INFO", "WARNING", "ERROR"), "lowest level that is logged; INFO logs each request"
    )
    log_format: str = _setting(
        "auto", _one_of("auto", "json", "text"), "form of the log; auto: text on a terminal, JSON elsewhere"
    )

    @property
    def answer_seconds(self) -> float | None:
        """Time for an answer; None is no limit."""
        return self.answer_deadline_ms / 1000 or None

    @property
    def state_folder(self) -> Path:
        if self.state_dir:
            return Path(self.state_dir)
        try:
            return Path.home() / ".local" / "state" / "ketamine-cds"
        except RuntimeError:  # a user without a home, as in some containers
            return Path("/var/lib/ketamine-cds")

    @property
    def store_url(self) -> str | None:
        """None: nothing is recorded."""
        if self.store == OFF:
            return None
        return self.store or f"sqlite:///{self.state_folder / 'store.sqlite'}"

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.tls_certificate else "http"
        return self.public_url or f"{scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def is_reached_on_loopback(self) -> bool:
        """Whether the URL for which tokens are made is on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call: listening on loopback, and no proxy before it makes it public."""
        return self.is_loopback and (self.public_url is None or is_loopback(urlsplit(self.public_url).hostname or ""))

    @property
    def has_sandbox(self) -> bool:
        """Whether the service is an EHR with synthetic patients too."""
        return self.sandbox == "on" or (self.sandbox == "loopback" and self.is_local)

    @property
    def has_console(self) -> bool:
        """Whether a process beside the workers serves pages for people."""
        is_ours = self.is_local and is_loopback(urlsplit(self.console_url).hostname or "")
        return self.console == "on" or (self.console == "loopback" and is_ours)

    @property
    def console_url(self) -> str:
        """Where people reach the console; unless it is said, the name of the service at a port of its own."""
        host = urlsplit(self.base_url).hostname or self.host
        scheme = "https" if self.tls_certificate else "http"
        beside = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.console_port}"
        return self.console_public_url or beside

    @property
    def authenticates(self) -> bool:
        """Whether callers must show a token. Raises SettingError where that must be said and is not."""
        is_tried = self.auth == "loopback" and self.is_reached_on_loopback and self.clients is None
        if not (self.auth in ("required", OFF) or self.is_local or is_tried):
            raise SettingError(
                "KETAMINE_CDS_AUTH must be required or off where the service is not on loopback alone; "
                "required needs KETAMINE_CDS_CLIENTS"
            )
        return self.auth == "required"

    @property
    def calls_per_second(self) -> int:
        """Of one client in one worker; 0 is no limit."""
        return self.rate_limit if self.rate_limit is not None else (0 if self.is_local else 50)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def described() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the documentation."""
    return [(PREFIX + f.name.upper(), _shown(f.default), f.metadata["says"]) for f in fields(Settings)]


def _shown(default: Any) -> str:
    return "–" if default in (None, ()) else str(default)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the environment. Raises SettingError."""
    environment = os.environ if environment is None else environment
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    given: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            near = get_close_matches(variable, known, 1, 0.8)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingError(f"{variable} is not a setting{hint} (docs/settings.md has them all)")
        try:
            given[known[variable].name] = known[variable].metadata["read"](text)
        except ValueError as error:
            raise SettingError(f"{variable} is {text!r}; expected is {error}") from error
    return Settings(**given)

"""Settings: environment variables that start with KETAMINE_CDS_. An unknown or malformed one stops the start."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PREFIX = "KETAMINE_CDS_"


class SettingError(Exception):
    """A setting that cannot be used; the message names it, its value and what is expected."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        is_short = len(text) <= len(str(high))
        if not (text.isascii() and text.isdecimal() and is_short) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _url(text: str) -> str:
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
    return tuple(_url(part.strip()) for part in text.split(",") if part.strip())


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("a file that exists")
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError("a text that is not empty")
    return text


def _setting(default: Any, read: Callable[[str], Any], says: str) -> Any:
    return field(default=default, metadata={"read": read, "says": says})


@dataclass(frozen=True)
class Settings:
    """What a deployment may choose. Each field is KETAMINE_CDS_ and its name in capitals."""

    host: str = _setting("127.0.0.1", _text, "address to listen on")
    port: int = _setting(8000, _whole(1, 65535), "port to listen on")
    workers: int = _setting(2, _whole(1, 64), "worker processes")
    public_url: str | None = _setting(None, _url, "where clients reach the service; cards link to its protocol pages")
    fhir_servers: tuple[str, ...] = _setting(
        (), _urls, "base URLs of the FHIR servers that may be asked, separated by commas; none by default"
    )
    fhir_deadline_ms: int = _setting(400, _whole(10, 60_000), "time for all fallback searches of a request together")
    fhir_threads: int = _setting(32, _whole(1, 512), "fallback searches at once, over all requests of a worker")
    fhir_max_bytes: int = _setting(8_000_000, _whole(1_000, 1_000_000_000), "largest page of a FHIR server")
    fhir_ca_bundle: str | None = _setting(None, _file, "file with the certificate authorities of the FHIR servers")
    max_body_bytes: int = _setting(16_000_000, _whole(1_000, 1_000_000_000), "largest request")
    overlay: str | None = _setting(None, _text, "site overlay file of the protocol")

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


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
            raise SettingError(f"{variable} is not a setting; known are {', '.join(sorted(known))}")
        try:
            given[known[variable].name] = known[variable].metadata["read"](text)
        except ValueError as error:
            raise SettingError(f"{variable} is {text!r}; expected is {error}") from error
    return Settings(**given)

"""What doctor looks at for one client: its keys, its FHIR servers, and each search that the service would send."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from cds_service import sandbox
from cds_service.commands import given
from cds_service.commands.looked_at import Finding
from cds_service.commands.refused import Refused
from cds_service.console import smart
from cds_service.console.oauth import NotSignedIn
from cds_service.fhir.bundles import left_out
from cds_service.fhir.client import FhirServers
from cds_service.fhir.resources import MedicationAdministration, MedicationRequest, MedicationStatement
from cds_service.fhir.source import Limits
from cds_service.hooks import keysets
from cds_service.hooks.clients import Client
from cds_service.knowledge import Knowledge
from cds_service.settings import PREFIX, Settings
from cds_service.store.keys import UnusableKey

NOBODY = "ketamine-cds-doctor"
"""The patient of the searches where none is named: nobody's chart is read."""
_PATIENCE = 10.0
"""Seconds for one search, so that its time is known however slow it is."""
_READING_KEYS = 5.0
_REFUSED = ("answered 401", "answered 403")


def findings(
    entry: Client, settings: Settings, knowledge: Knowledge, patient: str | None, token_file: str | None
) -> Iterator[Finding]:
    yield from _keys(entry, settings)
    yield from _app(entry, settings)
    if not entry.fhir_servers and not settings.has_sandbox:
        yield Finding(
            "warning", "FHIR server", "none may be asked: what is not in the prefetch is not known",
            f"fhir_servers of the entry, or {PREFIX}FHIR_SERVERS without entries",
        )  # fmt: skip
    try:
        token = given.token(token_file) if token_file else None
    except Refused as error:
        yield Finding("wrong", "access token", str(error), "--fhir-token-file names a file with one")
        return
    for base in (*entry.fhir_servers, *sandbox.servers(settings)):
        yield from _Server(base, settings, knowledge, patient, token).findings()


def _app(entry: Client, settings: Settings) -> Iterator[Finding]:
    """Whether each of its FHIR servers says where people sign in for the SMART app."""
    try:
        servers = smart.servers(entry, settings)
    except UnusableKey as error:
        yield Finding("wrong", "SMART app", str(error), "secret_file of smart")
        return
    for base, server in servers.items():
        redirect = server.registration.redirect_uri
        try:
            at = server.endpoints().authorization
        except NotSignedIn as error:
            change = "authorization_servers of smart, or the EHR's .well-known/smart-configuration"
            yield Finding("wrong", "SMART app", f"{base}: {error}", change)
        else:
            yield Finding("ok", "SMART app", f"{base}: people sign in at {at}; the redirect URI is {redirect}")


# Keys ---------------------------------------------------------------------------------------------------------------


def _keys(entry: Client, settings: Settings) -> Iterator[Finding]:
    sources = {
        url: keysets.from_url(url, entry.key_network, _READING_KEYS, settings.fhir_ca_bundle) for url in entry.jku
    }
    if entry.jwks_file:
        sources[entry.jwks_file] = keysets.from_file(entry.jwks_file)
    for name, keys in sources.items():
        try:
            usable = keys.usable(entry.algorithms)
        except keysets.KeysUnavailable as error:
            yield Finding("wrong", "keys", f"{name}: {error}", "docs/clients.md, key_network and the CA bundle")
            continue
        if usable:
            yield Finding("ok", "keys", f"{name}: {len(usable)} keys for {', '.join(sorted(set(usable)))}")
        else:
            wanted = ", ".join(entry.algorithms)
            yield Finding("wrong", "keys", f"{name}: no key with a kid for {wanted}", "kid, alg and use of its keys")


# FHIR servers -------------------------------------------------------------------------------------------------------


class _Server:
    """One FHIR server, looked at with the service's own searches."""

    def __init__(
        self, base: str, settings: Settings, knowledge: Knowledge, patient: str | None, token: str | None
    ) -> None:
        self._base = base
        self._settings = settings
        self._queries = knowledge.queries
        self._said = knowledge.texts.recorded
        self._patient = patient
        self._token = token

    def findings(self) -> Iterator[Finding]:
        statement = yield from self._metadata()
        if statement is None:
            return
        yield from self._supported(statement)
        yield from self._scopes()
        yield from self._searches()

    def _metadata(self) -> Any:
        what = f"FHIR server {self._base}"
        if urlsplit(self._base).scheme != "https" and not self._settings.is_local:
            yield Finding("warning", what, "is asked without TLS", "an https URL")
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.verify = self._settings.fhir_ca_bundle or True
                answer = session.get(
                    f"{self._base}/metadata",
                    headers={"Accept": "application/fhir+json"},
                    timeout=_PATIENCE,
                    allow_redirects=False,
                )
            statement = answer.json()
        except requests.exceptions.SSLError:
            yield Finding("wrong", what, "its certificate is not trusted", f"{PREFIX}FHIR_CA_BUNDLE")
            return None
        except requests.JSONDecodeError:
            yield Finding(
                "wrong", what, f"/metadata answered {answer.status_code} and no JSON", "is it the base URL?"
            )
            return None
        except requests.RequestException as error:
            yield Finding("wrong", what, f"cannot be reached ({type(error).__name__})", "name, port, firewall, proxy")
            return None
        yield from self._clock(answer.headers.get("Date"))
        version = statement.get("fhirVersion") if isinstance(statement, dict) else None
        if not isinstance(version, str) or not version.startswith("4."):
            yield Finding(
                "wrong", what, f"/metadata answered {answer.status_code}, and no R4 statement", "an R4 base URL"
            )
            return None
        yield Finding("ok", what, f"reached; FHIR {version}")
        return statement

    def _clock(self, date: str | None) -> Iterator[Finding]:
        try:
            away = abs(datetime.now(UTC) - parsedate_to_datetime(date or ""))
        except (TypeError, ValueError):
            return
        most = timedelta(seconds=self._settings.clock_skew_seconds)
        if away > most + timedelta(seconds=2):
            yield Finding(
                "warning", "clock", f"that of {urlsplit(self._base).hostname} is {away.total_seconds():.0f} s away",
                "NTP on both; tokens and ages of results depend on it",
            )  # fmt: skip

    def _supported(self, statement: Mapping[str, Any]) -> Iterator[Finding]:
        """Types and search parameters that the service uses and the statement does not list."""
        declared: dict[str, set[str]] = {}
        for rest in _dicts(statement.get("rest")):
            for each in _dicts(rest.get("resource")):
                declared[str(each.get("type"))] = {str(p.get("name")) for p in _dicts(each.get("searchParam"))}
        lacking: dict[str, set[str]] = {}
        for query in self._queries:
            used = {part.partition("=")[0] for part in query.template.partition("?")[2].split("&") if part}
            used = {name for name in used if not name.startswith("_")}
            if query.type not in declared:
                lacking.setdefault(query.type, set())
            elif missing := used - declared[query.type]:
                lacking.setdefault(query.type, set()).update(missing)
        for kind, names in lacking.items():
            says = f"lists no search of {kind} by {', '.join(sorted(names))}" if names else f"does not list {kind}"
            yield Finding(
                "warning", "CapabilityStatement", says, "ask its owner whether the search works all the same"
            )
        if not lacking:
            yield Finding("ok", "CapabilityStatement", "lists every type and search parameter that the service uses")

    def _scopes(self) -> Iterator[Finding]:
        """Those that the access token says, where it is a JWT that says any; else the searches show them."""
        needed = sorted({query.type for query in self._queries} | {"Medication"})
        granted = _granted(self._token)
        if granted is None:
            names = " ".join(f"patient/{kind}.read" for kind in needed)
            yield Finding("ok", "scopes", f"the service needs {names}")
            return
        lacking = [kind for kind in needed if not any(_grants(scope, kind) for scope in granted)]
        if lacking:
            names = " ".join(f"patient/{kind}.read" for kind in lacking)
            yield Finding("warning", "scopes", f"the token does not name {', '.join(lacking)}", f"grant {names}")
        else:
            yield Finding("ok", "scopes", "the token names all that the service reads")

    def _searches(self) -> Iterator[Finding]:
        limits = Limits(_PATIENCE, self._settings.fhir_max_bytes, self._settings.fhir_max_total_bytes)
        servers = FhirServers([self._base], limits, self._settings.fhir_threads, self._settings.fhir_ca_bundle)
        context = {"patientId": self._patient or NOBODY}
        urls = {query.key: url for query in self._queries if (url := query.url(context)) is not None}
        deadline = self._settings.fhir_deadline_ms
        resources: list[Any] = []
        try:
            for key, url in urls.items():
                begun = time.perf_counter()
                answer = servers.source(self._base, self._token).fetch({key: url})[key]
                took = round((time.perf_counter() - begun) * 1000)
                resources += [each for page in answer.pages for each in page.resources]
                gap = answer.gap or left_out(answer.pages)
                yield self._search(key, self._said(gap) if gap is not None else None, took, deadline)
            begun = time.perf_counter()
            servers.source(self._base, self._token).fetch(urls)
            took = round((time.perf_counter() - begun) * 1000)
        finally:
            servers.close()
        whose = "a test patient" if self._patient else "nobody's chart; --patient names a test patient"
        if took > deadline:
            yield Finding(
                "warning", "all searches at once", f"{took} ms of {deadline} ms ({whose})",
                f"send prefetch, or raise {PREFIX}FHIR_DEADLINE_MS",
            )  # fmt: skip
        else:
            yield Finding("ok", "all searches at once", f"{took} ms of {deadline} ms ({whose})")
        yield from _bare(resources)

    def _search(self, key: str, gap: str | None, took: int, deadline: int) -> Finding:
        kind = next(query.type for query in self._queries if query.key == key)
        what = f"search {key}"
        is_read = "?" not in next(query.template for query in self._queries if query.key == key)
        if gap and is_read and not self._patient and gap.endswith(("404", "410")):
            gap = None  # nobody is not there
        if gap is None:
            verdict, change = ("warning", "it would come too late") if took > deadline else ("ok", "")
            return Finding("warning" if verdict == "warning" else "ok", what, f"{took} ms of {deadline} ms", change)
        if gap.endswith(_REFUSED):
            return Finding("wrong", what, gap, f"grant patient/{kind}.read; --fhir-token-file gives a token")
        return Finding("wrong", what, gap, "the prefetch must bring it, or its server must answer")


def _bare(resources: Sequence[Any]) -> Iterator[Finding]:
    """How many medicines say nothing but where to look: each costs a read more."""
    kinds = (MedicationRequest, MedicationAdministration, MedicationStatement)
    medicines = [each for each in resources if isinstance(each, kinds)]
    bare = [
        each
        for each in medicines
        if each.medication_codeable_concept is None
        and each.medication_reference is not None
        and not each.medication_reference.display
        and not (each.medication_reference.reference or "").startswith("#")
    ]
    if bare:
        yield Finding(
            "warning", "medication references",
            f"{len(bare)} of {len(medicines)} medicines name only where their Medication is",
            "a display on the reference, or the Medication in the Bundle, saves a read each",
        )  # fmt: skip
    elif medicines:
        yield Finding("ok", "medication references", f"none of {len(medicines)} medicines is a bare reference")


def _granted(token: str | None) -> list[str] | None:
    """The scopes of an access token that is a JWT; None where it does not say any."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        scope = claims.get("scope", claims.get("scp"))
    except (binascii.Error, msgspec.DecodeError, ValueError, AttributeError):
        return None
    if isinstance(scope, list):
        scope = " ".join(each for each in scope if isinstance(each, str))
    return scope.split() if isinstance(scope, str) else None


def _grants(scope: str, kind: str) -> bool:
    """Whether a SMART scope (version 1 or 2) lets one read and search a type."""
    context, _, rest = scope.partition("/")
    of, _, rights = rest.partition("?")[0].partition(".")
    can = rights in ("read", "*") or ("r" in rights and "s" in rights and set(rights) <= set("cruds"))
    return context in ("patient", "user", "system") and of in (kind, "*") and can


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

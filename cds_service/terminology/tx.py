"""A terminology server: what a compose comes to there ($expand), and what it knows of a code ($lookup)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from cds_service.errors import CdsError

PAGE = 1000
"""Codes that are asked for at once."""
_TIMEOUT = (10, 120)
"""Seconds to connect and to wait for a byte: a large expansion is computed before its first one."""
_FHIR_JSON = "application/fhir+json"
_NOT_KNOWN = frozenset({400, 404, 422})
_NOT_ALLOWED = frozenset({401, 403, 407})
_INACTIVE = frozenset({"inactive", "retired", "deprecated"})

Json = dict[str, Any]


class TxError(CdsError):
    """The server cannot be used: not reached, not allowed, or it is no FHIR server."""


class TxRefusal(CdsError):
    """The server did not do this one thing; others may still work."""


@dataclass(frozen=True, slots=True)
class Coded:
    """One code of an expansion."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class Concept:
    """What the server says of a code."""

    display: str
    names: tuple[str, ...]
    """The display and every designation."""
    inactive: bool


class TxServer:
    """A FHIR R4 terminology server at `base`, which has no slash at its end. Redirects are not followed."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._session = requests.Session()

    def greet(self) -> None:
        """Raises TxError where no FHIR server answers: each code would else be one that it does not know."""
        answer = self._ask("GET", "metadata")
        if answer.get("resourceType") not in ("CapabilityStatement", "TerminologyCapabilities"):
            raise TxError(f"{self.base} is no FHIR server: its metadata is no CapabilityStatement")

    def expand(self, compose: Json) -> list[Coded]:
        """All codes of a compose, page by page. Raises TxRefusal where the server cannot say them all."""
        found: dict[tuple[str, str], Coded] = {}
        received = 0
        while True:
            page, entries, total = self._page(compose, received)
            before = len(found)
            for coded in page:
                found.setdefault((coded.system, coded.code), coded)
            received += entries
            if received >= total if total is not None else entries < PAGE:
                return list(found.values())
            if len(found) == before:  # a server that knows no offset sends the same page again
                if total is None:
                    return list(found.values())
                raise TxRefusal(f"it sent {len(found)} of {total} codes")

    def _page(self, compose: Json, offset: int) -> tuple[list[Coded], int, int | None]:
        """The codes of a page, the number of its entries, and that of all pages where the server says it."""
        expansion = self._expansion(compose, offset)
        total = expansion.get("total")
        try:
            entries = list(_entries(expansion.get("contains", ())))
            codes = [
                Coded(str(entry["system"]), str(entry["code"]), str(entry.get("display", "")))
                for entry in entries
                if "code" in entry and not entry.get("abstract")
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise TxRefusal("its expansion holds what is no code with its system") from error
        return codes, len(entries), total if isinstance(total, int) else None

    def _expansion(self, compose: Json, offset: int) -> Json:
        value_set = {"resourceType": "ValueSet", "status": "active", "compose": compose}
        parameters = [
            {"name": "valueSet", "resource": value_set},
            {"name": "offset", "valueInteger": offset},
            {"name": "count", "valueInteger": PAGE},
        ]
        answer = self._ask("POST", "ValueSet/$expand", body={"resourceType": "Parameters", "parameter": parameters})
        expansion = answer.get("expansion")
        if answer.get("resourceType") != "ValueSet" or not isinstance(expansion, dict):
            raise TxRefusal("its answer is no expanded ValueSet")
        said = json.dumps(expansion.get("extension", []))
        if "/valueset-toocostly" in said or "/valueset-unclosed" in said:
            raise TxRefusal("it says that its expansion is not complete")
        return expansion

    def look_up(self, system: str, code: str) -> Concept | None:
        """None where the server does not know the code, or not its system."""
        try:
            answer = self._ask("GET", "CodeSystem/$lookup", {"system": system, "code": code})
        except _NotKnown:
            return None
        try:
            return _concept(answer["parameter"])
        except (KeyError, TypeError, AttributeError) as error:
            raise TxRefusal("its answer says nothing of the code") from error

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        try:
            answer = self._session.request(
                method,
                f"{self.base}/{path}",
                params=query,
                data=None if body is None else json.dumps(body),
                headers={"Accept": _FHIR_JSON, "Content-Type": _FHIR_JSON},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise TxError(f"{self.base} cannot be reached: {_why(error)}") from error
        try:
            resource = answer.json()
        except ValueError:
            resource = None
        if answer.status_code in _NOT_ALLOWED or 300 <= answer.status_code < 400:
            raise TxError(f"{self.base} answered {answer.status_code}")
        if answer.status_code != requests.codes.ok:
            refusal = _NotKnown if answer.status_code in _NOT_KNOWN else TxRefusal
            raise refusal(f"it answered {answer.status_code}{_diagnostics(resource)}")
        if not isinstance(resource, dict):
            raise TxRefusal("its answer is no FHIR resource")
        return resource


class _NotKnown(TxRefusal):
    """Refused because of what was asked for, not for a fault of the server."""


def _entries(contains: Iterable[Json]) -> Iterator[Json]:
    for entry in contains:
        yield entry
        yield from _entries(entry.get("contains", ()))


def _concept(parameters: list[Json]) -> Concept:
    display = next((str(p.get("valueString", "")) for p in parameters if p.get("name") == "display"), "")
    designations = [_value(p, "value") for p in parameters if p.get("name") == "designation"]
    names = dict.fromkeys(name for name in (display, *designations) if isinstance(name, str) and name)
    return Concept(display, tuple(names), any(map(_is_inactive, parameters)))


def _value(parameter: Json, name: str) -> Any:
    """The value of a part of a parameter."""
    for part in parameter.get("part", ()):
        if part.get("name") == name:
            return next((value for key, value in part.items() if key.startswith("value")), None)
    return None


def _is_inactive(parameter: Json) -> bool:
    """As a property of the concept, or, on newer servers, as a parameter of its own."""
    if parameter.get("name") == "inactive":
        return parameter.get("valueBoolean") is True
    if parameter.get("name") != "property":
        return False
    name, value = _value(parameter, "code"), _value(parameter, "value")
    if name == "inactive":
        return value is True or value == "true"
    if name == "active":
        return value is False or value == "false"
    return name == "status" and value in _INACTIVE


def _diagnostics(resource: Any) -> str:
    """The first issue of an OperationOutcome, on one line and not too long of it."""
    issues = resource.get("issue") if isinstance(resource, dict) else None
    for issue in issues if isinstance(issues, list) else ():
        details = issue.get("details")
        says = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None)
        if isinstance(says, str):
            return f": {' '.join(says.split())[:200]}"
    return ""


def _why(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    return "the connection failed"

"""The EHR's own FHIR server, as it uses it: prefetch templates filled as CDS Hooks has it, orders written back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin

from cds_service.fhir.addresses import is_below
from cds_service.sandbox.caller import Failed, Web, dicts, why

_TOKEN = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_USERS = {"userPractitionerId": "Practitioner", "userPractitionerRoleId": "PractitionerRole",
          "userPatientId": "Patient", "userRelatedPersonId": "RelatedPerson"}  # fmt: skip
"""Tokens for the id of the user, where the user is of that type."""
_MOST_PAGES = 20


class FhirServer:
    """The FHIR server at `base`, read and written with the EHR's own rights."""

    def __init__(self, base: str, web: Web, token: str | None = None) -> None:
        self.base = base.rstrip("/")
        self.token = token
        self._web = web

    def patient(self, name: str) -> bool:
        """Whether there is such a patient. Raises Failed where the server answers otherwise than 200, 404 or 410."""
        status, found = self._send("GET", f"Patient/{quote(name, safe='')}")
        if status not in (200, 404, 410):
            raise Failed(f"{self.base} answered {status}{why(found)}")
        return status == 200

    def encounter(self, patient: str) -> str | None:
        """The id of a stay that is under way."""
        status, found = self._send("GET", f"Encounter?patient={quote(patient, safe='')}&status=in-progress&_count=1")
        entries = dicts(found.get("entry")) if status == 200 and isinstance(found, dict) else []
        names = [each["resource"].get("id") for each in entries if isinstance(each.get("resource"), dict)]
        return next((name for name in names if isinstance(name, str)), None)

    def prefetch(self, templates: Mapping[str, str], context: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """(what the templates give, why the others give nothing).

        All pages of a search become one Bundle. What the server refuses goes into the prefetch as the
        OperationOutcome that it answered with.
        """
        given: dict[str, Any] = {}
        left_out: list[str] = []
        for key, template in templates.items():
            url, missing = _filled(template, context)
            if missing:
                left_out.append(f"{key}: the context has no {missing}")
                continue
            status, found = self._whole(url)
            if status == 200 or (isinstance(found, dict) and found.get("resourceType") == "OperationOutcome"):
                given[key] = found
            if status != 200:
                left_out.append(f"{key}: the FHIR server answered {status}{why(found)}")
        return given, left_out

    def put(self, resource: Mapping[str, Any]) -> int:
        """The status with which a changed resource is taken. Raises Failed where it is not."""
        status, found = self._send(
            "PUT", f"{resource['resourceType']}/{quote(str(resource['id']), safe='')}", resource
        )
        if status not in (200, 201):
            raise Failed(f"{self.base} answered {status}{why(found)}")
        return status

    def _whole(self, url: str) -> tuple[int, Any]:
        """The answer with all entries of its further pages."""
        status, found = self._send("GET", url)
        if status != 200 or not isinstance(found, dict) or found.get("resourceType") != "Bundle":
            return status, found
        following, pages = _next(found), 1
        while following and pages < _MOST_PAGES and is_below(following, self.base):
            status, page = self._send("GET", following)
            if status != 200 or not isinstance(page, dict):
                return status, page
            found["entry"] = [*dicts(found.get("entry")), *dicts(page.get("entry"))]
            following, pages = _next(page), pages + 1
        if not following:  # else its first pages keep their link, which says that there is more
            found["link"] = [each for each in dicts(found.get("link")) if each.get("relation") != "next"]
        return status, found

    def _send(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Accept": "application/fhir+json"}
        if body is not None:
            headers["Content-Type"] = "application/fhir+json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return self._web.send(method, urljoin(f"{self.base}/", url), headers, body)


def _next(bundle: Mapping[str, Any]) -> str | None:
    urls = [each.get("url") for each in dicts(bundle.get("link")) if each.get("relation") == "next"]
    return next((url for url in urls if isinstance(url, str)), None)


def _filled(template: str, context: Mapping[str, Any]) -> tuple[str, str | None]:
    """(the template with its tokens replaced, the first token that the context has no value for)."""
    filled: dict[str, str] = {}
    for token in _TOKEN.findall(template):
        value = _value(token, context)
        if value is None:
            return template, token
        filled[token] = quote(value, safe="")
    return _TOKEN.sub(lambda found: filled[found[1]], template), None


def _value(token: str, context: Mapping[str, Any]) -> str | None:
    if token in _USERS:
        kind, _, name = str(context.get("userId", "")).partition("/")
        return name if kind == _USERS[token] and name else None
    value = context.get(token.removeprefix("context.")) if token.startswith("context.") else None
    return value if isinstance(value, str) and value else None

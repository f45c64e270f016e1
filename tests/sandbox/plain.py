"""A FHIR server by plain queries: nothing of the service's client, and no write without permission."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests

from cds_service.fhir.queries import Query
from tests.hooks.client import encoded

Resource = dict[str, Any]

FHIR_JSON = "application/fhir+json"
_PATIENCE = 120
"""Seconds: a transaction with a whole chart may take long."""
_MOST_PAGES = 200
_GONE = (404, 410)


class Plain:
    """The server at `base`. It is written to only where `may_write` says so."""

    def __init__(self, base: str, token: str | None = None, may_write: bool = False) -> None:
        self.base = base.rstrip("/")
        self.token = token
        self.may_write = may_write
        self.pages = 0
        """Of all searches so far."""
        self._session = requests.Session()
        # HAPI answers a search again from its cache, though something was written meanwhile.
        self._session.headers.update({"Accept": FHIR_JSON, "Cache-Control": "no-cache"})
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def read(self, reference: str) -> Resource | None:
        """What a relative reference names; None where there is no such thing, or no longer."""
        answer = self._session.get(f"{self.base}/{reference}", timeout=_PATIENCE)
        return None if answer.status_code in _GONE else _content(answer)

    def search(self, kind: str, most_pages: int = _MOST_PAGES, **parameters: str) -> list[Resource]:
        """What a search finds, all pages of it."""
        first = self._session.get(f"{self.base}/{kind}", params=parameters, timeout=_PATIENCE)
        return list(self._found(_content(first), most_pages))

    def search_by_post(self, kind: str, **parameters: str) -> list[Resource]:
        """The same search with its parameters in the body, where no log keeps them."""
        first = self._session.post(f"{self.base}/{kind}/_search", data=parameters, timeout=_PATIENCE)
        return list(self._found(_content(first), _MOST_PAGES))

    def _found(self, page: Resource, most_pages: int) -> Iterator[Resource]:
        for _ in range(most_pages):
            self.pages += 1
            yield from (e["resource"] for e in page.get("entry", ()) if e.get("search", {}).get("mode") != "outcome")
            link = next((each["url"] for each in page.get("link", ()) if each["relation"] == "next"), None)
            if link is None:
                return
            assert urlsplit(link).netloc == urlsplit(self.base).netloc, "the next page is on another host"
            page = _content(self._session.get(link, timeout=_PATIENCE))

    def write(self, method: str, path: str, body: Any = None) -> Resource:
        """What the server answers to a change that it takes. Raises AssertionError where it does not."""
        assert self.may_write, "nothing is written without KETAMINE_TEST_SANDBOX_ALLOW_WRITE=1 or --allow-write"
        data = None if body is None else encoded(body)
        headers = {"Content-Type": FHIR_JSON} if data else {}
        url = f"{self.base}/{path}" if path else self.base
        answer = self._session.request(method, url, data=data, headers=headers, timeout=_PATIENCE)
        return _content(answer)

    def faults(self, resource: Resource) -> list[str] | None:
        """What `$validate` finds wrong with a resource; None where the server does not know the operation."""
        url = f"{self.base}/{resource['resourceType']}/$validate"
        answer = self._session.post(
            url, data=encoded(resource), headers={"Content-Type": FHIR_JSON}, timeout=_PATIENCE
        )
        if answer.status_code in (403, 404, 405, 501):
            return None
        issues = answer.json().get("issue", ())
        return [json.dumps(each) for each in issues if each.get("severity") in ("error", "fatal")]


def _content(answer: requests.Response) -> Resource:
    asked = answer.request
    assert answer.status_code in (200, 201, 204), f"{asked.method} {asked.url}: {answer.status_code} {answer.text}"
    found: Resource = json.loads(answer.text, parse_float=Decimal) if answer.text else {}
    return found


# One patient -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlainChart:
    """All that plain queries find of one patient, by reference."""

    patient: str
    encounter: str | None
    resources: Mapping[str, Resource]

    def of(self, kind: str) -> list[Resource]:
        return [each for each in self.resources.values() if each["resourceType"] == kind]

    def expected(self, query: Query) -> list[Resource]:
        """What one of the service's searches must find here."""
        status = query.template.partition("&status=")[2].partition("&")[0]
        found = self.of(query.type)
        if query.codes:
            found = [each for each in found if not query.codes.isdisjoint(codes_of(each))]
        # What is said of somebody else than the patient is the service's to leave out.
        return [each for each in found if (not status or each.get("status") == status) and "focus" not in each]


def chart_of(patient: Resource, found: Iterable[Resource]) -> PlainChart:
    """The chart of a patient, of whom these resources are. The newest stay is the present one."""
    mine = {f"{each['resourceType']}/{each['id']}": each for each in (patient, *found)}
    stays = [each for each in mine.values() if each["resourceType"] == "Encounter"]
    newest = max(stays, key=lambda each: str(each.get("period", {}).get("start", "")), default=None)
    return PlainChart(str(patient["id"]), str(newest["id"]) if newest else None, mine)


def read_chart(plain: Plain, patient: str, queries: Sequence[Query]) -> PlainChart:
    """Ask for each type of resource as a whole: without codes, status, order or page size."""
    kinds = dict.fromkeys(query.type for query in queries if query.type != "Patient")
    person = plain.read(f"Patient/{patient}")
    assert person is not None, patient
    return chart_of(person, [each for kind in kinds for each in plain.search(kind, patient=patient)])


def codes_of(resource: Resource) -> set[str]:
    return {str(coding.get("code")) for coding in resource.get("code", {}).get("coding", ())}

"""A FHIR server in memory over the resources of an export, which answers the service's searches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from cds_service.fhir import bundles, lenient
from cds_service.fhir.source import Answer

Resource = Mapping[str, Any]


class Server:
    """A `Source` of the client: it holds everything, the order that is judged among it."""

    why_not: str | None = None

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = list(resources)

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        return {key: self._answer(url) for key, url in urls.items()}

    def body(self, url: str) -> bytes | None:
        """What it answers to a read or a search, relative to its base; None where there is no such resource."""
        path, _, query = url.partition("?")
        kind, _, name = path.partition("/")
        of_kind = [each for each in self._resources if each["resourceType"] == kind]
        if name:
            found = [each for each in of_kind if each["id"] == name]
            return lenient.encode(found[0]) if found else None
        asked = {key: values[0].split(",") for key, values in parse_qs(query).items()}
        entries = [{"resource": each} for each in of_kind if _matches(each, asked)]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
        return lenient.encode(bundle)

    def _answer(self, url: str) -> Answer:
        body = self.body(url)
        return Answer(gap="there is none") if body is None else Answer([bundles.page(body)])


def _matches(resource: Resource, asked: Mapping[str, list[str]]) -> bool:
    whose = resource.get("subject") or resource.get("patient") or {}
    codes = {coding.get("code") for coding in (resource.get("code") or {}).get("coding", ())}
    return (
        whose.get("reference") == f"Patient/{asked['patient'][0]}"
        and ("status" not in asked or resource.get("status") in asked["status"])
        and ("code" not in asked or not codes.isdisjoint(asked["code"]))
    )

"""The protocol over FHIR R4, to read: what it says, what it offers, and its value sets. No patient data."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

import msgspec
from flask import Flask, Response, request

from cds_service.hooks.errors import operation_outcome
from cds_service.knowledge import Knowledge
from cds_service.protocol import publish, published_sets
from cds_service.protocol.activities import activity_definitions
from cds_service.protocol.cql.valuesets import parts
from cds_service.published import elm_of, with_cql
from cds_service.web.deployment import Deployment

log = logging.getLogger("ketamine_cds")

FHIR_JSON = "application/fhir+json"
_SEARCHED_BY = {"_id": "id", "url": "url"}
"""Search parameters of ValueSet; others are passed over, and the Bundle's own link says which were used."""


def register(app: Flask, deployment: Deployment) -> None:
    knowledge = deployment.knowledge
    base = f"{knowledge.public_url}/fhir"
    # Written when they are first asked for, so that no start and no hook waits for them; again with each new day,
    # because a limit may take effect on it.
    written = lru_cache(maxsize=1)(lambda day: _Written(knowledge, base, day, deployment.settings.elm))

    def today() -> _Written:
        return written(deployment.clock().date())

    @app.get("/fhir/metadata")
    def metadata() -> Response:
        """The CapabilityStatement of what is published."""
        return today().answer("metadata")

    @app.get("/fhir/<kind>/<resource_id>")
    def read(kind: str, resource_id: str) -> Response:
        """The protocol as a PlanDefinition or Library, or one of its ActivityDefinitions or ValueSets."""
        return today().answer(f"{kind}/{resource_id}")

    @app.get("/fhir/ValueSet")
    def search() -> Response:
        """The value sets of the protocol."""
        wanted = {name: request.args[name] for name in _SEARCHED_BY if name in request.args}
        return _sent(_searchset(today().value_sets.values(), wanted, base), knowledge.version(knowledge.drugs))

    @app.get("/fhir/")
    @app.get("/fhir/<path:_>")
    def nothing(_: str = "") -> Response:
        """404, with what can be read there."""
        return _not_found(_READ)


_READ = "this server reads ActivityDefinition, PlanDefinition, Library and ValueSet, and searches ValueSet"


class _Written:
    """All resources as of one day, each built and encoded when it is first asked for."""

    def __init__(self, knowledge: Knowledge, base: str, day: date, elm_folder: str | None) -> None:
        whole = published_sets.value_sets(part.protocol for part in knowledge.parts)
        written = [(part, *with_cql(knowledge, part.protocol, day)) for part in knowledge.parts]
        named = {each.id: each for _, _, cql in written for each in cql.sets}
        self.value_sets = whole | parts(named.values(), whole)
        self._version = knowledge.version(knowledge.drugs)
        self._builders: dict[str, Callable[[], Mapping[str, Any]]] = {
            "metadata": lambda: _capabilities(knowledge, base),
            **{f"ValueSet/{name}": lambda each=each: each for name, each in self.value_sets.items()},  # type: ignore[misc]
        }
        without_elm: list[str] = []
        for part, published, cql in written:
            elm = elm_of(knowledge, part.protocol, cql, elm_folder)
            without_elm += [each.name for each in cql.libraries if each.name not in elm]
            self._builders[f"PlanDefinition/{part.protocol.id}"] = partial(publish.plan_definition, published)
            self._builders[f"Library/{part.protocol.id}"] = partial(publish.library, published)
            for each in cql.libraries:
                translation = elm.get(each.name)
                made = partial(publish.cql_library, published, each.name, each.text, each.depends_on, translation)
                self._builders[f"Library/{each.name}"] = made
            for activity in activity_definitions(published):
                self._builders[f"ActivityDefinition/{activity['id']}"] = lambda each=activity: each  # type: ignore[misc]
        if elm_folder is not None:
            _tell(without_elm)
        self._encoded = lru_cache(maxsize=None)(lambda name: msgspec.json.encode(self._builders[name]()))

    def answer(self, name: str) -> Response:
        if name not in self._builders:
            kind = name.partition("/")[0]
            is_read = any(each.startswith(f"{kind}/") for each in self._builders)
            return _not_found(f"there is no {kind} of that id" if is_read else _READ)
        return _sent(self._encoded(name), self._version)


def _tell(without_elm: Sequence[str]) -> None:
    if without_elm:
        says = "served without ELM, since KETAMINE_CDS_ELM has none of the same CQL: %s"
        log.warning(says, ", ".join(without_elm))


def _capabilities(knowledge: Knowledge, base: str) -> dict[str, Any]:
    read = [{"code": "read"}]
    return {
        "resourceType": "CapabilityStatement",
        "text": publish.narrative(f"{knowledge.protocol.title} {knowledge.protocol.version}, to read."),
        "status": "active",
        "date": knowledge.protocol.date.isoformat(),
        "publisher": publish.PUBLISHER,
        "kind": "instance",
        "software": {"name": "ketamine-cds", "version": version("ketamine-cds")},
        "implementation": {"description": knowledge.protocol.title, "url": base},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "The protocol, to read. The service itself speaks CDS Hooks: see /cds-services.",
                "resource": [
                    {"type": "ActivityDefinition", "interaction": read},
                    {"type": "Library", "interaction": read},
                    {"type": "PlanDefinition", "interaction": read},
                    {
                        "type": "ValueSet",
                        "interaction": [*read, {"code": "search-type"}],
                        "searchParam": [
                            {"name": "_id", "type": "token"},
                            {"name": "url", "type": "uri"},
                        ],
                    },
                ],
            }
        ],
    }


def _searchset(value_sets: Iterable[Mapping[str, Any]], wanted: Mapping[str, str], base: str) -> bytes:
    """The value sets that match, on one page: all of them are less than two megabytes."""
    asked = {_SEARCHED_BY[name]: frozenset(values.split(",")) for name, values in wanted.items()}
    found = [each for each in value_sets if all(each[element] in values for element, values in asked.items())]
    query = f"?{urlencode(wanted)}" if wanted else ""
    return msgspec.json.encode(
        {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": [{"relation": "self", "url": f"{base}/ValueSet{query}"}],
            "entry": [
                {"fullUrl": f"{base}/ValueSet/{each['id']}", "resource": each, "search": {"mode": "match"}}
                for each in found
            ],
        }
    )


def _sent(body: bytes, protocol_version: str) -> Response:
    """200, or 304 to a client that has it: the tag is the protocol's version and what a site made of it."""
    response = Response(body, mimetype=FHIR_JSON)
    response.set_etag(f"{protocol_version}-{hashlib.sha256(body).hexdigest()[:12]}", weak=True)
    response.cache_control.no_cache = True
    return response.make_conditional(request)  # type: ignore[return-value]


def _not_found(says: str) -> Response:
    return Response(msgspec.json.encode(operation_outcome("not-found", says)), 404, mimetype=FHIR_JSON)

"""A FHIR server that is asked, and its answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cds_service.fhir.client import FhirServers
from cds_service.fhir.source import Answer, Limits
from tests.fhir.as_it_arrives import CONDITION, bundle, encoded
from tests.servers.local import LocalServer

PLENTY = 10.0
"""The deadline where a test is not about time: a busy machine then fails nothing."""
TOKEN = "a-secret-token"
UNREACHABLE = "the FHIR server could not be reached"

SEARCH = "Condition?patient=p1"


@contextmanager
def allowed(*bases: str, threads: int = 32, **limits: Any) -> Iterator[FhirServers]:
    servers = FhirServers(bases, replace(Limits(deadline=PLENTY), **limits), threads=threads)
    try:
        yield servers
    finally:
        servers.close()


def conditions(*ids: str, following: str | None = None) -> bytes:
    link = [{"relation": "next", "url": following}] if following else []
    return encoded(bundle(*({**CONDITION, "id": each} for each in ids), link=link))


def ids(answer: Answer) -> list[str | None]:
    return [resource.id for page in answer.pages for resource in page.resources]


def ask(server: LocalServer, url: str = SEARCH, token: str | None = TOKEN, **limits: Any) -> Answer:
    """One search of one server."""
    with allowed(server.base, **limits) as servers:
        return servers.source(server.base, token).fetch({"conditions": url})["conditions"]

"""Which FHIR servers the suite runs on: the given one, or those that it starts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from cds_service.knowledge import Knowledge
from tests import charts
from tests.sandbox.ehr import MOST_FOUND, Ehr, clean_up, found_by_search, load, loaded, own_patients
from tests.sandbox.figures import count, may_write
from tests.sandbox.plain import Plain, read_chart
from tests.servers import fhir_router, hapi

URL = "KETAMINE_TEST_SANDBOX_URL"
"""The base of an R4 server; without it the suite starts servers of its own."""
TOKEN = "KETAMINE_TEST_SANDBOX_TOKEN"
"""The access token for it, where it wants one."""
GIVEN, HAPI, ROUTER = "the given server", "HAPI FHIR JPA", "Medplum FHIR router"
PAGE_SIZE = 20
"""Of HAPI: most charts need several pages, none more than are followed."""


@contextmanager
def _started(name: str) -> Iterator[str]:
    if name == HAPI:
        hapi.needed()
        with hapi.hapi_server(PAGE_SIZE) as base:
            yield base
    else:
        fhir_router.needed()
        with fhir_router.fhir_router() as base:
            yield base


@pytest.fixture(scope="module", params=[GIVEN] if os.environ.get(URL) else [HAPI, ROUTER])
def ehr(request: pytest.FixtureRequest, knowledge: Knowledge) -> Iterator[Ehr]:
    """The server with its patients; what was written to it is gone afterwards."""
    now = datetime.now(UTC).replace(microsecond=0)
    if request.param == GIVEN:
        plain = Plain(os.environ[URL], os.environ.get(TOKEN), may_write(request.config))
        made = Ehr(f"{GIVEN}, {plain.base}", plain, knowledge, now)
        ids = found_by_search(plain)[:MOST_FOUND]
        made.found = [read_chart(plain, each, knowledge.queries) for each in ids]
        yield from _with_own(made)
    else:
        with _started(request.param) as base:
            plain = Plain(base, may_write=True)
            made = Ehr(request.param, plain, knowledge, now)
            for file in charts.files():
                written = load(plain, hapi.move_dates(json.loads(charts.read(file)), now))
                made.found.append(read_chart(plain, written[0].removeprefix("Patient/"), knowledge.queries))
            yield from _with_own(made)


def _with_own(ehr: Ehr) -> Iterator[Ehr]:
    written: list[str] = []
    try:
        if ehr.plain.may_write:
            for transaction in own_patients(ehr.now):
                references, chart = loaded(ehr.plain, transaction, ehr.knowledge)
                written += references
                ehr.own.append(chart)
        count(ehr.name, "patients", len(ehr.charts))
        yield ehr
    finally:
        clean_up(ehr.plain, written)
        count(ehr.name, "pages read plainly", ehr.plain.pages)
        ehr.close()

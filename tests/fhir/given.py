"""Records as a client prefetches them."""

from typing import Any

import msgspec

from cds_service.fhir import queries
from cds_service.fhir.queries import Query
from cds_service.fhir.records import Prefetched, Records, from_prefetch
from cds_service.terminology import valuesets
from tests.fhir.as_it_arrives import PATIENT_ID, bundle, encoded

QUERIES = queries.load(valuesets.load())
BASE = "https://ehr.example/fhir"

Json = Any


def prefetched(**values: Json) -> tuple[Records, Prefetched]:
    return prefetched_as(values)


def prefetched_as(values: dict[str, Json]) -> tuple[Records, Prefetched]:
    """As it stands in a request: each value still undecoded."""
    raw = msgspec.json.decode(encoded(values), type=dict[str, msgspec.Raw])
    records = Records(PATIENT_ID)
    return records, from_prefetch(records, raw, QUERIES)


def empty_search(url: str) -> Json:
    return bundle(link=[{"relation": "self", "url": url}])


def query(key: str) -> Query:
    return next(each for each in QUERIES if each.key == key)

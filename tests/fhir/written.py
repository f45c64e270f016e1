"""Resources as they are read in the tests."""

from typing import Any

from cds_service.fhir import lenient
from cds_service.fhir.resources import (
    MedicationRequest,
)
from tests.fhir.as_it_arrives import (
    encoded,
)

Json = dict[str, Any]


def read(value: Any) -> lenient.Read:
    return lenient.decode(encoded(value))


def order(**elements: Any) -> MedicationRequest:
    """A draft order with these elements, which must be readable without a fault."""
    found = read({"resourceType": "MedicationRequest", "id": "1", "status": "draft", **elements})
    assert found.faults == ()
    assert isinstance(found.resource, MedicationRequest)
    return found.resource

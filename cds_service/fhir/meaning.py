"""Whether a resource means what its elements say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cds_service.fhir.datatypes import Backbone, Dosage
from cds_service.fhir.resources import (
    AllergyIntolerance,
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Resource,
)
from cds_service.says import Said
from cds_service.says.entries import UNKNOWN_EXTENSION, UNKNOWN_RULES


def changed_meaning(resource: Resource) -> Said | None:
    """Why a resource cannot be taken at its word: it has a `modifierExtension` or `implicitRules`; none is known."""
    if resource.implicit_rules:
        return UNKNOWN_RULES
    if resource.modifier_extension:
        return UNKNOWN_EXTENSION
    parts_of = _PARTS.get(type(resource))
    for part in parts_of(resource) if parts_of is not None else ():
        if part is not None and part.modifier_extension:
            return UNKNOWN_EXTENSION
    return None


def _with_timing(dosages: Iterable[Dosage]) -> list[Backbone | None]:
    return [part for each in dosages for part in (each, each.timing, *each.dose_and_rate)]


_PARTS: Mapping[type[Resource], Callable[[Any], Iterable[Backbone | None]]] = {
    Observation: lambda observation: observation.component,
    AllergyIntolerance: lambda allergy: allergy.reaction,
    MedicationRequest: lambda order: _with_timing(order.dosage_instruction),
    MedicationStatement: lambda statement: _with_timing(statement.dosage),
    MedicationDispense: lambda dispensed: _with_timing(dispensed.dosage_instruction),
    MedicationAdministration: lambda administration: (administration.dosage,),
    Medication: lambda medication: medication.ingredient,
}

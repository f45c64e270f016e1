"""The resources of FHIR R4 that are read, as structs of their few fields; what is not named here is ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, get_args

import msgspec

from cds_service.fhir.datatypes import (
    Backbone,
    CodeableConcept,
    CodeableReference,
    Dosage,
    Element,
    Extension,
    Identifier,
    Many,
    Period,
    Prose,
    Quantity,
    Range,
    Ratio,
    Reference,
    Text,
    Whole,
)


class Meta(Element, frozen=True):
    last_updated: Text | None = None


class Resource(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, gc=False, tag_field="resourceType", tag=str
):
    """Base of all resources; `resourceType` is the class name."""

    id: Text | None = None
    implicit_rules: Text | None = None
    modifier_extension: Many[Extension] = ()

    @property
    def reference(self) -> str:
        return f"{type(self).__name__}/{self.id}" if self.id else type(self).__name__


class Patient(Resource, frozen=True, kw_only=True):
    birth_date: Text | None = None
    gender: Text | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: Text | None = None


class ObservationComponent(Backbone, frozen=True):
    code: CodeableConcept | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: Prose | None = None
    value_integer: Whole | None = None
    value_boolean: bool | None = None
    data_absent_reason: CodeableConcept | None = None
    interpretation: Many[CodeableConcept] = ()
    reference_range: Many[Range] = ()


class Observation(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    focus: Many[Reference] = ()
    effective_date_time: Text | None = None
    effective_period: Period | None = None
    effective_instant: Text | None = None
    issued: Text | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: Prose | None = None
    value_integer: Whole | None = None
    value_boolean: bool | None = None
    value_date_time: Text | None = None
    data_absent_reason: CodeableConcept | None = None
    interpretation: Many[CodeableConcept] = ()
    reference_range: Many[Range] = ()
    component: Many[ObservationComponent] = ()
    has_member: Many[Reference] = ()


class Annotation(Element, frozen=True):
    text: Prose | None = None


class Condition(Resource, frozen=True, kw_only=True):
    status: CodeableConcept | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    onset_date_time: Text | None = None
    onset_period: Period | None = None
    abatement_date_time: Text | None = None
    abatement_period: Period | None = None
    abatement_string: Prose | None = None
    abatement_boolean: bool | None = None
    recorded_date: Text | None = None
    note: Many[Annotation] = ()


class AdverseEvent(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    actuality: Text | None = None
    event: CodeableConcept | None = None
    subject: Reference | None = None
    date: Text | None = None
    recorded_date: Text | None = None


class AllergyReaction(Backbone, frozen=True):
    substance: CodeableConcept | None = None
    manifestation: Many[CodeableConcept] = ()
    severity: Text | None = None
    description: Prose | None = None
    note: Many[Annotation] = ()


class AllergyIntolerance(Resource, frozen=True, kw_only=True):
    status: CodeableConcept | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    type: Text | None = None
    criticality: Text | None = None
    code: CodeableConcept | None = None
    substance: CodeableConcept | None = None
    """DSTU2's code."""
    patient: Reference | None = None
    recorded_date: Text | None = None
    onset_date_time: Text | None = None
    note: Many[Annotation] = ()
    reaction: Many[AllergyReaction] = ()


class MedicationIngredient(Backbone, frozen=True):
    item_codeable_concept: CodeableConcept | None = None
    item_reference: Reference | None = None
    item: CodeableReference | None = None
    """R5's place for both."""
    is_active: bool | None = None
    strength: Ratio | None = None
    strength_ratio: Ratio | None = None
    """R5's name for it."""


class Medication(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    code: CodeableConcept | None = None
    amount: Ratio | None = None
    ingredient: Many[MedicationIngredient] = ()


class Substance(Resource, frozen=True, kw_only=True):
    code: CodeableConcept | None = None


class DispenseRequest(Backbone, frozen=True):
    expected_supply_duration: Quantity | None = None


class MedicationRequest(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    status_reason: CodeableConcept | None = None
    intent: Text | None = None
    do_not_perform: bool | None = None
    category: Many[CodeableConcept] = ()
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    encounter: Reference | None = None
    authored_on: Text | None = None
    date_written: Text | None = None
    reason_code: Many[CodeableConcept] = ()
    reason_reference: Many[Reference] = ()
    instantiates_canonical: Many[Text] = ()
    instantiates_uri: Many[Text] = ()
    based_on: Many[Reference] = ()
    group_identifier: Identifier | None = None
    note: Many[Annotation] = ()
    dosage_instruction: Many[Dosage] = ()
    dispense_request: DispenseRequest | None = None
    prior_prescription: Reference | None = None
    replaces: Many[Reference] = ()
    supporting_information: Many[Reference] = ()
    contained: Many[msgspec.Raw] = ()


class AdministrationDosage(Backbone, frozen=True):
    text: Prose | None = None
    route: CodeableConcept | None = None
    method: CodeableConcept | None = None
    dose: Quantity | None = None
    rate_ratio: Ratio | None = None
    rate_quantity: Quantity | None = None


class MedicationAdministration(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    status_reason: Many[CodeableConcept] = ()
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    effective_date_time: Text | None = None
    effective_period: Period | None = None
    occurence_date_time: Text | None = None
    """R5's names for both, spelled as R5 spells them."""
    occurence_period: Period | None = None
    not_given: bool | None = None
    was_not_given: bool | None = None
    request: Reference | None = None
    reason_code: Many[CodeableConcept] = ()
    dosage: AdministrationDosage | None = None
    contained: Many[msgspec.Raw] = ()


class MedicationStatement(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    taken: Text | None = None
    was_not_taken: bool | None = None
    based_on: Many[Reference] = ()
    derived_from: Many[Reference] = ()
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    effective_date_time: Text | None = None
    effective_period: Period | None = None
    date_asserted: Text | None = None
    reason_code: Many[CodeableConcept] = ()
    dosage: Many[Dosage] = ()
    contained: Many[msgspec.Raw] = ()


class MedicationDispense(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    when_handed_over: Text | None = None
    when_prepared: Text | None = None
    days_supply: Quantity | None = None
    dosage_instruction: Many[Dosage] = ()
    contained: Many[msgspec.Raw] = ()


class Procedure(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    performed_date_time: Text | None = None
    performed_period: Period | None = None
    occurrence_date_time: Text | None = None
    occurrence_period: Period | None = None
    """R5's names for both."""


class EncounterLocation(Backbone, frozen=True):
    location: Reference | None = None
    status: Text | None = None
    physical_type: CodeableConcept | None = None
    period: Period | None = None


class EncounterClass(CodeableConcept, frozen=True):
    """What Encounter.class is in either version: a Coding itself, or a concept that holds some."""

    system: Text | None = None
    code: Text | None = None


class Encounter(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    # `class` is a Python word; the JSON name is set below.
    encounter_class: Many[EncounterClass] | EncounterClass = msgspec.field(default=(), name="class")
    """R4 has one Coding, R5 a list of concepts; it is kept as a list (`classes`)."""
    subject: Reference | None = None
    period: Period | None = None
    location: Many[EncounterLocation] = ()
    reason_code: Many[CodeableConcept] = ()
    contained: Many[msgspec.Raw] = ()

    def __post_init__(self) -> None:
        if isinstance(self.encounter_class, EncounterClass):
            msgspec.structs.force_setattr(self, "encounter_class", (self.encounter_class,))

    @property
    def classes(self) -> tuple[EncounterClass, ...]:
        return self.encounter_class if isinstance(self.encounter_class, tuple) else (self.encounter_class,)


class Location(Resource, frozen=True, kw_only=True):
    type: Many[CodeableConcept] = ()


class ServiceRequest(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    intent: Text | None = None
    do_not_perform: bool | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    authored_on: Text | None = None


class RequestGroupAction(Element, frozen=True):
    resource: Reference | None = None
    action: Many[RequestGroupAction] = ()


class RequestGroup(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    subject: Reference | None = None
    action: Many[RequestGroupAction] = ()


class OutcomeIssue(Element, frozen=True):
    severity: Text | None = None
    code: Text | None = None
    details: CodeableConcept | None = None
    diagnostics: Prose | None = None


class OperationOutcome(Resource, frozen=True, kw_only=True):
    issue: Many[OutcomeIssue] = ()


AnyResource = (
    Patient
    | Observation
    | Condition
    | AdverseEvent
    | AllergyIntolerance
    | Medication
    | Substance
    | MedicationRequest
    | MedicationAdministration
    | MedicationStatement
    | MedicationDispense
    | Procedure
    | Encounter
    | Location
    | ServiceRequest
    | RequestGroup
    | OperationOutcome
)

TYPES: dict[str, type[Resource]] = {kind.__name__: kind for kind in get_args(AnyResource)}
OLDER_NAMES: dict[str, type[Resource]] = {
    "MedicationOrder": MedicationRequest,
    "MedicationUsage": MedicationStatement,
}
"""What DSTU2 and R5's drafts call them."""


def subject_of(resource: Resource) -> Reference | None:
    """Whose resource it is (`subject`, or `patient` for allergies)."""
    return SUBJECT_OF[type(resource)](resource)


def _subject_in(kind: type[Resource]) -> Callable[[Any], Reference | None]:
    names = [name for name in ("subject", "patient") if name in kind.__struct_fields__]
    match names:
        case []:
            return lambda resource: None
        case [name]:
            return attrgetter(name)
    return lambda resource: resource.subject if resource.subject is not None else resource.patient


SUBJECT_OF: Mapping[type[Resource], Callable[[Any], Reference | None]] = {
    kind: _subject_in(kind) for kind in TYPES.values()
}
"""`subject_of` by the kind of resource, for those who know it."""

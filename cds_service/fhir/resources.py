"""The few fields of FHIR R4 that are read, as structs; what is not named here is ignored."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import get_args

import msgspec


class Element(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Base of all elements: camelCase in JSON, immutable, unknown fields ignored."""


class Extension(Element, frozen=True):
    """An extension that may change what an element means (`modifierExtension`): which one it is, not what it says."""

    url: str | None = None


class Backbone(Element, frozen=True):
    """Base of the elements that a `modifierExtension` may change the meaning of."""

    modifier_extension: list[Extension] = []


class Coding(Element, frozen=True):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Element, frozen=True):
    coding: list[Coding] = []
    text: str | None = None

    @property
    def codes(self) -> list[tuple[str, str]]:
        """(system, code) of each coding that has both."""
        return [(c.system, c.code) for c in self.coding if c.system and c.code]

    @property
    def words(self) -> list[str]:
        """The text and displays, in the order in which a person would want them."""
        return [w for w in (self.text, *(c.display for c in self.coding)) if w]

    @property
    def name(self) -> str | None:
        if self.text:
            return self.text
        displayed = next((c.display for c in self.coding if c.display), None)
        return displayed or next((c.code for c in self.coding if c.code), None)


class Identifier(Element, frozen=True):
    system: str | None = None
    value: str | None = None


class Reference(Element, frozen=True):
    reference: str | None = None
    identifier: Identifier | None = None
    display: str | None = None
    type: str | None = None


class CodeableReference(Element, frozen=True):
    """What R5 has in the place of medication[x]: a concept, a reference, or both."""

    concept: CodeableConcept | None = None
    reference: Reference | None = None


class Period(Element, frozen=True):
    start: str | None = None
    end: str | None = None


class Quantity(Element, frozen=True):
    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None

    @property
    def unit_text(self) -> str | None:
        """What the unit table is asked for: `code`, else `unit`, exactly as written."""
        return self.code or self.unit


class Range(Element, frozen=True):
    low: Quantity | None = None
    high: Quantity | None = None


class Ratio(Element, frozen=True):
    numerator: Quantity | None = None
    denominator: Quantity | None = None


class TimingRepeat(Element, frozen=True):
    bounds_duration: Quantity | None = None
    bounds_range: Range | None = None
    bounds_period: Period | None = None
    count: int | None = None
    count_max: int | None = None
    duration: Decimal | None = None
    duration_max: Decimal | None = None
    duration_unit: str | None = None
    frequency: int | None = None
    frequency_max: int | None = None
    period: Decimal | None = None
    period_max: Decimal | None = None
    period_unit: str | None = None
    day_of_week: list[str] = []
    time_of_day: list[str] = []
    when: list[str] = []


class Timing(Backbone, frozen=True):
    event: list[str] = []
    repeat: TimingRepeat | None = None
    code: CodeableConcept | None = None


class DoseAndRate(Element, frozen=True):
    type: CodeableConcept | None = None
    dose_quantity: Quantity | None = None
    dose_range: Range | None = None
    rate_quantity: Quantity | None = None
    rate_range: Range | None = None
    rate_ratio: Ratio | None = None


class Dosage(Backbone, frozen=True):
    sequence: int | None = None
    text: str | None = None
    patient_instruction: str | None = None
    additional_instruction: list[CodeableConcept] = []
    timing: Timing | None = None
    as_needed_boolean: bool | None = None
    as_needed_codeable_concept: CodeableConcept | None = None
    route: CodeableConcept | None = None
    method: CodeableConcept | None = None
    dose_and_rate: list[DoseAndRate] = []
    max_dose_per_period: Ratio | None = None
    max_dose_per_administration: Quantity | None = None
    # STU3 put dose and rate on the dosage itself; some senders still do.
    dose_quantity: Quantity | None = None
    dose_range: Range | None = None
    rate_quantity: Quantity | None = None
    rate_range: Range | None = None
    rate_ratio: Ratio | None = None


class Meta(Element, frozen=True):
    last_updated: str | None = None


class Resource(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, gc=False, tag_field="resourceType", tag=str
):
    """Base of all resources; `resourceType` is the class name."""

    id: str | None = None
    implicit_rules: str | None = None
    modifier_extension: list[Extension] = []

    @property
    def reference(self) -> str:
        return f"{type(self).__name__}/{self.id}" if self.id else type(self).__name__


class Patient(Resource, frozen=True, kw_only=True):
    birth_date: str | None = None
    gender: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None


class ObservationComponent(Backbone, frozen=True):
    code: CodeableConcept | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    data_absent_reason: CodeableConcept | None = None
    interpretation: list[CodeableConcept] = []
    reference_range: list[Range] = []


class Observation(Resource, frozen=True, kw_only=True):
    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    focus: list[Reference] = []
    effective_date_time: str | None = None
    effective_period: Period | None = None
    effective_instant: str | None = None
    issued: str | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    value_date_time: str | None = None
    data_absent_reason: CodeableConcept | None = None
    interpretation: list[CodeableConcept] = []
    body_site: CodeableConcept | None = None
    reference_range: list[Range] = []
    component: list[ObservationComponent] = []
    has_member: list[Reference] = []


class Condition(Resource, frozen=True, kw_only=True):
    status: CodeableConcept | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    onset_date_time: str | None = None
    onset_period: Period | None = None
    abatement_date_time: str | None = None
    abatement_period: Period | None = None
    abatement_string: str | None = None
    abatement_boolean: bool | None = None
    recorded_date: str | None = None


class AdverseEvent(Resource, frozen=True, kw_only=True):
    status: str | None = None
    actuality: str | None = None
    event: CodeableConcept | None = None
    subject: Reference | None = None
    date: str | None = None
    recorded_date: str | None = None


class AllergyReaction(Backbone, frozen=True):
    substance: CodeableConcept | None = None
    manifestation: list[CodeableConcept] = []
    severity: str | None = None


class AllergyIntolerance(Resource, frozen=True, kw_only=True):
    status: CodeableConcept | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    type: str | None = None
    criticality: str | None = None
    code: CodeableConcept | None = None
    substance: CodeableConcept | None = None
    """DSTU2's code."""
    patient: Reference | None = None
    recorded_date: str | None = None
    onset_date_time: str | None = None
    reaction: list[AllergyReaction] = []


class MedicationIngredient(Backbone, frozen=True):
    item_codeable_concept: CodeableConcept | None = None
    item_reference: Reference | None = None
    is_active: bool | None = None
    strength: Ratio | None = None


class Medication(Resource, frozen=True, kw_only=True):
    status: str | None = None
    code: CodeableConcept | None = None
    amount: Ratio | None = None
    ingredient: list[MedicationIngredient] = []


class Substance(Resource, frozen=True, kw_only=True):
    code: CodeableConcept | None = None


class DispenseRequest(Backbone, frozen=True):
    expected_supply_duration: Quantity | None = None


class MedicationRequest(Resource, frozen=True, kw_only=True):
    status: str | None = None
    status_reason: CodeableConcept | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    category: list[CodeableConcept] = []
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    encounter: Reference | None = None
    authored_on: str | None = None
    date_written: str | None = None
    reason_code: list[CodeableConcept] = []
    reason_reference: list[Reference] = []
    instantiates_canonical: list[str] = []
    instantiates_uri: list[str] = []
    based_on: list[Reference] = []
    group_identifier: Identifier | None = None
    dosage_instruction: list[Dosage] = []
    dispense_request: DispenseRequest | None = None
    prior_prescription: Reference | None = None
    replaces: list[Reference] = []
    supporting_information: list[Reference] = []
    contained: list[msgspec.Raw] = []


class AdministrationDosage(Backbone, frozen=True):
    text: str | None = None
    route: CodeableConcept | None = None
    method: CodeableConcept | None = None
    dose: Quantity | None = None
    rate_ratio: Ratio | None = None
    rate_quantity: Quantity | None = None


class MedicationAdministration(Resource, frozen=True, kw_only=True):
    status: str | None = None
    status_reason: list[CodeableConcept] = []
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    effective_date_time: str | None = None
    effective_period: Period | None = None
    occurence_date_time: str | None = None
    """R5's names for both, spelled as R5 spells them."""
    occurence_period: Period | None = None
    not_given: bool | None = None
    was_not_given: bool | None = None
    request: Reference | None = None
    reason_code: list[CodeableConcept] = []
    dosage: AdministrationDosage | None = None
    contained: list[msgspec.Raw] = []


class MedicationStatement(Resource, frozen=True, kw_only=True):
    status: str | None = None
    taken: str | None = None
    was_not_taken: bool | None = None
    based_on: list[Reference] = []
    derived_from: list[Reference] = []
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    medication: CodeableReference | None = None
    """R5's place for both."""
    subject: Reference | None = None
    patient: Reference | None = None
    """DSTU2's subject."""
    effective_date_time: str | None = None
    effective_period: Period | None = None
    date_asserted: str | None = None
    reason_code: list[CodeableConcept] = []
    dosage: list[Dosage] = []
    contained: list[msgspec.Raw] = []


class Procedure(Resource, frozen=True, kw_only=True):
    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None


class EncounterLocation(Backbone, frozen=True):
    location: Reference | None = None
    status: str | None = None
    physical_type: CodeableConcept | None = None
    period: Period | None = None


class Encounter(Resource, frozen=True, kw_only=True):
    status: str | None = None
    # `class` is a Python word; the JSON name is set below.
    encounter_class: Coding | None = msgspec.field(default=None, name="class")
    subject: Reference | None = None
    period: Period | None = None
    location: list[EncounterLocation] = []
    contained: list[msgspec.Raw] = []


class Location(Resource, frozen=True, kw_only=True):
    type: list[CodeableConcept] = []


class ServiceRequest(Resource, frozen=True, kw_only=True):
    status: str | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    authored_on: str | None = None


class RequestGroupAction(Element, frozen=True):
    resource: Reference | None = None
    action: list[RequestGroupAction] = []


class RequestGroup(Resource, frozen=True, kw_only=True):
    status: str | None = None
    subject: Reference | None = None
    action: list[RequestGroupAction] = []


class OutcomeIssue(Element, frozen=True):
    severity: str | None = None
    code: str | None = None


class OperationOutcome(Resource, frozen=True, kw_only=True):
    issue: list[OutcomeIssue] = []


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
    | Procedure
    | Encounter
    | Location
    | ServiceRequest
    | RequestGroup
    | OperationOutcome
)

TYPES: dict[str, type[Resource]] = {kind.__name__: kind for kind in get_args(AnyResource)}
OLDER_NAMES: dict[str, type[Resource]] = {"MedicationOrder": MedicationRequest}
"""What DSTU2 calls them."""


def subject_of(resource: Resource) -> Reference | None:
    """Whose resource it is (`subject`, or `patient` for allergies)."""
    subject = getattr(resource, "subject", None) or getattr(resource, "patient", None)
    return subject if isinstance(subject, Reference) else None


_CHANGED = "an extension that is not known changes what it means"


def changed_meaning(resource: Resource) -> str | None:
    """Why a resource cannot be taken at its word: it has a `modifierExtension` or `implicitRules`; none is known."""
    if resource.implicit_rules:
        return "it is written by rules that are not known"
    if resource.modifier_extension:
        return _CHANGED
    parts: Sequence[Backbone | None] = ()
    match resource:
        case Observation():
            parts = resource.component
        case AllergyIntolerance():
            parts = resource.reaction
        case MedicationRequest():
            parts = [*resource.dosage_instruction, *(d.timing for d in resource.dosage_instruction)]
        case MedicationStatement():
            parts = [*resource.dosage, *(d.timing for d in resource.dosage)]
        case MedicationAdministration():
            parts = (resource.dosage,)
        case Medication():
            parts = resource.ingredient
    return _CHANGED if any(part is not None and part.modifier_extension for part in parts) else None

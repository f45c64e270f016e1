"""The few fields of FHIR R4 that are read, as structs; what is not named here is ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from cds_service import bounds

T = TypeVar("T")
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=bounds.CHARACTERS)]
Prose = Annotated[str, msgspec.Meta(max_length=bounds.PROSE)]
Many = Annotated[tuple[T, ...], msgspec.Meta(max_length=bounds.MEMBERS)]
"""Every whole number, string and list that is read has one of these types. What is beyond them is read by `lenient`,
and cut there. Lists are tuples: a coded value can be looked up as it stands."""


_TOO_LONG = "the number is too long to be a clinical figure"


def _within_bounds(*numbers: Decimal | None) -> None:
    """Raises ValueError, after which the resource is read element by element, and the number is named."""
    for number in numbers:
        if number is not None and not bounds.is_figure(number):
            raise ValueError(_TOO_LONG)


class Element(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Base of all elements: camelCase in JSON, immutable, unknown fields ignored."""


class Extension(Element, frozen=True):
    """An extension that may change what an element means (`modifierExtension`): which one it is, not what it says."""

    url: Text | None = None


class Backbone(Element, frozen=True):
    """Base of the elements that a `modifierExtension` may change the meaning of."""

    modifier_extension: Many[Extension] = ()


class Coding(Element, frozen=True):
    system: Text | None = None
    code: Text | None = None
    display: Text | None = None


class CodeableConcept(Element, frozen=True):
    coding: Many[Coding] = ()
    text: Text | None = None

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
    system: Text | None = None
    value: Text | None = None


class Reference(Element, frozen=True):
    reference: Text | None = None
    identifier: Identifier | None = None
    display: Text | None = None
    type: Text | None = None


class CodeableReference(Element, frozen=True):
    """What R5 has in the place of medication[x]: a concept, a reference, or both."""

    concept: CodeableConcept | None = None
    reference: Reference | None = None


class Period(Element, frozen=True):
    start: Text | None = None
    end: Text | None = None


class Quantity(Element, frozen=True):
    value: Decimal | None = None
    comparator: Text | None = None
    unit: Text | None = None
    system: Text | None = None
    code: Text | None = None

    def __post_init__(self) -> None:
        # A chart has hundreds of these, so what is surely a figure is seen here at once.
        value = self.value
        if value is None or (
            len(str(value)) <= bounds.DIGITS
            and -bounds.DIGITS <= value.adjusted() <= bounds.DIGITS
            and value.is_finite()
        ):
            return
        _within_bounds(value)

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
    count: Whole | None = None
    count_max: Whole | None = None
    duration: Decimal | None = None
    duration_max: Decimal | None = None
    duration_unit: Text | None = None
    frequency: Whole | None = None
    frequency_max: Whole | None = None
    period: Decimal | None = None
    period_max: Decimal | None = None
    period_unit: Text | None = None
    day_of_week: Many[Text] = ()
    time_of_day: Many[Text] = ()
    when: Many[Text] = ()

    def __post_init__(self) -> None:
        _within_bounds(self.duration, self.duration_max, self.period, self.period_max)


class Timing(Backbone, frozen=True):
    event: Many[Text] = ()
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
    sequence: Whole | None = None
    text: Prose | None = None
    patient_instruction: Prose | None = None
    additional_instruction: Many[CodeableConcept] = ()
    timing: Timing | None = None
    as_needed_boolean: bool | None = None
    as_needed_codeable_concept: CodeableConcept | None = None
    route: CodeableConcept | None = None
    method: CodeableConcept | None = None
    dose_and_rate: Many[DoseAndRate] = ()
    max_dose_per_period: Ratio | None = None
    max_dose_per_administration: Quantity | None = None
    # STU3 put dose and rate on the dosage itself; some senders still do.
    dose_quantity: Quantity | None = None
    dose_range: Range | None = None
    rate_quantity: Quantity | None = None
    rate_range: Range | None = None
    rate_ratio: Ratio | None = None


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
    body_site: CodeableConcept | None = None
    reference_range: Many[Range] = ()
    component: Many[ObservationComponent] = ()
    has_member: Many[Reference] = ()


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
    reaction: Many[AllergyReaction] = ()


class MedicationIngredient(Backbone, frozen=True):
    item_codeable_concept: CodeableConcept | None = None
    item_reference: Reference | None = None
    is_active: bool | None = None
    strength: Ratio | None = None


class Medication(Resource, frozen=True, kw_only=True):
    status: Text | None = None
    code: CodeableConcept | None = None
    amount: Ratio | None = None
    ingredient: Many[MedicationIngredient] = ()


class Substance(Resource, frozen=True, kw_only=True):
    code: CodeableConcept | None = None


class DispenseRequest(Backbone, frozen=True):
    expected_supply_duration: Quantity | None = None


class Annotation(Element, frozen=True):
    text: Prose | None = None


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
    encounter_class: Many[EncounterClass] = msgspec.field(default=(), name="class")
    """R4 has one Coding, R5 a list of concepts."""
    subject: Reference | None = None
    period: Period | None = None
    location: Many[EncounterLocation] = ()
    contained: Many[msgspec.Raw] = ()


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
    for name in _SUBJECTS[type(resource)]:
        subject: Reference | None = getattr(resource, name)
        if subject is not None:
            return subject
    return None


_SUBJECTS = {
    kind: [name for name in ("subject", "patient") if name in kind.__struct_fields__] for kind in TYPES.values()
}


_CHANGED = "an extension that is not known changes what it means"


def changed_meaning(resource: Resource) -> str | None:
    """Why a resource cannot be taken at its word: it has a `modifierExtension` or `implicitRules`; none is known."""
    if resource.implicit_rules:
        return "it is written by rules that are not known"
    if resource.modifier_extension:
        return _CHANGED
    parts_of = _PARTS.get(type(resource))
    for part in parts_of(resource) if parts_of is not None else ():
        if part is not None and part.modifier_extension:
            return _CHANGED
    return None


def _with_timing(dosages: Iterable[Dosage]) -> list[Backbone | None]:
    return [*dosages, *(dosage.timing for dosage in dosages)]


_PARTS: Mapping[type[Resource], Callable[[Any], Iterable[Backbone | None]]] = {
    Observation: lambda observation: observation.component,
    AllergyIntolerance: lambda allergy: allergy.reaction,
    MedicationRequest: lambda order: _with_timing(order.dosage_instruction),
    MedicationStatement: lambda statement: _with_timing(statement.dosage),
    MedicationAdministration: lambda administration: (administration.dosage,),
    Medication: lambda medication: medication.ingredient,
}

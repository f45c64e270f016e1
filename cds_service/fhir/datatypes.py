"""The data types of FHIR R4 that are read, as structs of their few fields; what is not named here is ignored."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeVar

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


class CodeableConcept(Element, frozen=True, cache_hash=True):
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


class DoseAndRate(Backbone, frozen=True):
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

"""The weight that a dose is judged on: the newest one, whether it can be believed, and the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from cds_service import bounds, units
from cds_service.chart.account import Unplaced
from cds_service.chart.facts import Weight, on
from cds_service.fhir.dates import When
from cds_service.figures import show
from cds_service.lazy import cached_property
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Reading, Step
from cds_service.rules.case import Case, once, once_of_patient
from cds_service.rules.outcome import Reason, not_placed
from cds_service.says import Said, Says
from cds_service.says import findings as says
from cds_service.says.entries import WEIGHT as A_WEIGHT


@dataclass(frozen=True)
class DosingWeight:
    """`newest` is the dosing weight where it is believed; `doubt` says why it is not.

    With a doubt, `previous` is the last weight that was plausible, and the dose is judged on both.
    """

    newest: Weight | None
    doubt: Said | None = None
    previous: Weight | None = None
    unreadable: tuple[Weight, ...] = ()
    """Weights newer than `newest` that cannot be read."""
    unplaced: tuple[Says, ...] = ()
    """Readings that may be newer weights, in their own words."""
    unheld: tuple[Reason, ...] = ()
    """Weights that `newest` would be held against next, and that cannot be read: they might make it doubted."""

    @property
    def usable(self) -> bool:
        return self.newest is not None and (self.doubt is None or self.previous is not None)

    @property
    def shown(self) -> Weight | None:
        """The weight on which the arithmetic of a card rests."""
        return self.newest if self.usable else None

    @cached_property
    def bodies(self) -> tuple[Body, ...]:
        """The readings under which a dose is judged; the worst counts."""
        if not self.usable or self.newest is None:
            return (Body.of(None),)
        if self.doubt is None or self.previous is None:
            return (Body.of(self.newest.kg),)
        readings = (Body.of(self.newest.kg), Body(self.newest.kg, self.previous.kg))
        if self.previous.when.latest != self.newest.when.latest:
            return readings
        return (*readings, Body(self.previous.kg, self.newest.kg))  # either may be the one that the pump is set by


@once_of_patient
def dosing_weight(case: Case) -> DosingWeight:
    """Newest measured weight; stated or estimated only where there is no measured one."""
    weights = case.chart.weights
    usable = [w for w in weights if w.kg is not None]
    if not usable:
        unplaced = tuple(entry.says for entry in case.chart.unplaced_weights)
        return DosingWeight(None, unreadable=tuple(weights), unplaced=unplaced)
    newest = usable[0]
    unreadable = tuple(w for w in weights[: weights.index(newest)])
    unplaced = tuple(
        entry.says
        for entry in case.chart.unplaced_weights
        if entry.when is None or entry.when.latest >= newest.when.placed or _goes_before(entry, newest, case)
    )
    later = [w for w in usable[1:] if w.when.is_coarse and w.when.latest > newest.when.latest]
    unplaced += tuple(says.VALUE_NOT_USED(w.written, on(w.when, case.now), says.DATE_TOO_COARSE) for w in later)
    usable = [newest, *(w for w in usable[1:] if not w.when.is_coarse)]
    doubt = _doubt(newest, usable[1:], case)
    previous = None
    if doubt is not None:
        tried = enumerate(usable[1 : bounds.WEIGHTS + 1], 2)
        previous = next((w for i, w in tried if _doubt(w, usable[i:], case) is None), None)
    return DosingWeight(newest, doubt, previous, unreadable, unplaced, _unheld(case, newest, usable[1:], unplaced))


def _unheld(case: Case, newest: Weight, earlier: Sequence[Weight], said: Sequence[Says]) -> tuple[Reason, ...]:
    """Unreadable weights between the newest and the one it is held against."""
    before = earlier[0].when.placed if earlier else None

    def counts(when: When) -> bool:
        return when.latest <= newest.when.latest and (before is None or when.latest > before)

    weights = case.chart.weights
    unread = [w for w in weights[weights.index(newest) :] if w.kg is None and counts(w.when)]
    entries = [e for e in case.chart.unplaced_weights if e.when is not None and counts(e.when)]
    return (
        *(
            not_placed(
                says.WEIGHT_NOT_USED(w.written, on(w.when, case.now), w.problem or ""), w.reference, short=A_WEIGHT
            )
            for w in unread
        ),
        *(not_placed(e.says, e.reference, short=A_WEIGHT) for e in entries if e.says not in said),
    )


def _goes_before(entry: Unplaced, newest: Weight, case: Case) -> bool:
    """A measured weight goes before a newer one that was stated or estimated."""
    return newest.basis != "measured" and entry.may_be_in([case.valuesets.roles.weight_measured])


def _doubt(weight: Weight, earlier: Sequence[Weight], case: Case) -> Said | None:
    """Why a weight is not believed."""
    kg = weight.kg
    assert kg is not None
    named = case.protocol.conventions
    low, high = case.book.numbers(named.weight_range)
    age = case.chart.age_years
    if (age is None or age >= case.number(named.adult_age)) and not low <= kg <= high:
        return says.OUTSIDE(show(kg, low, high), show(low), show(high))
    if not earlier:
        return None
    before = earlier[0].kg
    assert before is not None
    ratio = kg / before
    for name, as_if in (
        (named.pounds_ratio, says.AS_IF_POUNDS),
        (named.kilograms_ratio, says.AS_IF_POUNDS_BEFORE),
    ):
        smallest, largest = case.book.numbers(name)
        if smallest <= ratio <= largest:
            return as_if(show(kg), show(before), on(earlier[0].when, case.now))
    return _changed_too_fast(weight, earlier, case)


def _changed_too_fast(weight: Weight, earlier: Sequence[Weight], case: Case) -> Said | None:
    assert weight.kg is not None
    for change, window in case.protocol.conventions.weight_changes:
        span = case.book.window(window, case.now)
        for other in earlier:
            assert other.kg is not None
            apart: timedelta = weight.when.latest - other.when.latest
            if apart <= span and abs(weight.kg - other.kg) / other.kg * 100 > case.number(change):
                limit = case.limit(window)
                most = says.MORE_THAN_WITHIN(show(case.number(change)), show(case.number(window)), limit.unit)
                date = on(other.when, case.now)
                return says.CHANGED_TOO_FAST(show(weight.kg), show(other.kg), date, most)
    return None


@dataclass(frozen=True, slots=True)
class IdealWeight:
    """Devine's ideal body weight, or why it cannot be told. `obese` is None where the BMI cannot be computed."""

    kg: Fraction | None
    bmi: Fraction | None
    why_not: Said | None = None


@once_of_patient
def ideal_weight(case: Case, weight: Fraction) -> IdealWeight:
    """Ideal body weight (kg) and BMI (kg/m2) at an actual weight; needs height and sex."""
    height = _height(case)
    if height is None:
        return IdealWeight(None, None, says.NO_USABLE_HEIGHT)
    bmi = weight / (height / 100) ** 2
    named = case.protocol.conventions
    base_height = case.number(named.ideal_height)
    if height < base_height:
        return IdealWeight(None, bmi, says.HEIGHT_BELOW(show(base_height)))
    if case.chart.sex is None:
        return IdealWeight(None, bmi, says.SEX_NOT_KNOWN)
    base = case.number(named.ideal_base[case.chart.sex])
    return IdealWeight(base + case.number(named.ideal_per_cm) * (height - base_height), bmi)


def _height(case: Case) -> Fraction | None:
    for measurement in case.chart.measurements(case.valuesets.roles.height):
        quantity = measurement.quantity
        if quantity is None or quantity.value is None or quantity.comparator:
            continue
        try:
            height = units.quantity(quantity.value, quantity.unit_text or "", "length").value
        except units.UnitError:
            continue
        if height > 0:
            return height
    return None


def reading(case: Case, order: KetamineOrder, body: Body, container_is_dose: bool = False) -> Reading:
    return Reading(body, order.concentration.mg_per_ml, case.conventions, container_is_dose, order.mg_in)


def steps_at_dosing_weight(case: Case) -> tuple[Step, ...]:
    """The order's steps at the weight that counts first."""
    return steps_at(case, dosing_weight(case).bodies[0])


def steps_at_every_weight(case: Case) -> list[Step]:
    """The same at the weight before it too where that one is doubted: the worse verdict counts."""
    return [step for body in dosing_weight(case).bodies for step in steps_at(case, body)]


def steps_at(case: Case, body: Body) -> tuple[Step, ...]:
    """The order's steps at one reading of the weight."""
    return steps_as(case, body, case.order.indication.volume_is_dose)


@once
def steps_as(case: Case, body: Body, container_is_dose: bool) -> tuple[Step, ...]:
    """The order's steps, where a volume beside a rate is the dose or the bag."""
    return regimen(case.order.written, reading(case, case.order, body, container_is_dose))

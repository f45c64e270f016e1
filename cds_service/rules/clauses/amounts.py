"""Amounts of an order against their limits: doses, rates and times, alone and together, at every weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from operator import ge, gt, le, lt

from cds_service.chart.facts import Fact, Used
from cds_service.deadline import give_way
from cds_service.figures import show
from cds_service.orders.regimen import FIGURES, Body, Step
from cds_service.protocol.model import AmountIs
from cds_service.rules.case import Case
from cds_service.rules.clauses.verdict import NO, Verdict, evaluates
from cds_service.rules.dose_finding import (
    MINUTES,
    How,
    Measured,
    View,
    is_session,
    may_clear,
    unread_dose,
    views,
    views_at,
    why_unknown,
)
from cds_service.rules.dosing_weight import dosing_weight, ideal_weight
from cds_service.rules.outcome import Reason
from cds_service.rules.together import Placed, by_route, doses_within, running_together, starting_within, total
from cds_service.says import findings as says


@evaluates(AmountIs)
def _(clause: AmountIs, case: Case, since: datetime | None = None) -> Verdict:
    if case.order.labelled_nasal is not clause.labelled:
        return NO
    passed: list[Measured] = []
    doubts: list[Reason] = []
    try:
        seen = _seen(clause, case)
    except _NoIdealWeight as error:
        is_asked = any(_Measure(clause, case, here).is_asked for here in views(case))
        return Verdict(None, reasons=(error.reason,)) if is_asked else NO
    for here in seen:
        for found in _Measure(clause, case, here).found():
            if isinstance(found, Measured):
                passed.append(found)
            else:
                doubts.append(found)
    if passed:
        return Verdict(True, (_fact(passed, case),), amounts=tuple(passed))
    if unread := unread_dose(case):
        doubts.append(unread)
    return Verdict(None, reasons=tuple(dict.fromkeys(doubts))) if doubts else NO


def _seen(clause: AmountIs, case: Case) -> Sequence[View]:
    """The order at the weights that the clause asks for. Raises _NoIdealWeight."""
    if clause.weight == "ideal":
        return views_at(case, _ideal(case))
    use, of = clause.use, None if clause.repeats else clause.of
    # Most clauses are about another use, or about kinds of steps that none is, or may be, of.
    seen = [
        here
        for here in views(case)
        if None in here.kinds or ((not use or here.use.name in use) and (not of or not here.kinds.isdisjoint(of)))
    ]
    return seen if clause.weight == "dosing" else [here for here in seen if here.body.judged_by is None]


def _fact(passed: Sequence[Measured], case: Case) -> Fact:
    """The worst of the amounts, for a rule that says what it rests on."""
    known = [(amount.figure, amount) for amount in passed if amount.figure is not None]
    if not known:
        return Fact(says.NO_TIME_STATED, case.order.reference)
    worst = min if passed[0].unit == MINUTES else max
    figure, amount = worst(known, key=lambda each: each[0])
    shown = show(figure, *((case.number(amount.limit),) if amount.limit is not None else ()))
    return Fact(f"{shown} {amount.unit}", case.order.reference, shown, Used("amount", value=shown, unit=amount.unit))


class _NoIdealWeight(Exception):
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def _ideal(case: Case) -> list[Body]:
    """Given by each weight that may be the patient's, judged by the ideal one."""
    weight = dosing_weight(case)
    actual = weight.shown
    if actual is None or actual.kg is None:
        raise _NoIdealWeight(Reason("weight", says.NO_USABLE_WEIGHT))
    ideal = ideal_weight(case, actual.kg)
    if ideal.kg is None:
        raise _NoIdealWeight(Reason("height", ideal.why_not or says.NO_IDEAL_WEIGHT))
    return list(dict.fromkeys(Body(body.given_by, ideal.kg) for body in weight.bodies))


class _Measure:
    """One clause over one view of an order."""

    def __init__(self, clause: AmountIs, case: Case, here: View) -> None:
        self.clause, self.case, self.here, self.book = clause, case, here, case.book
        self.is_rate = clause.figure.endswith("/h")
        self.named = (clause.below if clause.figure == MINUTES else ()) or clause.above or clause.at_least
        self.named = self.named or clause.other_than

    def found(self) -> Iterator[Measured | Reason]:
        """The amounts that are past their limit, and why others cannot be told."""
        give_way()
        if None in self.here.kinds and self.clause.of and not self.is_rate and self.clause.figure != MINUTES:
            # Whatever it is for and however it is given, it may be such a dose.
            yield from (why_unknown(each.step, self.case) for each in self.here.own if each.step.kind is None)
        if self.clause.use and self.here.use.name not in self.clause.use:
            return
        for each in self.here.own:
            if not (self._is_of_kind(each.step) or self.clause.repeats or each.step.kind is None):
                continue
            if not self._is_meant(each.step):
                continue
            yield from self._alone(each.step)
            if self.is_rate and self.clause.repeats:
                yield from self._repeated(each.step)
        if self.clause.together and (len(self.here.all) > 1 or (self.clause.repeats and not self.is_rate)):
            everything = [each for each in self.here.all if self._is_of_kind(each.step) and self._is_meant(each.step)]
            for route in by_route(everything):
                for given in self._sessions(route) if self.clause.labelled else (route,):
                    yield from self._running(given) if self.is_rate else self._starting(given)

    @property
    def is_asked(self) -> bool:
        """Whether any step is, or may be, of those that are meant."""
        own = (each.step for each in self.here.own)
        return any((self._is_of_kind(step) or step.kind is None) and self._is_meant(step) for step in own)

    # Which steps are meant ------------------------------------------------------------------------------------

    def _is_meant(self, step: Step) -> bool:
        clause = self.clause
        if self._limit(self.named, step) is None or (clause.route and step.route.kind not in clause.route):
            return False
        if clause.session is not None and is_session(step, self.here.use, self.case) is not clause.session:
            return False
        if clause.first and self._follows(step):
            return False
        return not clause.pushed or self._is_push(step)

    def _follows(self, step: Step) -> bool:
        """Whether another part of the order comes before it in sequence."""
        return (step.written.sequence or 0) > min(each.step.written.sequence or 0 for each in self.here.own)

    def _sessions(self, steps: Sequence[Placed]) -> Iterator[list[Placed]]:
        for sequence in dict.fromkeys(each.step.written.sequence for each in steps):
            yield [each for each in steps if each.step.written.sequence == sequence]

    def _is_push(self, step: Step) -> bool:
        """Method or route say push, or the stated time is no longer than a bolus."""
        return step.is_push or (step.minutes is not None and step.minutes <= self.case.conventions.bolus_minutes)

    def _is_of_kind(self, step: Step) -> bool:
        return not self.clause.of or step.kind in self.clause.of

    def _limit(self, names: Sequence[str], step: Step) -> str | None:
        """The limit that applies to the route of a step and to what the order is judged as."""
        for name in names:
            limit = self.book.limit(name)
            of_route = not limit.routes or step.route.kind in limit.routes
            if of_route and (not limit.uses or self.here.use.name in limit.uses):
                return name
        return None

    # What is measured -----------------------------------------------------------------------------------------

    def _alone(self, step: Step) -> Iterator[Measured | Reason]:
        if step.kind is None and (self.is_rate or self._doubts_times):
            yield why_unknown(step, self.case)
        elif self._is_of_kind(step):
            if self.clause.figure == MINUTES:
                yield from self._time(step)
            else:
                yield from self._held(self._figure(step), (step,), "step")

    def _figure(self, step: Step) -> Fraction | None:
        return FIGURES[self.clause.figure](step)

    def _repeated(self, step: Step) -> Iterator[Measured | Reason]:
        """Scheduled doses that start within an hour, summed, as a rate."""
        doses = doses_within(step, self._span())
        dose = FIGURES[self.clause.figure.removesuffix("/h")](step)
        if step.finite and doses > 1 and dose is not None:
            yield from self._held(dose * doses, (step,), "repeats")
        elif step.written.repeat.unreadable and step.finite:
            yield Reason("dose", says.REPEATS_UNREAD)

    def _span(self) -> Fraction:
        assert self.clause.within is not None
        return self.case.book.minutes(self.clause.within)

    def _running(self, route: Sequence[Placed]) -> Iterator[Measured | Reason]:
        """The most that can run at the same time."""
        sums = [
            (rate, tuple(each.step for each in together))
            for together in running_together(route)
            if len(together) > 1 and self._has_own(together)
            if (rate := total(together, self._figure)) is not None
        ]
        if sums:
            yield from self._held(*max(sums, key=lambda each: each[0]), "sum")

    def _starting(self, route: Sequence[Placed]) -> Iterator[Measured | Reason]:
        """All that start within the span, with their repeats where these count."""
        span = self._span()

        def times(step: Step) -> int:
            return doses_within(step, span) if self.clause.repeats else 1

        for together in starting_within(route, span):
            if self._has_own(together) and sum(times(each.step) for each in together) > 1:
                dose = total(together, self._figure, times)
                if dose is not None:
                    yield from self._held(dose, tuple(each.step for each in together), "sum")

    def _has_own(self, together: Sequence[Placed]) -> bool:
        return any(each.order is self.case.order for each in together)

    # Against the limits ---------------------------------------------------------------------------------------

    def _held(self, figure: Fraction | None, steps: tuple[Step, ...], how: How) -> Iterator[Measured | Reason]:
        if figure is None:
            yield why_unknown(steps[0], self.case)
        elif self._is_past(figure, steps[0]):
            limit = self._limit(self.named, steps[0])
            most = self._number(limit) if limit is not None else None
            yield Measured(figure, self.clause.figure, limit, steps, how, self.here.body, self.here.use.name, most)
        elif (reason := may_clear(steps[0], self.case)) and self._may_rise(figure, steps[0]):
            yield reason

    def _is_past(self, figure: Fraction, step: Step) -> bool:
        for names, holds in (
            (self.clause.above, gt), (self.clause.at_least, ge), (self.clause.below, lt), (self.clause.at_most, le)
        ):  # fmt: skip
            name = self._limit(names, step) if names else None
            if name is not None and not holds(figure, self._number(name)):
                return False
        return figure not in map(self.book.number, self.clause.other_than)

    def _number(self, limit: str) -> Fraction:
        """A limit, or the part of it that counts here."""
        number, part = self.book.number(limit), self.clause.part
        return number * self.book.number(part) if part is not None else number

    def _may_rise(self, figure: Fraction, step: Step) -> bool:
        """Whether a figure that may be higher than it is written could still come to the limit."""
        name = self._limit(self.clause.doubt_up_to or self.named, step)
        return name is not None and figure <= self._number(name)

    def _time(self, step: Step) -> Iterator[Measured | Reason]:
        is_stated = step.finite and (step.minutes is not None or step.is_push)
        if self.clause.unstated or not is_stated:
            if self.clause.unstated and not is_stated:
                yield self._timed(step, None)
            return
        counts_as_none = step.is_push and (
            self.clause.push == "any" or (self.clause.push == "untimed" and step.minutes is None)
        )
        if counts_as_none or (step.minutes is not None and self._is_past(step.minutes, step)):
            if self.clause.dose_at_least is None:
                yield self._timed(step, step.minutes)
            elif step.mg_per_kg is None:
                yield why_unknown(step, self.case)
            elif step.mg_per_kg >= self.case.number(self.clause.dose_at_least):
                yield self._timed(step, step.minutes)
        elif self._doubts_times and (reason := may_clear(step, self.case)):
            yield reason

    @property
    def _doubts_times(self) -> bool:
        """Of the times of one kind of step nothing is doubted: the rules of its dose say what is."""
        return self.clause.figure == MINUTES and not self.clause.of

    def _timed(self, step: Step, minutes: Fraction | None) -> Measured:
        limit = self._limit(self.named, step)
        return Measured(minutes, MINUTES, limit, (step,), "step", self.here.body, self.here.use.name)


def limit_of(clause: AmountIs, case: Case, here: View, step: Step) -> str | None:
    """The limit above which a step counts for the clause; None where the clause does not mean such a step."""
    measure = _Measure(clause, case, here)
    is_asked = clause.labelled is case.order.labelled_nasal and (not clause.use or here.use.name in clause.use)
    if not is_asked or not measure._is_of_kind(step) or not measure._is_meant(step):
        return None
    return measure._limit(clause.above or clause.at_least, step)

"""The medicines of a chart: ordered, drafted in this session, recorded as taken, given or running."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec

from cds_service import units
from cds_service.chart.account import Unplaced
from cds_service.chart.facts import Medicine, Members, in_words_of, on
from cds_service.chart.reading import Reading
from cds_service.deadline import in_stretches
from cds_service.fhir import datatypes, resources, statuses
from cds_service.fhir.dates import When
from cds_service.fhir.meaning import changed_meaning
from cds_service.fhir.medication import described
from cds_service.fhir.records import Records
from cds_service.says import Said, Says
from cds_service.says import entries as says
from cds_service.terminology import drugs
from cds_service.terminology.identity import Identity, identify
from cds_service.terminology.medicines import medicines
from cds_service.terminology.systems import BRANCHED
from cds_service.terminology.valueset import Member

_Resource = (
    resources.MedicationRequest
    | resources.MedicationStatement
    | resources.MedicationAdministration
    | resources.MedicationDispense
)
_NOT_ORDERED = frozenset({"entered-in-error", "cancelled", "stopped", "completed", "draft"})
_NOT_GIVEN = frozenset({"entered-in-error", "not-done"})
_NOT_TAKEN = frozenset({"entered-in-error", "completed", "stopped", "on-hold", "not-taken", "draft"})
_NOT_DISPENSED = frozenset({"entered-in-error", "cancelled", "declined", "preparation", "on-hold", "stopped"})
_TAKEN_BEFORE = frozenset({"completed", "stopped"})
_DENIED = frozenset({"n", "no", "not-taken", "false"})


def counts(resource: _Resource) -> bool:
    """Whether an order is active, a medicine taken, or a dose given; a status that is not known ends nothing."""
    match resource:
        case resources.MedicationRequest():
            is_active = statuses.code_of("order", resource.status) not in _NOT_ORDERED
            return is_active and not resource.do_not_perform
        case resources.MedicationStatement():
            denied = resource.was_not_taken or (resource.taken or "").lower() in _DENIED
            return statuses.code_of("statement", resource.status) not in _NOT_TAKEN and not denied
        case resources.MedicationDispense():
            return statuses.code_of("dispense", resource.status) not in _NOT_DISPENSED
    return statuses.code_of("administration", resource.status) not in _NOT_GIVEN and not (
        resource.not_given or resource.was_not_given
    )


def of_chart(chart: Reading, records: Records, drafted: Iterable[resources.Resource]) -> Iterator[Medicine]:
    """Active orders, the drafts of this session, what the patient is recorded to take, what was given or runs.

    What may be a medicine of any kind, and what is not understood, goes to the account.
    """
    reader = _Reader(chart, records)
    for order in chart.deadline.each(records.of(resources.MedicationRequest), "chart"):
        if statuses.code_of("order", order.status) in _TAKEN_BEFORE and not order.do_not_perform:
            yield from reader.ended(order)
        elif reader.is_to_place(order):
            yield from reader.placed(order, reader.ordered(order, drafted=False))
    for draft in in_stretches(drafted, 20):
        if isinstance(draft, resources.MedicationRequest):
            yield reader.ordered(draft, drafted=True)
    for statement in chart.deadline.each(records.of(resources.MedicationStatement), "chart"):
        taken = reader.taken(statement)
        if taken.given or reader.is_to_place(statement):
            yield from reader.placed(statement, taken)
    for dispensed in chart.deadline.each(records.of(resources.MedicationDispense), "chart"):
        if reader.is_to_place(dispensed):
            yield from reader.dispensed(dispensed)
    for administration in chart.deadline.each(records.of(resources.MedicationAdministration), "chart"):
        if reader.is_to_place(administration):
            yield from reader.placed(administration, reader.given(administration))


class _Reader:
    def __init__(self, chart: Reading, records: Records) -> None:
        self._chart = chart
        self._records = records
        self._medicines = medicines(chart.valuesets)
        doses = records.of(resources.MedicationAdministration)
        self._orders_given = frozenset(each.request.reference for each in doses if each.request)

    def is_to_place(self, resource: _Resource) -> bool:
        """Whether an entry counts; one that does not is irrelevant."""
        if counts(resource):
            return True
        self._chart.account.irrelevant[type(resource).__name__] += 1
        return False

    def placed(self, resource: _Resource, medicine: Medicine) -> Iterator[Medicine]:
        """The medicine, unless its entry cannot be placed: then it goes to the account."""
        account, kind = self._chart.account, type(resource).__name__
        is_known = bool(medicine.members) or medicine.identity is not None
        says_nothing = self._says_nothing(medicine)
        why = changed_meaning(resource)
        when = medicine.start
        if why is None and medicine.given and when is not None and self._chart.is_future(when):
            why, when = says.MEDICINE_AHEAD, None
        if why is None and says_nothing:
            why = says.NOT_KNOWN_WHAT
        if why is None:
            account.placed[kind] += 1
            yield medicine
        elif not is_known and not says_nothing:
            account.irrelevant[kind] += 1
        else:
            state = says.GIVEN if medicine.given else says.TAKEN if medicine.taken else says.ORDERED
            named = says.MEDICINE if says_nothing else medicine.name
            said = says.OPEN_ENTRY(named, state, on(medicine.start, self._chart.now), why)
            sets = None if says_nothing else frozenset(medicine.members)
            if sets is not None and medicine.identity is not None:
                sets |= frozenset(self._chart.valuesets.drugs.family_sets(medicine.identity.drug))
            account.leave_open(Unplaced(kind, "medicine", resource.reference, says.MEDICINE, said, sets, when))

    @staticmethod
    def _says_nothing(medicine: Medicine) -> bool:
        """Whether it may be any medicine."""
        said = medicine.description
        is_known = bool(medicine.members) or medicine.identity is not None
        return not is_known and drugs.says_nothing(said.all_codings, said.all_texts, BRANCHED)

    def ordered(self, order: resources.MedicationRequest, drafted: bool) -> Medicine:
        group = order.group_identifier
        return msgspec.structs.replace(
            self._medicine(order, self._chart.when(order.authored_on) or self._chart.when(order.date_written), None),
            status=statuses.code_of("order", order.status),
            drafted=drafted,
            routes=self._routes(dosage.route for dosage in order.dosage_instruction),
            reasons=self._chart.reasons(order),
            dosage_instruction=tuple(order.dosage_instruction),
            intent=order.intent,
            group=(group.system, group.value) if group else None,
        )

    def ended(self, order: resources.MedicationRequest) -> Iterator[Medicine]:
        """An order that is over: its last dose was on the day that it says. Where it says none, nobody knows, and a
        rule that looks back to before the order was written cannot be told. Of the judged drugs only doses count.
        """
        medicine = self.ordered(order, drafted=False)
        account = self._chart.account
        ends = [self._chart.when(each) for each in _last_days(order)]
        end = max((each for each in ends if each is not None), key=lambda each: each.latest, default=None)
        last = end or medicine.start
        if self._says_nothing(medicine) and last is not None and order.reference not in self._orders_given:
            self._leave_over(order, says.MEDICINE, None, last, says.NOT_KNOWN_WHAT)
        elif medicine.identity is not None or not medicine.members:
            account.irrelevant["MedicationRequest"] += 1
        elif end is not None and end.latest <= self._chart.now:
            over = msgspec.structs.replace(medicine, taken=True, given=True, status="completed", end=end)
            yield from self.placed(order, over)
        elif medicine.start is None or order.reference in self._orders_given:
            account.irrelevant["MedicationRequest"] += 1
        else:
            sets = frozenset(medicine.members)
            self._leave_over(order, medicine.name, sets, medicine.start, says.NOT_KNOWN_WHEN_ENDED)

    def _leave_over(
        self, order: resources.MedicationRequest, name: Says, sets: frozenset[str] | None, when: When, why: Said
    ) -> None:
        """To the account: an order that is over, of which something must be known that is not."""
        said = says.OPEN_ENTRY(name, says.ORDERED, on(when, self._chart.now), why)
        self._chart.account.leave_open(
            Unplaced("MedicationRequest", "medicine", order.reference, name, said, sets, when, over=True)
        )

    def taken(self, statement: resources.MedicationStatement) -> Medicine:
        period = statement.effective_period
        begun = statement.effective_date_time or (period.start if period else None)
        start = self._chart.when(begun) or self._chart.when(statement.date_asserted)
        behind = [r.reference for r in (*statement.based_on, *statement.derived_from) if r.reference]
        medicine = self._medicine(statement, start, self._chart.when(period.end) if period else None)
        is_over = self._is_over(statement, medicine)
        return msgspec.structs.replace(
            medicine,
            taken=True,
            given=is_over,
            routes=self._routes(dosage.route for dosage in statement.dosage),
            order=behind[0] if behind else None,
        )

    def _is_over(self, statement: resources.MedicationStatement, medicine: Medicine) -> bool:
        """Whether it was taken until a known day, its last dose then. Of the judged drugs only doses count."""
        if medicine.end is None or medicine.identity is not None or medicine.end.latest >= self._chart.now:
            return False
        denied = statement.was_not_taken or (statement.taken or "").lower() in _DENIED
        return not denied and (counts(statement) or statuses.code_of("statement", statement.status) in _TAKEN_BEFORE)

    def dispensed(self, dispensed: resources.MedicationDispense) -> Iterator[Medicine]:
        """A medicine that is taken until its supply is used up, its last dose then. Without a number of days nobody
        knows: one that a rule looks for goes to the account, but for a judged drug, whose doses are on record.
        """
        start = self._chart.when(dispensed.when_handed_over) or self._chart.when(dispensed.when_prepared)
        end = self._used_up(dispensed, start)
        medicine = self._medicine(dispensed, start, end)
        if end is not None:
            is_over = end.latest < self._chart.now
            if medicine.identity is None or not is_over:
                yield from self.placed(dispensed, msgspec.structs.replace(medicine, taken=True, given=is_over))
                return
        account = self._chart.account
        if medicine.identity is not None or not medicine.members:
            account.irrelevant["MedicationDispense"] += 1
            return
        said = says.OPEN_ENTRY(
            medicine.name, says.DISPENSED, on(start, self._chart.now), says.NOT_KNOWN_WHETHER_TAKEN
        )
        sets = frozenset(medicine.members)
        account.leave_open(
            Unplaced("MedicationDispense", "medicine", dispensed.reference, medicine.name, said, sets, start)
        )

    def _used_up(self, dispensed: resources.MedicationDispense, start: When | None) -> When | None:
        days = dispensed.days_supply
        if start is None or days is None or days.value is None:
            return None
        try:
            minutes = units.quantity(days.value, days.unit_text or "d", "time").value
            return self._chart.when((start.latest + timedelta(seconds=int(minutes * 60))).isoformat())
        except (units.UnitError, ArithmeticError, ValueError):
            return None

    def given(self, administration: resources.MedicationAdministration) -> Medicine:
        period = period_of(administration)
        at = administration.effective_date_time or administration.occurence_date_time
        start = self._chart.when(at or (period.start if period else None))
        end = self._chart.when(period.end) if period else start
        return msgspec.structs.replace(
            self._medicine(administration, start, end),
            given=True,
            status=state_of(administration),
            routes=self._routes([administration.dosage.route] if administration.dosage else []),
            order=administration.request.reference if administration.request else None,
            status_reasons=self._chart.members(administration.status_reason),
            dosage=administration.dosage,
        )

    def _medicine(self, resource: _Resource, start: When | None, end: When | None) -> Medicine:
        """What all three kinds of resource say alike."""
        description = described(resource, self._records.resolve)
        if isinstance(resource, resources.MedicationAdministration) and drugs.says_nothing(
            description.all_codings, description.all_texts
        ):
            order = self._records.resolve(resource.request)
            # Where it does not say what it is, the order does.
            if isinstance(order, resources.MedicationRequest):
                description = described(order, self._records.resolve)
        whole = (description.codings, description.texts)
        membership = self._medicines.membership([whole, *((i.codings, i.texts) for i in description.ingredients)])
        identity = identify(description.all_codings, description.all_texts, self._chart.valuesets)
        return Medicine(
            name=next(iter(description.all_texts), None) or in_words_of(membership.members) or description.name,
            description=description,
            members=_as_judged(membership.members, identity, self._chart.valuesets.drugs),
            by_name=membership.by_name,
            # Of ketamine any coding decides, whatever the others say.
            disagreement=membership.disagreement if identity is None else None,
            identity=identity,
            given=False,
            drafted=False,
            status=resource.status,
            start=start,
            end=end,
            routes=frozenset(),
            reasons={}
            if isinstance(resource, resources.MedicationDispense)
            else self._chart.members(resource.reason_code),
            reference=resource.reference,
        )

    def _routes(self, routes: Iterable[datatypes.CodeableConcept | None]) -> frozenset[str]:
        return frozenset(self._chart.members(routes))


def _last_days(order: resources.MedicationRequest) -> Iterator[str]:
    """When its instructions end, as they are written."""
    for dosage in order.dosage_instruction:
        repeat = dosage.timing.repeat if dosage.timing is not None else None
        if repeat is not None and repeat.bounds_period is not None and repeat.bounds_period.end:
            yield repeat.bounds_period.end


def _as_judged(members: Members, identity: Identity | None, judged: drugs.Drugs) -> Members:
    """The members with the set of the drug that it is, however that was recognised.

    A product of one way of giving is in the group of that: a brand says it where no code does.
    """
    if identity is None:
        return members
    in_set = judged.set_of(identity.drug)
    members = {in_set: Member(in_set, "", identity.drug), **members}
    if len(identity.made_for) != 1:
        return members
    (way,), ours = identity.made_for, judged.family_sets(identity.drug)
    return {
        name: replace(member, group=way) if name in ours and member.group is None else member
        for name, member in members.items()
    }


def period_of(administration: resources.MedicationAdministration) -> datatypes.Period | None:
    """When it was given, in R4's element or R5's."""
    return administration.effective_period or administration.occurence_period


def state_of(administration: resources.MedicationAdministration) -> str:
    """FHIR's code for how far an administration is. What its status does not say, runs, unless it has an end."""
    known = statuses.code_of("administration", administration.status)
    if known is not None:
        return known
    period = period_of(administration)
    return "completed" if period and period.end else "in-progress"

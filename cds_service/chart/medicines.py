"""The medicines of a chart: ordered, drafted in this session, recorded as taken, given or running."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cds_service.chart.facts import Medicine
from cds_service.chart.reading import Reading
from cds_service.fhir import resources
from cds_service.fhir.dates import When
from cds_service.fhir.medication import describe
from cds_service.fhir.records import Records
from cds_service.terminology import drugs
from cds_service.terminology.medicines import medicines

_Resource = resources.MedicationRequest | resources.MedicationStatement | resources.MedicationAdministration
_NOT_ORDERED = frozenset({"entered-in-error", "cancelled", "stopped", "completed", "draft"})
_NOT_GIVEN = frozenset({"entered-in-error", "not-done", "unknown"})
_TAKEN = frozenset({"active", "intended", None})


def of_chart(chart: Reading, records: Records, drafted: Iterable[resources.Resource]) -> Iterator[Medicine]:
    """Active orders, the drafts of this session, what the patient is recorded to take, what was given or runs.

    Whether a date lies in the future is left to the chart, which knows how far clocks may differ.
    """
    reader = _Reader(chart, records)
    for order in records.of(resources.MedicationRequest):
        if order.status not in _NOT_ORDERED and not order.do_not_perform:
            yield reader.ordered(order, drafted=False)
    for draft in drafted:
        if isinstance(draft, resources.MedicationRequest):
            yield reader.ordered(draft, drafted=True)
    for statement in records.of(resources.MedicationStatement):
        taken = reader.taken(statement) if statement.status in _TAKEN else None
        if taken is not None and (taken.end is None or taken.end.latest >= chart.now):
            yield taken
    for administration in records.of(resources.MedicationAdministration):
        if administration.status not in _NOT_GIVEN:
            yield reader.given(administration)


class _Reader:
    def __init__(self, chart: Reading, records: Records) -> None:
        self._chart = chart
        self._records = records
        self._medicines = medicines(chart.valuesets)

    def ordered(self, order: resources.MedicationRequest, drafted: bool) -> Medicine:
        group = order.group_identifier
        return msgspec.structs.replace(
            self._medicine(order, self._chart.when(order.authored_on), None),
            drafted=drafted,
            routes=self._routes(dosage.route for dosage in order.dosage_instruction),
            reasons=self._chart.reasons(order),
            dosage_instruction=tuple(order.dosage_instruction),
            intent=order.intent,
            group=(group.system, group.value) if group else None,
        )

    def taken(self, statement: resources.MedicationStatement) -> Medicine:
        period = statement.effective_period
        begun = statement.effective_date_time or (period.start if period else None)
        start = self._chart.when(begun) or self._chart.when(statement.date_asserted)
        behind = [r.reference for r in (*statement.based_on, *statement.derived_from) if r.reference]
        return msgspec.structs.replace(
            self._medicine(statement, start, self._chart.when(period.end) if period else None),
            taken=True,
            routes=self._routes(dosage.route for dosage in statement.dosage),
            order=behind[0] if behind else None,
        )

    def given(self, administration: resources.MedicationAdministration) -> Medicine:
        period = administration.effective_period
        start = self._chart.when(administration.effective_date_time or (period.start if period else None))
        return msgspec.structs.replace(
            self._medicine(administration, start, self._chart.when(period.end) if period else start),
            given=True,
            routes=self._routes([administration.dosage.route] if administration.dosage else []),
            order=administration.request.reference if administration.request else None,
            status_reasons=self._chart.members(administration.status_reason),
            dosage=administration.dosage,
        )

    def _medicine(self, resource: _Resource, start: When | None, end: When | None) -> Medicine:
        """What all three kinds of resource say alike."""
        description = describe(
            resource.medication_codeable_concept,
            resource.medication_reference,
            resource.contained,
            self._records.resolve,
        )
        if description.to_fetch and isinstance(resource, resources.MedicationAdministration):
            order = self._records.resolve(resource.request)
            if isinstance(order, resources.MedicationRequest):  # it says what the reference does not
                description = describe(
                    order.medication_codeable_concept,
                    order.medication_reference,
                    order.contained,
                    self._records.resolve,
                )
        whole = (description.codings, description.texts)
        membership = self._medicines.membership([whole, *((i.codings, i.texts) for i in description.ingredients)])
        identity = drugs.identify(description.all_codings, description.all_texts, self._chart.valuesets)
        return Medicine(
            name=description.name,
            description=description,
            members=membership.members,
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
            reasons=self._chart.members(resource.reason_code),
            reference=resource.reference,
        )

    def _routes(self, routes: Iterable[resources.CodeableConcept | None]) -> frozenset[str]:
        return frozenset(self._chart.members(routes))

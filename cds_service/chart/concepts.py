"""What coded values mean, remembered from chart to chart: the codes of a hospital are the same few again."""

from __future__ import annotations

from functools import lru_cache

from cds_service.chart.facts import Members
from cds_service.fhir.datatypes import CodeableConcept
from cds_service.lazy import remembered
from cds_service.terminology.valueset import Member
from cds_service.terminology.valuesets import Placement, ValueSets


class Concepts:
    """The coded values of charts that are read with the same value sets."""

    def __init__(self, valuesets: ValueSets) -> None:
        self._valuesets = valuesets
        self.members_of = remembered(self._members_of)
        """The value sets that any coding of a concept is in."""
        self.placement = remembered(self._placement)
        """Where a concept belongs by its codes, else by its words."""

    def _members_of(self, concept: CodeableConcept) -> Members:
        found: dict[str, Member] = {}
        for system, code in concept.codes:
            found.update(self._valuesets.members_of(system, code))
        return found

    def _placement(self, concept: CodeableConcept | None) -> Placement:
        given = (concept.codes, concept.words) if concept is not None else ((), ())
        return self._valuesets.placement(*given)


@lru_cache(maxsize=4)
def concepts(valuesets: ValueSets) -> Concepts:
    """The one `Concepts` of these sets, so that charts share what it remembers."""
    return Concepts(valuesets)

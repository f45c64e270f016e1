"""The account of a chart's entries: what became of each, and in their own words those that could not be placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from cds_service.fhir.dates import When
from cds_service.says import Said, Says
from cds_service.says import entries as says

Subject = Literal["reading", "problem", "allergy", "medicine", "procedure", "event", "patient"]
LISTS: dict[str, tuple[str, ...]] = {
    "Condition": ("conditions",),
    "AdverseEvent": ("conditions",),
    "AllergyIntolerance": ("allergies",),
    "Procedure": ("procedures",),
    "MedicationRequest": ("medications",),
    "MedicationStatement": ("medications",),
    "MedicationDispense": ("medications",),
    "MedicationAdministration": ("medications", "administrations"),
}
"""The query keys under which an entry of a type is missed that may be anything."""
_LONGEST = 100
"""Characters of an entry's own words that a card repeats."""


class Unplaced(msgspec.Struct, frozen=True):
    """An entry that was given and could not be placed: a rule that it could have decided cannot be told."""

    kind: str
    """The type of its resource."""
    subject: Subject
    reference: str
    name: Says
    """What it is about, for a summary."""
    says: Says
    """The entry in its own words, and why it could not be placed."""
    sets: frozenset[str] | None = None
    """The value sets that it may be in; None: any of its kind."""
    when: When | None = None
    """None where its date is not known: it may be the newest."""
    urgent: bool = False
    """The clinician is warned of it, not only informed."""
    has_value: bool = True
    """Of a reading: something was measured or answered, though it is not understood."""
    over: bool = False
    """A medicine that was ordered at `when` and is over since nobody knows when."""
    asks: bool = False
    """A complaint that no code names: its words ask, as those of a problem do."""

    def may_be_in(self, references: Iterable[str]) -> bool:
        """Whether it may be in one of `references` (sets, or set/group)."""
        return self.sets is None or any(reference.partition("/")[0] in self.sets for reference in references)


class Account:
    """How many entries of each type were placed, are certainly irrelevant, or could not be placed; and the last."""

    def __init__(self) -> None:
        self.placed: Counter[str] = Counter()
        self.irrelevant: Counter[str] = Counter()
        self._unplaced: dict[str, list[Unplaced]] = {}

    def leave_open(self, entry: Unplaced) -> None:
        """Keep an entry that could not be placed."""
        self._unplaced.setdefault(entry.subject, []).append(entry)

    @property
    def is_settled(self) -> bool:
        """Whether no entry was left open."""
        return not self._unplaced

    @property
    def unplaced(self) -> list[Unplaced]:
        return [entry for entries in self._unplaced.values() for entry in entries]

    @property
    def on_record(self) -> set[str]:
        """The value sets that entries may be in which could not be placed; the lists of those that may be any."""
        found: set[str] = set()
        for entry in self.unplaced:
            found.update(LISTS.get(entry.kind, ()) if entry.sets is None else entry.sets)
        return found

    def open(
        self,
        references: Iterable[str],
        *subjects: Subject,
        counts: Callable[[Unplaced], bool] = lambda entry: True,
    ) -> tuple[Unplaced, ...]:
        """Those about one of `subjects` that may be in one of the value sets `references`, and for which `counts`."""
        if not self._unplaced:
            return ()
        asked = {reference.partition("/")[0] for reference in references}
        return tuple(
            entry
            for subject in subjects
            for entry in self._unplaced.get(subject, ())
            if (entry.sets is None or not asked.isdisjoint(entry.sets)) and counts(entry)
        )


def in_words(text: Says) -> Said:
    """An entry's own words as a card repeats them: in quotation marks, and cut where they are long."""
    if isinstance(text, str):
        text = " ".join(text.split())
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()}…"
    return says.QUOTED(text)

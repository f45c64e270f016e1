"""The clauses of a rule as data: what can be seen in the chart or the order, and nothing that judges."""

from __future__ import annotations

from typing import Literal

from cds_service.protocol.entry import Entry, LimitName, SetName, SiteChange


class Any(Entry, frozen=True, kw_only=True, tag_field="fact", tag="any"):
    of: list[Clause]


class All(Entry, frozen=True, kw_only=True, tag_field="fact", tag="all"):
    of: list[Clause]


class Unless(Entry, frozen=True, kw_only=True, tag_field="fact", tag="unless"):
    """An exception: it takes the finding away where it holds, and not where it cannot be read."""

    of: list[Clause]


class Not(Entry, frozen=True, kw_only=True, tag_field="fact", tag="not"):
    of: list[Clause]


class Added(All, frozen=True, kw_only=True, tag_field="fact", tag="added"):
    """A condition that a site added to a tier. No file may name it: the overlay's `conditions` make it."""

    site: SiteChange


class ConditionIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="condition", rename={"sets": "in"}):
    """A problem in one of `in`. Dates are onset, else recorded."""

    sets: list[SetName]
    status: Literal["active", "inactive", "any"] = "active"
    within: LimitName | None = None
    undated: Literal["no", "yes", "only"] = "no"
    """With `within`: whether an undated one counts too; `only`: nothing but undated ones count."""
    history: bool = False
    """Codes that are themselves a history ("old infarction") count."""
    unless_in: list[SetName] = []
    """A problem that is in one of these too does not count."""
    unless_later: list[Clause] = []
    """All of these, measured after the problem was recorded, take it away."""
    asks: list[SetName] = []
    """Sets whose codes only ask: they make it untold, never a finding."""


class ObservationIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="observation", rename={"sets": "in"}):
    """A measurement in `in`, within a window, compared with a limit or an answer."""

    sets: list[SetName]
    which: Literal["newest", "newest-of-each-code", "any"] = "newest"
    within: LimitName | None = None
    above: list[LimitName] = []
    below: list[LimitName] = []
    at_most: list[LimitName] = []
    at_least: list[LimitName] = []
    """Limits; where several are named, the one in the measurement's kind of unit counts."""
    answer: list[SetName] = []
    """Value sets of coded answers or interpretations that hold."""
    answered_no: list[SetName] = []
    """Those that do not; any other answer cannot be told."""
    above_reference: bool = False
    """Above the laboratory's own reference range, or interpreted as high."""
    above_reference_times: LimitName | None = None
    """Above so many times the upper end of the laboratory's own range."""
    in_reference: bool = False
    """Within the laboratory's own reference range."""
    risen_by: LimitName | None = None
    """Above the lowest earlier one in the window by more than this: per cent, or points of a score."""
    fallen_by: LimitName | None = None
    """Below the highest earlier one in the window by at least this."""
    twice_within: LimitName | None = None
    """Two readings for which all this holds, no further apart."""
    date_ahead: LimitName | None = None
    """The value is a date that lies ahead by no more than this."""
    any_value: bool = False
    present: bool = False
    """It was done at all: a panel has no value of its own."""
    around_dose: LimitName | None = None
    """Only what was seen while a dose that is over was given, or within this after it.

    It is asked when a chart is opened, and of no order: how that goes on after harm is another rule's matter."""


class SymptomIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="symptom", rename={"sets": "in"}):
    """A recent complaint in one of `in`: an observation that affirms it, a problem that began, an adverse event."""

    sets: list[SetName]
    within: LimitName
    answered_by_cut: LimitName | None = None
    """The order's rate is at least so many per cent below the one that ran when each of them was noticed."""
    around_dose: LimitName | None = None
    """Only what was noticed while a dose that is over was given, or within this after it.

    It is asked when a chart is opened, and of no order: how that goes on after harm is another rule's matter."""


class MedicineIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="medicine", rename={"sets": "in"}):
    """A medicine in one of `in`, ordered (active) or given."""

    sets: list[SetName]
    within: LimitName | None = None
    """Given, or ordered anew, within this; without it an active order or a running infusion counts."""
    started_within: LimitName | None = None
    running: bool = False
    """Only an administration in progress."""
    routes: list[SetName] = []
    reasons: list[SetName] = []
    """Only when the order's reason is in one of these sets."""
    given: bool = False
    """Only what was given or is running."""
    in_chart: bool = False
    """Not what is only drafted in this session."""
    longer_ago: LimitName | None = None
    """What was given, and that longer ago than this."""
    at_least: LimitName | None = None
    """So many different ones."""
    only: list[SetName] = []
    """All that match are in one of these."""
    unless_in: list[SetName] = []
    """A medicine that is in one of these too does not count."""
    single_dose: bool = False
    """Only one dose of them was given or ordered."""


class ExposureIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="exposure"):
    """How often the drug that is ordered was given before, in a window, or for how long it has been running."""

    days: LimitName | None = None
    """On at least so many days …"""
    doses: LimitName | None = None
    """… or at least so many times, …"""
    within: LimitName | None = None
    """… in this window."""
    running_longer_than: LimitName | None = None
    running: bool = False


class PatientIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="patient"):
    sex: Literal["female", "male"] | None = None
    age_at_least: LimitName | None = None
    age_below: LimitName | None = None


class ProcedureIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="procedure", rename={"sets": "in"}):
    sets: list[SetName]
    within: LimitName | None = None
    this_encounter: bool = False
    unless_later: list[SetName] = []
    """Procedures of these sets that took place afterwards take it away."""


class AllergyIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="allergy", rename={"sets": "in"}):
    sets: list[SetName]
    kind: Literal["any", "allergy", "intolerance"] = "any"
    asks: list[SetName] = []
    """Sets whose codes only ask, as above."""


class EncounterIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="encounter", rename={"sets": "in"}):
    """The encounter's class or the type of its present location is in one of `in`."""

    sets: list[SetName]


class OrderIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="order"):
    """Something of the ketamine order itself."""

    drug: list[str] = []
    """It orders one of these, by their names in the protocol."""
    indication: list[str] = []
    analgesic: bool = False
    """Judged as an analgesic: every indication but depression, none and unknown ones too, outside procedures."""
    only_indication: list[str] = []
    """Every reason that is known is one of these indications, and so is its order set."""
    judged_as: list[str] = []
    """Judged as one of these uses."""
    context: list[str] = []
    ingredient: list[SetName] = []
    reason: list[SetName] = []
    """A reason in one of these value sets."""
    category: list[SetName] = []
    """A category of the order in one of these value sets."""
    status_reason: list[SetName] = []
    """Why its status is what it is, in one of these value sets."""
    route: list[str] = []
    """One of these routes, as cds_service/orders/routes.toml names them."""
    single_dose: bool = False
    """One bolus or short infusion that is not repeated."""
    single_dose_at_most: LimitName | None = None
    repeated: bool = False
    """More than one dose is planned."""
    continuous: bool = False
    """A continuous infusion, or a part of it is one."""
    finite_at_most: LimitName | None = None
    """No dose but finite ones of less than an hour, none above this."""
    planned_longer_than: LimitName | None = None
    """A continuous infusion with an end that lies further off."""
    without_end: bool = False
    """A continuous infusion without an end."""
    labelled: bool = False
    """The labelled nasal product, by whatever route."""
    route_other_than: list[str] = []
    """Its code or its words name a route that is none of these."""
    per_week_above: LimitName | None = None
    """So many doses in seven days are planned, and more."""
    cut_by: LimitName | None = None
    """Its rate is below the running one by at least so many per cent."""


class MonitoringIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="monitoring", rename={"sets": "in"}):
    """Active or drafted orders for every one of `in`, or procedures for it in progress."""

    sets: list[SetName]
    seen: bool = False
    """Only whether such orders come here at all: one of `in` does, or the client's entry says that it sends them."""


class AmountIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="amount"):
    """An amount of what is ordered, at every weight that may be the patient's, compared with a limit for its route.

    Where several limits are named, the one counts that applies to the route of the step and to what the order is
    judged as; a step that none of them applies to is not meant. What cannot be computed leaves it untold, and so does
    a dose in words alone that passes: words only raise.
    """

    figure: Literal["mg", "mg/kg", "mg/h", "mg/kg/h", "min"]
    of: list[Literal["bolus", "short", "continuous"]] = []
    """Kinds of steps; without it, all."""
    use: list[str] = []
    """What the order is judged as; without it, anything."""
    labelled: bool = False
    """Of the labelled nasal product, of which no other amount is asked. A later sequence is another session."""
    first: bool = False
    """Only of what the order begins with, not of a later sequence."""
    session: bool | None = None
    """Only (or all but) finite doses that are no longer than a session of their use."""
    pushed: bool = False
    """Only pushes: said so, or stated to take no longer than a bolus."""
    dose_at_least: LimitName | None = None
    """Only steps of at least this dose (mg/kg)."""
    route: list[str] = []
    """Only steps by one of these routes."""
    weight: Literal["dosing", "ideal", "none"] = "dosing"
    """`none`: only where no weight can be used."""
    together: bool = False
    """Also what is given together by one route: infusions that can run at the same time, doses that start
    `within`."""
    within: LimitName | None = None
    repeats: bool = False
    """Scheduled repeats that start `within` are added up; of a rate, they are what is given in an hour."""
    above: list[LimitName] = []
    at_least: list[LimitName] = []
    below: list[LimitName] = []
    at_most: list[LimitName] = []
    other_than: list[LimitName] = []
    """None of these."""
    part: LimitName | None = None
    """Only this part of each limit counts, as half of it."""
    push: Literal["timed", "untimed", "any"] = "timed"
    """Of a time: which pushes count as no time at all; `timed`: none, a push has the time that is stated."""
    unstated: bool = False
    """Of a time: only where none is stated, so that there is nothing to compare."""
    doubt_up_to: list[LimitName] = []
    """Words alone leave it untold up to this limit instead of its own; above it a milder rule fires."""


Clause = (
    Any
    | All
    | Not
    | Unless
    | ConditionIs
    | ObservationIs
    | SymptomIs
    | MedicineIs
    | ExposureIs
    | PatientIs
    | ProcedureIs
    | AllergyIs
    | EncounterIs
    | OrderIs
    | MonitoringIs
    | AmountIs
)

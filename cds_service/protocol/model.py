"""The protocol as data: the shapes of limits, rules, clauses, statements and evidence, and nothing that judges."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From worst to least; also the order of cards."""

Hook = Literal["order-select", "order-sign", "patient-view"]

KEEP_TO_CAP, LOWER_TO_LIMIT = "keep-to-cap", "lower-to-limit"
"""What was ordered is brought down to the order's own maximum, or to the limit that was passed."""
LOWER_RATE = "lower-rate"
"""The infusion goes on at a part of its rate, by `restart_fraction` and `restart_most` of the conventions."""
OFFERS = ("delete", LOWER_RATE, "hold", KEEP_TO_CAP, LOWER_TO_LIMIT)
"""Changes of the order itself that any rule may suggest."""
STOP_AFTER = "stop-after-"
"""Before the id of a limit: the infusion gets an end."""
LOWER_TO, SLOW_TO, CAP_TO = "lower-to-", "slow-to-", "cap-to-"
REPEAT_TO = "repeat-to-"
"""Before the id of a limit: it is given so many times a week."""
"""Before the id of a limit: what was ordered is brought down to it, given over it, or gets a maximum that keeps the
worst hour to it. All are tried on the order, so that no other rule of the dose objects."""
TO_A_LIMIT = (STOP_AFTER, LOWER_TO, SLOW_TO, CAP_TO, REPEAT_TO)

LimitName = Annotated[str, msgspec.Meta(extra={"names": "limit"})]
"""The id of a limit; what names one says so by its type, so that nothing keeps a list of such fields."""
SetName = Annotated[str, msgspec.Meta(extra={"names": "valueset"})]
"""The id of a value set, or `set/group`."""

EvidenceStatus = Literal["verified", "second-hand", "unverified", "design"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """Base of all protocol entries: immutable, and a misspelt field stops the start.

    Each has a `__dict__`, in which `lazy.kept` keeps what follows from the entry alone.
    """


class SiteChange(Entry, frozen=True, kw_only=True):
    """Who changed an entry, when and why; every change of a site carries one."""

    owner: str
    date: date
    reason: str


class Limit(Entry, frozen=True, kw_only=True):
    """One number (or list of numbers) with its unit and the date from which it holds."""

    title: str
    unit: str
    values: dict[date, Decimal | list[Decimal]]
    sources: list[str]
    status: EvidenceStatus
    indication: str | None = None
    routes: list[str] = []
    uses: list[str] = []
    """What the order is judged as, where it applies; without it, anything."""
    drug: str | None = None
    stands_for: str | None = None
    """The limit whose place this one takes for `drug`."""
    note: str | None = None
    site: SiteChange | None = None
    id: str = ""


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


class Change(Entry, frozen=True, kw_only=True):
    """When a tier's severity changes, or the rule is silent (`to: none`)."""

    to: Literal["critical", "warning", "info", "none"]
    when: Clause
    because: str
    tiers: list[str] = []
    site: SiteChange | None = None
    """Of a site's filter. It only lowers, after the protocol's own changes."""


class Tier(Entry, frozen=True, kw_only=True, rename={"suggests": "offers"}.get):
    """One way in which a rule fires. Tiers stand from worst to least; the first that holds counts."""

    name: str
    severity: Severity
    limits: list[str] = []
    """Those that its judgement in code reads, or that its card shows besides those of its facts."""
    when: Clause | None = None
    suggests: list[str] = []
    """What the card offers for this tier, before what the rule suggests."""
    shown: list[str] = []
    """All that its card shows; the loader fills it."""


class Rule(
    Entry,
    frozen=True,
    kw_only=True,
    rename={
        "judge": "judged by",
        "trigger": "fires when",
        "citations": "evidence",
        "suggests": "offers",
        "yields_to": "yields to",
        "cannot_see": "cannot see",
        "limits": "with limits",
        "sets": "with sets",
        "tier_of": "with tiers",
        "other_drug": "other drug",
    }.get,
):
    """One rule of the catalogue, as its folder's rule.yaml has it."""

    id: str
    row: int
    """Its number in the catalogue, which is also the order of rules."""
    category: str
    title: str
    owner: str = "pharmacy"
    """Who answers for it."""
    state: Literal["experimental", "stable", "deprecated"] = "stable"
    """Its life: an experimental rule is judged and kept in the audit, and never shown."""
    changed: str | None = None
    """The day and the reason of its last change."""
    judge: str = "clauses"
    """`clauses`: its lines of logic alone; `amounts`, whose tiers all hold amounts and are repaired together; or the
    name of the judgement in cds_service/rules that knows how."""
    limits: dict[str, LimitName] = {}
    """The limits that such a judgement asks for, by the names that it gives them."""
    sets: dict[str, str] = {}
    """The value sets that it asks for."""
    tier_of: dict[str, str] = {}
    """What it finds, in the words that it gives it -> the tier that then holds."""
    trigger: str | None = None
    """In words, when it fires; for those that their lines of logic do not describe."""
    tiers: list[Tier]
    needs: list[str] = []
    """Data without which the rule cannot be told and which must be on record: where nobody recorded them, the
    clinician is told so. Which lists a rule reads does not stand here: it follows from its clauses."""
    statements: list[str] = []
    conflicts: list[str] = []
    citations: list[str] = []
    status: EvidenceStatus
    suggests: list[str] = []
    """What the card offers: one of OFFERS, STOP_AFTER and a limit in hours, or ids of orderables.yaml."""
    changes: list[Change] = []
    yields_to: list[str] = []
    """Silent where one of these rules fired."""
    card: Literal["dose", "could-not-check", "own"] = "own"
    hooks: tuple[Hook, ...] = ("order-select", "order-sign")
    """Where it is judged."""
    judges: Literal["order", "stop"] = "order"
    """What it judges: an order, or the end of one (a draft that is stopped, cancelled or completed)."""
    other_drug: bool = False
    """Its limits are amounts of another medicine than the one that is ordered."""
    cannot_see: list[str] = []
    """In words, what might speak against the finding and is not looked for: the clinician's to weigh, or a site's."""
    site: SiteChange | None = None
    off: bool = False

    def tier(self, name: str) -> Tier:
        return next(tier for tier in self.tiers if tier.name == name)


class Usual(Entry, frozen=True, kw_only=True):
    """How a use is usually started, by the names of limits: offered beside the highest dose that may be given."""

    beyond: str
    """A dose more than so many times its limit is far above."""
    rate: str
    dose: str
    minutes: str
    """Over which the dose is given."""


class Use(Entry, frozen=True, kw_only=True):
    """What an order may be judged as."""

    title: str
    """As cards name it."""
    alone: bool = False
    """As this and other such uses alone, where the order set says so or every reason that is known does."""
    session: str | None = None
    """A finite dose up to this is a session, which has limits of its own; a longer one is judged by its rate."""
    volume_is_dose: bool = False
    """A volume beside a rate is the dose, not the bag."""
    usual: Usual | None = None


class Nasal(Entry, frozen=True, kw_only=True):
    """The drug of the family that has a labelled nasal product, which has rules of its own (`labelled` facts)."""

    drug: str
    products: str
    """A value set."""
    route: str
    """The value set of the route, as what was given is charted."""
    strength: LimitName
    """In mg/mL."""
    counted: dict[str, LimitName] = {}
    """A unit that it is counted in, such as a device -> the limit that says how many mg are in one."""


class Conventions(Entry, frozen=True, kw_only=True):
    """The limits that no rule owns, by what the service takes each of them for."""

    bolus: str
    """A dose that runs no longer is a bolus …"""
    continuous: str
    """… and one that runs this long or longer is continuous."""
    tolerance: str
    """By how much two statements of one dose may differ."""
    salt_factor: str | None = None
    """Without it no product of a site may be labelled as salt."""
    clock_tolerance: str
    orders_at_once: str
    steps_at_once: str
    interruptive_cards: str
    quiet_hours: str
    adult_age: str
    weight_range: str
    pounds_ratio: str
    kilograms_ratio: str
    weight_changes: list[tuple[str, str]]
    """(per cent, span): a weight that changed by more within the span is not believed."""
    ideal_height: str
    ideal_per_cm: str
    ideal_base: dict[str, str]
    restart_fraction: str | None = None
    restart_most: str | None = None
    """A rate that is lowered after harm stays within this as well. Without both no rule offers a lower rate."""
    pump_steps: list[str]
    """What is offered is floored to the one in its unit."""
    milligrams: str
    """The pump step in mg."""
    after_dose: list[str] = []
    """Spans: for their sum after its end a dose is looked at when a chart is opened. None: not at all."""


class Indication(Entry, frozen=True, kw_only=True):
    """What an order's reason is taken as: the value sets of reason codes, and order sets that a site maps."""

    title: str
    sets: list[str]
    words: dict[str, list[str]] = {}
    """What clinicians write for it, by language; under `not`, what looks like it. Read where no code says more."""
    order_sets: list[str] = []
    use: str | None = None
    """What the order is then judged as, by its name in `Protocol.uses`; without it, as the first of them."""
    usual_rate: str | None = None
    """The limit up to which a rate occurs there, so that its number is no slip of units."""


class OrderableCoding(Entry, frozen=True, kw_only=True):
    system: str
    code: str
    display: str


class Orderable(Entry, frozen=True, kw_only=True):
    """An order that a suggestion creates: a ServiceRequest, or a product that takes the drug's place."""

    title: str
    label: str
    codings: list[OrderableCoding] = []
    kind: Literal["service", "product", "reason"] = "service"
    bundle: list[str] = []
    """Other entries that are created together with it, as one suggestion; it is then no order of its own."""
    strength_mg_per_ml: Decimal | None = None
    priority: Literal["routine", "urgent", "asap", "stat"] = "routine"


class Product(Entry, frozen=True, kw_only=True):
    """A site's product: the mg of base in a mL; a label that states the salt is converted when it is read."""

    system: str
    code: str
    mg_per_ml: Decimal
    basis: Literal["base", "salt"] = "base"
    site: SiteChange


class Statement(Entry, frozen=True, kw_only=True):
    """One statement of the two source documents, and what carries it."""

    source: Literal["A", "B"]
    says: str
    kind: str
    rules: list[str] = []
    limits: list[str] = []
    """Both are those that name it (`loader.with_carriers`)."""
    cards: list[str] = []
    why_not: str | None = None


class Conflict(Entry, frozen=True, kw_only=True):
    """Where the sources disagree, and how that is resolved."""

    between: str
    resolution: str
    rules: list[str] = []
    """Those that name it (`loader.with_carriers`)."""


class Evidence(Entry, frozen=True, kw_only=True):
    citation: str
    grade: str
    """The kind of document: label, guideline, trial … Nobody graded the evidence formally."""
    status: EvidenceStatus
    """How far what the protocol takes from it is verified."""
    url: str | None = None
    drug: str | None = None
    """The one drug that it is about; no card of another drug of the family shows it."""
    read: str
    """What was read of it, and how far it is verified."""


class Protocol(Entry, frozen=True, kw_only=True):
    """Everything that one protocol says, indexed by id."""

    id: str
    title: str
    version: str
    date: date
    drugs: list[str]
    """From its drug.yaml, the one first whose limits apply where a drug has none of its own."""
    notes: str
    uses: dict[str, Use]
    """What an order may be judged as; the first where its reasons do not say."""
    conventions: Conventions
    nasal: Nasal | None = None
    hazards: list[str] = []
    """Rules and categories of rules, the greatest hazard first: the order of cards of one severity."""
    limits: Mapping[str, Limit] = {}
    rules: Mapping[str, Rule] = {}
    indications: Mapping[str, Indication] = {}
    orderables: Mapping[str, Orderable] = {}
    statements: Mapping[str, Statement] = {}
    conflicts: Mapping[str, Conflict] = {}
    evidence: Mapping[str, Evidence] = {}
    products: list[Product] = []
    site: str | None = None
    """The name of the site whose overlay is in force."""
    facts: Mapping[str, typing.Any] = {}
    """The facts that every rule may name, as they are written."""
    folders: tuple[str, ...] = ()
    """Where the folders of its rules lie; the site's own last."""

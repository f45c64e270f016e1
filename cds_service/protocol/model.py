"""The protocol as data: the shapes of limits, rules, clauses, statements and evidence, and nothing that judges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From worst to least; also the order of cards."""

EvidenceStatus = Literal["verified", "second-hand", "unverified", "design"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all protocol entries: immutable, and a misspelt field stops the start."""


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


class Not(Entry, frozen=True, kw_only=True, tag_field="fact", tag="not"):
    of: list[Clause]


class ConditionIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="condition", rename={"sets": "in"}):
    """A problem in one of `in`. Dates are onset, else recorded."""

    sets: list[str]
    status: Literal["active", "inactive", "any"] = "active"
    within: str | None = None
    undated: Literal["no", "yes", "only"] = "no"
    """With `within`: whether an undated one counts too; `only`: nothing but undated ones count."""
    history: bool = False
    """Codes that are themselves a history ("old infarction") count."""
    unless_later: list[Clause] = []
    """All of these, measured after the problem was recorded, take it away."""
    asks: list[str] = []
    """Sets whose codes only ask: they make it untold, never a finding."""


class ObservationIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="observation", rename={"sets": "in"}):
    """A measurement in `in`, within a window, compared with a limit or an answer."""

    sets: list[str]
    which: Literal["newest", "newest-of-each-code", "any"] = "newest"
    within: str | None = None
    above: list[str] = []
    below: list[str] = []
    at_most: list[str] = []
    at_least: list[str] = []
    """Limits; where several are named, the one in the measurement's kind of unit counts."""
    answer: list[str] = []
    """Value sets of coded answers or interpretations that hold."""
    answered_no: list[str] = []
    """Those that do not; any other answer cannot be told."""
    above_reference: bool = False
    """Above the laboratory's own reference range, or interpreted as high."""
    date_ahead: str | None = None
    """The value is a date that lies ahead by no more than this."""
    any_value: bool = False


class MedicineIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="medicine", rename={"sets": "in"}):
    """A medicine in one of `in`, ordered (active) or given."""

    sets: list[str]
    within: str | None = None
    """Given, or ordered anew, within this; without it an active order or a running infusion counts."""
    started_within: str | None = None
    running: bool = False
    """Only an administration in progress."""
    routes: list[str] = []
    reasons: list[str] = []
    """Only when the order's reason is in one of these sets."""


class ProcedureIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="procedure", rename={"sets": "in"}):
    sets: list[str]
    within: str | None = None
    this_encounter: bool = False
    unless_later: list[str] = []
    """Procedures of these sets that took place afterwards take it away."""


class AllergyIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="allergy", rename={"sets": "in"}):
    sets: list[str]
    kind: Literal["any", "allergy", "intolerance"] = "any"
    asks: list[str] = []
    """Sets whose codes only ask, as above."""


class EncounterIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="encounter", rename={"sets": "in"}):
    """The encounter's class or the type of its present location is in one of `in`."""

    sets: list[str]


class OrderIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="order"):
    """Something of the ketamine order itself."""

    indication: list[str] = []
    context: list[str] = []
    ingredient: list[str] = []
    single_dose: bool = False
    """One finite dose that is not repeated."""
    single_dose_at_most: str | None = None


class MonitoringIs(Entry, frozen=True, kw_only=True, tag_field="fact", tag="monitoring", rename={"sets": "in"}):
    """Active or drafted orders for every one of `in`."""

    sets: list[str]


Clause = (
    Any
    | All
    | Not
    | ConditionIs
    | ObservationIs
    | MedicineIs
    | ProcedureIs
    | AllergyIs
    | EncounterIs
    | OrderIs
    | MonitoringIs
)


class Change(Entry, frozen=True, kw_only=True):
    """When a tier's severity changes, or the rule is silent (`to: none`)."""

    to: Literal["critical", "warning", "info", "none"]
    when: Clause
    because: str
    tiers: list[str] = []


class Tier(Entry, frozen=True, kw_only=True):
    """One way in which a rule fires. Tiers stand from worst to least; the first that holds counts."""

    name: str
    severity: Severity
    limits: list[str] = []
    when: Clause | None = None


class Rule(Entry, frozen=True, kw_only=True):
    """One row of the catalogue."""

    id: str
    row: int
    category: str
    title: str
    judge: str
    """`clauses`, or the name of the judgement in cds_service/rules that knows how."""
    tiers: list[Tier]
    needs: list[str] = []
    """Facts without which the rule cannot be told, and the clinician is told so (query keys, weight, …)."""
    statements: list[str] = []
    conflicts: list[str] = []
    citations: list[str] = []
    status: EvidenceStatus
    suggests: list[str] = []
    """What the card offers: `delete`, or ids of orderables.yaml."""
    changes: list[Change] = []
    yields_to: list[str] = []
    """Silent where one of these rules fired."""
    card: Literal["dose", "could-not-check", "own"] = "own"
    suppressed_by: str | None = None
    """In words, what silences it and is judged in code or left to a site."""
    site: SiteChange | None = None
    off: bool = False

    def tier(self, name: str) -> Tier:
        return next(tier for tier in self.tiers if tier.name == name)


class Indication(Entry, frozen=True, kw_only=True):
    """What an order's reason is taken as: the value sets of reason codes, and order sets that a site maps."""

    title: str
    sets: list[str]
    order_sets: list[str] = []


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
    cards: list[str] = []
    why_not: str | None = None


class Conflict(Entry, frozen=True, kw_only=True):
    """Where the sources disagree, and how that is resolved."""

    between: str
    resolution: str
    rules: list[str] = []


class Evidence(Entry, frozen=True, kw_only=True):
    citation: str
    url: str | None = None
    read: str
    """What was read of it, and how far it is verified."""


class Protocol(Entry, frozen=True, kw_only=True):
    """Everything that one protocol says, indexed by id."""

    id: str
    title: str
    version: str
    date: date
    drugs: list[str]
    notes: str
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

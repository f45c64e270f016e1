"""The protocol as data: the shapes of limits, rules, clauses, statements and evidence, and nothing that judges."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Literal

from cds_service.protocol.clauses import Added as Added
from cds_service.protocol.clauses import All as All
from cds_service.protocol.clauses import AllergyIs as AllergyIs
from cds_service.protocol.clauses import AmountIs as AmountIs
from cds_service.protocol.clauses import Any as Any
from cds_service.protocol.clauses import Clause as Clause
from cds_service.protocol.clauses import ConditionIs as ConditionIs
from cds_service.protocol.clauses import EncounterIs as EncounterIs
from cds_service.protocol.clauses import ExposureIs as ExposureIs
from cds_service.protocol.clauses import MedicineIs as MedicineIs
from cds_service.protocol.clauses import MonitoringIs as MonitoringIs
from cds_service.protocol.clauses import Not as Not
from cds_service.protocol.clauses import ObservationIs as ObservationIs
from cds_service.protocol.clauses import OrderIs as OrderIs
from cds_service.protocol.clauses import PatientIs as PatientIs
from cds_service.protocol.clauses import ProcedureIs as ProcedureIs
from cds_service.protocol.clauses import SymptomIs as SymptomIs
from cds_service.protocol.clauses import Unless as Unless
from cds_service.protocol.entry import SEVERITIES as SEVERITIES
from cds_service.protocol.entry import Entry as Entry
from cds_service.protocol.entry import EvidenceStatus as EvidenceStatus
from cds_service.protocol.entry import Hook as Hook
from cds_service.protocol.entry import LimitName as LimitName
from cds_service.protocol.entry import SetName as SetName
from cds_service.protocol.entry import Severity as Severity
from cds_service.protocol.entry import SiteChange as SiteChange

KEEP_TO_CAP, LOWER_TO_LIMIT = "keep-to-cap", "lower-to-limit"
"""What was ordered is brought down to the order's own maximum, or to the limit that was passed."""
LOWER_RATE = "lower-rate"
"""The infusion goes on at a part of its rate, by `restart_fraction` and `restart_most` of the conventions."""
OFFERS = ("delete", LOWER_RATE, "hold", KEEP_TO_CAP, LOWER_TO_LIMIT)
"""Changes of the order itself that any rule may suggest."""
STOP_AFTER = "stop-after-"
"""Before the id of a limit: the infusion gets an end."""
LOWER_TO, SLOW_TO, CAP_TO = "lower-to-", "slow-to-", "cap-to-"
"""Before the id of a limit: what was ordered is brought down to it, given over it, or gets a maximum that keeps the
worst hour to it. All are tried on the order, so that no other rule of the dose objects."""
REPEAT_TO = "repeat-to-"
"""Before the id of a limit: it is given so many times a week."""
TO_A_LIMIT = (STOP_AFTER, LOWER_TO, SLOW_TO, CAP_TO, REPEAT_TO)


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
    languages: list[str] = []
    """Those beside English in which each of its own rules should have a card, and each shared word its words; what
    lacks is said in English, and a test names it."""
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

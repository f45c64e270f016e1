"""What is loaded once and shared by all requests: protocols, codes, words, queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cds_service import readers
from cds_service.cards import loading, texts
from cds_service.cards.model import EXTENSION, Coding
from cds_service.fhir import queries as query_list
from cds_service.fhir.queries import Query
from cds_service.folders import KETAMINE
from cds_service.lazy import cached_property
from cds_service.orders.indication import Kinds, Use
from cds_service.orders.terms import Nasal, Terms
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.limits import Limits
from cds_service.protocol.model import Evidence, Protocol
from cds_service.protocol.overlay import load_protocols, texts_beside
from cds_service.protocol.references import measured_in
from cds_service.rules import judge
from cds_service.rules.clauses.verdict import share
from cds_service.terminology import valuesets as terminology
from cds_service.terminology.valueset import CANONICAL, ValueSet
from cds_service.terminology.valuesets import ValueSets
from cds_service.terminology.vocabulary import Vocabulary

TOPIC_SYSTEM = f"{CANONICAL}/CodeSystem/rules"


@dataclass(frozen=True)
class Part:
    """One protocol, with what follows from it alone."""

    protocol: Protocol
    limits: Limits
    terms: Terms


@dataclass(frozen=True)
class Knowledge:
    """Everything that is loaded once: the protocols, the codes, the words, the queries."""

    parts: tuple[Part, ...]
    """The shipped protocol first: a site's overlay changes it, and its conventions hold for the service."""
    valuesets: ValueSets
    texts: texts.Texts
    queries: tuple[Query, ...]
    override_reasons: tuple[Coding, ...]
    """Those that a card offers."""
    reasons_taken: frozenset[tuple[str, str]]
    """(system, code) of all that feedback may give: also the standard ones, which no card offers itself."""
    public_url: str

    @property
    def protocol(self) -> Protocol:
        """The shipped one."""
        return self.parts[0].protocol

    @property
    def limits(self) -> Limits:
        """Those of the shipped protocol."""
        return self.parts[0].limits

    @cached_property
    def by_drug(self) -> dict[str, Part]:
        """What judges a drug."""
        return {drug: part for part in self.parts for drug in part.protocol.drugs}

    @cached_property
    def by_rule(self) -> dict[str, Part]:
        """Whose rule it is: an id stands once in all protocols."""
        return {rule: part for part in self.parts for rule in part.protocol.rules}

    @cached_property
    def limits_of(self) -> dict[str, Limits]:
        """The limits of the protocol that judges a drug."""
        return {drug: part.limits for drug, part in self.by_drug.items()}

    @cached_property
    def query_of(self) -> dict[str, Query]:
        """The queries by key."""
        return {query.key: query for query in self.queries}

    @cached_property
    def evidence(self) -> dict[str, Evidence]:
        """That of all protocols."""
        return {key: entry for part in self.parts for key, entry in part.protocol.evidence.items()}

    @property
    def drugs(self) -> list[str]:
        """Every drug that is judged."""
        return list(self.by_drug)

    @property
    def families(self) -> list[str]:
        """The names of the protocols, each that of its family of drugs."""
        return [part.protocol.id for part in self.parts]

    def version(self, drugs: Iterable[str] = ()) -> str:
        """The version of the protocols of these drugs; one that is not the shipped one with its name."""
        judged = {id(self.by_drug[drug]) for drug in drugs}
        shown = [part.protocol for part in self.parts if id(part) in judged] or [self.protocol]
        return ", ".join(each.version if each is self.protocol else f"{each.id} {each.version}" for each in shown)


def listed(names: Sequence[str], before_the_last: str = "and") -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {before_the_last} {last}" if first else last


def listed_or(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return listed(names, "or")


def load(
    public_url: str = "http://127.0.0.1:8000",
    overlay: str | None = None,
    site_valuesets: str | None = None,
    protocols: Sequence[str] = (),
    texts_on_demand: bool = False,
) -> Knowledge:
    """Load and check it all, with a site's overlay file, its directory of value sets and its own `protocols`.

    `texts_on_demand`: for one answer, which shows few of the shipped texts; each is checked when it is shown.
    Raises DrugError, ProtocolError, ValueSetError or TextError.
    """
    folders = [Path(folder) for folder in protocols]
    valuesets = terminology.load(Path(site_valuesets) if site_valuesets else None, (KETAMINE, *folders))
    loaded = load_protocols(overlay, valuesets, folders)
    for protocol in loaded:
        judge.check(protocol)
    parts = tuple(_part(protocol) for protocol in loaded)
    queries = query_list.load(valuesets, measured_in(*loaded))
    readers.check(readers.of(loaded, valuesets, queries), valuesets)
    reasons = valuesets[valuesets.roles.override_reasons]
    return Knowledge(
        parts=parts,
        valuesets=valuesets,
        texts=loading.load_all(loaded, texts_beside(overlay), texts_on_demand),
        queries=queries,
        override_reasons=_override_reasons(reasons),
        reasons_taken=frozenset((system, m.code) for system, m in reasons.members),
        public_url=public_url.rstrip("/"),
    )


def _part(protocol: Protocol) -> Part:
    share(protocol)
    limits = Limits(protocol)
    return Part(protocol, limits, _terms(protocol, limits))


def _override_reasons(known: ValueSet) -> tuple[Coding, ...]:
    """Those that a card offers, each beside its standard code, which is another member of the set."""
    standard = {member.code: Coding(system=system, code=member.code) for system, member in known.members}
    beside = [(system, member, standard.get(member.group or "")) for system, member in known.members]
    offered = [
        Coding(system=system, code=m.code, display=m.display, extension={EXTENSION: {"standard": code}})
        for system, m, code in beside
        if code is not None
    ]
    return tuple(offered or (Coding(system=s, code=m.code, display=m.display) for s, m in known.members))


def _terms(protocol: Protocol, limits: Limits) -> Terms:
    uses = {name: Use(name, use.alone, use.session, use.volume_is_dose) for name, use in protocol.uses.items()}
    default = next(iter(uses.values()))
    kinds = {
        name: Kinds(known.sets, known.order_sets, uses[known.use] if known.use else default, known.usual_rate)
        for name, known in protocol.indications.items()
    }
    labelled = protocol.nasal
    nasal = None
    if labelled is not None:
        book = limits.book(labelled.drug, protocol.date)
        mg_in = {unit: book.number(name) for unit, name in labelled.counted.items()}
        nasal = Nasal(labelled.drug, labelled.products, book.number(labelled.strength), mg_in)
    words = Vocabulary({name: known.words for name, known in protocol.indications.items() if known.words})
    return Terms(kinds, words, default, nasal, _site_products(protocol, limits))


def _site_products(protocol: Protocol, limits: Limits) -> dict[tuple[str, str], Fraction]:
    """mg of base per mL: a strength that is stated as salt is divided by the salt factor, and only that."""
    named = protocol.conventions.salt_factor
    factor = limits.book(protocol.drugs[0], protocol.date).number(named) if named else Fraction(0)
    if not factor and (named or any(product.basis == "salt" for product in protocol.products)):
        raise ProtocolError("salt-factor: strengths are divided by it, so it cannot be 0")
    return {
        (product.system, product.code): Fraction(product.mg_per_ml) / (factor if product.basis == "salt" else 1)
        for product in protocol.products
    }

"""What is loaded once and shared by all requests: protocol, codes, words, queries."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cds_service.cards import loading, texts
from cds_service.cards.model import EXTENSION, Coding
from cds_service.fhir import queries as query_list
from cds_service.fhir.queries import Query
from cds_service.orders.indication import Kinds, Use
from cds_service.orders.terms import Terms
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.limits import Limits
from cds_service.protocol.model import Protocol
from cds_service.protocol.overlay import load_with_overlay, texts_beside
from cds_service.rules import judge
from cds_service.terminology import valuesets as terminology
from cds_service.terminology.valuesets import ValueSet, ValueSets

TOPIC_SYSTEM = "https://ketamine-cds.github.io/fhir/CodeSystem/rules"


@dataclass(frozen=True)
class Knowledge:
    """Everything that is loaded once: the protocol, the codes, the words, the queries."""

    protocol: Protocol
    valuesets: ValueSets
    limits: Limits
    texts: texts.Texts
    queries: tuple[Query, ...]
    terms: Terms
    override_reasons: tuple[Coding, ...]
    """Those that a card offers."""
    reasons_taken: frozenset[tuple[str, str]]
    """(system, code) of all that feedback may give: also the standard ones, which no card offers itself."""
    public_url: str


def load(
    public_url: str = "http://127.0.0.1:8000", overlay: str | None = None, site_valuesets: str | None = None
) -> Knowledge:
    """Load and check it all, with a site's overlay file and its directory of value sets.

    Raises ProtocolError, ValueSetError or TextError.
    """
    valuesets = terminology.load(Path(site_valuesets) if site_valuesets else None)
    protocol = load_with_overlay(overlay, valuesets)
    judge.check(protocol)
    limits, reasons = Limits(protocol), valuesets["override_reasons"]
    return Knowledge(
        protocol=protocol,
        valuesets=valuesets,
        limits=limits,
        texts=loading.load(protocol, texts_beside(overlay)),
        queries=query_list.load(valuesets),
        terms=_terms(protocol, limits),
        override_reasons=_override_reasons(reasons),
        reasons_taken=frozenset((system, member.code) for system, member in reasons.members),
        public_url=public_url.rstrip("/"),
    )


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
        name: Kinds(known.sets, known.order_sets, uses[known.use] if known.use else default)
        for name, known in protocol.indications.items()
    }
    nasal = protocol.nasal
    return Terms(kinds, default, nasal.drug, nasal.products, _site_products(protocol, limits))


def _site_products(protocol: Protocol, limits: Limits) -> dict[tuple[str, str], Fraction]:
    """mg of base per mL: a strength that is stated as salt is divided by the salt factor, and only that."""
    factor = limits.book(protocol.drugs[0], protocol.date).number(protocol.conventions.salt_factor)
    if not factor:
        raise ProtocolError("salt-factor: strengths are divided by it, so it cannot be 0")
    return {
        (product.system, product.code): Fraction(product.mg_per_ml) / (factor if product.basis == "salt" else 1)
        for product in protocol.products
    }

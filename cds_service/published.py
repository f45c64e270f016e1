"""What is published of a loaded protocol: as FHIR, and as CQL. The web application and the command line write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from cds_service.cards.wording import wording
from cds_service.chart import kinds
from cds_service.knowledge import TOPIC_SYSTEM, Knowledge
from cds_service.orders import dosage, often, route, unread
from cds_service.protocol import activities, publish
from cds_service.protocol.cql import Reading, Written, libraries, offers_library, translated, untold_library
from cds_service.protocol.model import Protocol
from cds_service.protocol.words import Words


def published(knowledge: Knowledge, protocol: Protocol, day: date) -> publish.Published:
    """The protocol with its sentences and the wording of its cards, as of a day."""
    texts = knowledge.texts.by_rule
    said = {
        (rule.id, tier.name): wording(rule, tier.name, texts[rule.id], protocol, day)
        for rule in protocol.rules.values()
        for tier in rule.tiers
    }
    return publish.Published(
        protocol=protocol,
        words=Words(protocol, knowledge.valuesets, day),
        cards={key: " ".join(filter(None, (f"{each.summary}.", each.detail))) for key, each in said.items()},
        topic_system=TOPIC_SYSTEM,
        day=day,
    )


def with_cql(knowledge: Knowledge, protocol: Protocol, day: date) -> tuple[publish.Published, Written]:
    """The protocol whose conditions name its CQL libraries, and these."""
    written = as_cql(knowledge, protocol, day)
    libraries = {each.rule: each.name for each in written.libraries if each.rule is not None}
    named = published(knowledge, protocol, day)
    offers, said = offers_library(protocol), activities.said(protocol)
    untold = untold_library(protocol) if libraries else ""
    return replace(named, libraries=libraries, offers=offers, untold=untold, activities=said), written


def folder_of(knowledge: Knowledge, protocol: Protocol, folder: Path) -> Path:
    """Where a protocol stands in a folder of CQL: the shipped one at its top, others in folders of their own."""
    return folder if protocol is knowledge.protocol else folder / protocol.id


def elm_of(knowledge: Knowledge, protocol: Protocol, written: Written, folder: str | None) -> Mapping[str, bytes]:
    """Library -> its ELM, of those that `folder`, written by `make elm`, has in the same text."""
    return translated(folder_of(knowledge, protocol, Path(folder)), written.libraries) if folder else {}


def as_cql(knowledge: Knowledge, protocol: Protocol, day: date) -> Written:
    """The protocol's CQL libraries, and what they do not say."""
    reading = Reading(
        kinds=route.KINDS,
        routes=route.SETS,
        types=dosage.TYPES,
        codes=often.CODES,
        shortest=often.SHORTEST,
        amounts=unread.MARKS,
    )
    return libraries(
        published(knowledge, protocol, day), knowledge.valuesets, knowledge.queries, reading, kinds.PANELS
    )

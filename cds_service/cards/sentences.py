"""Every key of the words that all cards share, with the values that the code gives for it.

The words of each stand in `cards/common/words.yaml`, and in other languages beside it. A key that stands here and
not there, or there and not here, stops the load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from cds_service.fhir.queries import Query, prefetch_keys
from cds_service.folders import COMMON
from cds_service.orders.route import KINDS
from cds_service.protocol.model import SEVERITIES, Protocol
from cds_service.says import Named, Said, Sentence, entries, findings, orders, records

_TABLES = (records, entries, orders, findings)


def _sentences() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for table in _TABLES:
        for each in vars(table).values():
            if isinstance(each, Said | Sentence):
                names = each.names if isinstance(each, Sentence) else ()
                if found.setdefault(each.key, names) is not names and names != found[each.key]:
                    raise ValueError(f"{table.__name__}: the key {each.key} stands for two sentences")
    return found


SENTENCES: Mapping[str, tuple[str, ...]] = _sentences()
"""What rules, charts and orders say: the key, and the names of its values in the order in which they are given."""

_OFFERED = ("to", "from", "equivalent")
_OFFERS = {
    **dict.fromkeys(("change", "ceiling", "usual", "unit"), _OFFERED),
    "stop": ("hours", *_OFFERED),
    "hold": ("order",),
    "taper": ("hours", "order"),
    "adjunct": ("order", "to"),
    "delete": ("order",),
    "service": ("label", "title"),
    "indication": ("label", *_OFFERED),
    "product": ("label", *_OFFERED),
}
_NOTES = ("by-name", "own-limits", "no-indication", "unmapped-indication", "route-unstated", "weight-basis")
_DOUBTS = (
    "disagreement", "which-drug", "veterinary", "newer-weight", "late", "running-unknown", "running-rate",
    "running-unjudged", "deceased", "changed-order", "not-judged", "draft",
)  # fmt: skip
_DATA = ("weight", "height", "dose", "concentration", "setting", "terminology", "time", "midazolam", "entry",
         "question")  # fmt: skip
"""What a rule may miss beside a list that is asked for."""

KEYS: Mapping[str, tuple[str, ...]] = {
    **SENTENCES,
    "limit-site": ("owner", "date", "limits"),
    "changed": ("because",),
    "condition-summary": ("title", "reason"),
    "condition-body": ("reason", "owner", "date"),
    "exception-unread": ("name", "why"),
    "missing-data": ("name", "why"),
    "not-sent": ("names",),
    "nothing-read": ("why",),
    "could-not-check": ("what", "more"),
    "also": ("names", "more"),
    "further": ("count", "what"),
    "range": ("low", "high"),
    "fraction-of": ("number",),
    "times": ("number",),
    "period": ("number",),
    **dict.fromkeys(chain.from_iterable((why, f"{why}-body") for why in ("failed", "late", "busy")), ()),
    **dict.fromkeys(("title-could-not-check", "title-further", "could-not-check-body"), ()),
    **dict.fromkeys(("link-page", "link-app", "counted"), ()),
    **{f"{part}-{kind}": values for kind, values in _OFFERS.items() for part in ("label", "description")},
    **{f"note-{key}": ("value",) for key in _NOTES},
    **{f"doubt-{key}": ("value",) for key in _DOUBTS},
    **{f"short-{key}": () for key in (*_DOUBTS, "note", "question", "entry", "not-sent", "nothing-read")},
}
"""All of them, with the values that may stand in their words."""

OPEN = re.compile(r"(?:number|fraction|fraction-of|times|period|a-period)-\d+(?:/\d+)?|override-[a-z-]+")
"""Words that filters look up, and other languages' words for reasons; a language has as many of them as it needs."""


def folder_of(protocol: Protocol) -> Path:
    """Where the files of a protocol stand."""
    return Path(protocol.folders[0]).parent


def names_of(protocols: Iterable[Protocol]) -> frozenset[str]:
    """The keys of what has an English name in the data, and may have another one in the words of a language."""
    folders = {COMMON, *map(folder_of, protocols)}
    found = [
        *(f"set-{path.stem}" for folder in folders for path in (folder / "valuesets").glob("*.json")),
        *(f"data-{key}" for key in (*prefetch_keys(), *_DATA)),
        *(f"route-{kind}" for kind in KINDS),
        *(f"severity-{severity}" for severity in SEVERITIES),
    ]
    for each in protocols:
        found += [f"drug-{name}" for name in (each.id, *each.drugs)]
        found += [f"use-{name}" for name in each.uses]
        found += [f"{part}-of-{name}" for name in each.orderables for part in ("label", "title")]
        found += [f"category-{rule.category}" for rule in each.rules.values()]
        found += [f"limit-{name}" for name in each.limits]
    return frozenset(found)


def data_named(fact: str, queries: Mapping[str, Query]) -> Named:
    """What a rule misses: a list by the name of its query, else what it is called in the rule."""
    query = queries.get(fact)
    return Named(f"data-{fact}", query.says if query is not None else fact)

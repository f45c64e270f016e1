"""The page that a pharmacist signs: every limit by hazard, with source and reason, and what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from cds_service.knowledge import Knowledge
from cds_service.protocol import model, parsing, references
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.model import OFFERS, SEVERITIES, TO_A_LIMIT, Clause, Limit, Protocol, Rule
from cds_service.protocol.references import named_in
from cds_service.protocol.words import limit as with_unit
from cds_service.signature import UNSIGNED, Signature, digest_of
from cds_service.site_file import read_text
from cds_service.terminology.valuesets import ValueSets

_OF_THE_RELEASE = """\
# The protocol as it was last released: the page for the signing pharmacist says what changed since then. Whoever
# releases writes it anew: python -m docs.released VERSION"""

GROUPS = (
    ("Critical", "They decide, or may silence, a finding that is critical."),
    ("Warning", "They decide, or may silence, a warning, and nothing that is critical."),
    ("Information", "They decide what informs and interrupts nobody."),
    ("Offers", "They decide only what a card offers."),
    ("Reading", "They decide how orders and charts are read, and how cards are shown."),
)
"""Title and meaning, the greatest hazard first; those of the severities stand in the order of `SEVERITIES`."""
SITE = "site"
"""In place of the status of a limit that an overlay changed: no source stands for the site's value."""
OFFERED, READ = len(SEVERITIES), len(SEVERITIES) + 1

INTRODUCTION = """\
# Sign-off: {title} {version}

{origin} For the pharmacist and the clinician who answer for the numbers. It holds every limit, the most hazardous
first: its value, where it comes from, how far that was verified, and why it is this value and not the next one.

- **verified**: read in the source itself, its abstract or label. **second-hand**: read in another's words.
  **unverified**: not read. **design**: no source makes this choice; the site owns it. **site**: changed by the site.
- {design} of the {limits} limits are design. Each says why; “a site's to own” is judgement alone.
- A limit with the name of a drug takes the place of the general one for that drug.
- The digest stands for the rules, limits, sources, codes and words that were loaded. After any change of them it is
  another, and this page is to be signed anew.

| | pharmacist | clinician |
|---|---|---|
| name | | |
| date | | |
| signature | | |
| protocol | {id} {version}{site} | |
| digest | `{digest}` | |
"""


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"why_not": "why not"}.get):
    """What labels, guidelines or literature ask beyond the two source documents, and what became of it."""

    asks: str
    rules: list[str] = []
    why_not: str | None = None


class Released(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protocol as it was last released: what changed is told against it."""

    version: str
    limits: dict[str, str]
    """As a line: the value with its unit, a comma, the status."""
    rules: dict[str, str]
    """Severities of its tiers, from worst to least."""


class _Use(NamedTuple):
    """What a limit is used for; the least sorts first."""

    group: int
    place: int
    by: str


def demands(protocol: Protocol) -> dict[str, Demand]:
    """By name, from the file of the protocol's folder; empty where it has none. Raises ProtocolError."""
    found = _beside(protocol, "demands.yaml")
    return parsing.convert(found, dict[str, Demand], "demands.yaml") if found else {}


def released(protocol: Protocol) -> Released | None:
    """From the file of the protocol's folder; None where it was never released. Raises ProtocolError."""
    found = _beside(protocol, "released.yaml")
    return parsing.convert(found, Released, "released.yaml") if found else None


def _beside(protocol: Protocol, name: str) -> Any:
    path = Path(protocol.folders[0]).parent / name
    return parsing.parse_yaml(read_text(path, ProtocolError), name) if path.is_file() else None


def release(protocol: Protocol, version: str, day: date) -> str:
    """What `released.yaml` holds once this protocol is released as `version`."""
    lines = [_OF_THE_RELEASE, f"version: {version}", "limits:"]
    lines += [f'  {limit.id}: "{_line(limit, day)}"' for limit in protocol.limits.values()]
    lines += ["rules:", *(f"  {rule.id}: {_severities(rule)}" for rule in protocol.rules.values())]
    return "\n".join(lines) + "\n"


def page(
    knowledge: Knowledge,
    protocol: Protocol,
    day: date,
    by_the_site: Sequence[str] = (),
    origin: str = "",
    signature: Signature = UNSIGNED,
) -> str:
    """The page as of `day`, in Markdown. `by_the_site` are the lines of what an overlay changes."""
    return "\n".join(_Page(knowledge, protocol, day).lines(by_the_site, origin, signature)) + "\n"


class _Page:
    def __init__(self, knowledge: Knowledge, protocol: Protocol, day: date) -> None:
        self.knowledge, self.protocol, self.day = knowledge, protocol, day
        self.uses = _uses(protocol)
        self.before = released(protocol)

    def lines(self, by_the_site: Sequence[str], origin: str, signature: Signature) -> Iterator[str]:
        protocol = self.protocol
        introduction = INTRODUCTION.format(
            id=protocol.id,
            title=protocol.title,
            version=protocol.version,
            origin=origin or f"As of {self.day}.",
            site=f" with the overlay of {protocol.site}" if protocol.site else "",
            digest=digest_of(protocol, self.knowledge),
            design=sum(_status(limit) == "design" for limit in protocol.limits.values()),
            limits=len(protocol.limits),
        )
        yield introduction + "".join(f"| {name} | `{_flat(said)}` | |\n" for name, said in signature.rows.items())
        yield from self._counts()
        yield from self._changes(by_the_site)
        for group, (title, meaning) in enumerate(GROUPS):
            yield from self._group(group, title, meaning)
        yield from self._to_fill_in()
        yield from self._demands()
        yield from self._sources()

    def _counts(self) -> Iterator[str]:
        statuses = (*get_args(model.EvidenceStatus), SITE)
        yield f"| group | limits | {' | '.join(statuses)} |\n|---|---:|{'---:|' * len(statuses)}"
        for group, (title, _) in enumerate(GROUPS):
            limits = self._of_group(group)
            count = Counter(map(_status, limits))
            yield f"| {title} | {len(limits)} | {' | '.join(str(count[status]) for status in statuses)} |"
        yield ""

    # What changed ---------------------------------------------------------------------------------------------

    def _changes(self, by_the_site: Sequence[str]) -> Iterator[str]:
        yield "## What changed\n"
        if by_the_site:
            yield "By the site, each change with its owner, date and reason:\n"
            yield "```\n" + "\n".join(by_the_site) + "\n```\n"
        if self.before is None:
            yield "This protocol was not released before: everything is new.\n"
            return
        yield f"Since the release {self.before.version}; what an overlay changed is among it.\n"
        limits, rules = self.protocol.limits, self.protocol.rules
        told = {limit.id: self._was(limit) for limit in limits.values()}
        yield "| limit | was | is | why |\n|---|---|---|---|"
        for limit in (limit for limit in limits.values() if told[limit.id] not in ("", "new")):
            why = _why(limit) or f"read in {', '.join(map(self._source, limit.sources))}"
            yield f"| {_link(limit.id)} | {told[limit.id]} | {_line(limit, self.day)} | {why} |"
        severities = {name: _severities(rule) for name, rule in rules.items()}
        known = {name: was for name, was in self.before.rules.items() if name in rules}
        for title, names in (
            ("New limits", [_link(name) for name, was in told.items() if was == "new"]),
            ("Limits that are gone", [f"`{name}`" for name in self.before.limits if name not in limits]),
            ("New rules", [f"{_rule(name)} ({severities[name]})" for name in rules if name not in self.before.rules]),
            ("Rules that are gone", [f"`{name}`" for name in self.before.rules if name not in rules]),
            (
                "Rules of other severities",
                [f"{_rule(n)} ({was} → {severities[n]})" for n, was in known.items() if was != severities[n]],
            ),
        ):
            yield f"\n**{title}** ({len(names)}): {', '.join(names) or 'none'}."
        yield ""

    def _was(self, limit: Limit) -> str:
        """The value before the one in force; else that of the last release, where value or status was another."""
        past = sorted(start for start in limit.values if start <= self.day)
        if len(past) > 1:
            return f"{with_unit(limit, past[-2])} until {past[-1]}"
        if self.before is None:
            return ""
        was = self.before.limits.get(limit.id, "new")
        return "" if was == _line(limit, self.day) else was

    # Limits ---------------------------------------------------------------------------------------------------

    def _of_group(self, group: int) -> list[Limit]:
        """The limits of a group: the greatest hazard first, a drug's own after the one whose place it takes."""
        order = {name: place for place, name in enumerate(self.protocol.limits)}

        def key(limit: Limit) -> tuple[int, int, int]:
            return self.uses[limit.id][0].place, order[limit.stands_for or limit.id], order[limit.id]

        limits = self.protocol.limits.values()
        return sorted((each for each in limits if self.uses[each.id][0].group == group), key=key)

    def _group(self, group: int, title: str, meaning: str) -> Iterator[str]:
        limits = self._of_group(group)
        design = sum(_status(limit) == "design" for limit in limits)
        yield f"## {title}\n\n{meaning} {len(limits)} limits, {design} of them design. Read and agreed: ☐\n"
        yield "| limit | value | was | sources | status | why this value | used by |\n|---|---|---|---|---|---|---|"
        for limit in limits:
            status = f"**{_status(limit)}**" if _status(limit) in ("design", SITE) else limit.status
            sources = ", ".join(map(self._source, limit.sources)) or "–"
            used = ", ".join(dict.fromkeys(use.by for use in self.uses[limit.id]))
            name = f'<a id="{limit.id}"></a>`{limit.id}` {limit.title}'
            yield (
                f"| {name} | {self._value(limit)} | {self._was(limit) or '–'} | {sources} | {status} | "
                f"{_why(limit) or '–'} | {used} |"
            )
        yield ""

    def _value(self, limit: Limit) -> str:
        later = "".join(f"; from {start}: {with_unit(limit, start)}" for start in limit.values if start > self.day)
        return with_unit(limit, self.day) + later

    def _source(self, name: str) -> str:
        entry = self.protocol.evidence.get(name)
        return f"[{name}]({entry.url})" if entry is not None and entry.url else _link(name, name)

    # The rest -------------------------------------------------------------------------------------------------

    def _to_fill_in(self) -> Iterator[str]:
        valuesets = self.knowledge.valuesets
        yield "## What a site must fill in\n"
        yield "These value sets have no codes yet: what rests on them is not judged until a site adds its own.\n"
        yield "| value set | read by |\n|---|---|"
        for name, rules in references.not_judged([self.protocol], valuesets).items():
            yield f"| `{name}` {valuesets[name].title} | {', '.join(map(_rule, rules))} |"
        never = [rule.id for rule in self.protocol.rules.values() if not rule.off and never_clear(rule, valuesets)]
        yield f"\nRules that can never be clear before that: {', '.join(map(_rule, never)) or 'none'}.\n"

    def _demands(self) -> Iterator[str]:
        found = demands(self.protocol)
        if found:
            yield "## What else the sources ask\n"
            yield "Beyond the two source documents; what is not taken has its reason.\n"
            yield "| asked is | carried by | not taken, because |\n|---|---|---|"
        for each in found.values():
            yield f"| {each.asks} | {', '.join(map(_rule, each.rules)) or '–'} | {each.why_not or '–'} |"
        yield ""

    def _sources(self) -> Iterator[str]:
        protocol = self.protocol
        named = {source for limit in protocol.limits.values() for source in limit.sources}
        yield "## Sources of the limits\n\n| source | status | what it is, and what was read of it |\n|---|---|---|"
        for name, entry in protocol.evidence.items():
            if name in named:
                cited = f"[{_flat(entry.citation)}]({entry.url})" if entry.url else _flat(entry.citation)
                yield f'| <a id="{name}"></a>{name} | {entry.status} | {cited} *Read:* {_flat(entry.read)} |'
        for name, statement in protocol.statements.items():
            if name in named:
                yield f'| <a id="{name}"></a>{name} | source {statement.source} | {_flat(statement.says)} |'
        for name, conflict in protocol.conflicts.items():
            if name in named:
                says = f"{_flat(conflict.between)} *Resolved:* {_flat(conflict.resolution)}"
                yield f'| <a id="{name}"></a>{name} | conflict | {says} |'


def _uses(protocol: Protocol) -> Mapping[str, list[_Use]]:
    """Every limit with what it is used for, the most hazardous first."""
    found: dict[str, list[_Use]] = {name: [] for name in protocol.limits}
    for rule in protocol.rules.values():
        for name, group in _of_rule(rule) if not rule.off else ():
            found[name].append(_Use(group, _hazard(rule, protocol), _rule(rule.id)))
    last = len(protocol.hazards) + 1
    for by, names, group in _of_protocol(protocol):
        for name in names:
            found[name].append(_Use(group, last, by))
    unread = [_Use(READ, last, "words of cards")]
    general = {name: sorted(uses) or unread for name, uses in found.items()}
    return {
        name: general[limit.stands_for] if limit.stands_for and not found[name] else general[name]
        for name, limit in protocol.limits.items()
    }


def _of_rule(rule: Rule) -> Iterator[tuple[str, int]]:
    """The limits that a rule names, each with the group of the worst that it decides there."""
    severity = {tier.name: SEVERITIES.index(tier.severity) for tier in rule.tiers}
    for tier in rule.tiers:
        yield from ((name, severity[tier.name]) for name in tier.shown)
    yield from ((name, min(severity.values())) for name in rule.limits.values())
    for change in rule.changes:
        worst = min(severity[name] for name in change.tiers or severity)
        yield from ((name, worst) for name in named_in(change.when).limits)
    for offer in {*rule.suggests, *(offer for tier in rule.tiers for offer in tier.suggests)} - {*OFFERS}:
        yield from ((offer.removeprefix(kind), OFFERED) for kind in TO_A_LIMIT if offer.startswith(kind))


def _of_protocol(protocol: Protocol) -> Iterator[tuple[str, list[str], int]]:
    """What names limits beside the rules: (what it is, limits, group)."""
    for key, value in msgspec.to_builtins(protocol.conventions).items():
        yield f"convention {key.replace('_', ' ')}", list(_strings(value)), READ
    for use in protocol.uses.values():
        yield f"use {use.title}", [use.session] if use.session else [], READ
        yield f"usual start in {use.title}", list(_strings(msgspec.to_builtins(use.usual))), OFFERED
    for indication in protocol.indications.values():
        usual = [indication.usual_rate] if indication.usual_rate else []
        yield f"usual rate in {indication.title}", usual, READ
    if protocol.nasal is not None:
        yield "labelled nasal product", [protocol.nasal.strength, *protocol.nasal.counted.values()], READ


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif value is not None:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _hazard(rule: Rule, protocol: Protocol) -> int:
    """Its place among the hazards, as cards of one severity are ordered."""
    hazards = protocol.hazards
    return next((hazards.index(name) for name in (rule.id, rule.category) if name in hazards), len(hazards))


def never_clear(rule: Rule, valuesets: ValueSets) -> bool:
    """Whether a tier of it cannot be denied, because it asks for a value set without codes."""
    return any(tier.when is not None and False not in _answers(tier.when, valuesets) for tier in rule.tiers)


def _answers(clause: Clause, valuesets: ValueSets) -> frozenset[bool | None]:
    """What a clause can come to over all charts; None: it cannot be told."""
    match clause:
        case model.Any() | model.All():
            worst = isinstance(clause, model.Any)
            return reduce(
                lambda one, other: frozenset(_joined(a, b, worst) for a, b in product(one, other)),
                (_answers(each, valuesets) for each in clause.of),
            )
        case model.Not():
            return frozenset(None if each is None else not each for each in _answers(clause.of[0], valuesets))
        case model.Unless():  # what cannot be told takes nothing away
            return frozenset(each is not True for part in clause.of for each in _answers(part, valuesets))
    empty = [name in valuesets and valuesets[name].no_codes for name in named_in(clause).valuesets]
    if not any(empty):
        return frozenset({True, False, None})
    return frozenset({None}) if all(empty) else frozenset({True, None})


def _joined(one: bool | None, other: bool | None, decides: bool) -> bool | None:
    """`or` where True decides, `and` where False does."""
    if decides in (one, other):
        return decides
    return None if None in (one, other) else not decides


def _line(limit: Limit, day: date) -> str:
    return f"{with_unit(limit, day)}, {limit.status}"


def _status(limit: Limit) -> str:
    return SITE if limit.site is not None else limit.status


def _severities(rule: Rule) -> str:
    return " ".join(each for each in SEVERITIES if any(tier.severity == each for tier in rule.tiers))


def _why(limit: Limit) -> str:
    said = [_flat(limit.note)] if limit.note else []
    if limit.site is not None:
        said.append(f"**Changed by {limit.site.owner} on {limit.site.date}:** {_flat(limit.site.reason)}")
    if not said and limit.status == "design":
        said.append("**no reason given**")
    return " ".join(said)


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _link(name: str, says: str | None = None) -> str:
    return f"[{says or f'`{name}`'}](#{name})"


def _rule(name: str) -> str:
    return f"`{name}`"

"""docs/protocol.md: every rule, limit, conflict, statement and citation, for the pharmacist who owns them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from cds_service.cards.wording import wording
from cds_service.knowledge import Knowledge
from cds_service.protocol import evidence
from cds_service.protocol.model import Limit, Protocol, Rule
from cds_service.protocol.references import not_judged
from cds_service.protocol.words import Words
from cds_service.rules import judge

INTRODUCTION = """\
# The protocol

Written by `make docs` from the data of the service (`cards/ketamine/` and `cards/common/`): what
stands here is what is judged. `ketamine-cds protocol show ID` prints one entry, `ketamine-cds protocol evidence` the
sources with what rests on each.

{notes}

**How to read it.** A rule ends as *fired*, *clear* or *could not tell*. Why it could not is one of three things.
*Not placed or not delivered*: an entry that was not understood, a list that failed or was not sent; the card “could
not check” says so. *Never measured*: what that means is part of the rule, which fires, asks, or needs nothing. *Not
judged by this software*: {not_judged}; it is said here and when the service starts, not with every order. An
exception (“unless”) that cannot be read silences nothing: the finding stands, one severity milder where the list was
not sent, and its card names the list. What would make a finding worse and cannot be read is not ruled out: the worse
severity counts, one milder where the list was not sent. Its ways to fire stand from the worst to the least, and the
first that holds counts. *Critical* and *warning* interrupt and ask for a reason, *info* never interrupts. “Above” is
strict: a dose that equals its limit passes. Words in “quotes” are value sets
(`cards/common/valuesets/`); words in ‹…› are filled in from the order and the chart.

**Words without a code.** A problem, an allergy or a procedure that has no known code is read by its words, in
English, German, French and Spanish (`cards/common/vocabularies/`). A match asks, by name, on the card “could not
check”, with a warning where the rule has a critical tier; it never fires a rule. Suspicion and history ask too; what
the words deny, or say of the family, does not. Only the drug itself is recognised by its name: an allergy whose
code, product or words name ketamine or esketamine fires [`allergy-ketamine`](#allergy-ketamine). An entry that says
that nothing is known (“not asked”) is no knowledge, and one with neither a known code nor words may be anything.

**Every entry of the chart** is placed, certainly irrelevant, or left open. What is left open, and a rule could have
been decided by, stands on the card “could not check” in its own words: a reading without a date, a status nobody
knows, a value in words that are no known answer. A newer weight or pressure that is not understood never gives way
in silence to an older one, nor does the newer of two rates of an infusion that runs. How this is tested, and how
often clinicians are told of it: [promise.md](promise.md).

**What changed on 2026-11-28.** [`raised-icp`](#raised-icp), [`hyperthyroid-untreated`](#hyperthyroid-untreated), the
sedation tier of [`monotherapy-no-multimodal`](#monotherapy-no-multimodal), and
[`pregnancy-status-unknown`](#pregnancy-status-unknown): an exception whose list cannot be read no longer quiets the
finding. [`allergy-ketamine`](#allergy-ketamine): a name, a brand or a product fires as it does on an order.
[`free-text-or-unparseable-dose`](#free-text-or-unparseable-dose): what an order says against itself is said, the
worse reading is judged, and timing or words that cannot be compared warn.
[`allergy-list-missing`](#allergy-list-missing): “not asked” is no knowledge. Words in a problem list warn where they
may mean a critical tier; a milder tier that fires no longer hides that a worse one could not be told.

**How far to trust it.** *verified*: read in the source itself, its abstract or label; *second-hand*: read in
another's words; *unverified*: not read; *design*: a choice of this protocol that no source makes. The kind of each
source is given; nobody graded the evidence formally. Every value needs an owner before clinical use.

**How to change it.** A site changes a limit, a severity or a rule in an overlay file, with an owner, a date and a
reason (`ketamine-cds protocol validate FILE`); the card then says that a site limit applied. Filters make a finding
milder or silent where a fact holds, conditions make a rule fire. The words of a card are the file
`cards/ketamine/rules/RULE/card.md`; a site and another language have files of their own. [site.md](site.md) says how.
"""


def protocol(knowledge: Knowledge, day: date) -> str:
    """The page as of `day`, which decides on limits that take effect later."""
    page = _Page(knowledge, knowledge.protocol, day)
    return "\n".join([page.introduction(), *page.lines()]) + "\n"


def second(knowledge: Knowledge, protocol: Protocol, day: date) -> str:
    """The page of another protocol: its notes, and then the same as for the shipped one."""
    head = f"# {protocol.title}\n\nWritten from this folder by `make docs`. {protocol.notes.strip()}\n"
    return "\n".join([head, *_Page(knowledge, protocol, day).lines()]) + "\n"


class _Page:
    def __init__(self, knowledge: Knowledge, protocol: Protocol, day: date) -> None:
        self.knowledge = knowledge
        self.protocol = protocol
        self.day = day
        self.words = Words(protocol, knowledge.valuesets, day)

    def introduction(self) -> str:
        return INTRODUCTION.format(notes=self.protocol.notes.strip(), not_judged=self._not_judged())

    def lines(self) -> Iterator[str]:
        yield from self._contents()
        yield "## Rules\n"
        for rule in self.protocol.rules.values():
            yield from self._rule(rule)
        yield from self._limits()
        if self.protocol.statements:
            yield from self._conflicts()
            yield from self._statements()
        yield from self._evidence()

    def _contents(self) -> Iterator[str]:
        yield "| row | rule | category | severity | says |\n|---:|---|---|---|---|"
        for rule in self.protocol.rules.values():
            severities = ", ".join(dict.fromkeys(tier.severity for tier in rule.tiers))
            yield f"| {rule.row} | {_link(rule.id)} | {rule.category} | {severities} | {rule.title} |"
        parts = ("limits", *(("conflicts", "statements") if self.protocol.statements else ()), "evidence")
        yield f"\nThen {', '.join(_link(part, part) for part in parts)}.\n"

    # Rules ----------------------------------------------------------------------------------------------------

    def _rule(self, rule: Rule) -> Iterator[str]:
        yield f'### <a id="{rule.id}"></a>{rule.row}. {rule.title}\n'
        yield f"`{rule.id}` · {rule.category} · evidence: {rule.status} · judged at {', '.join(rule.hooks)}\n"
        if rule.trigger is not None:
            yield f"**Fires when** {_lower(self.words.trigger(rule))}\n"
        told = ""
        for tier in rule.tiers:
            yield from self._when(rule, tier.name)
            said = wording(rule, tier.name, self.knowledge.texts.by_rule[rule.id], self.protocol, self.day)
            yield (
                f"  > **{said.summary}**" + (f"  \n  > {said.detail}" if said.detail not in ("", told) else "") + "\n"
            )
            told = said.detail
        yield from self._of_rule(rule)

    def _when(self, rule: Rule, name: str) -> Iterator[str]:
        tier = rule.tier(name)
        outline = list(self.words.outline(tier.when)) if tier.when is not None else []
        head = f"- **{tier.severity}** ({name.replace('-', ' ')})"
        if len(outline) == 1:
            yield f"{head}: {outline[0][1]}"
        else:
            yield head + (f": {outline[0][1]}" if outline else "")
            for depth, line in outline[1:]:
                yield f"{'  ' * depth}- {line}"

    def _of_rule(self, rule: Rule) -> Iterator[str]:
        limits = dict.fromkeys(name for tier in rule.tiers for name in tier.shown)
        if limits:
            yield from self._table_of_limits([self.protocol.limits[name] for name in limits], anchors=False)
        silenced = [*self._changes(rule), *self._yields(rule)]
        yield f"**What changes or silences it:**{'' if silenced else ' nothing.'}\n"
        if silenced:
            yield "\n".join(f"- {each}" for each in silenced) + "\n"
        if rule.cannot_see:
            yield f"**What it cannot see:** {' '.join(rule.cannot_see)}\n"
        if rule.suggests:
            yield f"**Offers:** {'; '.join(_lower(self.words.offer(name)) for name in rule.suggests)}.\n"
        reads = judge.read_by(rule, self._query_of)
        names = [query.says for query in self.knowledge.queries if query.key in reads]
        yield f"**Reads:** the order{'; ' if names else ''}{', '.join(names)}.\n"
        if rule.needs:
            yield f"**Must be on record:** {', '.join(self._data_name(name) for name in rule.needs)}.\n"
        named = [*rule.statements, *rule.conflicts, *rule.citations]
        yield f"**Sources:** {', '.join(_link(name, name) for name in named) or 'none'}.\n"

    def _changes(self, rule: Rule) -> Iterator[str]:
        for change in rule.changes:
            becomes = "silent" if change.to == "none" else f"becomes {change.to}"
            of = f" ({', '.join(change.tiers)})" if change.tiers else ""
            yield f"{becomes}{of}: {change.because}. That is: {self.words.clause(change.when)}."

    def _yields(self, rule: Rule) -> Iterator[str]:
        for name in rule.yields_to:
            yield f"silent where {_link(name)} fired"

    def _query_of(self, observation_set: str) -> str:
        keys = {name: query.key for query in self.knowledge.queries for name in query.sets}
        return keys.get(observation_set.partition("/")[0], "results")

    def _not_judged(self) -> str:
        sets = not_judged([self.protocol], self.knowledge.valuesets)
        asked = (f"{self.knowledge.valuesets[n].title} ({', '.join(map(_link, rules))})" for n, rules in sets.items())
        return f"what rests on a value set without codes, to which a site may add its own: {', '.join(asked)}"

    def _data_name(self, key: str) -> str:
        return {query.key: query.says for query in self.knowledge.queries}.get(key, key)

    # The rest -------------------------------------------------------------------------------------------------

    def _limits(self) -> Iterator[str]:
        yield "## Limits\n"
        yield from self._table_of_limits(self.protocol.limits.values(), anchors=True)

    def _table_of_limits(self, limits: Iterable[Limit], anchors: bool) -> Iterator[str]:
        yield "| limit | value | since | status | sources | meaning |\n|---|---|---|---|---|---|"
        for limit in limits:
            since = max((day for day in limit.values if day <= self.day), default=min(limit.values))
            name = f'<a id="{limit.id}"></a>`{limit.id}`' if anchors else _link(limit.id)
            sources = ", ".join(_link(source, source) for source in limit.sources) or "–"
            meaning = f"{limit.title}. {limit.note}" if limit.note and anchors else limit.title
            yield f"| {name} | {self.words.limit(limit.id)} | {since} | {limit.status} | {sources} | {meaning} |"
        yield ""

    def _conflicts(self) -> Iterator[str]:
        yield "## Conflicts\n"
        yield "Where the two source documents disagree with each other, with themselves or with better evidence.\n"
        for name, conflict in self.protocol.conflicts.items():
            rules = ", ".join(_link(rule) for rule in conflict.rules)
            yield f'- <a id="{name}"></a>**{name}** {conflict.between.strip()}  '
            yield f"  *Resolved:* {conflict.resolution.strip()}" + (f" Rules: {rules}." if rules else "")
        yield ""

    def _statements(self) -> Iterator[str]:
        yield "## Statements\n"
        yield "What the two source documents claim, in our words and without judgement, and what carries it.\n"
        yield "| statement | source | claim | carried by |\n|---|---|---|---|"
        for name, statement in self.protocol.statements.items():
            carried = [_link(each) for each in (*statement.rules, *statement.limits)]
            carried += [f"card text of {_link(card)}" for card in statement.cards]
            carried += [statement.why_not.strip()] if statement.why_not else []
            says = statement.says.strip()
            yield f'| <a id="{name}"></a>{name} | {statement.source} | {says} | {", ".join(carried)} |'
        yield ""

    def _evidence(self) -> Iterator[str]:
        yield "## Evidence\n"
        yield "| source | kind | status | citation and what was read of it | rests on it |\n|---|---|---|---|---|"
        for row in evidence.table(self.protocol):
            citation = f"[{row.citation}]({row.url})" if row.url else row.citation
            rests = ", ".join(_link(name) for name in (*row.rules, *row.limits)) or "nothing"
            read = f"{citation} *Read:* {row.read.strip()}"
            yield f'| <a id="{row.id}"></a>{row.id} | {row.grade} | {row.status} | {read} | {rests} |'


def _link(name: str, says: str | None = None) -> str:
    return f"[{says or f'`{name}`'}](#{name})"


def _lower(text: str) -> str:
    """For the middle of a sentence; abbreviations stay."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]

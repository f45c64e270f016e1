"""The commands check and explain: a hook request from a file, its cards or its outcomes as text or JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from cds_service.advise import advice
from cds_service.advise import explain as explained
from cds_service.cards.acknowledged import NOTHING, Acknowledged
from cds_service.cards.model import Card, Response
from cds_service.cards.texts import Words, visible
from cds_service.commands import record
from cds_service.commands.given import contents
from cds_service.commands.given import moment as moment_of
from cds_service.commands.refused import Refused
from cds_service.deadline import NEVER
from cds_service.fhir import lenient
from cds_service.fhir.resources import MedicationRequest
from cds_service.fhir.source import NoSource, Source
from cds_service.gather import read_drafts
from cds_service.hooks import discovery
from cds_service.hooks.errors import HookError
from cds_service.hooks.request import HookRequest, parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge, listed_or, load
from cds_service.orders import dosage, words
from cds_service.rules.judged import Judged
from cds_service.rules.outcome import Outcome, gravest
from cds_service.settings import Settings
from cds_service.settings import load as load_settings
from cds_service.terminology.valuesets import ValueSets

_MARKS = {"critical": "CRITICAL", "warning": "WARNING", "info": "info"}
_STATUS = {"fired": "FIRED", "clear": "clear", "could-not-tell": "could not tell", "suppressed": "suppressed"}
WIDTH = 100


def check(file: str, hook: str | None, now: str | None, as_json: bool, language: str | None = None) -> int:
    """Print the cards, or what was judged if there are none. Returns 0: no cards, 1: cards, 2: a critical one."""
    settings, knowledge, request, signing, moment = _prepare(file, hook, now)
    source = _source(settings, request)
    with _named(file):
        made = advice(request, signing, knowledge, source, moment, languages=[language] if language else [])
    answer = made.response
    print(encode(answer).decode() if as_json else table(answer, listed_or(knowledge.families)))
    if not answer.cards and not as_json:
        for line in _judged(made.judged, request, knowledge):
            print(line)
    if any(card.indicator == "critical" for card in answer.cards):
        return 2
    return 1 if answer.cards else 0


def _judged(judged: Sequence[Judged], request: HookRequest, knowledge: Knowledge) -> Iterator[str]:
    """Explain an answer without cards: the orders that were read, how their rules ended, and other drugs."""
    said = knowledge.texts.recorded
    for each in judged:
        yield f"order: {each.name} ({each.order}): {said(each.ordered)}"
        if each.weight is not None:
            yield f"  weight {said(each.weight.written)}, {each.weight.basis}"
        for status, word in (("clear", "clear"), ("suppressed", "suppressed"), ("fired", "fired, not shown")):
            if count := sum(outcome.status == status for outcome in each.outcomes):
                yield f"  {word}: {count} rule{'' if count == 1 else 's'}"
        for outcome in each.outcomes:
            if outcome.status == "could-not-tell":
                why = "; ".join(dict.fromkeys(said(reason.says) for reason in outcome.reasons))
                yield f"  could not tell: {outcome.rule.id} ({gravest(outcome.reasons)}: {why})"
    others = [
        draft.description.name
        for draft in read_drafts(request, knowledge, NoSource(), NEVER)[0]
        if not draft.identity
    ]
    if others:
        yield f"other drugs in the drafts: {', '.join(others)}"
    if not judged and not others:
        yield "no order was read from the drafts"


def explain(file: str, hook: str | None, now: str | None, as_json: bool, client: str | None = None) -> int:
    """Print how every rule ended, and why; with what the clinicians of `client` overrode, where one is named."""
    settings, knowledge, request, signing, moment = _prepare(file, hook, now)
    source = _source(settings, request)
    with _named(file), _overridden(settings, client) as acknowledged:
        judged, notes = explained(request, signing, knowledge, source, moment, acknowledged)
    if as_json:
        rows = [
            {"order": each.order, "rules": [_row(o, knowledge.texts.shipped) for o in each.outcomes]}
            for each in judged
        ]
        print(msgspec.json.encode({"orders": rows, "notes": list(notes)}).decode())
        return 0
    for each in judged:
        print(_explained(each, knowledge.texts.shipped))
    for note in notes:
        print(f"note: {visible(note)}")
    if not judged:
        print(f"no {listed_or(knowledge.drugs)} order is to be judged")
    return 0


@contextmanager
def _overridden(settings: Settings, client: str | None) -> Iterator[Acknowledged]:
    """What the service remembers for a client, from the store of the settings; nothing without a client."""
    if client is None:
        yield NOTHING
        return
    from cds_service.web.audit import open_audit

    audit = open_audit(settings)
    try:
        yield audit.acknowledged(client)
    finally:
        audit.close()


@contextmanager
def _named(file: str) -> Iterator[None]:
    """What is wrong with a request is said with the name of its file."""
    try:
        yield
    except (HookError, Refused) as error:
        raise Refused(f"{'standard input' if file == '-' else file}: {error}") from error


def _prepare(file: str, hook: str | None, now: str | None) -> tuple[Settings, Knowledge, HookRequest, bool, datetime]:
    text = contents(file)
    settings = load_settings()
    site = (settings.overlay, settings.valuesets, settings.protocols)
    knowledge = load(settings.base_url, *site, texts_on_demand=True)
    with _named(file):
        service = service_of(hook or parse(text, "").hook)
        request = parse(text, service.hook, told=hook is not None)
    return settings, knowledge, request, service.signing, moment_of(record.moment(text) if now is None else now)


def service_of(hook: object) -> discovery.Service:
    """The service of a hook. Raises Refused."""
    service = next((s for s in discovery.SERVICES if s.hook == hook), None)
    if service is None:
        raise Refused(f"the request's hook is {hook!r}; known are {', '.join(s.hook for s in discovery.SERVICES)}")
    return service


def _source(settings: Settings, request: HookRequest) -> Source:
    """The server that the request names. Its client is imported where there is one."""
    if not request.fhir_server:
        return NoSource()
    from cds_service.fhir.client import FhirServers
    from cds_service.fhir.source import Limits

    limits = Limits(settings.fhir_deadline_ms / 1000, settings.fhir_max_bytes)
    servers = FhirServers(settings.fhir_servers, limits, settings.fhir_threads, settings.fhir_ca_bundle)
    return servers.source(request.fhir_server, request.access_token)


def table_of(body: dict[str, Any]) -> str:
    """The cards of a response that came over HTTP."""
    return table(msgspec.convert(body, Response))


def orders_of(body: dict[str, Any]) -> list[str]:
    """The draft orders of a request in a line each, as they are written."""
    lines = []
    for item in parse(lenient.encode(body), "").drafts:
        order = item.read.resource
        if isinstance(order, MedicationRequest):
            concept = order.medication_codeable_concept
            name = (concept.name if concept else None) or "medication by reference"
            written = [dosage.read(d, i, ValueSets(()), UTC) for i, d in enumerate(order.dosage_instruction)]
            lines.append(f"{name}: {words.written_out(words.regimen(written))}")
    return lines


def table(answer: Response, families: str = "judged") -> str:
    """The cards as a person reads them at a terminal; `families` names what is judged."""
    if not answer.cards:
        return f"No cards: there is no {families} order, or nothing to say about it."
    return "\n\n".join(_card(card) for card in answer.cards)


def _card(card: Card) -> str:
    topic = card.source.topic.code if card.source.topic else ""
    lines = [f"{_MARKS[card.indicator]:9} {card.summary}", f"{'':9} [{topic}]"]
    for paragraph in _plain(card.detail or "").split("\n"):
        lines += textwrap.wrap(paragraph, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 12)
    lines += [f"{'':9} -> {suggestion.label}" for suggestion in card.suggestions or ()]
    return "\n".join(lines)


def _plain(markdown: str) -> str:
    """A detail without its Markdown and its escapes."""
    for mark, stands_for in (("**", ""), ("\\", ""), ("&amp;", "&")):
        markdown = markdown.replace(mark, stands_for)
    return markdown


def _explained(each: Judged, english: Words) -> str:
    lines = [f"{each.name} ({each.order}): {english.fill(each.ordered)}"]
    if each.weight is not None:
        lines.append(f"  weight {english.fill(each.weight.written)}, {each.weight.basis}, {each.weight.reference}")
    for outcome in each.outcomes:
        status = _STATUS[outcome.status]
        tier = f" {outcome.severity} ({outcome.tier})" if outcome.status == "fired" else ""
        lines.append(f"  {outcome.rule.row:3} {outcome.rule.id:40} {status}{tier}")
        lines += [f"      {line}" for line in _because(outcome, english)]
    return "\n".join(map(visible, lines))


def _because(outcome: Outcome, english: Words) -> list[str]:
    values = english.filled(outcome.values)
    lines = [f"{english.fill(fact.says)}{f' [{fact.reference}]' if fact.reference else ''}" for fact in outcome.facts]
    lines += [f"{name} = {values[name]}" for name in ("figure", "limit") if name in values]
    lines += [line for line in values.get("arithmetic", "").split("\n") if line]
    lines += [f"{reason.fact}: {english.fill(reason.says)}" for reason in outcome.reasons]
    if outcome.because:
        lines.append(english.fill(outcome.because))
    return lines


def _row(outcome: Outcome, english: Words) -> dict[str, object]:
    return {
        "rule": outcome.rule.id,
        "status": outcome.status,
        "tier": outcome.tier,
        "severity": outcome.severity,
        "facts": [{"says": english.fill(fact.says), "reference": fact.reference} for fact in outcome.facts],
        "values": english.filled(outcome.values),
        "reasons": [{"fact": reason.fact, "says": english.fill(reason.says)} for reason in outcome.reasons],
        "because": english.fill(outcome.because) if outcome.because else None,
    }

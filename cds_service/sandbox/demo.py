"""Made-up activity for the stewardship pages: the service's own answers, spread by lot over months."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from math import exp, sqrt
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from cds_service.advise import advice
from cds_service.audit import Call, invocation
from cds_service.cards.model import Card, Coding
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks import discovery
from cds_service.hooks.discovery import Service
from cds_service.hooks.errors import operation_outcome
from cds_service.hooks.request import VIEWING, parse
from cds_service.knowledge import Knowledge
from cds_service.protocol.parsing import convert, parse_yaml
from cds_service.sandbox import charts, orders
from cds_service.sandbox.caller import Web
from cds_service.sandbox.records import FhirServer
from cds_service.sandbox.server import NotServed, Server
from cds_service.sandbox.written import Written
from cds_service.store.records import Feedback, Invocation

T = TypeVar("T")
_BASE = "https://demo.example.org/fhir"
_SELECT, _SIGN, _VIEW = "order-select", "order-sign", VIEWING


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.replace("_", " ")):
    pass


class Trial(_Entry, frozen=True):
    client: str
    days: int


class ADay(_Entry, frozen=True):
    weekday: float
    weekend: float


class Milliseconds(_Entry, frozen=True):
    median: float
    spread: float
    slow: float
    slow_by: float


class Calls(_Entry, frozen=True):
    a_day: ADay
    hours: list[float]
    selected_first: float
    charts_opened: float
    milliseconds: Milliseconds


class Fault(_Entry, frozen=True):
    client: str
    days: int
    patient: str
    share: float


class Answers(_Entry, frozen=True):
    answered: float
    overridden: float


class Given(_Entry, frozen=True):
    given: float
    in_words: float


class Lots(_Entry, frozen=True):
    """demo.yaml: what is drawn by lot, and with which weights."""

    seed: int
    clients: dict[str, float]
    trial: Trial
    calls: Calls
    patients: dict[str, float]
    orders: dict[str, float]
    fault: Fault
    answers: dict[str, Answers]
    reasons: Given
    reason_weights: list[float]


def lots() -> Lots:
    """The shipped ones."""
    text = resources.files(__package__).joinpath("demo.yaml").read_text("utf-8")
    return convert(parse_yaml(text, "demo.yaml"), Lots, "demo.yaml")


@dataclass(frozen=True)
class _Answered:
    """The record of an answer, as a mould for many, and its cards."""

    record: Invocation
    cards: Sequence[Card]


class Ward:
    """Answers each call once, as of `now`, and repeats the answer under new identifiers."""

    def __init__(self, knowledge: Knowledge, now: datetime) -> None:
        self._knowledge, self._now = knowledge, now
        self._server = FhirServer(_BASE, _Inside(Server(_BASE, lambda: now, Written())))
        self._templates = {query.key: query.template for query in knowledge.queries}
        self._known: dict[tuple[str, str, str], _Answered] = {}
        self._charts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def answer(self, hook: str, patient: str, order: str) -> _Answered:
        """The answer to one call; without an order that is judged, its record has no finding."""
        key = hook, patient, order
        if key not in self._known:
            self._known[key] = self._answered(*key)
        return self._known[key]

    def _answered(self, hook: str, patient: str, order: str) -> _Answered:
        context, prefetch = self._chart(patient)
        request: dict[str, Any] = {"hook": hook, "hookInstance": str(UUID(int=0)), "prefetch": prefetch}
        if hook != _VIEW:
            draft = orders.read(order, patient, "demo-1")
            context = {**context, "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": draft}]}}
        if hook == _SELECT:
            context["selections"] = ["MedicationRequest/demo-1"]
        request["context"] = context
        service = _service(hook)
        parsed = parse(lenient.encode(request), hook)
        made = advice(parsed, service.signing, self._knowledge, NoSource(), self._now)
        call = Call(service.id, "", None, self._now, 0, self._knowledge.protocol)
        return _Answered(invocation(call, made, None), made.response.cards)

    def _chart(self, patient: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """(context, prefetch)."""
        if patient not in self._charts:
            context: dict[str, Any] = {"userId": "Practitioner/demo", "patientId": patient}
            if encounter := self._server.encounter(patient):
                context["encounterId"] = encounter
            self._charts[patient] = context, self._server.prefetch(self._templates, context)[0]
        return self._charts[patient]


class _Inside(Web):
    """The sandbox's FHIR server without HTTP in between."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, Any]:
        path, _, query = url.removeprefix(f"{self._server.base}/").partition("?")
        kind, _, name = path.partition("/")
        try:
            found = self._server.read(kind, name) if name else self._server.search(kind, parse_qsl(query))
        except NotServed as refused:
            return refused.status, operation_outcome(refused.code, str(refused))
        return 200, lenient.untyped(lenient.encode(found))


def activity(
    knowledge: Knowledge, days: int, now: datetime, drawn: Lots | None = None
) -> Iterator[tuple[list[Invocation], list[Feedback]]]:
    """For each of the last days before `now`, the oldest first: its calls, and what was done with their cards."""
    drawn = drawn or lots()
    lot, ward = random.Random(drawn.seed), Ward(knowledge, now)
    days_of = _Days(drawn, lot, ward, knowledge.override_reasons, days)
    for ago in range(days, 0, -1):
        yield days_of.day(now - timedelta(days=ago), ago)


class _Days:
    """One day after the other; all chance comes from one lot, so that the same seed gives the same months."""

    def __init__(self, drawn: Lots, lot: random.Random, ward: Ward, reasons: Sequence[Coding], days: int) -> None:
        self._drawn, self._lot, self._ward, self._reasons, self._all = drawn, lot, ward, reasons, days
        self._viewed = [patient for patient in drawn.patients if ward.answer(_VIEW, patient, "").record.findings]
        """Whose chart has something to look at when it is opened."""

    def day(self, start: datetime, ago: int) -> tuple[list[Invocation], list[Feedback]]:
        drawn, lot = self._drawn, self._lot
        often = drawn.calls.a_day.weekday if start.weekday() < 5 else drawn.calls.a_day.weekend
        invocations: list[Invocation] = []
        said: list[Feedback] = []
        for _ in range(max(0, round(lot.gauss(often, sqrt(often))))):
            at, client = self._moment(start), _one(lot, drawn.clients)
            shadow = client == drawn.trial.client and self._all - ago < drawn.trial.days
            patient, order = self._patient(client, ago), _one(lot, drawn.orders)
            if lot.random() < drawn.calls.selected_first:
                before = at - timedelta(seconds=lot.uniform(20, 240))
                invocations.append(self._call(_SELECT, patient, order, client, before, shadow)[0])
            signed, cards = self._call(_SIGN, patient, order, client, at, shadow)
            invocations.append(signed)
            if not shadow:
                said += self._feedback(signed, cards)
            if self._viewed and lot.random() < drawn.calls.charts_opened:
                opened = self._moment(start)
                invocations.append(self._call(_VIEW, lot.choice(self._viewed), "", client, opened, shadow)[0])
        return [each for each in invocations if each.findings or each.cards], said

    def _moment(self, start: datetime) -> datetime:
        """On the day of 24 hours from `start`, in an hour in which orders are written."""
        hours = self._drawn.calls.hours
        hour = self._lot.choices(range(24), hours)[0]
        ahead = (hour - start.hour) % 24 * 3600 - start.minute * 60 - start.second + self._lot.uniform(0, 3600)
        return start + timedelta(seconds=min(max(ahead, 0), 86_399))

    def _patient(self, client: str, ago: int) -> str:
        fault, lot = self._drawn.fault, self._lot
        patient = _one(lot, self._drawn.patients)
        is_faulty = client == fault.client and ago <= fault.days and lot.random() < fault.share
        return fault.patient if is_faulty else patient

    def _call(
        self, hook: str, patient: str, order: str, client: str, at: datetime, shadow: bool
    ) -> tuple[Invocation, Sequence[Card]]:
        """A repetition of the answer, under identifiers of its own."""
        answered, took = self._ward.answer(hook, patient, order), self._drawn.calls.milliseconds
        uuids = {card.uuid: self._uuid() for card in answered.cards}
        replace = msgspec.structs.replace
        milliseconds = took.median * exp(self._lot.gauss(0, took.spread))
        if self._lot.random() < took.slow:
            milliseconds *= took.slow_by
        record = replace(
            answered.record,
            id=self._uuid(),
            at=at,
            client=client,
            hook_instance=self._uuid(),
            microseconds=round(milliseconds * 1000),
            shadow=shadow,
            cards=[replace(card, uuid=uuids[card.uuid]) for card in answered.record.cards],
            findings=[
                replace(each, card=uuids[each.card] if each.card else None) for each in answered.record.findings
            ],
        )
        return record, [replace(card, uuid=uuids[card.uuid]) for card in answered.cards]

    def _feedback(self, signed: Invocation, cards: Sequence[Card]) -> Iterator[Feedback]:
        lot, drawn = self._lot, self._drawn
        for card in cards:
            topic = card.source.topic.code if card.source.topic else ""
            chance = drawn.answers.get(topic, drawn.answers[card.indicator])
            if lot.random() >= chance.answered:
                continue
            suggestions = [each.uuid for each in card.suggestions or ()]
            is_overridden = lot.random() < chance.overridden
            if not (is_overridden or suggestions):
                continue  # there is nothing to accept: the clinician reads the card, and changes the order or not
            received = signed.at + timedelta(seconds=lot.uniform(3, 90))
            yield Feedback(
                card=card.uuid,
                service=signed.service,
                client=signed.client,
                outcome="overridden" if is_overridden else "accepted",
                sent_at=received.isoformat(timespec="seconds"),
                received_at=received,
                reasons=self._reason() if is_overridden else [],
                commented=is_overridden and lot.random() < drawn.reasons.in_words,
                suggestions=[] if is_overridden else [lot.choice(suggestions)],
            )

    def _reason(self) -> list[list[str | None]]:
        if not self._reasons or self._lot.random() >= self._drawn.reasons.given:
            return []
        weights = (*self._drawn.reason_weights, *[1.0] * len(self._reasons))[: len(self._reasons)]
        reason = self._lot.choices(self._reasons, weights)[0]
        return [[reason.system, reason.code]]

    def _uuid(self) -> str:
        return str(UUID(int=self._lot.getrandbits(128), version=4))


def _one(lot: random.Random, weighted: Mapping[T, float]) -> T:
    return lot.choices(list(weighted), list(weighted.values()))[0]


def _service(hook: str) -> Service:
    return next(service for service in discovery.SERVICES if service.hook == hook)


def patients() -> set[str]:
    """The ids that demo.yaml may name."""
    return {each.id for each in charts.patients()}

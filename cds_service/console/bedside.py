"""A patient for whom the SMART app is open: the chart, read with the token of its launch, and what a dose would be.

Nothing is written, signed, recorded or told to anybody: it is a calculator beside the order, not an order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from cds_service import advise, bounds
from cds_service.cards.model import Card
from cds_service.console.banner import Banner, banner
from cds_service.console.form import Choices, Fields, Written, filled, write
from cds_service.console.gauge import Gauge, gauge
from cds_service.console.shelf import Shelf
from cds_service.console.words import language
from cds_service.fhir import lenient
from cds_service.fhir.client import FhirServers
from cds_service.fhir.source import Answer, Limits, Source
from cds_service.hooks.clients import Client
from cds_service.hooks.request import HookRequest, parse
from cds_service.knowledge import Knowledge
from cds_service.orders.carried import Carried
from cds_service.rules.scale import scales
from cds_service.settings import Settings
from cds_service.web.wire import place

log = logging.getLogger("ketamine_cds")

_PATIENCE = 5.0
"""Seconds for all searches together: nobody's order waits for this page."""
_REMEMBERED = 60.0
"""Seconds for which what was read of a chart is shown: a dose is judged at every key that is hit."""
_HOOK, _DRAFT = "order-select", "written"


@dataclass(frozen=True)
class Visit:
    """One launch: whose chart, on which FHIR server, and with which token. It lives in this process alone."""

    fhir: str
    patient: str
    encounter: str | None
    token: str = field(repr=False)
    cookie: str = field(repr=False)
    """What the browser that was let in shows with each request."""
    csrf: str = field(repr=False)
    ends: float
    """On the monotonic clock: with the token."""
    given: Fields = field(default_factory=Fields)
    """The dose of the order from whose card it was launched."""
    name: str = field(default_factory=lambda: uuid4().hex)
    """Under which its chart is remembered."""


@dataclass(frozen=True)
class View:
    """What the page shows."""

    banner: Banner | None
    """None where the chart could not be judged at all."""
    fields: Fields
    faults: Mapping[str, str]
    gauges: Sequence[Gauge]
    cards: Sequence[Card] | None
    """None: no dose is written yet, or the service judges no such order."""
    is_written: bool
    language: str
    """Of the cards."""
    at: datetime
    """When the oldest part of the chart that is shown was read."""
    is_of_another: bool = False
    is_given: bool = False
    """The dose is that of the order from whose card the app was launched."""


class Bedside:
    """Reads charts for one client, and judges doses by its protocol."""

    def __init__(
        self, client: Client, knowledge: Knowledge, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self.client = client
        self.knowledge = knowledge
        self.choices = Choices.of(knowledge)
        self._clock = clock
        self._servers = FhirServers(
            client.fhir_servers,
            Limits(
                deadline=_PATIENCE, max_bytes=settings.fhir_max_bytes, max_total_bytes=settings.fhir_max_total_bytes
            ),
            threads=settings.fhir_threads,
            ca_bundle=settings.fhir_ca_bundle,
        )
        self._charts: Shelf[_Chart] = Shelf(bounds.CHARTS)

    def view(self, visit: Visit, fields: Fields, anew: bool = False) -> View:
        """The patient, and what the protocol says of the dose that is written. `anew`: nothing is remembered."""
        written = write(fields, self.choices, visit.patient, _DRAFT)
        chart_read = self._charts.get(visit.name)
        if chart_read is None or anew:
            chart_read = _Chart(self._clock())
            self._charts.put(chart_read, _REMEMBERED, visit.name)
        try:
            return self._judged(visit, fields, written, chart_read)
        except Exception as error:  # an old gauge beside a new dose would read as its own
            log.error("the SMART app failed: %s at %s", type(error).__name__, place(error))
            failed = advise.failure(self.knowledge, languages=self._wanted)
            spoken = self.knowledge.texts.spoken(self._wanted).language
            return View(None, fields, written.faults, (), failed.cards, True, spoken, chart_read.at)

    @property
    def _wanted(self) -> Sequence[str]:
        """The language of the cards: that of the client's entry, else that of the page."""
        return [self.client.language or language()]

    def _judged(self, visit: Visit, fields: Fields, written: Written, chart_read: _Chart) -> View:
        drafts = [written.order] if written.order is not None else []
        source = _Remembering(lambda: self._servers.source(visit.fhir, visit.token), chart_read)
        request, now = _request(visit, drafts), self._clock()
        cases, chart = advise.read(request, False, self.knowledge, now, source)
        say = self.knowledge.texts.spoken([language()]).words.fill
        made = (
            advise.advice(request, False, self.knowledge, source, now, languages=self._wanted)
            if written.order
            else None
        )
        is_judged = made is not None and made.response.extension is not None
        return View(
            banner=banner(chart, chart_read.patient(visit.patient), say),
            fields=fields,
            faults=written.faults,
            gauges=[gauge(scale, case.protocol, say) for case in cases for scale in scales(case)],
            cards=made.response.cards if made is not None and is_judged else None,
            is_written=written.order is not None,
            language=made.language if made is not None else "",
            at=chart_read.at,
            is_given=fields.has_dose and fields == visit.given,
        )

    def fields_of(self, given: Carried | None) -> Fields:
        """The dose that a card's link carried; empty fields where it carried none."""
        return filled(given, self.choices, self.knowledge.valuesets) if given is not None else Fields()

    def forget(self, visit: Visit) -> None:
        self._charts.take(visit.name)


def ends_in(visit: Visit) -> float:
    """Seconds, not below 0."""
    return max(0.0, visit.ends - time.monotonic())


def _request(visit: Visit, drafts: Sequence[Mapping[str, Any]]) -> HookRequest:
    """What the EHR would ask about these drafts. The token is no part of it."""
    context: dict[str, Any] = {
        "patientId": visit.patient,
        "draftOrders": {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": each} for each in drafts],
        },
        "selections": [f"MedicationRequest/{each['id']}" for each in drafts],
    }
    if visit.encounter:
        context["encounterId"] = visit.encounter
    asked = {"hook": _HOOK, "hookInstance": str(uuid4()), "fhirServer": visit.fhir, "context": context}
    return parse(lenient.encode(asked), _HOOK)


@dataclass
class _Chart:
    """What has been read of a chart, by URL."""

    at: datetime
    answers: dict[str, Answer] = field(default_factory=dict)

    def patient(self, name: str) -> Mapping[str, Any]:
        """The Patient as it came, for the name in the banner; empty where it did not, or is somebody else."""
        items = [item for answer in self.answers.values() for page in answer.pages for item in page.items]
        for item in items:
            if item.read.type == "Patient" and item.raw:
                found = lenient.untyped(bytes(item.raw))
                if isinstance(found, dict) and found.get("id") == name:
                    return found
        return {}


class _Remembering:
    """A FHIR server whose whole answers are asked for once a minute. What failed is asked for again."""

    why_not = None

    def __init__(self, ask: Callable[[], Source], chart: _Chart) -> None:
        self._ask = ask
        self._chart = chart

    def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
        known = self._chart.answers
        missing = {key: url for key, url in urls.items() if url not in known}
        found = self._ask().fetch(missing) if missing else {}
        known.update({missing[key]: answer for key, answer in found.items() if answer.gap is None})
        return {key: found[key] if key in found else known[url].so_far() for key, url in urls.items()}

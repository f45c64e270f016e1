"""What lies on the desk: the patient, the order as far as it is written, and what the service said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard
from uuid import uuid4

from cds_service import advise
from cds_service.console.banner import Banner, banner, table
from cds_service.console.ehr import Ehr, Exchange, pretty
from cds_service.console.form import Choices, Fields, read, write
from cds_service.console.gauge import Gauge, gauge
from cds_service.console.shell import Console
from cds_service.console.words import language, say
from cds_service.errors import CdsError
from cds_service.fhir import lenient
from cds_service.hooks.request import parse
from cds_service.rules.scale import scales
from cds_service.sandbox.caller import Failed, dicts
from cds_service.sandbox.visit import after, drafts_in

SELECTING, SIGNING = "order-select", "order-sign"
NOTHING = Fields()


@dataclass(frozen=True)
class Desk:
    """What a page or a part of it shows. Nothing of it is kept: the form carries it from call to call."""

    patient: str
    fields: Fields = NOTHING
    written: str = ""
    """The order as FHIR, or a whole hook request, where it is no longer, or never was, what the fields say."""
    also: Sequence[Mapping[str, Any]] = ()
    """Orders that suggestions have added."""
    overridden: Sequence[str] = ()
    """The summaries of cards that were overridden: they are no longer shown at length."""
    order_id: str = ""
    faults: Mapping[str, str] = field(default_factory=dict)
    exchange: Exchange | None = None
    gauges: Sequence[Gauge] = ()
    banner: Banner | None = None
    trouble: str = ""
    said: str = ""
    """What has just been done, for whoever did it."""
    has_patients: bool = True
    """Without the sandbox there is nobody for whom fields could be an order."""
    shows: str = ""
    """What the form in the page shows: fields or fhir."""

    @property
    def as_fhir(self) -> bool:
        return bool(self.written) or not self.has_patients

    @property
    def switches(self) -> bool:
        """The form in the page shows fields in the place of FHIR, or the other way round."""
        return bool(self.shows) and (self.shows == "fhir") is not self.as_fhir

    @property
    def is_of_another(self) -> bool:
        """The request that was pasted is about another patient than the one of the page."""
        context = self.exchange.request.get("context") if self.exchange is not None else None
        return self.has_patients and isinstance(context, dict) and context.get("patientId") != self.patient

    @property
    def also_as_text(self) -> str:
        return lenient.encode(list(self.also)).decode()

    @property
    def overridden_as_text(self) -> str:
        return lenient.encode(list(self.overridden)).decode()

    @property
    def cards(self) -> list[dict[str, Any]]:
        """All that were answered and nobody has overridden."""
        answered = dicts(self.exchange.answer.get("cards")) if self.exchange is not None else []
        return [each for each in answered if each.get("summary") not in self.overridden]

    @property
    def is_judged(self) -> bool:
        """An order of another drug is answered without a card too, and with nothing of what was judged."""
        return self.exchange is not None and "extension" in self.exchange.answer

    @property
    def is_signed(self) -> bool:
        """It was signed, and nothing is left that was said against it."""
        return self.exchange is not None and self.exchange.request.get("hook") == SIGNING and not self.cards


class Unwritten(CdsError):
    """What was pasted cannot be read; the message says why."""


def sent(form: Mapping[str, str], patients: Sequence[str]) -> Desk:
    """The desk as a form has it; before anything was written, as it starts."""
    starts = table()["starts"]
    patient = form.get("patient", "")
    if not form.keys() - {"patient"}:
        form = starts
    written = form.get("written", "").strip()
    return Desk(
        patient=patient if patient in patients else str(starts["patient"]),
        fields=Fields.sent(form),
        written=written,
        has_patients=bool(patients),
        shows=form.get("shows", ""),
        also=dicts(_list(form.get("also", ""))),
        overridden=[each for each in _list(form.get("overridden", "")) if isinstance(each, str)],
        order_id=form.get("order_id") or f"order-{uuid4().hex[:12]}",
    )


def _list(text: str) -> list[Any]:
    try:
        found = lenient.untyped(text.encode())
    except lenient.UNREADABLE:
        return []
    return found if isinstance(found, list) else []


class Counter:
    """Lays out a desk: with its patient, its cards, its gauges."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.ehr = Ehr(console.settings)
        self.choices = Choices.of(console.knowledge)

    def laid(self, desk: Desk, signing: bool = False) -> Desk:
        """The desk with its patient, and where there is an order, with what the service says of it."""
        hook = SIGNING if signing else SELECTING
        try:
            pasted = _pasted(desk)
            if _is_request(pasted):
                request = {**pasted, "hookInstance": str(uuid4())} | ({"hook": hook} if signing else {})
                return self._judged(desk, self.ehr.send(request))
            if not self.ehr.patients:
                return desk
            desk, mine = self._mine(desk, pasted)
            visit = self.ehr.visit(desk.patient, hook, [*mine, *desk.also])
            if not visit.drafts:
                return self._with_chart(desk, visit.request()[0])
            return self._judged(desk, self.ehr.call(visit))
        except Failed as error:
            return replace(desk, trouble=str(error))
        except Unwritten as error:
            # The chart stays in sight while somebody writes JSON by hand.
            without = self.laid(replace(desk, written="", fields=NOTHING, also=()))
            return replace(desk, trouble=str(error), banner=without.banner)

    def accepted(self, desk: Desk, actions: Sequence[Mapping[str, Any]]) -> Desk:
        """The desk after a suggestion's actions: the order, and the others that came by it."""
        try:
            pasted = _pasted(desk)
        except Unwritten:
            return desk
        _, mine = self._mine(desk, pasted)
        drafts: list[Mapping[str, Any]] = [*mine, *desk.also]
        for action in actions:
            drafts = after(action, drafts)
        if _is_request(pasted):
            return replace(desk, written=pretty(_with_drafts(pasted, drafts)))
        names = {each.get("id") for each in mine}
        left = [each for each in drafts if each.get("id") in names]
        desk = replace(desk, also=[each for each in drafts if each.get("id") not in names])
        fields = read(left[0], self.choices) if left and pasted is None else None
        if not left or fields is not None:
            return replace(desk, written="", fields=fields or NOTHING)
        return replace(desk, written=pretty(left[0] if len(left) == 1 else _bundle(left)))

    def _mine(self, desk: Desk, pasted: Mapping[str, Any] | None) -> tuple[Desk, list[dict[str, Any]]]:
        """(the desk with what is wrong in its fields, the orders that stand in it)."""
        if _is_request(pasted):
            return desk, drafts_in(pasted)
        if pasted is not None:
            whose = {"subject": {"reference": f"Patient/{desk.patient}"}}
            return desk, [
                {"id": f"{desk.order_id}-{n}", **each, **whose} for n, each in enumerate(drafts_in(pasted), 1)
            ]
        written = write(desk.fields, self.choices, desk.patient, desk.order_id)
        return replace(desk, faults=written.faults), [written.order] if written.order is not None else []

    def _judged(self, desk: Desk, exchange: Exchange) -> Desk:
        return replace(self._with_chart(desk, exchange.request), exchange=exchange)

    def _with_chart(self, desk: Desk, request: Mapping[str, Any]) -> Desk:
        """Who the request is about, and where its doses lie: read from the request as the service reads it."""
        knowledge, hook = self._console.knowledge, str(request.get("hook"))
        read_by_service = parse(lenient.encode(request), hook)
        cases, chart = advise.read(read_by_service, hook == SIGNING, knowledge, self._console.clock())
        prefetch = request.get("prefetch")
        patient = prefetch.get("patient") if isinstance(prefetch, dict) else None
        fill = knowledge.texts.spoken([language()]).words.fill
        shown = banner(chart, patient if isinstance(patient, dict) else {}, fill)
        gauges = [gauge(each, case.protocol, fill) for case in cases for each in scales(case)]
        return replace(desk, banner=shown, gauges=gauges)


def _pasted(desk: Desk) -> dict[str, Any] | None:
    """What stands in the field for FHIR. Raises Unwritten."""
    if not desk.written:
        return None
    try:
        found = lenient.untyped(desk.written.encode())
    except lenient.UNREADABLE as error:
        raise Unwritten(say("not-json")) from error
    if not isinstance(found, dict) or not (_is_request(found) or drafts_in(found)):
        raise Unwritten(say("not-an-order"))
    return found


def _is_request(pasted: Mapping[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return pasted is not None and "hook" in pasted and isinstance(pasted.get("context"), dict)


def _with_drafts(request: Mapping[str, Any], drafts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**request, "context": {**request["context"], "draftOrders": _bundle(drafts)}}


def _bundle(drafts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in drafts]}

"""The CDS services over HTTP: discovery, and one call per hook."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, Response, g, request
from msgspec.structs import replace

from cds_service.advise import Advice, advice, failure
from cds_service.candidate import remembering
from cds_service.cards.compose import Composed
from cds_service.cards.model import Card, Link
from cds_service.cards.model import Response as HookResponse
from cds_service.deadline import Deadline
from cds_service.fhir.source import Source
from cds_service.hooks import discovery
from cds_service.hooks.discovery import Service
from cds_service.hooks.errors import HookError, UnknownService
from cds_service.hooks.profiles import Profile
from cds_service.hooks.request import HookRequest, parse
from cds_service.hooks.response import EMPTY, encode
from cds_service.orders.carried import carry
from cds_service.terminology.glance import may_concern
from cds_service.web import candidates, deadlines, metrics, overload, tenants
from cds_service.web.deployment import Deployment
from cds_service.web.metrics import Counted
from cds_service.web.tenants import Tenant
from cds_service.web.wire import answer, place, read_body

log = logging.getLogger("ketamine_cds")


@dataclass(frozen=True, slots=True)
class Invocation:
    """An answered call, for those who record or count it: `flask.g.invocation`, from the answer on."""

    service: Service
    request: HookRequest | None
    """None where the call failed before it was read."""
    response: HookResponse
    """The cards as composed."""
    sent: HookResponse
    """The cards in the form of the client's profile; feedback names its cards and suggestions."""
    now: datetime
    advice: Advice
    """What stands behind the cards."""


def register(app: Flask, deployment: Deployment) -> None:
    shadow = deployment.settings.shadow == "on"

    @app.get("/cds-services", strict_slashes=False)
    def discover() -> Response:
        return answer(tenants.current().discovery)

    @app.post("/cds-services/<service_id>", strict_slashes=False)
    def call(service_id: str) -> Response:
        service = discovery.BY_ID.get(service_id)
        if service is None:
            raise UnknownService(f"there is no service of that id; known are {', '.join(discovery.BY_ID)}")
        tenant, now, hook_request, source = tenants.current(), deployment.clock(), None, None
        languages = _languages(tenant)
        with deadlines.standing_still():
            body = read_body(deployment.settings.max_body_bytes)
        held = overload.held()
        if not held.turn():
            return answer(_busy(service, tenant, body, now, shadow, languages))
        deadline = deadlines.current()
        try:
            hook_request = parse(body, service.hook)
            asked = tenant.servers.source(hook_request.fhir_server, hook_request.access_token, deadline)
            source = _watched(asked, tenant)
            acknowledged = deployment.audit.acknowledged(tenant.id, deadline)
            made = advice(
                hook_request,
                service.signing,
                tenant.knowledge,
                source,
                now,
                acknowledged,
                deadline,
                tenant.sends,
                languages,
            )
            _tell_if_late(deadline)
            sent = EMPTY if shadow else tenant.profile.apply(_with_app(made, tenant))
            written = encode(sent)
        except HookError:
            raise
        except Exception as error:  # silence would read as "checked and fine"
            log.error("the check failed: %s at %s", type(error).__name__, place(error))
            failed = failure(tenant.knowledge, languages=languages)
            made = _failed(failed, tenant, languages)
            sent = EMPTY if shadow else _in_form(tenant.profile, failed)
            written = encode(sent)
        g.invocation = Invocation(service, hook_request, made.response, sent, now, made)
        candidates.note(tenant, body, service, now, made, source)
        return answer(written)


def _watched(source: Source, tenant: Tenant) -> Source:
    """The FHIR server with its searches counted, and kept for a candidate where there is one."""
    counted = Counted(source, tenant.knowledge.texts.recorded)
    return counted if tenant.policies is None else remembering(counted)


def _with_app(made: Advice, tenant: Tenant) -> HookResponse:
    """The cards with a link to the client's SMART app, where it has one. It carries the card's dose."""
    if tenant.app_url is None:
        return made.response
    label = tenant.knowledge.texts.spoken([made.language]).words.say("link-app")
    doses = {each.card.uuid: carry(of.drug, of.steps) for each in made.composed for of, _ in each.stands_for[:1]}

    def linked(card: Card) -> Card:
        link = Link(label=label, url=tenant.app_url or "", type="smart", app_context=doses.get(card.uuid))
        return replace(card, links=[link, *(card.links or ())])

    cards = [linked(card) for card in made.response.cards]
    return replace(made.response, cards=cards)


def _tell_if_late(deadline: Deadline) -> None:
    if deadline.missed is not None:
        log.warning("an answer was not complete in time: %s", deadline.missed)
        metrics.late(deadline.missed)


def _busy(
    service: Service, tenant: Tenant, body: bytes, now: datetime, shadow: bool, languages: Sequence[str]
) -> bytes:
    """The answer of a service that has no time to read the call: a warning where it may concern a judged drug."""
    if not may_concern(body, tenant.knowledge.valuesets):
        return encode(EMPTY)
    says = failure(tenant.knowledge, "busy", languages=languages)
    made = _failed(says, tenant, languages)
    sent = EMPTY if shadow else _in_form(tenant.profile, says)
    g.invocation = Invocation(service, None, says, sent, now, made)
    return encode(sent)


def _failed(says: HookResponse, tenant: Tenant, languages: Sequence[str]) -> Advice:
    """What is recorded of an answer whose only card says that nothing was checked."""
    composed = [Composed(card, ()) for card in says.cards]
    return Advice(says, composed=composed, failed=True, language=tenant.knowledge.texts.spoken(languages).language)


def _languages(tenant: Tenant) -> Sequence[str]:
    """Those of the user, the preferred one first: the client's entry decides, else the call's Accept-Language."""
    if tenant.language is not None:
        return [tenant.language]
    return [tag for tag, quality in request.accept_languages if quality > 0]


def _in_form(profile: Profile, failed: HookResponse) -> HookResponse:
    """The card of a failure as the client wants it, unless the profile is what failed."""
    try:
        return profile.apply(failed)
    except Exception as error:
        log.error("the client's profile failed: %s at %s", type(error).__name__, place(error))
        return failed

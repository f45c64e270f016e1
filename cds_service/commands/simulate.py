"""The command simulate: act as the EHR towards a CDS Hooks service, from discovery to feedback."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec

from cds_service.commands import record
from cds_service.commands.check import table_of
from cds_service.commands.given import contents, token, url
from cds_service.commands.refused import Refused
from cds_service.fhir import lenient
from cds_service.hooks.request import VIEWING
from cds_service.sandbox import PATH, charts, orders
from cds_service.sandbox.caller import Failed, Service, Signer, UnreadableKey, Web, dicts
from cds_service.sandbox.records import FhirServer
from cds_service.sandbox.visit import USER, Visit, after, drafts_in
from cds_service.settings import load as load_settings


def run(given: argparse.Namespace) -> int:
    """0: no card, 1: cards, 2: a critical one among the cards of the last answer. Raises Refused."""
    if given.accept is not None and given.override is not None:
        raise Refused("--accept and --override go one at a time: a card is followed, or it is not")
    if given.put and given.accept is None:
        raise Refused("--put writes what --accept changes")
    if given.reason is not None and given.override is None:
        raise Refused("--reason says why a card is overridden: it goes with --override")
    if given.patient is None and not given.order and given.file is None:
        print(f"The patients of the sandbox EHR:\n{_patients()}")
        return 0
    try:
        visit = _visit(given)
        cards = _called(visit, given)
        if given.accept is not None:
            visit = _accept(visit, cards, given.accept, given.put)
            if visit.drafts or visit.hook == VIEWING:
                print("\nCalled again with what is left:\n")
                cards = _called(visit, given, again=True)
            else:
                print("\nNo draft is left.")
                cards = []
        elif given.override is not None:
            _override(visit, cards, given.override, given.reason)
    except (Failed, UnreadableKey, orders.UnreadableOrder) as error:
        raise Refused(str(error)) from error
    if any(card.get("indicator") == "critical" for card in cards):
        return 2
    return 1 if cards else 0


# What is called -----------------------------------------------------------------------------------------------------


def _visit(given: argparse.Namespace) -> Visit:
    service, fhir = _servers(given)
    asked = _service(service.services(), given.hook, given.id)
    if given.patient is None:
        raise Refused(f"--patient names whose chart it is; the sandbox has {_ids()}")
    if not fhir.patient(given.patient):
        raise Refused(f"{fhir.base} has no patient {given.patient}; the sandbox has {_ids()}")
    context: dict[str, Any] = {"userId": USER, "patientId": given.patient}
    if encounter := given.encounter or fhir.encounter(given.patient):
        context["encounterId"] = encounter
    templates = asked.get("prefetch")
    known = templates if isinstance(templates, dict) else {}
    return Visit(
        service=service,
        fhir=fhir,
        id=str(asked["id"]),
        hook=given.hook,
        templates={key: text for key, text in known.items() if isinstance(text, str)},
        context=context,
        drafts=() if given.hook == VIEWING else list(_drafts(given)),
        prefetches=not given.no_prefetch,
    )


def _servers(given: argparse.Namespace) -> tuple[Service, FhirServer]:
    settings = load_settings()
    base = url(given.service or settings.base_url, "--service")
    fhir = url(given.fhir or base + PATH, "--fhir")
    if (given.key is None) != (given.issuer is None):
        raise Refused("--key and --issuer go together: a token says who signed it")
    if given.key is None and (given.jku or given.tenant):
        raise Refused("--jku and --tenant go with --key: they stand in a token")
    secret = token(given.fhir_token_file) if given.fhir_token_file else None
    signer = Signer.load(given.key, given.issuer, given.jku, given.tenant) if given.key else None
    web = Web(settings.fhir_ca_bundle)
    return Service(base, web, signer), FhirServer(fhir, web, secret)


def _service(listed: Sequence[Mapping[str, Any]], hook: str, name: str | None) -> Mapping[str, Any]:
    fitting = [each for each in listed if each.get("hook") == hook and name in (None, each.get("id"))]
    if len(fitting) != 1:
        said = ", ".join(f"{each.get('id')} ({each.get('hook')})" for each in listed) or "none"
        raise Refused(f"{'no' if not fitting else 'more than one'} service for {hook}; --id names one of: {said}")
    return fitting[0]


def _ids() -> str:
    return ", ".join(each.id for each in charts.patients()) + "; simulate alone says why each is there"


def _patients() -> str:
    return "\n".join(f"  {each.id:22} {each.why}" for each in charts.patients())


def _drafts(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The orders of the command line and of a file: a resource, a Bundle, or a whole hook request."""
    if not given.order and given.file is None:
        raise Refused('an order is needed: --order "0.6 mg/kg/h IV", or a file with one')
    for number, text in enumerate(given.order or (), 1):
        yield orders.read(text, given.patient, f"simulated-{uuid4().hex[:12]}-{number}")
    if given.file is not None:
        for draft in _in_file(given.file):
            whose = {"subject": {"reference": f"Patient/{given.patient}"}}
            yield {"id": f"simulated-{uuid4().hex[:12]}", **draft, **whose}


def _in_file(name: str) -> list[dict[str, Any]]:
    try:
        content = lenient.untyped(contents(name))
    except lenient.UNREADABLE as error:
        raise Refused(f"{name}: not readable as JSON: {error}") from error
    drafts = drafts_in(content)
    if not drafts:
        raise Refused(f"{name}: holds no order")
    return drafts


# Cards and what is done with them -----------------------------------------------------------------------------------


def _called(visit: Visit, given: argparse.Namespace, again: bool = False) -> list[dict[str, Any]]:
    """Call the service, show its cards, and keep the request where that is asked for."""
    request, left_out = visit.request()
    for line in left_out:
        print(f"not in the prefetch: {line}")
    if given.record and not again:
        record.keep(request, given.record)
    answer = visit.service.call(visit.id, request)
    cards = dicts(answer.get("cards"))
    if given.json:
        print(lenient.encode(answer).decode())
        return cards
    print(_table(answer, cards))
    _list_choices(cards)
    return cards


def _table(answer: dict[str, Any], cards: Sequence[Mapping[str, Any]]) -> str:
    try:
        return table_of(answer)
    except msgspec.ValidationError:  # another service's cards may lack what ours always have
        return "\n".join(
            f"{each.get('indicator')}: {each.get('summary')}\n{each.get('detail', '')}" for each in cards
        )


def _list_choices(cards: Sequence[Mapping[str, Any]]) -> None:
    """What --accept and --override would take, by number."""
    if cards:
        print()
    for number, (_, suggestion) in enumerate(_suggestions(cards), 1):
        print(f"--accept {number}: {suggestion.get('label')}")
    for number, card in enumerate(cards, 1):
        codes = ", ".join(str(each.get("code")) for each in dicts(card.get("overrideReasons")))
        print(f"--override {number}: {card.get('summary')}" + (f" (--reason {codes})" if codes else ""))


def _suggestions(cards: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(card, suggestion), in the order in which they are shown."""
    return [(card, each) for card in cards for each in dicts(card.get("suggestions"))]


def _accept(visit: Visit, cards: Sequence[Mapping[str, Any]], number: int, put: bool) -> Visit:
    """Do what the suggestion says to the drafts, write it where that is asked for, and tell the service."""
    offered = _suggestions(cards)
    if not 1 <= number <= len(offered):
        raise Refused(f"--accept {number}: the cards have {len(offered)} suggestions")
    card, suggestion = offered[number - 1]
    drafts = list(visit.drafts)
    print(f"\nAccepted: {suggestion.get('label')}")
    for action in dicts(suggestion.get("actions")):
        print(f"  {action.get('type')}: {action.get('description')}")
        drafts = after(action, drafts)
        resource = action.get("resource")
        if put and action.get("type") == "update" and isinstance(resource, dict):
            status = visit.fhir.put(resource)
            print(f"  written to {visit.fhir.base}/{resource['resourceType']}/{resource['id']}: {status}")
        elif put:
            print(f"  not written: {action.get('type')} of an order is the EHR's own step")
    entry = {"card": card.get("uuid"), "outcome": "accepted", "acceptedSuggestions": [{"id": suggestion.get("uuid")}]}
    _tell(visit, entry)
    return replace(visit, drafts=drafts)


def _override(visit: Visit, cards: Sequence[Mapping[str, Any]], number: int, code: str | None) -> None:
    if not 1 <= number <= len(cards):
        raise Refused(f"--override {number}: there are {len(cards)} cards")
    card = cards[number - 1]
    entry: dict[str, Any] = {"card": card.get("uuid"), "outcome": "overridden"}
    if code is not None:
        offered = {str(each.get("code")): each for each in dicts(card.get("overrideReasons"))}
        if code not in offered:
            raise Refused(f"--reason {code}: that card offers {', '.join(offered) or 'none'}")
        reason = {name: offered[code][name] for name in ("code", "system") if name in offered[code]}
        entry["overrideReason"] = {"reason": reason}
    print(f"\nOverridden: {card.get('summary')}")
    _tell(visit, entry)


def _tell(visit: Visit, entry: Mapping[str, Any]) -> None:
    """Feedback may be refused by a service without a store: that is said, and nothing is lost by it."""
    try:
        visit.service.tell(visit.id, entry)
        print("  feedback: taken")
    except Failed as error:
        print(f"  feedback: {error}")

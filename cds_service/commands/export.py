"""The command export: a Bulk Data export, fetched from a FHIR server into a folder that replay reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cds_service.commands.check import moment_of
from cds_service.commands.refused import Refused
from cds_service.fhir import queries
from cds_service.fhir.resources import TYPES
from cds_service.retrospect import bulk
from cds_service.retrospect.backend import Failed, Fixed, Server, Tokens, Web, token_endpoint
from cds_service.retrospect.bulk import Asked, Bounds
from cds_service.sandbox.caller import Signer
from cds_service.settings import load as load_settings
from cds_service.settings import web_url
from cds_service.terminology import valuesets


def run(given: argparse.Namespace) -> int:
    """Fetch an export, or go on with one. Returns 1 where something is not as it was asked for, else 0."""
    if given.hours <= 0 or given.gigabytes <= 0:
        raise Refused("--hours and --gigabytes: more than nothing is needed")
    asked = Asked(_url(given.url, "URL"), _of(given), _types(given.types), _since(given.since))
    bounds = Bounds(given.hours * 3600, int(given.gigabytes * 1e9))
    web = Web(load_settings().fhir_ca_bundle)
    try:
        server = Server(asked.base, web, _tokens(given, asked, web))
        made = bulk.fetch(asked, Path(given.into), server, bounds, lambda said: print(said, file=sys.stderr))
    except OSError as error:
        raise Refused(f"{error.filename or given.into}: {error.strerror}") from None
    except KeyboardInterrupt:
        raise Failed("stopped; the same command goes on with what is not fetched yet") from None
    print(", ".join(f"{count} {kind}" for kind, count in made.lines.items()) or "nothing")
    print(f"the chart as it stood at {made.at or 'a moment that the server does not name'}")
    for note in made.notes:
        print(note)
    return 1 if made.notes else 0


def default_types() -> list[str]:
    """What the service asks for about a patient, and the names that a replay reads."""
    asked = {query.type for query in queries.load(valuesets.load())}
    return [*sorted(asked), *(kind for kind in bulk.OF_NOBODY if kind not in asked)]


def _url(text: str, option: str) -> str:
    try:
        return web_url(text)
    except ValueError as error:
        raise Refused(f"{option} is {text!r}; expected is {error}") from error


def _of(given: argparse.Namespace) -> str:
    if given.group is not None:
        if not given.group.replace("-", "").replace(".", "").isalnum() or not given.group.isascii():
            raise Refused(f"--group {given.group}: not the id of a Group")
        return f"Group/{given.group}"
    return "" if given.system else "Patient"


def _types(text: str | None) -> list[str]:
    wanted = default_types() if text is None else [each.strip() for each in text.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in TYPES]:
        raise Refused(f"--types: replay reads no {', '.join(unknown)}")
    return list(dict.fromkeys(wanted))


def _since(text: str | None) -> str | None:
    return None if text is None else moment_of(text).isoformat(timespec="seconds")


def _tokens(given: argparse.Namespace, asked: Asked, web: Web) -> Tokens | Fixed | None:
    """How the server is told who asks: by a signature, by a token, or not at all."""
    if (given.key is None) != (given.client is None):
        raise Refused("--key and --client go together: who asks, and by which key it signs")
    if given.key is not None:
        signer = Signer.load(given.key, given.client)
        url, is_second = (given.token_url, True) if given.token_url else token_endpoint(asked.base, web)
        right = "rs" if is_second else "read"
        scope = given.scope or " ".join(f"system/{kind}.{right}" for kind in asked.types)
        return Tokens(signer, _url(url, "the token endpoint"), scope)
    if given.token_file is None:
        return None
    try:
        return Fixed(Path(given.token_file).read_text("ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{given.token_file}: cannot be read as an access token") from error

"""The command export: a Bulk Data export, fetched from a FHIR server into a folder that replay reads."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from cds_service.commands.given import moment, token, url
from cds_service.commands.refused import Refused
from cds_service.fhir import queries
from cds_service.fhir.resources import TYPES
from cds_service.retrospect import bulk
from cds_service.retrospect.backend import Failed, Fixed, Server, Tokens, Web, token_endpoint
from cds_service.retrospect.bulk import Asked, Bounds
from cds_service.sandbox.caller import Signer
from cds_service.settings import load as load_settings
from cds_service.terminology import valuesets


def run(given: argparse.Namespace) -> int:
    """Fetch an export, or go on with one. Returns 1 where something is not as it was asked for, else 0."""
    if not all(0 < each < math.inf for each in (given.hours, given.gigabytes)):
        raise Refused("--hours and --gigabytes: more than nothing is needed, and an end")
    asked = Asked(url(given.url, "URL"), _of(given), _types(given.types), _since(given.since))
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
    return None if text is None else moment(text, "--since").isoformat(timespec="seconds")


def _tokens(given: argparse.Namespace, asked: Asked, web: Web) -> Tokens | Fixed | None:
    """How the server is told who asks: by a signature, by a token, or not at all."""
    if (given.key is None) != (given.client is None):
        raise Refused("--key and --client go together: who asks, and by which key it signs")
    if given.key is not None and given.token_file is not None:
        raise Refused("--key and --token-file go one at a time: a token is signed for, or it is there")
    if given.key is not None:
        signer = Signer.load(given.key, given.client)
        server, is_second = (given.token_url, True) if given.token_url else token_endpoint(asked.base, web)
        right = "rs" if is_second else "read"
        scope = given.scope or " ".join(f"system/{kind}.{right}" for kind in asked.types)
        return Tokens(signer, url(server, "the token endpoint"), scope)
    if given.token_url or given.scope:
        raise Refused("--token-url and --scope go with --key: they are for a server that gives tokens")
    return Fixed(token(given.token_file)) if given.token_file else None

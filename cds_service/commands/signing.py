"""The command protocol sign-off: the page with its owner and its replay, and whether a signed page holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from cds_service import sign_off
from cds_service.commands.refused import Refused
from cds_service.errors import reading
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.by_the_site import by_the_site
from cds_service.retrospect import results
from cds_service.retrospect.policies import digest_of
from cds_service.settings import Settings
from cds_service.signature import UNSIGNED, Signature, digest, digests, faults

_MOST_CHARACTERS = 10_000_000
"""Of a signed page."""


def write(loaded: Knowledge, given: argparse.Namespace, today: date) -> None:
    """Print the page of each protocol, or write them to the file of `--out`. Raises Refused."""
    text = "\n".join(_pages(loaded, given, today))
    if given.out is None:
        print(text)
        return
    try:
        with Path(given.out).open("x", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise Refused(f"--out {given.out}: {error.strerror}") from error


def _pages(loaded: Knowledge, given: argparse.Namespace, today: date) -> Iterator[str]:
    """The page of each protocol. Raises Refused where the replay was of other files, or lacks its owner."""
    changed = by_the_site(loaded.protocol, loaded.valuesets, today)
    signature = _signature(loaded, given, today)
    for part in loaded.parts:
        is_changed = part is loaded.parts[0]
        lines, signed = (changed, signature) if is_changed else ((), UNSIGNED)
        yield sign_off.page(loaded, part.protocol, today, lines, signature=signed)


def check(settings: Settings, given: argparse.Namespace) -> int:
    """Print why a signed page does not stand for these files, and return 1; or that it does, and return 0."""
    loaded = load(settings.base_url, given.overlay, settings.valuesets, settings.protocols)
    present = Signature(overlay=digest_of(given.overlay), replay=_replayed(loaded, given))
    with reading(Path(given.check), Refused):
        signed = Path(given.check).read_text("utf-8")[:_MOST_CHARACTERS]
    found = faults(signed, digests(loaded), present, date.today())
    print("\n".join(found) or f"the page stands for {', '.join(_named(loaded))}")
    return 1 if found else 0


def _named(loaded: Knowledge) -> Iterator[str]:
    for part, told in zip(loaded.parts, digests(loaded), strict=True):
        yield f"{part.protocol.id} {part.protocol.version}, digest {told}"


def _signature(loaded: Knowledge, given: argparse.Namespace, today: date) -> Signature:
    if not (given.owner or given.replay or given.date):
        return UNSIGNED
    if not (given.owner or "").strip():
        raise Refused("--owner: a page with a replay or a date names who answers for it")
    try:
        day = date.fromisoformat(given.date) if given.date else today
    except ValueError as error:
        raise Refused(f"--date {given.date}: not a date in ISO 8601") from error
    if day > today:
        raise Refused(f"--date {given.date}: nobody can have signed then yet")
    overlay = digest_of(given.overlay)
    return Signature(owner=given.owner.strip(), day=day, overlay=overlay, replay=_replayed(loaded, given))


def _replayed(loaded: Knowledge, given: argparse.Namespace) -> str:
    """The digest of the report, if it is of what is loaded. Raises Refused where it is of anything else."""
    if given.replay is None:
        return ""
    result = results.opened(Path(given.replay))
    stands_for = digest(loaded), digest_of(given.overlay)
    if stands_for not in ((each.digest, each.sha256) for each in result.summary.policies):
        told = f"{given.replay}: the replay was of other files: {result.of_what}"
        raise Refused(f"{told}; to be signed is digest {stands_for[0]}")
    for name in result.summary.tables:
        result.table(name)  # a table that was changed since is no evidence
    return result.digest

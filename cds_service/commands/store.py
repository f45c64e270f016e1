"""The command store: migrate, prune and export, for those who run the service."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

import msgspec

from cds_service.commands.refused import Refused
from cds_service.settings import load as load_settings
from cds_service.store import retention
from cds_service.store.engines import shown, url_of
from cds_service.store.migrate import HEAD, migrate

_MOST_DAYS = 36_500


def run(given: argparse.Namespace) -> int:
    """Exit status 0; Refused where there is no store, or it cannot be used."""
    settings = load_settings()
    if settings.store_url is None:
        raise Refused("the store is off (KETAMINE_CDS_STORE)")
    url = url_of(settings.store_url)
    if given.action == "migrate":
        print(f"{shown(url)}: at {HEAD}, before it was at {migrate(url)}")
    elif given.action == "prune":
        days = settings.retention_days if given.days is None else given.days
        if not 0 <= days <= _MOST_DAYS:
            raise Refused(f"--days {days}: expected is a number from 0 to {_MOST_DAYS}")
        before = datetime.now(UTC) - timedelta(days=days)
        invocations, entries = retention.prune(url, before)
        print(f"deleted what is older than {days} days: {invocations} invocations, {entries} feedback entries")
    else:
        for record in retention.export(url, _moment(given.since)):  # the store may be larger than memory
            sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
    return 0


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"--since {text}: not a date, or date and time, in ISO 8601") from error
    return moment if moment.tzinfo is not None else moment.astimezone()

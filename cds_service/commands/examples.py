"""The example requests: their dates moved to now, so that a weight of this morning is one of this morning."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from cds_service.commands.given import contents
from cds_service.commands.refused import Refused
from cds_service.fhir import lenient

AS_OF = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
"""The moment at which the examples were written."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}$")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")


def example(name: str) -> int:
    """Print an example as of now."""
    moved_request = lenient.encode(moved(read(name), datetime.now(UTC) - AS_OF))
    print(msgspec.json.format(moved_request, indent=2).decode())
    return 0


def read(name: str) -> dict[str, Any]:
    """The hook request in a file, numbers as exact decimals. Raises Refused."""
    try:
        body = lenient.untyped(contents(name))
    except lenient.UNREADABLE as error:
        raise Refused(f"{name}: not readable as JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(f"{name}: not a hook request")
    return body


def moved(value: Any, by: timedelta) -> Any:
    """The request with every date and time moved by the same span."""
    if isinstance(value, dict):
        return {key: moved(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, by) for item in value]
    if isinstance(value, str):
        try:
            if _DATE.match(value):
                return (date.fromisoformat(value) + timedelta(days=round(by / timedelta(days=1)))).isoformat()
            if _DATE_TIME.match(value):
                return (datetime.fromisoformat(value) + by).isoformat(timespec="seconds")
        except (ValueError, OverflowError):
            return value
    return value

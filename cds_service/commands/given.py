"""What is given on the command line: files, tokens and addresses, each read or refused by its name."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from cds_service.commands.refused import Refused
from cds_service.errors import reading
from cds_service.settings import web_url

_YEARS = range(1900, 2300)  # outside them the calendar ends before a look-back window does


def contents(file: str) -> bytes:
    """Of a file, or of standard input for `-`. Raises Refused with the name of the file and why it cannot be read."""
    if file == "-":
        return sys.stdin.buffer.read()
    with reading(Path(file), Refused):
        return Path(file).read_bytes()


def token(file: str) -> str:
    """The access token that alone stands in a file. Raises Refused, which holds nothing of it."""
    with reading(Path(file), Refused):
        said = Path(file).read_text("utf-8").split()
    if len(said) != 1 or not said[0].isascii() or not said[0].isprintable():
        raise Refused(
            f"{file}: cannot be read as an access token: one alone may stand there, in ASCII without blanks"
        )
    return said[0]


def url(said: str, option: str) -> str:
    """A base URL, without a slash at its end. Raises Refused with the name of the option."""
    try:
        return web_url(said)
    except ValueError as error:
        raise Refused(f"{option} is {said!r}; expected is {error}") from error


def moment(said: str | None, option: str = "--now") -> datetime:
    """A moment with its zone, that of this machine where none is named; now without a text. Raises Refused."""
    if said is None:
        return datetime.now().astimezone()
    try:
        read = datetime.fromisoformat(said)
        read = read if read.tzinfo else read.astimezone()
    except (ValueError, OverflowError) as error:
        raise Refused(f"{option} {said}: not a date and time in ISO 8601") from error
    if read.year not in _YEARS:
        raise Refused(f"{option} {said}: the year must lie between {_YEARS.start} and {_YEARS.stop - 1}")
    return read

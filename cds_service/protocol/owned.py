"""What every change of a site says of itself, and how a name in it is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TypeVar

from cds_service.protocol.errors import ProtocolError, did_you_mean
from cds_service.protocol.model import Entry, SiteChange

T = TypeVar("T")


class Owned(Entry, frozen=True, kw_only=True):
    """What every change must say."""

    owner: str
    date: date
    reason: str

    @property
    def site(self) -> SiteChange:
        return SiteChange(owner=self.owner, date=self.date, reason=self.reason)


def look_up(entries: Mapping[str, T], name: str, kind: str, where: str) -> T:
    """The entry of that name. Raises ProtocolError with the nearest name that there is."""
    if name not in entries:
        raise ProtocolError(f"{where}: there is no {kind} {name}{did_you_mean(name, entries)}")
    return entries[name]

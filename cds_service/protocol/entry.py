"""What every entry of a protocol is made of: severities, names of limits and sets, and who changed it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From worst to least; also the order of cards."""

Hook = Literal["order-select", "order-sign", "patient-view"]

LimitName = Annotated[str, msgspec.Meta(extra={"names": "limit"})]
"""The id of a limit; what names one says so by its type, so that nothing keeps a list of such fields."""
SetName = Annotated[str, msgspec.Meta(extra={"names": "valueset"})]
"""The id of a value set, or `set/group`."""

EvidenceStatus = Literal["verified", "second-hand", "unverified", "design"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """Base of all protocol entries: immutable, and a misspelt field stops the start.

    Each has a `__dict__`, in which `lazy.kept` keeps what follows from the entry alone.
    """


class SiteChange(Entry, frozen=True, kw_only=True):
    """Who changed an entry, when and why; every change of a site carries one."""

    owner: str
    date: date
    reason: str

"""What the command doctor says of one thing that it looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["ok", "warning", "wrong"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: what was looked at, how it is, and what to change where it is not well."""

    verdict: Verdict
    what: str
    says: str
    change: str = ""
    client: str = ""

    def line(self) -> str:
        """As a person reads it, with what to change on a line of its own."""
        of = f" [{self.client}]" if self.client else ""
        change = f"\n{'':9} -> {self.change}" if self.change else ""
        return f"{self.verdict:9} {self.what}{of}: {self.says}{change}"

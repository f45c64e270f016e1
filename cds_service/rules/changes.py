"""What changes a fired rule's severity: the protocol's own conditions, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cds_service.protocol.model import SEVERITIES, Rule, Severity
from cds_service.rules.case import Case
from cds_service.rules.clauses import evaluate_once
from cds_service.rules.outcome import Outcome, Reason

_NOT_SENT = "an exception could not be read, because its list was not sent"


class Changed(msgspec.Struct, frozen=True):
    """The severity that is left (None: the rule is silent), why it is not the tier's own, and what was not read."""

    severity: Severity | None
    because: str | None = None
    exceptions: tuple[Reason, ...] = ()

    def of(self, outcome: Outcome) -> Outcome:
        """A fired outcome at this severity."""
        changed = msgspec.structs.replace(
            outcome, severity=self.severity, because=self.because, exceptions=self.exceptions
        )
        if self.severity is None:
            return msgspec.structs.replace(changed, status="suppressed", proposals=())
        return changed


def changed_severity(rule: Rule, tier: str, case: Case, unread: Sequence[Reason] = ()) -> Changed:
    """The severity of a tier that holds. `unread` are exceptions of its own clause that could not be read.

    Such an exception leaves the finding one tier milder where its list was not sent, and as it is where it failed. A
    change of severity that cannot be told changes nothing.
    """
    exceptions = list(unread)
    for number, change in enumerate(rule.changes):
        if change.tiers and tier not in change.tiers:
            continue
        verdict = evaluate_once(change.when, case, rule.id, "change", str(number))
        if verdict.holds and not verdict.reasons:
            return Changed(None if change.to == "none" else change.to, change.because, tuple(exceptions))
        exceptions += verdict.reasons
    own: Severity = rule.tier(tier).severity
    said = tuple(dict.fromkeys(exceptions))
    if own == SEVERITIES[-1] or not unread or any(reason.kind != "not-sent" for reason in unread):
        return Changed(own, None, said)
    return Changed(SEVERITIES[SEVERITIES.index(own) + 1], _NOT_SENT, said)

"""What changes a fired rule's severity: the protocol's own conditions, each with its reason."""

from __future__ import annotations

from cds_service.protocol.model import Rule, Severity
from cds_service.rules.case import Case
from cds_service.rules.clauses import evaluate


def changed_severity(rule: Rule, tier: str, case: Case) -> tuple[Severity | None, str | None]:
    """(severity, why it is not the tier's own). None: the rule is silent. What cannot be told changes nothing."""
    severity: Severity = rule.tier(tier).severity
    for change in rule.changes:
        if (not change.tiers or tier in change.tiers) and evaluate(change.when, case).holds:
            return (None if change.to == "none" else change.to), change.because
    return severity, None

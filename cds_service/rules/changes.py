"""What changes a fired rule's severity: the protocol's own conditions, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cds_service.protocol.filters import grade
from cds_service.protocol.model import SEVERITIES, Change, Rule, Severity, SiteChange
from cds_service.rules.case import Case
from cds_service.rules.clauses import evaluate
from cds_service.rules.outcome import Outcome, Reason
from cds_service.says import Says
from cds_service.says import findings as says

_UNREAD = ("failed", "not-sent", "not-placed")
"""Never measured is part of the rule, and what is not judged is said at the start: neither makes a finding worse."""


class Changed(msgspec.Struct, frozen=True):
    """The severity that is left (None: the rule is silent), why it is not the tier's own, and what was not read."""

    severity: Severity | None
    because: Says | None = None
    exceptions: tuple[Reason, ...] = ()
    filtered: SiteChange | None = None
    """The site's filter that lowered it."""

    def of(self, outcome: Outcome) -> Outcome:
        """A fired outcome at this severity."""
        changed = msgspec.structs.replace(
            outcome,
            severity=self.severity,
            because=self.because,
            exceptions=self.exceptions,
            filtered=self.filtered,
        )
        if self.severity is None:
            return msgspec.structs.replace(
                changed, status="suppressed", proposals=(), ceilings=(), edits=(), removes=False
            )
        return changed


def changed_severity(rule: Rule, tier: str, case: Case, unread: Sequence[Reason] = ()) -> Changed:
    """The severity of a tier that holds. `unread` are exceptions of its own clause that could not be read.

    Such an exception leaves the finding one tier milder where its list was not sent, and as it is where it failed. A
    change to a milder severity that cannot be told changes nothing; one to a worse severity counts, one tier milder
    where its list was not sent, since the worse reading is judged. A site's filters come last, and only lower.
    """
    changes = [each for each in rule.changes if not each.tiers or tier in each.tiers]
    changed = _by_protocol(rule, tier, [each for each in changes if each.site is None], case, unread)
    for each in changes:
        if each.site is not None:
            changed = _filtered(changed, each, each.site, case)
    return changed


def _filtered(changed: Changed, change: Change, site: SiteChange, case: Case) -> Changed:
    """What a site's filter leaves of a finding. One that cannot be read changes nothing, and the card says so."""
    if changed.severity is None or grade(change.to) <= grade(changed.severity):
        return changed
    verdict = evaluate(change.when, case)
    if not verdict.holds or verdict.reasons:
        unread = tuple(dict.fromkeys((*changed.exceptions, *verdict.reasons)))
        return msgspec.structs.replace(changed, exceptions=unread)
    because = says.FILTER_OF_SITE(change.because, site.owner, str(site.date))
    severity = None if change.to == "none" else change.to
    return msgspec.structs.replace(changed, severity=severity, because=because, filtered=site)


def _by_protocol(rule: Rule, tier: str, changes: Sequence[Change], case: Case, unread: Sequence[Reason]) -> Changed:
    exceptions = list(unread)
    own: Severity = rule.tier(tier).severity
    feared: Severity = own
    for change in changes:
        verdict = evaluate(change.when, case)
        if verdict.holds and not verdict.reasons and feared == own:
            return Changed(None if change.to == "none" else change.to, change.because, tuple(exceptions))
        exceptions += verdict.reasons
        if change.to != "none" and any(reason.kind in _UNREAD for reason in verdict.reasons):
            feared = min(feared, _if_unread(change.to, verdict.reasons), key=SEVERITIES.index)
    said = tuple(dict.fromkeys(exceptions))
    if feared != own:
        return Changed(feared, says.WORSE_NOT_RULED_OUT, said)
    left = _if_unread(own, unread)
    return Changed(left, None if left == own else says.EXCEPTION_NOT_SENT, said)


def _if_unread(severity: Severity, reasons: Sequence[Reason]) -> Severity:
    """What is left of a severity where something beside it could not be read: all of it, but if it was not sent."""
    if not reasons or severity == SEVERITIES[-1] or any(reason.kind != "not-sent" for reason in reasons):
        return severity
    return SEVERITIES[SEVERITIES.index(severity) + 1]

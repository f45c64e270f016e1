"""Rows 70 and 71: a dose that could not be read, and an allergy list that is empty."""

from __future__ import annotations

from cds_service.chart.facts import Fact
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.order_rules import NASAL, fired
from cds_service.rules.outcome import Outcome, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks


@asks("bodySize", "patient")
def unreadable_dose(case: Case, rule: Rule) -> Outcome:
    """Words alone, an unknown unit, a contradiction; at order-sign also no dose at all. Never a guess."""
    order = case.order
    if order.labelled_nasal:
        return clear(rule, order.reference, NASAL)
    said = list(dict.fromkeys(s for step in steps_at_dosing_weight(case) for s in step.contradictions))
    if said:
        return fired(case, rule, "contradiction", *(Fact(each) for each in said))
    problems = [Fact(f"{p.where}: {p.says}") for written in order.written for p in written.problems]
    problems += [Fact(fault) for fault in order.faults if "dosageInstruction" in fault]
    if problems:
        return fired(case, rule, "unreadable", *dict.fromkeys(problems))
    in_words = [written for written in order.written if not written.has_amount and written.text]
    if in_words:
        return fired(case, rule, "text-only", *(Fact(f"“{written.text}”") for written in in_words))
    if case.signing and not any(written.has_amount for written in order.written):
        return fired(case, rule, "no-dose")
    return clear(rule, order.reference)


@asks("allergies")
def allergy_list(case: Case, rule: Rule) -> Outcome:
    """Not even "no known allergy" is recorded."""
    if case.chart.has_allergy_list:
        return clear(rule, case.order.reference)
    if unread := undelivered(case.chart, "allergies"):
        return could_not_tell(rule, case.order.reference, *unread)
    return fired(case, rule, "empty")

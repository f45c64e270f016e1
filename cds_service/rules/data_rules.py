"""A dose that could not be read, and an allergy list that is empty."""

from __future__ import annotations

from cds_service.chart.facts import Fact
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.says import Said, Says
from cds_service.says.findings import WORDS
from cds_service.says.orders import IN_ITS_PART, NO_DOSE

_SAID_TWICE, _NO_AMOUNT, _NO_TIMING, _IN_WORDS, _NOTHING = (
    "two statements", "unreadable amount", "unreadable timing", "words alone", "nothing at signing"
)  # fmt: skip


@asks("bodySize", "patient", tiers=(_SAID_TWICE, _NO_AMOUNT, _NO_TIMING, _IN_WORDS, _NOTHING))
def unreadable_dose(case: Case, rule: Rule) -> Outcome:
    """Words alone, an unknown unit, a contradiction; at order-sign also no dose at all. Never a guess."""
    order = case.order
    steps = steps_at_dosing_weight(case)
    said: list[Says] = [s for step in steps for s in step.contradictions]
    said += [s for written in order.written if not written.has_amount for s in written.contradictions]
    problems = [p for written in order.written for p in written.problems]
    unread: list[Says] = [IN_ITS_PART(p.where, p.says) for p in problems if p.of == "amount"]
    unread += [fault for fault in order.faults if _is_of_dosage(fault)]
    empty = [w for w in order.written if not (w.has_amount or w.words or w.problems or w.container)]
    if len(empty) < len(order.written):
        unread += [IN_ITS_PART(f"dosageInstruction[{w.index}]", NO_DOSE) for w in empty]
    in_part: list[Says] = [IN_ITS_PART(p.where, p.says) for p in problems if p.of == "timing"]
    in_part += [each for step in steps for each in step.uncompared]
    in_words: list[Says] = [
        WORDS(words) for w in order.written if not w.has_amount and w.words for words in w.words[:1]
    ]
    problems_of = {_SAID_TWICE: said, _NO_AMOUNT: unread, _NO_TIMING: in_part, _IN_WORDS: in_words}
    facts = [Fact(each) for each in dict.fromkeys(each for found in problems_of.values() for each in found)]
    worst = next((name for name, found in problems_of.items() if found), None)
    if worst is not None:
        return fired(case, rule, rule.tier_of[worst], *facts)
    if case.signing and not any(written.has_amount for written in order.written):
        return fired(case, rule, rule.tier_of[_NOTHING])
    return clear(rule, order.reference)


def _is_of_dosage(fault: Says) -> bool:
    """Whether a part that could not be read is one of the dosage."""
    return isinstance(fault, Said) and any("dosageInstruction" in str(value) for value in fault.values)


@asks("allergies", tiers=("nothing recorded",))
def allergy_list(case: Case, rule: Rule) -> Outcome:
    """Not even "no known allergy" is recorded."""
    if case.chart.has_allergy_list:
        return clear(rule, case.order.reference)
    if unread := undelivered(case.chart, "allergies"):
        return could_not_tell(rule, case.order.reference, *unread)
    return fired(case, rule, rule.tier_of["nothing recorded"])

"""What an order is for, where nothing, words alone or an unknown code say it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from cds_service.chart.facts import Fact
from cds_service.orders.indication import Use
from cds_service.orders.proposal import Proposal, SetReason
from cds_service.protocol.model import SEVERITIES, Orderable, Rule, Severity
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.dose_outcomes import severity_as, use_named
from cds_service.rules.dosing_weight import steps_at_every_weight
from cds_service.rules.order_rules import edited_order, fired
from cds_service.rules.outcome import Offers, Outcome, clear
from cds_service.rules.reads import asks
from cds_service.says import Named, Says, severity_named

_Verdicts = dict[Use, Severity | None]
"""What the rules of the dose would say of the order if it were for this; None: it is within its limits."""


_FOUND = (
    "nothing said", "nothing said and it matters", "said in words", "said in words and it matters", "code not known",
    "code not known and it matters",
)  # fmt: skip


@asks(
    *("bodySize", "patient", "encounter", "medications", "medicationStatements", "administrations"),
    limits=("above", "up to", "shortest", "longest"),
    tiers=_FOUND,
    other_rules=True,
)
def judge(case: Case, rule: Rule) -> Outcome:
    """Nothing that is coded says what the order is for; it matters most where the verdict would change."""
    indication = case.order.indication
    if indication.in_words:
        return _in_words(case, rule)
    if not indication.assumed:
        return clear(rule, case.order.reference)
    if indication.given:
        return _unknown(case, rule)
    depends = not case.order.labelled_nasal and _verdict_depends(case, RuleLimits(case, rule))
    tier = rule.tier_of["nothing said and it matters" if depends else "nothing said"]
    return _offering(case, fired(case, rule, tier))


def _in_words(case: Case, rule: Rule) -> Outcome:
    """Words name an indication: it is judged as that, and held against what it would be as pain."""
    indication, named = case.order.indication, case.terms.indications
    default = case.terms.use
    uses = dict.fromkeys((default, *(known.use for name, known in named.items() if name in indication.in_words)))
    if list(uses) == [default]:
        return clear(rule, case.order.reference)
    verdicts = {use: severity_as(case, use) for use in uses}
    depends = len(set(verdicts.values())) > 1
    tier = rule.tier_of["said in words and it matters" if depends else "said in words"]
    return _offering(case, fired(case, rule, tier, Fact(indication.said), **_named(case, verdicts)), uses)


def _unknown(case: Case, rule: Rule) -> Outcome:
    """A reason in no list was judged as pain; where that objects, it may be for something that does not."""
    default, uses = case.terms.use, dict.fromkeys(known.use for known in case.terms.indications.values())
    as_default = severity_as(case, default)
    verdicts: _Verdicts = {default: as_default}
    if as_default is not None:
        verdicts = {use: severity_as(case, use) for use in uses}
    depends = len(set(verdicts.values())) > 1
    tier = rule.tier_of["code not known and it matters" if depends else "code not known"]
    facts = [Fact(words) for words in case.order.indication.unmapped]
    outcome = fired(case, rule, tier, *facts, **_named(case, verdicts))
    return _offering(case, replace(outcome, asks_first=depends and _verdict_depends(case, RuleLimits(case, rule))))


def _named(case: Case, verdicts: _Verdicts) -> dict[str, Says]:
    """The worst and the mildest verdict, each with what it is for."""

    def rank(use: Use) -> int:
        severity = verdicts[use]
        return SEVERITIES.index(severity) if severity is not None else len(SEVERITIES)

    said: dict[str, Says] = {}
    for name, use in (("worst", min(verdicts, key=rank)), ("mildest", max(verdicts, key=rank))):
        severity = verdicts[use]
        said[name] = severity_named(severity) if severity is not None else ""
        said[f"{name}_as"] = use_named(case, use.name)
    return said


def _offering(case: Case, outcome: Outcome, uses: Iterable[Use] | None = None) -> Outcome:
    """The outcome with the reasons that it offers, made when they are shown: each is a whole order to be checked."""
    assert outcome.tier is not None
    return replace(outcome, proposals=Offers(partial(_offers, case, outcome.rule, outcome.tier, uses)))


def _offers(case: Case, rule: Rule, tier: str, uses: Iterable[Use] | None = None) -> list[Proposal]:
    """The reasons that the tier offers; with `uses`, those of them alone, and first what the words name."""
    choices = [(name, case.protocol.orderables[name]) for name in rule.tier(tier).suggests]
    if uses is not None:
        wanted = list(uses)
        of_use = [(wanted.index(use), each) for each in choices if (use := _use_of(case, each[1])) in wanted]
        choices = [each for _, each in sorted(of_use, key=lambda pair: pair[0] or len(wanted))]
    return [
        proposal
        for name, choice in choices
        for proposal in edited_order(
            case,
            "indication",
            [SetReason([(c.system, c.code, c.display) for c in choice.codings], choice.title)],
            label=Named(f"label-of-{name}", choice.label),
        )
    ]


def _use_of(case: Case, reason: Orderable) -> Use | None:
    """What an order with this reason would be judged as."""
    codes = [(coding.system, coding.code) for coding in reason.codings]
    for known in case.terms.indications.values():
        if any(case.valuesets.member(name, codes) for name in known.sets):
            return known.use
    return None


def _verdict_depends(case: Case, limits: RuleLimits) -> bool:
    low, high = limits.number("above"), limits.number("up to")
    shortest, longest = limits.number("shortest"), limits.number("longest")
    return any(
        step.finite
        and step.mg_per_kg is not None
        and step.minutes is not None
        and low < step.mg_per_kg <= high
        and shortest <= step.minutes < longest
        for step in steps_at_every_weight(case)
    )

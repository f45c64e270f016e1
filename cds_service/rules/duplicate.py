"""Another ketamine or esketamine order, a running infusion, or a dose of the last day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cds_service.chart.facts import Fact, Medicine, coded, on
from cds_service.orders.proposal import Proposal
from cds_service.orders.regimen import Kind, Step
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.clauses.medicines import unplaced_doses
from cds_service.rules.clauses.verdict import in_sets
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.given_so_far import is_within
from cds_service.rules.order_rules import fired
from cds_service.rules.other_orders import Other, bare, other_orders, own_ids
from cds_service.rules.outcome import Outcome, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.says.entries import GIVEN
from cds_service.says.findings import IN_STATE


@asks(
    "medications",
    "medicationStatements",
    "administrations",
    "conditions",
    "bodySize",
    "patient",
    limits=("window", "nasal window", "hour", "day", "warning", "critical"),
    tiers=("another is active", "another was given", "a session was given", "one plan within the limits"),
    other_rules=True,
)
def judge(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """Every other order or dose of the same family of drugs that is neither this order nor what it replaces."""
    limits, others = RuleLimits(case, rule), other_orders(case)
    is_plan = bool(others) and _is_one_plan(case, others, tuple(limits.limit("warning").routes))
    apart = [other for other in others if not (other.in_group and _belongs(case, other))]
    active = [other.fact for other in apart if not (is_plan and other.drafted)]
    if active and not is_plan:
        return fired(case, rule, rule.tier_of["another is active"], *active), []
    doses = list(_given(case, limits))
    given = [
        Fact(
            IN_STATE(dose.name, GIVEN, on(dose.end, case.now)),
            dose.reference,
            used=coded("medicine", dose.members, dose.end),
        )
        for dose in doses
    ]
    if any(_was_session(case, dose) for dose in doses):
        return fired(case, rule, rule.tier_of["a session was given"], *given), []
    if active or given:
        is_quiet = not given or is_within(case, limits, given)
        found = "one plan within the limits" if is_quiet else "another was given"
        return fired(case, rule, rule.tier_of[found], *active, *given), []
    reasons = (
        *undelivered(case.chart, "medications", "medicationStatements", "administrations"),
        *unplaced_doses(case),
    )
    return (
        could_not_tell(rule, case.order.reference, *reasons) if reasons else clear(rule, case.order.reference)
    ), []


def _is_one_plan(case: Case, others: Sequence[Other], routes: Sequence[str]) -> bool:
    """Whether loading dose, infusion and rescue are each ordered once at most, of one drug; their sum has a rule."""
    if case.order.indication.in_sessions or any(other.in_sessions or not other.of_drug for other in others):
        return False
    own = steps_at_dosing_weight(case)
    if any(step.route.kind not in routes for step in (*own, *(step for other in others for step in other.steps))):
        return False
    roles = [{_role(step) for step in own}, *map(_roles, others)]
    taken = [role for each in roles for role in each]
    return all(roles) and "unknown" not in taken and len(taken) == len(set(taken))


def _roles(other: Other) -> set[str]:
    """What another order's steps are in a plan; what is unknown of another draft is said of that."""
    if other.mg_per_hour is not None:
        return {"infusion"}
    return {"unknown" if not other.drafted and _is_open(step) else _role(step) for step in other.steps}


def _role(step: Step) -> str:
    if step.kind is None:
        return "unknown"
    if step.kind == "continuous":
        return "infusion"
    return "rescue" if step.written.as_needed else "dose"


def _is_open(step: Step) -> bool:
    """Whether nothing says how much a step comes to in an hour."""
    if step.kind == "continuous":
        return (step.mg_per_hour, step.mg_per_kg_per_hour) == (None, None)
    is_uncapped = step.written.as_needed and step.written.repeat.interval is None and step.written.cap is None
    return is_uncapped or (step.mg, step.mg_per_kg) == (None, None)


def _belongs(case: Case, other: Other) -> bool:
    """Bolus or short with an infusion, or bolus with short: parts of one plan, in one group."""
    own, kinds = {step.kind for step in steps_at_dosing_weight(case)}, {step.kind for step in other.steps}
    doses: set[Kind | None] = {"bolus", "short"}
    pairs = ((own, kinds), (kinds, own))
    return any(
        (one == {"continuous"} and bool(two) and two <= doses) or (one == {"bolus"} and two == {"short"})
        for one, two in pairs
    )


def _was_session(case: Case, dose: Medicine) -> bool:
    """Whether a dose, or the order that it was given by, was for what this order is for in sessions."""
    if not case.order.indication.in_sessions:
        return False
    sets = {
        name.partition("/")[0]
        for kinds in case.terms.indications.values()
        if kinds.use.session
        for name in kinds.sets
    }
    by = [
        each for each in case.chart.medicines if dose.order is not None and bare(each.reference) == bare(dose.order)
    ]
    return any(sets.intersection(each.reasons) for each in (dose, *by))


def _given(case: Case, limits: RuleLimits) -> Iterator[Medicine]:
    own = own_ids(case.order.request)
    for medicine in case.chart.medicines:
        if not medicine.given or not case.is_ours(medicine.identity):
            continue
        if medicine.status != "completed" or medicine.end is None:
            continue
        window = limits.window("nasal window" if _is_labelled_nasal(case, medicine) else "window")
        if bare(medicine.order) not in own and medicine.end.age(case.now) <= window:
            yield medicine


def _is_labelled_nasal(case: Case, medicine: Medicine) -> bool:
    labelled, identity = case.protocol.nasal, medicine.identity
    if labelled is None or identity is None or identity.drug != labelled.drug:
        return False
    by_code = case.valuesets.member(labelled.products, identity.codings) is not None
    return by_code or in_sets(medicine.members, [labelled.products]) or labelled.route in medicine.routes

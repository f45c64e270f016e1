"""How often, in which strength and by which route."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from cds_service.chart.facts import Fact
from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders import words
from cds_service.orders.dosage import Written
from cds_service.orders.proposal import Action, Edit, Proposal, SetProduct, SetRepeat
from cds_service.protocol.limits import listed
from cds_service.protocol.model import Protocol, Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.clauses.medicines import unplaced_doses
from cds_service.rules.clauses.ordered import planned_per_week
from cds_service.rules.dosing_weight import steps_at_dosing_weight
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.rules.repair import changed_order, with_edits
from cds_service.says import Named, Says, route_named
from cds_service.says import findings as says
from cds_service.says.orders import NO_STRENGTH


def fired(case: Case, rule: Rule, tier: str, *facts: Fact, **values: Says) -> Outcome:
    """An outcome of one tier, with what its card says."""
    entry = rule.tier(tier)
    values.setdefault("ordered", case.ordered)
    for name in entry.shown:
        values[name.replace("-", "_")] = listed([show(number) for number in case.book.numbers(name)])
    return Outcome(
        rule=rule,
        status="fired",
        order=case.order.reference,
        tier=tier,
        severity=entry.severity,
        facts=facts,
        values=values,
        limits=tuple(case.limit(name) for name in entry.shown),
    )


def edited_order(case: Case, kind: str, edits: list[Edit], **values: Says) -> list[Proposal]:
    """The update of the order after edits; none where it cannot be sent as valid R4."""
    after = with_edits(case, edits)
    if after is None:
        return []
    valid = changed_order(case, after)
    if valid is None:
        return []
    values |= {"to": words.regimen(after.order.written), "from": case.ordered, "equivalent": ""}
    return [Proposal(kind, (Action("update", resource=valid),), values)]


# How often ------------------------------------------------------------------------------------------


@asks("administrations", limits=("most", "offered", "window"), tiers=("planned too often", "given too often"))
def frequency(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """More antidepressant doses in a week than were studied, planned or given."""
    order = case.order.reference
    if case.order.labelled_nasal:
        return clear(rule, order, says.NASAL), []
    if not case.order.indication.in_sessions:
        return clear(rule, order, says.NOT_IN_SESSIONS), []
    limits = RuleLimits(case, rule)
    most = limits.number("most")
    planned = {w.index: planned_per_week(w) for w in case.order.written}
    too_often = {index: per_week for index, per_week in planned.items() if per_week is not None and per_week > most}
    if too_often:
        offered = int(limits.number("offered"))
        edits: list[Edit] = [SetRepeat(index, offered, 1, "wk") for index in too_often]
        values = {"figure": show(max(too_often.values()), most), "limit": show(most)}
        outcome = fired(case, rule, rule.tier_of["planned too often"], **values)
        return replace(outcome, edits=tuple(edits)), []
    days = _days_given(case, limits.window("window"))
    if len(days) > most:
        facts = [Fact(says.GIVEN_ON(", ".join(sorted(days))))]
        return fired(case, rule, rule.tier_of["given too often"], *facts, figure=str(len(days)), limit=show(most)), []
    reasons = [Reason("dose", says.HOW_OFTEN_UNREAD) for w in case.order.written if w.repeat.unreadable]
    reasons += undelivered(case.chart, "administrations")
    reasons += unplaced_doses(case, given=True)
    return (could_not_tell(rule, order, *reasons) if reasons else clear(rule, order)), []


def _days_given(case: Case, window: timedelta) -> set[str]:
    return {
        medicine.start.latest.astimezone(case.chart.zone).date().isoformat()
        for medicine in case.chart.medicines
        if medicine.given
        and case.is_ours(medicine.identity)
        and medicine.status == "completed"
        and medicine.start is not None
        and medicine.start.age(case.now) <= window
    }


# In which strength ------------------------------------------------------------------------------------------


@asks("bodySize", "patient", limits=("strength",), tiers=("pushed", "infused"))
def undiluted(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """A strength that must be diluted, ordered by vein without a diluent."""
    order, strength = case.order, case.order.concentration
    undiluted = RuleLimits(case, rule).number("strength")
    if order.labelled_nasal:
        return clear(rule, order.reference, says.NASAL), []
    routes = {w.route.kind for w in order.written} or {"unstated"}
    if not routes.intersection(("intravenous", "intraosseous", "unstated")) or strength.diluted:
        return clear(rule, order.reference), []
    if strength.mg_per_ml is None:
        return could_not_tell(rule, order.reference, Reason("concentration", strength.problem or says.UNKNOWN)), []
    if strength.mg_per_ml < undiluted:
        if strength.by == "name":
            return could_not_tell(rule, order.reference, Reason("concentration", strength.problem or "")), []
        return clear(rule, order.reference), []
    pushed = any(step.kind == "bolus" or step.is_push for step in steps_at_dosing_weight(case))
    figures = {"figure": show(strength.mg_per_ml), "limit": show(undiluted)}
    outcome = fired(case, rule, rule.tier_of["pushed" if pushed else "infused"], **figures)
    return outcome, list(_other_products(case, rule))


def _other_products(case: Case, rule: Rule) -> Iterator[Proposal]:
    """A weaker product; never where the dose is in mL, which would then be another dose."""
    if any(a.dimension.startswith("volume") for w in case.order.written for a in (*w.dose, *w.rate)):
        return
    for name in rule.suggests:
        product = case.protocol.orderables.get(name)
        if product is not None and product.kind == "product" and case.order.drug == case.protocol.drugs[0]:
            codings = [(c.system, c.code, c.display) for c in product.codings]
            yield from edited_order(
                case, "product", [SetProduct(codings, product.title)], label=Named(f"label-of-{name}", product.label)
            )


@asks(limits=("in use", "undiluted", "salt", "rounding"), tiers=("no strength", "not in use"))
def concentration_missing(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """A dose in mL whose strength is not known, or is none that is in use.

    What a pharmacy mixed, so many mg in so many mL, is in use as it stands, up to the strongest product; but not
    where it is a listed strength times the salt factor, which is salt stated as base.
    """
    order, strength = case.order, case.order.concentration
    if order.labelled_nasal:
        return clear(rule, order.reference, says.NASAL), []
    in_volume = [written for written in order.written if _in_millilitres(written)]
    if not in_volume:
        return clear(rule, order.reference), []
    if strength.mg_per_ml is None or strength.by == "name":
        return fired(case, rule, rule.tier_of["no strength"], why=strength.problem or NO_STRENGTH), []
    limits = RuleLimits(case, rule)
    routes = limits.limit("in use").routes
    if routes and not any(written.route.kind in routes for written in in_volume):
        return clear(rule, order.reference, says.STRENGTHS_OF_OTHER_ROUTES), []
    known = limits.numbers("in use")
    strongest = limits.number("undiluted")
    if strength.mg_per_ml in (*known, strongest):
        return clear(rule, order.reference), []
    as_salt = [each * limits.number("salt") for each in known]
    rounding = limits.number("rounding") / 100
    is_salt = any(abs(strength.mg_per_ml - each) <= each * rounding for each in as_salt)
    if strength.mixed and strength.mg_per_ml <= strongest and not is_salt:
        return clear(rule, order.reference), []
    return fired(case, rule, rule.tier_of["not in use"], figure=show(strength.mg_per_ml, *known)), []


def _in_millilitres(written: Written) -> bool:
    """Whether what is given is written in mL; a bag beside a rate in mg is not."""
    if written.rate:
        return written.rate[0].dimension.startswith("volume")
    return any(amount.dimension == "volume" for amount in written.dose)


# By which route ------------------------------------------------------------------------------------------


def _limited(protocol: Protocol) -> frozenset[str]:
    return frozenset(name for limit in protocol.limits.values() for name in limit.routes)


_NEVER = ("intrathecal-epidural-perineural", "intra-arterial")
_IN_PROTOCOL = ("intravenous", "intraosseous")


@asks(
    "bodySize",
    "patient",
    limits=("strength",),
    tiers=("cannot be read", "never by it", "injected under the skin", "infused under the skin", "strong on the skin",
           "with limits of its own", "any other"),
    other_rules=True,
)  # fmt: skip
def route(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """A route that the protocol's limits do not cover, or one that cannot be read."""
    order = case.order
    if order.labelled_nasal:
        return clear(rule, order.reference, says.NASAL), []
    strong = RuleLimits(case, rule)
    limited = kept(case.protocol, "routes with limits", _limited)
    mg_per_ml, most = order.concentration.mg_per_ml, strong.number("strength")
    found: dict[str, tuple[Says, Says]] = {}
    figures: dict[str, str] = {}
    kinds = {step.written.index: step.kind for step in steps_at_dosing_weight(case)}
    for written in order.written:
        given = written.route
        kind = route_named(given.kind)
        if given.unclear is not None:
            for worst in filter(given.named.__contains__, _NEVER):
                found.setdefault("never by it", (route_named(worst), given.unclear))
            found.setdefault("cannot be read", (given.in_words, given.unclear))
        elif given.kind in _NEVER:
            found.setdefault("never by it", (given.given or kind, ""))
        elif given.kind == "subcutaneous":
            injected = kinds.get(written.index) in ("bolus", "short")
            found.setdefault("injected under the skin" if injected else "infused under the skin", (kind, ""))
        elif given.kind in strong.limit("strength").routes and mg_per_ml is not None and mg_per_ml > most:
            figures = {"figure": show(mg_per_ml, most), "limit": show(most)}
            found.setdefault("strong on the skin", (kind, ""))
        elif given.kind not in (*_IN_PROTOCOL, "unstated"):
            is_judged = given.kind in limited and kinds.get(written.index) != "continuous"
            found.setdefault("with limits of its own" if is_judged else "any other", (given.given or kind, ""))
    named = {rule.tier_of[name]: said for name, said in found.items()}
    for tier in rule.tiers:
        if tier.name in named:
            given_as, why = named[tier.name]
            return fired(case, rule, tier.name, route=given_as, why=why, **figures), []
    return clear(rule, order.reference), []

"""A fact of the protocol as an expression of CQL, with the same three values; or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

from cds_service.protocol import model
from cds_service.protocol.cql.amounts import Amount, judged_as
from cds_service.protocol.cql.scope import CURRENT, HISTORY, Scope, Unsaid, texts, union

_AROUND_DOSE = "false /* asked when a chart is opened, and of no order */"
_NO_CODES = "null as Boolean /* the value set has no codes yet */"
_COMPARED = {"above": "Is above", "below": "Is below", "at_most": "Is at most", "at_least": "Is at least"}
_SIGNS = {"above": ">", "below": "<", "at_most": "<=", "at_least": ">="}


@singledispatch
def expression(clause: Any, scope: Scope) -> str:
    """The expression of a fact that is no logic. Raises Unsaid."""
    raise Unsaid(f"nothing says {type(clause).__name__} in CQL")


def _refuse(clause: Any, unsaid: dict[str, str]) -> None:
    """Raise Unsaid for the first of these fields that the clause uses."""
    defaults = dict(zip(type(clause).__struct_fields__, _defaults(clause), strict=True))
    for field, why in unsaid.items():
        if getattr(clause, field) != defaults[field]:
            raise Unsaid(why)


def _defaults(clause: Any) -> Sequence[Any]:
    """The default of each field; a list where the default is made anew."""
    fields = type(clause).__struct_fields__
    given = type(clause).__struct_defaults__
    made: list[Any] = [each if isinstance(each, bool | str | type(None)) else [] for each in given]
    return [*[None] * (len(fields) - len(made)), *made]


def _one_holds(answers: str, incomplete: str) -> str:
    return f'Chart."One holds"(\n  {_indented(answers)},\n  {incomplete}\n)'


def _indented(lines: str) -> str:
    return lines.replace("\n", "\n  ")


# Recorded -----------------------------------------------------------------------------------------------------


@expression.register
def _(clause: model.ConditionIs, scope: Scope) -> str:
    kind = HISTORY if clause.history and clause.status != "active" else CURRENT
    counts = {"active": 'Chart."Is active"(P)', "inactive": 'Chart."Is over"(P)', "any": 'Chart."Counts"(P)'}
    own = [scope.value_set(name, CURRENT) for name in clause.sets]
    lists = [_problems(own, clause, scope, counts[clause.status])]
    with_history = [name for name in clause.sets if kind == HISTORY and scope.has_history(name.partition("/")[0])]
    if with_history:
        # A code that says that the problem is past is no active problem, whatever its status.
        past = [scope.value_set(name, HISTORY) for name in with_history]
        lists.append(_problems(past, clause, scope, 'Chart."Counts"(P)'))
    incomplete = 'Chart."Problems are incomplete"'
    if clause.asks:
        asked = union([f"[Condition: {scope.value_set(name)}]" for name in clause.asks])
        incomplete += f"\n    or exists (({asked}) P where Coalesce({counts[clause.status]}, true))"
    answers = lists[0] if len(lists) == 1 else f"flatten {{ ({'), ('.join(lists)}) }}"
    return _one_holds(answers, incomplete)


def _problems(sets: Sequence[str], clause: model.ConditionIs, scope: Scope, counts: str) -> str:
    where = ""
    if clause.unless_in:
        where = f"\n  where not ({scope.in_any('P.code', clause.unless_in)})"
    holds = [counts]
    if clause.undated == "only":
        holds.append('Chart."Begun"(P) is null')
    elif clause.within is not None:
        recent = f'Chart."May be since"(Chart."Begun"(P), {scope.since(clause.within)})'
        holds.append(f'(Chart."Begun"(P) is null or {recent})' if clause.undated == "yes" else recent)
    if clause.unless_later:
        later = " and ".join(_measured(each, scope, 'Chart."Begun"(P)') for each in clause.unless_later)
        holds.append(f"({_indented(later)}) is not true")
    found = union([f"[Condition: {name}]" for name in sets])
    return f"({found}) P{where}\n  return all {' and '.join(holds)}"


@expression.register
def _(clause: model.AllergyIs, scope: Scope) -> str:
    kinds = {
        "any": "",
        "allergy": ' where not Chart."Is intolerance"(A)',
        "intolerance": ' where Chart."Is intolerance"(A)',
    }
    found = union([f"[AllergyIntolerance: {scope.value_set(name)}]" for name in clause.sets])
    incomplete = 'Chart."Allergies are incomplete"'
    if clause.asks:
        asked = union([f"[AllergyIntolerance: {scope.value_set(name)}]" for name in clause.asks])
        incomplete += f'\n    or exists (({asked}) A where Coalesce(Chart."Is recorded"(A), true))'
    return _one_holds(f'({found}) A{kinds[clause.kind]}\n  return all Chart."Is recorded"(A)', incomplete)


@expression.register
def _(clause: model.ProcedureIs, scope: Scope) -> str:
    found = union([f"[Procedure: {scope.value_set(name)}]" for name in clause.sets])
    holds = ['Chart."Was done"(P)']
    if clause.within is not None:
        holds = [f'Chart."Was done since"(P, {scope.since(clause.within)})']
    if clause.this_encounter:
        holds.append('Chart."Is of this encounter"(P)')
    where = ""
    if clause.unless_later:
        later = union([f"[Procedure: {scope.value_set(name)}]" for name in clause.unless_later])
        where = (
            f'\n  where not exists (({later}) L\n    where Chart."Was done"(L) is true\n'
            '      and Chart."Is after"(Chart."Performed"(L), Chart."Performed"(P)))'
        )
        # One without a date, or in words, may have been later.
        undated = 'Chart."Was done"(L) and Chart."Performed"(L) is null'
        unclear = f'exists (({later}) L where Chart."Was done"(L) is null or ({undated}))'
        holds.append(
            f'(if {unclear}\n      or exists Chart."Procedures in words"\n    then null as Boolean else true)'
        )
    return _one_holds(f"({found}) P{where}\n  return all {' and '.join(holds)}", 'Chart."Procedures are incomplete"')


# Measured -----------------------------------------------------------------------------------------------------


@expression.register
def _(clause: model.ObservationIs, scope: Scope) -> str:
    return _measured(clause, scope)


def _measured(clause: Any, scope: Scope, after: str | None = None) -> str:
    """`after`: the moment that the readings must be later than."""
    if not isinstance(clause, model.ObservationIs):
        raise Unsaid("what takes a problem away is no measurement")
    if clause.around_dose is not None:
        return _AROUND_DOSE
    _refuse(
        clause,
        {
            "risen_by": "a rise over the readings before is not said",
            "fallen_by": "a fall below the readings before is not said",
            "twice_within": "two readings that confirm each other are not said",
        },
    )
    if scope.without_codes(clause.sets):
        return _NO_CODES
    every = [scope.readings_of(name) for name in clause.sets]
    readings = every[0] if len(every) == 1 else f"flatten {{ {', '.join(every)} }}"
    if after is not None:
        readings = f'Chart."Later than"({readings}, {after})'
    earliest = scope.since(clause.within) if clause.within is not None else "null as DateTime"
    is_there = clause.any_value or clause.present
    found = f'Chart."{"Read since" if is_there else "Since"}"({readings}, {earliest})'
    if clause.which == "newest":
        found = f'Chart."Newest"({found})'
    elif clause.which == "newest-of-each-code":
        found = f'Chart."Newest of each code"({found})'
    keys = scope.keys(clause.sets)
    if is_there:
        holds = "true" if clause.present else "R.hasValue"
        return f'Chart."Has result"(\n  ({found}) R return all {holds},\n  {keys}\n)'
    holds = " and ".join(_holds(clause, scope))
    return f'Chart."Measured"(\n  ({found}) R\n    return all {holds},\n  {readings}, {earliest}, {keys}\n)'


def _holds(clause: model.ObservationIs, scope: Scope) -> list[str]:
    if clause.answer:
        return [_answers(clause, scope)]
    if clause.date_ahead is not None:
        return [f'Chart."Lies ahead"(R.date, {scope.since(clause.date_ahead)})']
    if clause.above_reference:
        return ['Chart."Is above reference"(R.quantity, R.answer, R.ranges, R.interpretation)']
    if clause.above_reference_times is not None:
        factor = scope.number(clause.above_reference_times)
        return [f'Chart."Is above reference times"(R.quantity, R.ranges, {factor})']
    if clause.in_reference:
        return ['Chart."Is within reference"(R.quantity, R.ranges)']
    return [_compared(field, limits, scope) for field in _COMPARED if (limits := getattr(clause, field))]


def _compared(field: str, limits: Sequence[str], scope: Scope) -> str:
    """Where several limits are named, the one in the reading's kind of unit counts."""
    if any(map(scope.is_plain, limits)):
        (limit,) = limits
        return f'Chart."Points"(R.quantity, R.number) {_SIGNS[field]} {scope.number(limit)}'
    each = [f'Chart."{_COMPARED[field]}"(R.quantity, {scope.quantity(limit)})' for limit in limits]
    return each[0] if len(each) == 1 else f"Coalesce({', '.join(each)})"


def _answers(clause: model.ObservationIs, scope: Scope) -> str:
    def said(sets: Sequence[str]) -> str:
        if not sets:
            return "false"
        interpreted = f"exists (R.interpretation I where {scope.in_any('I', sets)})"
        return f"Coalesce({scope.in_any('R.answer', sets)}, false) or {interpreted}"

    is_number = "R.quantity is not null and R.answer is null"
    yes, no = said(clause.answer), said(clause.answered_no)
    return f'Chart."Answers"(\n      {yes},\n      {no},\n      {is_number}\n    )'


@expression.register
def _(clause: model.SymptomIs, scope: Scope) -> str:
    if scope.without_codes(clause.sets):
        return _NO_CODES
    if clause.around_dose is not None:
        return _AROUND_DOSE
    _refuse(clause, {"answered_by_cut": "that the rate was cut since is computed from the doses before"})
    keys = scope.keys(clause.sets)
    return _one_holds(
        f'Chart."Complaints" C\n  where {scope.in_any("C.code", clause.sets)}\n'
        f'  return all Chart."Is felt since"(C.holds, C.at, {scope.since(clause.within)})',
        f'Chart."Problems are incomplete" or Chart."Is not delivered"({keys})\n'
        f'    or Chart."Events are incomplete"({scope.since(clause.within)})',
    )


# Medicines ----------------------------------------------------------------------------------------------------


@expression.register
def _(clause: model.MedicineIs, scope: Scope) -> str:
    _refuse(
        clause,
        {
            "at_least": "how many different medicines of a set there are is not counted",
            "only": "that all medicines found are of one set is not said",
            "single_dose": "that only one dose was given or ordered is read from its timing",
            "in_chart": "what is only drafted in this session is not told apart",
            "longer_ago": "a dose that was given longer ago is not said",
        },
    )
    where = [f"exists (M.codes C where {scope.in_any('C', clause.sets)})"]
    holds = "true"
    if clause.given or clause.running:
        where.append("M.given")
    if clause.running:
        where.append("(M.running or M.unclear)")
    else:
        if clause.routes:
            where.append(f"exists (M.routes R where {scope.in_any('R', clause.routes)})")
        if clause.reasons:
            where.append(f"exists (M.reasons R where {scope.in_any('R', clause.reasons)})")
        if clause.unless_in:
            where.append(f"not exists (M.codes C where {scope.in_any('C', clause.unless_in)})")
        earliest = scope.since(clause.within) if clause.within is not None else "null as DateTime"
        holds = f'Chart."Is taken since"(M.given, M.running, M.ended, {earliest})'
        if clause.started_within is not None:
            holds = f'Chart."May be since"(M.begun, {scope.since(clause.started_within)})'
    listed = '"What was given is incomplete"' if clause.given or clause.running else '"Medicines are incomplete"'
    return _one_holds(_medicines(where, holds), f"Chart.{listed}")


def _medicines(where: Sequence[str], holds: str) -> str:
    joined = "\n    and ".join(where)
    return f'Chart."Medicines" M\n  where {joined}\n  return all if M.unclear then null as Boolean else {holds}'


@expression.register
def _(clause: model.ExposureIs, scope: Scope) -> str:
    _refuse(clause, {"days": "on how many days the drug was given is not counted"})
    sets = list(
        dict.fromkeys(name for drug in scope.protocol.drugs for name in scope.valuesets.drugs.family_sets(drug))
    )
    where = [f"exists (M.codes C where {scope.in_any('C', sets)})", "M.given"]
    if clause.doses is not None:
        if clause.within is not None:
            where.append(f'Chart."May be since"(M.begun, {scope.since(clause.within)})')
        where.append("not M.unclear")
        counted = _medicines(where, "true")
        return f'Chart."So many"(\n  Count({_indented(counted)}), {scope.whole(clause.doses)}\n)'
    where.append("(M.running or M.unclear)")
    holds = "true"
    if clause.running_longer_than is not None:
        since = scope.since(clause.running_longer_than)
        holds = f'if M.begun is null then null as Boolean else not Chart."May be since"(M.begun, {since})'
    return _one_holds(_medicines(where, holds), 'Chart."What was given is incomplete"')


# The patient, the place and the order -------------------------------------------------------------------------


@expression.register
def _(clause: model.PatientIs, scope: Scope) -> str:
    holds = []
    if clause.sex is not None:
        holds.append(f"Patient.gender.value = '{clause.sex}'")
    if clause.age_at_least is not None:
        holds.append(f'Chart."Age in years" >= {scope.whole(clause.age_at_least)}')
    if clause.age_below is not None:
        holds.append(f'Chart."Age in years" < {scope.whole(clause.age_below)}')
    # An extension that is not known may change what the record says of the patient.
    is_changed = "exists Patient.modifierExtension or Patient.implicitRules is not null"
    return f"if {is_changed} then null as Boolean\nelse {' and '.join(holds)}"


@expression.register
def _(clause: model.EncounterIs, scope: Scope) -> str:
    names = list(dict.fromkeys(name.partition("/")[0] for name in clause.sets))
    is_there = f'exists (Chart."Setting" S where {scope.in_any("S", clause.sets)})'
    if scope.without_codes(clause.sets):
        return f"if {is_there} then true\nelse {_NO_CODES}"
    return f'Chart."Is in"(\n  {is_there},\n  exists (Chart."Setting" S where {scope.in_any("S", names)})\n)'


@expression.register
def _(clause: model.MonitoringIs, scope: Scope) -> str:
    each = [f'exists (Chart."Services" S where {scope.in_any("S", [name])})' for name in clause.sets]
    return f'Chart."Is ordered"(\n  {(" or " if clause.seen else " and ").join(each)}\n)'


@expression.register
def _(clause: model.AmountIs, scope: Scope) -> str:
    return Amount(clause, scope, scope.routes).expression()


_OF_ORDER: dict[str, Callable[[model.OrderIs, Scope], str]] = {
    "drug": lambda clause, scope: _coded("Order codes", _drug_sets(clause, scope), scope, "Order codes"),
    "indication": lambda clause, scope: _coded(
        "Order reasons", _reason_sets(clause.indication, scope), scope, "Order reasons"
    ),
    "only_indication": lambda clause, scope: scope.of_order("Are only", _each_reason(clause.only_indication, scope)),
    "judged_as": lambda clause, scope: f"({judged_as(clause.judged_as, scope)})",
    "reason": lambda clause, scope: f'exists (Chart."Order reasons" C where {scope.in_any("C", clause.reason)})',
    "ingredient": lambda clause, scope: (
        f'exists (Chart."Order codes" C where {scope.in_any("C", clause.ingredient)})'
    ),
    "category": lambda clause, scope: f'exists (Chart."Order".category C where {scope.in_any("C", clause.category)})',
    "route": lambda clause, scope: scope.of_order("Is by", texts(clause.route)),
    "single_dose": lambda clause, scope: scope.of_order("Is single dose"),
    "single_dose_at_most": lambda clause, scope: (
        f"{scope.of_order('Is single dose')} and {_at_most(clause.single_dose_at_most, scope)}"
    ),
    "repeated": lambda clause, scope: scope.of_order("Is repeated"),
    "continuous": lambda clause, scope: scope.of_order("Is continuous"),
    "finite_at_most": lambda clause, scope: (
        f"{scope.of_order('Is short')} and {_at_most(clause.finite_at_most, scope)}"
    ),
    "planned_longer_than": lambda clause, scope: scope.of_order(
        "Is planned longer than", scope.minutes(clause.planned_longer_than or "")
    ),
    "without_end": lambda clause, scope: scope.of_order("Has no end"),
    "labelled": lambda clause, scope: scope.of_order("Is labelled"),
}
_UNSAID_OF_ORDER = {
    "context": "an order set is mapped by each site",
    "status_reason": "an order that ends is not judged by these libraries",
    "route_other_than": "routes that words or a second code name beside the first are not said",
    "per_week_above": "doses of a week are not counted",
    "cut_by": "the rate against the one before is computed from both dosages",
}


@expression.register
def _(clause: model.OrderIs, scope: Scope) -> str:
    _refuse(clause, _UNSAID_OF_ORDER)
    parts = [said(clause, scope) for field, said in _OF_ORDER.items() if getattr(clause, field)]
    if clause.analgesic:
        # The first of the uses is the one that an order has by default.
        parts.insert(0, judged_as([next(iter(scope.protocol.uses))], scope))
    return " and ".join(parts)


def _at_most(limit: str | None, scope: Scope) -> str:
    return f"{scope.of_order('mg/kg')} <= {scope.of_drug(limit or '')}.value"


def _each_reason(indications: Sequence[str], scope: Scope) -> str:
    own = scope.in_any("C", _reason_sets(indications, scope))
    unclear = 'Chart."Is in words"(C)'
    return f'(\n  Chart."Order reasons" C\n    return all {own} or (if {unclear} then null as Boolean else false)\n)'


def _coded(what: str, sets: Sequence[str], scope: Scope, words: str) -> str:
    """In one of the sets; null where it is not, and stands in words."""
    return (
        f'Chart."One holds"(\n  Chart."{what}" C return all {scope.in_any("C", sets)},\n'
        f'  exists (Chart."{words}" C where Chart."Is in words"(C))\n)'
    )


def _drug_sets(clause: model.OrderIs, scope: Scope) -> list[str]:
    if set(clause.drug) & {scope.protocol.drugs[0]}:
        raise Unsaid("an order that names several drugs is judged as the last of them")
    return [scope.valuesets.drugs.set_of(drug) for drug in clause.drug]


def _reason_sets(indications: Sequence[str], scope: Scope) -> list[str]:
    return list(dict.fromkeys(name for each in indications for name in scope.protocol.indications[each].sets))

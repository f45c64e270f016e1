"""Every change that is offered, put in the place of the order in the same request, is one that may be taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fhir.resources.R4B.medicationrequest import MedicationRequest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.orders.proposal import CEILING, CHANGE, DOSE_CHANGES, UNIT
from cds_service.rules.judged import Judged
from tests.properties import spelling, writing
from tests.properties.asking import answered, fired, judged, rank, request
from tests.properties.counts import examples
from tests.properties.drafts import DOSES, RATES, Asked, orders_as_they_may_come, rounded
from tests.properties.reference import ENTRIES, limit

LADDER = (
    "bolus-above-usual-load",
    "obesity-dosing-weight",
    "rate-exceeds-protocol-max",
    "bolus-exceeds-unmonitored-limit",
    "depression-dose-exceeds",
    "bolus-exceeds-protocol-max",
    "rate-exceeds-ceiling",
    "bolus-anaesthetic-range",
)
"""Rules of which one stands in the place of another as the dose grows: their worst severity counts."""
NOT_OF_THIS_DOSE = {"weight-implausible", "duplicate-ketamine-esketamine", "indication-missing"}
"""Whether two weights, or two reasons, lead to two verdicts, and whether two drafts are parts of one plan, are judged
anew."""

ON_THE_DOSE_CARD = (
    "rate-exceeds-protocol-max",
    "rate-exceeds-ceiling",
    "bolus-exceeds-unmonitored-limit",
    "bolus-exceeds-protocol-max",
    "bolus-anaesthetic-range",
    "depression-dose-exceeds",
    "depression-infusion-too-fast",
    "obesity-dosing-weight",
    "uncapped-order",
)


# What is offered --------------------------------------------------------------------------------------------


def _offers(order: Judged, *kinds: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(the kind of offer, the changed order)"""
    return [
        (proposal.kind, action.resource)
        for outcome in order.outcomes
        for proposal in outcome.proposals
        if proposal.kind in kinds
        for action in proposal.actions
        if action.type == "update" and action.resource is not None
    ]


def _of(orders: list[Judged], name: str) -> Judged:
    return next(order for order in orders if order.order == f"MedicationRequest/{name}")


@examples(120)
@given(asked=orders_as_they_may_come())
def test_every_dose_that_is_offered_ends_what_interrupts_and_worsens_nothing(asked: Asked) -> None:
    before = asked.judged()
    for order in before:
        for kind, resource in _offers(order, *DOSE_CHANGES):
            after = asked.taken(resource).judged()
            left = {rule for rule, severity in fired(_of(after, resource["id"])).items() if severity != "info"}
            assert not left & set(ON_THE_DOSE_CARD), f"the {kind} that is offered, {resource['dosageInstruction']}"
            for each in before:
                then = fired(_of(after, each.order.rpartition("/")[2]))
                worse = _worse(fired(each), then) - NOT_OF_THIS_DOSE
                assert not worse, f"the {kind} that is offered, {resource['dosageInstruction']}"


def _worse(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The rules that object more severely than before; of the ladder, than any of its rules did."""
    found = set()
    for rule, severity in after.items():
        instead = LADDER if rule in LADDER else (rule,)
        if severity != "info" and rank(severity) > max(rank(before.get(name)) for name in instead):
            found.add(rule)
    return found


@examples(60)
@given(asked=orders_as_they_may_come())
def test_a_change_is_valid_and_touches_nothing_but_what_it_must(asked: Asked) -> None:
    for order in asked.judged():
        for kind, resource in _offers(order, *DOSE_CHANGES):
            MedicationRequest.model_validate(resource)
            _same_but_for_the_dose(asked.orders[resource["id"]], resource, slip=kind == UNIT)


_TIME = {"duration", "durationUnit", "durationMax", "boundsDuration", "boundsPeriod", "boundsRange"}
_REPEAT = {"frequency", "frequencyMax", "period", "periodUnit", "periodMax"}


def _same_but_for_the_dose(before: Mapping[str, Any], after: Mapping[str, Any], slip: bool) -> None:
    assert {**before, "dosageInstruction": None} == {**after, "dosageInstruction": None}
    assert len(before["dosageInstruction"]) == len(after["dosageInstruction"])
    for old, new in zip(before["dosageInstruction"], after["dosageInstruction"], strict=True):
        if old == new:
            continue
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        assert changed <= {"doseAndRate", "timing", "maxDosePerPeriod", "text", "method"}
        assert ("text" in old) == ("text" in new)
        _same_but_for_the_amounts(old["doseAndRate"], new["doseAndRate"], slip)
        if "timing" in changed:
            then, now = (each.get("timing", {}).get("repeat", {}) for each in (old, new))
            assert {k for k in then.keys() | now.keys() if then.get(k) != now.get(k)} <= _TIME | _REPEAT
            assert set(old.get("timing", {})) | {"repeat"} == set(new["timing"]) | {"repeat"}
            _limits_of_repeats_stay(old, then, now)
        if "method" in changed:
            assert "method" not in new, "a push became another push"
            assert "duration" in new["timing"]["repeat"]


def _limits_of_repeats_stay(dosage: Mapping[str, Any], then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Bounds are the run time of a rate alone; beside a dose, or a stated duration, they say when repeats end."""
    is_run_time = "duration" not in then and not any("doseQuantity" in entry for entry in dosage["doseAndRate"])
    is_run_time = is_run_time and not any("doseRange" in entry for entry in dosage["doseAndRate"])
    if "period" in then and not is_run_time:
        for key in ("boundsDuration", "boundsPeriod", "count"):
            assert then.get(key) == now.get(key), f"{key} is gone: {now}"


def _same_but_for_the_amounts(old: list[dict[str, Any]], new: list[dict[str, Any]], slip: bool) -> None:
    """Each entry is one of the old ones with other numbers; what is gone restated what stands elsewhere."""
    assert len(new) <= len(old)
    rest = list(old)
    for entry in new:
        while _without_numbers(entry, slip).items() - _without_numbers(rest[0], slip).items():
            rest.pop(0)
        gone = set(rest.pop(0)) - set(entry)
        for element in gone:
            assert any(key.startswith(element[:4]) for other in new for key in other), f"{element} is gone"
        for key, value in entry.items():
            if key.startswith(("dose", "rate")):
                assert all(number > 0 for number in _numbers(value)), value


def _without_numbers(entry: Mapping[str, Any], slip: bool) -> dict[str, str]:
    """Every element with its units and without its values; a new upper end of a range is no difference."""

    def skeleton(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {k: skeleton(v) for k, v in value.items() if k != "value" and not (slip and k in _UNIT_KEYS)}
            if "low" in kept:
                kept.setdefault("high", kept["low"])
            return kept
        return value

    return {key: repr(sorted(skeleton(value).items())) for key, value in entry.items()}


_UNIT_KEYS = ("unit", "code", "system")


def _numbers(value: Mapping[str, Any]) -> list[Decimal]:
    if "value" in value:
        return [Decimal(value["value"])]
    return [number for part in value.values() if isinstance(part, Mapping) for number in _numbers(part)]


def _step(text: str) -> Fraction:
    """The protocol's step of a unit, by what the unit means."""
    wanted = spelling.unit(text)
    for name, entry in ENTRIES.items():
        if name.startswith("step-") and not entry["unit"].startswith("{"):  # what is counted has no spelling of units
            unit = spelling.unit(entry["unit"])
            if replace(unit, text="") == replace(wanted, text=""):
                return Fraction(str(next(iter(entry["values"].values()))))
    raise AssertionError(f"no step for {text}")


def _quantities(dosage: Mapping[str, Any]) -> dict[tuple[int, str, str], tuple[Fraction, str]]:
    """(entry, element, part) -> (number, unit) of every dose and rate."""
    found = {}
    for number, entry in enumerate(dosage["doseAndRate"]):
        for element, value in entry.items():
            if element.endswith("Quantity"):
                found[number, element, ""] = (Fraction(value["value"]), value["unit"])
            elif element.endswith("Range"):
                for part, quantity in value.items():
                    found[number, element, part] = (Fraction(quantity["value"]), quantity["unit"])
            elif element.endswith("Ratio"):
                found[number, element, ""] = (Fraction(value["numerator"]["value"]), value["numerator"]["unit"])
    return found


@examples(60)
@given(asked=orders_as_they_may_come())
def test_a_changed_number_is_smaller_and_on_a_step_of_the_pump(asked: Asked) -> None:
    for order in asked.judged():
        for kind, resource in _offers(order, *DOSE_CHANGES):
            if kind == UNIT:
                continue
            old_order = asked.orders[resource["id"]]
            for old, new in zip(old_order["dosageInstruction"], resource["dosageInstruction"], strict=True):
                if len(old["doseAndRate"]) != len(new["doseAndRate"]):
                    continue  # a restatement is gone: the entries no longer stand beside each other
                before = _quantities(old)
                for where, (number, unit) in _quantities(new).items():
                    was = before.get(where) or before[(*where[:2], "low")]
                    assert unit == was[1]
                    if number != was[0] and where[2] != "low":
                        assert number % _step(unit) == 0, f"{number} {unit} is no step"
                        assert number < was[0] or where not in before, f"{number} {unit} is more than {was[0]}"


@examples(60)
@given(asked=orders_as_they_may_come())
def test_a_changed_order_allows_no_more_in_any_time_than_the_one_that_was_ordered(asked: Asked) -> None:
    """A cap may be tightened or added, never loosened over the time for which it was given."""
    for order in asked.judged():
        for _, resource in _offers(order, *DOSE_CHANGES):
            old_order = asked.orders[resource["id"]]
            for old, new in zip(old_order["dosageInstruction"], resource["dosageInstruction"], strict=True):
                if "maxDosePerPeriod" in old:
                    assert "maxDosePerPeriod" in new
                    then, now = (each["maxDosePerPeriod"] for each in (old, new))
                    if then == now:
                        continue
                    minutes = Fraction(then["denominator"]["value"])
                    factor = spelling.TIME_UNITS[now["denominator"]["unit"]]
                    periods = minutes / (Fraction(now["denominator"]["value"]) * factor)
                    assert then["numerator"]["unit"] in ("mg", "mg/kg", "mL")
                    if then["numerator"]["unit"] == now["numerator"]["unit"]:
                        allowed = Fraction(now["numerator"]["value"]) * max(periods, 1)
                        assert allowed <= Fraction(then["numerator"]["value"]), f"{now} for {then}"


@examples(50)
@given(asked=orders_as_they_may_come(), strength=st.sampled_from([50, 100, 200]), given_reasons=st.booleans())
def test_another_product_or_an_indication_changes_nothing_else(
    asked: Asked, strength: int, given_reasons: bool
) -> None:
    medicine = {"reference": "#m"}, [{"resourceType": "Medication", "id": "m", "ingredient": [_ingredient(strength)]}]
    order = {k: v for k, v in asked.orders["o1"].items() if not k.startswith("medication") and k != "contained"}
    order |= {"medicationReference": medicine[0], "contained": medicine[1]}
    if not given_reasons:
        order.pop("reasonCode", None)
    asked = replace(asked, orders={"o1": order})
    (before,) = asked.judged()
    for kind, resource in _offers(before, "product", "indication"):
        MedicationRequest.model_validate(resource)
        changed = {k for k in order.keys() | resource.keys() if order.get(k) != resource.get(k)}
        if kind == "indication":
            assert changed == {"reasonCode"}
        else:
            assert changed == {"medicationReference", "medicationCodeableConcept", "contained"}
            assert "contained" not in resource, "a contained resource that nothing refers to is no valid R4"
            assert not any(writing.has_volume(dosage["doseAndRate"][0]) for dosage in resource["dosageInstruction"])
        (after,) = asked.taken(resource).judged()
        assert ("indication-missing" if kind == "indication" else "iv-undiluted-100mg-ml") not in fired(after)


def _ingredient(mg_per_ml: int) -> dict[str, Any]:
    strength, _ = next(writing.strengths(Fraction(mg_per_ml)))
    return {"itemCodeableConcept": writing.medicines_named("ketamine")[0], "strength": strength}


# What exactly is offered ------------------------------------------------------------------------------------

_DOUBTED = [
    ([("154", 2), ("70", 240)], [(154, 154), (154, 70)]),
    ([("70", 2), ("154", 240)], [(70, 70), (70, 154)]),
    ([("92", 2), ("80", 24)], [(92, 92), (92, 80)]),
]
"""Two weights, so many hours ago; (what the pump is set by, what the patient weighs) for each way to read them."""

_CASES = [
    ("rate", None, "rate-warn", "pain"),
    ("dose", None, "bolus-warn", "pain"),
    ("dose", 15, "bolus-warn", "unknown"),
    ("dose", 40, "depression-dose-warn", "depression"),
    ("rate", 40, "depression-dose-warn", "depression"),
    ("dose", 90, "rate-warn", "pain"),
    ("rate", 20, "bolus-warn", "pain"),
]
"""(what is written, over how many minutes, the limit that it is judged by, the reason)"""


@examples(100)
@given(
    data=st.data(),
    case=st.sampled_from(_CASES),
    drug=writing.drugs,
    times=st.integers(101, 700).map(lambda n: Fraction(n, 100)),
    mg_per_ml=st.sampled_from([1, 2, 10, 50]),
)
def test_what_is_offered_is_the_highest_step_of_the_pump_within_the_limit(
    data: st.DataObject, case: tuple[str, int | None, str, str], drug: str, times: Fraction, mg_per_ml: int
) -> None:
    """On every weight that may be the patient's, and on ideal body weight where that counts."""
    written, minutes, name, reason = case
    kg = Fraction(data.draw(st.integers(35, 130)))
    patient: dict[str, Any] = {"weight": f"{kg} kg"}
    bodies = [(kg, kg)]
    if data.draw(st.booleans()):
        weights, doubted = data.draw(st.sampled_from(_DOUBTED))
        patient = {"weight": [{"value": f"{value} kg", "when": f"{hours} hours ago"} for value, hours in weights]}
        bodies = [(Fraction(pump), Fraction(body)) for pump, body in doubted]
    elif data.draw(st.booleans()):
        patient = {"weight": "140 kg", "height": "165 cm", "sex": "female"}
        ideal = Fraction("45.5") + Fraction("0.91") * (165 - Fraction("152.4"))
        bodies = [(Fraction(140), Fraction(140))]
        if reason != "depression":  # there the ideal weight only informs
            bodies.append((Fraction(140), ideal))
    unit = spelling.unit(data.draw(st.sampled_from(RATES if written == "rate" else DOSES)))
    most = _most(limit(drug, name), name, minutes, unit, bodies, Fraction(mg_per_ml))
    ordered = Fraction(rounded(most * times))
    quantity = {"value": spelling.decimal(ordered), "unit": unit.text, "system": writing.UCUM, "code": unit.text}
    dosage: dict[str, Any] = {"doseAndRate": [{f"{written}Quantity": quantity}]}
    if minutes is not None:
        dosage["timing"] = {"repeat": {"duration": minutes, "durationUnit": "min"}}
    order = writing.order(data.draw(writing.products(drug, Fraction(mg_per_ml))), [dosage], [reason])
    (found,) = judged(request(order, **patient))
    offered = [
        resource["dosageInstruction"][0]["doseAndRate"][0][f"{written}Quantity"]["value"]
        for _, resource in _offers(found, CHANGE, CEILING)
        if any(rank(severity) > 1 for severity in fired(found, *ON_THE_DOSE_CARD).values())
    ]
    expected = most // _step(unit.text) * _step(unit.text)
    interrupts = any(rank(severity) > 1 for severity in fired(found, *ON_THE_DOSE_CARD).values())
    if expected == 0 or not interrupts:
        assert not offered
        assert expected == 0 or ordered <= most
    elif "bolus-above-usual-load" in fired(found):
        assert {Fraction(each) for each in offered} <= {expected} or max(offered) < expected
    elif ordered > most:
        assert {Fraction(each) for each in offered} == {expected}


def _most(
    number: Fraction,
    name: str,
    minutes: int | None,
    unit: spelling.Unit,
    bodies: list[tuple[Fraction, Fraction]],
    mg_per_ml: Fraction,
) -> Fraction:
    """The largest number before the unit that is within the limit, whichever body is the patient's."""
    per_kg = number
    if minutes is not None:
        per_kg = number * minutes / 60 if name.startswith("rate") else number
        per_kg = per_kg * 60 / minutes if unit.rate else per_kg
    factors = [(body, body / pump if unit.per_kg else 1) for pump, body in bodies]
    return min(spelling.in_unit(per_kg * factor, unit, body, mg_per_ml) for body, factor in factors)


@examples(50)
@given(asked=orders_as_they_may_come())
def test_every_dose_card_that_interrupts_offers_something(asked: Asked) -> None:
    for card in answered(asked.request()):
        if card["indicator"] != "info" and card["source"]["topic"]["code"] in ON_THE_DOSE_CARD:
            assert card.get("suggestions"), card["summary"]

"""The shipped numbers are the documented ones, and stand in order among each other."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest

from cds_service import units
from cds_service.protocol import loader, model
from cds_service.protocol.limits import Limits
from cds_service.terminology import valuesets
from tests.protocol.documented import EXPECTED, Numbers

CALENDAR_UNITS = {"a", "mo", "/wk"}
"""Years, months and doses per week are counted on the calendar: no quantity is ever converted to them."""

HALVED_ROWS = {*range(1, 13), 19, 22, 25, 65, 72, 73}
"""Rows of the catalogue whose mg/kg limits are halved for intravenous esketamine."""


@pytest.fixture(scope="module")
def protocol() -> model.Protocol:
    return loader.load(valuesets.load())


def number(limit: model.Limit) -> Decimal | list[Decimal]:
    """What the limit says since it was last changed."""
    return limit.values[max(limit.values)]


def stand_ins(protocol: model.Protocol) -> list[model.Limit]:
    return [limit for limit in protocol.limits.values() if limit.stands_for is not None]


def test_every_limit_has_its_documented_default(protocol: model.Protocol) -> None:
    ours = {limit.id: (number(limit), limit.unit) for limit in protocol.limits.values() if not limit.stands_for}
    expected = {
        key: ([Decimal(text) for text in value] if isinstance(value, list) else Decimal(value), unit)
        for key, (value, unit) in EXPECTED.items()
    }
    assert ours == expected


OF_ITS_LABEL: dict[str, Numbers] = {
    "esketamine-bolus-info": "0.125",
    "esketamine-label-max-iv": "1",
    "esketamine-label-max-asthma": "2.5",
    "esketamine-label-max-im": "4",
    "esketamine-procedural-dose-im": "4",
    "esketamine-strengths": ["1", "2", "5", "25"],
}
"""What the label of esketamine says and half of the racemic limit would not."""


def test_every_other_esketamine_limit_is_half_of_the_one_it_stands_for(protocol: model.Protocol) -> None:
    assert stand_ins(protocol)
    for limit in stand_ins(protocol):
        racemic = protocol.limits[str(limit.stands_for)]
        assert limit.drug == "esketamine", limit.id
        if (own := OF_ITS_LABEL.get(limit.id)) is not None:
            assert number(limit) == (list(map(Decimal, own)) if isinstance(own, list) else Decimal(own)), limit.id
        else:
            assert number(racemic) == 2 * Decimal(str(number(limit))), limit.id


def test_no_limit_of_esketamine_is_above_the_one_it_stands_for(protocol: model.Protocol) -> None:
    for limit in stand_ins(protocol):
        ours, racemic = number(limit), number(protocol.limits[str(limit.stands_for)])
        if not isinstance(ours, list) and not isinstance(racemic, list):
            assert ours < racemic, limit.id


def test_an_esketamine_limit_has_the_unit_routes_and_indication_of_the_one_it_stands_for(
    protocol: model.Protocol,
) -> None:
    for limit in stand_ins(protocol):
        racemic = protocol.limits[str(limit.stands_for)]
        ours = (limit.id, limit.unit, limit.routes, limit.indication)
        assert ours == (f"esketamine-{racemic.id}", racemic.unit, racemic.routes, racemic.indication)


def test_esketamine_has_a_limit_of_its_own_for_every_dose_limit_that_is_halved(protocol: model.Protocol) -> None:
    read = {
        name
        for rule in protocol.rules.values()
        if rule.row in HALVED_ROWS
        for tier in rule.tiers
        for name in tier.shown
        if protocol.limits[name].unit in ("mg/kg", "mg/kg/h", "mg", "mg/mL")
    }
    assert read <= {limit.stands_for for limit in stand_ins(protocol)}


def test_a_limit_is_looked_up_for_the_drug_that_was_ordered(protocol: model.Protocol) -> None:
    book = {drug: Limits(protocol).book(drug, protocol.date) for drug in protocol.drugs}
    assert book["esketamine"].limit("rate-warn").id == "esketamine-rate-warn"
    assert book["ketamine"].limit("rate-warn").id == "rate-warn"
    assert book["esketamine"].limit("push-minutes").id == "push-minutes"


def test_every_limit_has_a_unit_of_the_table(protocol: model.Protocol) -> None:
    for limit in protocol.limits.values():
        if limit.unit not in CALENDAR_UNITS:
            assert units.find(limit.unit).code == limit.unit, limit.id


def test_dose_limits_are_masses_and_rates_per_body_mass(protocol: model.Protocol) -> None:
    per_mass = {"mg/kg": "mass_per_bodymass", "mg/kg/h": "mass_per_bodymass_time"}
    for limit in protocol.limits.values():
        if limit.unit in per_mass:
            assert units.find(limit.unit, per_mass[limit.unit]).factor == 1, limit.id


def test_a_step_is_named_after_its_unit(protocol: model.Protocol) -> None:
    steps = {limit.id: limit.unit for limit in protocol.limits.values() if limit.id.startswith("step-")}
    assert steps == {f"step-{unit.replace('/', '-per-').strip('{}').lower()}": unit for unit in steps.values()}
    assert all(Decimal(str(number(protocol.limits[name]))) > 0 for name in steps)


def test_the_tighter_number_warns_and_the_looser_one_is_critical(protocol: model.Protocol) -> None:
    def value(name: str, drug: str) -> Decimal:
        return Decimal(str(number(Limits(protocol).book(drug, protocol.date).limit(name))))

    for drug in protocol.drugs:
        assert value("rate-warn", drug) < value("rate-critical", drug)
        ladder = ("bolus-info", "bolus-warn", "bolus-critical", "bolus-anaesthetic", "label-max-iv")
        rungs = [value(name, drug) for name in ladder]
        assert rungs == sorted(set(rungs))
        assert value("im-anaesthetic", drug) < value("label-max-im", drug)
        assert value("depression-dose-warn", drug) < value("depression-dose-critical", drug)
        assert value("depression-minutes", drug) > value("depression-minutes-critical", drug)


def test_a_range_runs_from_low_to_high(protocol: model.Protocol) -> None:
    for limit in protocol.limits.values():
        values = number(limit)
        if isinstance(values, list):
            assert values == sorted(set(values)), limit.id


def test_the_two_bilirubin_limits_are_the_same_bilirubin(protocol: model.Protocol) -> None:
    micromoles_per_milligram_per_decilitre = Decimal("17.1")
    for name in ("bilirubin-high", "bilirubin-raised"):
        mass, molar = (number(protocol.limits[each]) for each in (name, f"{name}-molar"))
        assert round(Decimal(str(mass)) * micromoles_per_milligram_per_decilitre) == molar


def test_every_limit_that_a_rule_warns_by_took_effect_with_the_protocol(protocol: model.Protocol) -> None:
    late = [limit.id for limit in protocol.limits.values() if min(limit.values) > protocol.date]
    assert late == []


def test_a_book_holds_the_limits_of_its_day_and_days_without_a_change_between_share_it(
    protocol: model.Protocol,
) -> None:
    (name, limit) = next((name, each) for name, each in protocol.limits.items() if each.drug is None)
    days = [date(2025, 1, 1), date(2026, 1, 1), date(2026, 6, 1)]
    changing = msgspec.structs.replace(limit, values={day: Decimal(n) for n, day in enumerate(days, 1)})
    limits = Limits(msgspec.structs.replace(protocol, limits={**protocol.limits, name: changing}))
    drug, day = protocol.drugs[0], timedelta(days=1)
    at = [days[0] - day, days[0], days[1] - day, days[1], days[2] - day, days[2], date.max]
    assert [limits.book(drug, each).number(name) for each in at] == [1, 1, 1, 2, 2, 3, 3]
    assert limits.book(drug, days[1]) is limits.book(drug, days[2] - day)

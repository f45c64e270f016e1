"""What two checkouts are asked: every scenario, the sandbox patients, and generated orders in charts of two kinds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.fhir.queries import Query
from cds_service.knowledge import load
from tests import sandbox_charts
from tests.sandbox_charts import SandboxPatient
from tests.scenarios.build import hook_request, medication_request, scenarios

SEED = 20261122
_USUAL_RATES = ("0.2", "0.6")
"""In mg/kg/h: one that is right for a healthy adult, and one above the limit."""


@dataclass(frozen=True)
class Asked:
    feed: str
    name: str
    request: Mapping[str, Any]


def requests(generated: int) -> Iterator[Asked]:
    """All of them; of generated orders so many in generated charts, and as many in those of the sandbox patients."""
    for file, scenario in scenarios():
        yield Asked("scenarios", f"{file}: {scenario['name']}", hook_request(scenario))
    queries, patients, dice = load().queries, sandbox_charts.patients(), random.Random(SEED)
    for patient in patients:
        for rate in _USUAL_RATES:
            order = {**sandbox_charts.ORDER, "rate": f"{rate} mg/kg/h"}
            sent = sandbox_charts.request(patient, queries, order)
            yield Asked("sandbox patients", f"{patient.label} {rate}", sent)
    drawn = [_scenario(dice) for _ in range(generated)]
    for number, scenario in enumerate(drawn):
        yield Asked("generated charts", f"generated {number}", hook_request(scenario))
    for number, scenario in enumerate(drawn):
        patient = patients[number % len(patients)]
        sent = _in_chart(scenario, patient, queries)
        yield Asked("generated orders, sandbox patients", f"{patient.label}, generated {number}", sent)


def _in_chart(scenario: Mapping[str, Any], patient: SandboxPatient, queries: Sequence[Query]) -> dict[str, Any]:
    """The orders of a scenario for a sandbox patient, all selected where they are not signed."""
    sent = sandbox_charts.request(patient, queries)
    about = {"subject": f"Patient/{patient.id}"}
    drafts = [medication_request({**order, **about}, at) for at, order in enumerate(scenario["orders"], 1)]
    context = sent["context"]
    context["draftOrders"] = {**context["draftOrders"], "entry": [{"resource": draft} for draft in drafts]}
    if scenario["hook"] == "order-select":
        context["selections"] = [f"MedicationRequest/{draft['id']}" for draft in drafts]
    return {**sent, "hook": scenario["hook"]}


# Generated orders: the words of the scenarios, drawn at random ------------------------------------------------

_RATES = ["mg/kg/h", "mg/h", "ug/kg/min", "mL/h", "mg/min", "mg/d"]
_DOSES = ["mg", "mg/kg", "ug/kg", "mL"]
_SIZES = {"mg/kg/h": 0.5, "mg/h": 35, "ug/kg/min": 8.33, "mL/h": 17.5, "mg/min": 0.58, "mg/d": 840,
          "mg": 28, "mg/kg": 0.4, "ug/kg": 400, "mL": 14}  # fmt: skip
_FACTORS = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1, 1.02, 1.1, 1.3, 1.9, 2.1, 4, 14, 60]
_ROUTES = ["intravenous"] * 6 + ["intramuscular", "subcutaneous", "unstated", "push", "oral", "intraosseous"]


def _scenario(dice: random.Random) -> dict[str, Any]:
    orders = [_order(dice, number) for number in range(dice.choice([1, 1, 1, 1, 2, 3]))]
    hook = dice.choice(["order-sign"] * 4 + ["order-select"])
    return {"hook": hook, "orders": orders, "patient": _patient(dice)}


def _figure(dice: random.Random, unit: str) -> str:
    return f"{round(_SIZES[unit] * dice.choice(_FACTORS), dice.choice([1, 2, 3])) or 0.1:g}"


def _amount(dice: random.Random, units: list[str]) -> str:
    unit = dice.choice(units)
    high = _figure(dice, unit)
    return dice.choice([f"{high} {unit}"] * 9 + [f"0.01 to {high} {unit}", f"from {high} {unit}"])


def _step(dice: random.Random) -> dict[str, Any]:
    step: dict[str, Any] = {"route": dice.choice(_ROUTES)}
    shape = dice.choice(["rate", "rate", "rate for", "dose", "dose over", "dose over", "both", "both over", "text"])
    if shape.startswith(("rate", "both")):
        step["rate"] = _amount(dice, _RATES)
    if shape.startswith(("dose", "both")):
        step["dose"] = _amount(dice, _DOSES)
    if shape == "rate for":
        step[dice.choice(["for", "over"])] = dice.choice(["20 min", "40 min", "1 h", "3 h", "24 h", "96 h"])
    if shape.endswith("over"):
        step["over"] = dice.choice(
            ["0.5 min", "2 min", "5 min", "10 min", "25 min", "35 min", "40 min", "60 min", "3 h"]
        )
    if shape == "text":
        step["text"] = f"ketamine {_figure(dice, 'mg')} mg over {dice.choice([2, 20, 40, 90])} minutes"
    if dice.random() < 0.2:
        step["every"] = dice.choice(["15 min", "1 h", "6 h", "1 d"])
    if dice.random() < 0.15:
        step["as needed"] = True
    if dice.random() < 0.12:
        step["at most"] = f"{_figure(dice, 'mg')} mg per {dice.choice(['1 h', '4 h', '24 h'])}"
    if dice.random() < 0.08:
        step["push"] = True
    if dice.random() < 0.05:
        step["also"] = dice.choice(["titrate to effect", "give 30 mg over 5 minutes", "as ordered"])
    return step


def _order(dice: random.Random, number: int) -> dict[str, Any]:
    steps = [_step(dice) for _ in range(dice.choice([1, 1, 1, 2, 3]))]
    if len(steps) > 1 and dice.random() < 0.5:
        for place, step in enumerate(steps, 1):
            step["sequence"] = place
    order: dict[str, Any] = {"id": f"o{number}", "steps": steps}
    order["drug"] = dice.choice(["ketamine"] * 4 + ["esketamine"])
    order["indication"] = dice.choice(
        ["pain"] * 4 + ["depression"] * 4 + ["sedation", "none", "unknown", ["pain", "depression"], "migraine"]
    )
    if dice.random() < 0.5:
        order["strength"] = dice.choice(["2 mg/mL", "1 mg/mL", "10 mg/mL", "100 mg/mL", "500 mg per 50 mL"])
        order["diluent"] = dice.choice([True, False])
    if dice.random() < 0.5:
        order["group"] = "g"
    if dice.random() < 0.3:
        order["supply"] = "none"
    return order


def _patient(dice: random.Random) -> dict[str, Any]:
    weights: list[Any] = ["70 kg"] * 4 + ["48.5 kg", "120 kg", "154 lb", "none", "300 kg"]
    doubted = [{"value": "154 kg"}, {"value": "70 kg", "when": "9 days ago"}]
    patient: dict[str, Any] = {"weight": dice.choice([*weights, doubted])}
    patient["age"] = dice.choice([45, 45, 45, 30, 66, 72, 81, 12])
    if dice.random() < 0.4:
        patient["height"] = dice.choice(["165 cm", "180 cm", "150 cm"])
    if dice.random() < 0.15:
        patient["running"] = {"rate": f"{_figure(dice, 'mg/kg/h')} mg/kg/h", "since": "30 hours ago"}
    if dice.random() < 0.1:
        patient["problems"] = ["2776000 Delirium"]
    if dice.random() < 0.15:
        patient["place"] = dice.choice(["intensive care", "operating room", "emergency department"])
    if dice.random() < 0.2:
        patient["medicines"] = [{"drug": "7052 morphine"}]
    if dice.random() < 0.2:
        patient["sex"] = "female"
    if dice.random() < 0.1:
        patient["symptoms"] = ["headache"]
    return patient

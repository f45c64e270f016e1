"""One service against another over the same requests: the same findings, severities and offers, or each difference.

python -m tests.differential requests FILE [--generated N]       every scenario, sandbox patient and generated order
python tests/differential.py answers ROOT FILE OUT                what the checkout in ROOT says of each of them
python -m tests.differential compare OUT OTHER                    what differs; exit 1 where anything does
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

GENERATED = 2000
SEED = 20261122


def requests(generated: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, request) of everything that is asked."""
    from cds_service.knowledge import load
    from tests import sandbox_charts
    from tests.scenarios.build import hook_request, scenarios

    for file, scenario in scenarios():
        yield f"{file}: {scenario['name']}", hook_request(scenario)
    queries = load().queries
    for patient in sandbox_charts.patients():
        for rate in ("0.2", "0.6"):
            order = {**sandbox_charts.ORDER, "rate": f"{rate} mg/kg/h"}
            yield f"{patient.label} {rate}", sandbox_charts.request(patient, queries, order)
    dice = random.Random(SEED)
    for number in range(generated):
        yield f"generated {number}", hook_request(_scenario(dice))


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


# What a checkout answers ---------------------------------------------------------------------------------------


def answers(root: Path, asked: Path, out: Path) -> None:
    """One line a request: its rules as they ended and what is offered, and the response as it is sent."""
    sys.path[0] = str(root)  # in place of the folder of this script
    import cds_service

    assert cds_service.__path__[0].startswith(str(root)), cds_service.__path__
    from datetime import UTC, datetime

    import msgspec

    from cds_service.advise import advise, explain
    from cds_service.fhir.source import NoSource
    from cds_service.hooks.errors import HookError
    from cds_service.hooks.request import parse
    from cds_service.hooks.response import encode
    from cds_service.knowledge import load

    knowledge, now = load(), datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    said = getattr(knowledge.texts, "recorded", str)  # a checkout without it says all in words at once
    with asked.open(encoding="utf-8") as lines, out.open("w", encoding="utf-8") as written:
        for line in lines:
            entry = json.loads(line)
            hook = entry["hook"]
            request = parse(entry["body"].encode(), hook)
            signing = hook == "order-sign"
            try:
                judged, _ = explain(request, signing, knowledge, NoSource(), now)
                response = encode(advise(request, signing, knowledge, NoSource(), now)).decode()
            except HookError as error:
                judged, response = [], str(error)
            rules = [_ended(order.order, outcome, said) for order in judged for outcome in order.outcomes]
            answer = {"name": entry["name"], "rules": rules, "response": response}
            written.write(msgspec.json.encode(answer, enc_hook=str).decode() + "\n")


def _ended(order: str, outcome: Any, said: Callable[[Any], str]) -> dict[str, Any]:
    return {
        "order": order,
        "rule": outcome.rule.id,
        "finding": [outcome.status, outcome.severity, outcome.tier if outcome.status == "fired" else None],
        "offers": [
            [
                each.kind,
                {name: said(value) for name, value in each.values.items()},
                [[a.type, a.resource, a.resource_id] for a in each.actions],
            ]
            for each in outcome.proposals
        ],
        "reasons": sorted([r.fact, said(r.says), r.kind] for r in outcome.reasons),
        "words": [
            {name: said(value) for name, value in outcome.values.items()},
            [said(fact.says) for fact in outcome.facts],
            str(outcome.figure),
        ],
        "limits": [limit.id for limit in outcome.limits],
    }


# The comparison ------------------------------------------------------------------------------------------------


def compare(one: Path, other: Path, most: int) -> int:
    """Prints how many of each kind differ, and the first of them. The number of differences."""
    found: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    with one.open(encoding="utf-8") as ours, other.open(encoding="utf-8") as theirs:
        for a, b in zip(ours, theirs, strict=True):
            found["requests"] += 1
            for kind, where, before, after in _differences(json.loads(a), json.loads(b)):
                found[kind] += 1
                key = f"{kind} {where.partition(' | ')[2]}"
                shown[key] += 1
                if shown[key] <= most:
                    print(f"{kind} | {where}\n   {before}\n   {after}")
    count = found.pop("requests", 0)
    print(f"{count} requests; " + (", ".join(f"{n} {kind}" for kind, n in found.items()) or "no difference"))
    return sum(found.values())


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    rules, others = ({(e["order"], e["rule"]): e for e in each["rules"]} for each in (a, b))
    for key in rules.keys() | others.keys():
        where = f"{a['name']} | {key[1]}"
        if key not in rules or key not in others:
            yield "rule", where, key in rules, key in others
            continue
        for kind in ("finding", "offers", "reasons", "words", "limits"):
            if rules[key][kind] != others[key][kind]:
                yield kind, where, rules[key][kind], others[key][kind]
    if a["response"] != b["response"]:
        yield "response", a["name"], "", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("requests")
    ask.add_argument("file", type=Path)
    ask.add_argument("--generated", type=int, default=GENERATED)
    answer = commands.add_parser("answers")
    answer.add_argument("root", type=Path)
    answer.add_argument("file", type=Path)
    answer.add_argument("out", type=Path)
    differ = commands.add_parser("compare")
    differ.add_argument("one", type=Path)
    differ.add_argument("other", type=Path)
    differ.add_argument("--most", type=int, default=2)
    given = parser.parse_args()
    if given.command == "requests":
        import msgspec

        encoder = msgspec.json.Encoder(decimal_format="number")
        with given.file.open("w", encoding="utf-8") as file:
            for name, request in requests(given.generated):
                line = {"name": name, "hook": request["hook"], "body": encoder.encode(request).decode()}
                file.write(json.dumps(line) + "\n")
    elif given.command == "answers":
        answers(given.root.resolve(), given.file, given.out)
    else:
        sys.exit(1 if compare(given.one, given.other, given.most) else 0)


if __name__ == "__main__":
    main()

"""The files of scenarios: found, read and checked before the first is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from cds_service.errors import UNREADABLE
from cds_service.protocol.errors import ProtocolError, did_you_mean
from cds_service.protocol.model import Hook, Severity
from cds_service.protocol.parsing import parse_yaml
from cds_service.scenarios.coded import ScenarioError
from cds_service.site_file import read_text

MOST_BYTES = 1_000_000
"""Of one file."""
MOST_SCENARIOS = 10_000
"""Of one run."""


class Expect(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=lambda f: f.replace("_", " ")
):
    """What the clinician is told: every rule that is shown, each under its severity, and whatever else is named."""

    critical: list[str] = []
    warning: list[str] = []
    info: list[str] = []
    could_not_tell: list[str] = []
    suppressed: list[str] = []
    hidden: list[str] = []
    """Fired, and kept back at order-sign."""
    clear: list[str] = []
    cards: list[str] | None = None
    """The rules that lead the cards, in their order."""
    indicators: list[Severity] | None = None
    summary: list[str] = []
    """Whole summaries."""
    says: list[str] = []
    """Words that stand in a summary or a detail."""
    does_not_say: list[str] = []
    offers: list[str] = []
    """Labels of suggestions."""
    all_offers: list[str] | None = None
    does_not_offer: list[str] = []
    offers_nothing: bool = False
    regimen: list[dict[str, Any]] | None = None
    """As the extension of the first card has it."""


class Scenario(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"other_drafts": "other drafts"}
):
    """One scenario; `patient` and `order` are read where the request is made of them."""

    name: str
    expect: Expect | Literal["nothing"]
    hook: Hook = "order-sign"
    patient: dict[str, Any] = {}
    order: dict[str, Any] | None = None
    orders: list[dict[str, Any]] = []
    selected: list[str] | None = None
    other_drafts: list[dict[str, Any]] = []


_PLACES = ("scenarios.yaml", "rules/*/scenarios.yaml", "scenarios/*.yaml")


class Filed(NamedTuple):
    file: str
    """Its file, from the folder that was named."""
    scenario: dict[str, Any]
    """As it is written, checked."""


def of_folder(folder: Path) -> list[Filed]:
    """The scenarios of one rule's folder, or of a folder with `rules/`, and those of no single rule in `scenarios/`.

    Raises ScenarioError, also where there is none.
    """
    if not folder.is_dir():
        raise ScenarioError(f"{folder}: there is no such folder")
    files = [file for places in _PLACES for file in sorted(folder.glob(places))]
    found = [Filed(str(file.relative_to(folder)), each) for file in files for each in read(file)]
    if not found:
        raise ScenarioError(f"{folder}: there is no scenario in {', '.join(_PLACES)}")
    if len(found) > MOST_SCENARIOS:
        raise ScenarioError(f"{folder}: {len(found)} scenarios are too many; {MOST_SCENARIOS} are read at once")
    return found


def read(file: Path) -> list[dict[str, Any]]:
    """The scenarios of a file, each checked. Raises ScenarioError with the place of the fault."""
    where = f"{file.parent.name}/{file.name}"
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ScenarioError(f"{where}: it has more than {MOST_BYTES} bytes")
        written = parse_yaml(read_text(file, ScenarioError), where)
    except ProtocolError as error:
        raise ScenarioError(str(error)) from error
    except UNREADABLE as error:
        raise ScenarioError(f"{where}: cannot be read: {error}") from error
    if not isinstance(written, list):
        raise ScenarioError(f"{where}: expected is a list of scenarios, each with name, order and expect")
    for number, each in enumerate(written, 1):
        _check(each, f"{where}: {_name(each) or f'scenario {number}'}")
    _refuse_twice((_name(each) for each in written), where)
    return written


def _name(written: Any) -> str:
    return str(written.get("name") or "") if isinstance(written, dict) else ""


def _check(written: Any, where: str) -> None:
    try:
        scenario = msgspec.convert(written, Scenario)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ScenarioError(f"{where}: {error}") from error
    if (scenario.order is None) == (not scenario.orders) and scenario.hook != "patient-view":
        raise ScenarioError(f"{where}: it needs either an order or a list of orders")


def _refuse_twice(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ScenarioError(f"{where}: two scenarios are called “{name}”")
        seen.add(name)


def refuse_unknown(filed: Iterable[Filed], rules: Iterable[str]) -> None:
    """Whatever names no rule of the protocols could not fail. Raises ScenarioError."""
    known = {*rules}
    for each in filed:
        for name in _named(each.scenario):
            if name not in known:
                says = f"there is no rule {name}{did_you_mean(name, known)}"
                raise ScenarioError(f"{each.file}: {each.scenario['name']}: {says}")


def _named(scenario: dict[str, Any]) -> Iterator[str]:
    expect = scenario["expect"]
    for word in _OF_RULES if isinstance(expect, dict) else ():
        yield from expect.get(word, ())


_OF_RULES = ("critical", "warning", "info", "could not tell", "suppressed", "hidden", "clear")

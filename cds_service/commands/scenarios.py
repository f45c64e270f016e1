"""The command protocol test: a site's own scenarios, judged with its overlay and its protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cds_service.commands.given import moment as moment_of
from cds_service.folders import KETAMINE
from cds_service.hooks.errors import HookError
from cds_service.knowledge import Knowledge, load
from cds_service.scenarios import files
from cds_service.scenarios.coded import ScenarioError, on_the_day_of
from cds_service.scenarios.expected import faults, judge
from cds_service.settings import Settings
from cds_service.settings import load as load_settings


def run(folder: Path, overlay: str | None, now: str | None) -> int:
    """Print each scenario that is not as expected, with why. Returns 0: all are, 1: one is not.

    A folder with an overlay.yaml is judged with it, and one with a protocol.yaml as a protocol of its own; else the
    settings say with what. Raises ScenarioError and ConfigurationError before anything is judged.
    """
    filed = files.of_folder(folder)
    knowledge = _loaded(load_settings(), folder, overlay)
    files.refuse_unknown(filed, knowledge.by_rule)
    moment = moment_of(now) if now is not None else on_the_day_of(datetime.now(UTC))
    failed = 0
    for each in filed:
        wrong = list(_wrong(each.scenario, knowledge, moment))
        failed += bool(wrong)
        if wrong:
            print(f"FAILED {each.file}: {each.scenario['name']}")
            for sentence in wrong:
                print("       " + sentence.replace("\n", "\n       "))
    print(f"{len(filed)} scenario{'' if len(filed) == 1 else 's'}: {failed or 'none'} not as expected")
    return 1 if failed else 0


def _loaded(settings: Settings, folder: Path, overlay: str | None) -> Knowledge:
    beside = folder / "overlay.yaml"
    chosen = overlay or (str(beside) if beside.is_file() else settings.overlay)
    protocols = list(settings.protocols)
    loaded = {KETAMINE, *(Path(each).resolve() for each in protocols)}
    if (folder / "protocol.yaml").is_file() and folder.resolve() not in loaded:
        protocols.append(str(folder))
    return load(settings.base_url, chosen, settings.valuesets, protocols)


def _wrong(scenario: Mapping[str, Any], knowledge: Knowledge, now: datetime) -> Iterator[str]:
    try:
        yield from faults(scenario, judge(scenario, knowledge, now=now))
    except ScenarioError as error:
        yield str(error)
    except HookError as error:
        yield f"the service refuses the request: {error}"

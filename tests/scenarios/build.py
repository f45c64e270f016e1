"""The scenarios of this repository, and the parts of cds_service.scenarios from which tests build requests."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from cds_service.folders import CARDS
from cds_service.scenarios.coded import (
    ACT_CODE,
    CODES,
    DRUGS,
    LOINC,
    NOW,
    PATIENT,
    REASONS,
    ROUTES,
    RXNORM,
    SNOMED,
    concept,
    quantity,
)
from cds_service.scenarios.files import of_folder, read
from cds_service.scenarios.orders import medication_request
from cds_service.scenarios.patient import observation
from cds_service.scenarios.request import hook_request, parsed, sent
from cds_service.terminology.systems import UCUM

__all__ = [
    "ACT_CODE", "DRUGS", "LOINC", "MONITORING", "NOW", "PARACETAMOL", "PATIENT", "REASONS", "ROUTES", "RXNORM",
    "SNOMED", "UCUM", "concept", "hook_request", "medication_request", "observation", "of_protocol", "parsed",
    "quantity", "scenarios", "sent",
]  # fmt: skip

MONITORING = tuple(CODES.monitoring)
PARACETAMOL = CODES.adjunct.partition(" ")[0]


@functools.cache
def scenarios() -> tuple[tuple[str, dict[str, Any]], ...]:
    """(file, scenario): those of each rule, in its folder, and those of no single one, in this folder.

    The same objects each time.
    """
    of_rules = [each for folder in sorted(CARDS.glob("*/rules")) for each in of_protocol(folder.parent)]
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return (*of_rules, *((file.stem, each) for file in files for each in read(file)))


def of_protocol(folder: Path) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(rule, scenario): those in the folders of a protocol's rules."""
    return tuple((Path(each.file).parent.name, each.scenario) for each in of_folder(folder))

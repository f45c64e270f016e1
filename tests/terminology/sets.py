"""Value sets as the tests write them, and the code systems by name."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from cds_service.terminology import valueset
from cds_service.terminology.valuesets import ValueSets

SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ATC = "http://www.whocc.no/atc"

Json = dict[str, Any]


def value_set(*include: Json, name: str = "a_set", **more: Any) -> Json:
    return {"resourceType": "ValueSet", "name": name, "compose": {"include": list(include)}, **more}


def enumerated(system: str, *codes: str) -> Json:
    return {"system": system, "concept": [{"code": code} for code in codes]}


def branch(system: str, code: str) -> Json:
    return {"system": system, "filter": [{"property": "concept", "op": "is-a", "value": code}]}


def evidence(**parts: str | int | Decimal) -> list[Json]:
    """The extension that a shipped code carries."""
    kinds = {int: "valueInteger", Decimal: "valueDecimal"}
    inner = [
        {"url": name.replace("_", "-"), kinds.get(type(value), "valueCode"): value} for name, value in parts.items()
    ]
    return [{"url": "https://example.org/StructureDefinition/code-evidence", "extension": inner}]


def directory(folder: Path, *value_sets: Json) -> Path:
    for number, each in enumerate(value_sets):
        (folder / f"{number}.json").write_text(json.dumps(each))
    return folder


LOINC = "http://loinc.org"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
NDC = "http://hl7.org/fhir/sid/ndc"
HSLOC = "https://www.cdc.gov/nhsn/cdaportal/terminology/codesystem/hsloc.html"


def loaded(*value_sets: Json) -> ValueSets:
    return ValueSets(valueset.read(json.dumps(each).encode(), f"{each.get('name')}.json") for each in value_sets)

"""The command protocol publish: the protocol as CQL libraries in a folder, for engines that nobody here wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from cds_service.commands.refused import Refused
from cds_service.knowledge import Knowledge, load
from cds_service.protocol import publish, published_sets
from cds_service.protocol.activities import activity_definitions
from cds_service.protocol.cql import Library, Written
from cds_service.protocol.cql.valuesets import parts
from cds_service.protocol.model import Protocol
from cds_service.published import folder_of, with_cql
from cds_service.settings import load as load_settings

NOT_SAID = "not-said.md"
"""The file that lists what CQL does not say."""


Translator = Callable[[Sequence[Library]], Mapping[str, bytes]]
"""From CQL libraries to the ELM of each, by its name; others that they include stand among them."""


def run(folder: Path, overlay: str | None, day: date | None = None, translate: Translator | None = None) -> int:
    """Exit status 0. Raises a ConfigurationError for what cannot be loaded; Refused where nothing can be written."""
    settings = load_settings()
    knowledge = load(settings.base_url, overlay, settings.valuesets, settings.protocols)
    try:
        for part in knowledge.parts:
            into = folder_of(knowledge, part.protocol, folder)
            print(_write(knowledge, part.protocol, into, day or date.today(), translate))
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
    return 0


def _write(knowledge: Knowledge, protocol: Protocol, folder: Path, day: date, translate: Translator | None) -> str:
    """What was written, in a line."""
    published, written = with_cql(knowledge, protocol, day)
    elm = translate(written.libraries) if translate is not None else {}
    for each in written.libraries:
        _put(folder / f"{each.name}.cql", each.text.encode())
    for name, translated in elm.items():
        _put(folder / "elm" / f"{name}.json", translated)
    whole = published_sets.value_sets([protocol])
    sets = whole | parts(written.sets, whole)
    for part in written.sets:
        _put(folder / "valuesets" / f"{part.id}.json", _shown(sets[part.id]))
    for resource in (publish.plan_definition(published), *activity_definitions(published)):
        _put(folder / "fhir" / f"{resource['resourceType']}-{resource['id']}.json", _shown(resource))
    for each in written.libraries:
        made = publish.cql_library(published, each.name, each.text, each.depends_on, elm.get(each.name))
        _put(folder / "fhir" / f"Library-{each.name}.json", _shown(made))
    _put(folder / NOT_SAID, "\n".join([*not_said(written), ""]).encode())
    said = sum(each.rule is not None for each in written.libraries)
    return f"{folder}: {said} of {said + len(written.unsaid)} rules of {protocol.id}; {NOT_SAID} lists the others"


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _shown(resource: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(resource), indent=2)


def not_said(written: Written) -> Iterator[str]:
    """Tables in Markdown: the rules that CQL does not say, and changes of severity that it does not say of others."""
    yield "# What CQL does not say\n"
    yield "| rule | why |\n|---|---|"
    for rule, why in written.unsaid.items():
        yield f"| `{rule}` | {why} |"
    yield "\nOf these rules a change of severity is not said: they keep the severity of their tier there.\n"
    yield "| rule | change | why |\n|---|---|---|"
    for each in written.libraries:
        for line in each.unsaid:
            change, _, why = line.partition(": ")
            yield f"| `{each.rule}` | {change} | {why} |"

"""The command protocol publish: the protocol as CQL libraries in a folder, for engines that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from cds_service.commands.refused import Refused
from cds_service.knowledge import Knowledge, load
from cds_service.protocol import publish
from cds_service.protocol.cql import Written
from cds_service.protocol.cql.valuesets import parts
from cds_service.protocol.model import Protocol
from cds_service.published import as_cql
from cds_service.settings import load as load_settings

NOT_SAID = "not-said.md"
"""The file that lists what CQL does not say."""


def run(folder: Path, overlay: str | None, day: date | None = None) -> int:
    """Exit status 0. Raises a ConfigurationError for what cannot be loaded; Refused where nothing can be written."""
    settings = load_settings()
    knowledge = load(settings.base_url, overlay, settings.valuesets, settings.protocols)
    try:
        for part in knowledge.parts:
            into = folder if part.protocol is knowledge.protocol else folder / part.protocol.id
            print(_write(knowledge, part.protocol, into, day or date.today()))
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
    return 0


def _write(knowledge: Knowledge, protocol: Protocol, folder: Path, day: date) -> str:
    """What was written, in a line."""
    written = as_cql(knowledge, protocol, day)
    sets = folder / "valuesets"
    sets.mkdir(parents=True, exist_ok=True)
    for each in written.libraries:
        (folder / f"{each.name}.cql").write_text(each.text, "utf-8")
    whole = publish.value_sets([protocol])
    published = whole | parts(written.sets, whole)
    for part in written.sets:
        (sets / f"{part.id}.json").write_bytes(msgspec.json.format(msgspec.json.encode(published[part.id]), indent=2))
    (folder / NOT_SAID).write_text("\n".join([*not_said(written), ""]), "utf-8")
    said = sum(each.rule is not None for each in written.libraries)
    return f"{folder}: {said} of {said + len(written.unsaid)} rules of {protocol.id}; {NOT_SAID} lists the others"


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

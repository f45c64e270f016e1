"""The ELM in a folder that `make elm` wrote: of each library that is the very text which was translated there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from cds_service.protocol.cql.libraries import Library
from cds_service.protocol.publish import CQL, ELM


class _Content(msgspec.Struct, frozen=True, rename="camel"):
    content_type: str
    data: str


class _Resource(msgspec.Struct, frozen=True):
    """A Library as the folder has it: the text and its translation in one file, so that neither changes alone."""

    content: list[_Content]


def translated(folder: Path, libraries: Sequence[Library]) -> Mapping[str, bytes]:
    """Library -> its ELM. None of a library that was written anew since, or that includes such a one.

    A file that is missing or cannot be read is as one of another text: its library has no ELM.
    """
    named = {each.name: each for each in libraries}
    found = {each.name: elm for each in libraries if (elm := _elm(folder, each)) is not None}

    def holds(name: str) -> bool:
        return name in found and all(map(holds, _included(named[name], named)))

    return {name: elm for name, elm in found.items() if holds(name)}


def _included(library: Library, named: Mapping[str, Library]) -> Iterator[str]:
    names = (url.rpartition("/")[2].partition("|")[0] for url in library.depends_on)
    return (name for name in names if name in named)


def _elm(folder: Path, library: Library) -> bytes | None:
    try:
        read = (folder / "fhir" / f"Library-{library.name}.json").read_bytes()
        resource = msgspec.json.decode(read, type=_Resource)
        content = {each.content_type: base64.b64decode(each.data, validate=True) for each in resource.content}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, binascii.Error):
        return None
    return content.get(ELM) if content.get(CQL) == library.text.encode() else None

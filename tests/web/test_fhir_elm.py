"""ELM beside the CQL that /fhir serves: from a folder that `make elm` wrote, of the very text that is served."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cds_service.commands import publish
from cds_service.knowledge import Knowledge
from cds_service.protocol.cql import Library, translated
from cds_service.published import as_cql
from cds_service.settings import Settings
from tests.hooks.client import client
from tests.scenarios.build import NOW

ELM = "application/elm+json"
INCLUDES_ALL = "KetamineUntold"
"""The library that includes those of all rules."""
Served = Callable[[], Mapping[str, Mapping[str, bytes]]]
"""Library -> type of its content -> the content."""


def _as_if_translated(libraries: Sequence[Library]) -> Mapping[str, bytes]:
    return {each.name: b'{"library": "%s"}' % each.name.encode() for each in libraries}


@pytest.fixture(scope="module")
def libraries(knowledge: Knowledge) -> Sequence[Library]:
    return as_cql(knowledge, knowledge.protocol, NOW.date()).libraries


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make elm` writes it, with a translator that needs no JDK; some days before it is served."""
    folder = tmp_path_factory.mktemp("made")
    assert publish.run(folder, None, (NOW - timedelta(days=3)).date(), _as_if_translated) == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def served(folder: Path, knowledge: Knowledge, libraries: Sequence[Library]) -> Served:
    def read() -> Mapping[str, Mapping[str, bytes]]:
        http = client(knowledge, Settings(elm=str(folder)))
        found = {each.name: json.loads(http.get(f"/fhir/Library/{each.name}").data) for each in libraries}
        return {
            name: {each["contentType"]: base64.b64decode(each["data"]) for each in library["content"]}
            for name, library in found.items()
        }

    return read


def _change(folder: Path, name: str, old: bytes, new: bytes) -> None:
    """The CQL of a library in the folder, whose ELM stays."""
    file = folder / "fhir" / f"Library-{name}.json"
    resource = json.loads(file.read_bytes())
    text, _ = resource["content"]
    changed = base64.b64decode(text["data"]).replace(old, new)
    assert base64.b64encode(changed).decode() != text["data"]
    text["data"] = base64.b64encode(changed).decode()
    file.write_text(json.dumps(resource))


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage() for each in caplog.records if each.name == "ketamine_cds" and "ELM" in each.getMessage()
    ]


def test_every_library_has_its_elm_beside_its_cql(
    served: Served, libraries: Sequence[Library], caplog: pytest.LogCaptureFixture
) -> None:
    elm = _as_if_translated(libraries)
    assert served() == {each.name: {"text/cql": each.text.encode(), ELM: elm[each.name]} for each in libraries}
    assert _said(caplog) == []


def test_a_library_whose_cql_is_another_than_was_translated_is_served_without_elm_and_said_once(
    served: Served, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _change(folder, "KetamineBpUncontrolled", b"180 'mm[Hg]'", b"181 'mm[Hg]'")
    with caplog.at_level(logging.WARNING):
        found = served()
    assert [name for name, content in found.items() if ELM not in content] == ["KetamineBpUncontrolled", INCLUDES_ALL]
    assert b"180 'mm[Hg]'" in found["KetamineBpUncontrolled"]["text/cql"]
    assert _said(caplog) == [
        "served without ELM, since KETAMINE_CDS_ELM has none of the same CQL: KetamineBpUncontrolled, KetamineUntold"
    ]


def test_what_includes_a_library_that_is_another_there_is_served_without_elm_too(
    served: Served, folder: Path
) -> None:
    _change(folder, "KetamineDosage", b"Round(", b"Truncate(")
    found = served()
    without = {name for name, content in found.items() if ELM not in content}
    named = {name for name, content in found.items() if b"KetamineDosage" in content["text/cql"]}
    assert named
    assert without == named | {INCLUDES_ALL}
    assert len(without) < len(found)


@pytest.mark.parametrize("content", [b"", b"{", b'{"content": [{"contentType": "text/cql", "data": "?"}]}', None])
def test_a_file_that_is_missing_or_broken_costs_its_own_elm_and_that_of_what_includes_it(
    content: bytes | None, folder: Path, libraries: Sequence[Library]
) -> None:
    file = folder / "fhir" / "Library-KetamineBpUncontrolled.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    without = {each.name for each in libraries} - translated(folder, libraries).keys()
    assert without == {"KetamineBpUncontrolled", INCLUDES_ALL}


def test_a_folder_that_was_written_again_without_a_translator_has_no_elm(
    folder: Path, libraries: Sequence[Library]
) -> None:
    assert publish.run(folder, None, NOW.date()) == 0
    assert translated(folder, libraries) == {}


def test_without_the_setting_there_is_cql_alone_and_nothing_is_said(
    knowledge: Knowledge, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client(knowledge).get("/fhir/Library/KetamineBpUncontrolled")
    assert [each["contentType"] for each in json.loads(answer.data)["content"]] == ["text/cql"]
    assert _said(caplog) == []

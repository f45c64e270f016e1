"""Whatever file is broken, and whichever command reads it: one sentence that names the file, and exit code 3."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pkgutil
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cds_service
from cds_service import cli, errors, knowledge
from cds_service.cards import loading
from cds_service.commands import serve
from cds_service.deadline import Late
from cds_service.errors import CdsError, ConfigurationError
from cds_service.folders import CARDS
from cds_service.hooks import clients, profiles
from cds_service.patience import SaysWhy
from cds_service.protocol import loader, overlay
from cds_service.protocol.cql.scope import Unsaid
from cds_service.settings import PREFIX
from cds_service.terminology import valueset, valuesets, vocabulary

REQUEST = str(Path(__file__).parents[2] / "examples" / "ward-infusion-over-the-limit.json")
BAD_INPUT = 3
OWNED = "  owner: P. Harmacist\n  date: 2026-11-01\n  reason: a test\n"
ITSELF = b"site: &site [*site]\n"
RULE = "rate-exceeds-protocol-max"

LOAD = loader.load
SHIPPED_SETS, SHIPPED_PROTOCOL = functools.cache(valuesets.load), functools.cache(loader.load)
"""What is whole is read once for all tests."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of this machine, nothing recorded, and a service that would start fails the test."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KETAMINE_CDS_STORE", "off")
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(serve, "_claim", lambda settings: pytest.fail("the service would start"))
    monkeypatch.setattr(valuesets, "load", SHIPPED_SETS)
    monkeypatch.setattr(loader, "load", SHIPPED_PROTOCOL)


# One broken file of each kind. Each gives the settings that name it, and the overlay for `protocol validate`. -------

Broken = tuple[dict[str, str], str | None]


def _setting(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    return {"KETAMINE_CDS_PORT": "eighty"}, None


def _clients(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "clients.yaml").write_text("clients: [{id: NOT AN ID}]\n")
    return {"KETAMINE_CDS_CLIENTS": str(folder / "clients.yaml")}, None


def _profile(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "own.toml").write_bytes(b"\xff = 1")
    (folder / "clients.yaml").write_text("clients: [{id: a, profile: own.toml}]\n")
    return {"KETAMINE_CDS_CLIENTS": str(folder / "clients.yaml")}, None


def _overlay(folder: Path, content: bytes) -> Broken:
    path = folder / "overlay.yaml"
    path.write_bytes(content)
    return {"KETAMINE_CDS_OVERLAY": str(path)}, str(path)


def _overlay_of_itself(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    return _overlay(folder, ITSELF)


def _limit_of_a_site(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    return _overlay(folder, f"site: s\nlimits:\n- limit: salt-factor\n  value: 0\n{OWNED}".encode())


def _rule_of_a_site(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    return _overlay(folder, f"site: s\nadditions:\n- rules: [{{id: mine}}]\n{OWNED}".encode())


def _text(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "texts").mkdir()
    (folder / "texts" / f"{RULE}.md").write_bytes(b"\xff\xfe")
    return _overlay(folder, b"site: s\n")


def _text_without_a_summary(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "texts").mkdir()
    (folder / "texts" / f"{RULE}.md").write_text("---\ntitle: Rate\nsummary: {elsewhere: no}\n---\n")
    return _overlay(folder, b"site: s\n")


def _value_set(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "my_set.json").write_text("[" * 5000 + "]" * 5000)
    return {"KETAMINE_CDS_VALUESETS": str(folder)}, None


def _words_of_a_value_set(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
    (folder / "dx_seizure.json").write_text(
        '{"name": "dx_seizure", "compose": {"include": [{"system": "urn:s", "concept": [{"code": "c"}]}]}}'
    )
    (folder / "dx_seizure.words.yaml").write_text("2026-99-99: [fit]\n")
    return {"KETAMINE_CDS_VALUESETS": str(folder)}, None


def _shipped(part: str) -> Callable[[Path, pytest.MonkeyPatch], Broken]:
    def broken(folder: Path, patch: pytest.MonkeyPatch) -> Broken:
        shutil.copytree(CARDS / "ketamine", folder / "ketamine")
        first = sorted((folder / "ketamine").glob(part))[0]
        first.write_bytes(first.read_bytes() + b"\n: : [\n")
        patch.setattr(loader, "load", functools.partial(LOAD, root=folder / "ketamine"))
        return {}, None

    return broken


ALL = ("check", "explain", "validate", "serve")
KINDS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], Broken], tuple[str, ...], str]] = {
    "a setting": (_setting, ALL, "KETAMINE_CDS_PORT is 'eighty'"),
    "clients": (_clients, ("serve",), "clients.yaml"),
    "a profile": (_profile, ("serve",), "own.toml"),
    "an overlay": (_overlay_of_itself, ALL, "overlay.yaml"),
    "a site's limit": (_limit_of_a_site, ALL, "salt-factor"),
    "a site's rule": (_rule_of_a_site, ALL, "overlay.yaml"),
    "a text": (_text, ALL, f"{RULE}.md"),
    "a text without a summary": (_text_without_a_summary, ALL, f"{RULE}.md"),
    "a value set": (_value_set, ALL, "my_set.json"),
    "words of a value set": (_words_of_a_value_set, ALL, "dx_seizure.words.yaml"),
    "shipped limits": (_shipped("limits.yaml"), ALL, "limits.yaml"),
    "shipped rules": (_shipped("rules/*/rule.yaml"), ALL, "rule.yaml"),
}


def _command(door: str, overlay_file: str | None) -> list[str]:
    if door == "validate":
        return ["protocol", "validate", *([overlay_file] if overlay_file else [])]
    return ["serve"] if door == "serve" else [door, REQUEST]


@pytest.mark.parametrize(
    ("kind", "door"), [pytest.param(kind, door, id=f"{door}: {kind}") for kind in KINDS for door in KINDS[kind][1]]
)
def test_a_broken_file_is_said_in_one_line_with_exit_code_3(
    kind: str, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it, _, says = KINDS[kind]
    named, overlay_file = break_it(tmp_path, monkeypatch)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert cli.main(_command(door, overlay_file)) == BAD_INPUT
    output, said = capsys.readouterr()
    assert output == ""
    assert said.startswith("ketamine-cds: ")
    assert said.count("\n") == 1
    assert says in said


def test_a_name_that_no_file_can_have_is_refused_like_a_missing_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exists = "a directory that exists and can be read"
    for setting, said in (("CLIENTS", "a file that exists"), ("VALUESETS", exists), ("ELM", exists)):
        with monkeypatch.context() as patch:
            patch.setenv(PREFIX + setting, "n" * 5000)
            assert cli.main(["check", REQUEST]) == BAD_INPUT
        assert said in capsys.readouterr().err


# Any bytes at all, at each reader. ----------------------------------------------------------------------------------

MARKS = "[]{}:,&*-#\n \"'|>%!?=.~"
CONTENT = st.one_of(
    st.binary(max_size=80),
    st.text(st.sampled_from(MARKS + "ab01"), max_size=60).map(str.encode),
    st.sampled_from([b"", b"null", b"[]", b"{}", b"2026-99-99: 1", b"a: .inf", b"1e999999999: 1", ITSELF]),
    st.sampled_from(
        [(b"[" * n + b"]" * n) for n in (50, 2000)] + [(b'{"a":' * n + b"1" + b"}" * n) for n in (50, 2000)]
    ),
)

READERS: dict[str, Callable[[Path], Any]] = {
    "overlay.yaml": functools.partial(overlay.read, shared={}),
    "clients.yaml": clients.load,
    "clients.toml": clients.load,
    "profile.toml": lambda path: profiles.load(str(path)),
    f"{RULE}.md": lambda path: loading.load(SHIPPED_PROTOCOL(SHIPPED_SETS()), path.parent),
    "mine.words.yaml": lambda path: vocabulary.read(path.parent, ".words.yaml"),
    "mine.json": lambda path: valueset.read(path.read_bytes(), path.name),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_a_file_holds_it_is_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("any") / name

    @settings(max_examples=60)
    @given(CONTENT)
    def holds(content: bytes) -> None:
        file.write_bytes(content)
        with contextlib.suppress(ConfigurationError):
            READERS[name](file)

    holds()


# The tree itself. ---------------------------------------------------------------------------------------------------


def _public_errors() -> set[type[BaseException]]:
    """Every exception that a module of the service defines under a public name."""
    found = set()
    for module in pkgutil.walk_packages(cds_service.__path__, f"{cds_service.__name__}."):
        if module.name != "cds_service.web.wsgi" and ".migrations" not in module.name:  # these act when imported
            defined = vars(importlib.import_module(module.name)).values()
            found |= {each for each in defined if isinstance(each, type) and issubclass(each, BaseException)}
    return {each for each in found if each.__module__.partition(".")[0] in ("cds_service", "cards")}


def test_every_error_that_leaves_its_module_hangs_in_the_tree_and_is_drawn_there() -> None:
    found = {each for each in _public_errors() if not each.__name__.startswith("_")}
    assert {each for each in found if not issubclass(each, CdsError)} == {Late, Unsaid}
    branches = (CdsError, ConfigurationError, SaysWhy)
    children = {each.__name__ for each in found if not {*each.__bases__}.isdisjoint(branches)}
    drawn = set(re.findall(r"\b[A-Z][A-Za-z]+\b", (errors.__doc__ or "").split("\n\n")[1]))
    assert children <= drawn


def test_what_the_service_loads_at_its_start_is_what_validate_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["protocol", "validate"]) == 0
    loaded = knowledge.load().protocol
    assert f"{len(loaded.rules)} rules, {len(loaded.limits)} limits" in capsys.readouterr().out

"""Whatever lies where a site's file should be, a start and a reload end with one sentence: none hangs, none dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cds_service import bounds, site_file
from cds_service.cards import loading
from cds_service.errors import CdsError, ConfigurationError
from cds_service.hooks import clients, keysets, profiles
from cds_service.protocol import loader, overlay
from cds_service.protocol.errors import ProtocolError
from cds_service.protocol.parsing import parse_yaml
from cds_service.settings import Settings
from cds_service.store import keys
from cds_service.terminology import valuesets, vocabulary
from cds_service.web import certificates
from tests.waiting import until
from tests.web.test_server import PATIENCE, started
from tests.web.test_workers import errors, judged

READERS: dict[str, Callable[[Path], Any]] = {
    "clients.yaml": clients.load,
    "clients.toml": clients.load,
    "profile.toml": lambda path: profiles.load(str(path)),
    "overlay.yaml": lambda path: overlay.read(path, {}),
    "jwks.json": lambda path: keysets.from_file(str(path)).usable(["ES384"]),
    "certificate.pem": lambda path: certificates.check(Settings(tls_certificate=str(path), tls_key=str(path))),
    "authorities.pem": lambda path: certificates.check(Settings(fhir_ca_bundle=str(path))),
    "store.key": lambda path: keys.read(str(path)),
    "client.secret": lambda path: keys.text(str(path)),
}


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(bounds.FILE + 1)


SHAPES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (os.mkfifo, "Is no regular file"),
    "a folder": (Path.mkdir, "Is a directory"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "Is no regular file"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "more than is read": (_huge, f"Has more than {bounds.FILE} bytes"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_of_a_site_is_refused_in_a_sentence(
    name: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "is_open", lambda *given: False)  # a device is open to everybody
    make, says = SHAPES[shape]
    make(tmp_path / name)
    with pytest.raises(CdsError) as refusal:
        READERS[name](tmp_path / name)
    assert says in str(refusal.value)


def test_a_file_is_read_up_to_so_many_bytes(tmp_path: Path) -> None:
    file = tmp_path / "clients.yaml"
    start = b"clients: [{id: ward}]\n#"
    file.write_bytes(start.ljust(bounds.FILE, b"a"))
    assert [each.id for each in clients.load(file)] == ["ward"]
    file.write_bytes(start.ljust(bounds.FILE + 1, b"a"))
    with pytest.raises(clients.ClientsError, match=f"{file}: cannot be read: Has more than {bounds.FILE} bytes"):
        clients.load(file)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a secret."""
    (tmp_path / "data").write_text("clients: [{id: ward}]")
    (tmp_path / "clients.yaml").symlink_to("data")
    assert [each.id for each in clients.load(tmp_path / "clients.yaml")] == ["ward"]


# Depth and aliases --------------------------------------------------------------------------------------------------

NESTED: dict[str, Callable[[int], str]] = {
    "brackets": lambda levels: "[" * (levels - 1) + "a" + "]" * (levels - 1),
    "braces": lambda levels: "{a: " * (levels - 1) + "a" + "}" * (levels - 1),
    "dashes": lambda levels: "- " * (levels - 1) + "a",
}


@pytest.mark.parametrize("way", NESTED)
def test_yaml_is_read_up_to_so_many_levels(way: str) -> None:
    assert parse_yaml(NESTED[way](bounds.LEVELS), "site.yaml")
    for levels in (bounds.LEVELS + 1, 100_000):
        with pytest.raises(ProtocolError, match=f"site.yaml: .*more than {bounds.LEVELS} levels"):
            parse_yaml(NESTED[way](levels), "site.yaml")


DEEP = "a: " + "[" * 100_000


def _text(path: Path) -> Any:
    protocol = loader.load(valuesets.load())
    (path / f"{next(iter(protocol.rules))}.md").write_text(f"---\ntitle: {DEEP[3:]}\n---\n")
    return loading.load(protocol, path)


def _words(path: Path) -> Any:
    (path / "mine.words.yaml").write_text(DEEP)
    return vocabulary.read(path, ".words.yaml")


@pytest.mark.parametrize("read", [_text, _words])
def test_a_text_or_vocabulary_that_is_nested_too_deep_is_refused(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"more than {bounds.LEVELS} levels"):
        read(tmp_path)


def _doubling(times: int) -> str:
    """A list of 2 ** `times` values, and those that hold them, in as many lines."""
    return "\n".join(f"- &a{n + 1} [*a{n}, *a{n}]" if n else "- &a1 [x, x]" for n in range(times))


def test_aliases_may_stand_for_so_many_values() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a", "site.yaml") == {"a": [1, 2], "b": [1, 2]}
    held = 0
    for times in range(1, 30):
        held += 2 ** (times + 1) - 1
        if held > bounds.VALUES:
            break
        assert not site_file.holds_too_much(parse_yaml(_doubling(times), "site.yaml"))
    with pytest.raises(ProtocolError, match=f"site.yaml: holds more than {bounds.VALUES} values"):
        parse_yaml(_doubling(times), "site.yaml")
    with pytest.raises(ProtocolError, match=r"site.yaml: holds more than"):
        parse_yaml(_doubling(60), "site.yaml")


# Served -------------------------------------------------------------------------------------------------------------


def test_a_reload_with_a_file_that_never_ends_or_would_end_the_process_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: North\n")
    with started(tmp_path, None, KETAMINE_CDS_OVERLAY=str(file)) as running:
        running.wait_for("Listening on ")
        for count, make in enumerate((os.mkfifo, lambda path: path.write_text(DEEP)), 1):
            file.unlink()
            make(file)
            running.process.send_signal(signal.SIGHUP)
            until(lambda count=count: len(errors(running)) == count, "the refusal")
            assert errors(running)[-1].startswith("nothing was reloaded, the service goes on as it was: ")
            assert judged(running)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0

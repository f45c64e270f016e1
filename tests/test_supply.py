"""What the service is made of: locked packages, a slim image, and tools that say what they could not find out."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest
import yaml

from cds_service import bounds
from cds_service.commands import health
from supply import audit, licences, pin
from supply.locked import packages
from tests.servers.local import Reply, local_server
from tests.servers.ports import unused_port

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
FINAL = DOCKERFILE.split("\nFROM ")[-1]


# Packages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "build", "dev", "supply", "spark"])
def test_every_package_is_locked_with_hashes(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^\s\\]+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_no_build_tool_is_among_what_the_service_runs_with() -> None:
    assert not set(packages()) & set(packages(ROOT / "requirements/build.txt"))


def test_what_is_installed_here_is_what_is_locked() -> None:
    """Else the page of licences would speak of other versions."""
    from importlib.metadata import version

    assert {name: version(name) for name in packages()} == packages()


def test_every_package_states_a_licence() -> None:
    assert [name for name in packages() if licences.licence(name).startswith("not ")] == []


# The image -------------------------------------------------------------------------------------------------------


def test_the_base_image_is_named_by_its_exact_version() -> None:
    assert re.search(r"^ARG BASE=python:3\.12\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?$", DOCKERFILE, re.MULTILINE)


def test_the_image_has_a_user_a_health_check_and_what_it_needs_to_be_reached() -> None:
    assert "\nUSER 10001:10001\n" in FINAL, "a number: Kubernetes cannot tell a name from root"
    assert "KETAMINE_CDS_HOST=0.0.0.0" in FINAL
    assert "KETAMINE_CDS_STATE_DIR=/state" in FINAL
    assert "KETAMINE_CDS_AUTH=loopback" in FINAL
    assert "HEALTHCHECK" in FINAL
    assert "cds_service.commands.health" in FINAL
    assert "pip install" not in FINAL


def test_in_compose_the_service_has_a_memory_limit_and_a_health_check() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["ketamine-cds"]
    assert service["mem_limit"]
    assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "cds_service.commands.health"]
    assert service["read_only"] is True


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False), (404, False)])
def test_the_health_check_asks_the_service_at_its_host_and_port(status: int, is_well: bool) -> None:
    with local_server(Reply(status=status)) as server:
        port = str(server.port)
        assert health.answers({"KETAMINE_CDS_HOST": "0.0.0.0", "KETAMINE_CDS_PORT": port}) is is_well
        assert [request.path for request in server.received] == ["/healthz"]


def test_a_service_that_is_not_there_is_not_well() -> None:
    assert not health.answers({"KETAMINE_CDS_PORT": str(unused_port())})


# Tools -----------------------------------------------------------------------------------------------------------

DIGEST = "sha256:" + "ab" * 32


def _docker(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, which is all that is found."""
    program = folder / "docker"
    program.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_the_digest_is_written_beside_the_tag_and_replaced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE)
    _docker(tmp_path, monkeypatch, f"print({DIGEST!r})")
    tag = re.search(r"^ARG BASE=([^@\s]+)", DOCKERFILE, re.MULTILINE)
    assert tag is not None
    assert pin.pin(file) == f"{tag[1]}@{DIGEST}"
    assert f"ARG BASE={tag[1]}@{DIGEST}\n" in file.read_text()
    _docker(tmp_path, monkeypatch, f"print({DIGEST.replace('ab', 'cd')!r})")
    assert pin.pin(file) == f"{tag[1]}@{DIGEST.replace('ab', 'cd')}"
    assert file.read_text().count("@sha256:") == 1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sys.exit('the registry is not reachable')", "no registry could be asked: the registry is not reachable"),
        ("print('latest')", "no registry could be asked: it gave no digest"),
        (None, "docker could not be asked"),
    ],
)
def test_without_a_registry_the_dockerfile_stays_as_it_is_and_that_is_said(
    script: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE)
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        _docker(tmp_path, monkeypatch, script)
    with pytest.raises(pin.NotPinned, match=says):
        pin.pin(file)
    assert file.read_text() == DOCKERFILE


WELL = {"name": "a", "version": "1", "vulns": []}
ILL = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "version": "4", "skip_reason": "not found"}


def test_what_could_not_be_looked_up_is_said_and_is_no_success() -> None:
    lines, status = audit.report([WELL, UNKNOWN])
    assert status == audit.NOT_AUDITED
    assert lines == ["NOT AUDITED: 1 of 2 packages could not be looked up (c); this says nothing of them"]
    assert audit.report([])[1] == audit.NOT_AUDITED


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    assert audit.report([ILL, WELL]) == (["b 2: CVE-1, mended in 3"], audit.FOUND)
    assert audit.report([ILL, UNKNOWN])[1] == audit.FOUND
    assert audit.report([WELL]) == (["1 packages looked up, no known vulnerability"], 0)


# The threat model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("threat-model", 50), ("bounds", len(bounds.TABLE))])
def test_every_test_that_a_page_names_exists(name: str, count: int) -> None:
    page = (ROOT / f"docs/{name}.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+|\*)`", page)
    assert len(named) >= count
    for file, test in named:
        source = (ROOT / file).read_text("utf-8")
        assert f"def {test}(" in source or (test == "*" and "def test_" in source), f"{file}::{test}"


def test_every_row_of_the_threat_model_names_a_test_or_says_why_not() -> None:
    page = (ROOT / "docs/threat-model.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    without = [row for row in rows if "tests/" not in row]
    assert all("not applicable" in row or "documented, not enforced" in row for row in without), without


def test_the_threat_model_looks_at_all_of_stride_and_the_owasp_list() -> None:
    page = (ROOT / "docs/threat-model.md").read_text("utf-8")
    cells = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| "))
    assert {f"API{number}" for number in range(1, 11)} <= set(re.findall(r"API\d+", cells))
    assert set("STRIDE") <= set(re.findall(r"\b[STRIDE]\b", cells))

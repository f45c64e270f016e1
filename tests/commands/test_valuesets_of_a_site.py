"""What commands do with the directory of value sets that a site names."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.client import encoded
from tests.scenarios.build import NOW, hook_request

Json = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("alone")


def with_theophylline_by_a_site_code() -> Json:
    return hook_request({"order": {"rate": "0.2 mg/kg/h"}, "patient": {"medicines": [{"drug": {"coding": [SITE]}}]}})


SITE = {"system": "urn:our-formulary", "code": "THEO-300"}


@pytest.mark.parametrize("known", [False, True])
def test_the_service_reads_the_directory_of_the_setting(
    known: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = tmp_path / "sets"
    sets.mkdir()
    code = SITE["code"] if known else "SOMETHING-ELSE"
    contains = [{"system": SITE["system"], "code": code, "display": "Theophylline SR 300 mg"}]
    made = {"resourceType": "ValueSet", "name": "rx_methylxanthines", "expansion": {"contains": contains}}
    (sets / "ours.json").write_text(json.dumps(made))
    request = tmp_path / "request.json"
    request.write_bytes(encoded(with_theophylline_by_a_site_code()))
    monkeypatch.setenv("KETAMINE_CDS_VALUESETS", str(sets))
    _, output, errors = run("check", request, "--now", NOW.isoformat())
    assert errors == ""
    assert ("[ddi-theophylline]" in output) == known
    assert run("protocol", "validate")[0] == 0


@pytest.mark.parametrize("command", [["check", "-"], ["protocol", "validate"], ["serve"]])
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no value sets in"), ('{"name": "x"}', "broken.json: the set x is empty"), ("{", "broken.json is not")],
)
def test_a_directory_that_cannot_be_used_stops_every_command_that_needs_it(
    content: str | None, says: str, command: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "broken.json").write_text(content)
    monkeypatch.setenv("KETAMINE_CDS_VALUESETS", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    status, _, errors = run(*command)
    assert status == 3
    assert says in errors


def test_a_directory_that_is_not_there_is_no_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KETAMINE_CDS_VALUESETS", "/nowhere/at/all")
    status, _, errors = run("protocol", "validate")
    assert (status, "expected is a directory that exists" in errors) == (3, True)

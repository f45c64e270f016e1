"""The ELM that is published beside the CQL: of every library, and as content of its Library resource."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cds_service.knowledge import Knowledge
from cds_service.published import as_cql
from cds_service.settings import Settings
from tests.hooks.client import client
from tests.oracle import elm, engines
from tests.scenarios.build import NOW
from tests.servers import hapi


def test_every_library_has_its_elm_beside_it_and_in_its_resource_which_the_service_serves(
    tmp_path: Path, knowledge: Knowledge
) -> None:
    engines.needed()
    assert elm.main(tmp_path, day=NOW.date()) == 0
    http = client(knowledge, Settings(elm=str(tmp_path)))
    names = {file.stem for file in tmp_path.glob("*.cql")}
    assert {file.stem for file in (tmp_path / "elm").iterdir()} == names | {"FHIRHelpers"}
    for name in names:
        translated = (tmp_path / "elm" / f"{name}.json").read_bytes()
        identifier = json.loads(translated)["library"]["identifier"]
        assert (identifier["id"], identifier["version"]) == (name, knowledge.protocol.version)
        resource = json.loads((tmp_path / "fhir" / f"Library-{name}.json").read_bytes())
        served = http.get(f"/fhir/Library/{name}").json
        assert served is not None
        assert served["content"] == resource["content"]
        content = {each["contentType"]: base64.b64decode(each["data"]) for each in resource["content"]}
        assert content == {
            "text/cql": (tmp_path / f"{name}.cql").read_bytes(),
            "application/elm+json": translated,
        }


def test_the_limits_of_a_drug_stand_in_the_elm_as_the_data_have_them(knowledge: Knowledge) -> None:
    engines.needed()
    written = as_cql(knowledge, knowledge.protocol, NOW.date())
    library = json.loads(elm.translated(written.libraries)["KetamineRateExceedsProtocolMax"])["library"]
    limit = next(each for each in library["statements"]["def"] if each["name"] == "rate-warn")
    then = [item["then"] for item in limit["expression"]["caseItem"]]
    assert [(each["value"], each["unit"]) for each in then] == [(0.5, "mg/kg/h"), (0.25, "mg/kg/h")]


def test_a_machine_without_a_jdk_says_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hapi, "why_not", lambda: "HAPI needs a JDK 17 or later: no java on the PATH")
    assert elm.main(tmp_path) == 3
    said = capsys.readouterr()
    assert said.err == "No ELM is written: the translator needs a JDK 17 or later: no java on the PATH.\n"
    assert (said.out, list(tmp_path.iterdir())) == ("", [])

"""The command terminology, against a real terminology server, and against one that does everything wrong."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from fhir.resources.R4B.valueset import ValueSet as StrictValueSet

from cds_service.terminology import tx, valuesets
from tests.servers.hapi import hapi_server, needed
from tests.servers.local import LocalServer, Received, Reply, local_server
from tests.servers.ports import unused_port

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
INVENTED = "9990001"
"""A SNOMED CT code below schizophrenia that only the server of the test knows."""

Json = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]


pytestmark = pytest.mark.usefixtures("alone")


# A real server ------------------------------------------------------------------------------------------------------


def concept(code: str, display: str, *below: Json, **properties: str) -> Json:
    made: Json = {"code": code, "display": display}
    if properties:
        made["property"] = [{"code": name, "valueCode": value} for name, value in properties.items()]
    return made | ({"concept": list(below)} if below else {})


def code_system(url: str, *concepts: Json) -> Json:
    return {
        "resourceType": "CodeSystem",
        "url": url,
        "status": "active",
        "content": "complete",
        "hierarchyMeaning": "is-a",
        "property": [{"code": "status", "type": "code"}],
        "concept": list(concepts),
    }


def all_of(name: str, system: str, **other: Json) -> list[Json]:
    """The concepts of a shipped set as a server may hold them, with `other` in the place of some."""
    sets = valuesets.load()
    found: dict[str, Json] = {}
    for of, member in (*sets[name].members, *sets[name].branches):
        if of == system:
            found[member.code] = other.get(f"c{member.code.replace('.', '_')}", concept(member.code, member.display))
    return list(found.values())


@pytest.fixture(scope="module")
def hapi() -> Iterator[str]:
    needed()
    schizophrenia = concept("58214004", "Schizophrenia", concept(INVENTED, "Schizophrenia of this test"))
    snomed = all_of("dx_schizophrenia", SNOMED, c58214004=schizophrenia)
    renamed = concept("25064002", "HEADACHE; (finding)\u200b")
    dizzy = concept("404640003", "Feeling dizzy", status="retired")
    snomed += all_of("ae_headache_dizziness", SNOMED, c25064002=renamed, c404640003=dizzy)
    icd = [concept("R51", "Headache", concept("R51.9", "Headache, unspecified"))]  # R42 it does not know
    icd += all_of("dx_schizophrenia", ICD_10_CM)
    who = all_of("dx_schizophrenia", ICD_10) + all_of("ae_headache_dizziness", ICD_10)
    left_out = [concept(code, "no psychosis") for code in ("293.83", "293.84", "293.89")]
    older = all_of("dx_schizophrenia", ICD_9_CM) + left_out
    systems = {SNOMED: snomed, ICD_10_CM: icd, ICD_10: who, ICD_9_CM: older}
    with hapi_server(expands_hierarchies=True) as url:
        for system, concepts in systems.items():
            requests.post(f"{url}/CodeSystem", json=code_system(system, *concepts), timeout=60).raise_for_status()
        yield url


def test_expand_writes_value_sets_that_the_service_adds_to_its_own(hapi: str, run: Run, tmp_path: Path) -> None:
    into = tmp_path / "new" / "sets"
    status, output, _ = run("terminology", "expand", "--tx", hapi, "--into", into, "--set", "dx_schizophrenia")
    assert (status, [file.name for file in into.iterdir()]) == (0, ["dx_schizophrenia.json"])
    assert "1 of them new" in output
    written = StrictValueSet.model_validate_json((into / "dx_schizophrenia.json").read_bytes())
    assert written.expansion is not None
    assert {(each.system, each.code) for each in written.expansion.contains or ()} >= {(SNOMED, INVENTED)}
    assert "dx_schizophrenia" not in valuesets.load().members_of(SNOMED, INVENTED)
    with_site = valuesets.load(into)
    assert with_site.members_of(SNOMED, INVENTED)["dx_schizophrenia"].display == "Schizophrenia of this test"
    assert with_site.names() == valuesets.load().names()


def test_a_group_and_a_code_that_the_server_does_not_know_are_kept_apart(hapi: str, run: Run, tmp_path: Path) -> None:
    status, output, _ = run(
        "terminology", "expand", "--tx", hapi, "--into", tmp_path, "--set", "ae_headache_dizziness"
    )
    assert status == 1
    assert f"{ICD_10_CM} was not expanded: it answered 4" in output  # R42 it does not know
    sets = valuesets.load(tmp_path)
    written = json.loads((tmp_path / "ae_headache_dizziness.json").read_bytes())
    codes = {entry["code"]: entry for entry in written["expansion"]["contains"]}
    assert codes.keys() == {"25064002", "404640003", "R42", "R51", "R51.9"}  # R42 of WHO's
    assert "extension" in codes["R51.9"]
    assert "extension" not in codes["404640003"]
    assert sets.member("ae_headache_dizziness/headache", [(ICD_10_CM, "R51.9")]) is not None


def test_check_says_what_is_unknown_renamed_and_inactive_and_nothing_of_what_is_written_otherwise(
    hapi: str, run: Run
) -> None:
    status, output, _ = run("terminology", "check", "--tx", hapi, "--set", "ae_headache_dizziness")
    assert status == 1
    assert output.splitlines() == [
        f'inactive: {SNOMED} 404640003 "Dizziness (finding)" (ae_headache_dizziness)',
        f'other name: {SNOMED} 404640003 "Dizziness (finding)" is there "Feeling dizzy" (ae_headache_dizziness)',
        f'not known: {ICD_10_CM} R42 "Dizziness and giddiness" (ae_headache_dizziness)',
        "6 codes of 3 systems: 3 findings",
    ]


def test_check_finds_nothing_where_the_server_has_the_same_codes(hapi: str, run: Run) -> None:
    status, output, _ = run("terminology", "check", "--tx", hapi, "--set", "dx_schizophrenia")
    assert (status, output.split(": ")[-1]) == (0, "nothing found\n")


def test_a_system_that_the_server_does_not_hold_is_said_once(hapi: str, run: Run) -> None:
    status, output, _ = run("terminology", "check", "--tx", hapi, "--set", "obs_inr", "--set", "obs_thyroid")
    assert status == 1
    assert output.splitlines()[0].startswith(f"not known: {LOINC}: none of its ")
    assert len(output.splitlines()) == 2


# A server that is scripted ------------------------------------------------------------------------------------------

METADATA = {"resourceType": "CapabilityStatement"}


def outcome(says: str) -> Json:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x", "diagnostics": says}]}


def expanded(codes: list[str], total: int | None = None, **more: Any) -> Json:
    contains = [{"system": SNOMED, "code": code} for code in codes]
    expansion: Json = {"contains": contains} | ({} if total is None else {"total": total}) | more
    return {"resourceType": "ValueSet", "status": "active", "expansion": expansion}


def serving(answer: Callable[[Received], Reply | Json]) -> Callable[[Received], Reply]:
    def script(request: Received) -> Reply:
        made = METADATA if request.path.endswith("/metadata") else answer(request)
        return made if isinstance(made, Reply) else Reply(json.dumps(made).encode())

    return script


def offset_of(request: Received) -> int:
    found: int = next(p["valueInteger"] for p in json.loads(request.body)["parameter"] if p["name"] == "offset")
    return found


@pytest.fixture
def expand(run: Run, tmp_path: Path) -> Callable[[LocalServer], tuple[int, str, str]]:
    def of(server: LocalServer) -> tuple[int, str, str]:
        return run("terminology", "expand", "--tx", server.base, "--into", tmp_path, "--set", "dx_myasthenia")

    return of


def snomed_only(answer: Callable[[Received], Reply | Json]) -> Callable[[Received], Reply]:
    """dx_myasthenia has codes of two systems; the other one is answered as it should be."""

    def script(request: Received) -> Reply | Json:
        if SNOMED.encode() in request.body:
            return answer(request)
        return {
            "resourceType": "ValueSet",
            "expansion": {"total": 1, "contains": [{"system": ICD_10_CM, "code": "G70.0"}]},
        }

    return serving(script)


def written_codes(folder: Path) -> set[str]:
    made = json.loads((folder / "dx_myasthenia.json").read_bytes())
    return {entry["code"] for entry in made["expansion"]["contains"] if entry["system"] == SNOMED}


def test_an_expansion_of_several_pages_is_fetched_whole(
    expand: Callable[[LocalServer], tuple[int, str, str]], tmp_path: Path
) -> None:
    codes = [str(90_000_000 + number) for number in range(2500)]

    def page(request: Received) -> Json:
        offset = offset_of(request)
        return expanded(codes[offset : offset + tx.PAGE], len(codes))

    with local_server(snomed_only(page)) as server:
        status, output, _ = expand(server)
        asked = [offset_of(request) for request in server.received if SNOMED.encode() in request.body]
    assert status == 0, output
    assert asked == [0, 1000, 2000]
    assert written_codes(tmp_path) == set(codes)


def test_pages_without_a_total_end_with_one_that_is_not_full(
    expand: Callable[[LocalServer], tuple[int, str, str]], tmp_path: Path
) -> None:
    codes = [str(90_000_000 + number) for number in range(1001)]
    with local_server(snomed_only(lambda request: expanded(codes[offset_of(request) :][: tx.PAGE]))) as server:
        assert expand(server)[0] == 0
    assert written_codes(tmp_path) == set(codes)


TOO_COSTLY = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/valueset-toocostly", "valueBoolean": True}]
}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (expanded(["1"], 5), "it sent 1 of 5 codes"),
        (expanded([], 0), "the server knows none of its codes"),
        (expanded(["1"], 1, **TOO_COSTLY), "not complete"),
        (outcome("x"), "no expanded ValueSet"),
        ({"resourceType": "ValueSet", "expansion": {"contains": [{"code": "1"}]}}, "no code with its system"),
        ({"resourceType": "ValueSet", "expansion": {"contains": 5}}, "no code with its system"),
        ({"resourceType": "ValueSet", "expansion": []}, "no expanded ValueSet"),
        (Reply(json.dumps(outcome("too  many\ncodes")).encode(), 422), "it answered 422: too many codes"),
        (Reply(b"<html>", 500), "it answered 500"),
        (Reply(b"[]"), "no FHIR resource"),
        (Reply(b"<html>"), "no FHIR resource"),
        (Reply(b'{"resourceType": "OperationOutcome", "issue": "no"}', 404), "it answered 404"),
    ],
)
def test_what_could_not_be_expanded_is_said_and_not_written(
    answer: Reply | Json, says: str, expand: Callable[[LocalServer], tuple[int, str, str]], tmp_path: Path
) -> None:
    with local_server(snomed_only(lambda request: answer)) as server:
        status, output, errors = expand(server)
    assert (status, errors) == (1, "")
    assert f"{SNOMED} was not expanded" in output
    assert says in output
    assert written_codes(tmp_path) == set()
    assert "dx_myasthenia" in valuesets.load(tmp_path)


def test_without_any_answer_there_is_no_file(
    expand: Callable[[LocalServer], tuple[int, str, str]], tmp_path: Path
) -> None:
    with local_server(serving(lambda request: Reply(b"", 503))) as server:
        assert expand(server)[0] == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["expand", "check"])
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Reply(b"{}"), "is no FHIR server"),
        (Reply(b"<html>"), "its answer is no FHIR resource"),
        (Reply(status=401), "answered 401"),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), "answered 302"),
        (Reply(instead=b"nonsense\r\n\r\n"), "the connection failed"),
        (serving(lambda request: Reply(status=403)), "answered 403"),
        (serving(lambda request: Reply(b"{", claims=900)), "the connection failed"),
    ],
)
def test_a_server_that_cannot_be_used_is_bad_input(
    script: Any, says: str, action: str, run: Run, tmp_path: Path
) -> None:
    into = ["--into", tmp_path] if action == "expand" else []
    with local_server(script) as server:
        status, output, errors = run("terminology", action, "--tx", server.base, "--set", "dx_myasthenia", *into)
    assert (status, output) == (3, "")
    assert says in errors
    assert len(errors.splitlines()) == 1


def test_a_server_that_is_not_there_is_bad_input(run: Run) -> None:
    status, _, errors = run("terminology", "check", "--tx", f"http://127.0.0.1:{unused_port()}/fhir")
    assert (status, errors.endswith("cannot be reached: the connection failed\n")) == (3, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--tx", "ftp://tx.example.org"],
        ["check", "--tx", "tx.example.org"],
        ["check"],
        ["expand", "--tx", "http://127.0.0.1:1"],
        ["check", "--tx", "http://127.0.0.1:1", "--set", "no_such_set"],
        ["check", "--tx", "http://127.0.0.1:1", "--set", "enc_class/inpatient"],
        ["expand", "--tx", "http://127.0.0.1:1", "--into", "x", "--set", ""],
        [],
    ],
)
def test_bad_arguments_are_refused_before_any_server_is_asked(arguments: list[str], run: Run) -> None:
    status, output, errors = run("terminology", *arguments)
    assert (status, output) == (3, "")
    assert "cannot be reached" not in errors


def test_a_directory_that_cannot_be_made_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with local_server(serving(lambda request: expanded(["1"]))) as server:
        status, _, errors = run("terminology", "expand", "--tx", server.base, "--into", tmp_path / "file")
    assert (status, "file: File exists" in errors) == (3, True)


def test_a_code_whose_look_up_fails_costs_only_itself(run: Run) -> None:
    def look_up(request: Received) -> Reply | Json:
        code = parse_qs(urlsplit(request.path).query)["code"][0]
        if code == "3016-3":
            return Reply(json.dumps(outcome("broken")).encode(), 500)
        display = {"name": "display", "valueString": "free thyroxine"}
        designation = {"name": "value", "valueString": "Thyroxine (T4) free [Mass/\u200bvolume] in Serum or Plasma"}
        return {"resourceType": "Parameters", "parameter": [display, {"name": "designation", "part": [designation]}]}

    with local_server(serving(look_up)) as server:
        status, output, _ = run("terminology", "check", "--tx", server.base, "--set", "obs_thyroid")
    assert status == 1
    first, last = output.splitlines()
    assert first.startswith(f"not checked: {LOINC} 3016-3")
    assert "it answered 500: broken (obs_thyroid)" in first
    assert last == "2 codes of 1 systems: 1 findings"


def _property(code: str, value: Json) -> Json:
    return {"name": "property", "part": [{"name": "code", "valueCode": code}, {"name": "value"} | value]}


@pytest.mark.parametrize(
    ("parameter", "inactive"),
    [
        ({"name": "inactive", "valueBoolean": True}, True),
        ({"name": "inactive", "valueBoolean": False}, False),
        (_property("inactive", {"valueBoolean": True}), True),
        (_property("inactive", {"valueString": "true"}), True),
        (_property("active", {"valueBoolean": False}), True),
        (_property("status", {"valueCode": "deprecated"}), True),
        (_property("status", {"valueCode": "active"}), False),
        (_property("parent", {"valueCode": "inactive"}), False),
    ],
)
def test_servers_say_in_their_own_ways_that_a_code_is_inactive(parameter: Json, inactive: bool) -> None:
    answer = {"resourceType": "Parameters", "parameter": [{"name": "display", "valueString": "x"}, parameter]}
    with local_server(serving(lambda request: answer)) as server:
        found = tx.TxServer(server.base).look_up(SNOMED, "1")
    assert found is not None
    assert found.inactive is inactive


def test_every_code_of_the_shipped_sets_is_looked_up_once(run: Run) -> None:
    answer = {"resourceType": "Parameters", "parameter": [{"name": "display", "valueString": "another name"}]}
    with local_server(serving(lambda request: answer)) as server:
        status, output, _ = run("terminology", "check", "--tx", server.base)
        asked = [parse_qs(urlsplit(request.path).query) for request in server.received if "lookup" in request.path]
    pairs = [(each["system"][0], each["code"][0]) for each in asked]
    sets = valuesets.load()
    wanted = {(system, m.code) for n in sets.names() for system, m in (*sets[n].members, *sets[n].branches)}
    assert status == 1
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == wanted
    assert f"{len(wanted)} codes of" in output


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(tx, "_TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, _, errors = run("terminology", "check", "--tx", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (status, "it did not answer in time" in errors) == (3, True)

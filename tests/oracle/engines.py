"""CQL engines that nobody here wrote, and the reference translator: fetched once, run on cases as a child process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import pytest

from cds_service.lazy import cached_property
from cds_service.protocol.cql import Library
from tests.servers import fhir_router, hapi, npm
from tests.servers.process import locked

_RECIPE = Path(__file__).parent
BUILD = _RECIPE.parents[1] / "build" / "oracle"
_JVM_OPTIONS = ("-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC")
_FETCH_SECONDS, _MOST_SECONDS, _ANSWER_SECONDS = 900, 600, 300
encode = msgspec.json.Encoder(decimal_format="number").encode

Answers = Mapping[str, Any]
"""Library -> definition -> its value; `error` in its place where the engine failed."""


class OracleError(Exception):
    """An engine or the translator could not be fetched, or failed."""


def why_not() -> str | None:
    """Say why the oracle cannot run on this machine, for a skip message; None when it can."""
    # Its tools are those of the FHIR servers of tests/servers: a JDK with Maven once, Node.js with npm once.
    return hapi.why_not() or fhir_router.why_not()


def why_no_translator() -> str | None:
    """Say why nothing can be translated on this machine: it needs a JDK with Maven once, and no Node.js."""
    reason = hapi.why_not()
    return reason and reason.replace("HAPI", "the translator", 1)


def needed() -> None:
    """Skip the tests that need the engines where they cannot run; in CI, as for the servers, they fail."""
    if reason := why_not():
        required = {os.environ.get(f"KETAMINE_TEST_REQUIRE_{name}") for name in ("HAPI", "NODE")}
        (pytest.fail if "1" in required else pytest.skip)(f"the CQL oracle cannot run: {reason}")


def translate(libraries: Sequence[Library]) -> Path:
    """The folder with the ELM of these libraries and FHIRHelpers. Raises OracleError with what is wrong in them."""
    text = "\n".join(each.text for each in libraries) + (_RECIPE / "java" / "Translate.java").read_text("utf-8")
    folder = BUILD / hashlib.sha256(text.encode()).hexdigest()[:16]
    with locked(BUILD):
        if not folder.is_dir():
            made = BUILD / "being-made"
            shutil.rmtree(made, ignore_errors=True)
            (made / "cql").mkdir(parents=True)
            for library in libraries:
                (made / "cql" / f"{library.name}.cql").write_text(library.text, "utf-8")
            _run(_JARS.command("Translate", made / "cql", made / "elm"))
            made.rename(folder)
    return folder / "elm"


@dataclass(frozen=True)
class Engine:
    """A foreign engine."""

    name: str
    command: Callable[[Path], list[str]]
    """From the folder with the ELM to the command that answers cases."""
    rests_on: tuple[Path, ...]
    """Where one of these files changes, nothing is kept of what it said."""

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(b"".join(each.read_bytes() for each in self.rests_on)).hexdigest()


def _node_command(elm: Path) -> list[str]:
    with locked(BUILD):
        try:
            npm.install(_RECIPE / "node", BUILD)
        except npm.NotInstalled as error:
            raise OracleError(str(error)) from error
        shutil.copyfile(_RECIPE / "node" / "run.mjs", BUILD / "run.mjs")
    return ["node", "run.mjs", str(elm)]


def _engine_command(elm: Path) -> list[str]:
    """The Java engine reads the CQL beside the ELM."""
    return _JARS.command("Engine", elm)


ENGINES: Mapping[str, Engine] = {
    each.name: each
    for each in (
        Engine(
            "cql-execution", _node_command, (_RECIPE / "node" / "run.mjs", _RECIPE / "node" / "package-lock.json")
        ),
        Engine("engine-fhir", _engine_command, (_RECIPE / "java" / "Engine.java", _RECIPE / "java" / "pom.xml")),
    )
}


class Running:
    """An engine's process, which starts with the first case: one line in, one line out."""

    def __init__(self, engine: Engine, elm: Path) -> None:
        self._engine, self._elm = engine, elm
        self._log = BUILD / f"{engine.name}-{os.getpid()}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False

    @property
    def pid(self) -> int | None:
        """Of its process; None before the first case."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._log.unlink()

    def ask(self, case: Mapping[str, Any]) -> Answers:
        """What the engine says of a case (bundle, parameters, libraries, definitions, value sets, now).

        One that ends it, or takes too long, has an error as the answer of each library. Raises OracleError where it
        ends before it has answered any.
        """
        if said := self._said(encode(case) + b"\n"):
            self._has_answered = True
            answers: Answers = json.loads(said)
            return answers
        told = self._log.read_bytes()[-4000:].decode(errors="replace")
        self.close()
        if not self._has_answered:
            raise OracleError(f"{self._engine.name} gave no answer within {_ANSWER_SECONDS} s, or ended:\n{told}")
        return {library: {"error": told} for library in case["libraries"]}

    def _said(self, line: bytes) -> bytes:
        """Nothing where it has ended."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        patience = Timer(_ANSWER_SECONDS, process.kill)
        patience.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:
            return b""
        finally:
            patience.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        command = self._engine.command(self._elm)
        with self._log.open("wb") as log:
            return subprocess.Popen(command, cwd=BUILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)


@dataclass(frozen=True)
class Jars:
    """Java programs in a folder beside the pom.xml that names their jars."""

    recipe: Path
    build: Path

    def command(self, program: str, *arguments: Path) -> list[str]:
        """Raises OracleError where the jars cannot be fetched."""
        source = str(self.recipe / f"{program}.java")
        return [str(hapi._java()), *_JVM_OPTIONS, "-cp", self._classpath(), source, *map(str, arguments)]

    def _classpath(self) -> str:
        """The jars, resolved by Maven if they are missing or those of another pom.xml."""
        pom, classpath, resolved = self.recipe / "pom.xml", self.build / "classpath.txt", self.build / "pom.xml"
        if not _is_current(pom, classpath, resolved):
            self.build.mkdir(parents=True, exist_ok=True)
            resolved.unlink(missing_ok=True)
            goal = ["dependency:build-classpath", "-Dmdep.includeScope=runtime", f"-Dmdep.outputFile={classpath}"]
            command = ["mvn", "-q", "-B", "-f", str(pom), *goal]
            maven = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)
            if maven.returncode != 0:
                raise OracleError(f"Maven could not fetch the CQL jars (is it offline?):\n{maven.stdout[-3000:]}")
            shutil.copyfile(pom, resolved)
        return classpath.read_text("utf-8").strip()


_JARS = Jars(_RECIPE / "java", BUILD)


def _is_current(pom: Path, classpath: Path, resolved: Path) -> bool:
    if not (classpath.is_file() and resolved.is_file()) or resolved.read_bytes() != pom.read_bytes():
        return False
    return all(Path(jar).is_file() for jar in classpath.read_text("utf-8").strip().split(os.pathsep))


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=BUILD, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS)
    if done.returncode != 0:
        raise OracleError(f"{Path(command[0]).name} failed:\n{done.stderr[-4000:]}")
    return done.stdout

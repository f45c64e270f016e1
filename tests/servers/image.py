"""The image without a container engine: the Dockerfile's own commands, run in a folder that stands for its root.

What cannot be shown so: the base image, its Python, and what an engine makes of ports and volumes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

CONTEXT = Path(__file__).parents[2]
_OURS = re.compile(r"(?<![\w./$])/(src|opt|wheels|state)\b")
"""Folders at the root that the image makes; all others are those of this machine."""
_KEPT = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "LANG")
"""Variables of this machine with which pip finds its packages."""
_TO_READ = "-all,+dac_read_search"


@dataclass
class Image:
    """What the Dockerfile leaves behind: a tree below `root`, and how its process is started."""

    root: Path
    user: int = 0
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def start(self, command: Sequence[str], settings: Mapping[str, str], **how: object) -> subprocess.Popen[bytes]:
        """Run a command as the image's user; where this process is root, all but the volumes is read-only."""
        found = shutil.which(command[0], path=self.environment["PATH"])
        assert found is not None, f"{command[0]} is not in the image"
        whole = [*self._confined(), found, *command[1:]]
        return subprocess.Popen(whole, env=self.environment | settings, cwd=self.root, **how)  # type: ignore[call-overload,no-any-return]

    def _confined(self) -> list[str]:
        if os.geteuid():
            return []
        volumes = " ".join(shlex.quote(str(self.root) + volume) for volume in self.volumes)
        script = (
            f"for each in {volumes}; do mount --bind $each $each; done && mount -o remount,bind,ro / && "
            # Python may lie in a folder that only its owner may enter; to read is all that is given.
            f"exec setpriv --reuid={self.user} --regid={self.user} --clear-groups --no-new-privs "
            f'--bounding-set={_TO_READ} --inh-caps={_TO_READ} --ambient-caps={_TO_READ} "$@"'
        )
        return ["unshare", "--mount", "--propagation=private", "sh", "-euc", script, "sh"]


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in whole.splitlines() if line.strip()]
    return [(pair[0], pair[1]) for pair in pairs]


def build(text: str, root: Path) -> Image:
    """Carry out a Dockerfile of stages `FROM ${BASE}` in `root`; each stage begins with an empty tree.

    Python stands in for the base image: a virtual environment of its own. Users that are numbers are this process's
    own where it may not take another.
    """
    base = root.with_name(f"{root.name}-base")
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    image = Image(root)
    for instruction, rest in instructions(text):
        _CARRIED_OUT[instruction](image, base, rest)
    return image


def _from(image: Image, base: Path, rest: str) -> None:
    stage = image.root.with_name(f"{image.root.name}-build")
    if image.root.exists():
        image.root.rename(stage)
    image.root.mkdir()
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    image.folder, image.environment = "/", {"PATH": f"{base}/bin:/usr/bin:/bin", **kept}


def _run(image: Image, base: Path, rest: str) -> None:
    if os.geteuid():
        rest = rest.replace("-o 10001 -g 10001", f"-o {os.getuid()} -g {os.getgid()}")
    command = _inside(image, rest)
    folder = f"{image.root}{image.folder}"
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=image.environment, capture_output=True, text=True)
    assert done.returncode == 0, f"RUN {rest}\n{done.stdout}\n{done.stderr}"


def _copy(image: Image, base: Path, rest: str) -> None:
    *sources, target = rest.split()
    if sources[0].startswith("--from="):
        stage = image.root.with_name(f"{image.root.name}-build")
        shutil.copytree(f"{stage}{sources[1]}", f"{image.root}{target}", symlinks=True)
        return
    for source in sources:
        assert not _is_ignored(source), f"{source} is copied, and .dockerignore leaves it out"
        found = CONTEXT / source
        into = Path(f"{image.root}{image.folder}", target, "" if found.is_dir() else found.name)
        if found.is_dir():
            shutil.copytree(found, into, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, into)


def _workdir(image: Image, base: Path, rest: str) -> None:
    image.folder = rest
    Path(f"{image.root}{rest}").mkdir(parents=True, exist_ok=True)


def _env(image: Image, base: Path, rest: str) -> None:
    for pair in shlex.split(rest):
        name, _, value = pair.partition("=")
        image.environment[name] = _inside(image, value.replace("$PATH", image.environment["PATH"]))


def _user(image: Image, base: Path, rest: str) -> None:
    image.user = int(rest.partition(":")[0])


def _health(image: Image, base: Path, rest: str) -> None:
    image.health = json.loads(rest.partition("CMD ")[2])


def _cmd(image: Image, base: Path, rest: str) -> None:
    image.command = json.loads(rest)


def _volume(image: Image, base: Path, rest: str) -> None:
    image.volumes += rest.split()


_CARRIED_OUT = {
    "ARG": lambda image, base, rest: None,
    "EXPOSE": lambda image, base, rest: None,
    "FROM": _from,
    "WORKDIR": _workdir,
    "RUN": _run,
    "COPY": _copy,
    "ENV": _env,
    "USER": _user,
    "VOLUME": _volume,
    "HEALTHCHECK": _health,
    "CMD": _cmd,
}


def _inside(image: Image, text: str) -> str:
    return _OURS.sub(rf"{image.root}/\1", text)


def _is_ignored(name: str) -> bool:
    lines = (CONTEXT / ".dockerignore").read_text("utf-8").split()
    return any(fnmatch(name.rstrip("/"), line.rstrip("/")) for line in lines)

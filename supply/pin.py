"""Writes the digest of the base image beside its tag in the Dockerfile, where a registry can be asked.

A tag can be moved to another image, a digest cannot. Without a digest the Dockerfile still names one exact tag.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"
_IMAGE = re.compile(r"^ARG BASE=(?P<tag>[^\s@]+)(@sha256:[0-9a-f]{64})?$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATIENCE = 60


class NotPinned(Exception):
    """The digest could not be had; the message says why."""


def digest(tag: str) -> str:
    """The digest of an image as its registry has it now. Raises NotPinned."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", tag]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPinned(f"docker could not be asked: {type(error).__name__}") from error
    if done.returncode or not _DIGEST.fullmatch(done.stdout.strip()):
        why = (done.stderr.strip().splitlines() or ["it gave no digest"])[0]
        raise NotPinned(f"no registry could be asked: {why}")
    return done.stdout.strip()


def pin(path: Path = DOCKERFILE) -> str:
    """Write the digest, and return the image as it stands there now. Raises NotPinned, and then nothing changes."""
    text = path.read_text("utf-8")
    found = _IMAGE.search(text)
    if found is None:
        raise NotPinned(f"{path.name} names no base image (ARG BASE=name:tag)")
    pinned = f"{found['tag']}@{digest(found['tag'])}"
    path.write_text(text[: found.start()] + f"ARG BASE={pinned}" + text[found.end() :], "utf-8")
    return pinned


def main() -> int:
    try:
        print(f"Dockerfile: {pin()}")
    except NotPinned as error:
        print(f"The base image is not pinned, the Dockerfile is as it was: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

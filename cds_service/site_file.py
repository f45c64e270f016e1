"""A file that a site has written, read within bounds: a start or a reload ends with a sentence, whatever it is."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import yaml

from cds_service import bounds
from cds_service.errors import CdsError, reading


def read_bytes(path: Path) -> bytes:
    """What a regular file holds, at most bounds.FILE bytes.

    Raises OSError, whose `strerror` says why, for what cannot be read: a pipe, which may never end, too.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Is no regular file")
    with path.open("rb") as file:
        content = file.read(bounds.FILE + 1)
    if len(content) > bounds.FILE:
        raise OSError(errno.EFBIG, f"Has more than {bounds.FILE} bytes")
    return content


def read_text(path: Path, error: type[CdsError], called: str = "") -> str:
    """The text of such a file, in UTF-8. Raises `error`; `called` says what the file is."""
    with reading(path, error, called):
        return read_bytes(path).decode()


class Loader(yaml.CSafeLoader):
    """YAML of at most bounds.LEVELS levels: the library follows them without end, and the process dies of it."""

    _level = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: object) -> None:
        self._level += 1
        if self._level > bounds.LEVELS:
            raise yaml.YAMLError(f"it has more than {bounds.LEVELS} levels")

    def ascend_resolver(self) -> None:
        self._level -= 1


def holds_too_much(content: object) -> bool:
    """Whether YAML stands for more than bounds.VALUES values: a few lines of aliases may stand for billions."""
    waiting, found = [content], 0
    while waiting and found <= bounds.VALUES:
        each = waiting.pop()
        members = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        found += len(members)
        waiting += members
    return found > bounds.VALUES

"""The key of the digests: its owner's alone, not to be guessed, and two at once while it is changed."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import pytest

from cds_service.store.keys import Key, UnusableKey, is_open, read

OLD, NEW = "the key of last year, long enough", "the key of this year, long enough"


def _file(folder: Path, content: bytes | str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def test_a_key_of_its_owner_alone_is_read_without_the_line_break_at_its_end(tmp_path: Path) -> None:
    key = read(_file(tmp_path, OLD + "\n"))
    assert key.digest("a") == Key(OLD.encode()).digest("a")
    assert key.former is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o620, 0o602])
def test_a_key_that_others_can_read_or_write_is_refused_in_a_sentence_that_names_the_file(
    mode: int, tmp_path: Path
) -> None:
    path = _file(tmp_path, OLD, mode)
    with pytest.raises(UnusableKey) as refused:
        read(path)
    assert str(refused.value) == f"{path}: others than its owner can read it; chmod 600 {path}"


@pytest.mark.parametrize(
    ("mode", "owner", "group", "refused"),
    [
        (0o440, 0, 10001, False),  # as Kubernetes mounts a secret
        (0o640, 0, 10001, False),
        (0o400, 10001, 10001, False),
        (0o440, 10001, 10001, True),
        (0o440, 0, 0, True),  # of a group in which the service is not
        (0o444, 0, 10001, True),
        (0o460, 0, 10001, True),
    ],
)
def test_roots_file_may_be_read_by_a_group_of_the_service(mode: int, owner: int, group: int, refused: bool) -> None:
    file = os.stat_result((mode, 0, 0, 1, owner, group, 40, 0, 0, 0))
    assert is_open(file, user=10001, groups={10001}) is refused
    assert is_open(file, user=0, groups={0, 10001}) is bool(mode & 0o077)


@pytest.mark.parametrize(
    "content",
    [
        b"k" * 32,
        b"\0" * 64,
        b"x" * 31 + b"y",
        b"ab" * 16,
        b"0123456789" * 4,
        b"0123456789abcdef" * 2,
        b"password" * 8,
        b"abcdefghijklmnopqrstuvwxyz012345",
        bytes(range(32)),
        bytes(range(0, 128, 2)),
        bytes(range(64, 0, -1)),
        b"aaaaaaaabbbbbbbbccccccccdddddddd",
        b"00000000-0000-0000-0000-000000000000",
    ],
)
def test_a_key_that_can_be_guessed_is_refused_without_being_shown(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="can be guessed") as refused:
        read(_file(tmp_path, content))
    assert content.decode("latin-1") not in str(refused.value)


def test_what_is_random_is_never_taken_for_a_pattern() -> None:
    for seed in range(2_000):
        content = random.Random(seed).randbytes(32)
        for secret in (content, content.hex().encode(), base64.b64encode(content), content.hex()[:32].encode()):
            Key(secret)


def test_of_two_lines_the_first_is_the_key_and_the_second_was_it_before(tmp_path: Path) -> None:
    key = read(_file(tmp_path, f"{NEW}\n{OLD}\n"))
    assert key.digest("a") == Key(NEW.encode()).digest("a")
    assert key.former is not None
    assert key.former.digest("a") == Key(OLD.encode()).digest("a")


@pytest.mark.parametrize(
    "content", [random.Random(1).randbytes(40) + b"\n" + random.Random(2).randbytes(40), (NEW + "\nshort").encode()]
)
def test_what_is_no_text_or_has_a_short_line_is_one_key(content: bytes, tmp_path: Path) -> None:
    """Random bytes may hold line breaks, and a long text may be wrapped."""
    key = read(_file(tmp_path, content))
    assert key.former is None
    assert key.digest("a") == Key(content.strip()).digest("a")


def test_three_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="it holds 3 keys, and two are the most"):
        read(_file(tmp_path, "\n".join([NEW, OLD, OLD[::-1]])))


def test_either_key_of_two_must_be_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="can be guessed"):
        read(_file(tmp_path, f"{NEW}\n{'k' * 32}"))

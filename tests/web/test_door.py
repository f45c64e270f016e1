"""What the door lets go of: nothing of a call that is over stays, with the loop or for Python's collector."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

import pytest

from cds_service.hooks.errors import TooSlow
from cds_service.web.door import Body


class _Asked:
    """What is known of a request, as Flask keeps it for the thread that answers."""


_ASKED: ContextVar[_Asked] = ContextVar("asked")


class _Sender:
    """The server's side of a request, with a body of a known length or in one piece."""

    def __init__(self, body: bytes, comes: bool = True) -> None:
        self._body = body
        self._comes = comes

    async def __call__(self) -> bytes:
        if not self._comes:
            await asyncio.sleep(60)
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    made.call_later(3, lambda: None)  # as a worker's sign of life: timers behind it stay, even those called off
    runs = threading.Thread(target=made.run_forever, daemon=True)
    runs.start()
    gc.disable()
    yield made
    gc.enable()
    made.call_soon_threadsafe(made.stop)
    runs.join(5)
    made.close()


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_is_let_go_when_its_call_is_over(has_length: bool, loop: asyncio.AbstractEventLoop) -> None:
    sent = b"x" * 300_000
    held = sys.getrefcount(sent)
    read = Body(_Sender(sent), loop, 5, has_length).read(1_000_000)
    assert read == sent
    del read
    _until_idle(loop)
    assert sys.getrefcount(sent) == held


def test_what_is_known_of_the_request_is_let_go_with_it(loop: asyncio.AbstractEventLoop) -> None:
    asked = _Asked()
    kept = weakref.ref(asked)
    given = _ASKED.set(asked)
    Body(_Sender(b"{}"), loop, 5, True).read()
    _ASKED.reset(given)
    del asked, given
    _until_idle(loop)
    assert kept() is None


def test_a_body_that_does_not_come_is_given_up_and_let_go(loop: asyncio.AbstractEventLoop) -> None:
    body = Body(_Sender(b"{}", comes=False), loop, 0.05, True)
    kept = weakref.ref(body)
    with pytest.raises(TooSlow) as refused:
        body.read()
    assert not body.comes_on
    del body, refused
    _until_idle(loop)
    assert kept() is None


def _until_idle(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the loop has done what was before it."""
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)

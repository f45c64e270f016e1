"""HTTP that ends at a deadline: name, connect, handshake, head and body together, and then the socket is closed.

The timeout of requests holds for each read alone, so that a server which sends one byte now and then would hold a
thread for as long as it likes. Here a socket's timeout covers all that follows until it is set anew (sockets.py).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException, RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError, ProtocolError

from cds_service import pools
from cds_service.deadline import Deadline
from cds_service.errors import CdsError
from cds_service.pools import Answer, Pool, Until
from cds_service.sockets import Allows

_CHUNK = 65536
PLAIN = re.compile(r"[A-Za-z0-9][\w.~-]*(?:/[A-Za-z0-9][\w.~-]*)*(?:\?[\w.~!$&'()*+,;=:@/?-]+)?", re.ASCII)
"""A relative address in which nothing is to be quoted or resolved: it is sent as it stands."""


class Failure(CdsError):
    """Nothing, or not all, came from a server."""


class NotInTime(Failure):
    pass


class Unreachable(Failure):
    """No connection, no HTTP, or an answer that breaks off."""


class TooLarge(Failure):
    pass


class Refused(Failure):
    """A status other than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class Budget:
    """Bytes that may still come; several answers, in threads of their own, may share one."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Raises TooLarge, and does so again for all who share it."""
        with self._lock:
            self._left -= count
            is_used_up = self._left < 0
        if is_used_up:
            raise TooLarge


def session(allows: Allows | None = None, ca_bundle: str | None = None, connections: int = 10) -> requests.Session:
    """A session for `get`. It knows no proxy, password or cookie, so that nothing of one caller reaches another.

    It connects only to addresses that `allows` lets pass: those are looked up once, and connected to as they were
    checked. `connections` to one server are kept open.
    """
    made = requests.Session()
    made.trust_env = False
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    if ca_bundle:
        made.verify = ca_bundle
    adapter = _Adapter(allows or (lambda address: True), connections)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


class Prepared:
    """`get` for all that lies below `base` (with a slash at its end), with headers that are checked and written once.

    Open connections are asked without requests, which opens them. Raises Unreachable where nothing can be sent.
    """

    def __init__(self, session: requests.Session, base: str, headers: Mapping[str, str]) -> None:
        self._session, self._base, self._headers = session, base, headers
        try:
            adapter = session.get_adapter(base)
            assert isinstance(adapter, _Adapter), "the session is one of this module"
            first = _request(session, base, headers)
            pool = adapter.get_connection_with_tls_context(first, _verified(session))
            assert isinstance(pool, Pool)
            self._head = pool.written(first.headers)
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise Unreachable from error
        self._pool = pool
        self._target = first.path_url
        self._is_as_sent = first.url == base

    def get(self, url: str, deadline: Deadline, *budgets: Budget) -> bytes:
        return _asked_twice(lambda: self._answer(url, deadline), deadline, budgets)

    def _answer(self, url: str, deadline: Deadline) -> Answer:
        below = url[len(self._base) :]
        if self._is_as_sent and url.startswith(self._base) and PLAIN.fullmatch(below):
            answer = self._pool.ask(self._target + below, self._head, deadline)
            if answer is not None:
                return answer
        return _answer(self._session, url, self._headers, deadline)


def get(
    session: requests.Session, url: str, headers: Mapping[str, str], deadline: Deadline, *budgets: Budget
) -> bytes:
    """The body at `url`, without following redirects. Raises Failure by the deadline.

    It asks again only where a server closed a connection, kept from an earlier call, without a byte of an answer.
    """
    return _asked_twice(lambda: _answer(session, url, headers, deadline), deadline, budgets)


def bound(
    session: requests.Session, seconds: float, most_bytes: int, ca_bundle: str | None = None
) -> requests.Session:
    """A session that a library brings along, under the rules of this module: each of its exchanges ends in time and
    size, goes through no proxy, keeps no cookie, and is not sent elsewhere. They raise Failure.
    """
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    if ca_bundle:
        session.verify = ca_bundle
    adapter = _Whole(seconds, most_bytes)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _ClosedMeanwhile(Unreachable):
    """A connection ended without a byte of an answer, as one does that was kept for too long."""


def _request(session: requests.Session, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    return requests.Request("GET", url, {**session.headers, **headers}).prepare()


def _verified(session: requests.Session) -> bool | str:
    return session.verify if session.verify is not None else True


def _answer(session: requests.Session, url: str, headers: Mapping[str, str], deadline: Deadline) -> Answer:
    # Straight to the adapter: what a session adds (cookies, redirects, proxies, passwords) is switched off here.
    adapter, request = session.get_adapter(url), _request(session, url, headers)
    timeout: Any = Until(deadline)  # the stubs do not know that requests takes urllib3's own
    answer: Answer = adapter.send(request, stream=True, timeout=timeout, verify=_verified(session)).raw
    return answer


def _asked_twice(ask: Callable[[], Answer], deadline: Deadline, budgets: Sequence[Budget]) -> bytes:
    try:
        return _asked(ask, deadline, budgets)
    except _ClosedMeanwhile:
        try:
            return _asked(ask, deadline, budgets)
        except _ClosedMeanwhile as error:
            raise Unreachable from error


def _asked(ask: Callable[[], Answer], deadline: Deadline, budgets: Sequence[Budget]) -> bytes:
    if deadline.is_over:
        raise NotInTime
    try:
        answer = ask()
        try:
            if answer.status != 200:
                raise Refused(answer.status)
            return _body(answer, deadline, budgets)
        finally:
            answer.close()
            answer.release_conn()
    except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
        late = deadline.is_over or isinstance(error, (requests.Timeout, TimeoutError))
        is_closed = any(map(_ends_with_nothing, (error, *error.args[:1])))
        raise (NotInTime if late else _ClosedMeanwhile if is_closed else Unreachable) from error


def _body(raw: Answer, deadline: Deadline, budgets: Sequence[Budget]) -> bytes:
    body = bytearray()
    is_plain = "content-encoding" not in raw.headers
    while chunk := raw.read1(_CHUNK, decode_content=not is_plain):
        for budget in budgets:
            budget.take(len(chunk))
        if deadline.is_over:
            raise NotInTime
        body += chunk
        if is_plain and raw.length_remaining == 0:
            break
    return bytes(body)


def _ends_with_nothing(error: object) -> bool:
    """Whether a connection ended before an answer began."""
    if isinstance(error, ProtocolError) and len(error.args) > 1:
        error = error.args[1]
    return isinstance(error, RemoteDisconnected)


class _Adapter(HTTPAdapter):
    def __init__(self, allows: Allows, connections: int) -> None:
        self._allows = allows
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = pools.by_scheme(self._allows)


class _Whole(_Adapter):
    """Reads each answer to its end before it is handed out."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        super().__init__(lambda address: True, connections=1)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = Deadline.after(self._seconds)
        try:
            answer = super().send(request, **{**kwargs, "stream": True, "timeout": Until(deadline)})
            with answer:
                if answer.is_redirect:
                    raise Refused(answer.status_code)
                answer._content = answer.raw.read(self._most_bytes + 1, decode_content=True)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise (NotInTime if deadline.is_over else Unreachable) from error
        if len(answer.content) > self._most_bytes:
            raise TooLarge
        return answer

"""HTTP that ends at a deadline: name, connect, handshake, head and body together, and then the socket is closed.

The timeout of requests holds for each read alone, so that a server which sends one byte now and then would hold a
thread for as long as it likes. Here a socket's timeout covers all that follows until it is set anew.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from http.client import RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.util.ssl_ import create_urllib3_context

from cds_service.deadline import Deadline
from cds_service.errors import CdsError
from cds_service.sockets import Allows, Encrypted, connected

_CHUNK = 65536


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


def get(
    session: requests.Session, url: str, headers: Mapping[str, str], deadline: Deadline, *budgets: Budget
) -> bytes:
    """The body at `url`, without following redirects. Raises Failure by the deadline.

    It asks again only where a server closed a connection, kept from an earlier call, without a byte of an answer.
    """
    try:
        return _get(session, url, headers, deadline, budgets)
    except _ClosedMeanwhile:
        try:
            return _get(session, url, headers, deadline, budgets)
        except _ClosedMeanwhile as error:
            raise Unreachable from error


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


def _get(
    session: requests.Session, url: str, headers: Mapping[str, str], deadline: Deadline, budgets: Sequence[Budget]
) -> bytes:
    if deadline.is_over:
        raise NotInTime
    # The stubs do not know that requests takes urllib3's own.
    timeout: Any = _Until(deadline)
    try:
        # Straight to the adapter: what a session adds (cookies, redirects, proxies, passwords) is switched off here.
        request = requests.Request("GET", url, {**session.headers, **headers}).prepare()
        adapter, verify = session.get_adapter(url), session.verify if session.verify is not None else True
        with adapter.send(request, stream=True, timeout=timeout, verify=verify) as response:
            if response.status_code != 200:
                raise Refused(response.status_code)
            body = bytearray()
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                for budget in budgets:
                    budget.take(len(chunk))
                if deadline.is_over:
                    raise NotInTime
                body += chunk
            return bytes(body)
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        late = deadline.is_over or isinstance(error, (requests.Timeout, TimeoutError))
        is_closed = bool(error.args) and _ends_with_nothing(error.args[0])
        raise (NotInTime if late else _ClosedMeanwhile if is_closed else Unreachable) from error


def _ends_with_nothing(error: object) -> bool:
    """Whether an error of urllib3 stands for a connection that ended before an answer began."""
    return isinstance(error, ProtocolError) and len(error.args) > 1 and isinstance(error.args[1], RemoteDisconnected)


# The socket ---------------------------------------------------------------------------------------------------------


class _Until(Timeout):
    """A timeout for urllib3 that is always what is left."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(total=None)
        self._deadline = deadline

    def clone(self) -> Timeout:
        return _Until(self._deadline)

    @property
    def connect_timeout(self) -> float:
        return self._deadline.left

    @property
    def read_timeout(self) -> float:
        return self._deadline.left


class _Adapter(HTTPAdapter):
    def __init__(self, allows: Allows, connections: int) -> None:
        self._allows = allows
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _pools(self._allows)


class _Whole(_Adapter):
    """Reads each answer to its end before it is handed out."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        super().__init__(lambda address: True, connections=1)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = Deadline.after(self._seconds)
        try:
            answer = super().send(request, **{**kwargs, "stream": True, "timeout": _Until(deadline)})
            with answer:
                if answer.is_redirect:
                    raise Refused(answer.status_code)
                answer._content = answer.raw.read(self._most_bytes + 1, decode_content=True)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise (NotInTime if deadline.is_over else Unreachable) from error
        if len(answer.content) > self._most_bytes:
            raise TooLarge
        return answer


def _pools(allows: Allows) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, of connections that look where they go and know when to stop."""

    class PlainConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connected(self, allows)

    class EncryptedConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connected(self, allows)

        def connect(self) -> None:
            self.ssl_context = create_urllib3_context()
            self.ssl_context.sslsocket_class = Encrypted
            super().connect()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = EncryptedConnection

    return {"http": PlainPool, "https": EncryptedPool}

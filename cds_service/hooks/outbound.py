"""An HTTP session that connects only where it may: a name is resolved and its addresses checked before a connect."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import create_connection

from cds_service.hooks.clients import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_allowed(address: str, network: Network) -> bool:
    """Whether `address` may be connected to. Public ones always; private or loopback ones where `network` says so.

    Link-local addresses (cloud metadata among them), multicast and reserved ones never.
    """
    ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_loopback:
        return network == "loopback"
    if any(ip in net for net in _PRIVATE if net.version == ip.version):
        return network in ("private", "loopback")
    return ip.is_global and not ip.is_multicast


def _innermost(ip: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip.sixtofour:
            return ip.ipv4_mapped or ip.sixtofour or ip
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def session(network: Network, ca_bundle: str | None = None) -> requests.Session:
    """A session without proxies, cookies or passwords of the machine, that connects only into `network`."""
    made = requests.Session()
    made.trust_env = False
    if ca_bundle:
        made.verify = ca_bundle
    adapter = _Adapter(network)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


class _Adapter(HTTPAdapter):
    def __init__(self, network: Network) -> None:
        self._network = network
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _pools(self._network)


def _pools(network: Network) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, of connections that look where they go."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, network)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, network)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _connected(connection: HTTPConnection, network: Network) -> socket.socket:
    """Connect to the addresses that were checked, not to a name that could be resolved anew to another."""
    port = connection.port or 0
    try:
        addresses = list(dict.fromkeys(_resolved(connection.host, port)))
    except OSError as error:
        raise NewConnectionError(connection, "the host's name is not known") from error
    if not all(is_allowed(address, network) for address in addresses):
        raise NewConnectionError(connection, "the host lies where this client's keys may not")
    for address in addresses:
        with suppress(OSError):
            return create_connection((address, port), connection.timeout, socket_options=connection.socket_options)
    raise NewConnectionError(connection, "the host could not be reached")


def _resolved(host: str, port: int) -> Iterator[str]:
    for *_, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        yield str(address[0])

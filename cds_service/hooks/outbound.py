"""Where a client's key server may lie: the addresses that are connected to for it."""

from __future__ import annotations

import ipaddress

from cds_service.hooks.clients import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")
"""An IPv4 address for translators that keep no state (RFC 7915)."""
_UNICAST = ipaddress.ip_network("2000::/3")
"""What is given out of IPv6; what lies elsewhere leads to this site, to IPv4 or nowhere."""
_NEVER = tuple(
    ipaddress.ip_network(net)
    for net in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")  # of protocols, of 6to4 relays, of documents
) + tuple(
    ipaddress.ip_network(host)  # where clouds tell a machine its secrets, beside the link-local addresses
    for host in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
)


def is_allowed(address: str, network: Network) -> bool:
    """Whether `address` may be connected to. Public ones always; private or loopback ones where `network` says so.

    Link-local addresses (cloud metadata among them), multicast and reserved ones never.
    """
    ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
    if any(ip in net for net in _NEVER):
        return False
    if ip.is_loopback:
        return network == "loopback"
    if any(ip in net for net in _PRIVATE if net.version == ip.version):
        return network in ("private", "loopback")
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not ip.is_multicast


def _innermost(ip: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip.sixtofour:
            return ip.ipv4_mapped or ip.sixtofour or ip
        if ip in _NAT64 or ip in _TRANSLATED:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip

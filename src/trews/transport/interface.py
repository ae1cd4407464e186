"""Sockets that keep to one network interface: the option `interface=`.

By SO_BINDTODEVICE, which Linux has: all addresses of the interface, those that it gets later too, and nothing that
comes or goes another way. (Binding to the interface's addresses would miss the one, and not hold for the other.)
By IP_BOUND_IF on macOS, which is not tested. Groups are joined on an interface everywhere: `multicast`.
"""

from __future__ import annotations

import errno
import socket
import sys

from trews.addresses import is_group, scope_id
from trews.endpoint import Endpoint
from trews.errors import EndpointError, sentence

# Of <netinet/in.h> and <netinet6/in6.h> of macOS.
_IP_BOUND_IF, _IPV6_BOUND_IF = 25, 125


def interface_of(endpoint: Endpoint) -> str | None:
    """The interface that the endpoint names.

    Raises:
        EndpointError: this system cannot hold a socket to an interface.
    """
    name: str | None = endpoint.get("interface")
    if name is None or is_group(endpoint.host) or hasattr(socket, "SO_BINDTODEVICE") or sys.platform == "darwin":
        return name
    instead = "an address of the interface as the host, or as source="
    raise EndpointError(f"{endpoint.shown}: interface= is not to be had on this system; write {instead}")


def keep_to(sock: socket.socket, interface: str) -> None:
    """Before `sock` is bound.

    Args:
        interface: its name or number.

    Raises:
        OSError: there is no such interface, or it is not allowed; says so.
    """
    number = scope_id(interface)
    try:
        if sys.platform == "darwin":
            is_v4 = sock.family == socket.AF_INET
            level, option = (socket.IPPROTO_IP, _IP_BOUND_IF) if is_v4 else (socket.IPPROTO_IPV6, _IPV6_BOUND_IF)
            sock.setsockopt(level, option, number)
        else:
            name = socket.if_indextoname(number)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except OSError as exc:
        if exc.errno in (errno.ENODEV, errno.ENXIO):
            why = f"there is no network interface {interface!r}"
        elif exc.errno == errno.EPERM:
            why = "permission denied; before Linux 5.7, interface= needs CAP_NET_RAW"
        else:
            why = f"the network interface {interface!r} cannot be used: {sentence(exc)}"
        raise OSError(why) from None


def with_scope(address: tuple[str, int, int, int], interface: str | None) -> tuple[str, int, int, int]:
    """The address of IPv6, on this interface if it is one that needs an interface and has none.

    Raises:
        OSError: it needs one; or there is none of that name.
    """
    host, port, flow, scope = address
    if scope or not needs_scope(host):
        return address
    if interface is None:
        raise OSError(f"an address of one link only needs its interface: [{host}%eth0]")
    return host, port, flow, scope_id(interface)


def needs_scope(host: str) -> bool:
    """Whether the address means nothing without an interface: fe80::/10, and groups of one link or host."""
    import ipaddress  # here because it costs 1.5 ms to import

    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    if address.is_multicast:
        return address.packed[1] & 15 < 3  # RFC 4291 section 2.7
    return address.is_link_local


def interface_index(name: str) -> int:
    """The number of an interface, where it is an argument of users: `scope_id`.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return scope_id(name)
    except OSError as exc:
        raise ValueError(str(exc)) from None

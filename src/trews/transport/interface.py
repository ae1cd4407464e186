"""Sockets that keep to one network interface: the option `interface=`.

By SO_BINDTODEVICE, which Linux has: all addresses of the interface, those that it gets later too, and nothing that
comes or goes another way. (Binding to the interface's addresses would miss the one, and not hold for the other.)
"""

from __future__ import annotations

import errno
import socket

from trews.addresses import scope_id
from trews.endpoint import Endpoint
from trews.errors import EndpointError, sentence


def interface_of(endpoint: Endpoint) -> str | None:
    """The interface that the endpoint names.

    Raises:
        EndpointError: this system cannot hold a socket to an interface.
    """
    name: str | None = endpoint.get("interface")
    if name is not None and not hasattr(socket, "SO_BINDTODEVICE"):
        instead = "an address of the interface as the host, or as source="
        raise EndpointError(f"{endpoint.shown}: interface= is not to be had on this system; write {instead}")
    return name


def keep_to(sock: socket.socket, interface: str) -> None:
    """Before `sock` is bound.

    Raises:
        OSError: there is no such interface, or it is not allowed; says so.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except OSError as exc:
        if exc.errno in (errno.ENODEV, errno.EINVAL):  # EINVAL: longer than a name can be
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
    """Whether the address means nothing without an interface: fe80::/10, and ff02::/16 of multicast."""
    return host[:3].lower() in ("fe8", "fe9", "fea", "feb") or host[:4].lower() == "ff02"

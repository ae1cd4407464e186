"""Multicast: joining and leaving groups, and how what is sent to groups goes out. Socket options only.

IPv4 interfaces are given by name, number or one of their addresses, IPv6 ones by name or number.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from trews.addresses import is_address
from trews.errors import ListenError, sentence
from trews.transport.interface import interface_index

if TYPE_CHECKING:
    from collections.abc import Callable

# Of <linux/in.h> and <linux/in6.h>, for the Pythons that do not name them (IPv4's do from 3.12 on).
_JOIN_SOURCE = getattr(socket, "IP_ADD_SOURCE_MEMBERSHIP", 39)
_LEAVE_SOURCE = getattr(socket, "IP_DROP_SOURCE_MEMBERSHIP", 40)
_MCAST_JOIN_SOURCE, _MCAST_LEAVE_SOURCE = 46, 47  # RFC 3678 section 5: protocol-independent
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29

_IS_LINUX = sys.platform == "linux"


def join(sock: socket.socket, group: str, interface: str | None, source: str | None) -> None:
    """Receive what is sent to a group.

    Args:
        interface: where; None is what the system chooses.
        source: from this address only.

    Raises:
        ListenError: it cannot be joined, in one sentence.
        ValueError: the group, the interface or the source is none.
    """
    if _IS_LINUX:
        # Otherwise a socket that is not bound to a group gets those of every program on the machine (ip(7)).
        if sock.family == socket.AF_INET:
            _try(sock, socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        else:
            _try(sock, socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    _change(sock, group, interface, source, is_join=True)


def leave(sock: socket.socket, group: str, interface: str | None, source: str | None) -> None:
    """End a `join` with the same arguments.

    Raises:
        As `join`.
    """
    _change(sock, group, interface, source, is_join=False)


def set_outgoing(sock: socket.socket, interface: str | None, ttl: int | None, loopback: bool | None) -> None:
    """How datagrams to groups leave: by which interface, through how many routers, and also to this machine.

    Raises:
        ListenError: the interface cannot be used.
        ValueError: there is no such interface.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # a Unix socket, of a class that is good for both
    if sock.family == socket.AF_INET:
        level, hops, loop = socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP
    else:
        level, hops, loop = socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, socket.IPV6_MULTICAST_LOOP
    if ttl is not None:
        sock.setsockopt(level, hops, ttl)
    if loopback is not None:
        sock.setsockopt(level, loop, int(loopback))
    if interface is None:
        return
    try:
        if sock.family == socket.AF_INET:
            own, index = _interface_v4(interface)
            sock.setsockopt(level, socket.IP_MULTICAST_IF, _mreq(bytes(4), own, index) if index else own)
        else:
            sock.setsockopt(level, socket.IPV6_MULTICAST_IF, _index_v6(interface))
    except OSError as exc:
        raise _refusal("send to groups", interface, exc) from None


def _change(sock: socket.socket, group: str, interface: str | None, source: str | None, *, is_join: bool) -> None:
    address = _address(group, "a multicast group")
    if not address.is_multicast:
        raise ValueError(f"{group!r} is not a multicast group: those are 224.0.0.0 to 239.255.255.255, and ff00::/8")
    host, _, zone = group.partition("%")
    interface = zone or interface
    name, origin = socket.inet_pton(sock.family, host), None
    if source is not None:
        if _address(source, "a source").version != address.version:
            raise ValueError(f"the source {source!r} is not of the same kind as the group {group!r}")
        origin = socket.inet_pton(sock.family, source.partition("%")[0])
    change: Callable[..., tuple[int, int, bytes]] = _change_v4 if address.version == 4 else _change_v6
    level, option, value = change(name, origin, interface, is_join)
    try:
        sock.setsockopt(level, option, value)
    except OSError as exc:
        raise _refusal(f"{'join' if is_join else 'leave'} {group}", interface, exc) from None


def _change_v4(group: bytes, source: bytes | None, interface: str | None, is_join: bool) -> tuple[int, int, bytes]:
    own, index = _interface_v4(interface) if interface is not None else (bytes(4), 0)
    if source is None:
        option = socket.IP_ADD_MEMBERSHIP if is_join else socket.IP_DROP_MEMBERSHIP
        return socket.IPPROTO_IP, option, _mreq(group, own, index)
    if index:
        return _change_source(socket.IPPROTO_IP, index, _storage_v4(group), _storage_v4(source), is_join)
    option = _JOIN_SOURCE if is_join else _LEAVE_SOURCE
    # struct ip_mreq_source: Linux has the interface in the middle, all others have it last.
    return socket.IPPROTO_IP, option, group + (own + source if _IS_LINUX else source + own)


def _mreq(group: bytes, own: bytes, index: int) -> bytes:
    """struct ip_mreq, or ip_mreqn for an interface by its number."""
    return group + own + (struct.pack("@i", index) if index else b"")


def _change_v6(group: bytes, source: bytes | None, interface: str | None, is_join: bool) -> tuple[int, int, bytes]:
    index = _index_v6(interface) if interface is not None else 0
    if source is None:
        option = socket.IPV6_JOIN_GROUP if is_join else socket.IPV6_LEAVE_GROUP
        return socket.IPPROTO_IPV6, option, group + struct.pack("@I", index)
    return _change_source(socket.IPPROTO_IPV6, index, _storage_v6(group), _storage_v6(source), is_join)


def _change_source(level: int, index: int, group: bytes, source: bytes, is_join: bool) -> tuple[int, int, bytes]:
    """struct group_source_req (RFC 3678 section 5.1), as Linux lays it out."""
    if not _IS_LINUX:
        raise ListenError("IPv6 groups by source, and IPv4 ones with the name of an interface, are for Linux only")
    padding = bytes(struct.calcsize("@P") - 4)
    return (
        level,
        _MCAST_JOIN_SOURCE if is_join else _MCAST_LEAVE_SOURCE,
        struct.pack("@I", index) + padding + group + source,
    )


def _storage_v4(address: bytes) -> bytes:
    return (struct.pack("@HH", socket.AF_INET, 0) + address).ljust(128, b"\0")


def _storage_v6(address: bytes) -> bytes:
    return (struct.pack("@HHI", socket.AF_INET6, 0, 0) + address).ljust(128, b"\0")


def _interface_v4(interface: str) -> tuple[bytes, int]:
    """One of its addresses, or else its number."""
    try:
        return socket.inet_pton(socket.AF_INET, interface), 0
    except (OSError, ValueError):
        index = interface_index(interface)
    if sys.platform == "win32":
        return struct.pack("!I", index), 0  # there 0.0.0.n is the number n
    return bytes(4), index


def _index_v6(interface: str) -> int:
    """The number of an interface, for IPv6 (ValueError)."""
    if is_address(interface):
        raise ValueError(f"for IPv6 an interface is given by its name, such as eth0, not as {interface!r}")
    return interface_index(interface)


def _address(text: str, what: str) -> Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not the address of {what}") from None


def _try(sock: socket.socket, level: int, option: int, value: int) -> None:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        pass  # an old kernel


def _refusal(what: str, interface: str | None, exc: OSError) -> ListenError:
    at = f" on {interface}" if interface is not None else ""
    if exc.errno in (errno.ENODEV, errno.ENETUNREACH, errno.ENXIO) and interface is None:
        why = "no interface of this machine can do multicast there; name one: interface=eth0"
    elif exc.errno in (errno.ENODEV, errno.ENXIO, errno.EINVAL):
        why = "that interface cannot do multicast of this kind"
    elif exc.errno == errno.EADDRNOTAVAIL:
        why = "it was not joined there" if what.startswith("leave") else "no interface has that address"
    elif exc.errno == errno.EADDRINUSE:
        why = "it is joined already"
    elif exc.errno == errno.ENOBUFS:
        why = "too many groups on one socket (see net.ipv4.igmp_max_memberships)"
    else:
        why = sentence(exc)
    error = ListenError(f"cannot {what}{at}: {why}")
    error.errno = exc.errno
    return error

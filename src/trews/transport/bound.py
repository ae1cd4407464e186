"""Sockets for datagrams, as an endpoint says: bound for a server, or with a peer for a client.

A server's endpoint may be several sockets (IPv4 and IPv6), one `Bound`. What binds them, and what looks up names, is
the same as for streams: `binding` and `targets`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from trews.addresses import from_name, is_group, shown
from trews.errors import ConnectError, EndpointError, ListenError, sentence
from trews.transport import multicast
from trews.transport.binding import SocketFile, addresses_of, bind_all, bind_unix, share_port
from trews.transport.connector import TIMEOUT
from trews.transport.datagram import sockaddr
from trews.transport.interface import interface_of, keep_to, with_scope
from trews.transport.resolver import DEFAULT, Resolver
from trews.transport.targets import source_of, targets, timed_out, unix_refusal

if TYPE_CHECKING:
    from trews.endpoint import Endpoint


class Bound:
    """The sockets of one endpoint.

    Attributes:
        endpoint: as it was bound, with the port that was chosen for 0.
        sockets: non-blocking.
        peer: where datagrams go that are not told where, as sockets take it; a server's is its group, if it has one.
        is_connected: whether the kernel knows the peer, and lets nobody else in.
        interface: what groups are joined on, unless something else is said.
    """

    def __init__(
        self, endpoint: Endpoint, sockets: list[socket.socket], peer: Any = None, is_connected: bool = False
    ) -> None:
        self.endpoint = endpoint
        self.sockets = sockets
        self.peer = peer
        self.is_connected = is_connected
        self.interface: str | None = endpoint.get("interface") or endpoint.host.partition("%")[2] or None
        self._file = SocketFile(endpoint.path) if endpoint.kind == "unix" and peer is None else None

    def close(self) -> None:
        """Close the sockets; a Unix socket's file is removed if it is still this one's."""
        for sock in self.sockets:
            sock.close()
        self.release()

    def release(self) -> None:
        """Remove the file of a Unix socket that is closed."""
        if self._file is not None:
            self._file.remove()


# -- for a server


def bind(endpoint: Endpoint) -> Bound:
    """The sockets of a server's endpoint.

    Raises:
        ListenError: it cannot be bound, or its group not be joined; in one sentence.
        EndpointError: the endpoint makes no sense for datagrams.
    """
    _refuse(endpoint, ("source", "timeout", "backlog", "proxy_protocol"), "where datagrams are received")
    if endpoint.kind == "unix":
        return Bound(endpoint, [bind_unix(endpoint, socket.SOCK_DGRAM)])

    def bind_one(family: int, address: Any) -> socket.socket:
        return _bind_one(family, address, endpoint)

    try:
        sockets = bind_all(endpoint, _addresses(endpoint), bind_one)
    except ValueError as exc:  # of an interface
        raise ListenError(f"cannot listen on {endpoint.shown}: {exc}") from None
    own = sockets[0].getsockname()
    peer = (endpoint.host.partition("%")[0], *own[1:]) if is_group(endpoint.host) else None
    return Bound(endpoint.with_port(own[1]), sockets, peer)


def _refuse(endpoint: Endpoint, options: tuple[str, ...], where: str) -> None:
    for option in options:
        if endpoint.get(option) is not None:
            raise EndpointError(f"{endpoint.shown}: there is no {option}= {where}")


def _addresses(endpoint: Endpoint) -> list[tuple[int, Any]]:
    """Where a stream has one socket for IPv4 and IPv6, these are two: so senders have addresses of their own kind."""
    if endpoint.host == "::" and endpoint.get("ipv6only") is False:
        endpoint = endpoint.__replace__(host="")
    return addresses_of(endpoint, socket.SOCK_DGRAM)


def _bind_one(family: int, address: Any, endpoint: Endpoint) -> socket.socket:
    """A socket that is bound, and has joined its group if the endpoint is one."""
    with ExitStack() as opened:
        sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if endpoint.get("reuse_port"):
            share_port(sock)
        interface = interface_of(endpoint)
        if is_group(endpoint.host):
            _bind_to_group(sock, address, endpoint.host, interface)
        else:
            if interface is not None:
                keep_to(sock, interface)
            sock.bind(with_scope(address, interface) if family == socket.AF_INET6 else address)
        opened.pop_all()
        return sock


def _bind_to_group(sock: socket.socket, address: Any, group: str, interface: str | None) -> None:
    # Every program that does this gets every datagram. For other addresses one would take the port from another.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform not in ("linux", "win32"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # what the BSDs want for that
    if sock.family == socket.AF_INET6:
        address = with_scope(address, interface)
    # Bound to the group, the socket gets what is sent to that only; Windows cannot do it.
    sock.bind(address if sys.platform != "win32" else ("", *address[1:]))
    multicast.join(sock, group, interface, None)
    multicast.set_outgoing(sock, interface or group.partition("%")[2] or None, None, None)


# -- for a client


async def open_client(endpoint: Endpoint, resolver: Resolver | None = None) -> Bound:
    """A socket with a peer. It is not asked whether anybody is there: datagrams have no handshake.

    To a group or a broadcast address the socket is not connected, as the answers come from others.

    Args:
        resolver: how names become addresses; None: the operating system is asked.

    Raises:
        ConnectError: no address can be had; ConnectTimedOut: not in time.
        EndpointError: the endpoint makes no sense for datagrams.
    """
    _refuse(endpoint, ("backlog", "mode", "proxy_protocol"), "for a client of datagrams")
    if endpoint.kind == "unix":
        return _open_unix(endpoint)
    timeout = endpoint.get("timeout") or TIMEOUT
    attempts: list[tuple[str, str]] = []
    names, port, kind = resolver or DEFAULT, endpoint.port or 0, socket.SOCK_DGRAM
    try:
        async with asyncio.timeout(timeout):
            found = await targets(endpoint.host, port, endpoint, attempts, names, kind)
    except TimeoutError:
        raise timed_out(endpoint, attempts, timeout) from None
    for target in found:
        family, address = sockaddr(target)  # an address of IPv4 in IPv6 is one of IPv4
        with ExitStack() as opened:
            try:
                sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                is_connected = _open_one(sock, address, endpoint)
            except (OSError, ValueError) as exc:
                attempts.append((shown(from_name(address)), sentence(exc)))
                continue
            opened.pop_all()
            return Bound(endpoint, [sock], address, is_connected)
    raise ConnectError(endpoint.shown, attempts)


def _open_one(sock: socket.socket, address: Any, endpoint: Endpoint) -> bool:
    """Give a socket its peer; returns whether the kernel knows that."""
    interface, source = interface_of(endpoint), source_of(endpoint)
    sock.setblocking(False)
    if endpoint.get("reuse_port"):
        share_port(sock)
    is_to_group = is_group(address[0])
    if interface is not None and not is_to_group:
        keep_to(sock, interface)
    if source is not None:
        sock.bind(source)
    if is_to_group:
        multicast.set_outgoing(sock, interface or endpoint.host.partition("%")[2] or None, None, None)
    else:
        try:
            sock.connect(address)
            return True
        except OSError as exc:
            if exc.errno != errno.EACCES or sock.family != socket.AF_INET:
                raise
        # A broadcast address: so the kernel asks whether that is meant.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if source is None:
        _bind_anywhere(sock)
    return False


def _bind_anywhere(sock: socket.socket) -> None:
    """A port for the answers, which the first `send` would take otherwise. A `connect` that failed may have one."""
    if sys.platform == "win32" or not sock.getsockname()[1]:  # Windows does not know yet
        sock.bind(("", 0))


def _open_unix(endpoint: Endpoint) -> Bound:
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectError(endpoint.shown, [(endpoint.shown, "Python has no Unix sockets on this system")])
    path = endpoint.path
    with ExitStack() as opened:
        try:
            sock = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sock.setblocking(False)
            if sys.platform == "linux":
                sock.bind("")  # an abstract name of the kernel's choice (unix(7)), so that it can be answered
            target = b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path
            sock.connect(target)
        except OSError as exc:
            why = unix_refusal(path, exc, "datagrams", "if it is for streams, connect with a Connection")
            raise ConnectError(endpoint.shown, [(endpoint.shown, why)]) from None
        opened.pop_all()
        return Bound(endpoint, [sock], target, True)

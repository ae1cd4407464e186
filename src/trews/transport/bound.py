"""Sockets for datagrams, as an endpoint says: bound for a server, or with a peer for a client.

A server's endpoint may be several sockets (IPv4 and IPv6), one `Bound`. Names are looked up for datagrams, and not
by asking for streams; a client does that off the loop.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from trews.addresses import unknown
from trews.errors import ConnectError, ConnectTimedOut, EndpointError, ListenError, sentence
from trews.transport import multicast
from trews.transport.datagram import address_of, interface_index, sockaddr
from trews.transport.listener import PAIR_ATTEMPTS, _cannot_listen, _has_ipv6, _inode, _remove_stale, _usable

if TYPE_CHECKING:
    from trews.endpoint import Endpoint

TIMEOUT = 30.0  # seconds to look a name up


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
        self._file = os.path.abspath(endpoint.path)  # the process may change its directory
        self._inode = _inode(endpoint.path) if endpoint.kind == "unix" and peer is None else None

    def close(self) -> None:
        """Close the sockets; a Unix socket's file is removed if it is still this one's."""
        for sock in self.sockets:
            sock.close()
        self.release()

    def release(self) -> None:
        """Remove the file of a Unix socket that is closed."""
        if self._inode is not None and self._inode == _inode(self._file):
            try:
                os.unlink(self._file)
            except OSError:
                pass  # privileges were dropped since; the next server removes it
        self._inode = None


# -- for a server


def bind(endpoint: Endpoint) -> Bound:
    """The sockets of a server's endpoint.

    Raises:
        ListenError: it cannot be bound, or its group not be joined; in one sentence.
        EndpointError: the endpoint makes no sense for datagrams.
    """
    _refuse(endpoint, ("source", "timeout", "backlog", "proxy_protocol"), "where datagrams are received")
    if endpoint.kind == "unix":
        return Bound(endpoint, [_bind_unix(endpoint)])
    addresses = _server_addresses(endpoint)
    for attempt in range(PAIR_ATTEMPTS):
        port = addresses[0][1][1]
        with ExitStack() as opened:
            sockets: list[socket.socket] = []
            try:
                for family, address in addresses:
                    sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                    _bind_one(sock, (address[0], port, *address[2:]), endpoint)
                    port = sock.getsockname()[1]
                    sockets.append(sock)
            except ListenError as exc:
                raise ListenError(f"cannot listen on {endpoint.shown}: {exc}") from None
            except ValueError as exc:  # of an interface
                raise EndpointError(f"{endpoint.shown}: {exc}") from None
            except OSError as exc:
                # A port that was free on IPv4 need not be on IPv6: take another.
                is_unlucky = exc.errno == errno.EADDRINUSE and addresses[0][1][1] == 0 and sockets
                if is_unlucky and attempt + 1 < PAIR_ATTEMPTS:
                    continue
                raise _cannot_bind(endpoint, exc) from None
            opened.pop_all()
            peer = None
            if multicast.is_group(endpoint.host):
                peer = (addresses[0][1][0], port, *sockets[0].getsockname()[2:])
            return Bound(endpoint.with_port(port), sockets, peer)
    raise ListenError(f"cannot listen on {endpoint.shown}: no port is free on both IPv4 and IPv6")


def _refuse(endpoint: Endpoint, options: tuple[str, ...], where: str) -> None:
    for option in options:
        if endpoint.get(option) is not None:
            raise EndpointError(f"{endpoint.shown}: there is no {option}= {where}")


def _server_addresses(endpoint: Endpoint) -> list[tuple[int, Any]]:
    """The addresses to bind: all interfaces are IPv4 and, if the machine has it, IPv6."""
    port = endpoint.port if endpoint.port is not None else 0
    try:
        if endpoint.host:
            found = socket.getaddrinfo(endpoint.host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            return _usable([(family, address) for family, _, _, _, address in found])
        number = socket.getaddrinfo(None, port, type=socket.SOCK_DGRAM)[0][4][1]
    except (OSError, UnicodeError) as exc:
        raise ListenError(f"cannot listen on {endpoint.shown}: {unknown(endpoint.host, port, exc)}") from None
    addresses: list[tuple[int, Any]] = [(socket.AF_INET, ("0.0.0.0", number))]
    if _has_ipv6():
        addresses.append((socket.AF_INET6, ("::", number, 0, 0)))
    return addresses[1:] if endpoint.get("ipv6only") else addresses


def _bind_one(sock: socket.socket, address: Any, endpoint: Endpoint) -> None:
    """Bind one socket, and join its group if the endpoint is one."""
    host, interface = endpoint.host, endpoint.get("interface")
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if endpoint.get("reuse_port"):
        _share_port(sock)
    if not multicast.is_group(host):
        if interface is not None:
            _bind_to_interface(sock, interface)
        sock.bind(address)
        return
    # Every program that does this gets every datagram. For other addresses one would take the port from another.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform not in ("linux", "win32"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # what the BSDs want for that
    if sock.family == socket.AF_INET6:
        if not address[3] and interface is not None:
            address = (*address[:3], multicast.index_v6(interface))
        if not address[3] and int(ipaddress.IPv6Address(host).packed[1] & 15) < 3:  # RFC 4291 section 2.7
            raise ListenError("a group of one link or host needs its interface, such as interface=eth0")
    # Bound to the group, the socket gets what is sent to that only; Windows cannot do it.
    sock.bind(address if sys.platform != "win32" else ("", *address[1:]))
    multicast.join(sock, host, interface, None)
    multicast.set_outgoing(sock, interface or host.partition("%")[2] or None, None, None)


def _share_port(sock: socket.socket) -> None:
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port= is not known to this system")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Have the socket take and send by one interface only."""
    index = interface_index(interface)
    if hasattr(socket, "SO_BINDTODEVICE"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(socket.if_indextoname(index)))
    elif sys.platform == "darwin":  # IP_BOUND_IF, IPV6_BOUND_IF of its <netinet/in.h> and <netinet6/in6.h>
        level, option = (socket.IPPROTO_IP, 25) if sock.family == socket.AF_INET else (socket.IPPROTO_IPV6, 125)
        sock.setsockopt(level, option, index)
    else:
        raise ListenError("interface= is for groups only on this system; give an address of the interface as the host")


def _bind_unix(endpoint: Endpoint) -> socket.socket:
    path = endpoint.path
    with ExitStack() as opened:
        try:
            sock = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sock.setblocking(False)
            if path.startswith("@"):
                sock.bind(b"\0" + os.fsencode(path[1:]))
            else:
                _remove_stale(endpoint, socket.SOCK_DGRAM)
                sock.bind(path)
                mode = endpoint.get("mode")
                if mode is not None:
                    os.chmod(path, mode)
        except ListenError:
            raise
        except OSError as exc:
            raise _cannot_listen(endpoint, exc) from None
        opened.pop_all()
        return sock


def _cannot_bind(endpoint: Endpoint, exc: OSError) -> ListenError:
    if exc.errno not in (errno.EACCES, errno.EPERM):
        return _cannot_listen(endpoint, exc)
    why = "permission denied; ports below 1024 need a privilege, choose a higher one"
    error = ListenError(f"cannot listen on {endpoint.shown}: {why}")
    error.errno = exc.errno
    return error


# -- for a client


async def open_client(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> Bound:
    """A socket with a peer. It is not asked whether anybody is there: datagrams have no handshake.

    To a group or a broadcast address the socket is not connected, as the answers come from others.

    Raises:
        ConnectError: no address can be had; ConnectTimedOut: not in time.
        EndpointError: the endpoint makes no sense for datagrams.
    """
    _refuse(endpoint, ("backlog", "mode", "ipv6only", "proxy_protocol"), "for a client of datagrams")
    if endpoint.kind == "unix":
        return _open_unix(endpoint)
    timeout = endpoint.get("timeout") or TIMEOUT
    try:
        async with asyncio.timeout(timeout):
            addresses = await _client_addresses(endpoint, loop)
    except TimeoutError:
        raise ConnectTimedOut(endpoint.shown, [(endpoint.shown, f"no answer within {timeout:g} s")]) from None
    attempts: list[tuple[str, str]] = []
    for family, address in addresses:
        with ExitStack() as opened:
            try:
                sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                address, is_connected = _open_one(sock, address, endpoint)
            except (OSError, ValueError) as exc:
                host, port = address_of(address)
                attempts.append((f"[{host}]:{port}" if ":" in host else f"{host}:{port}", sentence(exc)))
                continue
            opened.pop_all()
            return Bound(endpoint, [sock], address, is_connected)
    raise ConnectError(endpoint.shown, attempts)


async def _client_addresses(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> list[tuple[int, Any]]:
    host = endpoint.host or "localhost"
    port = endpoint.port if endpoint.port is not None else 0
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        literal = None
    try:
        if literal is not None and isinstance(port, int):
            return [sockaddr((host, port))]
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as exc:
        raise ConnectError(endpoint.shown, [(endpoint.shown, unknown(host, port, exc))]) from None
    except (OSError, ValueError) as exc:
        raise ConnectError(endpoint.shown, [(endpoint.shown, sentence(exc))]) from None
    return [(family, address) for family, _, _, _, address in found]


def _open_one(sock: socket.socket, address: Any, endpoint: Endpoint) -> tuple[Any, bool]:
    """Give a socket its peer; returns that, and whether the kernel knows it."""
    interface, source = endpoint.get("interface"), endpoint.get("source")
    sock.setblocking(False)
    if endpoint.get("reuse_port"):
        _share_port(sock)
    is_group = multicast.is_group(address[0])
    if interface is not None and not is_group:
        _bind_to_interface(sock, interface)
    if source is not None:
        family, own = sockaddr((source, 0))
        if family != sock.family:
            raise ValueError(f"the source {source} is not of the same kind")
        sock.bind(own)
    if is_group:
        zone = endpoint.host.partition("%")[2]
        multicast.set_outgoing(sock, interface or zone or None, None, None)
        if source is None:
            _bind_anywhere(sock)
        return address, False
    try:
        sock.connect(address)
    except OSError as exc:
        if exc.errno != errno.EACCES or sock.family != socket.AF_INET:
            raise
    else:
        return address, True
    # A broadcast address: so the kernel asks whether that is meant.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if source is None:
        _bind_anywhere(sock)
    return address, False


def _bind_anywhere(sock: socket.socket) -> None:
    """A port for the answers, which the first `send` would take otherwise. A `connect` that failed may have one."""
    if sys.platform == "win32" or not sock.getsockname()[1]:  # Windows does not know yet
        sock.bind(("", 0))


def _open_unix(endpoint: Endpoint) -> Bound:
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
            raise ConnectError(endpoint.shown, [(endpoint.shown, sentence(exc))]) from None
        opened.pop_all()
        return Bound(endpoint, [sock], target, True)

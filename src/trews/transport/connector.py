"""Connecting: from an endpoint to a connected, non-blocking socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

from trews.addresses import from_name, shown
from trews.endpoint import Endpoint
from trews.errors import ConnectError, EndpointError, sentence
from trews.transport.eyeballs import first_of, interleave
from trews.transport.interface import interface_of, keep_to
from trews.transport.listener import set_stream_options
from trews.transport.resolver import DEFAULT, Resolver
from trews.transport.targets import source_of, targets, timed_out, unix_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

TIMEOUT = 30.0  # seconds for the whole of it: names, and every address


async def open_stream(
    endpoint: Endpoint, loop: asyncio.AbstractEventLoop, resolver: Resolver | None = None
) -> tuple[Any, Any]:
    """Connect to an endpoint.

    Args:
        resolver: how names become addresses; None: the operating system is asked.

    Returns:
        The socket and the address it is connected to. Of `tls:`, what TLS is to be spoken on.

    Raises:
        ConnectError: every address failed; lists them.
        ConnectTimedOut: `timeout=` of the endpoint (30 s) ran out.
        EndpointError: the endpoint makes no sense for a client.
    """
    _refuse(endpoint)
    attempts: list[tuple[str, str]] = []
    timeout = endpoint.get("timeout") or TIMEOUT
    if endpoint.kind in ("tcp", "tls") and endpoint.get("via") is not None:
        from trews.transport.via import open_via  # here, for few need it and it takes urllib.parse along

        names = resolver or DEFAULT

        def to_proxy(at: Endpoint) -> Awaitable[tuple[socket.socket, Any]]:
            return open_tcp(at.host, at.port or 0, at, loop, [], names)

        return await open_via(endpoint, loop, to_proxy, timeout, names)
    try:
        async with asyncio.timeout(timeout):
            if endpoint.kind in ("tcp", "tls"):
                return await open_tcp(endpoint.host, endpoint.port or 0, endpoint, loop, attempts, resolver or DEFAULT)
            if endpoint.kind == "unix":
                return await _open_unix(endpoint, loop)
            if endpoint.kind == "exec":
                from trews.transport.process import open_process  # here and below, for few need it

                return await open_process(endpoint, loop), endpoint.shown
            if endpoint.kind in ("stdio", "fd"):
                return _open_inherited(endpoint, loop)
            if endpoint.kind == "memory":
                return await _open_memory(endpoint, loop), None
    except TimeoutError:
        raise timed_out(endpoint, attempts, timeout) from None
    raise EndpointError(f"{endpoint.shown}: this version cannot connect to {endpoint.kind}: endpoints")


def check(endpoint: Endpoint) -> None:
    """Refuse what can never be connected to, as far as that shows without trying.

    Raises:
        EndpointError: the endpoint makes no sense for a client.
        ConnectError: a certificate or a program is not there, or is none.
    """
    _refuse(endpoint)
    if endpoint.get("via") is not None:
        from trews.transport.via import proxy_of  # here and below, for few need it

        proxy_of(endpoint)
    if endpoint.kind == "tls":
        from trews.transport.certificates import check_client

        check_client(endpoint)
    if endpoint.kind == "exec":
        from trews.transport.process import check_program

        check_program(endpoint)


def _refuse(endpoint: Endpoint) -> None:
    if endpoint.get("proxy_protocol") is not None:
        raise EndpointError(f"{endpoint.shown}: proxy_protocol= is for servers")
    if endpoint.kind == "systemd":
        raise EndpointError(f"{endpoint.shown}: systemd: endpoints are for servers")
    if endpoint.kind in ("tcp", "tls") and endpoint.port == 0:
        raise EndpointError(f"{endpoint.shown}: port 0 is for listening, on any free one: say which to connect to")


async def open_tcp(
    host: str,
    port: int | str,
    endpoint: Endpoint,
    loop: asyncio.AbstractEventLoop,
    attempts: list[tuple[str, str]],
    resolver: Resolver = DEFAULT,
) -> tuple[socket.socket, Any]:
    """Connect to a host, which need not be the endpoint's: to a proxy, say.

    Args:
        endpoint: whose options are used: `source`, `interface`, `ipv6only`, `tcp_user_timeout`.
        attempts: gets `(address, reason)` of every address that is tried; no reason while there is no answer.

    Returns:
        The socket and the address it is connected to.

    Raises:
        ConnectError: every address failed, or there is none.
        EndpointError: an option that this system does not have.
    """
    usable = await targets(host, port, endpoint, attempts, resolver)
    interface = interface_of(endpoint)

    async def attempt(address: Any) -> tuple[socket.socket, Any]:
        place = len(attempts)
        name = shown(from_name(address))
        attempts.append((name, ""))
        try:
            return await _connect(address, endpoint, interface, loop), address
        except OSError as exc:
            attempts[place] = (name, sentence(exc))
            raise

    connected = await first_of(interleave(usable, len), attempt, lambda late: late[0].close())
    if connected is None:
        raise ConnectError(endpoint.shown, attempts)
    return connected


async def _connect(
    address: Any, endpoint: Endpoint, interface: str | None, loop: asyncio.AbstractEventLoop
) -> socket.socket:
    sock = socket.socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        set_stream_options(sock, endpoint)
        if interface is not None:
            keep_to(sock, interface)
        source = source_of(endpoint)
        if source is not None:
            _bind(sock, source)
        try:
            await loop.sock_connect(sock, _for_loop(loop, address))
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:  # not bind's: what to say is another thing
                raise OSError("this machine has no address or no free port to reach it from") from None
            raise
        if sock.getsockname()[1] == address[1] and sock.getsockname() == sock.getpeername():
            # Nobody listens, and the kernel took this very port for our end: a simultaneous open with itself
            # (RFC 9293 §3.5), which happens once in some ten thousand attempts to a port of that range.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    except BaseException:
        sock.close()
        raise
    return sock


def _for_loop(loop: asyncio.AbstractEventLoop, address: Any) -> Any:
    """uvloop (0.23) takes host and port out of the address, and loses the interface; as text it stays."""
    if len(address) == 4 and address[3] and type(loop).__module__.partition(".")[0] == "uvloop":
        return (f"{address[0]}%{address[3]}", *address[1:])
    return address


def _bind(sock: socket.socket, source: Any) -> None:
    if source[1] and sys.platform != "win32":  # there it would share the port
        # A port that is used again and again is in TIME_WAIT, towards another peer or an earlier connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(source)


async def _open_unix(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> tuple[socket.socket, Any]:
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectError(endpoint.shown, [(endpoint.shown, "Python has no Unix sockets on this system")])
    path = endpoint.path
    sock = None
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await loop.sock_connect(sock, "\0" + path[1:] if path.startswith("@") else path)
    except BaseException as exc:
        if sock is not None:
            sock.close()
        if isinstance(exc, OSError):
            other = "if it is for datagrams, trews.connect(..., trews.Datagram) can talk to it"
            why = unix_refusal(path, exc, "streams", other)
            raise ConnectError(endpoint.shown, [(endpoint.shown, why)]) from None
        raise
    return sock, path


def _open_inherited(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
    from trews.transport.inherited import take  # here, for few need it

    def refusal(why: str) -> ConnectError:
        return ConnectError(endpoint.shown, [(endpoint.shown, why)])

    inherited = take(endpoint, refusal)
    if inherited.is_listening:
        inherited.give_back()
        raise refusal("it is a listening socket, which is for a server")
    return inherited.open(loop)


async def _open_memory(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> Any:
    from trews.transport.memory import find_listener  # here, for few need it

    listener = find_listener(loop, endpoint.path)
    if listener is None:
        reason = "no server of this loop listens under that name"
        raise ConnectError(endpoint.shown, [(endpoint.shown, reason)])
    sock = listener.connect()
    try:
        await asyncio.sleep(0)  # the server accepts, as another program would meanwhile
    except BaseException:
        sock.close()
        raise
    return sock

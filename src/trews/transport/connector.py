"""Connecting: from an endpoint to a connected, non-blocking socket."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

from trews.addresses import unknown
from trews.endpoint import Endpoint
from trews.errors import ConnectError, ConnectTimedOut, EndpointError, sentence
from trews.transport.inherited import take
from trews.transport.listener import set_stream_options
from trews.transport.memory import find_listener
from trews.transport.process import open_process

TIMEOUT = 30.0  # seconds for the whole of it: names, and every address

_NOT_YET = ("via", "proxy_protocol", "interface")


async def open_stream(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
    """Connect to an endpoint.

    Returns:
        The socket and the address it is connected to.

    Raises:
        ConnectError: every address failed; lists them.
        ConnectTimedOut: `timeout=` of the endpoint (30 s) ran out.
        EndpointError: the endpoint makes no sense for a client.
    """
    for option in _NOT_YET:
        if endpoint.get(option) is not None:
            raise EndpointError(f"{endpoint.shown}: a client of this version has no option {option}=")
    attempts: list[tuple[str, str]] = []
    timeout = endpoint.get("timeout") or TIMEOUT
    try:
        async with asyncio.timeout(timeout):
            if endpoint.kind in ("tcp", "tls"):
                return await _open_tcp(endpoint, loop, attempts)
            if endpoint.kind == "unix":
                return await _open_unix(endpoint, loop)
            if endpoint.kind == "exec":
                return await open_process(endpoint, loop), endpoint.shown
            if endpoint.kind in ("stdio", "fd"):
                return _open_inherited(endpoint, loop)
            if endpoint.kind == "memory":
                return await _open_memory(endpoint, loop), None
    except TimeoutError:
        attempts.append((endpoint.shown, f"no answer within {timeout:g} s"))
        raise ConnectTimedOut(endpoint.shown, attempts) from None
    raise EndpointError(f"{endpoint.shown}: this version cannot connect to {endpoint.kind}: endpoints")


async def _open_tcp(
    endpoint: Endpoint, loop: asyncio.AbstractEventLoop, attempts: list[tuple[str, str]]
) -> tuple[socket.socket, Any]:
    for family, address in await _addresses(endpoint, loop):
        shown = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            set_stream_options(sock, endpoint)
            source = endpoint.get("source")
            if source:
                sock.bind((source, 0))
            await loop.sock_connect(sock, address)
        except OSError as exc:
            if sock is not None:
                sock.close()
            attempts.append((shown, sentence(exc)))
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        else:
            return sock, address
    raise ConnectError(endpoint.shown, attempts)


async def _addresses(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> list[tuple[int, Any]]:
    host = endpoint.host or "localhost"
    port = endpoint.port if endpoint.port is not None else 0
    if isinstance(port, int):
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as exc:
        raise ConnectError(endpoint.shown, [(endpoint.shown, unknown(host, port, exc))]) from None
    except OSError as exc:  # of what looking up needs
        raise ConnectError(endpoint.shown, [(endpoint.shown, sentence(exc))]) from None
    return [(family, address) for family, _, _, _, address in found]


def _literal(host: str, port: int) -> tuple[int, Any] | None:
    """An address that needs no look-up, and so no thread."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (host, port)
    if "%" in host:
        return None  # the scope is a name that the resolver knows
    return socket.AF_INET6, (host, port, 0, 0)


async def _open_unix(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> tuple[socket.socket, Any]:
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
            raise ConnectError(endpoint.shown, [(endpoint.shown, sentence(exc))]) from None
        raise
    return sock, path


def _open_inherited(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
    def refusal(why: str) -> ConnectError:
        return ConnectError(endpoint.shown, [(endpoint.shown, why)])

    inherited = take(endpoint, refusal)
    if inherited.is_listening:
        inherited.give_back()
        raise refusal("it is a listening socket, which is for a server")
    return inherited.open(loop)


async def _open_memory(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> Any:
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

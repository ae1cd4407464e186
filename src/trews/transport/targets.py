"""Where a client may connect to: the addresses of a host, looked up, and those of them that its endpoint allows."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

from trews.addresses import is_group, literal, shown
from trews.errors import ConnectError, ConnectTimedOut, EndpointError, sentence
from trews.transport.interface import interface_of, with_scope
from trews.transport.resolver import port_of

if TYPE_CHECKING:
    from trews.endpoint import Endpoint
    from trews.transport.resolver import Resolver


async def targets(
    host: str,
    port: int | str,
    endpoint: Endpoint,
    attempts: list[tuple[str, str]],
    resolver: Resolver,
    kind: int = socket.SOCK_STREAM,
) -> list[Any]:
    """The addresses to try, as the socket calls take them.

    Args:
        host: need not be the endpoint's, whose options are used: `source`, `interface`, `ipv6only`.
        attempts: gets `(address, reason)` of each that is left out; meanwhile the look-up, without a reason.
        kind: `SOCK_STREAM` or `SOCK_DGRAM`: for which of them the name of a service is.

    Raises:
        ConnectError: nothing is known by these names.
        EndpointError: an option that this system does not have.
    """
    interface = interface_of(endpoint)
    host = host or "localhost"
    attempts.append((f"the look-up of {host!r}", ""))
    try:
        number = await port_of(port, kind)
        found = await resolver.resolve(host, None)
    except (OSError, EndpointError) as exc:
        attempts[-1] = (endpoint.shown, sentence(exc))
        raise ConnectError(endpoint.shown, attempts) from exc.__cause__
    attempts.pop()
    usable = []
    for text in found:
        try:
            usable.append(_fitting(text, number, endpoint, interface))
        except OSError as exc:
            attempts.append((shown((text, number)), sentence(exc)))
    return usable


def _fitting(text: str, port: int, endpoint: Endpoint, interface: str | None) -> Any:
    """The address as the socket calls take it.

    Raises:
        OSError: it cannot be connected to in the way that the endpoint says.
    """
    address = literal(text, port)
    if address is None:
        raise OSError("not an address")
    if len(address) == 2 and endpoint.get("ipv6only"):
        raise OSError("left out, for ipv6only=yes")
    source = source_of(endpoint)
    if source is not None and len(source) != len(address):
        kind = "IPv4" if len(address) == 4 else "IPv6"
        raise OSError(f"left out, for source={endpoint.get('source')} is an address of {kind}")
    if len(address) == 2 or (interface is None and is_group(text)):  # `multicast_interface` may say it later
        return address
    return with_scope(address, interface)


def source_of(endpoint: Endpoint) -> Any:
    """The option `source`, as `bind` takes it; None without. The endpoint has checked it.

    Raises:
        OSError: it needs an interface that is not there, or is not said.
    """
    source: str | None = endpoint.get("source")
    if source is None:
        return None
    if source.startswith("["):
        host, _, port = source[1:].partition("]:")
    else:
        host, _, port = source.partition(":") if source.count(":") == 1 else (source, "", "")
    address = literal(host, int(port or 0))
    if address is None or len(address) == 2:
        return address
    return with_scope(address, interface_of(endpoint))


def unix_refusal(path: str, exc: OSError, wanted: str, other: str) -> str:
    """Why a path cannot be connected to. `wanted` is what the socket there should be for; `other` says what to do."""
    if exc.errno == errno.EPROTOTYPE:
        return f"the socket there is not for {wanted}: {other}"
    if exc.errno in (errno.ECONNREFUSED, errno.ENOTSOCK) and not path.startswith("@"):
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                return "that is not a socket"
        except OSError:
            pass  # it is gone
    return sentence(exc)


def timed_out(endpoint: Endpoint, attempts: list[tuple[str, str]], timeout: float) -> ConnectTimedOut:
    """The time is over; what had no reason to fail until then has that one."""
    late = f"no answer within {timeout:g} s"
    tried = [(address, reason or late) for address, reason in attempts] or [(endpoint.shown, late)]
    return ConnectTimedOut(endpoint.shown, tried)

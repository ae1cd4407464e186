"""A SOCKS5 server (RFC 1928): connects for its clients, who may have to give a user and a password (RFC 1929).

Of the three commands only CONNECT; BIND and UDP ASSOCIATE are refused, and so is SOCKS4. Passwords cross the network
as they are: RFC 1929 has nothing better.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import logging
from typing import TYPE_CHECKING, Any

import trews
from trews.errors import sentence
from trews.protocols.relay import relay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("trews")

DIALOGUE_TIMEOUT = 10.0  # seconds for all that a client says before it is connected
CONNECT_TIMEOUT = 30.0  # seconds for connecting to what it asks for

VERSION = 5
CONNECT = 1
NO_PASSWORD, PASSWORD, NOTHING_ACCEPTABLE = 0, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4
# RFC 1928 §6
GRANTED, FAILED, FORBIDDEN, NO_NETWORK, NO_HOST, REFUSED, TIMED_OUT, NO_COMMAND, NO_ADDRESS_TYPE = range(9)

# Why connecting failed is told in words; these are the words of what has a code of its own.
_CODES = {
    sentence(OSError(errno.ECONNREFUSED, "")): REFUSED,
    sentence(OSError(errno.ENETUNREACH, "")): NO_NETWORK,
    sentence(OSError(errno.EHOSTUNREACH, "")): NO_HOST,
}


class Denied(Exception):
    """The client does not get what it wants, and why, for the log; `answer` is sent before the goodbye."""

    def __init__(self, why: str, answer: bytes = b"") -> None:
        super().__init__(why)
        self.answer = answer


class SocksServer(trews.Server):
    """A SOCKS5 server. Who can reach it gets everywhere from here, so listen on loopback or have users.

    Args:
        users: passwords by user, both text; None lets everybody in.
        allow: `allow(host, port, connection)` says whether a target may be connected to; all may by default. A name is
            given as the client gave it: what it stands for is looked up afterwards.
        settings: as of `trews.Server`.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        allow: Callable[[str, int, trews.Connection], bool] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(serve_client, half_close=True, **settings)
        self.users = None if users is None else dict(users)
        self.allow = allow


async def serve_client(conn: trews.Connection) -> None:
    """One client, from its greeting to the end of what it was connected to."""
    try:
        async with asyncio.timeout(DIALOGUE_TIMEOUT):
            await agree(conn)
            host, port = await request(conn)
        peer = await open_target(conn, host, port)
    except Denied as exc:
        logger.info("%r: %s", conn, exc)  # not louder, as any client could fill the log
        conn.write(exc.answer)
        return
    except (TimeoutError, trews.ConnectionClosed):  # too slow, or gone
        return
    conn.write(reply(GRANTED, peer.local_address))
    await relay(conn, peer)


async def agree(conn: trews.Connection) -> None:
    """RFC 1928 §3: whether a password is needed, and that it is right."""
    version, count = await conn.read(2)
    if version != VERSION:
        raise Denied("the client does not speak SOCKS5")
    methods = await conn.read(count) if count else b""
    users = conn.server.users
    wanted = NO_PASSWORD if users is None else PASSWORD
    if wanted not in methods:
        why = "the client wants to log in" if users is None else "the client does not log in with a user and a password"
        raise Denied(why, bytes((VERSION, NOTHING_ACCEPTABLE)))
    conn.write(bytes((VERSION, wanted)))
    if users is None:
        return
    if await conn.read(1) != b"\x01":
        raise Denied("the client does not speak SOCKS5")
    user, password = await text(conn), await text(conn)
    if not is_right(users, user, password):
        raise Denied("wrong user or password", b"\x01\x01")
    conn.write(b"\x01\x00")


async def text(conn: trews.Connection) -> bytes:
    """Bytes with their length before them, which is one byte."""
    count = (await conn.read(1))[0]
    data: bytes = await conn.read(count) if count else b""
    return data


def is_right(users: Mapping[str, str], user: bytes, password: bytes) -> bool:
    """Whether that is the user's password, in a time that does not tell how much of it, or the user, is."""
    found = False
    for name, secret in users.items():
        # What came from a command line or the environment need not be UTF-8.
        right = [text.encode("utf-8", "surrogateescape") for text in (name, secret)]
        found |= hmac.compare_digest(right[0], user) & hmac.compare_digest(right[1], password)
    return found


async def request(conn: trews.Connection) -> tuple[str, int]:
    """RFC 1928 §4: the target that a client asks for."""
    version, command, _, kind = await conn.read(4)
    if version != VERSION:
        raise Denied("the client does not speak SOCKS5")
    if kind == IPV4:
        host = str(ipaddress.IPv4Address(await conn.read(4)))
    elif kind == IPV6:
        host = str(ipaddress.IPv6Address(await conn.read(16)))
    elif kind == NAME:
        host = (await text(conn)).decode("ascii", "replace")
    else:
        raise Denied(f"the client gives an address of the unknown kind {kind}", reply(NO_ADDRESS_TYPE))
    port = int.from_bytes(await conn.read(2), "big")
    if command != CONNECT:
        raise Denied(f"the client asks for the command {command}, and here is CONNECT only", reply(NO_COMMAND))
    return host, port


async def open_target(conn: trews.Connection, host: str, port: int) -> trews.Connection:
    """Connect to what a client asks for, if it may."""
    if host in ("", "*") or not port:  # which would be all interfaces, or any port
        raise Denied(f"{host!r}, port {port}, is not where one can connect to", reply(FAILED))
    try:
        # Two values and not a text: in a text a name could bring options along.
        endpoint = trews.Endpoint.parse((host, port)).with_options(timeout=CONNECT_TIMEOUT)
    except trews.EndpointError:
        raise Denied(f"{host!r} cannot be the name of a host", reply(NO_HOST)) from None
    allow = conn.server.allow
    if allow is not None and not allow(endpoint.host, port, conn):
        raise Denied(f"{endpoint.host}:{port} is not allowed", reply(FORBIDDEN))
    try:
        return await trews.connect(endpoint, half_close=True)
    except trews.ConnectTimedOut as exc:
        raise Denied(str(exc), reply(TIMED_OUT)) from None
    except trews.ConnectError as exc:
        codes = [_CODES.get(why, NO_HOST) for _, why in exc.attempts]
        code = REFUSED if REFUSED in codes else min(codes, default=FAILED)
        raise Denied(str(exc), reply(code)) from None


def reply(code: int, address: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
    """RFC 1928 §6: the answer to a request, with the address that was connected from."""
    host, port = address
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    kind = IPV4 if len(packed) == 4 else IPV6
    return bytes((VERSION, code, 0, kind)) + packed + port.to_bytes(2, "big")

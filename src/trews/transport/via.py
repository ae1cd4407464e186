"""Connecting through a proxy (`via=`): SOCKS5 (RFC 1928, 1929) and HTTP CONNECT (RFC 9110 §9.3.6).

What is said to the proxy is a generator for each kind, which knows bytes only: it yields what to send and how many
bytes of the answer it wants, and never wants one byte too many. What comes behind the proxy's answer is the target's,
and stays in the socket for TLS or the connection. Not here: opening the socket to the proxy, TLS to a proxy, and why
this is no library (docs/decisions/0007-our-own-proxy-dialogues.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from trews.addresses import is_address, shown
from trews.endpoint import Endpoint
from trews.errors import ConnectError, ConnectTimedOut, EndpointError, ResolveError, sentence
from trews.transport.resolver import DEFAULT, Resolver, port_of

MAX_HEAD = 16 * 1024  # bytes of the answer to CONNECT, provisional answers (1xx) included
AHEAD = -1  # wanted by a dialogue: a look at what has come already, which may be nothing

_PORTS = {"socks5": 1080, "socks5h": 1080, "http": 80}  # what can be spoken, and where if the URL has no port
_PEEK = 4096  # bytes looked at once; answers have a few hundred

_URL = re.compile(r"([a-z0-9+.-]+)://(?:([^@/]*)@)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?/?", re.ASCII)
_LONE_LF = re.compile(rb"(?<!\r)\n")

Dialogue = Generator[tuple[bytes, int], bytes, None]
OpenTCP = Callable[[Endpoint], Awaitable[tuple[socket.socket, Any]]]


class Refused(Exception):
    """The proxy does not do it; says why. `is_about_target`: another address of the target may do."""

    def __init__(self, why: str, is_about_target: bool = False) -> None:
        super().__init__(why)
        self.is_about_target = is_about_target


@dataclass(frozen=True, slots=True)
class Proxy:
    """The URL of `via=`, taken apart. User and password are bytes, percent-decoded; `shown` is without them."""

    scheme: str
    host: str
    port: int
    user: bytes | None = field(default=None, repr=False)
    password: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Raises ValueError, without the URL in its sentence: there may be a password in it."""
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError("via= takes the URL of a proxy, such as socks5://user:password@host:1080")
        scheme, user_info, host, port = match.groups()
        if scheme == "https":
            raise ValueError("https:// in via= (TLS to the proxy itself) is not supported; http:// does CONNECT")
        if scheme not in _PORTS:
            raise ValueError(f"via= takes socks5://, socks5h:// or http://, not {scheme}://")
        if port is not None and not 0 < int(port) < 65536:
            raise ValueError(f"the proxy of via= cannot have the port {port}")
        user, password = None, b""
        if user_info is not None:
            if re.search("%(?![0-9A-Fa-f]{2})", user_info):
                raise ValueError("'%' in the user or password of via= must be written '%25'")
            name, _, secret = user_info.partition(":")
            user, password = unquote_to_bytes(name), unquote_to_bytes(secret)
            _check_credentials(scheme, user, password)
        return cls(scheme, host.strip("[]"), int(port or _PORTS[scheme]), user, password)

    @property
    def shown(self) -> str:
        """The proxy in messages."""
        return f"the proxy {self.scheme}://{shown((self.host, self.port))}"


def _check_credentials(scheme: str, user: bytes, password: bytes) -> None:
    # RFC 1929 §2: both have a length of one byte. An empty password is beyond it, but curl sends it, too.
    if not user:
        raise ValueError("the user of via= is empty")
    if scheme != "http":
        if len(user) > 255 or len(password) > 255:
            raise ValueError("SOCKS5 takes at most 255 bytes of user and of password in via=")
    # RFC 7617 §2: the first ':' ends the user, and control characters are not allowed in either.
    elif b":" in user:
        raise ValueError("a user of an http:// proxy cannot contain ':'")
    elif re.search(rb"[\x00-\x1f\x7f]", user + password):
        raise ValueError("user and password of an http:// proxy cannot contain control characters")


async def open_via(
    endpoint: Endpoint,
    loop: asyncio.AbstractEventLoop,
    open_tcp: OpenTCP,
    timeout: float,
    resolver: Resolver = DEFAULT,
) -> tuple[socket.socket, Any]:
    """Connect to an endpoint through the proxy of its `via=`.

    Args:
        open_tcp: connects to a `tcp:` endpoint, here the proxy; gives a non-blocking socket and its address, or
            raises ConnectError.
        timeout: seconds for all of it: names, the way to the proxy, the dialogue, the proxy's way to the target.
        resolver: how the target's name becomes addresses, where that is done here (`socks5:`).

    Returns:
        The socket, of which nothing behind the proxy's answer was read; and the address of the proxy.

    Raises:
        ConnectError: the proxy cannot be reached, or does not do it; names both and says why.
        ConnectTimedOut: `timeout` ran out.
        EndpointError: a proxy that is none, or a target that cannot be told to one.
    """
    proxy, host = proxy_of(endpoint)
    passed_on = ("source", "interface", "tcp_user_timeout")
    options = tuple((name, value) for name, value in endpoint.options if name in passed_on)
    gate = Endpoint("tcp", proxy.host, proxy.port, options=options)
    attempts: list[tuple[str, str]] = []
    try:
        async with asyncio.timeout(timeout):
            port = await _port(endpoint)
            for told in await _addresses(endpoint, host, proxy, resolver):
                where = proxy.shown if told == host else f"{proxy.shown} to {shown((told, port))}"
                try:
                    sock, address = await _open_gate(gate, proxy, open_tcp, endpoint)
                    await _talk(dialogue(proxy, told, port), sock, loop)
                    return sock, address
                except Refused as exc:
                    attempts.append((where, str(exc)))
                    if not exc.is_about_target:
                        break
    except TimeoutError:
        attempts.append((proxy.shown, f"no answer within {timeout:g} s"))
        raise ConnectTimedOut(endpoint.shown, attempts) from None
    raise ConnectError(endpoint.shown, attempts)


def proxy_of(endpoint: Endpoint) -> tuple[Proxy, str]:
    """The proxy of an endpoint's `via=`, and the host as it is told to that.

    Raises:
        EndpointError: a proxy that is none, or a target that cannot be told to one.
    """
    try:
        host = target_host(endpoint.host or "localhost")
    except ValueError as exc:
        raise EndpointError(str(exc)) from None  # with the host as a repr: here it may hold a line end
    try:
        return Proxy.parse(endpoint.get("via")), host
    except ValueError as exc:
        raise EndpointError(f"{endpoint.shown}: {exc}") from None


def target_host(host: str) -> str:
    """A host as it is told to a proxy: an address, or a name in ASCII.

    Raises:
        ValueError: it is neither. (`Endpoint.parse` looks at hosts, its constructor does not; and here a line end
            would be one in the request.)
    """
    if "%" in host:
        raise ValueError("the scope of an IPv6 address means nothing to a proxy")
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as exc:
            raise ValueError(f"{host!r} cannot be the name of a host ({exc})") from None
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", host):
        raise ValueError(f"{host!r} cannot be the name of a host")
    return host


async def _port(endpoint: Endpoint) -> int:
    """The port as a number: no proxy knows our names of services."""
    try:
        return await port_of(endpoint.port or 0)
    except ResolveError as exc:
        raise ConnectError(endpoint.shown, [(endpoint.shown, str(exc))]) from None


async def _addresses(endpoint: Endpoint, host: str, proxy: Proxy, resolver: Resolver) -> list[str]:
    """What the proxy may be asked for. As with curl: names are looked up here for socks5, and by all others there."""
    if proxy.scheme != "socks5" or is_address(host):
        return [host]
    try:
        found = await resolver.resolve(host, None)
    except (ResolveError, EndpointError) as exc:
        why = f"{exc}; with socks5h:// the proxy looks it up"
        raise ConnectError(endpoint.shown, [(endpoint.shown, why)]) from None
    return list(dict.fromkeys(address.partition("%")[0] for address in found))


async def _open_gate(gate: Endpoint, proxy: Proxy, open_tcp: OpenTCP, endpoint: Endpoint) -> tuple[socket.socket, Any]:
    try:
        return await open_tcp(gate)
    except ConnectTimedOut:
        raise TimeoutError from None
    except ConnectError as exc:
        own = (gate.shown, shown((gate.host, gate.port)))
        attempts = [(proxy.shown if at in own else f"{proxy.shown} at {at}", why) for at, why in exc.attempts]
        raise ConnectError(endpoint.shown, attempts) from None


async def _talk(said: Dialogue, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Have a dialogue on a socket, which is closed if it comes to nothing."""
    try:
        send, wanted = next(said)
        while True:
            if send:
                await loop.sock_sendall(sock, send)
            got = _look(sock) if wanted == AHEAD else await _exactly(wanted, sock, loop)
            send, wanted = said.send(got)
    except StopIteration:
        return
    except OSError as exc:
        sock.close()
        raise Refused(sentence(exc)) from None
    except BaseException:
        sock.close()
        raise


async def _exactly(count: int, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> bytes:
    got = b""
    while len(got) < count:
        piece = await loop.sock_recv(sock, count - len(got))
        if not piece:
            raise Refused("it closed the connection instead of an answer")
        got += piece
    return got


def _look(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_PEEK, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


# -- what is said, in bytes


def dialogue(proxy: Proxy, host: str, port: int) -> Dialogue:
    """What is to be said to a proxy to get to `host`, an address or a name as `target_host` gives it."""
    say = connect if proxy.scheme == "http" else socks5
    return say(host, port, proxy.user, proxy.password)


_REPLIES = {  # RFC 1928 §6
    1: "it failed without saying why",
    2: "its rules do not allow this target",
    3: "it cannot reach the network of the target",
    4: "it cannot {reach}",
    5: "the target refused the connection",
    6: "it got no answer from the target",
    7: "it does not do CONNECT",
    8: "it does not know this kind of address",
}


def socks5(host: str, port: int, user: bytes | None, password: bytes) -> Dialogue:
    """RFC 1928, with the user and password of RFC 1929."""
    methods = b"\x00" if user is None else b"\x00\x02"
    answer = yield bytes((5, len(methods))) + methods, 2
    if answer[0] != 5:
        raise _gibberish("SOCKS5", answer)
    if answer[1] == 0xFF:
        if user is not None:
            raise Refused("it does not take a user and a password, and wants another way to log in")
        raise Refused("it wants a user and a password: write socks5://user:password@host in via=")
    if answer[1] not in methods:
        raise _gibberish("SOCKS5", answer)
    if answer[1] == 2 and user is not None:
        request = b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password
        answer = yield request, 2
        if answer[0] != 1:
            raise _gibberish("SOCKS5", answer)
        if answer[1]:
            raise Refused("wrong user or password")
    answer = yield b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"), 2
    if answer[0] != 5:
        raise _gibberish("SOCKS5", answer)
    if answer[1]:  # what else such an answer has is not waited for: some send no more
        why = _REPLIES.get(answer[1], f"it failed with the unknown code {answer[1]}")
        raise Refused(why.format(reach=_reach(host, port)), is_about_target=True)
    answer = yield b"", 2
    length = {1: 4, 3: None, 4: 16}.get(answer[1], 0)
    if answer[0] or length == 0:
        raise _gibberish("SOCKS5", answer)
    if length is None:
        length = (yield b"", 1)[0]
    yield b"", length + 2  # the address it has connected from, which tells nothing


def _reach(host: str, port: int) -> str:
    """What a proxy could not do; it does not say which part of it."""
    return f"{'reach' if is_address(host) else 'look up or reach'} {shown((host, port))}"


def _socks_address(host: str) -> bytes:
    if is_address(host):
        address = ipaddress.ip_address(host)
        return bytes((1 if address.version == 4 else 4,)) + address.packed
    name = host.encode("ascii")
    return bytes((3, len(name))) + name


def connect(host: str, port: int, user: bytes | None, password: bytes) -> Dialogue:
    """RFC 9110 §9.3.6. Fields of the answer are not looked at, nor is its reason repeated: both are foreign text."""
    authority = shown((host, port))
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode("ascii")
    if user is not None:  # RFC 7617
        request += b"Proxy-Authorization: Basic " + b64encode(user + b":" + password) + b"\r\n"
    request += b"\r\n"
    room = MAX_HEAD
    status = 100
    while status < 200:  # RFC 9110 §15.2: provisional answers may come before
        head = yield from _head(request, room)
        room -= len(head)
        request = b""
        match = re.match(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]", head)
        if match is None or match[1] == b"101":
            raise _gibberish("HTTP", head)
        status = int(match[1])
    if status >= 300:
        raise Refused(_why(status, user is not None, _reach(host, port)))


def _head(send: bytes, room: int) -> Generator[tuple[bytes, int], bytes, bytes]:
    """The head of an answer, its empty line included and nothing behind it."""
    head = yield send, 1
    while not head.endswith(b"\r\n\r\n"):
        if head[:7] != b"HTTP/1."[: len(head)]:
            raise _gibberish("HTTP", head)
        if len(head) >= room:
            raise Refused(f"its answer is longer than {MAX_HEAD // 1024} KiB")
        last = head[-3:]
        ahead = yield b"", AHEAD
        end = (last + ahead).find(b"\r\n\r\n")
        piece = yield b"", max(len(ahead) if end < 0 else end + 4 - len(last), 1)
        # RFC 9112 §2.2 lets one take a lone LF for the end of a line. Who sends it may end the head so, too, and
        # would be waited for until the deadline.
        head += piece
        if _LONE_LF.search(head, len(head) - len(piece)):
            raise _gibberish("HTTP", head)
    return head


def _why(status: int, has_password: bool, reach: str) -> str:
    match status:
        case 407 if has_password:
            return "wrong user or password (407)"
        case 407:
            return "it wants a user and a password: write http://user:password@host in via= (407)"
        case 403:
            return "its rules do not allow this target (403)"
        case 400 | 405 | 501:
            return f"it does not do CONNECT ({status})"
        case 502 | 503 | 504:
            return f"it cannot {reach} ({status})"
        case 500:  # squid's for some names that it cannot look up, and anybody's for anything
            return f"it failed (500); perhaps it cannot {reach}"
    return f"it answered with the status {status}"


def _gibberish(expected: str, got: bytes) -> Refused:
    """What came is not what such a proxy says. Only its beginning is shown, escaped."""
    return Refused(f"it does not speak {expected}: {got[:20]!r}")

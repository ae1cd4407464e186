"""Listening: what listens as an endpoint says, and the loop that accepts from them on every kind of event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from trews.endpoint import Endpoint
from trews.errors import EndpointError, ListenError, sentence
from trews.transport.binding import BACKLOG, SocketFile, addresses_of, bind_all, bind_unix, share_port
from trews.transport.interface import interface_of, keep_to, with_scope

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from trews.transport.certificates import ServerContext
    from trews.transport.inherited import OneConnection
    from trews.transport.memory import MemoryListener
    from trews.transport.proxied import Arrivals

    AnyListener: TypeAlias = "Listener | MemoryListener | OneConnection"

logger = logging.getLogger("trews")

ACCEPTS_A_TURN = 100
RETRY_FIRST, RETRY_LAST = 0.010, 1.0  # seconds between attempts while out of descriptors or memory
QUIET = 60.0  # seconds between two lines about that in the log

_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FOR_CLIENTS = ("via", "source", "timeout")
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))


class Listener:
    """One listening socket. Connections wait in the kernel until `start`.

    Args:
        owns_file: of a Unix socket: its file is removed with it.

    Attributes:
        endpoint: as it was bound, with the port that was chosen for 0.
    """

    is_used_up = False  # there may always be one connection more

    def __init__(self, sock: socket.socket, endpoint: Endpoint, owns_file: bool = True) -> None:
        self.endpoint = endpoint
        self.tls: ServerContext | None = None  # of a tls: endpoint: its certificates
        self._sock = sock
        self._file = SocketFile(endpoint.path) if endpoint.kind == "unix" and owns_file else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accept: Callable[..., None]
        self._has_room: Callable[[], bool]
        self._arrivals: Arrivals | None = None
        self._is_accepting = False
        self._is_paused = False
        self._is_proactor = False
        self._accept_task: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_after = RETRY_FIRST
        self._quiet_until = 0.0

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[..., None],
        has_room: Callable[[], bool],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Take connections from now on: `accept(socket, address)` for each, while `has_room()`.

        With `proxy_protocol=` it is `accept(socket, source, destination)`, as the header says, and `refused()` for
        each that was closed because it sent none.

        Raises:
            ListenError: headers cannot be read on this loop.
        """
        self._is_proactor = isinstance(loop, getattr(asyncio, "ProactorEventLoop", ()))
        if self.endpoint.get("proxy_protocol"):
            from trews.transport.proxied import Arrivals  # here because few need it

            if self._is_proactor:
                raise ListenError(f"cannot listen on {self.endpoint}: proxy_protocol= needs a loop with add_reader")
            self._arrivals = Arrivals(loop, self.endpoint, accept, refused)
            accept = self._arrivals.add
        self._loop, self._accept, self._has_room = loop, accept, has_room
        if self.tls is not None:
            self.tls.start(loop)
        self._watch(True)

    @property
    def arriving(self) -> int:
        """How many sockets were taken whose PROXY header is not complete."""
        return self._arrivals.count if self._arrivals is not None else 0

    def pause(self) -> None:
        """Leave new connections to the kernel until `resume()`."""
        self._is_paused = True
        self._watch(False)

    def resume(self) -> None:
        """Go on taking connections."""
        self._is_paused = False
        if self._retry is None:
            self._watch(True)

    def take_all(self) -> None:
        """Take what waits in the kernel's queue; for a server that is about to close this listener."""
        if self._loop is None:
            return
        if self._arrivals is not None:
            self._arrivals.take_all()
        for _ in range(self.endpoint.get("backlog") or BACKLOG):  # not for ever: more may come all the time
            if not (self._has_room() and self._take()):
                return

    def close(self) -> None:
        """Stop listening; a Unix socket's file is removed if it is still this one's."""
        self._watch(False)
        if self._arrivals is not None:
            self._arrivals.close()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.tls is not None:
            self.tls.close()
        self._sock.close()
        if self._file is not None:
            self._file.remove()

    def _watch(self, wanted: bool) -> None:
        if self._loop is None or wanted is self._is_accepting:
            return
        self._is_accepting = wanted
        if self._is_proactor:
            self._accept_by_task(self._loop, wanted)
        elif wanted:
            self._loop.add_reader(self._sock.fileno(), self._on_readable)
        else:
            self._loop.remove_reader(self._sock.fileno())

    def _accept_by_task(self, loop: asyncio.AbstractEventLoop, wanted: bool) -> None:
        """On Windows' Proactor loop, which knows no readiness. (Run in tests on other loops, not on Windows.)"""
        if wanted:
            self._accept_task = loop.create_task(self._accept_forever(loop))
        elif self._accept_task is not None:
            if self._accept_task is not asyncio.current_task(loop):
                self._accept_task.cancel()
            self._accept_task = None

    async def _accept_forever(self, loop: asyncio.AbstractEventLoop) -> None:
        task = self._accept_task
        while self._accept_task is task and self._has_room():
            try:
                sock, address = await loop.sock_accept(self._sock)
            except OSError as exc:
                if not self._survives(exc):
                    return
            else:
                self._take_in(sock, address)

    def _on_readable(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._is_paused or not self._has_room() or not self._take():
                return

    def _take(self) -> bool:
        """Accept one connection. False if there is none, or none can be had now."""
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            return self._survives(exc)
        self._take_in(sock, address)
        return True

    def _survives(self, exc: OSError) -> bool:
        """Whether accepting may go on at once after an error."""
        if exc.errno in _OUT_OF:
            self._back_off(exc)
            return False
        if exc.errno in (errno.EBADF, errno.EINVAL):
            return False  # closed by one of the callbacks
        if exc.errno != errno.ECONNABORTED:  # it hung up while it waited
            # Linux passes on network errors that are already pending on the new socket (accept(2)).
            logger.info("a connection to %s was lost before it was accepted: %s", self.endpoint, sentence(exc))
        return True

    def _take_in(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        self._retry_after = RETRY_FIRST
        self._accept(sock, address)

    def _back_off(self, exc: OSError) -> None:
        if self._loop is None:
            return
        now = self._loop.time()
        if now >= self._quiet_until:  # clients that come and go at the limit must not fill the log
            self._quiet_until = now + QUIET
            logger.error("%s cannot accept for now: %s", self.endpoint, sentence(exc))
        self._watch(False)
        if self._retry is None:
            self._retry = self._loop.call_later(self._retry_after, self._try_again)
        self._retry_after = min(self._retry_after * 2, RETRY_LAST)

    def _try_again(self) -> None:
        self._retry = None
        if not self._is_paused:
            self._watch(True)
            if not self._is_proactor:
                self._on_readable()


def bind(endpoint: Endpoint, tls_context: ssl.SSLContext | None = None) -> Sequence[AnyListener]:
    """Listen where the endpoint says: one listener, or one each for IPv4 and IPv6.

    Args:
        tls_context: what a tls: endpoint that names no certificate uses.

    Raises:
        ListenError: it cannot be listened on, in one sentence.
        EndpointError: the endpoint makes no sense for listening.
    """
    for option in _FOR_CLIENTS:
        if endpoint.get(option) is not None:
            raise EndpointError(f"{endpoint.shown}: {option}= is for clients")
    if endpoint.kind == "tcp":
        return _bind_tcp(endpoint)
    if endpoint.kind == "tls":
        return _bind_tls(endpoint, tls_context)
    if endpoint.kind == "unix":
        return [Listener(bind_unix(endpoint), endpoint)]
    if endpoint.kind == "memory":
        from trews.transport.memory import MemoryListener  # here, for few need it

        return [MemoryListener(endpoint)]
    if endpoint.kind in ("stdio", "fd"):
        from trews.transport.inherited import listener_of  # here because it needs Listener

        shown = endpoint.shown.removesuffix(":")
        return [listener_of(endpoint, lambda why: ListenError(f"cannot listen on {shown}: {why}"))]
    if endpoint.kind == "systemd":
        from trews.transport.systemd import listeners_of  # here because it needs Listener

        return listeners_of(endpoint)
    if endpoint.kind == "exec":
        raise EndpointError(f"{endpoint.shown}: a server cannot listen on exec: endpoints, which are for clients")
    raise EndpointError(f"{endpoint.shown}: this version cannot listen on {endpoint.kind}: endpoints")


def _bind_tls(endpoint: Endpoint, tls_context: ssl.SSLContext | None) -> list[Listener]:
    from trews.transport.certificates import ServerContext  # here because it imports ssl, which costs 5 ms

    tls = ServerContext(endpoint) if tls_context is None or endpoint.get("cert") else None
    listeners = _bind_tcp(endpoint)
    for listener in listeners:
        listener.tls = tls
    return listeners


def _bind_tcp(endpoint: Endpoint) -> list[Listener]:
    def bind_one(family: int, address: Any) -> socket.socket:
        return _listen_tcp(family, address, endpoint)

    sockets = bind_all(endpoint, addresses_of(endpoint), bind_one)
    bound = endpoint.with_port(sockets[0].getsockname()[1])
    return [Listener(sock, bound) for sock in sockets]


def _listen_tcp(family: int, address: Any, endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if sys.platform != "win32":  # there it would let two programs share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.get("reuse_port"):
            share_port(sock)
        if family == socket.AF_INET6:
            # "tcp:[::]:80?ipv6only=no" is one socket for both; all interfaces otherwise are two.
            is_both = address[0] == "::" and endpoint.host and endpoint.get("ipv6only") is False
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_both)
        interface = interface_of(endpoint)
        if interface is not None:
            keep_to(sock, interface)
        address = with_scope(address, interface) if family == socket.AF_INET6 else address
        # Accepted sockets inherit these.
        set_stream_options(sock, endpoint)
        sock.bind(address)
        sock.listen(endpoint.get("backlog") or BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def set_stream_options(sock: socket.socket, endpoint: Endpoint) -> None:
    """No delay for small writes, keep-alive that finds a dead peer in two minutes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    user_timeout = endpoint.get("tcp_user_timeout")
    if user_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout * 1000))

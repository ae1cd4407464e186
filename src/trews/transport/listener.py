"""Listening: sockets bound as an endpoint says, and the loop that accepts from them on every kind of event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any

from trews.addresses import literal, unknown
from trews.endpoint import Endpoint
from trews.errors import EndpointError, ListenError, sentence
from trews.transport.interface import interface_of, keep_to, with_scope
from trews.transport.memory import MemoryListener

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from trews.transport.certificates import ServerContext
    from trews.transport.inherited import OneConnection
    from trews.transport.proxied import Arrivals

    AnyListener: TypeAlias = "Listener | MemoryListener | OneConnection"

logger = logging.getLogger("trews")

BACKLOG = 4096  # the kernel takes less if net.core.somaxconn is less
ACCEPTS_A_TURN = 100
RETRY_FIRST, RETRY_LAST = 0.010, 1.0  # seconds between attempts while out of descriptors or memory
QUIET = 60.0  # seconds between two lines about that in the log
PAIR_ATTEMPTS = 20  # for one free port on IPv4 and IPv6

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
        self._file = os.path.abspath(endpoint.path)  # the process may change its directory
        self._inode = _inode(endpoint.path) if endpoint.kind == "unix" and owns_file else None
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
        if self._inode is not None and self._inode == _inode(self._file):
            try:
                os.unlink(self._file)
            except OSError as exc:  # privileges were dropped since
                logger.warning("cannot remove the socket file of %s: %s", self.endpoint, sentence(exc))
        self._inode = None

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
        return [_bind_unix(endpoint)]
    if endpoint.kind == "memory":
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
    addresses = _allowed(_resolve(endpoint), endpoint)
    for attempt in range(PAIR_ATTEMPTS):
        listeners: list[Listener] = []
        port = addresses[0][1][1]
        try:
            for family, address in addresses:
                sock = _listen_tcp(family, (address[0], port, *address[2:]), endpoint)
                port = sock.getsockname()[1]
                listeners.append(Listener(sock, endpoint.with_port(port)))
        except OSError as exc:
            for listener in listeners:
                listener.close()
            # A port that was free on IPv4 need not be on IPv6: take another.
            is_unlucky = exc.errno == errno.EADDRINUSE and addresses[0][1][1] == 0 and listeners
            if is_unlucky and attempt + 1 < PAIR_ATTEMPTS:
                continue
            raise _cannot_listen(endpoint, exc) from None
        return listeners
    raise ListenError(f"cannot listen on {endpoint.shown}: no port is free on both IPv4 and IPv6")


def _resolve(endpoint: Endpoint) -> list[tuple[int, Any]]:
    """The addresses to bind, all interfaces as IPv4 and, if the machine has it, IPv6."""
    port = endpoint.port if endpoint.port is not None else 0
    try:
        address = literal(endpoint.host, port) if isinstance(port, int) else None
        if address is not None:
            return [(socket.AF_INET if len(address) == 2 else socket.AF_INET6, address)]
        if endpoint.host:
            found = socket.getaddrinfo(endpoint.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            return _usable([(family, address) for family, _, _, _, address in found])
        number = socket.getaddrinfo(None, port, type=socket.SOCK_STREAM)[0][4][1]
    except (socket.gaierror, UnicodeError) as exc:
        raise ListenError(f"cannot listen on {endpoint.shown}: {unknown(endpoint.host, port, exc)}") from None
    except OSError as exc:  # an interface that is not there, or what looking up needs
        raise ListenError(f"cannot listen on {endpoint.shown}: {sentence(exc)}") from None
    addresses: list[tuple[int, Any]] = [(socket.AF_INET, ("0.0.0.0", number))]
    if _has_ipv6():
        addresses.append((socket.AF_INET6, ("::", number, 0, 0)))
    return addresses


def _allowed(addresses: list[tuple[int, Any]], endpoint: Endpoint) -> list[tuple[int, Any]]:
    """Those that `ipv6only` leaves."""
    if not endpoint.get("ipv6only"):
        return addresses
    left = [entry for entry in addresses if entry[0] == socket.AF_INET6]
    if not left:
        what = "this machine has no IPv6" if not endpoint.host else f"{endpoint.host} has no address of IPv6"
        raise ListenError(f"cannot listen on {endpoint.shown}: ipv6only=yes, and {what}")
    return left


def _usable(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Without repetitions, and without IPv6 where the hosts file knows it and the machine does not."""
    unique = list(dict.fromkeys(addresses))
    others = [entry for entry in unique if entry[0] != socket.AF_INET6]
    return others if others and len(others) < len(unique) and not _has_ipv6() else unique


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def _listen_tcp(family: int, address: Any, endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if sys.platform != "win32":  # there it would let two programs share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.get("reuse_port"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


def _bind_unix(endpoint: Endpoint) -> Listener:
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError(f"cannot listen on {endpoint.shown}: Python has no Unix sockets on this system")
    path = endpoint.path
    is_abstract = path.startswith("@")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if is_abstract:
            sock.bind("\0" + path[1:])
        else:
            _remove_stale(endpoint)
            sock.bind(path)
            mode = endpoint.get("mode")
            if mode is not None:
                os.chmod(path, mode)  # before listen(): nobody can have connected yet
        sock.listen(endpoint.get("backlog") or BACKLOG)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError) and not isinstance(exc, ListenError):
            raise _cannot_listen(endpoint, exc) from None
        raise
    return Listener(sock, endpoint)


def _remove_stale(endpoint: Endpoint, kind: int = socket.SOCK_STREAM) -> None:
    """Remove the socket file of a server that is dead; refuse to take anything else's place."""
    path = endpoint.path
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {endpoint.shown}: there is a file of that name that is no socket")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as exc:
            if exc.errno != errno.EPROTOTYPE:  # a server of the other kind, of streams or of datagrams
                raise
    raise ListenError(f"cannot listen on {endpoint.shown}: a server is listening there already")


def _cannot_listen(endpoint: Endpoint, exc: OSError) -> ListenError:
    what = sentence(exc)
    if exc.errno == errno.EADDRINUSE and endpoint.kind == "unix":
        what = "a server is listening there already"  # on an abstract name: it has no file
    elif exc.errno == errno.EADDRINUSE:
        what = "the address is in use; choose another port, or stop what listens there"
    elif exc.errno in (errno.EACCES, errno.EPERM) and endpoint.kind in ("tcp", "tls"):
        what = "permission denied; ports below 1024 need a privilege, choose a higher one"
    elif exc.errno == errno.ENOENT:
        what = f"there is no directory {os.path.dirname(endpoint.path)!r}"
    elif "AF_UNIX path too long" in str(exc):
        what = "the path is too long for a socket (about 100 characters)"
    error = ListenError(f"cannot listen on {endpoint.shown}: {what}")
    error.errno = exc.errno
    return error


def _inode(path: str) -> tuple[int, int] | None:
    if path.startswith("@"):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

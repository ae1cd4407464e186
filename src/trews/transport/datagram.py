"""Moving datagrams: one non-blocking socket, on every kind of loop. What comes of them is `trews.datagram`.

`DatagramCore` takes several datagrams at each wake-up and keeps what the socket does not take yet, so that nothing
is lost silently on the way out. On trews' loop it is called by the poller, elsewhere by `add_reader` and `add_writer`;
a Proactor loop, which has neither, receives by a task. Errors that the network reports never end anything.
(Past 400 lines: with the addresses, which are read on the way in as they are written on the way out.)
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from trews.addresses import from_name
from trews.backends import FAILED, READ, WRITE
from trews.errors import sentence
from trews.timers import clock_of
from trews.transport.interface import interface_index

if TYPE_CHECKING:
    from trews.dispatcher import Dispatcher

RECV = 64 * 1024  # more than UDP can carry, so that nothing is cut
RECV_UNIX = 1024 * 1024  # of a Unix socket; the kernel's default for one datagram is 208 KiB
MOST_V4, MOST_V6 = 65507, 65527  # bytes of one datagram: 65535 less 8 of UDP, and 20 of IPv4
DATAGRAMS_A_TURN = 64
SECONDS_A_TURN = 0.010
OVERHEAD = 256  # bytes that a queued datagram counts beside its own: an empty one takes memory, too
RETRY = 0.002  # seconds until the next attempt where no event tells that there is room
UNIX_PATIENCE = 1.0  # seconds that a Unix peer may leave its queue full
UNIX_OWED = 128 * 1024  # bytes that may wait for one of them, OVERHEAD included
ERRORS_IN_A_ROW = 16  # of receiving; then it pauses
PAUSE = 0.1  # seconds

_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM})
# What an earlier datagram met on its way, told by the next call on a connected socket.
_BY_ICMP = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET, errno.ENOPROTOOPT, errno.EPROTO}
)
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2: an IPv4 address in IPv6


class Owner(Protocol):
    """Whose datagrams are moved."""

    def _took(self, data: bytes, address: Any) -> None:
        """One has come; `address` is that of its sender."""

    def _core_failed(self, exc: OSError) -> None:
        """Sending or receiving one failed. Nothing has ended."""

    def _core_sent(self) -> None:
        """Less is waiting."""

    def _abandoned(self) -> None:
        """The loop is being closed."""


class DatagramCore:
    """Moves the datagrams of one socket. Everything here runs on the loop's thread.

    Args:
        sock: bound or connected, and non-blocking; it is this one's from now on.
        owner: told of everything, from the loop only; but `send` tells it of errors at once.
        is_connected: whether the kernel knows the peer.
    """

    def __init__(self, sock: socket.socket, owner: Owner, loop: asyncio.AbstractEventLoop, is_connected: bool) -> None:
        self.sock = sock
        self.family = sock.family
        self.is_connected = is_connected
        self.waiting = 0  # bytes in the queue, OVERHEAD included
        self.bytes_out = 0
        self._owner = owner
        self._loop = loop
        self._fd = sock.fileno()
        self._now = clock_of(loop).now
        self._is_unix = self.family == getattr(socket, "AF_UNIX", None)
        self._size = RECV_UNIX if self._is_unix else RECV
        self._most = MOST_V4 if self.family == socket.AF_INET else MOST_V6
        self._queue: deque[tuple[bytes, Any, float]] = deque()  # and until when it is tried
        self._owed: dict[Any, int] | None = {} if self._is_unix and not is_connected else None  # bytes by address
        self._retry: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._errors = 0
        self._wanted = False  # by the owner
        self._mask = 0
        self._is_closed = False
        # To be told if the loop is closed before; our loop's poller, None elsewhere.
        attach = getattr(loop, "attach_datagrams", None)
        self._poller: Dispatcher | None = attach(self) if attach is not None else None
        self._is_proactor = isinstance(loop, getattr(asyncio, "ProactorEventLoop", ()))
        self._task: asyncio.Task[None] | None = None

    # -- what to wait for

    def read(self, wanted: bool) -> None:
        """Take datagrams from the kernel, or leave them there until it drops some."""
        self._wanted = wanted
        self._watch()

    def _watch(self) -> None:
        mask = READ if self._wanted and self._pause is None and not self._is_closed else 0
        if self._queue and self._retry is None and not self._is_closed:
            mask |= WRITE
        changed = mask ^ self._mask
        if not changed:
            return
        self._mask = mask
        if self._poller is not None:
            self._poller.watch(self._fd, self, mask)
        elif self._is_proactor:
            self._watch_by_task()
        else:
            self._watch_by_loop(changed)

    def _watch_by_loop(self, changed: int) -> None:
        if changed & READ:
            if self._mask & READ:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)
        if changed & WRITE:
            if self._mask & WRITE:
                self._loop.add_writer(self._fd, self._flush)
            else:
                self._loop.remove_writer(self._fd)

    def _register_anew_soon(self) -> None:
        """After an error. libuv gives up a descriptor that has one, once its reader and writer were called."""
        if self._poller is None and not self._is_proactor:
            self._loop.call_soon(self._register_anew)

    def _register_anew(self) -> None:
        if self._mask:
            changed, self._mask = self._mask, 0
            self._watch_by_loop(changed)
            self._watch()

    def _watch_by_task(self) -> None:
        """On Windows' Proactor loop, which knows no readiness. (Run in tests on other loops, not on Windows.)"""
        if self._mask & WRITE:
            self._mask &= ~WRITE
            self._try_again_later()
        if self._mask & READ and self._task is None:
            self._task = self._loop.create_task(self._receive_forever())
        elif not self._mask & READ and self._task is not None:
            if self._task is not asyncio.current_task(self._loop):
                self._task.cancel()
            self._task = None

    async def _receive_forever(self) -> None:
        task = self._task
        while self._task is task:
            try:
                data, address = await self._loop.sock_recvfrom(self.sock, self._size)
            except OSError as exc:
                self._receiving_failed(exc)
            else:
                self._took(data, address)

    def on_event(self, mask: int) -> None:
        """The poller has something."""
        wanted = self._mask
        if wanted & READ and mask & (READ | FAILED):
            self._readable()
        if wanted & WRITE and mask & (WRITE | FAILED):
            self._flush()

    # -- receiving

    def _readable(self) -> None:
        end = self._now() + SECONDS_A_TURN
        for count in range(DATAGRAMS_A_TURN):
            try:
                data, address = self.sock.recvfrom(self._size)
            except (BlockingIOError, InterruptedError):
                if not count:
                    self._register_anew_soon()
                return
            except OSError as exc:
                self._register_anew_soon()
                self._receiving_failed(exc)
                return
            self._took(data, address)
            if not self._mask & READ or self._now() >= end:
                return

    def _took(self, data: bytes, address: Any) -> None:
        self._errors = 0
        if len(data) == self._size:
            self._owner._core_failed(OSError(errno.EMSGSIZE, f"a datagram of {self._size} bytes or more is dropped"))
            return
        self._owner._took(data, address if self.family == socket.AF_INET else address_of(address))

    def _receiving_failed(self, exc: OSError) -> None:
        if self._is_closed:
            return
        self._errors += 1
        if self._errors >= ERRORS_IN_A_ROW:  # one that stays must not keep the loop busy
            self._pause = self._loop.call_later(PAUSE, self._end_pause)
            self._watch()
        self._owner._core_failed(_explained(exc, "receive"))

    def _end_pause(self) -> None:
        self._pause = None
        self._errors = 0
        self._watch()

    # -- sending

    def send(self, data: bytes, address: Any) -> None:
        """Send a datagram now, or as soon as the socket has room.

        Args:
            address: as the socket takes it; None on a connected one.

        Raises:
            OSError: EMSGSIZE: it is too large; ENOBUFS: this one Unix peer has too much waiting already.
        """
        if len(data) > self._most and not self._is_unix:
            raise self._too_large(data)
        if self._owed and address in self._owed:
            if self._owed[address] > UNIX_OWED:
                raise OSError(errno.ENOBUFS, f"{address_of(address)!r} takes nothing, and its queue is full")
            self._enqueue(data, address)
        elif (self._queue and self._owed is None) or not self._send_now(data, address):
            self._enqueue(data, address)

    def _enqueue(self, data: bytes, address: Any) -> None:
        self._queue.append((data, address, self._now() + UNIX_PATIENCE))
        self.waiting += len(data) + OVERHEAD
        if self._owed is not None:
            self._owed[address] = self._owed.get(address, 0) + len(data) + OVERHEAD
        self._watch()

    def _send_now(self, data: bytes, address: Any) -> bool:
        """Whether it is done with: sent, or refused for good, which the owner is told."""
        is_told = False
        for _ in range(3):
            try:
                if address is None:
                    self.sock.send(data)
                else:
                    self.sock.sendto(data, address)
            except (BlockingIOError, InterruptedError):
                if self._owed is not None:  # its peer has no room, which no event of ours tells
                    self._try_again_later()
                return False
            except OSError as exc:
                if exc.errno in _NO_ROOM:
                    self._try_again_later()
                    return False
                if exc.errno == errno.EMSGSIZE:
                    raise self._too_large(data) from None
                if exc.errno == errno.EACCES and self._allow_broadcast():
                    continue
                if not is_told:
                    self._owner._core_failed(_explained(exc, "send", address))
                if is_told or not self.is_connected or exc.errno not in _BY_ICMP:
                    return True
                is_told = True  # of an earlier one; this one has not been sent yet
            else:
                self.bytes_out += len(data)
                return True
        return True

    def _allow_broadcast(self) -> bool:
        """The kernel asks that broadcasts are meant; True if it had not been told yet."""
        if self.family != socket.AF_INET or self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST):
            return False
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return True

    def _too_large(self, data: bytes) -> OSError:
        if self._is_unix:
            most = f"the system takes less than {self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)} here"
        elif len(data) > self._most:
            most = f"at most {self._most} can be sent"
        else:
            most = "it does not fit into a packet on the way there"
        return OSError(errno.EMSGSIZE, f"a datagram of {len(data)} bytes is too large: {most}")

    def _try_again_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._flush()

    def _flush(self) -> None:
        before = self.waiting
        if self._owed is not None:
            self._flush_to_many()
        else:
            for _ in range(min(DATAGRAMS_A_TURN, len(self._queue))):
                if not self._is_done(*self._queue[0][:2]):
                    break
                self._forget(self._queue.popleft())
        if not self._is_closed:
            self._watch()
            if self.waiting == before:
                self._register_anew_soon()
            self._owner._core_sent()

    def _flush_to_many(self) -> None:
        """On a Unix socket each peer has a queue of its own: one that is full must not hold back the others."""
        full = set()
        now = self._now()
        for _ in range(len(self._queue)):
            entry = self._queue.popleft()
            data, address, until = entry
            if address in full:
                self._queue.append(entry)
            elif self._is_done(data, address):
                self._forget(entry)
            elif now < until:
                full.add(address)
                self._queue.append(entry)
            else:
                self._forget(entry)
                error = OSError(errno.ENOBUFS, "it takes nothing, and its queue is full")
                self._owner._core_failed(_explained(error, "send", address))

    def _is_done(self, data: bytes, address: Any) -> bool:
        try:
            return self._send_now(data, address)
        except OSError as exc:
            self._owner._core_failed(exc)
            return True

    def _forget(self, entry: tuple[bytes, Any, float]) -> None:
        size = len(entry[0]) + OVERHEAD
        self.waiting -= size
        if self._owed is not None:
            self._owed[entry[1]] -= size
            if not self._owed[entry[1]]:
                del self._owed[entry[1]]

    # -- the end

    def close(self) -> None:
        """End now; what waits is dropped."""
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.clear()
        self.waiting = 0
        self._watch()
        for timer in (self._retry, self._pause):
            if timer is not None:
                timer.cancel()
        self.sock.close()

    def is_closing(self) -> bool:
        """Whether it has ended; for a loop that is closed."""
        return self._is_closed

    def abort(self) -> None:
        """The loop is closed: have the owner end."""
        self._owner._abandoned()


def address_of(name: Any) -> Any:
    """Who sent it: `(host, port)`, the scope within the host; or a path; None for a Unix socket without a name."""
    if isinstance(name, tuple):
        return from_name(name)
    if isinstance(name, bytes):
        return "@" + os.fsdecode(name[1:])
    if not name:
        return None
    return f"./{name}" if name.startswith("@") else name


def sockaddr(address: Any) -> tuple[int, Any]:
    """The family of an address, and the address as sockets take it. Nothing is looked up.

    Args:
        address: `(host, port)` with an IP address or `"<broadcast>"`, or a socket's own tuple of 4; a path.

    Raises:
        TypeError: it is neither.
        ValueError: the host is a name, the port is none, or there is no such interface.
    """
    if isinstance(address, str | os.PathLike):
        path = os.fspath(address)
        if not isinstance(path, str) or not path or not hasattr(socket, "AF_UNIX"):
            raise ValueError(f"{address!r} is not an address here")
        return socket.AF_UNIX, b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path
    if not isinstance(address, tuple) or len(address) not in (2, 4):
        raise TypeError(f"an address is (host, port) or the path of a Unix socket, not {address!r}")
    host, port = address[:2]
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"an address is (host, port), text and a number, not {address!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return _sockaddr_v6(host, port, address[3] if len(address) == 4 else 0)
    return socket.AF_INET, (host, port)


def _sockaddr_v6(host: str, port: int, scope: int) -> tuple[int, Any]:
    if host == "<broadcast>":
        return socket.AF_INET, ("255.255.255.255", port)
    name, _, zone = host.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6, name)
    except (OSError, ValueError):
        raise ValueError(f"{host!r} is not an IP address; look names up before, with trews.Resolver") from None
    if packed.startswith(_MAPPED):
        return socket.AF_INET, (socket.inet_ntop(socket.AF_INET, packed[12:]), port)
    return socket.AF_INET6, (name, port, 0, interface_index(zone) if zone else scope)


def _explained(exc: OSError, what: str, address: Any = None) -> OSError:
    """The error of the system in words, with the same number and so the same class."""
    to = f" to {address_of(address)!r}" if address is not None else ""
    error = OSError(exc.errno, f"cannot {what}{to}: {sentence(exc)}")
    error.__cause__ = exc
    return error

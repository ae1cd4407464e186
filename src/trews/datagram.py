"""Datagram: a socket that sends and receives datagrams, as callbacks, as coroutines, or both.

It is used as a Connection is, and differs in what datagrams are: each comes whole and with its sender's address,
there is no end of file, and nothing that a peer or the network does ends it. What happens when is decided in
`datagram_lifecycle`, how they are moved is in `transport.datagram`, how one comes to be in `datagram_open`.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, Self

from trews.addresses import is_group, shown
from trews.connection import Sent
from trews.datagram_lifecycle import DatagramLife
from trews.errors import Aborted, BusyError, ClosedLocally, ConnectionClosed, TimedOut
from trews.names import check_names, private_names
from trews.phase import Phase
from trews.settings import CALLBACKS, DATAGRAM_CALLBACKS, DATAGRAM_DEFAULTS, DEFAULTS, KIB, check_class, check_wait
from trews.transport import multicast
from trews.transport.core import as_bytes
from trews.transport.datagram import OVERHEAD, DatagramCore, sockaddr

if TYPE_CHECKING:
    from collections.abc import Coroutine

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase

_UNYIELDED = 64 * KIB  # bytes that may go out at once before `drain` lets the others run

# What other classes call it, and what it is here.
_ELSEWHERE = {
    "on_connect": "on_open",
    "connection_made": "on_open",
    "datagram_received": "on_read",
    "error_received": "on_error",
    "connection_lost": "on_close",
}


class Datagram(DatagramLife):
    """Datagrams of one endpoint: of UDP, or a Unix socket. Subclass it and override the callbacks, or await `read`.

    Settings are the class attributes below; a subclass overrides them, and `Server`, `serve` and `connect` take them
    as keywords. Callbacks are plain or `async`, and never overlap.

    Attributes:
        server: the `Server` that listens with it; None for a client.
        local_address, remote_address: `(host, port)`, or the path of a Unix socket.
        bytes_in, bytes_out: so far; payload only.
    """

    read_high: int = DATAGRAM_DEFAULTS["read_high"]
    write_high: int = DATAGRAM_DEFAULTS["write_high"]
    write_low: int = DATAGRAM_DEFAULTS["write_low"]
    write_limit: int = DATAGRAM_DEFAULTS["write_limit"]
    close_timeout: float | None = DATAGRAM_DEFAULTS["close_timeout"]
    multicast_interface: str | None = DATAGRAM_DEFAULTS["multicast_interface"]
    multicast_ttl: int | None = DATAGRAM_DEFAULTS["multicast_ttl"]
    multicast_loopback: bool | None = DATAGRAM_DEFAULTS["multicast_loopback"]

    _unyielded: int  # bytes sent when drain() last let the others run

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name in _ELSEWHERE:
                raise TypeError(f"{cls.__name__}.{name} would never be called; a Datagram has {_ELSEWHERE[name]}")
            if name in _OF_CONNECTIONS:
                raise TypeError(f"{cls.__name__}.{name} is for a Connection; a Datagram has no such thing")
        check_names(cls, Datagram, _private)
        check_class(cls, DATAGRAM_CALLBACKS, DATAGRAM_DEFAULTS)
        cls._overrides_read = cls.on_read is not Datagram.on_read

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: a subclass that forgets super().__init__() does no harm.
        self = super().__new__(cls)
        self._unyielded = 0
        self._prepare()
        return self

    # -- callbacks, to be overridden

    def on_open(self) -> Any:
        """It can send and receive."""

    def on_read(self, data: bytes, address: Any, /) -> Any:
        """A datagram has come from `address`. (Without this, datagrams wait for `read()`.)"""

    def on_error(self, exc: BaseException, /) -> Any:
        """A callback or spawned task raised `exc`, or it is an OSError of the network. Nothing ends by it.

        The default logs: what code raised, one a second at most; what the network said, for debugging only.
        """
        self._log(exc)

    def on_close(self, reason: ConnectionClosed, /) -> Any:
        """It has ended, by this program's wish. Called exactly once for each `on_open`."""

    def on_stop(self) -> Any:
        """The server is stopping. An async one may take as long as the grace.

        The default receives no more and closes, once a running async callback has returned and what has come is
        handed out. A `read()` of theirs ends there.
        """
        self._close_when_done()

    # -- what is known

    @property
    def server(self) -> Any:
        """The server that listens with it, None for a client."""
        return self._server

    @property
    def local_address(self) -> Any:
        """This end's `(host, port)`, or the path of a Unix socket. Of two sockets, IPv4's."""
        return self._local_address

    @property
    def remote_address(self) -> Any:
        """Where `write(data)` goes: the peer, or the group of the endpoint; None if there is no such thing."""
        return self._remote_address

    @property
    def bytes_in(self) -> int:
        """Bytes received so far."""
        return self._bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes handed to the operating system so far."""
        return sum(core.bytes_out for core in self._cores)

    @property
    def is_open(self) -> bool:
        """Whether datagrams can be sent and received."""
        return self._phase is _OPEN

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more: closing counts."""
        return self._phase > _OPEN

    @property
    def reason(self) -> ConnectionClosed | None:
        """Why it ended, None while it has not."""
        return self._reason

    def __repr__(self) -> str:
        state = self._phase.name.lower()
        if self._reason is not None:
            state += f" ({type(self._reason).__name__})"
        where = f"{shown(self._local_address)} " if self._phase else ""
        if self._remote_address is not None:
            where += f"- {shown(self._remote_address)} "
        return f"<{type(self).__name__} {where}{state} in={self.bytes_in} out={self.bytes_out}>"

    # -- sending

    def write(self, data: Any, address: Any = None) -> None:
        """Send one datagram. Never blocks; what the system does not take at once waits.

        What the network makes of it is told to `on_error`, if at all: datagrams get lost.

        Args:
            data: bytes, bytearray or memoryview: 65,507 bytes at most on IPv4. It may be changed afterwards.
            address: whom to: as `on_read` got it, `(host, port)` with an IP address or `"<broadcast>"`, a path. None
                is the peer, if there is one.

        Raises:
            TypeError, ValueError: `data` is not bytes-like, or that is no address for this.
            OSError: EMSGSIZE: it is too large. ENOBUFS: `write_limit` bytes are waiting; await `drain()`.
            ClosedLocally, Aborted: after the end.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._phase is not _OPEN:
            self._require_open()
            raise self._closed()
        core, target = self._target(address)
        if core.waiting and self._waiting + len(data) > self.write_limit:
            raise OSError(errno.ENOBUFS, f"write_limit is reached, {self._waiting} bytes wait: await drain()")
        core.send(data, target)

    def send(self, data: Any, address: Any = None) -> Sent:
        """`write`; await what it returns to wait until the system keeps up (`drain`)."""
        self.write(data, address)
        return Sent(self)

    def _target(self, address: Any) -> tuple[DatagramCore, Any]:
        """The socket that sends to an address, and how it takes that."""
        first, bound = self._cores[0], self._bound
        if bound is None:
            raise self._closed()
        if address is None:
            if bound.peer is None:
                raise ValueError(
                    "write(data, address): this has no peer of its own, and None is nobody: say whom to send to"
                )
            return first, None if bound.is_connected else bound.peer
        if bound.is_connected:
            if address != self._remote_address:
                raise ValueError(f"it is connected to {shown(self._remote_address)}, and sends to nobody else")
            return first, None
        family, target = sockaddr(address)
        return self._core_of(family, address), target

    def _core_of(self, family: int, address: Any) -> DatagramCore:
        for core in self._cores:
            if core.family == family:
                return core
        raise ValueError(f"{shown(address)} is of another kind than {shown(self._local_address)}, and out of reach")

    async def drain(self) -> None:
        """Wait until no more than `write_low` bytes wait, if more than `write_high` do.

        Raises:
            ClosedLocally, Aborted: the reason, if it has ended.
        """
        self._require_open()
        if self._waiting > self.write_high:
            while self._waiting > self.write_low and self._phase <= _FLUSHING:
                await self._wait_in("_drainers")
        if self._phase > _FLUSHING:
            raise self._closed()
        sent = self.bytes_out
        if sent - self._unyielded > _UNYIELDED:  # a network that takes everything must not keep the others waiting
            self._unyielded = sent
            await asyncio.sleep(0)

    # -- receiving

    async def read(self, *, timeout: float | None = None) -> tuple[bytes, Any]:
        """Wait for the next datagram.

        Args:
            timeout: seconds to wait at most.

        Returns:
            `(data, address)`: the bytes, none for an empty datagram, and who sent it.

        Raises:
            OSError: what the network reported since, on one that is connected: ConnectionRefusedError, and others.
                It is open all the same.
            TimedOut: `timeout` ran out.
            ClosedLocally, Aborted: it has ended, or its server is stopping.
            BusyError: another `read()` is waiting.
            ValueError: `timeout` is negative.
        """
        self._require_open()
        if timeout is not None:
            check_wait(timeout)
        if self._reader is not None:
            raise BusyError(f"another read() is waiting on {self!r}; it has one reader at a time")
        try:
            async with asyncio.timeout(timeout) as deadline:
                while True:
                    if self._inbox and self._phase is _OPEN:
                        data, address = self._inbox.popleft()
                        self._inbox_size -= len(data) + OVERHEAD
                        return data, address
                    if self._read_error is not None:
                        error, self._read_error = self._read_error, None
                        raise error
                    if self._phase is not _OPEN:
                        raise self._closed()
                    if self._is_stopping:
                        raise self._closed(ClosedLocally("the server is stopping"))
                    self._reader = self._loop.create_future()
                    self._regulate()
                    await self._reader
                    self._reader = None
        except TimeoutError as exc:
            if deadline.expired():
                raise TimedOut(f"no datagram came within {timeout:g} s") from None
            raise exc
        finally:
            self._reader = None
            if self._phase is _OPEN:
                self._regulate()
                if self._inbox or self._is_stopping:
                    self._pump_soon()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, Any]:
        try:
            return await self.read()
        except ConnectionClosed as exc:
            if exc.is_clean:
                raise StopAsyncIteration from None
            raise

    # -- groups

    def join(self, group: str, interface: str | None = None, source: str | None = None) -> None:
        """Receive what is sent to a multicast group, on this one's port.

        Args:
            group: its IP address.
            interface: the network interface: its name; for IPv4 one of its addresses, too. By default the endpoint's,
                or `multicast_interface`, or what the system chooses.
            source: from this address only.

        Raises:
            ListenError: it cannot be joined: no interface can do multicast, or it is joined already.
            ValueError: that is no group, interface or source.
        """
        core, interface = self._for_group(group, interface)
        multicast.join(core.sock, group, interface, source)

    def leave(self, group: str, interface: str | None = None, source: str | None = None) -> None:
        """End a `join` with the same arguments.

        Raises:
            ListenError: it was not joined.
            ValueError: as `join`.
        """
        core, interface = self._for_group(group, interface)
        multicast.leave(core.sock, group, interface, source)

    def _for_group(self, group: str, interface: str | None) -> tuple[DatagramCore, str | None]:
        if self._phase is not _OPEN or self._bound is None:
            self._require_open()
            raise self._closed()
        if not is_group(group):
            raise ValueError(
                f"{group!r} is not a multicast group: those are 224.0.0.0 to 239.255.255.255, and ff00::/8"
            )
        family, _ = sockaddr((group, 0))
        return self._core_of(family, (group, 0)), interface or self._bound.interface or self.multicast_interface

    # -- ends

    def close(self) -> None:
        """Send what is waiting, and end."""
        self._require_open()
        self._shut(ClosedLocally())

    def abort(self) -> None:
        """End now: what is waiting is dropped, running callbacks are cancelled."""
        self._require_open()
        self._drop(Aborted())

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task that is cancelled at the end of this. Its error is told to `on_error`."""
        if self._phase not in (_OPEN, _FLUSHING):
            coroutine.close()
            self._require_open()
            raise self._closed()
        return self._spawn(coroutine)

    async def wait_closed(self) -> None:
        """Wait until it has ended and `on_close` has returned; in its own callbacks, until it is down."""
        self._require_open()
        task = asyncio.current_task()
        is_own = self._is_starting or task is self._task or task in self._spawned
        while not (self._phase > _FLUSHING if is_own else self._is_ended):
            await self._wait_in("_down_waiters" if is_own else "_end_waiters")


_OF_CONNECTIONS = ({*CALLBACKS, *DEFAULTS} - {*DATAGRAM_CALLBACKS, *DATAGRAM_DEFAULTS}) | {"eof_received"}
_private: frozenset[str] = frozenset()
_private = private_names(Datagram())

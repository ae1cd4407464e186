"""Clients: `connect` makes one connection, a `Client` keeps one.

This is what users call and subclass. How a connection is kept is decided in `keeper`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from trews.connection import Connection, Sent
from trews.endpoint import Endpoint, check_call
from trews.errors import ConnectionClosed, EndpointError, Error
from trews.handler import connection_class, is_datagram
from trews.keeper import C, Keeper, State, done, gone, open_connection
from trews.names import check_names, private_names
from trews.settings import (
    CLIENT_CALLBACKS,
    DEFAULTS,
    GRACE,
    check_class,
    check_encrypts,
    check_grace,
    check_known,
    check_place,
    check_setting,
)
from trews.threads import enter
from trews.transport.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from trews.datagram import Datagram

_RIGHT = (
    "trews.connect takes where to connect to, in one piece, then the handler if there is one: "
    'trews.connect("localhost:4040", Echo)'
)
_RIGHT_CLIENT = (
    "trews.Client takes where to connect to, in one piece, then the handler if there is one: "
    'trews.Client("localhost:4040", Echo)'
)
_SETTINGS: dict[str, Any] = {"queue": None}  # a client's own
_AWAIT = "await it: conn = await trews.connect(...), or async with trews.connect(...) as conn"


D = TypeVar("D", bound="Datagram")
E = TypeVar("E", bound="Connection | Datagram")


class Connecting(Generic[E]):
    """What `connect` returns: await it for the connection, or use it as `async with`, which closes it too."""

    def __init__(self, endpoint: Any, cls: type[E], resolver: Resolver | None = None) -> None:
        self._endpoint = Endpoint.parse(endpoint)
        self._resolver = _checked(resolver)
        self._class = cls
        self._open_blocks: dict[asyncio.Task[Any] | None, list[E]] = {}

    if not TYPE_CHECKING:  # type checkers find these mistakes by themselves

        def __getattr__(self, name):
            raise AttributeError(f"no connection has been made that could have {name!r}; {_AWAIT}")

        def __enter__(self):
            raise TypeError(_AWAIT)

        def __exit__(self, *_): ...

        def __aiter__(self):
            raise TypeError(_AWAIT)

    def __await__(self) -> Generator[Any, None, E]:
        return self._connect().__await__()

    async def _connect(self) -> E:
        connection = self._class()
        if isinstance(connection, Connection):
            await open_connection(self._endpoint, connection, self._resolver)
        else:
            from trews.datagram_open import open_datagram

            await open_datagram(self._endpoint, connection, self._resolver)
        return connection

    async def __aenter__(self) -> E:
        connection = await self
        self._open_blocks.setdefault(asyncio.current_task(), []).append(connection)
        return connection

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        # One object may serve many blocks; those of one task end in reverse order.
        blocks = self._open_blocks[asyncio.current_task()]
        connection = blocks.pop()
        if not blocks:
            del self._open_blocks[asyncio.current_task()]
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            connection.abort()
        else:
            connection.close()
        await connection.wait_closed()
        if isinstance(connection, Connection):
            await gone(connection)


@overload
def connect(endpoint: Any, *, resolver: Resolver | None = None, **settings: Any) -> Connecting[Connection]: ...


@overload
def connect(endpoint: Any, handler: type[D], *, resolver: Resolver | None = None, **settings: Any) -> Connecting[D]: ...


@overload
def connect(endpoint: Any, handler: type[C], *, resolver: Resolver | None = None, **settings: Any) -> Connecting[C]: ...


@overload
def connect(
    endpoint: Any,
    handler: Callable[[Connection], Awaitable[Any]],
    *,
    resolver: Resolver | None = None,
    **settings: Any,
) -> Connecting[Connection]: ...


def connect(
    endpoint: Any, handler: Any = Connection, *, resolver: Resolver | None = None, **settings: Any
) -> Connecting[Any]:
    """Connect to an endpoint: `conn = await connect(...)`, or `async with connect(...) as conn`.

    Args:
        endpoint: `"localhost:4040"`, `"tcp:[::1]:4040"`, `"unix:/run/x.sock"`, … (see Endpoint).
        handler: the `Connection` subclass of this end, or an `async` function of the connection; for datagrams
            (`udp:`, and `unix:` with such a class) a `Datagram` subclass, or nothing.
        resolver: how names become addresses; None: the operating system is asked.
        settings: settings of the connection.

    Returns:
        What gives the connection when awaited. `on_connect` has been called then. For datagrams it gives the
        `Datagram`, whose `on_open` has been called.

    Raises:
        EndpointError, TypeError: at once, for a bad endpoint, handler or setting.
        ConnectError, ConnectTimedOut: when awaited.
    """
    check_call(_RIGHT, handler, (endpoint,), settings)
    if "timeout" in settings:
        raise TypeError('the time for connecting is said in the endpoint: "localhost:4040?timeout=3"')
    parsed = Endpoint.parse(endpoint)
    if is_datagram(handler) or parsed.kind == "udp":
        from trews.datagram import Datagram  # here, because datagrams cost 4 ms to import
        from trews.datagram_open import check_kind, datagram_class

        datagram = datagram_class(Datagram if handler is Connection else handler, settings)
        check_kind(parsed, datagram)
        return Connecting(parsed, datagram, resolver)
    cls = connection_class(handler, settings)
    check_encrypts(cls.tls_context, parsed)
    return Connecting(parsed, cls, resolver)


def _checked(resolver: Any) -> Resolver | None:
    if resolver is None or isinstance(resolver, Resolver):
        return resolver
    raise TypeError(f"resolver is a trews.Resolver, not {resolver!r}")


class _Kept(Sent):
    """What `Client.send` returns for a message that is kept: there is nothing to wait for."""

    __slots__ = ()

    def __init__(self) -> None: ...

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_KEPT = _Kept()


class Client(Keeper[C]):
    """One connection that is kept: when it is lost or cannot be made, a new one is tried, with growing waits.

    Args:
        endpoint: where to connect to, as for `connect`.
        handler: the `Connection` subclass of this end, or an `async` function of the connection.
        queue: how many messages `send` keeps while there is no connection; None: it refuses them then.
        resolver: how names become addresses; None: the operating system is asked.
        settings: settings of the connections.

    Raises:
        EndpointError, TypeError, ValueError: a bad endpoint, handler or setting.
    """

    queue: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_place(cls, CLIENT_CALLBACKS, "Client")
        check_names(cls, Client, _private)
        check_class(cls, CLIENT_CALLBACKS, _SETTINGS)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: a subclass that forgets super().__init__() gets a sentence, not a riddle.
        self = super().__new__(cls)
        self._prepare()
        return self

    @overload
    def __init__(
        self: Client[Connection],
        endpoint: Any,
        *,
        queue: int | None = None,
        resolver: Resolver | None = None,
        **settings: Any,
    ) -> None: ...

    @overload
    def __init__(
        self,
        endpoint: Any,
        handler: type[C],
        *,
        queue: int | None = None,
        resolver: Resolver | None = None,
        **settings: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Client[Connection],
        endpoint: Any,
        handler: Callable[[Connection], Awaitable[Any]],
        *,
        queue: int | None = None,
        resolver: Resolver | None = None,
        **settings: Any,
    ) -> None: ...

    def __init__(
        self,
        endpoint: Any,
        handler: Any = Connection,
        *,
        queue: int | None = None,
        resolver: Resolver | None = None,
        **settings: Any,
    ) -> None:
        check_call(_RIGHT_CLIENT, handler, (endpoint,), settings)
        check_known(settings, DEFAULTS, _SETTINGS)
        if queue is not None:
            check_setting("queue", queue)
            self.queue = queue
        self._resolver = _checked(resolver)
        self._endpoint = Endpoint.parse(endpoint)
        if self._endpoint.kind == "udp":
            raise EndpointError(f"{self._endpoint.shown}: datagrams have no connection to keep: use trews.connect")
        self._class = connection_class(handler, settings)  # type: ignore[assignment]  # the overloads say which
        check_encrypts(self._class.tls_context, self._endpoint)  # type: ignore[union-attr]  # it is one now

    # -- callbacks, to be overridden

    def on_up(self, connection: C, /) -> Any:
        """There is a connection again. May be async; when it has returned, what was kept is sent."""

    def on_down(self, reason: ConnectionClosed, /) -> Any:
        """The connection of the last `on_up` has ended. May be async; the next one is tried after it."""

    # -- what is known

    @property
    def connection(self) -> C | None:
        """The connection that is up, None while there is none."""
        return self._up

    @property
    def failures(self) -> int:
        """Attempts in a row that came to nothing; 0 when one has succeeded."""
        return self._failures

    def __repr__(self) -> str:
        state = "" if self._state is State.RUNNING else f"{self._state.name.lower()} "
        return f"<{type(self).__name__} {state}{'up' if self._up is not None else 'down'} {self._shown}>"

    # -- what users call

    async def start(self) -> Self:
        """Begin to connect, and keep the connection until `stop`. `connected()` waits for the first one.

        Raises:
            EndpointError: a client cannot connect to endpoints of this kind.
        """
        endpoint, cls = self._endpoint, self._class
        if endpoint is None or cls is None:
            raise Error(f"{type(self).__name__}.__init__ must call super().__init__(endpoint)")
        if self._state is not State.NEW:
            raise Error(f"{self!r} was started before; make a new one")
        loop = self._loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        self._state = State.RUNNING
        enter(loop)
        self._keeper = asyncio.Task(self._keep(endpoint, cls), loop=loop)
        self._keeper.add_done_callback(self._keeper_done)
        try:
            await asyncio.sleep(0)  # an endpoint that is not for clients shows in the first step
        except asyncio.CancelledError:
            self.stop(0)
            raise
        if self._refused is not None:
            raise self._refused
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def connected(self) -> C:
        """Wait until it is up, if it is down.

        Returns:
            The connection; `on_up` has returned.

        Raises:
            ConnectionClosed: the client is stopped.
        """
        if self._state is State.NEW:
            raise Error(f"{self!r} was not started; call start() first")
        loop = self._require_loop()
        while (connection := self._up) is None:
            if self._state is not State.RUNNING:
                raise self._refusal("nothing is connected any more")
            if self._is_own_call():
                raise Error("the next connection waits for on_up and on_down: connected() in them would never return")
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return connection

    def send(self, message: Any) -> Sent:
        """Send a message on the connection that is up; while there is none, keep it if there is a `queue`.

        What was sent before a connection was lost may or may not have arrived; it is not sent again.

        Raises:
            ConnectionClosed: there is no connection, and no queue or no room in it.
            TypeError, ValueError: the framer cannot encode `message`.
        """
        connection = self._up
        if connection is not None:
            return connection.send(message)
        if self.queue is None or self._state > State.RUNNING:
            raise self._refusal("the message was not sent")
        if len(self._kept) >= self.queue:
            raise self._refusal(f"the message was not sent, for {len(self._kept)} wait already")
        # As in write(), what may be changed afterwards is copied.
        self._kept.append(bytes(message) if isinstance(message, bytearray | memoryview) else message)
        return _KEPT

    def stop(self, grace: float = GRACE) -> asyncio.Future[None]:
        """Stop: try no more, and let the connection end as `Server.stop` does (its `on_stop`, by default a close).

        It begins when called. Awaiting waits for the end, but in code that the end waits for (`on_up`, `on_down`, the
        connection's callbacks and handler) it returns at once. Calling it again shortens the grace.

        Args:
            grace: seconds after which a connection that is still there is aborted, and `on_up` or `on_down` cancelled.
        """
        check_grace(grace)
        if self._state is State.NEW:
            self._loop = asyncio.get_running_loop()
            self._stopped = self._loop.create_future()
            self._finish()
        stopped = self._stopped
        if stopped is None or stopped.done():
            return done()
        loop = self._require_loop()
        self._begin_stop()
        self._end_grace_in(loop, grace)
        return done() if self._is_waited_for() else asyncio.shield(stopped)


_private: frozenset[str] = frozenset()
_private = private_names(Client.__new__(Client))  # all are set there; by __init__ it would take 2 ms more at import

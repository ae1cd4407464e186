"""Clients: `connect` makes one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from trews.connection import Connection
from trews.endpoint import Endpoint, check_call
from trews.errors import ConnectError, sentence
from trews.handler import connection_class
from trews.transport.attach import attach
from trews.transport.connector import open_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

C = TypeVar("C", bound=Connection)

_RIGHT = (
    "trews.connect takes where to connect to, in one piece, then the handler if there is one: "
    'trews.connect("localhost:4040", Echo)'
)
_AWAIT = "await it: conn = await trews.connect(...), or async with trews.connect(...) as conn"


class Connecting(Generic[C]):
    """What `connect` returns: await it for the connection, or use it as `async with`, which closes it too."""

    def __init__(self, endpoint: Any, cls: type[C]) -> None:
        self._endpoint = Endpoint.parse(endpoint)
        self._class = cls
        self._open_blocks: dict[asyncio.Task[Any] | None, list[C]] = {}

    if not TYPE_CHECKING:  # type checkers find these mistakes by themselves

        def __getattr__(self, name):
            raise AttributeError(f"no connection has been made that could have {name!r}; {_AWAIT}")

        def __enter__(self):
            raise TypeError(_AWAIT)

        def __exit__(self, *_): ...

        def __aiter__(self):
            raise TypeError(_AWAIT)

    def __await__(self) -> Generator[Any, None, C]:
        return self._connect().__await__()

    async def _connect(self) -> C:
        loop = asyncio.get_running_loop()
        connection = self._class()
        sock, address = await open_stream(self._endpoint, loop)
        made = connection._made = loop.create_future()

        def failed(exc: BaseException) -> None:
            if not made.done():
                made.set_exception(ConnectError(self._endpoint.shown, [(self._endpoint.shown, sentence(exc))]))

        attach(loop, sock, connection, address, failed)
        await made
        return connection

    async def __aenter__(self) -> C:
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
        loop = asyncio.get_running_loop()
        # Only our loop closes what lingers when it is closed itself.
        while not connection._is_gone and not hasattr(loop, "attach_stream"):
            waiter = loop.create_future()
            connection._gone_waiters.append(waiter)
            await waiter


@overload
def connect(endpoint: Any, **settings: Any) -> Connecting[Connection]: ...


@overload
def connect(endpoint: Any, handler: type[C], **settings: Any) -> Connecting[C]: ...


@overload
def connect(
    endpoint: Any, handler: Callable[[Connection], Awaitable[Any]], **settings: Any
) -> Connecting[Connection]: ...


def connect(endpoint: Any, handler: Any = Connection, **settings: Any) -> Connecting[Any]:
    """Connect to an endpoint: `conn = await connect(...)`, or `async with connect(...) as conn`.

    Args:
        endpoint: `"localhost:4040"`, `"tcp:[::1]:4040"`, `"unix:/run/x.sock"`, … (see Endpoint).
        handler: the `Connection` subclass of this end, or an `async` function of the connection.
        settings: settings of the connection.

    Returns:
        What gives the connection when awaited. `on_connect` has been called then.

    Raises:
        EndpointError, TypeError: at once, for a bad endpoint, handler or setting.
        ConnectError, ConnectTimedOut: when awaited.
    """
    check_call(_RIGHT, handler, (endpoint,), settings)
    if "timeout" in settings:
        raise TypeError('the time for connecting is said in the endpoint: "localhost:4040?timeout=3"')
    return Connecting(endpoint, connection_class(handler, settings))

"""Server: endpoints, the connections that came in on them, and what they share. (`serving` has its blocking form.)

NEW (listen: the kernel queues) ──start──> STARTING ──on_start──> SERVING ──stop──> STOPPING ──all gone──> STOPPED
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, Self

from trews import timers
from trews.addresses import from_name, shown
from trews.connection import Connection
from trews.endpoint import Endpoint
from trews.errors import Aborted, Error, TLSError, sentence
from trews.handler import connection_class, is_datagram
from trews.handshakes import Handshakes
from trews.live import Live
from trews.names import check_names, private_names
from trews.registry import Connections, Drained, State, Stats
from trews.settings import (
    AFTER_GRACE,
    DEFAULTS,
    GRACE,
    SERVER_CALLBACKS,
    check_class,
    check_encrypts,
    check_grace,
    check_known,
    check_place,
    check_setting,
)
from trews.threads import enter
from trews.transport.attach import attach
from trews.transport.listener import bind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Iterable

    from trews.datagram import Datagram
    from trews.datagram_open import DatagramListener
    from trews.transport.listener import AnyListener

logger = logging.getLogger("trews")

# What a server's own keywords are.
_LIMITS: dict[str, Any] = {"max_connections": None, "max_connections_per_host": None, "max_handshakes": 1000}

_RIGHT = (
    'trews.Server takes the handler; where to listen is said to listen(): trews.Server(Echo).listen("localhost:4040")'
)


class Server(Live):
    """Serves a protocol on any number of endpoints. What its connections share lives on a subclass of it.

    Args:
        handler: a `Connection` subclass, or an `async` function of a connection; or a `Datagram` subclass.
        datagram: a `Datagram` subclass, for a server that has both.
        settings: settings of the connections, and `max_connections`, `max_connections_per_host`, `max_handshakes`. With
            a `Datagram` alone, its settings.

    Raises:
        TypeError: an unknown setting or handler.

    Attributes:
        connections: those that are open; one that is closing is not among them.
        max_connections: no more are accepted while so many are there; they wait in the kernel.
        max_connections_per_host: more from one address are refused.
        max_handshakes: of TLS that may be in progress; the oldest gives way to a new one.
    """

    max_connections: int | None = None
    max_connections_per_host: int | None = None
    max_handshakes: int = 1000
    _begin: Any = None  # what a subclass of ours has instead of on_start and on_stop, which it calls
    _end: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_place(cls, SERVER_CALLBACKS, "Server")
        check_names(cls, Server, _private)
        check_class(cls, SERVER_CALLBACKS, _LIMITS)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: a subclass that forgets super().__init__() gets a sentence, not a riddle.
        if len(args) > 1 and cls.__init__ is Server.__init__:
            raise TypeError(_RIGHT)
        self = super().__new__(cls)
        self._prepare()
        return self

    def _prepare(self) -> None:
        self._connections = Connections()
        self._class: type[Connection] | None = None
        self._datagram_class: type[Datagram] | None = None
        self._datagrams: dict[int, Datagram] = {}  # that have not ended
        self._state = State.NEW
        self._listeners: list[AnyListener | DatagramListener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alive: dict[int, Connection] = {}  # on_close has not returned, or the socket is still there
        self._sockets: dict[int, str | None] = {}  # by connection id: the host it counts for
        self._hosts: dict[str, int] = {}
        self._handshakes = Handshakes()
        self._is_full = False
        self._stats = Stats()
        self._aborted = 0
        self._at_stop = 0
        self._is_grace_over = False
        self._stopped: asyncio.Future[Drained] | None = None
        self._grace_timer: asyncio.Handle | None = None
        self._grace_due = 0.0
        self._start_task: asyncio.Task[Any] | None = None  # an async on_start that runs
        self._final_task: asyncio.Task[None] | None = None
        self._has_started = False  # on_start has returned: on_stop is due in the end

    def __init__(self, handler: Any, *, datagram: Any = None, **settings: Any) -> None:
        if is_datagram(handler) or datagram is not None:
            from trews.datagram_open import datagram_class  # here, because datagrams cost 4 ms to import
        if is_datagram(handler):
            if datagram is not None:
                raise TypeError(f"{handler.__name__} is for datagrams already; datagram= stands beside connections")
            self._datagram_class = datagram_class(handler, settings)
            return
        if datagram is not None:
            self._datagram_class = datagram_class(datagram, {})
        for name in _LIMITS:
            if name in settings:
                check_setting(name, settings[name])
                setattr(self, name, settings.pop(name))
        check_known(settings, DEFAULTS, _LIMITS)
        self._class = connection_class(handler, settings)

    # -- callbacks, to be overridden

    def on_start(self) -> Any:
        """Before the first connection is accepted; may be async."""

    def on_stop(self) -> Any:
        """After the last connection has gone; may be async."""

    def on_accept(self, connection: Connection, /) -> Any:
        """A connection wants in (`connection.remote_address` is known). Return False to reject it."""

    def on_error(self, connection: Connection, exc: BaseException, /) -> Any:
        """The code of `connection` raised `exc`; it is aborted after this. The default logs the traceback."""
        logger.error("%r: its code failed, the connection is aborted", connection, exc_info=exc)

    # -- what is known

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints as bound: with the port that was chosen for 0."""
        return list(dict.fromkeys(listener.endpoint for listener in self._listeners))  # IPv4 and IPv6 are one

    @property
    def port(self) -> int | None:
        """The port of the first endpoint that has one."""
        ports = (endpoint.port for endpoint in self.endpoints)
        return next((port for port in ports if isinstance(port, int)), None)

    @property
    def connections(self) -> Connections:
        """The connections that are open; one that is closing is not among them."""
        return self._connections

    @property
    def datagrams(self) -> list[Datagram]:
        """The Datagrams that are open, one for each such endpoint."""
        return [datagram for datagram in self._datagrams.values() if datagram.is_open]

    @property
    def stats(self) -> Stats:
        """Counts so far: accepted, refused, failed, open, bytes_in, bytes_out."""
        now = Stats(**vars(self._stats))
        now.open = len(self._connections)
        everybody: list[Connection | Datagram] = [*self._alive.values(), *self._datagrams.values()]
        for connection in everybody:
            now.bytes_in += connection.bytes_in
            now.bytes_out += connection.bytes_out
        return now

    def __repr__(self) -> str:
        where = ", ".join(endpoint.shown for endpoint in self.endpoints) or "nowhere"
        state = self._state.name.lower()
        return f"<{type(self).__name__} {state} on {where}, {len(self.connections)} connections>"

    # -- listening

    def listen(self, *endpoints: Any) -> Self:
        """Bind endpoints, now; the kernel queues connections until `start`. May be called again, and chained.

        Args:
            endpoints: a port, `"tcp:127.0.0.1:4040"`, `"unix:/run/x.sock"`, … (see Endpoint). A port alone is
                all interfaces. `udp:` takes a `Datagram` class, and so does `unix:` if there is no other.

        Raises:
            EndpointError: it cannot be understood.
            ListenError: it cannot be bound, in one sentence. Nothing of this call stays bound then.
        """
        if self._class is None and self._datagram_class is None:
            raise Error(f"{type(self).__name__}.__init__ must call super().__init__(handler)")
        if self._state > State.SERVING:
            raise Error(f"{self!r} is stopped; make a new one")
        parsed = [Endpoint.parse(endpoint) for endpoint in endpoints]
        new: list[AnyListener | DatagramListener] = []
        tls_context = self._class.tls_context if self._class is not None else None
        try:
            for endpoint in parsed:
                check_encrypts(tls_context, endpoint)
                datagrams = None
                if endpoint.kind == "udp" or self._datagram_class is not None:
                    from trews.datagram_open import listener_for

                    datagrams = listener_for(endpoint, self._class, self._datagram_class, self)
                new += bind(endpoint, tls_context) if datagrams is None else [datagrams]
            if self._state is State.SERVING:
                self._accept_on(new)
        except BaseException:
            for listener in new:
                listener.close()
            raise
        self._listeners += new
        return self

    async def start(self) -> Self:
        """Call `on_start`, then accept connections."""
        if self._state is not State.NEW:
            raise Error(f"{self!r} was started before")
        if not self._listeners:
            raise Error("nothing to serve on: call listen(...) first")
        self._loop = asyncio.get_running_loop()
        self._stopped = self._loop.create_future()
        self._state = State.STARTING
        enter(self._loop)
        try:
            result = (self._begin or self.on_start)()
            if inspect.isawaitable(result):
                self._start_task = self._loop.create_task(timers.as_coroutine(result))
                await self._start_task
            self._has_started = True
            if self._state is State.STARTING:  # and nobody has called stop() meanwhile
                self._accept_on(self._listeners)
                self._state = State.SERVING
        except BaseException as exc:
            self._start_task = None
            self._close_listeners()
            if self._state is State.STARTING:
                self._state = State.STOPPED
                self._stopped.cancel()
                raise
            self._check_drained()
            if not isinstance(exc, asyncio.CancelledError) or not self._is_grace_over:
                raise
        self._start_task = None
        self._check_drained()
        return self

    async def serve(self) -> Drained:
        """`start`, and return when somebody has called `stop`. Cancelling stops it first."""
        if self._state is State.NEW:
            await self.start()
        stopped = self._stopped
        if stopped is None:
            raise Error(f"{self!r} was not started")
        try:
            return await asyncio.shield(stopped)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def broadcast(self, message: Any, exclude: Collection[Connection] | Connection = ()) -> None:
        """`send` a message to every open connection but those in `exclude`."""
        left_out: Iterable[Connection] = (exclude,) if isinstance(exclude, Connection) else exclude
        ids = {id(connection) for connection in left_out}
        for connection in self.connections:
            if id(connection) not in ids and not connection._is_write_closed:
                connection.send(message)

    # -- stopping

    def stop(self, grace: float = GRACE) -> asyncio.Future[Drained]:
        """Stop: accept no more, tell every connection (`on_stop`), and wait for them to end.

        It begins when called; awaiting tells how it went. Calling it again shortens the grace. An `on_start` that
        still runs is waited for; the server's `on_stop` is called only if `on_start` has returned.

        Args:
            grace: seconds after which connections that are still there are aborted, and `on_start` cancelled.

        Returns:
            `Drained(closed, aborted)`, to be awaited.

        Raises:
            TypeError, ValueError: `grace` is no number of seconds.
        """
        check_grace(grace)
        if self._state is State.NEW:
            self._loop = asyncio.get_running_loop()
            self._stopped = self._loop.create_future()
        stopped = self._stopped
        loop = self._loop
        if loop is None or stopped is None:
            raise Error(f"{self!r} cannot stop: it has no loop")
        if self._state < State.STOPPING:
            self._begin_stop()
        if not stopped.done():
            self._end_grace_in(loop, grace)
            self._check_drained()
        return asyncio.shield(stopped)

    def _begin_stop(self) -> None:
        if self._state is State.SERVING:
            for listener in self._listeners:
                listener.take_all()
        self._state = State.STOPPING
        self._close_listeners()
        if self._loop is not None:
            self._handshakes.hurry(self._loop, lambda: True)
        self._at_stop = len(self._alive)
        for connection in (*self.connections, *self.datagrams):
            connection._begin_stop()

    def _end_grace_in(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        due = loop.time() + grace
        if self._grace_timer is not None:
            if self._grace_due <= due:
                return
            self._grace_timer.cancel()
        self._grace_due = due
        self._grace_timer = loop.call_at(due, self._end_grace)

    def _end_grace(self) -> None:
        self._is_grace_over = True
        if self._start_task is not None:
            self._start_task.cancel()
        self._handshakes.give_up("the server's grace is over")
        for connection in list(self._alive.values()):
            if not connection._is_ended:
                self._aborted += 1
            connection._drop(Aborted("the server's grace is over"))
        for datagram in list(self._datagrams.values()):
            datagram._drop(Aborted("the server's grace is over"))
        if self._loop is not None:
            self._grace_due = self._loop.time() + AFTER_GRACE
            self._grace_timer = self._loop.call_at(self._grace_due, self._give_up)

    def _give_up(self) -> None:
        """What ignores its cancellation is left behind, with a line in the log."""
        for connection in (*self._alive.values(), *self._datagrams.values()):
            logger.error("%r ignores the end of its server", connection)
        self._alive.clear()
        self._datagrams.clear()
        self._sockets.clear()
        self._start_task = None  # an on_start that goes on although it was cancelled
        if self._final_task is not None:
            self._final_task.cancel()  # on_stop, which may wait for something that never comes
        self._check_drained()

    def _check_drained(self) -> None:
        if self._state is State.SERVING and self._is_used_up():
            self.stop()
            return
        if self._state is not State.STOPPING or self._alive or self._sockets or self._start_task is not None:
            return
        if not self._datagrams and self._final_task is None and self._loop is not None:
            self._final_task = self._loop.create_task(self._finish())

    def _is_used_up(self) -> bool:
        """Whether no connection is there nor can come: of `stdio:` there is only one."""
        return (
            bool(self._listeners)
            and not (self._alive or self._sockets or self._datagrams)
            and all(listener.is_used_up for listener in self._listeners)
        )

    async def _finish(self) -> None:
        try:
            result = (self._end or self.on_stop)() if self._has_started else None
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception("%r: on_stop failed", self)
        finally:
            self._state = State.STOPPED
            if self._grace_timer is not None:
                self._grace_timer.cancel()
                self._grace_timer = None
            if self._stopped is not None and not self._stopped.done():
                self._stopped.set_result(Drained(self._at_stop - self._aborted, self._aborted))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    # -- accepting

    def _accept_on(self, listeners: list[AnyListener | DatagramListener]) -> None:
        if self._loop is None:
            raise Error(f"{self!r} has no loop")
        for listener in listeners:
            listener.start(self._loop, functools.partial(self._accept, listener), self._has_room, self._refused)
            if self._is_full:
                listener.pause()

    def _has_room(self) -> bool:
        if self.max_connections is None:
            return True
        if len(self._sockets) + sum(listener.arriving for listener in self._listeners) < self.max_connections:
            return True
        if not self._is_full:
            self._is_full = True
            for listener in self._listeners:
                listener.pause()
            if self._loop is not None:
                self._handshakes.hurry(self._loop, lambda: self._is_full)
        return False

    def _make_room(self) -> None:
        if self._is_full and self._state is State.SERVING:
            self._is_full = False
            for listener in self._listeners:
                listener.resume()

    def _refused(self) -> None:
        """A listener has closed a socket before it was a connection."""
        self._stats.refused += 1
        self._make_room()

    def _accept(
        self, listener: AnyListener | DatagramListener, sock: Any, address: Any, local_address: Any = None
    ) -> None:
        """A listener has a new connection for us; the local address is told if it is not the socket's own."""
        cls, loop = self._class, self._loop
        if cls is None or loop is None:
            self._turn_away(sock)
            return
        host = address[0] if isinstance(address, tuple) else None
        limit = self.max_connections_per_host
        if limit is not None and host is not None and self._hosts.get(host, 0) >= limit:
            self._stats.refused += 1
            self._turn_away(sock)
            return
        try:
            connection = cls()
        except Exception:
            logger.exception("%r: %s() failed, the connection from %s is closed", self, cls.__name__, shown(address))
            self._stats.failed += 1
            self._turn_away(sock)
            return
        connection._server = self
        connection._remote_address = from_name(address if address is not None else sock.getpeername())
        connection._local_address = local_address
        if not self._is_welcome(connection):
            self._stats.refused += 1
            self._turn_away(sock)
            return
        self._stats.accepted += 1
        self._take_in(connection, host)

        def failed(exc: BaseException) -> None:
            logger.info("a connection from %s was lost at once: %s", shown(address), sentence(exc))
            self._released(connection)

        def shaken(result: Any) -> None:
            if isinstance(result, TLSError):
                self._stats.handshakes_failed += 1
                what = f"{listener.endpoint.shown}: the TLS handshake of {shown(address)} failed"
                self._handshakes.tell(what, result, loop.time())
            else:
                attach(loop, result, connection, address, failed)

        context = _tls_context(listener, cls)
        if context is None:
            attach(loop, sock, connection, address, failed)
        else:
            self._handshakes.begin(loop, sock, context, self.max_handshakes, shaken, lambda: self._released(connection))

    def _turn_away(self, sock: Any) -> None:
        sock.close()
        self._make_room()
        self._check_drained()

    def _take_in(self, connection: Connection, host: str | None) -> None:
        self._sockets[connection._id] = host
        if host is not None:
            self._hosts[host] = self._hosts.get(host, 0) + 1

    def _is_welcome(self, connection: Connection) -> bool:
        try:
            answer = self.on_accept(connection)
            if inspect.isawaitable(answer):
                if inspect.iscoroutine(answer):
                    answer.close()
                raise TypeError("on_accept must be a plain function: who may come in is decided at once")
        except Exception as exc:
            self._tell_error(connection, exc)
            return False
        return answer is not False

    def _tell_error(self, connection: Connection, exc: BaseException) -> None:
        """Call `on_error` for a connection that has no life of its own yet."""
        try:
            told = self.on_error(connection, exc)
        except Exception:
            logger.exception("%r: on_error failed while it was told of %r", self, exc)
            return
        if inspect.isawaitable(told):
            timers.soon(_await_logged, self, told)

    # -- what connections tell

    def _opened(self, connection: Connection) -> None:
        self._connections._add(connection)
        self._alive[connection._id] = connection
        if self._state > State.SERVING:
            self._at_stop += 1
            connection._begin_stop()

    def _datagram_opened(self, datagram: Datagram) -> None:
        self._datagrams[id(datagram)] = datagram

    def _datagram_ended(self, datagram: Datagram) -> None:
        if self._datagrams.pop(id(datagram), None) is not None:
            self._stats.bytes_in += datagram.bytes_in
            self._stats.bytes_out += datagram.bytes_out
        self._check_drained()

    def _closing(self, connection: Connection) -> None:
        self._connections._discard(connection)

    def _handed_over(self, old: Connection, new: Connection) -> None:
        """A connection has its socket from another one."""
        self._sockets[new._id] = self._sockets.pop(old._id)

    def _released(self, connection: Connection) -> None:
        """Its socket is closed."""
        if connection._id not in self._sockets:
            return
        host = self._sockets.pop(connection._id)
        if host is not None:
            left = self._hosts[host] - 1
            if left:
                self._hosts[host] = left
            else:
                del self._hosts[host]
        self._make_room()
        self._forget(connection)

    def _ended(self, connection: Connection) -> None:
        """Its on_close has returned."""
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if connection._id in self._sockets or not connection._is_ended:
            self._check_drained()
            return
        if self._alive.pop(connection._id, None) is not None:
            self._stats.bytes_in += connection.bytes_in
            self._stats.bytes_out += connection.bytes_out
        self._check_drained()


def _tls_context(listener: AnyListener | DatagramListener, cls: type[Connection]) -> Any:
    """What connections of a tls: endpoint shake hands by; None if it is another kind."""
    if listener.endpoint.kind != "tls":
        return None
    return cls.tls_context if listener.tls is None else listener.tls.context


async def _await_logged(server: Server, told: Awaitable[Any]) -> None:
    try:
        await told
    except Exception:
        logger.exception("%r: on_error failed", server)


_private: frozenset[str] = frozenset()
_private = private_names(Server.__new__(Server))

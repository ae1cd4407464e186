"""How a `Client` keeps its connection: all that happens by itself, nothing that users call.

NEW ──start──> RUNNING: try, up, down, wait, try … ──stop──> STOPPING ──its connection has gone──> STOPPED

One task goes through this, and calls `on_up` and `on_down`. `stop` cancels it where it waits without a connection;
otherwise it tells the connection, and the task sees that end.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Generic

from trews.backoff import Backoff
from trews.calls import wake
from trews.connection import Connection
from trews.errors import Aborted, ConnectError, ConnectionClosed, EndpointError, Error, sentence
from trews.live import Live
from trews.phase import Phase
from trews.settings import AFTER_GRACE
from trews.timers import as_coroutine
from trews.transport.attach import attach
from trews.transport.connector import open_stream

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # the standard library's has defaults from Python 3.13 on

    from trews.endpoint import Endpoint
    from trews.transport.resolver import Resolver

    C = TypeVar("C", bound=Connection, default=Connection)
else:
    from typing import TypeVar

    C = TypeVar("C", bound=Connection)

logger = logging.getLogger("trews")


async def open_connection(endpoint: Endpoint, connection: Connection, resolver: Resolver | None = None) -> None:
    """Connect a new connection. `on_connect` has been called when this returns."""
    loop = asyncio.get_running_loop()
    if endpoint.kind == "tls":
        from trews.transport.secure import open_tls  # here because it imports ssl, which costs 5 ms

        sock, address = await open_tls(endpoint, connection.tls_context, loop, resolver)
    else:
        sock, address = await open_stream(endpoint, loop, resolver)
    connection._host = endpoint.host or ("localhost" if endpoint.kind in ("tcp", "tls") else "")
    made = connection._made = loop.create_future()

    def failed(exc: BaseException) -> None:
        if not made.done():
            made.set_exception(ConnectError(endpoint.shown, [(endpoint.shown, sentence(exc))]))

    attach(loop, sock, connection, address, failed)
    try:
        await made
    except asyncio.CancelledError:
        if not made.cancelled() and made.exception() is None:  # it was made in this turn, and nobody will have it
            connection._drop(Aborted("connecting was cancelled"))
        raise


def ended(connection: Connection) -> asyncio.Future[None]:
    """Done when `on_close` of a connection has returned."""
    return done() if connection._is_ended else connection._wait_in("_end_waiters")


def gone(connection: Connection) -> asyncio.Future[None]:
    """Done when its socket is closed, where that must be: only our loop closes what lingers when it is closed."""
    if connection._is_gone or hasattr(connection._loop, "attach_stream"):
        return done()
    return connection._wait_in("_gone_waiters")


def done() -> asyncio.Future[None]:
    """What need not be waited for."""
    made = asyncio.get_running_loop().create_future()
    made.set_result(None)
    return made


class State(enum.IntEnum):
    """Where a client is in its life; see the picture above."""

    NEW = 0
    RUNNING = 1
    STOPPING = 2
    STOPPED = 3


class Keeper(Live, Generic[C]):
    """The task of a client, and what it knows."""

    def _prepare(self) -> None:
        self._endpoint: Endpoint | None = None
        self._class: type[C] | None = None
        self._resolver: Resolver | None = None
        self._state = State.NEW
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._current: C | None = None  # being made, up, or ending
        self._is_ready = False  # on_up has returned and what was kept is sent
        self._caller: asyncio.Task[Any] | None = None  # what runs on_up or on_down
        self._calling: asyncio.Task[Any] | None = None  # the same, if it is async
        self._kept: deque[Any] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._backoff = Backoff()
        self._failures = 0
        self._trouble = ""  # why there is no connection
        self._refused: EndpointError | None = None
        self._lingering: list[C] = []
        self._stopped: asyncio.Future[None] | None = None
        self._grace_timer: asyncio.Handle | None = None
        self._grace_due = 0.0
        self._is_stop_told = self._is_grace_over = self._is_given_up = False

    @property
    def _up(self) -> C | None:
        """The connection, if it is up."""
        connection = self._current
        if connection is None or not connection.is_open or not (self._is_ready or self._is_own_call()):
            return None
        return connection

    # -- the task

    async def _keep(self, endpoint: Endpoint, cls: type[C]) -> None:
        try:
            await self._keep_trying(endpoint, cls)
            for connection in self._lingering:
                await self._until(gone(connection))
        except EndpointError as exc:
            self._refused = exc
        finally:
            self._finish()

    async def _keep_trying(self, endpoint: Endpoint, cls: type[C]) -> None:
        try:
            while self._state is State.RUNNING:
                connection = await self._attempt(endpoint, cls)
                seconds_up = 0.0 if connection is None else await self._hold(connection)
                self._current = None
                if self._state is State.RUNNING:
                    await asyncio.sleep(self._backoff.next_wait(seconds_up))
        except asyncio.CancelledError:
            pass  # by stop() or at the end of the loop; while there is a connection `_until` takes it

    async def _attempt(self, endpoint: Endpoint, cls: type[C]) -> C | None:
        try:
            connection = cls()
        except Exception as exc:
            self._failed(f"{cls.__name__}() failed: {exc!r}", exc)
            return None
        self._current = connection
        try:
            await open_connection(endpoint, connection, self._resolver)
        except OSError as exc:  # ConnectError is one
            self._failed(sentence(exc))
            return None
        return connection

    async def _hold(self, connection: C) -> float:
        """What happens while there is a connection. Returns how many seconds that was."""
        loop = connection._loop
        began = loop.time()
        end = ended(connection)
        try:
            if self._state is State.RUNNING and connection.is_open:
                await self._be_up(connection, end)
            elif self._state is State.RUNNING:
                self._failed(f"the connection to {self._shown} ended at once: {connection.reason}")
            else:
                self._tell_stop(connection)  # it was made after stop()
            await self._until(end)
        finally:
            self._is_ready = False
            if not connection._is_ended:  # given up, or sys.exit() in a callback
                connection._drop(Aborted("its client has ended"))
        self._lingering = [other for other in (*self._lingering, connection) if not other._is_gone]
        return loop.time() - began

    async def _be_up(self, connection: C, end: asyncio.Future[None]) -> None:
        """From `on_up` to `on_down`."""
        self._failures = 0
        logger.info("connected to %s", self._shown)
        failed = await self._call("on_up", connection, connection, end)
        if failed is not None and connection._phase <= Phase.FLUSHING:
            connection._drop(failed)
        await self._send_kept(connection)
        self._is_ready = True
        wake(self._waiters)
        await self._until(end)
        self._is_ready = False
        self._trouble = f"the connection to {self._shown} has ended: {connection.reason}"
        logger.info("%s", self._trouble)
        await self._call("on_down", connection.reason, connection, end)

    async def _send_kept(self, connection: C) -> None:
        while self._kept and connection.is_open and not connection._is_write_closed:
            message = self._kept.popleft()
            try:
                connection.send(message)
            except Exception:
                logger.exception("%r: a message that was kept cannot be sent: %.100r", self, message)
            try:
                await connection.drain()
            except ConnectionClosed:
                return
            except asyncio.CancelledError:
                self._end_grace()

    # -- calling

    async def _call(self, name: str, argument: Any, connection: C, end: asyncio.Future[None]) -> Aborted | None:
        """Call `on_up` or `on_down`. Returns a reason to end the connection if it failed."""
        self._caller = self._keeper
        try:
            try:
                result = getattr(self, name)(argument)
            except (Exception, asyncio.CancelledError) as exc:
                return self._call_failed(name, exc, connection)
            if not inspect.isawaitable(result):
                return None
            self._caller = self._calling = task = asyncio.Task(as_coroutine(result), loop=connection._loop)
            await self._finished(name, task, connection, end)
        finally:
            self._caller = self._calling = None
        if not task.done() or task.cancelled():
            return Aborted(f"{name} was cancelled")
        error = task.exception()
        return None if error is None else self._call_failed(name, error, connection)

    def _call_failed(self, name: str, exc: BaseException, connection: C) -> Aborted | None:
        if connection._is_own_end(exc):
            return None
        logger.error("%r: %s failed", self, name, exc_info=exc)
        reason = Aborted(f"{name} failed: {exc!r}")
        reason.__cause__ = exc
        return reason

    async def _finished(self, name: str, task: asyncio.Task[Any], connection: C, end: asyncio.Future[None]) -> None:
        """Wait for an async callback. After the end of its connection it has `close_timeout`, as other code has."""
        await self._until(task, end)
        if not task.done():
            await self._until(task, timeout=connection.close_timeout)
        if not task.done():
            task.cancel()
            await self._until(task, timeout=AFTER_GRACE)
        if not task.done():
            logger.error("%r: %s goes on after it was cancelled: %r", self, name, task)

    async def _until(self, *futures: asyncio.Future[Any], timeout: float | None = None) -> None:
        """Wait for the first of them. Who cancels the keeper meanwhile gets an orderly end, without a grace."""
        while not self._is_given_up:
            try:
                await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                return
            except asyncio.CancelledError:
                self._end_grace()
        raise asyncio.CancelledError

    def _is_own_call(self) -> bool:
        """Whether this is called by `on_up` or `on_down`."""
        return self._caller is not None and asyncio.current_task(self._loop) is self._caller

    def _is_waited_for(self) -> bool:
        """Whether this is called by code that the end of the client waits for."""
        if self._is_own_call():
            return True
        connection = self._current
        if connection is None:
            return False
        task = asyncio.current_task()
        return connection._is_starting or (task is not None and task in (connection._task, *connection._spawned))

    # -- what goes wrong

    @property
    def _shown(self) -> str:
        return self._endpoint.shown if self._endpoint is not None else "nowhere"

    def _failed(self, trouble: str, exc: BaseException | None = None) -> None:
        """An attempt came to nothing: told once, and then only when the reason changes."""
        self._failures += 1
        level = logging.INFO if exc is None else logging.ERROR
        logger.log(logging.DEBUG if trouble == self._trouble else level, "%s", trouble, exc_info=exc)
        self._trouble = trouble

    def _refusal(self, what: str) -> ConnectionClosed:
        if self._state is State.NEW:
            why = f"{self!r} was not started"
        elif self._state is State.RUNNING:
            why = self._trouble or f"not connected to {self._shown} yet"
        else:
            why = f"{self!r} is stopped"
        return ConnectionClosed(f"{what}: {why}")

    def _require_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise Error(f"{self!r} was started in another loop, and can be used in that one only")
        return loop

    # -- stopping

    def _begin_stop(self) -> None:
        if self._state is not State.RUNNING:
            return
        self._state = State.STOPPING
        wake(self._waiters)
        connection = self._current
        if connection is not None and connection._made is not None:
            self._tell_stop(connection)
        elif self._keeper is not None:
            self._keeper.cancel()

    def _tell_stop(self, connection: C) -> None:
        if connection._phase is not Phase.NEW and not self._is_stop_told:
            self._is_stop_told = True
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
        if self._is_grace_over or self._loop is None:
            return
        self._is_grace_over = True
        self._state = State.STOPPING
        wake(self._waiters)
        connection = self._current
        if connection is not None and connection._phase is not Phase.NEW:
            connection._drop(Aborted("the client's grace is over"))
        elif connection is not None and connection._made is not None:
            connection._made.cancel()  # it is dropped when it is made
        for other in self._lingering:
            other._drop(Aborted())
        if self._calling is not None:
            self._calling.cancel()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        self._grace_due = self._loop.time() + AFTER_GRACE
        self._grace_timer = self._loop.call_at(self._grace_due, self._give_up)

    def _give_up(self) -> None:
        """What still runs is left behind, with a line in the log."""
        logger.error("%r: its code goes on after the end of the grace", self)
        self._is_given_up = True
        if self._calling is not None:
            self._calling.cancel()
        if self._keeper is not None:
            self._keeper.cancel()

    def _keeper_done(self, task: asyncio.Task[None]) -> None:
        exc = None if task.cancelled() else task.exception()
        if isinstance(exc, Exception):  # what else there is has ended the loop
            logger.error("%r failed", self, exc_info=exc)

    def _finish(self) -> None:
        self._state = State.STOPPED
        self._current = None
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        if self._kept:
            logger.warning("%r: %d messages that were kept were never sent", self, len(self._kept))
            self._kept.clear()
        wake(self._waiters)
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

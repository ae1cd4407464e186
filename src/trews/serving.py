"""`serve`: a server that runs until it is told to stop, by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

from trews.endpoint import check_call
from trews.loop import new_event_loop
from trews.notify import Notifier
from trews.registry import Drained, State
from trews.server import Server
from trews.settings import GRACE, check_grace

if TYPE_CHECKING:
    from collections.abc import Callable

_RIGHT = (
    "trews.serve takes the handler, then where to listen: "
    'trews.serve(Echo, "localhost:4040"), or trews.serve(Echo, 4040) for all interfaces'
)


def serve(handler: Any, *endpoints: Any, grace: float = GRACE, **settings: Any) -> Drained:
    """Serve until SIGINT or SIGTERM, then drain and return. A second Ctrl-C aborts at once.

    Args:
        handler: a `Connection` subclass, an `async` function of a connection, a `Datagram` subclass, or a `Server`.
        endpoints: as for `Server.listen`.
        grace: seconds that open connections get when it stops.
        settings: as for `Server`.

    Raises:
        RuntimeError: inside a running loop; use `await Server(...).serve()` there.
        EndpointError, ListenError, TypeError: as `Server` and `listen`; TypeError with nowhere to listen, too.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(
            "trews.serve() blocks and a loop is running here already: "
            "use `await trews.Server(handler).listen(...).serve()`"
        )
    bound = handler.endpoints if isinstance(handler, Server) else ()
    check_call(_RIGHT, handler, (*endpoints, *bound), settings)
    check_grace(grace)
    if isinstance(handler, Server):
        if settings:
            raise TypeError(f"give the settings to {type(handler).__name__}(...): {', '.join(settings)}")
        server = handler
    else:
        server = Server(handler, **settings)
    server.listen(*endpoints)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve_until_signal(server, grace))
    finally:
        server._close_listeners()


async def serve_until_signal(server: Server, grace: float = GRACE) -> Drained:
    """`server.serve()` that SIGINT and SIGTERM stop gracefully; the second signal stops it at once.

    Off the main thread no signal is looked at. A service manager that waits for it is told how it goes.
    """
    task = asyncio.current_task()
    is_second = False

    def on_signal() -> None:
        nonlocal is_second
        if server._state > State.STARTING:
            server.stop(0 if is_second else grace)
        elif task is not None:
            task.cancel()  # on_start, which may wait for something that never comes
        is_second = True

    undo = handle_signals((signal.SIGINT, signal.SIGTERM), on_signal)
    notifier = Notifier()
    if notifier.is_wanted:
        _tell_stop(server, notifier)
    try:
        if server._state is State.NEW:
            await server.start()
        if server._state is State.SERVING:
            where = ", ".join(endpoint.shown for endpoint in server.endpoints)
            notifier.ready(asyncio.get_running_loop(), f"listening on {where}")
        return await server.serve()
    except asyncio.CancelledError:
        if not is_second:
            raise
        return Drained(0, 0)
    finally:
        undo()
        notifier.close()


def _tell_stop(server: Server, notifier: Notifier) -> None:
    """Have the notifier told when the server begins to stop, whoever stops it."""
    stop = server.stop

    def stop_aloud(grace: float = GRACE) -> asyncio.Future[Drained]:
        server.stop = stop  # type: ignore[method-assign]
        notifier.stopping(f"stopping, {len(server.connections)} connections open")
        return stop(grace)

    server.stop = stop_aloud  # type: ignore[method-assign]


def handle_signals(names: tuple[signal.Signals, ...], on_signal: Callable[[], object]) -> Callable[[], None]:
    """Have signals call `on_signal` on the running loop; returns what puts back what was there before.

    Off the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    old = [(name, signal.getsignal(name)) for name in names]
    try:
        for name in names:
            loop.add_signal_handler(name, on_signal)
    except NotImplementedError:  # Windows
        for name in names:
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(on_signal))
        return lambda: _set_handlers(old)

    def undo() -> None:
        # asyncio puts Python's own handlers in between, and those must not get a signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, names)
        for name in names:
            loop.remove_signal_handler(name)
        _set_handlers(old)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, names)

    return undo


def _set_handlers(handlers: list[tuple[signal.Signals, Any]]) -> None:
    for name, handler in handlers:
        signal.signal(name, handler or signal.SIG_DFL)  # None: one that was not set from Python

"""`serve`: a server that runs until it is told to stop, by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

from trews.loop import new_event_loop
from trews.server import GRACE, Drained, Server, State


def serve(handler: Any, *endpoints: Any, grace: float = GRACE, **settings: Any) -> Drained:
    """Serve until SIGINT or SIGTERM, then drain and return. A second Ctrl-C aborts at once.

    Args:
        handler: a `Connection` subclass, an `async` function of a connection, or a `Server`.
        endpoints: as for `Server.listen`.
        grace: seconds that open connections get when it stops.
        settings: as for `Server`.

    Raises:
        RuntimeError: inside a running loop; use `await Server(...).serve()` there.
        EndpointError, ListenError, TypeError: as `Server` and `listen`.
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

    Off the main thread no signal is looked at.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    is_second = False

    def on_signal() -> None:
        nonlocal is_second
        if server._state > State.STARTING:
            server.stop(0 if is_second else grace)
        elif task is not None:
            task.cancel()  # on_start, which may wait for something that never comes
        is_second = True

    undo = _handle_signals(loop, on_signal)
    try:
        return await server.serve()
    except asyncio.CancelledError:
        if not is_second:
            raise
        return Drained(0, 0)
    finally:
        undo()


def _handle_signals(loop: asyncio.AbstractEventLoop, on_signal: Any) -> Any:
    """Have SIGINT and SIGTERM call `on_signal` on the loop; returns what undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    names = (signal.SIGINT, signal.SIGTERM)
    try:
        for name in names:
            loop.add_signal_handler(name, on_signal)
    except NotImplementedError:  # Windows
        old = [(name, signal.signal(name, lambda *_: loop.call_soon_threadsafe(on_signal))) for name in names]
        return lambda: [signal.signal(name, handler) for name, handler in old]
    return lambda: [loop.remove_signal_handler(name) for name in names]

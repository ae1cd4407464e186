"""http.test_client: asks an app in memory, without sockets, a running loop, or waiting.

    client = http.test_client(app)
    assert client.get("/hello").text == "Hello!"

It is no mock: the app runs in an `http.Server`, on connections in memory. Requests are made as bytes, and what comes
back is read by the strict codec; an answer that is framed wrongly fails the test. It keeps connections alive as a
browser does, so what one answer leaves behind strikes the next. It is no client for a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Self

from trews.http.errors import BadMessage, HTTPError
from trews.http.reply import Reply, Wire, parse_set_cookie
from trews.http.request import Answer
from trews.http.request_bytes import make_request
from trews.http.server import Server
from trews.settings import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_NAME = "test-client"
_LIFE = 120.0  # seconds of the app's time for its start, or its end: more than its grace
_GONE = 1.0  # seconds that threads get to end, when their client was forgotten or has left a stream
_BUSY = 10  # times 10,000 turns of the loop that bring no byte


class TestClient:
    """Asks an app, as described above. As a context manager it closes itself.

    It works without a running loop, and inside of one as well, which stands still meanwhile. The app runs on a loop of
    the client's own, on virtual time: where it waits for a deadline, the clock jumps to it. Where it works in threads
    or with sockets, time is real.

    Args:
        app: what `http.Server` takes; or an `http.Server` that listens nowhere yet.
        raise_errors: what a handler raises is raised here, by the call that asked; else the answer is a 500.
        keep_cookies: cookies that answers set are sent with later requests.
        client: the address that the app sees.
        timeout: seconds, of the app's time, that an answer or the next piece of it may take.
        settings: as for `http.Server`.

    Attributes:
        cookies: sent with each request, by name; a dict, to be changed freely.
        server: the `http.Server`.
    """

    __test__ = False  # pytest is not to take it for a test

    def __init__(
        self,
        app: Any,
        *,
        raise_errors: bool = True,
        keep_cookies: bool = True,
        client: Any = ("127.0.0.1", 50000),
        timeout: float = 60.0,
        **settings: Any,
    ) -> None:
        from trews.virtual import DetachedLoop  # here, as only tests need it

        if isinstance(app, Server):
            if settings:
                raise TypeError(f"an http.Server has its settings already: {', '.join(settings)}")
            if app.endpoints:
                raise ValueError(f"http.test_client takes a server that listens nowhere, not {app!r}")
        self.server: Server = app if isinstance(app, Server) else Server(app, **settings)
        self.cookies: dict[str, str] = {}
        self._loop = DetachedLoop()
        # Threads that it shares with others (`http.wsgi`) are there before, and do not show that they work for this.
        self._loop.is_real = bool(getattr(getattr(self.server._class, "app", None), "threads", 0))
        self._keeps_cookies = keep_cookies
        self._address = client
        self._timeout = timeout
        self._idle: list[Wire] = []
        self._wires: list[Wire] = []
        self._due: list[BaseException] = []
        self._is_started = False
        if raise_errors:
            self._tell = self.server.on_error
            self._is_told = type(self.server).on_error is not Server.on_error
            # Weakly: what the app still does must not keep a client that was forgotten.
            self.server.on_error = _weakly(self._note)  # type: ignore[method-assign]

    # -- asking

    def request(self, method: str, path: str, **more: Any) -> Reply:
        """Ask, and wait for the whole answer. Redirects are answers like others: none is followed.

        Args:
            method: any token; case counts.
            path: with its query, if you like; what cannot be in one is escaped.
            query: added to it, encoded: a mapping, or pairs.
            headers: fields, a mapping or pairs; instead of those that would go with the rest, if they are the same.
            json: the body, as JSON.
            form: the body, as a form: a mapping, or pairs.
            data: the body: bytes, text as UTF-8, or an iterable of bytes, which is sent in chunks.

        Raises:
            HTTPError: there is no whole answer: the app gives none, or breaks off.
            BadMessage: (an HTTPError) what it says is no HTTP.
            Exception: what the handler raised.
        """
        reply = self._ask(method, path, **more)
        self.wait(reply, lambda: reply.is_complete)
        self.raise_due()
        return reply

    def stream(self, method: str, path: str, **more: Any) -> Reply:
        """As `request`, but it returns when the head of the answer is there: `for piece in reply` is the rest.

        Use it in a `with`: at its end the client goes, whatever is missing.
        """
        reply = self._ask(method, path, **more)
        self.wait(reply, lambda: reply.status > 0)
        self.raise_due()
        return reply

    def get(self, path: str, **more: Any) -> Reply:
        """`request("GET", path, …)`."""
        return self.request("GET", path, **more)

    def head(self, path: str, **more: Any) -> Reply:
        """`request("HEAD", path, …)`."""
        return self.request("HEAD", path, **more)

    def post(self, path: str, **more: Any) -> Reply:
        """`request("POST", path, …)`."""
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> Reply:
        """`request("PUT", path, …)`."""
        return self.request("PUT", path, **more)

    def patch(self, path: str, **more: Any) -> Reply:
        """`request("PATCH", path, …)`."""
        return self.request("PATCH", path, **more)

    def delete(self, path: str, **more: Any) -> Reply:
        """`request("DELETE", path, …)`."""
        return self.request("DELETE", path, **more)

    def options(self, path: str, **more: Any) -> Reply:
        """`request("OPTIONS", path, …)`."""
        return self.request("OPTIONS", path, **more)

    # -- its life

    def start(self) -> Self:
        """Have the app's start run (`on_start`, an ASGI lifespan). The first request does so by itself.

        Raises:
            Exception: what it raised.
        """
        if self._loop.is_closed():
            raise HTTPError("the test client is closed; make a new one")
        if not self._is_started:
            self._is_started = True
            _close_at_exit(self)
            self._run(self.server.listen(f"memory:{_NAME}").start(), "the start of the app")
        return self

    def close(self) -> None:
        """Let the app end: connections, handlers that go on, `on_stop`.

        Raises:
            Exception: what a handler raised meanwhile.
        """
        self._close()
        self.raise_due()

    def _close(self, grace: float = GRACE) -> None:
        if self._loop.is_closed():
            return
        for wire in self._wires:
            wire.drop()
        try:
            if self._is_started:
                self._run(_stopped(self.server, grace), "the end of the app")
            self._run(self._loop.shutdown_asyncgens(), "the end of async generators")
            self._run(self._loop.shutdown_default_executor(), "the end of threads")
        finally:
            self._loop.close()

    def _forget(self) -> None:
        """End the app, as nobody asks it any more. There is nobody to be raised at: its server logs what goes wrong."""
        if hasattr(self, "_tell"):
            self.server.on_error = self._tell  # type: ignore[method-assign]
        with contextlib.suppress(Exception, asyncio.CancelledError):
            self._close(_GONE if self._loop.is_real else GRACE)

    def __del__(self) -> None:
        if hasattr(self, "_is_started"):  # else it was never made
            self._forget()

    def advance(self, seconds: float) -> None:
        """Let time pass for the app, with everything that is due on the way.

        Raises:
            Exception: what a handler raised meanwhile.
        """
        self.start()
        self._loop.advance(seconds)
        self.raise_due()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        self._close()
        if exc_type is None:
            self.raise_due()

    def __repr__(self) -> str:
        return f"<http.test_client of {self.server!r}>"

    # -- how

    def _ask(self, method: str, path: str, **more: Any) -> Reply:
        """Send a request, as far as it goes."""
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        head, body, is_held = make_request(method, path, cookies if self.cookies else {}, **more)
        self.start()
        wire = self._free()
        wire.out, wire.more, wire.is_held = memoryview(head), body, is_held
        return Reply(self, wire, method, f"{method} {path}")

    def _free(self) -> Wire:
        """A connection that nobody uses."""
        from trews.transport.memory import find_listener

        self._loop.settle()
        while self._idle:
            wire = self._idle.pop()
            if not wire.receive():
                return wire
            if wire.data:
                raise BadMessage(502, f"bytes that nobody asked for: {wire.data[:60]!r}")
            wire.drop()
        listener = find_listener(self._loop, _NAME)
        if listener is None:
            raise HTTPError("the app has stopped")
        wire = Wire(listener.connect(self._address))
        self._wires = [*(old for old in self._wires if not old.is_dropped), wire]
        return wire

    def wait(self, reply: Reply, enough: Callable[[], bool]) -> None:
        """Let the app work until there is enough of the answer."""
        wire = reply.wire
        until = self._loop.time() + self._timeout
        busy = 0
        while not enough():
            moved = wire.send()
            self._loop.settle()
            if wire.receive():
                reply.take()
                moved = True
            if moved:
                busy = 0
            elif wire.is_eof or wire.is_reset:
                reply.ended()
                if not enough():
                    self._fail(
                        reply, "the app has broken it off" if reply.status else "the app has closed the connection"
                    )
            elif self._loop.is_busy:
                busy += 1
                if busy == _BUSY:
                    self._fail(reply, "the app does not come to rest")
            elif not self._loop.pass_time(until):
                passed = f"nothing came for {self._timeout:g} s of the app's time"
                self._fail(reply, passed if self._loop.time() >= until else "nothing is left that could bring it")

    def is_free(self, wire: Wire) -> None:
        """An answer is complete, and its connection may have another request."""
        self._idle.append(wire)

    def left(self, wire: Wire) -> None:
        """An answer is not waited for: let the app see that its client has gone."""
        loop = self._loop
        before, until = loop.in_threads, loop.time() + _GONE
        wire.drop()
        loop.settle()
        # A thread that waits for this client is told in the loop, which turns only here.
        while loop.is_real and loop.in_threads and loop.in_threads >= before and loop.pass_time(until):
            pass

    def _fail(self, reply: Reply, why: str) -> NoReturn:
        why += self._what_is_missing(reply)
        reply.wire.drop()
        self._loop.settle()
        self.raise_due()
        what = f"{reply!r} ends after {len(reply.content)} bytes" if reply.status else f"no answer to {reply.what}"
        raise HTTPError(f"{what}: {why}")

    def _what_is_missing(self, reply: Reply) -> str:
        """What a handler that has returned has not done."""
        for connection in self.server.connections:
            sock = connection._transport.get_extra_info("socket")
            request = getattr(connection, "request", None)
            if sock is reply.wire.sock.peer and request is not None and connection._task is None:
                if request._state is Answer.BEGUN:
                    return "; the handler has returned after start(), and finish() was not called"
                if request._state is Answer.LATER:
                    return "; the handler has returned after defer(), and nothing has answered"
        return ""

    def _run(self, coroutine: Coroutine[Any, Any, Any], what: str) -> None:
        task = self._loop.create_task(coroutine)
        until = self._loop.time() + _LIFE
        self._loop.settle()
        while not task.done():
            if not self._loop.pass_time(until):
                task.cancel()
                self._loop.settle()
                raise HTTPError(f"{what} takes more than {_LIFE:g} s of its time")
        task.result()

    def _note(self, connection: Any, exc: BaseException) -> Any:
        """In the place of the server's `on_error`."""
        self._due.append(exc)
        return self._tell(connection, exc) if self._is_told else None

    def raise_due(self) -> None:
        """Raise what a handler has raised, once."""
        if self._due:
            exc = self._due[0]
            self._due.clear()
            raise exc

    # -- for replies

    def took_head(self, reply: Reply) -> None:
        """The head of an answer has come."""
        if self._keeps_cookies:
            for line in reply.headers.get_all("Set-Cookie"):
                name, value, is_over = parse_set_cookie(line)
                if is_over:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value


test_client = TestClient


async def _stopped(server: Server, grace: float) -> None:
    await server.stop(grace)


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of an object that it does not keep."""
    ref = weakref.WeakMethod(method)

    def call(*args: Any) -> Any:
        bound = ref()
        return bound(*args) if bound is not None else None

    return call


_started: weakref.WeakSet[TestClient] = weakref.WeakSet()


def _close_at_exit(client: TestClient) -> None:
    """Have it end with the program at the latest."""
    _started.add(client)
    _see_to_exit()


@functools.cache
def _see_to_exit() -> None:
    import atexit
    import concurrent.futures.thread  # noqa: F401
    import threading

    # Before the threads of pools are joined, as one may wait for the loop of a client: what is registered last is
    # called first. `atexit` is called after that only, and nothing public before.
    getattr(threading, "_register_atexit", atexit.register)(_end_all)


def _end_all() -> None:
    for client in list(_started):
        client._forget()

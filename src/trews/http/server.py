"""http.Server: a `trews.Server` whose connections speak HTTP/1.1 and ask one handler; `http.serve` blocks."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Self

from trews.endpoint import Endpoint, check_call
from trews.handler import derive
from trews.http.access_log import read_access_log
from trews.http.connection import HTTPConnection
from trews.http.forwarded import DEFAULT_FIELDS, read_proxies
from trews.http.head import Limits
from trews.http.slow_request import check_slow_request
from trews.names import check_names, private_names, takes
from trews.registry import State
from trews.server import Server as StreamServer
from trews.serving import serve as serve_stream
from trews.settings import DEFAULTS, GRACE, KIB, check_known, check_setting

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from trews.connection import Connection
    from trews.registry import Drained

logger = logging.getLogger("trews.http")

# Sizes are bytes, times are seconds; None is no limit.
SETTINGS: dict[str, Any] = {
    "max_head": 32 * KIB,
    "max_fields": 100,
    "max_target": 8 * KIB,
    "max_body": 10 * KIB * KIB,
    "max_trailers": 8 * KIB,
    "head_timeout": 10.0,
    "body_timeout": 10.0,
    "min_body_rate": 500.0,
    "keep_alive_timeout": 75.0,
    "trusted_proxies": None,
    "proxy_fields": DEFAULT_FIELDS,
    "access_log": None,
    "slow_request": None,
    "debug": False,
}

# Settings of connections that have no meaning here: HTTP says how its stream is cut.
_NOT_OURS = ("framer", "max_message", "message_timeout", "half_close")
_LIMITS = ("max_connections", "max_connections_per_host", "max_handshakes")


_RIGHT = (
    "http.serve takes the handler, then where to listen: "
    'http.serve(app, "localhost:8080"), or http.serve(app, 8080) for all interfaces'
)
_RIGHT_SERVER = (
    'http.Server takes the handler; where to listen is said to listen(): http.Server(app).listen("localhost:8080")'
)
_IN_A_LOOP = "`await http.Server(app).listen(...).serve()`"


class Server(StreamServer):
    """Serves HTTP/1.1 on any number of endpoints.

    Args:
        app: the handler, any `f(request)`: a plain function, which gets the body read first; an `async def`, which
            starts at the head; an object with `__call__`; `http.wsgi(...)` or `http.asgi(...)`. If it has coroutine
            functions `on_start(server)` and `on_stop(server)`, they are called before this server's own `on_start`, and
            after its `on_stop`.
        settings: those below, those of connections (`write_timeout`, `idle_timeout`, …) and of `trews.Server`
            (`max_connections`, …).

    Settings (bytes and seconds; None is no limit):
        max_head, max_fields: of a request, 32 KiB and 100 (answered 431). max_target: 8 KiB (414).
        max_body: 10 MiB (413). max_trailers: 8 KiB (431).
        head_timeout: from a head's first byte to its last, 10 s (408).
        min_body_rate: 500 bytes/s, on average, after `body_timeout`, 10 s (408).
        keep_alive_timeout: how long a connection may ask nothing, or send nothing of a body, 75 s.
        trusted_proxies: addresses, networks and "unix", whose `proxy_fields` are believed: X-Forwarded-For and
            X-Forwarded-Proto, or those that are named (see `http.forwarded`). None is nobody.
        access_log: "common", "combined", "json", a logger, or a function that gets `http.access_log.Entry`.
        slow_request: seconds after which a request whose answer has not begun is logged, and where it waits.
        debug: a page with the traceback when a handler fails. Never where others can ask.

    Raises:
        TypeError, ValueError: an unknown setting, or what is no handler.
    """

    _app: Any
    _beside: set[asyncio.Task[Any]]  # handlers that go on after their answer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_names(cls, Server, _private)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls.__init__ is Server.__init__ and (len(args) > 1 or not {"host", "port"}.isdisjoint(kwargs)):
            raise TypeError(_RIGHT_SERVER)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, app: Any, **settings: Any) -> None:
        limits = {name: settings.pop(name) for name in _LIMITS if name in settings}
        super().__init__(connection_class(check_app(app), settings), **limits)
        self._app = app
        self._beside = set()

    def listen(self, *endpoints: Any) -> Any:
        """As `trews.Server.listen`; `tls:` endpoints offer `http/1.1` by ALPN unless they say otherwise."""
        parsed = [Endpoint.parse(endpoint) for endpoint in endpoints]
        has_context = self._class is not None and self._class.tls_context is not None
        # Without a certificate it is refused, and the error is to show what was typed.
        return super().listen(*(with_alpn(e) if has_context or e.get("cert") is not None else e for e in parsed))

    def serve(self, *endpoints: Any) -> Coroutine[Any, Any, Drained]:
        """As `trews.Server.serve`, which takes no endpoints (TypeError)."""
        if endpoints:
            raise TypeError(f"serve() of a Server takes no endpoints, listen() does: {_IN_A_LOOP}")
        return super().serve()

    def on_error(self, connection: Connection, exc: BaseException, /) -> Any:
        """A handler raised `exc`. The default logs the traceback; the client gets a 500 that tells nothing of it."""
        request = getattr(connection, "request", None)
        what = f"{request.method} {request.raw_path} [{request.id}]" if request is not None else "a handler"
        logger.error("%r: %s failed in %s", connection, what, _name(self._app), exc_info=exc)

    # -- a handler that is told of start and stop

    async def _begin(self) -> None:
        begin = getattr(self._app, "on_start", None)
        if begin is not None:
            await begin(self)
        try:
            result = self.on_start()
            if inspect.isawaitable(result):
                await result
        except BaseException:
            await self._end_app()
            raise

    async def _end(self) -> None:
        try:
            result = self.on_stop()
            if inspect.isawaitable(result):
                await result
        finally:
            await self._end_app()

    async def _end_app(self) -> None:
        end = getattr(self._app, "on_stop", None)
        if end is not None:
            await end(self)

    # -- handlers that go on after their answer

    def _adopt(self, task: asyncio.Task[Any]) -> None:
        """Have the stop of the server wait for this."""
        self._beside.add(task)
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        self._beside.discard(task)
        self._check_drained()

    def _check_drained(self) -> None:
        if not self._beside or self._state is not State.STOPPING:
            super()._check_drained()

    def _end_grace(self) -> None:
        for task in self._beside:
            task.cancel()
        super()._end_grace()

    def _give_up(self) -> None:
        for task in self._beside:
            logger.error("%r ignores the end of its server", task)
        self._beside.clear()
        super()._give_up()


def serve(app: Any, *endpoints: Any, grace: float = GRACE, **settings: Any) -> Drained:
    """Serve HTTP until SIGINT or SIGTERM, then drain and return. A second Ctrl-C aborts at once.

    Args:
        app: a handler, as `Server` takes it; or a `Server`.
        endpoints: as for `Server.listen`: `8080`, `"tls:443?cert=c.pem&key=k.pem"`, `"unix:/run/app.sock"`, …
        grace: seconds that requests in progress get when it stops.
        settings: as for `Server`.

    Raises:
        As `trews.serve`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(f"http.serve() blocks and a loop is running here already: use {_IN_A_LOOP}")
    bound = app.endpoints if isinstance(app, Server) else ()
    check_call(_RIGHT, app, (*endpoints, *bound), settings)
    if isinstance(app, Server):
        return serve_stream(app, *endpoints, grace=grace, **settings)
    return serve_stream(Server(app, **settings), *endpoints, grace=grace)


def check_app(app: Any) -> Any:
    """A handler as it is, if it can be one (TypeError)."""
    if isinstance(app, type) or not callable(app):
        what = f"the class {app.__name__}; {app.__name__}() may be one" if isinstance(app, type) else repr(app)
        raise TypeError(f"an HTTP handler is a function of a request, or an object that can be called, not {what}")
    if not takes(app, 1):
        hint = ""
        if takes(app, 2):
            hint = "; a WSGI application is http.wsgi(app)"
        elif takes(app, 3):
            hint = "; an ASGI application is http.asgi(app)"
        raise TypeError(f"the handler {_name(app)} is called with one argument, the request{hint}")
    return app


def starts_at_head(app: Any) -> bool:
    """Whether a handler is called when the head is there, and takes the body as it comes."""
    says = getattr(app, "starts_at_head", None)
    if isinstance(says, bool):
        return says
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004


def connection_class(app: Any, settings: dict[str, Any]) -> type[HTTPConnection]:
    """The class of the connections of a server with this handler and these settings.

    Raises:
        TypeError, ValueError: a setting is unknown, or has a value that it cannot have.
    """
    connection_settings = {name: value for name, value in DEFAULTS.items() if name not in _NOT_OURS}
    check_known(settings, SETTINGS, connection_settings, dict.fromkeys(_LIMITS))
    for name, value in settings.items():
        if name in SETTINGS:
            _check(name, value)
        else:
            check_setting(name, value)
    own = {**SETTINGS, **{name: value for name, value in settings.items() if name in SETTINGS}}
    limits = Limits(own.pop("max_head"), own["max_fields"], own.pop("max_target"))
    attributes = {
        **own,
        **{name: value for name, value in settings.items() if name in connection_settings},
        "app": staticmethod(app),
        "trusted_proxies": read_proxies(own["trusted_proxies"], own.pop("proxy_fields")),
        "access_log": read_access_log(own["access_log"]),
        "starts_at_head": starts_at_head(app),
        "head_limits": limits,
    }
    made: type[HTTPConnection] = derive(HTTPConnection, attributes)  # type: ignore[assignment]
    return made


_SIZES = ("max_head", "max_fields", "max_target", "max_body", "max_trailers")
_TIMES = ("head_timeout", "body_timeout", "keep_alive_timeout")


def _check(name: str, value: Any) -> None:
    """Refuse a value that a setting of HTTP cannot have (TypeError or ValueError)."""
    is_number = not isinstance(value, bool) and isinstance(value, (int, float))
    if name in _SIZES:
        what = "number of fields" if name == "max_fields" else "number of bytes"
        also = ", or None for no limit" if name == "max_body" else ""
        if also and value is None:
            return
        if not is_number or not isinstance(value, int):
            raise TypeError(f"{name} is a {what}{also}, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} is a {what}, 1 or more{also}, not {value!r}")
    elif name in _TIMES and value is not None:
        if not is_number:
            raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
        if not value > 0:
            raise ValueError(f"{name} is a number of seconds above 0, or None for no limit, not {value!r}")
    elif name == "slow_request":
        check_slow_request(value)
    elif name == "debug" and not isinstance(value, bool):
        raise TypeError(f"debug is True or False, not {value!r}")
    elif name == "min_body_rate":
        if not is_number:
            raise TypeError(f"{name} is a number of bytes a second, not {value!r}")
        if not value >= 0:
            raise ValueError(f"{name} is a number of bytes a second, 0 or more, not {value!r}")


def with_alpn(endpoint: Endpoint) -> Endpoint:
    """A `tls:` endpoint that says by ALPN what is spoken here (RFC 7301)."""
    if endpoint.kind != "tls" or endpoint.get("alpn") is not None:
        return endpoint
    return endpoint.with_options(alpn="http/1.1")


def _name(app: Any) -> str:
    return getattr(app, "__qualname__", None) or type(app).__qualname__


_private: frozenset[str] = frozenset()
_private = private_names(Server.__new__(Server))

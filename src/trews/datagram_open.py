"""How a Datagram comes to be: for an endpoint of a server, or with a peer for a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trews.connection import Connection
from trews.datagram import Datagram
from trews.endpoint import Endpoint
from trews.errors import Aborted, ConnectError, EndpointError, ListenError
from trews.names import takes
from trews.settings import DATAGRAM_DEFAULTS, DEFAULTS, check_known
from trews.transport.bound import bind, open_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.transport.resolver import Resolver

_SERVING = 2  # server.State, which stands above


def datagram_class(handler: Any, settings: dict[str, Any]) -> type[Datagram]:
    """The class for `handler` with these settings.

    Raises:
        TypeError: it is no Datagram subclass, or a setting is unknown.
        ValueError: a setting cannot be so.
    """
    if isinstance(handler, Datagram):
        raise TypeError(f"give the class {type(handler).__name__}, not an instance: each endpoint gets its own")
    if not (isinstance(handler, type) and issubclass(handler, Datagram)):
        raise TypeError(f"datagrams are handled by a subclass of trews.Datagram, not by {_shown(handler)}")
    if not takes(handler.__init__, 1):
        raise TypeError(
            f"{handler.__name__} is made without arguments, and its __init__ wants some; "
            "what is shared belongs on a trews.Server subclass, as self.server"
        )
    for name in settings:
        if name in DEFAULTS and name not in DATAGRAM_DEFAULTS:
            raise TypeError(
                f"{name} is for connections: {handler.__name__} is for datagrams, which have no such setting"
            )
    check_known(settings, DATAGRAM_DEFAULTS)
    if not settings:
        cls: type[Datagram] = handler
        return cls
    body = {"__module__": handler.__module__, "__doc__": handler.__doc__, "__qualname__": handler.__qualname__}
    make: Any = type(handler)
    made: type[Datagram] = make(handler.__name__, (handler,), {**body, **settings})
    return made


def _shown(handler: Any) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)


class DatagramListener:
    """An endpoint of a server that takes datagrams: beside its listeners, with what is asked of those.

    Attributes:
        endpoint: as it was bound, with the port that was chosen for 0.
    """

    tls = None
    arriving = 0  # as of a Listener: nothing arrives that is not there

    def __init__(self, endpoint: Endpoint, cls: type[Datagram], server: Any) -> None:
        self._bound = bind(endpoint)
        self.endpoint = self._bound.endpoint
        self._class = cls
        self._server = server
        self._datagram: Datagram | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether it was closed by its own code."""
        return self._datagram is not None and self._datagram.is_closed

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[..., None],
        has_room: Callable[[], bool],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the Datagram; there is nothing to accept.

        Raises:
            ListenError: its settings for groups cannot be had.
        """
        datagram = self._class()
        datagram._server = self._server
        try:
            datagram._open(self._bound)
        except (ListenError, ValueError) as exc:
            raise ListenError(f"cannot listen on {self.endpoint.shown}: {exc}") from None
        self._datagram = datagram

    def pause(self) -> None:
        """The server has as many connections as it may; that is nothing to datagrams."""

    def resume(self) -> None:
        """End of that."""

    def take_all(self) -> None:
        """There is no queue of connections."""

    def close(self) -> None:
        """Give up the endpoint; but a server that is stopping lets its Datagram end by itself."""
        if self._datagram is None:
            self._bound.close()
        elif self._server._state <= _SERVING:
            self._datagram._drop(Aborted("its server did not start"))


def listener_for(
    endpoint: Endpoint, cls: type[Connection] | None, datagram: type[Datagram] | None, server: Any
) -> DatagramListener | None:
    """What listens for datagrams on an endpoint of a server; None if it is for connections.

    Raises:
        EndpointError: the server has no class for such an endpoint.
        ListenError: it cannot be bound.
    """
    if endpoint.kind == "udp" and datagram is None:
        name = cls.__name__ if cls is not None else "nothing"
        raise EndpointError(
            f"{endpoint.shown}: {name} is for connections, and udp: is for datagrams: "
            "serve a subclass of trews.Datagram there, by itself or as Server(..., datagram=...)"
        )
    if endpoint.kind == "udp" or (endpoint.kind == "unix" and cls is None):
        return DatagramListener(endpoint, datagram, server) if datagram is not None else None
    if cls is None and datagram is not None:
        right = f"write 'udp:{str(endpoint).removeprefix('tcp:')}'" if endpoint.kind == "tcp" else "take udp: or unix:"
        raise EndpointError(f"{endpoint.shown.removesuffix(':')}: {datagram.__name__} is for datagrams: {right}")
    return None


def check_kind(endpoint: Endpoint, cls: type[Datagram]) -> None:
    """Refuse an endpoint that has no datagrams (EndpointError)."""
    if endpoint.kind not in ("udp", "unix"):
        raise EndpointError(f"{endpoint.shown}: {cls.__name__} is for datagrams: take udp: or unix:")


async def open_datagram(endpoint: Endpoint, datagram: Datagram, resolver: Resolver | None = None) -> None:
    """Give a new Datagram a socket with a peer, for a client. `on_open` has been called when this returns.

    Args:
        resolver: how names become addresses; None: the operating system is asked.

    Raises:
        ConnectError: as `open_client`, or its settings for groups cannot be had.
        ConnectTimedOut, EndpointError: as `open_client`.
    """
    bound = await open_client(endpoint, resolver)
    try:
        datagram._open(bound)
    except (ListenError, ValueError) as exc:
        bound.close()
        raise ConnectError(endpoint.shown, [(endpoint.shown, str(exc))]) from None
    except BaseException:
        bound.close()
        raise

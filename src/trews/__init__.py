"""trews: network programming made easy. Write the protocol, not the plumbing.

    serve, Server, Drained     servers
    connect, Client            clients: one connection, one that is kept
    Connection, Sent           what both are made of; callbacks or coroutines
    Datagram                   the same for UDP and Unix datagrams
    Endpoint                   where to listen or connect, as a string
    Resolver                   how names become addresses
    framing                    how a stream is cut into messages
    soon, after, every         timers
    in_thread                  what blocks, without holding up the loop
    call_from_thread           from another thread into the loop
    run, EventLoop             the loop
    errors                     all exceptions; they are here too

Layout: `errors`, `endpoint`, `framing`, `inbox` know bytes only; `poller`, `timers`, `transport`, `loop` move them;
`settings`, `connection`, `datagram`, `handler` are the contract; `server`, `client` stand on it.
"""

import typing
from os import environ as _environ

if _environ.get("TREWS_PURE", "") not in ("", "0"):  # before any module that may be compiled
    from trews import build as _build

    _build.use_sources()

from trews import errors, framing
from trews.connection import Connection, PeerCredentials, Sent
from trews.endpoint import Endpoint
from trews.errors import (
    Aborted,
    BusyError,
    ClosedByPeer,
    ClosedLocally,
    ConnectError,
    ConnectionClosed,
    ConnectionReset,
    ConnectTimedOut,
    EndpointError,
    Error,
    FramingError,
    IdleTooLong,
    IncompleteMessage,
    ListenError,
    MessageTooLong,
    MessageTooSlow,
    PeerVanished,
    ProcessExited,
    ResolveError,
    Switched,
    TimedOut,
    TLSError,
    WriteBufferFull,
    WriteStalled,
)
from trews.loop import EventLoop, new_event_loop, run
from trews.threads import call_from_thread, in_thread
from trews.timers import Timer, after, every, soon

if typing.TYPE_CHECKING:
    from trews.client import Client, Connecting, connect
    from trews.datagram import Datagram
    from trews.registry import Connections, Drained, Stats
    from trews.server import Server
    from trews.serving import serve
    from trews.transport.resolver import Resolver

__version__ = "0.1.0"

__all__ = [
    "Aborted",
    "BusyError",
    "Client",
    "ClosedByPeer",
    "ClosedLocally",
    "ConnectError",
    "ConnectTimedOut",
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "ConnectionReset",
    "Connections",
    "Datagram",
    "Drained",
    "Endpoint",
    "EndpointError",
    "Error",
    "EventLoop",
    "FramingError",
    "IdleTooLong",
    "IncompleteMessage",
    "ListenError",
    "MessageTooLong",
    "MessageTooSlow",
    "PeerCredentials",
    "PeerVanished",
    "ProcessExited",
    "ResolveError",
    "Resolver",
    "Sent",
    "Server",
    "Stats",
    "Switched",
    "TLSError",
    "TimedOut",
    "Timer",
    "WriteBufferFull",
    "WriteStalled",
    "after",
    "call_from_thread",
    "connect",
    "errors",
    "every",
    "framing",
    "in_thread",
    "new_event_loop",
    "run",
    "serve",
    "soon",
]


# The half of a program that serves, or connects, is imported when its name is used: most need one, and each costs 3 ms.
_LATER = {
    **dict.fromkeys(("Client", "Connecting", "connect"), "trews.client"),
    **dict.fromkeys(("Connections", "Drained", "Stats"), "trews.registry"),
    "Datagram": "trews.datagram",
    "Resolver": "trews.transport.resolver",
    "Server": "trews.server",
    "serve": "trews.serving",
}


if not typing.TYPE_CHECKING:  # for type checkers, which would believe that every name is here

    def __getattr__(name):
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

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

from trews import errors, framing
from trews.client import Client, Connecting, connect
from trews.connection import Connection, PeerCredentials, Sent
from trews.datagram import Datagram
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
from trews.registry import Connections, Drained, Stats
from trews.server import Server
from trews.serving import serve
from trews.threads import call_from_thread, in_thread
from trews.timers import Timer, after, every, soon
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

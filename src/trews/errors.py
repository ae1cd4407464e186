"""Every exception that trews raises. What is not here: exceptions of the standard library.

Error
├── EndpointError            also ValueError: an endpoint that cannot be parsed; shows where
├── ListenError              also OSError: an endpoint that cannot be listened on
├── ResolveError             also OSError: a name or an address that could not be looked up
├── ConnectError             also ConnectionError: every address tried, and why each failed
│   └── ConnectTimedOut      also TimedOut
├── BusyError                a second reader on one connection
├── TimedOut                 also TimeoutError: the connection survives
└── ConnectionClosed         why a connection ended, one class a reason
    ├── ClosedByPeer         clean: the peer said goodbye (FIN)
    ├── ClosedLocally        clean: this program called close()
    ├── Switched             clean: another Connection has taken over
    ├── ProcessExited        clean if .status is 0: the program at the other end has ended
    ├── ConnectionReset      the peer, or something between, broke it off (RST, EPIPE)
    ├── PeerVanished         no answer to keep-alive probes
    ├── Aborted              abort(), an error in a callback (__cause__), the end of a grace
    ├── WriteBufferFull      the peer does not read and write_limit is reached
    ├── WriteStalled         the peer took no byte for write_timeout or close_timeout
    ├── IdleTooLong          no byte either way for idle_timeout
    ├── MessageTooSlow       a message took longer than message_timeout
    ├── MessageTooLong       a message of more than max_message bytes
    ├── FramingError         bytes that the framer cannot accept
    ├── IncompleteMessage    the peer ended in the middle of a message (.partial)
    └── TLSError             also OSError: handshake, certificate, truncation
"""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


class Error(Exception):
    """The root of all exceptions of trews."""


class EndpointError(Error, ValueError):
    """An endpoint that cannot be parsed.

    Args:
        message: what is wrong and what was expected.
        text: the whole endpoint as it was given, `""` if it was not text.
        position: index into `text` of the first character that is wrong.
    """

    def __init__(self, message: str, text: str = "", position: int | None = None) -> None:
        self.text = text
        self.position = position
        if text and position is not None:
            shown = "".join(c if c.isprintable() else "?" for c in text)
            message = f"{message}\n  {shown}\n  {' ' * position}^"
        super().__init__(message)


class ListenError(Error, OSError):
    """An endpoint that cannot be listened on: the port is busy, privileged, not of this machine."""


class ResolveError(Error, OSError):
    """A name, an address or a service that could not be looked up; says which, and why."""


class TimedOut(Error, TimeoutError):
    """A `timeout=` of a call ran out. The connection, if there was one, is still open."""


class ConnectError(Error, ConnectionError):
    """No connection could be made.

    Args:
        target: the endpoint that was asked for.
        attempts: `(address, reason)` of every address tried, in order.
    """

    def __init__(self, target: str, attempts: Sequence[tuple[str, str]] = ()) -> None:
        self.target = target
        self.attempts = tuple(attempts)
        if len(self.attempts) == 1 and self.attempts[0][0] == target:
            tried = self.attempts[0][1]
        else:
            tried = "; ".join(f"{address}: {reason}" for address, reason in self.attempts)
        super().__init__(f"cannot connect to {target.removesuffix(':')}: {tried}" if tried else target)


class ConnectTimedOut(ConnectError, TimedOut):
    """No connection was made before the deadline."""


class BusyError(Error):
    """A second `read()` while one is waiting on the same connection."""


class ConnectionClosed(Error):
    """Why a connection ended. `on_close` gets it, and waiting calls raise it.

    `connection` is the connection that ended; `is_clean` tells an orderly end from a failure.
    """

    is_clean = False
    summary = "the connection has ended"
    connection: Any = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.summary)

    def fresh(self) -> Self:
        """A copy with a traceback of its own, for raising in one more place."""
        copy = type(self).__new__(type(self), *self.args)
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.__cause__ = self.__cause__
        return copy


class ClosedByPeer(ConnectionClosed):
    """The peer ended the connection in an orderly way."""

    is_clean = True
    summary = "the peer closed the connection"


class ClosedLocally(ConnectionClosed):
    """This program closed the connection (or its writing side)."""

    is_clean = True
    summary = "the connection was closed by this program"


class Switched(ConnectionClosed):
    """Another Connection has taken over the transport."""

    is_clean = True
    summary = "another connection object has taken over"


class ProcessExited(ConnectionClosed):
    """The program at the other end (of an `exec:` endpoint) has ended.

    `status` is its exit status; negative, the number of the signal that ended it. Clean if it is 0.
    """

    def __init__(self, message: str = "", status: int = 0) -> None:
        self.status = status
        self.is_clean = status == 0
        super().__init__(message or _how_it_ended(status))


class ConnectionReset(ConnectionClosed):
    """The peer, or something between, broke the connection off."""

    summary = "the peer broke the connection off"


class PeerVanished(ConnectionClosed):
    """The peer no longer answers keep-alive probes or retransmissions."""

    summary = "the peer no longer answers"


class Aborted(ConnectionClosed):
    """This program dropped the connection; after an error in a callback that is `__cause__`."""

    summary = "the connection was aborted by this program"


class WriteBufferFull(ConnectionClosed):
    """More than `write_limit` bytes waited for a peer that does not read."""


class WriteStalled(ConnectionClosed):
    """Bytes waited and the peer took none for `write_timeout` (or `close_timeout`) seconds."""


class IdleTooLong(ConnectionClosed):
    """No byte either way for `idle_timeout` seconds."""


class MessageTooSlow(ConnectionClosed):
    """A message took longer than `message_timeout` from its first byte to its last."""


class MessageTooLong(ConnectionClosed):
    """A message of more than `max_message` payload bytes."""


class FramingError(ConnectionClosed):
    """Bytes that the framer cannot accept; says what came and what was expected."""


class IncompleteMessage(ConnectionClosed):
    """The peer ended in the middle of a message. `partial` holds the bytes that came."""

    def __init__(self, partial: bytes = b"", message: str = "") -> None:
        self.partial = bytes(partial)
        count = len(self.partial)
        super().__init__(message or f"the peer ended in the middle of a message, after {count} bytes of it")

    def fresh(self) -> Self:
        """A copy with a traceback of its own, for raising in one more place."""
        copy = super().fresh()
        copy.partial = self.partial
        return copy


class TLSError(ConnectionClosed, OSError):
    """The TLS handshake failed, a certificate was refused, or the stream was cut short."""


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"the program has ended with status {status}"
    try:
        return f"the program was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"the program was ended by signal {-status}"


_SENTENCES = {
    errno.ECONNREFUSED: "connection refused (is a server listening there?)",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.ECONNRESET: "the peer broke the connection off",
    errno.EPIPE: "the peer broke the connection off",
    errno.EADDRINUSE: "the address is in use by another program",
    errno.EADDRNOTAVAIL: "the address does not belong to this machine",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EMFILE: "too many open files in this process (see `ulimit -n`)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOENT: "no such file or directory",
    errno.EAFNOSUPPORT: "this machine does not support that kind of address",
}

_VANISHED = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


def sentence(exc: BaseException) -> str:
    """What an exception of the operating system means, in words."""
    number = getattr(exc, "errno", None)
    if isinstance(exc, OSError) and number is not None:
        return _SENTENCES.get(number) or exc.strerror or os.strerror(number)
    return str(exc) or type(exc).__name__


def closed_by(exc: BaseException | None) -> ConnectionClosed:
    """The reason that stands for what a transport reported: the one place where OSErrors are translated."""
    if isinstance(exc, ConnectionClosed):
        return exc
    reason: ConnectionClosed
    if exc is None:
        reason = ClosedByPeer()
    elif isinstance(exc, OSError) and exc.errno in _VANISHED:
        reason = PeerVanished()
    elif isinstance(exc, OSError):
        reason = ConnectionReset() if isinstance(exc, ConnectionError) else ConnectionReset(sentence(exc))
    else:
        reason = Aborted(f"the transport failed: {exc!r}")
    reason.__cause__ = exc
    return reason

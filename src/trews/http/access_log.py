"""The access log: one line a request, in which nothing that a peer sent can be more than a text.

    common    203.0.113.9 - - [21/Nov/2026:20:15:00 +0000] "GET /a HTTP/1.1" 200 13
    combined  the same, and "Referer" "User-Agent"
    json      an object with these, the duration in seconds, the host and the request's id

A line is written when the answer is complete, or will never be. Its status is that of the answer; 499 if the connection
was lost before there was one. A client that has ended what it sends may be gone, or may wait for its answer yet
(half-close), and nobody can tell: it is answered, the status is that of the answer, and the answer does not count as
complete. Of a head that could not be read the request is `-`.

Control characters, quotes, backslashes and what is not ASCII are written as `\\xHH`; no line has more than one line.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from time import gmtime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.http.connection import HTTPConnection
    from trews.http.request import Request

LOGGER = "trews.http.access"
MAX_FIELD = 8 * 1024  # characters of one field that a peer has sent; what is behind them is cut off
GONE = 499  # the status of what was not answered, as the connection was lost

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_UNSAFE_WORD = re.compile(r"[^!#-\[\]-~]")

logger = logging.getLogger("trews.http")


class Entry:
    """What there is to say of a request that has ended. A function as `access_log` gets it.

    Attributes:
        connection: the connection it came on.
        request: the request; None if its head could not be read.
        status: of the answer; 499 if there is none, as the connection was lost.
        size: bytes of the body that were sent; of a file that was cut off, those that the system has taken.
        is_complete: whether all of the answer was sent, to a client that had not ended before.
        duration: seconds from its head to now.
    """

    __slots__ = ("connection", "duration", "is_complete", "request", "size", "status")

    def __init__(
        self, connection: HTTPConnection, request: Request | None, status: int, size: int, is_complete: bool
    ) -> None:
        self.connection = connection
        self.request = request
        self.status = status
        self.size = size
        self.is_complete = is_complete
        self.duration = connection._clock.now() - request._begun_at if request is not None else 0.0

    def __repr__(self) -> str:
        return f"<Entry {escaped(self.line)} {self.status} {self.size}>"

    @property
    def client(self) -> str:
        """The host, or the path of a Unix socket; `""` if it has none. As it is: not escaped."""
        request = self.request
        return host_of(self.connection.remote_address if request is None else request.client)

    @property
    def line(self) -> str:
        """The request's first line, as it was sent; `"-"` if it could not be read."""
        request = self.request
        if request is None:
            return "-"
        return f"{request.method} {request.target.decode('ascii')} HTTP/{request.version}"

    @property
    def referer(self) -> str:
        """The field Referer as it was sent, `""` without."""
        return ", ".join(self.request._all("Referer")) if self.request is not None else ""

    @property
    def agent(self) -> str:
        """The field User-Agent as it was sent, `""` without."""
        return ", ".join(self.request._all("User-Agent")) if self.request is not None else ""

    @property
    def id(self) -> str:
        """The request's id; `""` if its head could not be read."""
        return self.request.id if self.request is not None else ""


class AccessLog:
    """Writes entries to a logger, as INFO; what it does not take is not even formatted.

    Args:
        target: a logger.
        write: makes a line of an entry.
    """

    def __init__(self, target: logging.Logger, write: Callable[[Entry], str]) -> None:
        self._target = target
        self._write = write

    def __call__(
        self, connection: HTTPConnection, request: Request | None, status: int, size: int, is_complete: bool
    ) -> None:
        """A request has ended."""
        if self._target.isEnabledFor(logging.INFO):
            self._target.info("%s", self._write(Entry(connection, request, status, size, is_complete)))


class AccessFunction:
    """Calls a user's function with entries; when it raises, that is logged, and nobody's request suffers from it."""

    def __init__(self, function: Callable[[Entry], Any]) -> None:
        self._function = function

    def __call__(
        self, connection: HTTPConnection, request: Request | None, status: int, size: int, is_complete: bool
    ) -> None:
        """A request has ended."""
        try:
            self._function(Entry(connection, request, status, size, is_complete))
        except Exception as exc:
            logger.error("%r: the access_log function failed", connection, exc_info=exc)


def common(entry: Entry) -> str:
    """The Common Log Format of old; the size of no bytes is `-`."""
    client = _UNSAFE_WORD.sub(_escape, entry.client[:MAX_FIELD]) or "-"
    return f'{client} - - [{_stamp()[0]}] "{escaped(entry.line)}" {entry.status} {entry.size or "-"}'


def combined(entry: Entry) -> str:
    """The same with Referer and User-Agent, as most programs that read such logs want it."""
    return f'{common(entry)} "{escaped(entry.referer) or "-"}" "{escaped(entry.agent) or "-"}"'


def as_json(entry: Entry) -> str:
    """One object, in ASCII; what is not known is null."""
    request = entry.request
    found: dict[str, Any] = {
        "time": _stamp()[1],
        "client": entry.client[:MAX_FIELD] or None,
        "method": None,
        "target": None,
        "version": None,
        "host": None,
        "status": entry.status,
        "size": entry.size,
        "duration": round(entry.duration, 6),
        "complete": entry.is_complete,
        "referer": entry.referer[:MAX_FIELD] or None,
        "agent": entry.agent[:MAX_FIELD] or None,
        "id": entry.id or None,
    }
    if request is not None:
        found["method"] = request.method
        found["target"] = request.target.decode("ascii")
        found["version"] = request.version
        found["host"] = request.host or None
    return json.dumps(found).replace("\x7f", "\\u007f")  # the one control character that json leaves as it is


def host_of(address: Any) -> str:
    """The host of an address, or the path of a Unix socket; `""` if it has none. As it is: not escaped."""
    return str(address[0]) if isinstance(address, tuple) else str(address or "")


def escaped(text: str) -> str:
    """A text that a peer sent, for a line of a log: one line, in ASCII, without quotes that could end it."""
    return _UNSAFE.sub(_escape, text[:MAX_FIELD])


def read_access_log(value: Any) -> AccessLog | AccessFunction | None:
    """What the setting `access_log` stands for.

    Raises:
        TypeError, ValueError: it stands for nothing; says what does.
    """
    if value is None or value is False:
        return None
    if isinstance(value, str):
        if value not in _FORMATS:
            raise ValueError(f"access_log is {', '.join(map(repr, _FORMATS))}, a logger or a function, not {value!r}")
        return AccessLog(logging.getLogger(LOGGER), _FORMATS[value])
    if isinstance(value, logging.Logger):
        return AccessLog(value, combined)
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"access_log is {', '.join(map(repr, _FORMATS))}, a logger or a function, not {value!r}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise TypeError("access_log is a plain function: it is called at once, and nobody awaits what it returns")
    return AccessFunction(value)


_FORMATS: dict[str, Callable[[Entry], str]] = {"common": common, "combined": combined, "json": as_json}

_second = -1
_stamps = ("", "")


def _stamp() -> tuple[str, str]:
    """Now, for the common format and for JSON, in UTC. It is made once a second."""
    global _second, _stamps
    now = int(time())
    if now != _second:
        year, month, day, hour, minute, second = gmtime(now)[:6]
        clock = f"{hour:02}:{minute:02}:{second:02}"
        _stamps = (
            f"{day:02}/{_MONTHS[month - 1]}/{year}:{clock} +0000",
            f"{year}-{month:02}-{day:02}T{clock}Z",
        )
        _second = now
    return _stamps


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in '"\\':
        return "\\" + character
    return character.encode("unicode_escape").decode("ascii") if ord(character) > 255 else f"\\x{ord(character):02x}"

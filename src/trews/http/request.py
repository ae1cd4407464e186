"""Request: what a handler gets. What was asked is here, and so is the answer, if it is given step by step."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote_to_bytes

from trews.http.cookies import parse_cookies
from trews.http.errors import Error
from trews.http.forwarded import Origin
from trews.http.http1 import Writer
from trews.http.multi import Headers, MultiDict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable

    from trews.http.body import Body
    from trews.http.connection import HTTPConnection
    from trews.http.head import RequestHead
    from trews.transport.tls_facts import TLS


class Answer(IntEnum):
    """How far the answer to a request is."""

    NONE = 0
    LATER = 1  # the handler has returned, and will answer
    BEGUN = 2  # its head is made
    DONE = 3


class Request:
    """A request, and the way to answer it. Attributes may be added freely: `request.user = …`.

    Attributes:
        connection: the connection it came on.
        method: as it was sent: `"GET"`.
        target: as it was sent: `b"/a%20b?x=1"`.
        content: the body, once it is read: in a plain `def` always.
    """

    _body: Body | None = None
    _writer: Writer | None = None
    _state = Answer.NONE
    _is_deferred = False
    _waiters: list[asyncio.Future[None]] | None = None  # for the end of the answer or of the client (ASGI)
    _begun_at = 0.0  # for the logs, if there are any
    _is_logged = False
    _is_read = False
    content: bytes = b""

    def __init__(self, connection: HTTPConnection, head: RequestHead) -> None:
        self.connection = connection
        self._head = head

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"

    # -- what was asked

    @property
    def method(self) -> str:
        """As it was sent; case counts."""
        return self._head.method

    @property
    def target(self) -> bytes:
        """As it was sent: a path with its query, a URL, `*`, or the host of a CONNECT."""
        return self._head.target

    @property
    def raw_path(self) -> str:
        """The path as it was sent, without the query: `"/a%20b"`."""
        return self._split()[0]

    @property
    def path(self) -> str:
        """The path, decoded: `"/a b"`. What is no UTF-8 is there as surrogates (PEP 383)."""
        raw = self._split()[0]
        return unquote_to_bytes(raw).decode("utf-8", "surrogateescape") if "%" in raw else raw

    @property
    def raw_query(self) -> str:
        """What follows the `?`, as it was sent."""
        return self._split()[1]

    @property
    def query(self) -> MultiDict:
        """The query's values, decoded: `"?a=1&a=2"` has two of the name `a`."""
        return parse_query(self._split()[1])

    def _split(self) -> tuple[str, str]:
        target = self._head.target
        if not target.startswith(b"/") and self._head.method != "CONNECT" and target != b"*":
            target = (
                b"/" + target.split(b"://", 1)[1].partition(b"/")[2]
                if b"/" in target.split(b"://", 1)[1]
                else (b"/" + (b"?" + target.partition(b"?")[2] if b"?" in target else b""))
            )
        path, _, query = target.decode("ascii").partition("?")
        return path, query

    @property
    def headers(self) -> Headers:
        """Its fields: `request.headers["Accept"]`."""
        headers = self.__dict__.get("_headers")
        if headers is None:
            headers = self.__dict__["_headers"] = Headers(
                [(name.decode("ascii"), value.decode("latin-1")) for name, value in self._head.pairs()]
            )
        return headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that came with it, by name."""
        return parse_cookies("; ".join(self.headers.get_all("Cookie")))

    @property
    def version(self) -> str:
        """`"1.1"` or `"1.0"`."""
        return "1.1" if self._head.minor else "1.0"

    @property
    def host(self) -> str:
        """The host that was asked for, with the port if it was given: `"example.org:8080"`; `""` if none was."""
        if self.connection.trusted_proxies is not None:
            return self._origin().host
        host = self._head.host
        return "" if host is None else host.decode("ascii")

    @property
    def scheme(self) -> str:
        """`"https"` or `"http"`."""
        if self.connection.trusted_proxies is not None:
            return self._origin().scheme
        return "http" if self.connection.tls is None else "https"

    @property
    def client(self) -> Any:
        """Who asks: `(host, port)`, or the path of a Unix socket."""
        if self.connection.trusted_proxies is not None:
            return self._origin().client
        return self.connection.remote_address

    def _origin(self) -> Origin:
        """Where it comes from, if a proxy may say so."""
        origin: Origin | None = self.__dict__.get("_origin_found")
        if origin is None:
            connection = self.connection
            host = self._head.host
            origin = Origin(
                connection.remote_address,
                "http" if connection.tls is None else "https",
                "" if host is None else host.decode("ascii"),
            )
            if connection.trusted_proxies is not None:
                origin = connection.trusted_proxies.origin(self.headers, origin)
            self.__dict__["_origin_found"] = origin
        return origin

    @property
    def id(self) -> str:
        """What it is called in logs: the X-Request-ID that a known proxy has given it, else 16 random characters."""
        found: str | None = self.__dict__.get("_id")
        if found is None:
            proxies = self.connection.trusted_proxies
            given = proxies.request_id(self.headers, self.connection.remote_address) if proxies is not None else ""
            found = self.__dict__["_id"] = given or os.urandom(8).hex()
        return found

    @property
    def tls(self) -> TLS | None:
        """What TLS knows of the connection; None on a plain one."""
        return self.connection.tls

    @property
    def trailers(self) -> Headers:
        """The fields behind a chunked body, once it is read; kept apart from `headers` (RFC 9110, 6.5.1)."""
        fields = self._body.trailers if self._body is not None else None
        return Headers(
            [(n.decode("ascii"), v.decode("latin-1")) for n, v in fields.pairs()] if fields is not None else ()
        )

    # -- its body

    async def read(self) -> bytes:
        """Wait for the whole body. Afterwards it is `content`, too.

        Raises:
            BadMessage: it is larger than `max_body` (413), or no body (400). Not caught, that is the answer.
            ConnectionClosed: the peer has ended before its end.
        """
        body = self._body
        if body is not None and not self._is_read:
            pieces = []
            while piece := await body.next():
                pieces.append(piece)
            self._set_content(b"".join(pieces))
        return self.content

    def _set_content(self, content: bytes) -> None:
        self.content = content
        self._is_read = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they come; the peer is held back meanwhile. Raises as `read()` does."""
        if self._body is not None:
            while piece := await self._body.next():
                yield piece

    @property
    def text(self) -> str:
        """`content` as text, by the charset of its Content-Type, UTF-8 without.

        Raises:
            Error: (400) it is not in that charset, or that is not known (415).
        """
        try:
            return self.content.decode(charset_of(self.headers.get("Content-Type", "")))
        except LookupError as exc:
            raise Error(415, "the charset of the body is not known") from exc
        except UnicodeDecodeError as exc:
            raise Error(400, "the body is not in the charset that it says") from exc

    def json(self) -> Any:
        """`content` as JSON.

        Raises:
            Error: (400) it is none.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as exc:
            raise Error(400, "the body is no JSON") from exc

    # -- its answer, step by step

    def defer(self) -> None:
        """Say in a plain handler that the answer comes later: by `respond()`, or by `start()` and the others."""
        self._is_deferred = True
        if self._state is Answer.NONE:
            self._state = Answer.LATER

    def respond(self, result: Any) -> None:
        """Answer, with whatever a handler may return.

        Raises:
            TypeError, ValueError: it is no answer; nothing was sent.
            RuntimeError: there is an answer already.
        """
        self._require_unanswered()
        self._state = Answer.LATER
        self.connection._respond(self, result)

    def start(
        self, status: int = 200, headers: Iterable[tuple[str, str]] | dict[str, str] = (), reason: str | None = None
    ) -> Self:
        """Begin the answer. `write` and `finish` go on; without Content-Length in `headers` the body is chunked.

        Raises:
            BadAnswer: it cannot be sent; nothing was.
            RuntimeError: there is an answer already.
        """
        self._require_unanswered()
        self.connection._begin_steps(self, status, headers.items() if isinstance(headers, dict) else headers, reason)
        return self

    def write(self, data: bytes | str) -> None:
        """Send a piece of the body; text as UTF-8. It waits if the peer is slow: see `drain()`.

        Raises:
            BadAnswer: it is more than Content-Length said.
            RuntimeError: `start` was not called, or `finish` was.
        """
        if self._state is not Answer.BEGUN or self._writer is None:
            raise RuntimeError("write() comes between start() and finish()")
        piece = self._writer.body(data.encode() if isinstance(data, str) else bytes(data))
        if piece:
            self.connection._send_out(piece)

    async def drain(self) -> None:
        """Wait until the peer keeps up with what was written.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        self.connection._uncork()
        await self.connection.drain()

    def finish(self, data: bytes | str = b"", trailers: Iterable[tuple[str, str]] = ()) -> None:
        """End the answer, with a last piece perhaps.

        Raises:
            BadAnswer: the body is not what Content-Length said. The connection is aborted, so that the client knows.
            RuntimeError: `start` was not called, or this was.
        """
        if self._state is not Answer.BEGUN or self._writer is None:
            raise RuntimeError("finish() comes once, after start()")
        try:
            last = self._writer.body(data.encode() if isinstance(data, str) else bytes(data)) if data else b""
            last += self._writer.end(trailers)
        except ValueError:
            self.connection._abandon(self)
            raise
        if last:
            self.connection._send_out(last)
        self.connection._answered(self)

    def inform(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send an interim answer, such as 103 Early Hints (RFC 8297). HTTP/1.0 clients get none.

        Raises:
            BadAnswer, RuntimeError: it cannot be sent, or the answer has begun.
        """
        self._require_unanswered()
        self.connection._inform(self, status, headers)

    def _require_unanswered(self) -> None:
        if self._state > Answer.LATER:
            raise RuntimeError(f"{self!r} has its answer already")

    async def disconnected(self) -> None:
        """Wait until the client has gone: it has ended, or the connection is lost.

        A client that only ends what it sends (`printf … | nc`) is taken for gone, too, and still gets its answer.
        """
        await self.connection._wait_gone()

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has gone."""
        return self.connection._is_client_gone


def parse_query(text: str) -> MultiDict:
    """The values of a query, decoded as UTF-8. `&` separates them, and nothing else does."""
    pairs = []
    for part in text.split("&"):
        if part:
            name, _, value = part.replace("+", " ").partition("=")
            pairs.append((_decoded(name), _decoded(value)))
    return MultiDict(pairs)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type says, `"utf-8"` without."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or "utf-8"
    return "utf-8"

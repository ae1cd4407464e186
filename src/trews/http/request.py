"""Request: what a handler gets. What was asked is here, and so is the answer, if it is given step by step."""

from __future__ import annotations

import os
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from trews.http.body import keep
from trews.http.content import as_bytes, decode_json, decode_text, parse_query, percent_decoded
from trews.http.cookies import parse_cookies
from trews.http.forwarded import Origin
from trews.http.http1 import Writer
from trews.http.multi import Headers, MultiDict, checked_pairs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from trews.http.body import Body
    from trews.http.connection import HTTPConnection
    from trews.http.head import Fields, RequestHead
    from trews.transport.tls_facts import TLS


_T = TypeVar("_T")


_PATTERNS: dict[str, re.Pattern[bytes]] = {}  # by the names that this library asks for


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
    """

    _body: Body | None = None
    _writer: Writer | None = None
    _state = Answer.NONE
    _is_deferred = False
    _waiters: list[asyncio.Future[None]] | None = None  # for the end of the answer or of the client (ASGI)
    _begun_at = 0.0  # for the logs, if there are any
    _is_logged = False
    _file_from = -1  # of a body that is a file: how many bytes the connection had sent before it
    _pieces: list[bytes | bytearray] | None = None  # of a body that is being read
    _content: bytes | None = None

    def __init__(self, connection: HTTPConnection, head: RequestHead) -> None:
        self.connection = connection
        self._head = head

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        """What is made when first asked for."""
        made: _T | None = self.__dict__.get(name)
        if made is None:
            made = self.__dict__[name] = make()
        return made

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
        """The path, decoded: `"/a b"`. What is no UTF-8 is `"\\ufffd"`; `raw_path` has it as it was sent.

        Neither `..` nor `//` is resolved, and `%00` is a character as any other: it is no path of a file yet.
        """
        return percent_decoded(self._split()[0])

    @property
    def raw_query(self) -> str:
        """What follows the `?`, as it was sent; `""` without."""
        return self._split()[1]

    @property
    def query(self) -> MultiDict:
        """The query's values, decoded: `"?a=1&a=2"` has two of the name `a`.

        Raises:
            Error: (400) there are more than 1000. Not caught, that is the answer.
        """
        return self._once("_query", lambda: parse_query(self._split()[1]))

    def _split(self) -> tuple[str, str]:
        path, _, query = self._head.target.decode("ascii").partition("?")
        if path[:1] != "/" and "://" in path:  # a URL, as proxies get it (RFC 9112, 3.2.2)
            path = "/" + path.partition("://")[2].partition("/")[2]
        return path, query

    @property
    def headers(self) -> Headers:
        """Its fields: `request.headers["Accept"]`. What is not ASCII in them is read as Latin-1."""
        return self._once("_headers", lambda: _headers(self._head))

    def _all(self, name: str) -> list[str]:
        """The values of one field, without making `headers` of all of them: 0.7 us instead of 8."""
        pattern = _PATTERNS.get(name)
        if pattern is None:
            letters = "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in name)
            pattern = _PATTERNS[name] = re.compile(rf"\n{letters}:[ \t]*([^\r]*)".encode())
        head = self._head
        # Each line of the head begins behind a line end, that of the request line being the first.
        return [v.rstrip(b" \t").decode("latin-1") for v in pattern.findall(head.data, head.begin - 1, head.end)]

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that came with it, by name, as they were sent: 200 at most."""
        return self._once("_cookies", lambda: parse_cookies("; ".join(self._all("Cookie"))))

    @property
    def version(self) -> str:
        """`"1.1"` or `"1.0"`."""
        return "1.1" if self._head.minor else "1.0"

    @property
    def host(self) -> str:
        """The host that was asked for, with the port if it was given: `"example.org:8080"`; `""` if none was.

        It is a host by its form, but whatever a client chose to send; or what a known proxy says (`trusted_proxies`).
        """
        if self.connection.trusted_proxies is not None:
            return self._origin().host
        host = self._head.host
        return "" if host is None else host.decode("ascii")

    @property
    def scheme(self) -> str:
        """`"https"` or `"http"`: as the connection has it, or as a known proxy says."""
        if self.connection.trusted_proxies is not None:
            return self._origin().scheme
        return "http" if self.connection.tls is None else "https"

    @property
    def client(self) -> Any:
        """Who asks: `(host, port)`; whom a known proxy speaks for, the port perhaps 0.

        Of a client on a Unix socket it is the path that its own socket is bound to: `""` for nearly all of them.
        """
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
                origin = connection.trusted_proxies.origin(self._all, origin)
            self.__dict__["_origin_found"] = origin
        return origin

    @property
    def id(self) -> str:
        """What it is called in logs: the X-Request-ID that a known proxy has given it, else 16 random characters."""
        found: str | None = self.__dict__.get("_id")
        if found is None:
            proxies = self.connection.trusted_proxies
            given = proxies.request_id(self._all, self.connection.remote_address) if proxies is not None else ""
            found = self.__dict__["_id"] = given or os.urandom(8).hex()
        return found

    @property
    def tls(self) -> TLS | None:
        """What TLS knows of the connection; None on a plain one."""
        return self.connection.tls

    @property
    def trailers(self) -> Headers:
        """The fields behind a chunked body, once all of it has come; kept apart from `headers` (RFC 9110, 6.5.1)."""
        fields = self._body.trailers if self._body is not None else None
        return _headers(fields) if fields is not None else Headers()

    # -- its body

    async def read(self) -> bytes:
        """Wait for the whole body, or for what of it was not taken yet. Afterwards it is `content`, too.

        Given up in the middle, by a timeout perhaps, it can be called again: nothing is lost.

        Raises:
            BadMessage: it is larger than `max_body` (413), or no body (400). Not caught, that is the answer.
            IncompleteMessage, or another ConnectionClosed: the peer has ended, or the connection was lost, before it.
            RuntimeError: another task reads it.
        """
        body = self._body
        if body is not None and self._content is None:
            if self._pieces is None:
                self._pieces = []
            pieces = self._pieces
            while piece := await body.next():
                keep(pieces, piece)
            self._set_content(bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces))
            self._pieces = None
        return self.content

    @property
    def content(self) -> bytes:
        """The body: in a plain `def` always, in an `async def` once it is read; `b""` if there is none.

        Raises:
            RuntimeError: it is not read yet.
        """
        if self._content is None:
            if self._body is not None:
                raise RuntimeError("the body of this request is not read yet: await request.read() first")
            return b""
        return self._content

    def _set_content(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they come; the peer is held back meanwhile. Raises as `read()` does."""
        if self._body is not None:
            while piece := await self._body.next():
                yield piece

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "the body of a request comes in pieces to `async for piece in request`, in an `async def`;"
            " a plain handler has all of it in request.content"
        )

    @property
    def text(self) -> str:
        """`content` as text, by the charset of its Content-Type, UTF-8 without.

        Raises:
            Error: (400) it is not in that charset, or that is not known (415).
            RuntimeError: it is not read yet.
        """
        return decode_text(self.content, "".join(self._all("Content-Type")))

    def json(self) -> Any:
        """`content` as JSON, whatever its Content-Type says.

        Raises:
            Error: (400) it is none; NaN and Infinity are none (RFC 8259, 6), nor is what nests too deeply.
            RuntimeError: it is not read yet.
        """
        return decode_json(self.content)

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
        self,
        status: int = 200,
        headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
        reason: str | None = None,
    ) -> Self:
        """Begin the answer. `write` and `finish` go on; without Content-Length in `headers` the body is chunked.

        Raises:
            BadAnswer, TypeError: it cannot be sent; nothing was.
            RuntimeError: there is an answer already.
        """
        self._require_unanswered()
        if not isinstance(status, int):
            raise TypeError(
                f"a status is a number such as 200, not {status!r}; its words, if others are wanted, are `reason=`"
            )
        self.connection._begin_steps(self, status, checked_pairs(headers), reason)
        return self

    def write(self, data: bytes | str) -> None:
        """Send a piece of the body; text as UTF-8. What a slow peer does not take yet is kept: see `drain()`.

        Raises:
            TypeError: it is neither.
            BadAnswer: it is more than Content-Length said.
            RuntimeError: `start` was not called, or `finish` was.
        """
        if self._state is not Answer.BEGUN or self._writer is None:
            raise RuntimeError("write() comes between start() and finish()")
        piece = self._writer.body(as_bytes(data))
        if piece:
            self.connection._send_out(piece)

    async def drain(self) -> None:
        """Wait until the peer keeps up with what was written.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        self.connection._uncork()
        await self.connection.drain()

    def finish(self, data: bytes | str = b"", trailers: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        """End the answer, with a last piece perhaps.

        Raises:
            BadAnswer: the body is not what Content-Length said. The connection is aborted, so that the client knows.
            RuntimeError: `start` was not called, or this was.
        """
        if self._state is not Answer.BEGUN or self._writer is None:
            raise RuntimeError("finish() comes once, after start()")
        try:
            last = self._writer.body(as_bytes(data)) if data else b""
            last += self._writer.end(checked_pairs(trailers))
        except ValueError:
            self.connection._abandon(self)
            raise
        if last:
            self.connection._send_out(last)
        self.connection._answered(self)

    def inform(self, status: int, headers: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        """Send an interim answer, such as 103 Early Hints (RFC 8297). HTTP/1.0 clients get none.

        Raises:
            BadAnswer, RuntimeError: it cannot be sent, or the answer has begun.
        """
        self._require_unanswered()
        self.connection._inform(self, status, checked_pairs(headers))

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


def _headers(fields: Fields) -> Headers:
    # Decoded at once: half the time of decoding each of `fields.pairs()`.
    lines = fields.data[fields.begin : fields.end].decode("latin-1").split("\r\n")
    lines.pop()  # what is behind the last line end: nothing
    return Headers([(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)])

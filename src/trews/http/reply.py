"""What `http.test_client` gets back: a `Reply`, read off a `Wire` by the strict codec. Who waits for it is there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from trews.http.content import charset_of
from trews.http.errors import BadMessage
from trews.http.head import Limits, ResponseHead, scan_response
from trews.http.http1 import EndlessBody, body_of_response, has_no_body
from trews.http.multi import Headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trews.http.http1 import ChunkedBody, LengthBody

_LIMITS = Limits(1 << 20, 10_000)  # of an answer's head: the app is not to be limited by this
_RECEIVE = 64 * 1024  # bytes


class Wire:
    """One connection, seen from the client."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.data = b""  # that came and was not looked at
        self.out = memoryview(b"")  # that is to be sent
        self.more: Iterator[bytes] = iter(())  # what is sent after it, each when there is room
        self.is_held = False  # it waits to be told to go on
        self.is_eof = False
        self.is_reset = False
        self.is_dropped = False

    def send(self) -> bool:
        """Send what there is room for, or one more piece. Returns whether something was."""
        if not self.out and not self.is_held:
            self.out = memoryview(next(self.more, b""))
        if not self.out:
            return False
        try:
            self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            return False
        except OSError:
            self.stop()  # the app reads no more; what it has answered counts
            return False
        return True

    def stop(self) -> None:
        """Send no more."""
        self.out = memoryview(b"")
        self.more = iter(())

    @property
    def has_sent(self) -> bool:
        """Whether all was sent."""
        if not self.out and not self.is_held:
            self.out = memoryview(next(self.more, b""))
        return not self.out and not self.is_held

    def receive(self) -> bool:
        """Take what has come. Returns whether something has."""
        if self.is_eof or self.is_reset:
            return False
        try:
            data = self.sock.recv(_RECEIVE)
        except BlockingIOError:
            return False
        except OSError:
            self.is_reset = True
            return True
        self.is_eof = not data
        self.data += data
        return True

    def drop(self) -> None:
        """Close it; with something unread that is a reset."""
        self.is_dropped = True
        self.stop()
        self.sock.close()


class Reply:
    """What the app has answered.

    Attributes:
        status: `200`.
        reason: the words after it.
        version: `"1.1"`.
        headers: its fields, as `Headers`.
        content: its body; of a stream what was read of it so far.
        trailers: the fields behind a chunked body, as `Headers`.
        informed: interim answers before it, as `(status, headers)`.
    """

    def __init__(self, client: Any, wire: Wire, method: str, what: str) -> None:
        self._client = client
        self.wire = wire
        self._method = method
        self.what = what
        self._decoder: ChunkedBody | EndlessBody | LengthBody | None = None
        self._pieces: list[bytes] = []  # that were not taken
        self._taken: list[bytes] = []
        self.is_complete = False
        self._persists = False
        self.status = 0
        self.reason = ""
        self.version = ""
        self.headers = Headers()
        self.informed: list[tuple[int, Headers]] = []

    @property
    def content(self) -> bytes:
        return b"".join([*self._taken, *self._pieces])

    @property
    def text(self) -> str:
        """`content` as text, by the charset of its Content-Type, UTF-8 without."""
        return self.content.decode(charset_of(self.headers.get("Content-Type", "")))

    def json(self) -> Any:
        """`content` as JSON."""
        return json.loads(self.content)

    @property
    def trailers(self) -> Headers:
        fields = self._decoder.trailers if self._decoder is not None else None
        return _headers(fields.pairs() if fields is not None else ())

    def __repr__(self) -> str:
        return f"<Reply {self.status} {self.reason} to {self.what}>"

    # -- a stream

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces, as they come.

        Raises:
            HTTPError: it does not go on, or is cut off.
        """
        while True:
            self._client.wait(self, lambda: bool(self._pieces) or self.is_complete)
            if not self._pieces:
                return
            piece = b"".join(self._pieces)
            self._pieces.clear()
            self._taken.append(piece)
            yield piece

    def read(self) -> bytes:
        """Wait for all of the body, and return it. Raises as iterating does."""
        self._client.wait(self, lambda: self.is_complete)
        return self.content

    def close(self) -> None:
        """Go: the app sees that the client has gone, if it has not answered all."""
        if not self.is_complete:
            self._client.left(self.wire)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        if exc_info[0] is None:
            self._client.raise_due()

    # -- what comes

    def take(self) -> None:
        """Look at what has come."""
        if self.is_complete:
            return
        try:
            self._parse()
        except BadMessage as exc:
            self.wire.drop()
            self._client.raise_due()
            raise BadMessage(exc.status, f"the answer to {self.what} is no HTTP: {exc}") from exc

    def _parse(self) -> None:
        wire = self.wire
        while self._decoder is None:
            head = scan_response(wire.data, 0, _LIMITS)
            if head is None:
                return
            wire.data = wire.data[head.next :]
            self._take_head(head)
            if self.is_complete:
                break
        if self._decoder is not None:
            pieces: list[bytes] = []
            at = self._decoder.take(wire.data, 0, pieces)
            wire.data = wire.data[at:]
            self._pieces += pieces
            self.is_complete = self._decoder.is_done
        if self.is_complete:
            self._end()

    def _take_head(self, head: ResponseHead) -> None:
        headers = _headers(head.pairs())
        self.wire.is_held = False
        if head.status < 200:
            self.informed.append((head.status, headers))
            return
        self.status, self.headers = head.status, headers
        self.reason = head.reason.decode("latin-1")
        self.version = "1.1" if head.minor else "1.0"
        self._client.took_head(self)
        if head.is_chunked and has_no_body(head.status):
            raise BadMessage(502, f"Transfer-Encoding in an answer {head.status} (RFC 9112, 6.1)")
        self._decoder = body_of_response(head, self._method, 1 << 20, 10_000)
        self.is_complete = self._decoder is None or self._decoder.is_done
        self._persists = head.persists and not isinstance(self._decoder, EndlessBody)

    def _end(self) -> None:
        wire = self.wire
        if wire.data:
            raise BadMessage(502, f"{len(wire.data)} bytes behind its end: {wire.data[:60]!r}")
        if self._persists and wire.has_sent:
            self._client.is_free(wire)
        else:
            wire.drop()

    def ended(self) -> None:
        """The app has closed the connection."""
        if isinstance(self._decoder, EndlessBody) and not self.wire.is_reset:
            self.is_complete = True
            self.wire.drop()


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    return Headers([(name.decode("ascii"), value.decode("latin-1")) for name, value in pairs])


def parse_set_cookie(line: str) -> tuple[str, str, bool]:
    """The name and value of a Set-Cookie field, and whether it deletes the cookie."""
    pair, *attributes = line.split(";")
    name, _, value = pair.strip().partition("=")
    known = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in attributes)}
    if "max-age" in known:
        return name, value, int(known["max-age"]) <= 0
    if "expires" in known:
        from email.utils import parsedate_to_datetime

        return name, value, parsedate_to_datetime(known["expires"]) <= datetime.now(UTC)
    return name, value, False

"""The codec as a connection uses it, without one: bytes in pieces become messages, or a refusal.

`Requests` and `Responses` take pieces; `read` and `read_responses` say at once what becomes of some. What cannot be
read otherwise than in one way reads alike however it is cut: `chunkings` cuts.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from trews.http.errors import BadMessage
from trews.http.head import (
    Limits,
    RequestHead,
    ResponseHead,
    check_incomplete,
    check_incomplete_fields,
    scan_request,
    scan_response,
)
from trews.http.http1 import ChunkedBody, EndlessBody, LengthBody, body_of_response

LIMITS = Limits()

# How a stream of messages ends.
DONE = "done"  # between two messages
INCOMPLETE = "incomplete"  # in the middle of one
SWITCHED = "switched"  # what follows is no HTTP, or must not be there: see `left`


class Message(NamedTuple):
    start: tuple[Any, ...]  # (method, target, minor), or (status, reason, minor)
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]


class Outcome(NamedTuple):
    messages: list[Message]
    end: str | int  # DONE, INCOMPLETE, SWITCHED, or the status of a refusal
    left: bytes = b""  # behind the last message, if SWITCHED

    @property
    def verdict(self) -> tuple[list[Message], str, bytes]:
        """The same but for why it was refused: of two things that are wrong either may be seen first."""
        return self.messages, "refused" if isinstance(self.end, int) else self.end, self.left


class Requests:
    """A stream of requests.

    Args:
        strict_end: nothing may follow a request after which the connection does not persist; what does is in `left`.
    """

    def __init__(self, limits: Limits = LIMITS, strict_end: bool = True) -> None:
        self.messages: list[Message] = []
        self.end: str | int = DONE
        self.rest = b""
        self.left = b""
        self._limits = limits
        self._strict_end = strict_end
        self._scanned = 0
        self._head: Any = None
        self._body: Any = None
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if type(self.end) is int:
            return
        if self.end == SWITCHED:
            self.left += data
            return
        try:
            self._feed(data)
        except BadMessage as exc:
            self.end = exc.status
            self.rest = b""

    def finish(self) -> Outcome:
        """Nothing more comes."""
        if self._body is not None:
            if isinstance(self._body, EndlessBody):
                self._complete()
            elif type(self.end) is not int:
                self.end = INCOMPLETE
        elif self.rest and self.end == DONE:
            at = self._skip_empty(self.rest, 0)
            if self.rest[at:] not in (b"", b"\r"):
                self.end = INCOMPLETE
                try:
                    self._scan(self.rest, at)
                except BadMessage as exc:
                    self.end = exc.status
        return Outcome(self.messages, self.end, self.left)

    def _feed(self, data: bytes) -> None:
        at = 0
        while at < len(data) or self._body is not None:
            if self.end == SWITCHED:
                self.left += data[at:]
                return
            if self._body is not None:
                at = self._body.take(data, at, self._pieces)
                if not self._body.is_done:
                    return
                self._complete()
                continue
            if self.rest:
                data, self.rest, at = self.rest + data[at:], b"", 0
                if data.find(b"\r\n\r\n", max(0, self._scanned - 3)) < 0:
                    self._wait(data)
                    return
            begin = at
            at = self._skip_empty(data, at)
            head = self._scan(data, at) if data[at:] not in (b"", b"\r") else None
            if head is None:
                self._wait(data[begin:])
                return
            self._scanned = 0
            self._head, at = head, head.next
            self._body = self._choose(head)
            if self._body is None or self._body.is_done:
                self._complete()

    def _skip_empty(self, data: bytes, at: int) -> int:
        while data.startswith(b"\r\n", at):
            at += 2
        return at

    def _wait(self, data: bytes) -> None:
        self._check(data, self._scanned)
        self.rest = data
        self._scanned = len(data)

    def _complete(self) -> None:
        head, body = self._head, self._body
        trailers = body.trailers.pairs() if body is not None and body.trailers is not None else []
        self.messages.append(Message(self._start(head), head.pairs(), b"".join(self._pieces), trailers))
        self._head = self._body = None
        self._pieces = []
        if self._strict_end and not head.persists:
            self.end = SWITCHED
        self._after(head)

    # -- what differs between requests and responses

    def _check(self, data: bytes, scanned: int) -> None:
        check_incomplete(data, scanned, self._limits)

    def _scan(self, data: bytes, at: int) -> Any:
        return scan_request(data, at, self._limits)

    def _choose(self, head: Any) -> Any:
        if head.is_chunked:
            return ChunkedBody()
        return LengthBody(head.length) if head.has_body else None

    def _start(self, head: RequestHead) -> tuple[Any, ...]:
        return head.method, head.target, head.minor

    def _after(self, head: Any) -> None:
        if head.is_tunnel:
            self.end = SWITCHED


class Responses(Requests):
    """A stream of responses to requests of these methods; the last method is that of all that follow."""

    def __init__(self, methods: Iterable[str] = ("GET",), limits: Limits = LIMITS, strict_end: bool = True) -> None:
        super().__init__(limits, strict_end)
        self._methods = list(methods)

    def _skip_empty(self, data: bytes, at: int) -> int:
        return at

    def _check(self, data: bytes, scanned: int) -> None:
        try:
            check_incomplete_fields(data, 0, scanned, self._limits)
        except BadMessage as exc:
            raise BadMessage(502, str(exc)) from None

    def _scan(self, data: bytes, at: int) -> Any:
        return scan_response(data, at, self._limits)

    def _choose(self, head: Any) -> Any:
        try:
            return body_of_response(head, self._methods[0])
        finally:
            if head.status >= 200 and len(self._methods) > 1:
                del self._methods[0]

    def _start(self, head: Any) -> tuple[Any, ...]:
        return head.status, head.reason, head.minor

    def _after(self, head: ResponseHead) -> None:
        if head.status == 101:
            self.end = SWITCHED


def read(pieces: Iterable[bytes], **settings: Any) -> Outcome:
    """What becomes of requests that come in these pieces."""
    reader = Requests(**settings)
    for piece in pieces:
        if piece:
            reader.feed(piece)
    return reader.finish()


def read_responses(pieces: Iterable[bytes], methods: Iterable[str] = ("GET",), **settings: Any) -> Outcome:
    """What becomes of responses that come in these pieces."""
    reader = Responses(methods, **settings)
    for piece in pieces:
        if piece:
            reader.feed(piece)
    return reader.finish()


def take(body: Any, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """A body out of what comes in pieces, and what is left behind it."""
    found: list[bytes] = []
    left = b""
    for piece in pieces:
        if body.is_done:
            left += piece
        elif piece:
            left += piece[body.take(piece, 0, found) :]
    return b"".join(found), left


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def split(data: bytes, at: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def chunkings(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and some random splits, the same for the same data."""
    rng = random.Random(data)
    spots = range(len(data) + 1)
    return [[data], bytewise(data), *(split(data, rng.choices(spots, k=rng.randrange(1, 6))) for _ in range(6))]

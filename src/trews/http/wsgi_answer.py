"""From what a WSGI application returns to the answer: what its calls inline and in threads have in common.

Source: PEP 3333, Handling the Content-Length Header, Buffering and Streaming.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

from trews.http.errors import BadAnswer
from trews.http.http1 import Writer, has_no_body
from trews.http.pipeline import date_line
from trews.http.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trews.http.wsgi_call import Call
    from trews.http.wsgi_streams import FileWrapper

logger = logging.getLogger("trews.http")


def opening(call: Call, result: Any) -> tuple[bytes, Iterator[bytes] | None]:
    """What the answer begins with, and what makes the rest of it; None: that was all.

    Raises:
        RuntimeError: `start_response` was not called.
        TypeError: the application returned no iterable of bytes.
    """
    if isinstance(result, (list, tuple)):
        first = checked(result[0]) if len(result) == 1 else b"".join([checked(block) for block in result])
        _require_start(call)
        return first, None
    if isinstance(result, (bytes, str)):
        raise TypeError(f"a WSGI application returns an iterable of bytes, not {type(result).__name__} (PEP 3333)")
    blocks = iter(result)
    for block in blocks:
        if checked(block):
            _require_start(call)
            return block, None if call.left == len(block) else blocks
    _require_start(call)
    return b"", None


def _require_start(call: Call) -> None:
    if not call.status:
        raise RuntimeError("the application did not call start_response() before its body began (PEP 3333)")


def checked(block: Any) -> Any:
    """A block as it is, if it can be one (TypeError)."""
    if not isinstance(block, bytes):
        raise TypeError(f"the body of a WSGI application is bytes, not {block!r} (PEP 3333)")
    return block


def request_of(call: Call) -> Request:
    """The request that is answered; on the short way there was none so far.

    Raises:
        RuntimeError: the answer is complete. Somebody has kept `write()`; the connection is at other requests by now.
    """
    request: Request | None = call.request
    if request is None:
        if call.connection is None:
            raise RuntimeError("write() was called when the answer was complete already (PEP 3333)")
        request = call.request = Request(call.connection, call.head)
        call.connection._exchange = request
    return request


def begin(call: Call) -> Request:
    """Begin an answer in pieces, if it has not begun. Returns its request.

    Raises:
        RuntimeError: `start_response` was not called.
    """
    request = request_of(call)
    if not call.is_begun:
        _require_start(call)
        request.start(call.status, call.fields, call.words)
        call.is_begun = True
    return request


def clipped(call: Call, block: bytes) -> bytes:
    """What of a block is to be sent: no more than Content-Length says. What is too much is logged."""
    data = call.clip(block)
    if len(data) < len(block):
        logger.error(
            "%s %s: a body of more than its Content-Length of %d bytes, which was cut",
            call.environ["REQUEST_METHOD"],
            call.environ["REQUEST_URI"],
            call.length,
        )
    return data


def _whole_fields(call: Call, body: bytes) -> list[Any]:
    """The fields of an answer that is all there, with its length where that is known."""
    is_silent = call.environ["REQUEST_METHOD"] == "HEAD" or has_no_body(call.status)
    if call.length >= 0 or (is_silent and not body):
        return call.fields
    return [*call.fields, ("Content-Length", str(len(body)))]


def finish_whole(call: Call, body: bytes) -> None:
    """Answer with a body that is all there, or end what has begun."""
    if not call.is_begun:
        fields = _whole_fields(call, body)
        body = clipped(call, body)
        if call.left > 0 and call.environ["REQUEST_METHOD"] != "HEAD" and not has_no_body(call.status):
            _raise_short(call)  # before anything is sent
        request = request_of(call)
        request.start(call.status, fields, call.words)
        call.is_begun = True
    else:
        request = request_of(call)
        body = clipped(call, body)
    if body:
        request.write(body)
    finish(call)


def whole(call: Call, body: bytes) -> bytes:
    """The same on the short way: an answer in one piece, on a connection that goes on.

    Raises:
        BadAnswer: the body is shorter than Content-Length says; nothing was sent.
    """
    writer = Writer(call.head.method, call.head.minor, True)
    head = writer.head(call.status, call.words, _whole_fields(call, body), date_line())
    return head + writer.body(clipped(call, body)) + writer.end()


def finish(call: Call) -> None:
    """End an answer in pieces.

    Raises:
        BadAnswer: it is shorter than Content-Length says; the handler's failure, by which the client can tell.
    """
    request = request_of(call)
    writer = request._writer
    if call.left > 0 and writer is not None and not writer.is_silent:
        _raise_short(call)
    request.finish()


def _raise_short(call: Call) -> NoReturn:
    raise BadAnswer(f"a body of fewer bytes than its Content-Length, by {call.left}")


async def send_file(call: Call, wrapper: FileWrapper, offset: int, size: int) -> None:
    """Answer with a file, or so much of it as Content-Length says."""
    if call.length < 0 and not has_no_body(call.status):
        call.fields = [*call.fields, ("Content-Length", str(size))]
        call.length = call.left = size
    request = begin(call)
    writer = request._writer
    count = min(call.left, size)
    if count > 0 and writer is not None and not writer.is_silent:
        await request.connection._send_body_file(request, wrapper.filelike, offset, count)
        writer.pass_by(count)
        call.left -= count
    finish(call)


def close(result: Any) -> None:
    """Call what a WSGI application returned its `close()`, if it has one. The answer is made: an error is logged."""
    method = getattr(result, "close", None)
    if method is not None:
        try:
            method()
        except Exception:
            logger.exception("close() of %r failed", result)

"""Response, and what of a handler's return becomes one."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, MappingView, Set
from typing import Any

from trews.http.cookies import set_cookie
from trews.http.errors import Error, reason
from trews.http.multi import Headers, checked_pairs

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
OCTETS = "application/octet-stream"
BLOCK = 64 * 1024  # bytes that are read of a file at once

_WHAT = (
    "str, bytes, dict, list, an iterable or async iterable of str and bytes, a status, (status, body),"
    " (status, body, headers) or an http.Response"
)
_WHOLE = (str, bytes, bytearray, memoryview, dict, list)  # bodies that are all there
# Iterables that are no pieces of a body, whatever is in them: what is in no order, keys alone, numbers.
_NO_STREAMS = (*_WHOLE, tuple, Set, Mapping, MappingView, range)


class Response:
    """An answer with everything said.

    Args:
        body: str, bytes, dict or list (JSON), or an iterable or async iterable of str and bytes, which is sent piece by
            piece, each when the peer has room for it; of an open file the pieces are blocks of 64 KiB. None is an empty
            one.
        status: 200 to 599.
        headers: fields, as a mapping or as pairs; they may be changed until it is returned. They are checked when sent.
        content_type: instead of the one that goes with `body`; a field Content-Type wins.
        trailers: called when the body is sent; returns the fields to be sent behind it (a chunked body only).

    Attributes:
        body, status, headers, content_type, trailers: as given; `headers` as `Headers`.
    """

    def __init__(
        self,
        body: Any = b"",
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        content_type: str | None = None,
        trailers: Any = None,
    ) -> None:
        if not isinstance(body, _WHOLE):
            if isinstance(body, int):
                raise TypeError(
                    "http.Response takes the body first, then the status: http.Response(body, 200), or"
                    f" http.Response(status=404) without a body; a body is no {type(body).__name__}"
                )
            if body is None:
                body = b""
            elif not is_stream(body):
                raise TypeError(refusal(body))
        check_status(status)
        self.body = body
        self.status = status
        self.headers = Headers(checked_pairs(headers) if headers else ())
        self.content_type = content_type
        self.trailers = trailers

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        """Add a Set-Cookie field; `http.set_cookie` has the attributes and their defaults. `max_age=0` deletes it.

        Raises:
            ValueError, TypeError: it cannot be sent.
        """
        self.headers.add("Set-Cookie", set_cookie(name, value, **attributes))

    def __repr__(self) -> str:
        return f"<Response {self.status} {reason(self.status)}>"


def html(text: str, status: int = 200, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> Response:
    """An answer that is an HTML page."""
    return Response(text, status, headers, content_type=HTML)


def check_status(status: Any) -> None:
    """Refuse what is no status of a final response (TypeError or ValueError)."""
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"a status is a number such as 200, not {status!r}")
    if not 200 <= status <= 599:
        raise ValueError(f"a status is 200 to 599, not {status!r}")


def encode(body: Any) -> tuple[bytes, str]:
    """A body that is all there as bytes, and its content type.

    Raises:
        TypeError, ValueError: it can be no body.
    """
    if isinstance(body, str):
        return body.encode(), TEXT
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), OCTETS
    if isinstance(body, (dict, list)):
        return encode_json(body), JSON
    raise TypeError(refusal(body))


def refusal(body: Any) -> str:
    """What is said of that which can be no body. It does not show what it is, which may be a secret, or long."""
    what = type(body).__name__
    name = getattr(body, "__qualname__", what)
    if inspect.iscoroutine(body):
        return f"a handler returned the coroutine {name}, which nobody has awaited; await it: `return await ...`"
    if inspect.isroutine(body):
        return f"a handler returned the function {name} itself; call it: `{body.__name__}()`"
    if isinstance(body, Error):
        return f"a handler returned an http.Error; raise it: `raise http.Error({body.status})`"
    if isinstance(body, BaseException):
        return f"a handler returned the exception {what}; raise it"
    if isinstance(body, Mapping):
        return f"a handler cannot return {what}; make a dict of it, which is JSON"
    if isinstance(body, (Set, MappingView, range)):
        return f"a handler cannot return {what}; make a list of it, which is JSON, or an iterator of str and bytes"
    return f"a handler cannot return {what}; it returns {_WHAT}"


# One for all: json.dumps makes one for each call with options such as these, which takes 2 us.
_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode_json(body: Any) -> bytes:
    """A dict or a list as JSON.

    Raises:
        TypeError, ValueError: it can be none.
    """
    if isinstance(body, list) and any(isinstance(part, (bytes, bytearray)) for part in body):
        raise TypeError("a handler returned a list with bytes in it; join them, or return http.Response(iter(...))")
    try:
        return _as_json(body).encode()
    except UnicodeEncodeError:
        # A lone surrogate, which JSON can say in a request, and UTF-8 cannot: it goes back as it came, as \ud800.
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def is_stream(body: Any) -> bool:
    """Whether a body comes piece by piece."""
    if isinstance(body, _NO_STREAMS):
        return False
    return isinstance(body, (AsyncIterable, Iterable)) or callable(getattr(body, "read", None))


def pieces_of(body: Any) -> Iterator[Any]:
    """The pieces of a body. Of a file they are blocks, not lines, which are short, or as long as the file."""
    read = getattr(body, "read", None)
    return _blocks(read) if callable(read) else iter(body)


def _blocks(read: Callable[[int], Any]) -> Iterator[Any]:
    while block := read(BLOCK):
        yield block


def as_response(result: Any) -> Response:
    """What a handler returned, as a Response.

    Raises:
        TypeError, ValueError: it is nothing that a handler may return; says what is.
    """
    response = result if isinstance(result, Response) else _made_of(result)
    if response.status in (204, 205) and not _is_empty(response.body):
        raise TypeError(
            f"a handler returned {response.status} with a body, and {response.status} has none (RFC 9110, 15.3):"
            f" return {response.status} alone, or another status"
        )
    return response


def _is_empty(body: Any) -> bool:
    """Whether there is nothing of a body, as far as that is known: of a stream it is not."""
    return isinstance(body, (str, bytes, bytearray, memoryview)) and not len(body)


def _made_of(result: Any) -> Response:
    if result is None:
        raise TypeError("handler returned None; for an answer without a body it returns 204")
    if isinstance(result, bool):
        raise TypeError(f"handler returned {result!r}; a status is a number such as 200")
    if isinstance(result, int):
        return status_only(result)
    if isinstance(result, tuple):
        if len(result) not in (2, 3):
            raise TypeError(
                f"handler returned a tuple of {len(result)}; it is (status, body) or (status, body, headers)"
            )
        status, body, *headers = result
        if not isinstance(status, int):
            kinds = ", ".join(type(part).__name__ for part in result)
            raise TypeError(f"handler returned ({kinds}); the order is (status, body), or (status, body, headers)")
        check_status(status)
        fields = checked_pairs(headers[0]) if headers else []
        if isinstance(body, Response):  # which may be used again: it stays as it is
            given = body
            return Response(
                given.body,
                status,
                [*given.headers.items(), *fields],
                content_type=given.content_type,
                trailers=given.trailers,
            )
        return Response(b"" if body is None else body, status, fields)
    return Response(result)


def status_only(status: int) -> Response:
    """An answer of which the handler said the status only: its words are the body, where there may be one."""
    check_status(status)
    if status in (204, 205, 304):
        return Response(b"", status)
    return Response(f"{status} {reason(status)}\n", status)


def from_error(exc: Error) -> Response:
    """The answer that `raise http.Error(...)` asks for."""
    body = f"{exc.status} {reason(exc.status)}\n" if exc.text is None else exc.text
    return Response(b"" if exc.status in (204, 205, 304) else body, exc.status, exc.headers)

"""What `http.test_client` asks with: a request as bytes, made of the arguments of `get`, `post` and so on.

It is for tests of one's own app: what it is given it sends, but for what is no request at all.
"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from trews.http.http1 import field_lines
from trews.http.multi import Headers

if TYPE_CHECKING:
    from collections.abc import Iterator

# What other clients call it, and what it is here.
_ELSEWHERE = {
    "params": "query=",
    "body": "data=, or json= or form=",
    "content": "data=",
    "files": "data= with the parts as bytes, and their Content-Type in headers=",
    "cookies": "client.cookies, a dict",
    "auth": "headers={'Authorization': ...}",
    "timeout": "http.test_client(app, timeout=...)",
}


def make_request(
    method: str,
    path: str,
    cookies: Mapping[str, str],
    /,
    *,
    query: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    json: Any = None,
    form: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
    data: bytes | str | Iterable[bytes] | None = None,
    **unknown: Any,
) -> tuple[bytes, Iterator[bytes], bool]:
    """A request as bytes: its head, its body in pieces, and whether that waits to be told to go on.

    Raises:
        TypeError, ValueError: it cannot be made.
    """
    for name in unknown:
        meant = _ELSEWHERE.get(name, "query=, headers=, json=, form= or data=")
        raise TypeError(f"a request of http.test_client has no {name}=: use {meant}")
    if sum(part is not None for part in (json, form, data)) > 1:
        raise TypeError("a request has one body: json=, form= or data=")
    own = Headers(headers)
    fields: dict[str, str] = {"Host": "localhost", **cookies}
    if json is not None:
        data = json_module.dumps(json).encode()
        fields["Content-Type"] = "application/json"
    elif form is not None:
        data = urlencode(list(form.items()) if isinstance(form, Mapping) else list(form), doseq=True).encode()
        fields["Content-Type"] = "application/x-www-form-urlencoded"
    elif isinstance(data, str):
        data = data.encode()
        fields["Content-Type"] = "text/plain; charset=utf-8"
    body: Iterator[bytes] = iter(())
    if isinstance(data, (bytes, bytearray, memoryview)):
        fields["Content-Length"] = str(len(data))
        body = iter((bytes(data),))
    elif data is not None:
        if isinstance(data, Mapping):
            raise TypeError(
                "data= is the body as bytes, text or an iterable of bytes: a mapping is sent by form= or json="
            )
        if not isinstance(data, Iterable):
            raise TypeError(f"data= is the body as bytes, text or an iterable of bytes, not {data!r}")
        fields["Transfer-Encoding"] = "chunked"
        body = _chunks(data)
    lines = field_lines([*((name, value) for name, value in fields.items() if name not in own), *own.items()])
    if not _METHOD.fullmatch(method):
        raise ValueError(f"{method!r} cannot be a method (RFC 9110, 9.1)")
    head = f"{method} {_target(path, query)} HTTP/1.1\r\n".encode() + lines + b"\r\n"
    return head, body, data is not None and own.get("Expect", "").lower() == "100-continue"


_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def _target(path: str, query: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> str:
    if not path.startswith(("/", "http://", "https://")) and path != "*":
        raise ValueError(f"a path begins with '/': {path!r}")
    pairs = list(query.items() if isinstance(query, Mapping) else query)
    more = urlencode(pairs, doseq=True)
    return quote(path, safe="/?&=%:@!$'()*+,;~[]") + ((("&" if "?" in path else "?") + more) if more else "")


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise TypeError(f"data= is an iterable of bytes, and has {piece!r}: pairs are sent by form=")
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"

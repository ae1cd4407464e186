"""The environ of a WSGI request, compiled: a copy of what its connection has always, and the fields of its head.

Fields are str as PEP 3333 has them: the bytes, as Latin-1. What would let a client pretend is left out: names with an
underscore, which are the same key as those with a hyphen, and Proxy, which would be the setting HTTP_PROXY (httpoxy).

Source: PEP 3333, environ Variables; RFC 3875, 4.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from trews.http.head import RequestHead

if TYPE_CHECKING:
    from mypy_extensions import i64

_MAX_KEYS: Final = 1024  # names that are remembered, each of no more than
_MAX_NAME: Final = 64  # characters; others are made into keys each time, which takes 0.3 us
_USUAL: Final = (
    "Accept Accept-Charset Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length "
    "Content-Type Cookie DNT Expect Forwarded Host If-Match If-Modified-Since If-None-Match If-Range Origin Pragma "
    "Priority Range Referer Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site "
    "Sec-Fetch-User TE Transfer-Encoding Upgrade-Insecure-Requests User-Agent X-Forwarded-For X-Forwarded-Host "
    "X-Forwarded-Proto X-Real-IP X-Request-ID X-Requested-With"
)


def key_of(name: str) -> str:
    """The key of a field in an environ, `"HTTP_ACCEPT"`; `""` for a field that is left out."""
    key = name.upper().replace("-", "_")
    if "_" in name or key == "PROXY":
        return ""
    return key if key == "CONTENT_TYPE" or key == "CONTENT_LENGTH" else "HTTP_" + key


# Of names as they are sent. They are filled first, so that no client can take the place of those that all send.
_keys: Final[dict[str, str]] = {
    spelt: key_of(name) for name in _USUAL.split() for spelt in (name, name.lower(), name.title().replace("Dnt", "DNT"))
}


def fill(environ: dict[str, Any], head: RequestHead) -> None:
    """Add to an environ what a head says. It has the REQUEST_METHOD GET and HTTP/1.1 already, as most requests do."""
    if head.method != "GET":
        environ["REQUEST_METHOD"] = head.method
    if not head.minor:
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    _add_target(environ, head)
    before: i64 = len(environ)
    count = _add_fields(environ, head.data, head.begin, head.end)
    if before + count != len(environ):
        _join_repeated(environ, head)


def _add_target(environ: dict[str, Any], head: RequestHead) -> None:
    raw = head.target
    target = raw.decode("latin-1")
    environ["REQUEST_URI"] = target
    if raw[0] != 47:
        target = _path_of(target)
        if head.host is not None:
            environ["HTTP_HOST"] = head.host.decode("latin-1")
    if 63 in raw:
        mark: i64 = target.find("?")
        environ["QUERY_STRING"] = target[mark + 1 :]
        target = target[:mark]
    if 37 in raw:
        target = unquote_to_bytes(target).decode("latin-1")
    environ["PATH_INFO"] = target


def _path_of(target: str) -> str:
    """Path and query of a target that is a URL; of `*` and of a CONNECT there is none."""
    _, slashes, rest = target.partition("://")
    if not slashes:
        return ""
    for at, character in enumerate(rest):
        if character == "/":
            return rest[at:]
        if character == "?":
            return "/" + rest[at:]
    return "/"


def _add_fields(environ: dict[str, Any], data: bytes, begin: i64, end: i64) -> i64:
    """Add the fields, the last of each name. Returns how many there were."""
    # Decoded once: a slice of a str is what an environ needs, and half the cost of a slice of bytes that is decoded.
    text = data[begin:end].decode("latin-1")
    size: i64 = end - begin
    count: i64 = 0
    at: i64 = 0
    while at < size:
        # Not byte by byte: that was 7,900 instructions for the 500 bytes of a browser, and this is 3,000.
        colon: i64 = text.find(":", at)
        stop: i64 = text.find("\r", colon)
        name = text[at:colon]
        at = stop + 2
        value = text[colon + 2 : stop]
        if data[begin + colon + 1] != 32 or data[begin + colon + 2] <= 32 or data[begin + stop - 1] <= 32:
            value = text[colon + 1 : stop].strip(" \t")
        key = _keys.get(name)
        if key is None:
            key = key_of(name)
            if len(name) <= _MAX_NAME and len(_keys) < _MAX_KEYS:
                _keys[name] = key
        if key:
            environ[key] = value
            count += 1
    return count


def _join_repeated(environ: dict[str, Any], head: RequestHead) -> None:
    """The same, where names are repeated: their values are joined by "," (RFC 9110, 5.3), cookies by "; "."""
    found: dict[str, list[str]] = {}
    for name, value in head.pairs():
        key = key_of(name.decode("latin-1"))
        if key:
            found.setdefault(key, []).append(value.decode("latin-1"))
    for key, values in found.items():
        environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(values)

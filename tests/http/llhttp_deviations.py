"""Where the codec differs from llhttp's strict mode, and why: each case by name. Nothing else may differ."""

from __future__ import annotations

_OTHER = "RTSP and ICE are other protocols"
_CODINGS = "of transfer codings only one 'chunked' is accepted: design, and CVE-2024-1135's like"
_EMPTY_LINE = "RFC 9112, 2.2, has empty lines before requests only; behind a response it is what nobody asked for"

# What llhttp reads, and we refuse.
STRICTER = {
    "request/method.md: M-SEARCH request": "RFC 9112, 3.2.4: '*' is for OPTIONS; this is HTTP over UDP",
    "request/method.md: SOURCE request with ICE": _OTHER,
    "request/method.md: OPTIONS request with RTSP": _OTHER,
    "request/method.md: ANNOUNCE request with RTSP": _OTHER,
    "request/sample.md: No HTTP version": "HTTP/0.9 has no fields, and no server needs it",
    "request/transfer-encoding.md: POST with `chunked` as last transfer-encoding": _CODINGS,
    "request/transfer-encoding.md: POST with `chunked` as last transfer-encoding (multiple headers)": _CODINGS,
    "request/uri.md: Fragment in URI": "RFC 9112, 3.2: no form of a target has a fragment",
    "request/uri.md: `host:port` and basic auth": "RFC 9110, 4.2.4: a user in a URL is to be treated as an error",
    "response/connection.md: HTTP 304 with Content-Length": _EMPTY_LINE,
    "response/connection.md: HTTP 100 first, then 400": _EMPTY_LINE,
    "response/pipelining.md: Should parse multiple events": _EMPTY_LINE,
    "response/sample.md: Response starting with CRLF": _EMPTY_LINE,
    "response/sample.md: RTSP response": _OTHER,
    "response/sample.md: ICE response": _OTHER,
    "response/sample.md: HTTP version 0.9": "RFC 9112, 2.3: another major version is another protocol",
    "response/transfer-encoding.md: `chunked` before other transfer-encoding": _CODINGS,
    "response/transfer-encoding.md: multiple transfer-encoding where chunked is not the last one": _CODINGS,
    "response/transfer-encoding.md: `chunkedchunked` transfer-encoding does not enable chunked enconding": _CODINGS,
}

# What we read otherwise, or accept; none of it is about where a message ends.
OTHERWISE = {
    "request/content-length.md: Content-Length reset when no body is received": "their caller says to skip the body",
    "request/invalid.md: HTTP protocol and ANNOUNCE method": "RFC 9110, 9.1: any token is a method",
    "request/invalid.md: Invalid HTTP version": "it is refused, too, but with the end of its line, which is not there",
    "request/method.md: CONNECT with body": "RFC 9110, 9.3.6: what follows is the tunnel's; the server answers 501",
}

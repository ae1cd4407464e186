"""What tests of HTTP share: a request without a connection, and a wire with an HTTP server at its other end."""

from __future__ import annotations

from typing import Any

from trews import testing
from trews.http.forwarded import Proxies
from trews.http.head import Limits, scan_request
from trews.http.multi import Headers
from trews.http.request import Request
from trews.http.server import connection_class


class Peer:
    """All that a request asks of its connection until it is answered."""

    trusted_proxies: Proxies | None = None
    remote_address: Any = ("127.0.0.1", 4000)
    tls: Any = None


def request_of(data: bytes, peer: Any = None) -> Request:
    """The request that begins in `data`, on a connection that is none."""
    head = scan_request(data, 0, Limits())
    assert head is not None, "not all of the head is there"
    connection: Any = peer or Peer()
    return Request(connection, head)


def get(target="/", *fields, method="GET", peer=None) -> Request:
    """A request without a body; each of `fields` is a line."""
    lines = [f"{method} {target} HTTP/1.1", "Host: example.org", *fields, "", ""]
    return request_of("\r\n".join(lines).encode("latin-1"), peer)


def wire(app, address=("127.0.0.1", 4000), **settings):
    """A wire to a server's connection, as from this address."""
    wired = testing.wire(connection_class(app, settings))
    wired.connection._remote_address = address
    return wired


def fields_of(*lines: str) -> Headers:
    """Lines `Name: value` as fields."""
    return Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])

"""Who asks, as nginx and haproxy say it, whatever the client has said before: real programs, each as its manual has it.

The client is 203.0.113.9 by a PROXY header, as all of this runs on one machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest

import trews
from tests.fronts import haproxy, nginx
from trews import http

CLIENT = "203.0.113.9"

# nginx.org, "ngx_http_proxy_module": what everybody copies.
NGINX = """
listen unix:{at}/asked proxy_protocol; set_real_ip_from unix:; real_ip_header proxy_protocol;
location / {{
    proxy_pass http://behind; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;
    {more};
}}
"""

FORGED = [
    "",
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n",
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 127.0.0.1, unknown\r\nX-Forwarded-Host: evil.org\r\n",
    'X-Forwarded-For: garbage"\r\nForwarded: for="[\r\nX-Forwarded-Port: 1\r\n',
    "X-Forwarded-For:\r\nForwarded: for=6.6.6.6;proto=https;host=evil.org\r\n",
    'x_forwarded_for: 6.6.6.6\r\nFORWARDED: for="6.6.6.6\r\nX-Forwarded-Proto: https, https\r\n',
]


def app(request):
    return [request.client[0], request.scheme, request.host]


async def ask(path: Path, fields: str) -> list[str]:
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            break
        except OSError:  # the program listens at its other socket, and will here
            await asyncio.sleep(0.01)
    writer.write(f"PROXY TCP4 {CLIENT} 192.0.2.1 5000 80\r\n".encode())
    writer.write(f"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n{fields}\r\n".encode())
    answer = await reader.read()
    writer.close()
    seen: list[str] = json.loads(answer[answer.index(b"[") : answer.index(b"]") + 1])
    return seen


def run(front, **settings):
    """What the app sees of each of `FORGED`; `front(at, port)` is the program before it."""

    async def main():
        async with http.Server(app, trusted_proxies="127.0.0.1", **settings).listen("127.0.0.1:0") as server:
            with tempfile.TemporaryDirectory(prefix="trews-") as name:
                at = Path(name)
                async with front(at, f"127.0.0.1:{server.port}"):
                    return [await ask(at / "asked", fields) for fields in FORGED]

    return trews.run(main())


TRUTH = [[CLIENT, "http", "example.org"]] * len(FORGED)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for", {}),
        ("proxy_set_header X-Forwarded-For $remote_addr", {}),
        (
            'proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=$scheme;host=$host"',
            {"proxy_fields": "Forwarded"},
        ),
    ],
)
def test_nginx(more, settings):
    assert run(lambda at, there: nginx(at, there, {"other": NGINX.format(at=at, more=more)}), **settings) == TRUTH


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ("option forwardfor; http-request set-header X-Forwarded-Proto http", {}),
        ("http-request add-header Forwarded for=%[src]", {"proxy_fields": "Forwarded"}),
    ],
)
def test_haproxy(more, settings):
    def front(at, there):
        return haproxy(at, there, {"other": f"bind unix@{at}/asked accept-proxy; {more}"})

    assert run(front, **settings) == TRUTH


def test_a_forged_field_is_believed_where_the_program_does_not_set_it():
    """Why `proxy_fields` are those that are set, and no others."""
    fields = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host"
    more = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for"
    seen = run(lambda at, there: nginx(at, there, {"other": NGINX.format(at=at, more=more)}), proxy_fields=fields)
    assert seen[2] == [CLIENT, "http", "evil.org"]

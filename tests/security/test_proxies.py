"""What went wrong elsewhere with proxies (security.md B, F): request lines with more in them, passwords in the open."""

from __future__ import annotations

import asyncio
import logging

import pytest

import trews
from tests.servers import really
from trews import Endpoint
from trews.protocols.socks import SocksServer
from trews.transport.via import Proxy, connect, open_via


async def never(endpoint):
    raise AssertionError("the proxy was connected to")


@pytest.mark.parametrize("host", ["a\r\nX: y", "a\nb", "a b", "a\tb", "a:1", "a/b", "[::1]", "a@b", "a\0"])
def test_cve_2026_1502_line_ends_in_the_request_of_a_tunnel(host):
    """The constructor of Endpoint does not look at the host; what makes a request of it does."""
    endpoint = Endpoint("tcp", host, 80, options=(("via", "http://127.0.0.1:1"),))
    with pytest.raises(trews.EndpointError) as caught:
        asyncio.run(tunnel(endpoint))
    assert "\n" not in str(caught.value)


async def tunnel(endpoint):
    await open_via(endpoint, asyncio.get_running_loop(), never, 30)


def test_cve_2026_1502_line_ends_in_a_password():
    with pytest.raises(ValueError, match="control characters"):
        Proxy.parse("http://ann:x%0d%0aX-Evil:%20y@127.0.0.1:1")
    # What is let through is one token, whatever it is.
    request, _ = next(connect("example.org", 80, b"ann", bytes(range(256))))
    assert request.count(b"\r\n") == 4
    assert request.count(b"\n") == 4


@really
async def test_the_password_is_in_no_error_log_or_repr(caplog):
    caplog.set_level(logging.DEBUG)
    text = "tcp:127.0.0.1:{}?via=socks5h://ann:hunter2@127.0.0.1:{}"
    async with SocksServer({"ann": "another"}).listen("tcp:127.0.0.1:0") as server:
        endpoint = text.format(9, server.port)
        with pytest.raises(trews.ConnectError) as caught:
            await trews.connect(endpoint)
        shown = [str(caught.value), repr(caught.value), repr(caught.value.attempts), repr(Endpoint.parse(endpoint))]
        client = trews.Client(endpoint)
        await client.start()
        while not client.failures:
            await asyncio.sleep(0.01)
        shown += [repr(client), repr(server), repr(Proxy.parse(endpoint.partition("via=")[2]))]
        await client.stop()
    shown += caplog.messages
    assert [line for line in shown if "hunter2" in line or "another" in line] == []


@really
async def test_a_name_cannot_bring_options_along():
    """A client of the SOCKS server that names `localhost?via=…` does not choose the way that is taken."""
    asked = []
    async with SocksServer(None, lambda *target: asked.append(target)).listen("tcp:127.0.0.1:0") as server:
        for name in (b"localhost?via=http://127.0.0.1:1", b"localhost?source=127.0.0.9", b"unix:/x", b"/x", b"*", b""):
            async with trews.connect(server.endpoints[0]) as client:
                client.write(b"\5\1\0\5\1\0\3" + bytes((len(name),)) + name + b"\0\x50")
                answer = await client.read_all()
                assert answer[:2] == b"\5\0"
                assert answer[3] in (1, 4)
    assert asked == []

"""Section G: PROXY headers from those who may not send them. Others had to add a list of peers (gunicorn 26.0)."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import sys
from typing import Any

import pytest

import trews
from tests.hostile.attack import dial, is_empty, logged, until
from trews.testing import no_leaks
from trews.transport import proxied

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows' Proactor loop")

LINE = b"PROXY TCP4 10.66.6.6 10.0.0.1 1 2\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x42\x06\x06\x0a\x00\x00\x01\x00\x01\x00\x02"


class Echo(trews.Connection):
    def on_connect(self) -> None:
        self.server.addresses.append(self.remote_address)

    def on_read(self, data: bytes) -> None:
        self.write(data)


def listening(text: str) -> Any:
    server: Any = trews.Server(Echo).listen(text)
    server.addresses = []
    return server


def is_gone(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
def test_proxy_spoofing_a_peer_that_is_not_trusted_cannot_choose_its_address(header: bytes) -> None:
    async def main() -> None:
        async with listening("tcp:127.0.0.1:0?proxy_protocol=192.0.2.0/24,2001:db8::/32") as server:
            for number in range(1, 21):
                with dial(server.port) as client:
                    client.sendall(header + b"hello")
                    while server.stats.refused < number:
                        await asyncio.sleep(0)
                    assert is_gone(client)
            assert (server.addresses, server.stats.accepted, server.stats.refused) == ([], 0, 20)
            assert is_empty(server)

    with logged() as records, no_leaks():
        trews.run(main())
    (record,) = records
    assert re.search(r"127\.0\.0\.1:\d+ is not among those", record.getMessage())
    assert "10.66.6.6" not in record.getMessage()


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
def test_proxy_spoofing_without_the_option_a_header_is_data_like_any_other(header: bytes) -> None:
    async def main() -> None:
        async with listening("tcp:127.0.0.1:0") as server, trews.connect(("127.0.0.1", server.port)) as conn:
            await conn.send(header)
            assert await conn.read(framer=len(header)) == header
            assert server.addresses == [conn.local_address]

    with no_leaks():
        trews.run(main())


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
def test_proxy_spoofing_a_second_header_is_data(header: bytes) -> None:
    """A client behind the proxy cannot add one of its own."""

    async def main() -> None:
        async with listening("tcp:127.0.0.1:0?proxy_protocol=127.0.0.1") as server:
            async with trews.connect(("127.0.0.1", server.port)) as conn:
                await conn.send(LINE + header.replace(b"6", b"7"))
                assert await conn.read(framer=len(header)) == header.replace(b"6", b"7")
                assert server.addresses == [("10.66.6.6", 1)]

    with no_leaks():
        trews.run(main())


def test_proxy_header_slowloris_silent_connections_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    bound = min(proxied.MAX_ARRIVING, limit // 4)
    monkeypatch.setattr(proxied, "MAX_ARRIVING", bound)

    async def main() -> None:
        async with listening("tcp:127.0.0.1:0?proxy_protocol=127.0.0.1") as server:
            (listener,) = server._listeners
            silent = []
            for number in range(bound + 20):
                silent.append(dial(server.port))
                if number % 100 == 0:
                    await until(lambda: listener.arriving + server.stats.refused == len(silent))
            await until(lambda: server.stats.refused == 20)
            assert listener.arriving == bound
            assert all(map(is_gone, silent[:20]))  # the oldest
            async with trews.connect(("127.0.0.1", server.port)) as conn:
                await conn.send(BINARY + b"hello")
                assert await conn.read(framer=5) == b"hello"
            for client in silent:
                client.close()
            await until(lambda: not listener.arriving)

    with logged() as records, no_leaks():
        trews.run(main())
    assert len(records) == 2  # "had to give way", "hung up"

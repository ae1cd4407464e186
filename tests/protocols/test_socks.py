"""The SOCKS5 server: byte for byte, with passwords, and what it refuses."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager

import pytest

import trews
from tests.clients import LOOPS
from tests.servers import Echo, really, until, virtually
from trews import Server
from trews.protocols import socks
from trews.protocols.socks import CONNECT_TIMEOUT, DIALOGUE_TIMEOUT, SocksServer
from trews.testing import no_leaks

HELLO = b"\5\1\0"
USERS = {"ann": "s:ecret", "bob": "", "j\udcf6rg": "\u00fc"}


def ask(host, port, command=1):
    if isinstance(host, bytes):
        address = bytes((3, len(host))) + host
    else:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        address = bytes((1 if len(packed) == 4 else 4,)) + packed
    return bytes((5, command, 0)) + address + port.to_bytes(2, "big")


@asynccontextmanager
async def serving(*args, listen="tcp:127.0.0.1:0", **settings):
    async with SocksServer(*args, **settings).listen(listen) as server:
        yield server


async def said(server, *pieces, until_end=True):
    """What a server answers to these pieces, to its end."""
    async with trews.connect(server.endpoints[0], half_close=True) as client:
        for piece in pieces:
            client.write(piece)
            await asyncio.sleep(0)
        return await client.read_all()


@pytest.fixture(params=LOOPS)
def on_loop(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner, no_leaks():
            return runner.run(main)

    return run


@pytest.mark.parametrize(
    ("listen", "host"),
    [("tcp:127.0.0.1:0", "127.0.0.1"), ("tcp:[::1]:0", "::1"), ("tcp:127.0.0.1:0", b"localhost")],
    ids=["IPv4", "IPv6", "name"],
)
@pytest.mark.parametrize("how", ["whole", "byte by byte", "split"])
def test_connect(on_loop, listen, host, how):
    async def main():
        async with Server(Echo).listen(listen) as target, serving() as server:
            text = HELLO + ask(host, target.port) + b"and what follows at once"
            match how:
                case "whole":
                    pieces = [text]
                case "byte by byte":
                    pieces = [text[i : i + 1] for i in range(len(text))]
                case "split":
                    cuts = sorted(random.Random(1928).sample(range(len(text)), 6))
                    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            async with trews.connect(server.endpoints[0], half_close=True) as client:
                for piece in pieces:
                    client.write(piece)
                    await asyncio.sleep(0)
                client.close_write()
                answer = await client.read_all()
                size = 22 if answer[5] == 4 else 10
                assert answer[:5] == b"\5\0\5\0\0"
                assert answer[5] == (4 if host == "::1" else answer[5])
                assert answer[2 + size :] == b"and what follows at once"

    on_loop(main())


@pytest.mark.parametrize(
    ("users", "hello", "answer"),
    [
        (None, b"\5\1\0", b"\5\0"),
        (None, b"\5\2\0\2", b"\5\0"),
        (None, b"\5\1\2", b"\5\xff"),
        (None, b"\5\0", b"\5\xff"),
        (USERS, b"\5\2\0\2\1\3ann\7s:ecret", b"\5\2\1\0"),
        (USERS, b"\5\1\2\1\3bob\0", b"\5\2\1\0"),
        (USERS, b"\5\1\2\1\4j\xf6rg\2\xc3\xbc", b"\5\2\1\0"),
        (USERS, b"\5\1\0", b"\5\xff"),
        (USERS, b"\5\1\2\1\3ann\7S:ecret", b"\5\2\1\1"),
        (USERS, b"\5\1\2\1\3ann\0", b"\5\2\1\1"),
        (USERS, b"\5\1\2\1\3bob\7s:ecret", b"\5\2\1\1"),
        (USERS, b"\5\1\2\1\3eve\7s:ecret", b"\5\2\1\1"),
        (USERS, b"\5\1\2\1\0\0", b"\5\2\1\1"),
        (USERS, b"\5\1\2\1\2\xff\xfe\2\xff\xff", b"\5\2\1\1"),
        ({}, b"\5\1\2\1\1a\1b", b"\5\2\1\1"),
        (USERS, b"\5\1\2\2", b"\5\2"),  # a password of another version
        (None, b"\4\1\0\x50\x7f\0\0\1\0", b""),  # SOCKS4
        (None, b"GET / HTTP/1.1\r\n\r\n", b""),
        (None, b"\x16\3\1", b""),  # TLS
        (None, b"\5\1\0\4\1\0\1", b"\5\0"),
    ],
)
@really
async def test_who_comes_in(users, hello, answer):
    allowed = answer in (b"\5\0", b"\5\2\1\0") and hello[-4:-2] != b"\4\1"
    async with serving(users, lambda *_: False) as server:
        rest = ask("127.0.0.1", 9) if allowed else b""
        refused = socks.reply(socks.FORBIDDEN) if allowed else b""
        assert await said(server, hello, rest) == answer + refused


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask("127.0.0.1", 9, command=2), 7),
        (ask("127.0.0.1", 9, command=3), 7),
        (ask(b"localhost", 9, command=0), 7),
        (b"\5\1\0\2", 8),
        (b"\5\1\0\0", 8),
        (ask(b"", 80), 1),
        (ask(b"*", 80), 1),
        (ask("127.0.0.1", 0), 1),
        (ask(b"localhost?via=http://h", 80), 4),
        (ask(b"localhost%3Fvia", 80), 4),
        (ask(b"127.1", 80), 4),
        (ask(b"2130706433", 80), 4),
        (ask(b"a b\r\n", 80), 4),
        (ask(b"\xff\xfe", 80), 4),
        (ask(b"x" * 255, 80), 4),
    ],
)
@really
async def test_requests_that_are_refused(request_, code):
    async with serving() as server:
        assert await said(server, HELLO, request_) == b"\5\0" + socks.reply(code)


@really
async def test_nobody_listening_there():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with serving() as server:
            request = ask("127.0.0.1", sock.getsockname()[1])
            assert await said(server, HELLO, request) == b"\5\0" + socks.reply(socks.REFUSED)


@pytest.mark.parametrize(
    ("users", "pieces", "why"),
    [
        (USERS, [b"\5\1\2\1\3ann\7S:ecret"], "wrong user or password"),
        (USERS, [b"\5\1\0"], "the client does not log in with a user and a password"),
        (None, [b"\5\1\2"], "the client wants to log in"),
        (None, [b"GET / HTTP/1.1\r\n\r\n"], "the client does not speak SOCKS5"),
        (None, [HELLO, ask(b"a\nb", 80)], r"'a\nb' cannot be the name of a host"),
        (None, [HELLO, ask("192.0.2.1", 22)], "192.0.2.1:22 is not allowed"),
        (None, [HELLO, ask("127.0.0.1", 9, command=2)], "the client asks for the command 2, and here is CONNECT only"),
        (
            None,
            [HELLO, ask("127.0.0.1", 1)],
            "cannot connect to tcp:127.0.0.1:1?timeout=30: 127.0.0.1:1: connection ref",
        ),
    ],
)
@really
async def test_a_refusal_is_a_line_in_the_log_without_secrets(caplog, users, pieces, why):
    caplog.set_level("INFO", "trews")
    async with serving(users, lambda host, port, conn: port != 22) as server:
        await said(server, *pieces)
    [record] = [record for record in caplog.records if record.args and isinstance(record.args[0], trews.Connection)]
    assert record.levelname == "INFO"
    assert why in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "ecret" not in record.getMessage()


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ConnectionRefusedError(111, "refused"), 5),
        (OSError(101, "unreachable"), 3),
        (OSError(113, "unreachable"), 4),
        (OSError(24, "too many open files"), 4),
        (None, 6),
    ],
)
def test_why_connecting_failed_has_its_code(monkeypatch, failure, code):
    @virtually
    async def test():
        async def sock_connect(sock, address):
            if failure is not None:
                raise failure
            await asyncio.sleep(10_000)

        loop = asyncio.get_running_loop()
        async with serving(listen="memory:socks") as server:
            monkeypatch.setattr(loop, "sock_connect", sock_connect)
            begin = loop.time()
            assert await said(server, HELLO, ask("192.0.2.1", 80)) == b"\5\0" + socks.reply(code)
            assert loop.time() == pytest.approx(begin + (0 if failure else CONNECT_TIMEOUT))

    test()


@pytest.mark.parametrize("hello", [b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\3\x09loc"])
@virtually
async def test_a_client_that_dawdles_is_closed_at_the_deadline(hello):
    async with serving(listen="memory:socks") as server:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await said(server, hello)
        assert loop.time() == begin + DIALOGUE_TIMEOUT


@virtually
async def test_a_client_that_ends_in_the_middle_is_forgotten():
    async with serving(listen="memory:socks") as server:
        async with trews.connect("memory:socks", half_close=True) as client:
            client.write(b"\5\1\0\5\1")
            client.close_write()
            assert await client.read_all() == b"\5\0"
        await until(lambda: not len(server.connections))


@really
async def test_allow_sees_the_target_as_it_was_given():
    seen = []

    def allow(host, port, conn):
        seen.append((host, port, conn.remote_address[0]))
        return False

    async with serving(None, allow) as server:
        for host in ("127.0.0.1", "::1", b"localhost"):
            assert await said(server, HELLO, ask(host, 7)) == b"\5\0" + socks.reply(socks.FORBIDDEN)
    assert seen == [("127.0.0.1", 7, "127.0.0.1"), ("::1", 7, "127.0.0.1"), ("localhost", 7, "127.0.0.1")]


@pytest.mark.parametrize("where", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_our_own_client_through_our_own_server(on_loop, scheme, where):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as target, serving(USERS) as server:
            text = f"tcp:{where}:{target.port}?via={scheme}://ann:s%3Aecret@127.0.0.1:{server.port}"
            async with trews.connect(text) as client:
                assert client.remote_address == ("127.0.0.1", server.port)
                client.write(b"hello")
                assert await client.read(5) == b"hello"
            with pytest.raises(trews.ConnectError, match="wrong user or password") as caught:
                await trews.connect(text.replace("ecret", "esame"))
            assert "esame" not in str(caught.value)

    on_loop(main())


@really
async def test_settings_are_those_of_servers():
    async with serving(max_connections_per_host=1, idle_timeout=5) as server:
        assert server.max_connections_per_host == 1
        async with trews.connect(server.endpoints[0]):
            async with trews.connect(server.endpoints[0]) as second:
                assert await second.read_all() == b""

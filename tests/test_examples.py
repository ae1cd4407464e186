"""Every example, by what its docstring promises; and that examples stay short and are all here."""

from __future__ import annotations

import asyncio
import importlib
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import trews
from examples import (
    chat,
    clock,
    counter,
    echo,
    foreign_main_loop,
    getme,
    length_prefixed,
    multicast,
    own_framer,
    quote_of_the_day,
    reconnecting_client,
    send_file,
    sort_lines,
    starttls,
    states,
    udp_echo,
    upper,
)
from tests.tlspeer import contexts
from trews.framing import Line
from trews.testing import VirtualLoop, no_leaks, run, wire

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
NAMES = [path.stem for path in EXAMPLES]
LINES = Line(encoding="utf-8")
MOST_LINES = 60
OWN_MAIN_LOOP = {"foreign_main_loop"}  # these do not call trews.serve
DATAGRAMS = {"multicast": "udp:239.255.40.40:4040", "udp_echo": "udp:localhost:4040"}  # not on TCP
SERVED = [
    pytest.param(path, id=path.stem)
    for path in EXAMPLES
    if path.stem not in {*OWN_MAIN_LOOP, *DATAGRAMS} and not path.stem.startswith("http_")
]


# -- the tools


# How a case is fed: whole, byte by byte, in threes.
CHUNKS = (None, 1, 3)


def on_virtual_time(test):
    """Run an async test on the virtual clock; nothing may stay behind."""

    def run_it():
        with no_leaks():
            run(test())

    run_it.__name__ = test.__name__
    return run_it


@asynccontextmanager
async def serving(handler, **settings):
    """A server in memory, and a function that makes clients of it, which speak in lines."""
    server = handler if isinstance(handler, trews.Server) else trews.Server(handler, **settings)
    clients = []

    async def join():
        client = await trews.connect("memory:example", framer=LINES)
        clients.append(client)
        return client

    async with server.listen("memory:example"):
        try:
            yield join
        finally:
            for client in clients:
                client.close()
                await client.wait_closed()


# -- one test an example


@pytest.mark.parametrize("chunk", CHUNKS)
def test_echo(chunk):
    assert wire(echo.Echo).feed(b"hello", chunk=chunk).sent() == b"hello"


@pytest.mark.parametrize("chunk", CHUNKS)
def test_upper(chunk):
    w = wire(upper.Upper).feed(b"hello\nworld\r\nrest", chunk=chunk)
    assert w.sent() == b"HELLO\nWORLD\r\n"
    assert w.eof().sent() == b"REST\n"
    assert w.closed


@on_virtual_time
async def test_counter():
    async with serving(counter.Counter) as join:
        one = await join()
        assert await one.read() == "connected clients: 1"
        other = await join()
        assert [await one.read(), await other.read()] == ["connected clients: 2"] * 2
        other.abort()
        assert await one.read() == "connected clients: 1"


def test_counter_counts_for_each_server():
    @on_virtual_time
    async def both():
        async with serving(counter.Counter) as join:
            one = await join()
            assert await one.read() == "connected clients: 1"

    both()
    both()


@on_virtual_time
async def test_chat():
    async with serving(chat.Chat) as join:
        alice = await join()
        assert await alice.read() == "What is your nickname?"
        alice.send("alice")
        bob = await join()
        assert await bob.read() == "What is your nickname?"
        bob.send("bob")
        assert await alice.read() == "* bob has joined"
        bob.send("good morning")
        assert await alice.read() == "bob: good morning"
        bob.abort()
        assert await alice.read() == "* bob has left"


@pytest.mark.parametrize("chunk", CHUNKS)
def test_length_prefixed_server(chunk):
    w = wire(length_prefixed.LengthPrefixed)
    w.feed(b"\x00\x02hi\x00\x00\x00\x05world", chunk=chunk)
    assert w.sent() == b"\x00\x02HI\x00\x00\x00\x05WORLD"


@on_virtual_time
async def test_length_prefixed_client():
    async with serving(length_prefixed.LengthPrefixed):
        longest = b"x" * 65535
        assert await length_prefixed.ask("memory:example", b"hi", b"", longest) == [b"HI", b"", longest.upper()]


@on_virtual_time
async def test_reconnecting_client():
    shown = []
    client = asyncio.create_task(reconnecting_client.main("memory:example", "hello", 400, shown.append))
    for _ in range(2):
        async with serving(reconnecting_client.Board):
            while "hello" not in shown:
                await asyncio.sleep(1)
            assert shown.pop(0) == "(connected)"
            shown.clear()
        assert shown[-1] == "(the peer closed the connection)"
        shown.clear()
    await client
    assert shown[0].startswith("(the message was not sent, for 60 wait already: cannot connect to memory:example")


def test_own_framer():
    w = wire(own_framer.echo, framer=own_framer.StxEtx()).feed(b"\x02hello\x03", chunk=1)
    assert w.sent() == b"\x02HELLO\x03"


def test_sort_lines():
    async def main():
        async with trews.Server(sort_lines.sort).listen("memory:example"):
            async with trews.connect("memory:example") as conn:
                conn.write(b"".join(b"%d\n" % n for n in range(9, -1, -1)))
                conn.close_write()
                return await conn.read_all()

    with no_leaks():
        assert trews.run(main()) == b"".join(b"%d\n" % n for n in range(10))


@on_virtual_time
async def test_quote_of_the_day():
    async with serving(quote_of_the_day.QuoteServer("Do it now.")) as join:
        client = await join()
        assert await client.read_all() == b"Do it now.\r\n"


SESSION = [
    ("alice", "password:"),
    ("wrong", "wrong, try again; user:"),
    ("nobody", "password:"),
    ("secret", "wrong, try again; user:"),
    ("alice", "password:"),
    ("secret", "welcome, alice: whoami, or quit"),
    ("whoami", "alice"),
    ("alice", "there is no 'alice': whoami, or quit"),
    ("quit", "goodbye"),
]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_states(chunk):
    w = wire(states.Login)
    assert w.sent() == b"user:\r\n"
    for line, answer in SESSION:
        assert w.feed(line.encode() + b"\r\n", chunk=chunk).sent() == answer.encode() + b"\r\n"
    assert w.closed


@pytest.fixture
def files(tmp_path):
    """A folder to serve, and what must not be served beside it."""
    folder = tmp_path / "public"
    (folder / "sub").mkdir(parents=True)
    (folder / "letters").write_bytes(b"abcdefghij")
    (folder / "sub/more").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"GETME letters 3 2", b"OK 3\r\ncde"),
        (b"GETME letters 100 8", b"OK 2\r\nij"),
        (b"GETME letters 1 100", b"OK 0\r\n"),
        (b"GETME sub/more 2 0", b"OK 2\r\n01"),
        (b"GETME letters 0 0", b"OK 0\r\n"),
        (b"GETME letters 9999999999999 0", b"OK 8\r\nabcdefgh"),
        (b"GETME nothing 1 0", b"ERROR no such file\r\n"),
        (b"GETME sub 1 0", b"ERROR no such file\r\n"),
        (b"GETME ../secret 6 0", b"ERROR no such file\r\n"),
        (b"GETME /etc/passwd 6 0", b"ERROR no such file\r\n"),
        (b"GETME link 6 0", b"ERROR no such file\r\n"),
        (b"GETME letters\x00 6 0", b"ERROR "),
        (b"GETME letters 1 99999999999999999999", b"ERROR "),
        (b"GETME letters -1 0", b"ERROR expected GETME path n skip\r\n"),
        (b"GETME letters 1", b"ERROR expected GETME path n skip\r\n"),
        (b"GET letters 1 0", b"ERROR expected GETME path n skip\r\n"),
        (b"", b"ERROR expected GETME path n skip\r\n"),
    ],
)
def test_getme(files, line, answer):
    w = wire(getme.GetMe, server=getme.GetMeServer(files, most=8))
    sent = w.feed(line + b"\n").sent()
    assert sent == answer if not answer.endswith(b" ") else sent.startswith(answer)
    assert not w.closed


@on_virtual_time
async def test_clock():
    moments = iter([0, 1, 3600])
    async with serving(clock.ClockServer(now=lambda: next(moments))) as join:
        clients = [await join(), await join()]
        for expected in ("00:00:00", "00:00:01", "01:00:00"):
            for client in clients:
                assert await client.read(timeout=1.5) == expected


def test_send_file(tmp_path):
    (tmp_path / "page").write_bytes(b"hello" * 100_000)
    w = wire(send_file.SendFile, server=send_file.FileServer(tmp_path / "page"))
    assert w.sent() == b"hello" * 100_000
    assert w.closed


def test_send_file_says_what_it_cannot_send(tmp_path, capsys):
    w = wire(send_file.SendFile, server=send_file.FileServer(tmp_path))
    assert (w.sent(), w.closed) == (b"", True)
    assert capsys.readouterr().out == f"cannot send {tmp_path}: Is a directory\n"


@pytest.mark.parametrize("debug", [False, True])
def test_foreign_main_loop(debug):
    """The ball falls from 10 m, is kicked, and bounces: 50 frames a second, shown each half second."""

    async def watch():
        async with trews.connect("memory:ball", framer=LINES) as client:
            seen = [await client.read() for _ in range(2)]
            client.send("kick")
            client.send("jump")
            return [*seen, *[await client.read() for _ in range(3)]]

    loop = VirtualLoop()
    loop.set_debug(debug)
    server = foreign_main_loop.Arena(foreign_main_loop.Spectator).listen("memory:ball")
    loop.run_until_complete(server.start())
    with no_leaks():
        task = loop.create_task(watch())
        start = loop.time()
        server.play(loop, range(150))
        assert round(loop.time() - start, 6) == 3
        loop.run_until_complete(foreign_main_loop.stop(server))
    loop.close()
    assert task.result() == ["8.6 m", "4.8 m", "say: kick", "3.5 m", "0.1 m"]


def test_foreign_main_loop_as_a_program_plays_on_while_it_serves(monkeypatch):
    served = []

    def listen(server, *endpoints):
        served.append(endpoints)
        return real(server, "tcp:127.0.0.1:0")

    def client(port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"jump\n")
            answers.append(sock.makefile("rb").readlines(20))
        signal.pthread_kill(main, signal.SIGINT)

    async def start(server):
        await really_start(server)
        threads.append(threading.Thread(target=client, args=(server.port,)))
        threads[0].start()

    answers, threads, main = [], [], threading.get_ident()
    real, really_start = trews.Server.listen, trews.Server.start
    monkeypatch.setattr(trews.Server, "listen", listen)
    monkeypatch.setattr(trews.Server, "start", start)
    path = next(path for path in EXAMPLES if path.stem == "foreign_main_loop")
    runpy.run_path(str(path), run_name="__main__")
    threads[0].join()
    assert served == [("localhost:4040",)]
    assert b"say: kick\r\n" in answers[0]


def test_udp_echo():
    async def main():
        async with trews.Server(udp_echo.UDPEcho).listen("udp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as client:
                for data in (b"hello", b"", bytes(65507)):
                    client.write(data)
                    assert await client.read(timeout=5) == (data, ("127.0.0.1", server.port))

    trews.run(main())


def test_multicast(capsys):
    async def main():
        anna, bert = multicast.Neighbours("anna"), multicast.Neighbours("bert\n")
        anna.listen("udp:239.255.40.41:0?interface=127.0.0.1")
        bert.listen(anna.endpoints[0])
        async with anna, bert:
            while not all(len(server.datagrams[0].seen) == 2 for server in (anna, bert)):
                await asyncio.sleep(0.001)

    trews.run(main())
    said = [re.sub(" at .*", "", line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(said) == ["'anna' is", "'anna' is", "'bert\\n' is", "'bert\\n' is"]


@on_virtual_time
async def test_starttls_encrypts_what_comes_after_it():
    client_context, starttls.tls_context = contexts()
    async with serving(starttls.Mail) as join:
        client = await join()
        assert await client.read() == "220 localhost ESMTP"
        for command, answer in (
            ("MAIL FROM:<a@b>", "530 Must issue a STARTTLS command first"),
            ("EHLO me", "250-localhost"),
        ):
            client.send(command)
            assert await client.read() == answer
        assert await client.read() == "250 STARTTLS"
        client.send("STARTTLS")
        assert await client.read() == "220 Go ahead"
        await client.start_tls(client_context, server_name="localhost")
        for command, answer in (
            ("NOOP", "502 NOOP: not in this example, over TLSv1.3"),
            ("STARTTLS", "502 STARTTLS: not in this example, over TLSv1.3"),
            ("QUIT", "221 Bye"),
        ):
            client.send(command)
            assert await client.read() == answer
        with pytest.raises(trews.ClosedByPeer):
            await client.read()


# -- all of them


def test_every_example_has_a_test():
    tests = {*globals(), *vars(importlib.import_module("tests.test_examples_http"))}
    assert [name for name in NAMES if not any(test.startswith(f"test_{name}") for test in tests)] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_an_example_is_short_and_says_how_to_try_it(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert "Run it, then" in (importlib.import_module(f"examples.{path.stem}").__doc__ or "")
    assert re.search(r'^if __name__ == "__main__":\n', text, re.MULTILINE)


@pytest.mark.parametrize("path", SERVED)
def test_an_example_that_is_run_serves_on_port_4040(path, monkeypatch):
    served = []
    monkeypatch.setattr(trews, "serve", lambda handler, *endpoints, **settings: served.append((handler, endpoints)))
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    ((_, endpoints),) = served
    assert endpoints == ("localhost:4040",)


# Port 4040 may be busy: the example as it stands, but for the port.
ANYWHERE = """
import runpy, sys, trews
serve = trews.serve
def anywhere(handler, port, **settings):
    server = handler if isinstance(handler, trews.Server) else trews.Server(handler, **settings)
    server.listen("tcp:127.0.0.1:0")
    announce = server.on_start
    def on_start():
        print(server.port, flush=True)
        return announce()
    server.on_start = on_start
    serve(server)
trews.serve = anywhere
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("path", SERVED)
def test_an_example_takes_a_connection_and_ends_with_ctrl_c(path):
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ANYWHERE, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=20) as sock:
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1000):
                pass
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", DATAGRAMS)
def test_an_example_of_datagrams_serves_on_port_4040(name, monkeypatch):
    served = []
    monkeypatch.setattr(trews, "serve", lambda handler, *endpoints, **settings: served.append(endpoints))
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES[NAMES.index(name)]), run_name="__main__")
    assert served == [(DATAGRAMS[name],)]


@pytest.mark.parametrize("name", DATAGRAMS)
def test_an_example_of_datagrams_ends_with_ctrl_c(name):
    path = EXAMPLES[NAMES.index(name)]
    host = "239.255.40.42" if name == "multicast" else "127.0.0.1"
    anywhere = ANYWHERE.replace("tcp:127.0.0.1:0", f"udp:{host}:0?interface=lo")
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", anywhere, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, b"")
    finally:
        process.kill()
        process.communicate()

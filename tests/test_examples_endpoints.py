"""Every example that serves, on TLS and on a Unix socket: nothing of it changes but the string."""

from __future__ import annotations

import asyncio
import itertools
import runpy
import sys
from pathlib import Path

import pytest
import trustme
import uvloop

import trews
from examples import foreign_main_loop

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TEXT = (EXAMPLES / "getme.py").read_bytes()

# What is said to each, and how its answer begins.
DIALOGUES = {
    "chat": (b"alice\n", b"What is your nickname?\r\n"),
    "clock": (None, b""),  # the second that it waits is another test's
    "counter": (b"", b"connected clients: 1\r\n"),
    "echo": (b"hello", b"hello"),
    "getme": (b"GETME getme.py 40 2\n", b"OK 40\r\n" + TEXT[2:42]),
    "length_prefixed": (b"\0\2hi", b"\0\2HI"),
    "own_framer": (b"\2hello\3", b"\2HELLO\3"),
    "quote_of_the_day": (b"", b"An apple a day"),
    "reconnecting_client": (b"hello\n", b"hello\r\n"),
    "send_file": (b"", (EXAMPLES / "send_file.py").read_bytes()),
    "sort_lines": (b"b\na\n", b"a\nb\n"),
    "starttls": (b"EHLO me\r\n", b"220 localhost ESMTP\r\n250"),
    "states": (b"alice\nsecret\nwhoami\n", b"user:\r\npassword:\r\nwelcome, alice: whoami, or quit\r\nalice\r\n"),
    "upper": (b"hello\n", b"HELLO\n"),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder


@pytest.fixture(params=["tcp", "tls", "unix"])
def ends(request, certificates, tmp_path):
    """Where to listen, and from the bound endpoint where to connect."""
    if request.param == "tls":
        ca = certificates / "ca.pem"
        return (
            f"tls:localhost:0?cert={certificates / 'server.pem'}",
            lambda bound: f"tls:localhost:{bound.port}?ca={ca}",
        )
    if request.param == "unix":
        return f"unix:{tmp_path / 's'}", str
    return "tcp:localhost:0", str


def served_by(name, monkeypatch):
    """What the example gives to `trews.serve`."""
    calls = []
    monkeypatch.setattr(trews, "serve", lambda handler, endpoint, **settings: calls.append((handler, settings)))
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.chdir(EXAMPLES)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    ((handler, settings),) = calls
    return handler if isinstance(handler, trews.Server) else trews.Server(handler, **settings)


def test_there_is_a_dialogue_for_each():
    texts = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    streams = {name for name, text in texts.items() if "trews.serve(" in text and '"localhost:4040"' in text}
    assert streams == set(DIALOGUES)


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("name", DIALOGUES)
def test_it_runs_unchanged(name, ends, factory, monkeypatch):
    listen, client = ends
    said, answer = DIALOGUES[name]

    async def main():
        server = served_by(name, monkeypatch).listen(listen)
        async with server, asyncio.timeout(20), trews.connect(client(server.endpoints[0])) as conn:
            assert (conn.tls is not None) is listen.startswith("tls:")
            if said is None:
                return
            conn.write(said)
            if name == "sort_lines":
                conn.close_write()
            got = b""
            while len(got) < len(answer):
                got += await conn.read()
            assert got.startswith(answer)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_the_one_with_a_main_loop_of_its_own_does_too(ends):
    listen, client = ends
    loop = trews.EventLoop()
    arena = foreign_main_loop.Arena(foreign_main_loop.Spectator).listen(listen)

    async def watch():
        async with trews.connect(client(arena.endpoints[0]), framer=b"\n") as conn:
            conn.write(b"kick\n")
            return [await conn.read(timeout=10) for _ in range(2)]

    loop.run_until_complete(arena.start())
    try:
        watching = loop.create_task(watch())
        arena.play(loop, itertools.takewhile(lambda _: not watching.done(), itertools.count()))
        assert any(b" m" in line for line in watching.result())
        loop.run_until_complete(foreign_main_loop.stop(arena))
    finally:
        loop.close()

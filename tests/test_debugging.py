"""Looking at connections while they run: traffic as a hexdump, calls from the wrong thread."""

from __future__ import annotations

import array
import asyncio
import inspect
import os
import subprocess
import sys
import threading

import pytest
import uvloop

import trews
from tests.connection.recorder import Recorder
from trews import debugging
from trews.debugging import hexdump
from trews.testing import pair, run, wire


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


class TestHexdump:
    @pytest.mark.parametrize(
        ("data", "lines"),
        [
            (b"", []),
            (b"a", ["  00000000  61                                               a"]),
            (
                b"GET / HTTP/1.1\r\n",
                ["  00000000  47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1.."],
            ),
            (
                bytes(range(0x78, 0x8A)),
                [
                    "  00000000  78 79 7a 7b 7c 7d 7e 7f 80 81 82 83 84 85 86 87  xyz{|}~.........",
                    "  00000010  88 89                                            ..",
                ],
            ),
        ],
    )
    def test_lines(self, data, lines):
        assert hexdump(data) == lines

    def test_offsets(self):
        assert [line.split()[0] for line in hexdump(bytes(40))] == ["00000000", "00000010", "00000020"]


PROGRAM = """
import trews
from trews.testing import wire

class Echo(trews.Connection):
    framer = b"\\n"

    def on_read(self, line):
        self.send(line.upper())

w = wire(Echo).feed(b"hello\\n").eof()
print(w.sent())
w.end()
"""


def run_program(trace, program=PROGRAM):
    env = {**os.environ, "TREWS_TRACE": trace}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)


class TestTrace:
    """`TREWS_TRACE=1` prints every connection's traffic as a hexdump."""

    def test_what_comes_and_goes(self):
        result = run_program("1")
        assert result.stdout == "b'HELLO\\n'\n"
        lines = result.stderr.splitlines()
        assert "  00000000  68 65 6c 6c 6f 0a                                hello." in lines
        assert "  00000000  48 45 4c 4c 4f 0a                                HELLO." in lines
        heads = [line for line in lines if line.startswith("<Echo #1 ")]
        assert len(heads) >= 4
        for words in ("is made", "receives 6 bytes", "sends 6 bytes", "receives the end"):
            assert any(words in head for head in heads), words
        assert len(heads) + 2 == len(lines)

    @pytest.mark.parametrize("value", ["", "0"])
    def test_off(self, value):
        result = run_program(value)
        assert result.stdout == "b'HELLO\\n'\n"
        assert result.stderr == ""

    @pytest.fixture
    def traced(self, monkeypatch):
        monkeypatch.setattr(debugging, "is_tracing", False)
        debugging.start_tracing()

    def test_start_tracing_is_for_connections_made_from_then_on(self, traced, capsys):
        w = wire(Echo).feed(b"x")
        assert w.sent() == b"x"
        assert "receives 1 bytes" in capsys.readouterr().err

    def test_bytes_of_a_memoryview_are_counted(self, traced, capsys):
        w = wire(Echo)
        w.connection.write(memoryview(array.array("I", [1, 2])))
        assert len(w.sent()) == 8
        assert "sends 8 bytes" in capsys.readouterr().err

    @pytest.mark.parametrize("loop_factory", [trews.EventLoop, asyncio.SelectorEventLoop, uvloop.new_event_loop])
    def test_on_every_loop(self, traced, capsys, loop_factory):
        async def main():
            async with trews.Server(Echo).listen("tcp:127.0.0.1:0") as server:
                async with trews.connect(server.endpoints[0], half_close=True) as client:
                    client.write(b"hello")
                    client.close_write()
                    assert await client.read_all() == b"hello"

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())
        lines = capsys.readouterr().err.splitlines()
        for head in ("<Echo ", "<Connection "):
            told = [line for line in lines if line.startswith(head)]
            for words in ("is made", "sends 5 bytes", "receives 5 bytes", "receives the end", "has ended: "):
                assert any(words in line for line in told), (head, words)

    @pytest.mark.parametrize("data", ["text", 5, None, [1]])
    def test_misuse_raises_the_same(self, traced, data):
        with pytest.raises(TypeError, match="bytes"):
            wire(Echo).connection.write(data)

    def test_behaviour_is_the_same(self, traced):
        class Lines(Recorder):
            framer = b"\n"

        w = wire(Lines).feed(b"1\n2\n", chunk=1).eof()
        assert w.connection.names == ["connect", "read", "read", "eof", "close"]
        v = wire(Lines).reset()
        assert v.connection.names == ["connect", "close"]


def in_thread(call):
    """Call in another thread; the exception it raised."""
    raised = []

    def target():
        try:
            call()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return raised[0] if raised else None


class TestThreads:
    """Calling a connection from another thread raises in debug mode; `trews.call_from_thread` is right."""

    CALLS = (
        ("write", (b"x",)),
        ("send", (b"x",)),
        ("close", ()),
        ("abort", ()),
        ("close_write", ()),
        ("pause_reading", ()),
        ("resume_reading", ()),
        ("read", ()),
        ("read_all", ()),
        ("drain", ()),
        ("wait_closed", ()),
    )

    @pytest.mark.parametrize(("name", "args"), CALLS)
    def test_in_debug_mode_it_raises(self, name, args):
        async def main():
            async with pair(Recorder, trews.Connection) as (a, _):
                return in_thread(lambda: getattr(a, name)(*args)), a.is_open

        exc, is_open = run(main(), debug=True)
        assert isinstance(exc, RuntimeError)
        assert name in str(exc)
        assert "trews.call_from_thread" in str(exc)
        assert is_open

    def test_what_it_names_exists(self):
        assert callable(trews.call_from_thread)

    @pytest.mark.parametrize(("name", "args"), CALLS)
    def test_in_ones_own_thread_they_work(self, name, args):
        async def main():
            async with pair(Recorder, trews.Connection) as (a, _):
                result = getattr(a, name)(*args)
                if inspect.iscoroutine(result):
                    result.close()

        run(main(), debug=True)

    def test_callbacks_and_an_overridden_write_work(self):
        class Loud(trews.Connection):
            def on_read(self, data):
                self.write(data)

            def write(self, data):
                super().write(data.upper())

        async def main():
            async with pair(Loud, trews.Connection) as (_, b):
                await b.send(b"hi")
                return await b.read()

        assert run(main(), debug=True) == b"HI"

    def test_without_debug_mode_nothing_is_wrapped(self):
        connection = wire(Echo).connection
        assert "close" not in vars(connection)
        assert "send" not in vars(connection)


def test_datagrams_are_printed_as_well(monkeypatch, capsys):
    monkeypatch.setattr(debugging, "is_tracing", True)

    class Echo(trews.Datagram):
        def on_read(self, data, address):
            self.write(data, address)

    async def main():
        async with trews.Server(Echo).listen("udp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as client:
                client.write(b"hello")
                await client.read(timeout=5)
                return client.local_address[1]

    port = trews.run(main())
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("  ")] == [
        "  00000000  " + "68 65 6c 6c 6f".ljust(49) + "hello"
    ] * 4
    whats = [line.partition("> ")[2] for line in lines if line.startswith("<Echo")]
    assert whats == [
        "is open",
        f"receives 5 bytes from 127.0.0.1:{port}",
        f"sends 5 bytes to 127.0.0.1:{port}",
        "has ended: the server is stopping",
    ]


def test_a_datagram_of_another_thread_is_refused_in_debug_mode():
    async def main():
        async with trews.connect("udp:127.0.0.1:9") as client:
            with pytest.raises(RuntimeError, match=r"write\(\) was called from another thread"):
                await asyncio.to_thread(client.write, b"x")

    trews.run(main(), debug=True)

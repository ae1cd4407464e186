"""Exhaustion, as it struck others: each test is named after what went wrong elsewhere and shows that it cannot here.

Section C of the list of failures, as far as it concerns streams, framers and servers.
"""

from __future__ import annotations

import ast
import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trews
from trews.framing import JSONLines, Line, Netstring, Prefixed, Varint
from trews.testing import Wire, no_leaks, wire

SOURCE = Path(trews.__file__).parent

# Every framer that waits for the rest of a message, and how a message of it begins.
BEGINNINGS: list[tuple[str, Any, bytes]] = [
    ("exactly", 10, b"123"),
    ("delimiter", b"||", b"abc|"),
    ("line", Line(), b"abc\r"),
    ("json", JSONLines(), b'{"a":'),
    ("netstring", Netstring(), b"12:abc"),
    ("netstring length", Netstring(), b"12"),
    ("prefixed", Prefixed("!H"), b"\x00\x05ab"),
    ("prefixed length", Prefixed("!I"), b"\x00"),
    ("varint", Varint(), b"\x05ab"),
    ("varint length", Varint(), b"\x85"),
]
BY_NAME = pytest.mark.parametrize(("framer", "beginning"), [c[1:] for c in BEGINNINGS], ids=[c[0] for c in BEGINNINGS])


class Taking(trews.Connection):
    def on_read(self, message: Any) -> Any:
        """Nothing."""


class Hoarding(trews.Connection):
    """Its first message keeps it busy until it is told to go on."""

    framer = b"\n"

    def __init__(self) -> None:
        self.taken = 0
        self.may_go_on = asyncio.Event()

    async def on_read(self, message: bytes) -> None:
        self.taken += 1
        await self.may_go_on.wait()


# -- slow peers


@BY_NAME
def test_cve_2007_6750_slowloris_an_unfinished_message_has_a_deadline(framer: Any, beginning: bytes) -> None:
    w = wire(Taking, framer=framer, message_timeout=10)
    w.feed(beginning)
    w.advance(9.9)
    assert not w.closed
    w.advance(0.2)
    assert w.closed
    assert isinstance(w.reason, trews.MessageTooSlow)


@BY_NAME
def test_cve_2007_6750_slowloris_a_byte_now_and_then_does_not_extend_it(framer: Any, beginning: bytes) -> None:
    w = wire(Taking, framer=framer, message_timeout=10, idle_timeout=5)
    for byte in beginning.ljust(12, b"0") if framer not in (10, JSONLines()) else beginning:
        w.feed(bytes([byte]))
        if w.closed:
            break
        w.advance(4)
    w.advance(20)
    assert isinstance(w.reason, trews.MessageTooSlow | trews.FramingError | trews.IdleTooLong)


def test_cve_2007_6750_slow_read_a_peer_that_takes_nothing_has_a_deadline() -> None:
    w = wire(Taking, write_timeout=10)
    w.clog()
    w.connection.write(bytes(100_000))
    w.advance(10.1)
    assert isinstance(w.reason, trews.WriteStalled)


def test_cve_2007_6750_slow_read_holds_no_closing_connection() -> None:
    w = wire(Taking, close_timeout=10)
    w.clog()
    w.connection.write(bytes(100_000))
    w.connection.close()
    w.advance(10.1)
    assert isinstance(w.reason, trews.WriteStalled)


# -- what waits is bounded


def test_cve_2024_12254_many_writes_pause_the_producer() -> None:
    """asyncio's `writelines` never paused its producer: `drain` must wait, and on_full be told."""
    told: list[str] = []

    class Feed(Taking):
        def on_full(self) -> None:
            told.append("full")

        async def on_read(self, message: Any) -> None:
            while True:
                self.write(bytes(1000))
                await self.drain()

    w = wire(Feed, write_timeout=None, capacity=1000)
    w.clog()
    w.feed(b"begin")
    w.advance(1000)
    waiting = w.connection._transport.get_write_buffer_size()
    assert 64 * 1024 < waiting <= 64 * 1024 + 1000
    assert told == ["full"]
    w.reset()


@pytest.mark.parametrize("writes_lines", [False, True])
def test_cve_2024_12254_streams_of_asyncio_on_our_loop_are_paused_too(writes_lines: bool) -> None:
    async def main() -> int:
        near, far = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=near)
        most = 0

        async def produce() -> None:
            nonlocal most
            while True:
                if writes_lines:
                    writer.writelines([bytes(500), bytes(500)])
                else:
                    writer.write(bytes(1000))
                most = max(most, writer.transport.get_write_buffer_size())
                await writer.drain()

        task = asyncio.ensure_future(produce())
        turns = 0
        while most <= 64 * 1024:  # it is paused after this
            await asyncio.sleep(0)
            turns += 1
        for _ in range(1000):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        writer.transport.abort()
        far.close()
        with pytest.raises(ConnectionError):
            await writer.wait_closed()
            raise ConnectionAbortedError  # an abort() of one's own is no error
        return most

    with no_leaks():
        assert trews.run(main()) <= 64 * 1024 + 1000


@pytest.mark.parametrize("size", [1, 2, 3, 100, 5000])
def test_cve_2024_12254_a_write_limit_bounds_memory_not_only_bytes(size: int) -> None:
    """16 MiB of two-byte writes took 450 MiB, one object each."""
    w = wire(Taking, write_limit=1 << 17, write_timeout=None, capacity=100)
    w.clog()
    connection = w.connection
    pieces = 0
    data = bytes(range(size % 256)) or b"x"
    while not connection.is_closed:
        connection.write(data)
        if not connection.is_closed:
            buffer = connection._transport.core.buffer
            pieces = max(pieces, len(buffer))
    assert isinstance(connection.reason, trews.WriteBufferFull)
    assert pieces <= 2 + (1 << 17) // 1000
    w.settle()


def test_cve_2026_54273_pipelined_messages_do_not_queue_without_end() -> None:
    """Messages wait in read_high bytes, then in the peer's own kernel."""
    w = wire(Hoarding, read_high=1000, capacity=4096)
    with pytest.raises(BufferError, match="does not read"):
        for _ in range(10_000):
            w.feed(b"message\n" * 10)
    assert w.connection.bytes_in <= 1000 + 2 * 4096
    assert w.connection.taken == 1
    w.connection.may_go_on.set()
    w.settle()
    assert w.connection.taken > 500


@BY_NAME
def test_cve_2025_13836_a_length_allocates_nothing_before_the_bytes_come(framer: Any, beginning: bytes) -> None:
    """And a message over the limit is refused as soon as that is known, however it comes."""
    w = wire(Taking, framer=framer, max_message=100)
    large = {
        "Netstring": b"101:",
        "Prefixed": b"\x00\x65" if framer == Prefixed("!H") else b"\x00\x00\x00\x65",
        "Varint": b"\x65",
    }.get(type(framer).__name__, b"x" * 103)
    if framer == 10:
        w = wire(Taking, framer=101, max_message=100)
        large = b""
    w.feed(large, chunk=1)
    if framer == 10:
        w.feed(b"x")
    assert isinstance(w.reason, trews.MessageTooLong)
    assert len(w.connection._inbox) == 0


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_aiohttp_3_14_1_the_size_of_a_line_holds_across_fragments(chunk: int | None) -> None:
    for size, is_refused in ((1000, False), (1001, True)):
        w = wire(Taking, framer=Line(), max_message=1000)
        w.feed(b"a" * size + b"\n", chunk=chunk)
        assert isinstance(w.reason, trews.MessageTooLong) is is_refused


def test_cve_2022_21716_a_line_that_never_ends_is_cut_off() -> None:
    w = wire(Taking, framer=Line(), max_message=1000)
    for _ in range(100):
        w.feed(b"SSH-2.0-" * 100)
    assert isinstance(w.reason, trews.MessageTooLong)
    assert w.connection.bytes_in < 100_000


def test_cve_2025_69227_a_check_is_never_an_assert() -> None:
    """`python -O` takes asserts away, and with them a check of aiohttp's that ended a loop."""
    found = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in sorted(SOURCE.rglob("*.py"))
        if "testing" not in file.relative_to(SOURCE).parts[:1]
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


OPTIMISED = """
import trews, trews.framing, trews.testing
if __debug__:
    raise SystemExit("not optimised")
class Lines(trews.Connection):
    framer = trews.framing.Line()
    def on_read(self, line):
        self.send(line.upper())
w = trews.testing.wire(Lines, max_message=5)
w.feed(b"abc\\nde")
if w.sent() != b"ABC\\r\\n":
    raise SystemExit("no answer")
w.feed(b"fghijk")
if not isinstance(w.reason, trews.MessageTooLong) or not w.closed:
    raise SystemExit(f"not refused: {w.reason!r}")
try:
    w.connection.write("text")
except TypeError:
    print("well")
"""


def test_cve_2025_69227_limits_hold_under_python_o() -> None:
    for flag in ("-O", "-OO"):
        done = subprocess.run([sys.executable, flag, "-c", OPTIMISED], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("well\n", "")


# -- the process


def test_a_parser_error_never_ends_the_process() -> None:
    """granian aborted on a header (twice): here the worst input ends its own connection."""
    worst = [
        b"[" * 60_000 + b"\n",
        b'{"a":' * 12_000 + b"\n",
        b"1" * 60_000 + b"\n",
        b'"\\ud800"\n',
        b"\xff\n",
        b"NaN\n",
    ]
    for line in worst:
        w: Wire[Any] = wire(Taking, framer=JSONLines())
        w.feed(line)
        w.eof()
        assert w.closed
        assert isinstance(w.reason, trews.FramingError | trews.ClosedByPeer)


@pytest.mark.skipif(not hasattr(os, "geteuid") or sys.platform == "win32", reason="Unix sockets")
def test_a_server_that_may_not_remove_its_socket_file_stops_all_the_same(tmp_path: Path) -> None:
    """Privileges are dropped after binding: the directory may be nobody's to change then."""
    if os.geteuid() != 0:
        tmp_path.joinpath("d").mkdir()
    source = f"""
import asyncio, os, trews
async def main():
    server = trews.Server(trews.Connection).listen("unix:{tmp_path}/s", "tcp:127.0.0.1:0")
    if os.geteuid() == 0:
        os.chmod("{tmp_path}", 0o755)
        os.setuid(65534)
    else:
        os.chmod("{tmp_path}", 0o500)
    async with server:
        print(await asyncio.wait_for(server.stop(1), 30))
trews.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60)
    os.chmod(tmp_path, 0o700)
    assert done.stdout == "Drained(closed=0, aborted=0)\n", done.stderr
    assert done.returncode == 0

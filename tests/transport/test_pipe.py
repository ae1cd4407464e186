"""Two descriptors as a socket: never blocking, on every loop, whatever they are."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import struct
import termios
import tty
from contextlib import contextmanager

import pytest
import uvloop

from trews import EventLoop
from trews.testing import no_leaks
from trews.transport import pipe
from trews.transport.attach import attach
from trews.transport.pipe import PIPE_BUF, PipeSocket

LOOPS = {"trews": EventLoop, "asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
KIB = 1024


class Protocol(asyncio.Protocol):
    def __init__(self):
        self.data = b""
        self.is_eof = False
        self.lost = asyncio.get_running_loop().create_future()
        self.came = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        self.came.set()

    def eof_received(self):
        self.is_eof = True
        return False

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Run a coroutine on each loop; nothing may stay open."""

    def run(main):
        with no_leaks(), asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


def joined(reader, writer, is_shared=False):
    loop = asyncio.get_running_loop()
    protocol = Protocol()
    attach(loop, PipeSocket(loop, reader, writer, "here", is_shared), protocol, None, None)
    return protocol


@contextmanager
def ends():
    """A socket of two pipes, and the far ends of them."""
    (reader, far_writer), (far_reader, writer) = os.pipe(), os.pipe()
    fars = {"reader": far_reader, "writer": far_writer}
    try:
        yield reader, writer, fars
    finally:
        for fd in fars.values():
            if fd is not None:
                os.close(fd)


def close(fars, *names):
    for name in names:
        os.close(fars[name])
        fars[name] = None


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- the socket


@contextmanager
def as_socket(is_shared):
    with ends() as (reader, writer, fars), asyncio.Runner() as runner:
        sock = PipeSocket(runner.get_loop(), reader, writer, ("here", "there"), is_shared)
        yield sock, fars
        sock.close()


@pytest.mark.parametrize("is_shared", [False, True])
def test_it_reads_and_writes_and_ends_like_a_socket(is_shared):
    with as_socket(is_shared) as (sock, fars):
        assert sock.send(b"hello ") == 6
        assert sock.sendmsg([b"wor", memoryview(b"ld")]) == 5
        assert os.read(fars["reader"], 100) == b"hello world"
        os.write(fars["writer"], b"abc")
        assert sock.recv(2) == b"ab"
        buffer = bytearray(5)
        assert sock.recv_into(buffer) == 1
        assert buffer[:1] == b"c"
        sock.shutdown(socket.SHUT_WR)
        assert os.read(fars["reader"], 100) == b""
        with pytest.raises(BrokenPipeError):
            sock.send(b"x")
        close(fars, "writer")
        assert sock.recv(10) == b""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert (sock.getsockname(), sock.getpeername(), sock.fileno()) == ("here", "there", -1)


@pytest.mark.parametrize("is_shared", [False, True])
def test_it_never_blocks(is_shared):
    with as_socket(is_shared) as (sock, fars):
        with pytest.raises(BlockingIOError):
            sock.recv(100)
        total = 0
        with pytest.raises(BlockingIOError):
            while True:
                total += sock.send(bytes(100 * KIB))
        assert total >= 16 * PIPE_BUF
        got = 0
        while got < total:
            got += len(os.read(fars["reader"], total))
        assert sock.send(b"more") == 4


def test_a_descriptor_of_others_stays_blocking_and_our_own_does_not():
    for is_shared in (False, True):
        with as_socket(is_shared) as (sock, _):
            assert {os.get_blocking(fd) for fd in sock.descriptors} == {is_shared}


def test_closing_closes_both():
    with as_socket(False) as (sock, fars):
        fds = sock.descriptors
        sock.close()
        sock.close()
        assert not any(map(is_open, fds))
        assert os.read(fars["reader"], 1) == b""


def test_what_is_forgotten_is_closed():
    with ends() as (reader, writer, fars), asyncio.Runner() as runner:
        PipeSocket(runner.get_loop(), reader, writer, "here")
        assert os.read(fars["reader"], 1) == b""


# -- on every loop


@pytest.mark.parametrize("is_shared", [False, True])
def test_bytes_and_the_end_come_through(on_loop, is_shared):
    async def main():
        with ends() as (reader, writer, fars):
            protocol = joined(reader, writer, is_shared)
            os.write(fars["writer"], b"hello")
            await protocol.came.wait()
            assert {os.get_blocking(fd) for fd in (reader, writer)} == {is_shared}
            close(fars, "writer")
            assert await protocol.lost is None
            assert (protocol.data, protocol.is_eof) == (b"hello", True)
            assert not is_open(reader)

    on_loop(main)


def test_files_are_read_to_their_end_and_written(on_loop, tmp_path):
    content = os.urandom(1_000_000)
    (tmp_path / "in").write_bytes(content)

    async def main():
        source = os.open(tmp_path / "in", os.O_RDONLY)
        target = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        protocol = joined(source, target, is_shared=True)
        protocol.transport.write(content)
        assert await protocol.lost is None
        assert protocol.data == content

    on_loop(main)
    assert (tmp_path / "out").read_bytes() == content


def test_dev_null_is_at_its_end_and_takes_everything(on_loop):
    async def main():
        protocol = joined(*(os.open(os.devnull, mode) for mode in (os.O_RDONLY, os.O_WRONLY)), is_shared=True)
        protocol.transport.write(bytes(1_000_000))
        assert await protocol.lost is None
        assert (protocol.data, protocol.is_eof) == (b"", True)

    on_loop(main)


def test_a_pause_is_heeded_by_files_too(on_loop, tmp_path):
    (tmp_path / "in").write_bytes(b"x")

    async def main():
        protocol = joined(os.open(tmp_path / "in", os.O_RDONLY), os.open(os.devnull, os.O_WRONLY), is_shared=True)
        protocol.transport.pause_reading()
        for _ in range(5):
            await asyncio.sleep(0)
        assert protocol.data == b""
        protocol.transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.data == b"x"

    on_loop(main)


def test_a_terminal_is_one_descriptor_both_ways_and_ends_when_it_goes(on_loop):
    async def main():
        near, far = pty.openpty()
        tty.setraw(far, termios.TCSANOW)
        protocol = joined(near, near, is_shared=True)
        os.write(far, b"typed")
        await protocol.came.wait()
        protocol.transport.write(b"shown")
        assert os.read(far, 100) == b"shown"
        os.close(far)
        assert await protocol.lost is None
        assert protocol.is_eof

    on_loop(main)


def test_abort_closes_at_once(on_loop):
    async def main():
        with ends() as (reader, writer, fars):
            protocol = joined(reader, writer)
            protocol.transport.pause_reading()
            protocol.transport.write(bytes(1_000_000))
            protocol.transport.abort()
            assert await protocol.lost is None
            rest = b"".join(iter(lambda: os.read(fars["reader"], 65536), b""))
            assert len(rest) < 1_000_000
            with pytest.raises(BrokenPipeError):
                os.write(fars["writer"], b"x")

    on_loop(main)


# -- a peer that reads no more


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_peer_that_reads_no_more_has_broken_it_off_and_what_it_wrote_comes_first(on_loop, monkeypatch, is_shared):
    monkeypatch.setattr(pipe, "GONE_TIME", 0)

    async def main():
        with ends() as (reader, writer, fars):
            os.write(fars["writer"], b"last words")
            protocol = joined(reader, writer, is_shared)
            close(fars, "reader")
            assert isinstance(await protocol.lost, BrokenPipeError)
            assert (protocol.data, protocol.is_eof) == (b"last words", False)

    on_loop(main)


def test_one_that_has_ended_altogether_has_ended(on_loop, monkeypatch):
    monkeypatch.setattr(pipe, "GONE_TIME", 3600)

    async def main():
        with ends() as (reader, writer, fars):
            protocol = joined(reader, writer)
            close(fars, "reader")
            os.write(fars["writer"], b"x")
            await protocol.came.wait()
            close(fars, "writer")
            assert await protocol.lost is None
            assert protocol.is_eof

    on_loop(main)


def test_a_write_finds_out_as_well(on_loop, monkeypatch):
    monkeypatch.setattr(pipe, "GONE_TIME", 3600)

    async def main():
        with ends() as (reader, writer, fars):
            os.write(fars["writer"], b"last words")
            protocol = joined(reader, writer)
            close(fars, "reader")
            protocol.transport.write(b"x")
            assert isinstance(await protocol.lost, BrokenPipeError)
            assert protocol.data == b"last words"

    on_loop(main)


def test_so_do_bytes_that_wait(on_loop, monkeypatch):
    monkeypatch.setattr(pipe, "GONE_TIME", 3600)

    async def main():
        with ends() as (reader, writer, fars):
            protocol = joined(reader, writer)
            protocol.transport.write(bytes(1_000_000))
            await asyncio.sleep(0)
            close(fars, "reader")
            assert isinstance(await protocol.lost, BrokenPipeError)

    on_loop(main)


# -- one direction only


def test_a_reader_alone_reads_and_a_write_breaks_it_off(on_loop):
    async def main():
        for writes in (False, True):
            reader, far_writer = os.pipe()
            protocol = joined(reader, -1)
            os.write(far_writer, b"x")
            await protocol.came.wait()
            if writes:
                protocol.transport.write(b"y")
            os.close(far_writer)
            assert isinstance(await protocol.lost, BrokenPipeError if writes else type(None))

    on_loop(main)


def test_a_writer_alone_reads_nothing_and_ends_when_nobody_reads(on_loop, monkeypatch):
    monkeypatch.setattr(pipe, "GONE_TIME", 0)

    async def main():
        far_reader, writer = os.pipe()
        protocol = joined(-1, writer)
        protocol.transport.write(b"x")
        assert os.read(far_reader, 10) == b"x"
        assert not protocol.lost.done()
        os.close(far_reader)
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert not protocol.is_eof

    on_loop(main)


def test_what_is_forgotten_is_closed_once():
    loop = asyncio.SelectorEventLoop()
    ours, theirs = os.pipe()
    sock = PipeSocket(loop, ours, -1, "pipe")
    sock.__del__()
    others = os.dup(theirs)  # may get the number
    sock.__del__()
    sock.close()
    assert is_open(others)
    os.close(others)
    os.close(theirs)
    loop.close()

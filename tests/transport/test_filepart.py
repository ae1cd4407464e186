"""Parts of files: what may be one, what is sent of it, and what is told when it fails."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import trews
from tests.connection.recorder import SlowPeer
from trews.testing import no_leaks, wire
from trews.transport import filepart
from trews.transport.filepart import FilePart

DATA = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


@pytest.fixture
def sockets():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.settimeout(5)
        yield one, other


@contextmanager
def part_of(*args):
    """A part, and what its `done` was told."""
    told = []
    part = FilePart(*args, told.append)
    try:
        yield part, told
    finally:
        part.close()


class Plain:
    """A socket that sendfile does not know."""

    def __init__(self):
        self.data = b""

    def send(self, data):
        self.data += data[:1000]
        return len(data[:1000])


class TestSend:
    @pytest.mark.parametrize(("offset", "count"), [(0, None), (0, 100), (5, None), (5, 5000), (len(DATA) - 1, 1)])
    @pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "unbuffered", "BytesIO"])
    @pytest.mark.parametrize("native", [True, False])
    def test_all_of_it(self, path, sockets, kind, offset, count, native):
        what = {
            "path": lambda: path,
            "str": lambda: str(path),
            "bytes": lambda: os.fsencode(path),
            "file": lambda: open(path, "rb"),  # noqa: SIM115  # closed below
            "unbuffered": lambda: open(path, "rb", buffering=0),  # noqa: SIM115
            "BytesIO": lambda: io.BytesIO(DATA),
        }[kind]()
        sock = sockets[0] if native else Plain()
        with part_of(what, offset, count) as (part, told):
            sent = 0
            while sent < len(part):
                sent += part.send(sock, sent)
            part.finish()
        data = sock.data if isinstance(sock, Plain) else sockets[1].recv(len(DATA) + 1)
        assert data == DATA[offset:][:count]
        assert told == [None]
        if hasattr(what, "close"):
            assert not what.closed
            what.close()

    def test_the_position_of_an_open_file_stays(self, path, sockets):
        with open(path, "rb") as file, part_of(file, 10, 20) as (part, _):
            file.seek(7)
            part.send(sockets[0], 0)
            part.send(Plain(), 0)
            assert file.tell() == 7

    def test_a_peer_that_takes_none_now(self, path, sockets):
        with part_of(path, 0, None) as (part, told), pytest.raises(BlockingIOError):
            while True:
                part.send(sockets[0], 0)
        assert told == []

    def test_a_peer_that_is_gone(self, path, sockets):
        sockets[1].close()
        with part_of(path, 0, None) as (part, _), pytest.raises(BrokenPipeError):
            part.send(sockets[0], 0)

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EIO])
    def test_where_sendfile_cannot_it_is_read_and_sent(self, path, sockets, monkeypatch, code):
        calls = []

        def cannot(*args):
            calls.append(args)
            raise OSError(code, "no")

        monkeypatch.setattr(os, "sendfile", cannot)
        with part_of(path, 3, 50) as (part, _):
            assert part.send(sockets[0], 0) == 50
            assert part.send(sockets[0], 40) == 10
        assert sockets[1].recv(100) == DATA[3:53] + DATA[43:53]
        assert len(calls) == 1

    @pytest.mark.parametrize("missing", ["sendfile", "pread"])
    def test_on_systems_without(self, path, monkeypatch, missing):
        monkeypatch.delattr(os, missing)
        plain = Plain()
        with part_of(path, 3, 50) as (part, _):
            assert part.send(plain, 10) == 40
        assert plain.data == DATA[13:53]

    def test_no_more_than_its_turn(self, path, sockets, monkeypatch):
        monkeypatch.setattr(filepart, "SENDFILE_MAX", 100)
        with part_of(path, 0, None) as (part, _):
            assert part.send(sockets[0], 0) == 100


class TestFailures:
    def test_a_file_that_has_become_shorter(self, path, sockets):
        with part_of(path, 0, None) as (part, told):
            os.truncate(path, 100)
            assert part.send(sockets[0], 0) == 100
            assert part.send(sockets[0], 100) == 0
        (error,) = told
        assert isinstance(error, EOFError)
        assert str(error) == f"{path} has become shorter: {len(DATA)} bytes were to be sent, there were only 100"

    def test_a_file_that_cannot_be_read(self, path):
        def fail(*args):
            raise OSError(errno.EIO, "Input/output error")

        file = io.BytesIO(DATA)
        file.read = fail
        with part_of(file, 0, None) as (part, told):
            assert part.send(Plain(), 0) == 0
        assert [exc.errno for exc in told] == [errno.EIO]

    def test_a_file_that_somebody_closes(self):
        file = io.BytesIO(DATA)
        with part_of(file, 0, None) as (part, told):
            file.close()
            assert part.send(Plain(), 0) == 0
        assert "closed" in str(told[0])

    def test_done_is_told_once(self, path):
        with part_of(path, 0, None) as (part, told):
            part.finish()
            part.finish(ValueError())
        assert told == [None]


class TestRefused:
    """What cannot be a part of a file, before anything of it is sent, and nothing is left open."""

    @pytest.mark.parametrize(
        ("what", "args", "error", "words"),
        [
            ("none", (0, None), FileNotFoundError, "none"),
            (".", (0, None), IsADirectoryError, "directory"),
            ("fifo", (0, None), OSError, "not a regular file"),
            ("/dev/zero", (0, 5), OSError, "not a regular file"),
            ("data", (-1, None), ValueError, "offset is 0 or more, not -1"),
            ("data", (0, -1), ValueError, "count is 0 or more, not -1"),
            ("data", ("0", None), TypeError, "offset is a number of bytes, not '0'"),
            ("data", (0, True), TypeError, "count is a number of bytes, not True"),
            ("data", (0, len(DATA) + 1), EOFError, f"has {len(DATA)} bytes from offset 0 on, not {len(DATA) + 1}"),
            ("data", (len(DATA) + 5, 1), EOFError, "has 0 bytes"),
        ],
    )
    def test_paths(self, path, what, args, error, words):
        os.mkfifo(path.parent / "fifo")
        with no_leaks(), pytest.raises(error, match=words):
            FilePart(path.parent / what, *args, lambda exc: None)

    def test_others(self, path):
        with open(path) as text, pytest.raises(TypeError, match="for reading bytes"):
            FilePart(text, 0, None, lambda exc: None)
        with open(path, "ab") as writing, pytest.raises(ValueError, match="not open for reading"):
            FilePart(writing, 0, None, lambda exc: None)
        for what in (3, None, [b"x"]):
            with pytest.raises(TypeError, match="a path or a file open for reading bytes"):
                FilePart(what, 0, None, lambda exc: None)
        reading, writing = os.pipe()
        with open(reading, "rb") as pipe, open(writing, "wb"), pytest.raises(ValueError, match="regular files"):
            FilePart(pipe, 0, None, lambda exc: None)

    def test_a_class_with_a_write_of_its_own(self, path):
        class Loud(trews.Connection):
            def write(self, data):
                super().write(data.upper())

        with pytest.raises(TypeError, match="Loud has a write\\(\\) of its own"):
            wire(Loud).connection.write_file(path)

    def test_before_it_is_connected(self, path):
        with pytest.raises(trews.Error, match="not connected yet"):
            trews.Connection().write_file(path)


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_in_callbacks_and_in_order(tmp_path, size):
    Path(tmp_path / "page").write_bytes(b"p" * size)

    class Pages(trews.Connection):
        framer = b"\n"

        def on_read(self, line):
            self.write(b"<")
            self.write_file(tmp_path / "page")
            self.write(b">")

    w = wire(Pages, capacity=1000).feed(b"a\nb\n")
    assert w.sent() == (b"<" + b"p" * size + b">") * 2


@pytest.mark.slow
def test_two_gibibytes_in_bounded_memory(tmp_path):
    """features.md 41: a file larger than memory should be."""
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2 << 30)
    program = f"""
import trews
class Sender(trews.Connection):
    async def on_connect(self):
        await self.write_file({str(tmp_path / "huge")!r})
        self.close()
async def main():
    async with trews.Server(Sender).listen("tcp:127.0.0.1:0") as server:
        async with trews.connect(server.endpoints[0]) as conn:
            size = 0
            async for data in conn:
                size += len(data)
    with open("/proc/self/status") as status:  # not getrusage, which counts what was before exec
        (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(size == 2 << 30, peak < 100 << 10)
trews.run(main())
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (out.stdout, out.stderr) == ("True True\n", "")


def test_write_timeout_begins_with_the_file_and_each_byte_begins_it_anew(path):
    with SlowPeer(trews.Connection, 1000) as peer:
        connection = peer.connection
        connection.write(b"x" * 1000)  # all that there is room for
        peer.advance(1000)
        connection.write_file(path)
        peer.advance(59)
        assert connection.is_open
        assert peer.take(1000)
        peer.advance(59)
        assert connection.is_open
        peer.advance(2)
        assert type(connection.reason) is trews.WriteStalled

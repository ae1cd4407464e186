"""Standard input and output of every kind, as something to await."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

import trews
from trews.cli.terminal import PIECE, Input, Output
from trews.testing import no_leaks


async def read_all(source):
    pieces = []
    while piece := await source.read():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("poller", ["best", "select"])
def test_a_file_is_read_to_its_end(tmp_path, poller):
    path = tmp_path / "file"
    content = os.urandom(3 * PIECE + 1)
    path.write_bytes(content)
    loop_factory = trews.new_event_loop if poller == "best" else (lambda: trews.EventLoop("select"))
    with path.open("rb") as stream, asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(read_all(Input(stream))) == content


def test_nothing_comes_from_dev_null():
    with open(os.devnull, "rb") as stream:
        assert trews.run(read_all(Input(stream))) == b""


def test_a_stream_that_was_closed_from_the_beginning_is_empty_and_takes_everything():
    async def main():
        await Output(None).write(b"x")
        return await read_all(Input(None))

    assert trews.run(main()) == b""


def test_a_directory_is_an_error():
    fd = os.open(".", os.O_RDONLY)

    class Directory:
        def fileno(self):
            return fd

    try:
        with pytest.raises(IsADirectoryError):
            trews.run(Input(Directory()).read())
    finally:
        os.close(fd)


def pipe():
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", 0), os.fdopen(writer, "wb", 0)


def sockets():
    one, other = socket.socketpair()
    with one, other:
        return one.makefile("rb", 0), other.makefile("wb", 0)


@pytest.mark.parametrize("make", [pipe, sockets])
def test_bytes_go_through_whole_and_the_end_is_the_end(make):
    content = os.urandom(1_000_000)

    async def write(stream):
        with stream:
            await Output(stream).write(content)

    async def main():
        reader, writer = make()
        with reader:
            found, _ = await asyncio.gather(read_all(Input(reader)), write(writer))
        return found

    with no_leaks():
        assert trews.run(main()) == content


def test_waiting_holds_nothing_up_and_can_be_cancelled():
    async def main():
        reader, writer = pipe()
        other_reader, other_writer = pipe()
        with reader, writer, other_reader, other_writer:
            reading = asyncio.create_task(Input(reader).read())
            writing = asyncio.create_task(Output(other_writer).write(bytes(10_000_000)))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not reading.done()
            assert not writing.done()
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            writer.write(b"later")
            return await Input(reader).read()

    with no_leaks():
        assert trews.run(main()) == b"later"


def test_the_descriptors_are_left_blocking():
    async def main():
        reader, writer = pipe()
        with reader, writer:
            await Output(writer).write(b"x")
            await Input(reader).read()
            return os.get_blocking(reader.fileno()), os.get_blocking(writer.fileno())

    assert trews.run(main()) == (True, True)


def test_a_pipe_that_nobody_reads_is_an_error():
    async def main():
        reader, writer = pipe()
        reader.close()
        with writer:
            await Output(writer).write(b"x")

    with pytest.raises(BrokenPipeError):
        trews.run(main())


def test_a_file_is_written(tmp_path):
    content = os.urandom(100_000)

    async def main():
        with (tmp_path / "file").open("wb", 0) as stream:
            await Output(stream).write(content)

    trews.run(main())
    assert (tmp_path / "file").read_bytes() == content

"""Files: sent whole and in order among what is written, in bounded memory, and every failure told."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trews.connection import Connection
from trews.errors import Aborted, ClosedLocally, ConnectionClosed, Error, WriteBufferFull
from trews.testing.conformance.suite import (
    KIB,
    MIB,
    OpenPair,
    Recorder,
    check,
    closed,
    raised,
    raised_by,
    same,
    soon,
    turns,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(251)) * 5000  # 1.2 MiB, of a length that no buffer has


@contextmanager
def _file(data: bytes = DATA) -> Iterator[str]:
    number, path = tempfile.mkstemp()
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)


@check
async def a_file_arrives_whole_between_what_is_written(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file() as path:
            client.write(b"before ")
            sending = client.write_file(path)
            client.write(b" between ")
            again = client.write_file(path)
            client.write(b" after")
            await soon(asyncio.gather(sending, again))
        expected = b"before " + DATA + b" between " + DATA + b" after"
        await until(lambda: len(server.data) >= len(expected))
        same(server.data, expected)
        assert client.bytes_out == len(expected)


@check
async def a_part_of_a_file_is_sent(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file(b"0123456789") as path:
            await soon(client.write_file(path, 7))
            await soon(client.write_file(path, 2, 3))
            await soon(client.write_file(path, 0, 0))
            await soon(client.write_file(path, 10))
        await until(lambda: server.data == b"789234")


@check
async def an_open_file_is_sent_and_stays_open(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file(b"0123456789") as path, open(path, "rb") as file:
            for each in (file, io.BytesIO(b"abcdef")):
                await soon(client.write_file(each, 1, 4))
                assert not each.closed
        await until(lambda: server.data == b"1234bcde")


@check
async def close_right_after_a_file_delivers_it(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file() as path:
            sending = client.write_file(path)
            client.write(b"the end")
            client.close()
            await soon(sending)
            await closed(client, server)
        same(server.data, DATA + b"the end")
        assert client.reason.is_clean


@check
async def close_write_right_after_a_file_delivers_it(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, half_close=True) as (client, server):
        with _file() as path:
            client.write_file(path)
            client.close_write()
            await until(lambda: server.of("eof"))
        same(server.data, DATA)
        server.write(b"answer")
        await until(lambda: client.data == b"answer")


@check
async def drain_waits_for_a_file(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        with _file(bytes(16 * MIB)) as path:
            sending = client.write_file(path)
            draining = asyncio.ensure_future(client.drain())
            await turns()
            assert not sending.done()
            assert not draining.done()
            server.on_read = lambda message: None
            server.resume_reading()
            await soon(draining)
            await soon(sending)
            await until(lambda: server.bytes_in == 16 * MIB)


@check
async def a_file_is_not_in_memory_and_does_not_reach_write_limit(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, write_limit=64 * KIB) as (client, server):
        with _file() as path:
            sending = client.write_file(path)
            client.write(b"x" * 1000)
            await soon(sending)
            await until(lambda: server.bytes_in == len(DATA) + 1000)
        assert client.reason is None


@check
async def what_waits_behind_a_file_has_its_limit(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, write_limit=64 * KIB) as (client, server):
        server.pause_reading()
        with _file(bytes(16 * MIB)) as path:
            sending = client.write_file(path)
            for _ in range(200):
                client.write(bytes(KIB))
            await raised(WriteBufferFull, sending)
        await closed(client)
        assert type(client.reason) is WriteBufferFull


@check
async def a_missing_file_is_told_where_it_is_awaited(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with tempfile.TemporaryDirectory() as folder:
            await raised(FileNotFoundError, client.write_file(os.path.join(folder, "none")))
            await raised(IsADirectoryError, client.write_file(folder))
        client.write(b"still here")
        await until(lambda: server.data == b"still here")
        assert client.of("error") == []


@check
async def a_failure_that_nobody_awaits_is_the_connections(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with tempfile.TemporaryDirectory() as folder:
            client.write_file(os.path.join(folder, "none"))
            await closed(client, server)
        assert [type(exc) for exc in client.of("error")] == [FileNotFoundError]
        assert type(client.reason) is Aborted


@check
async def a_file_that_becomes_shorter_is_told(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        with _file(bytes(32 * MIB)) as path:
            sending = client.write_file(path)
            client.write(b"behind it")
            await turns()
            os.truncate(path, 0)
            server.resume_reading()
            error = await raised(EOFError, sending)
            assert "has become shorter" in str(error)
        await until(lambda: server.data.endswith(b"behind it"))
        assert len(server.data) < 32 * MIB
        assert client.bytes_out == len(server.data)


@check
async def a_file_that_is_too_short_sends_nothing(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file(b"0123456789") as path:
            await raised(EOFError, client.write_file(path, 5, 6))
        client.write(b"x")
        await until(lambda: server.data == b"x")


@check
async def a_file_ends_with_its_connection(open_pair: OpenPair) -> None:
    for end in ("abort", "reset"):
        async with open_pair(Recorder, Recorder) as (client, server):
            server.pause_reading()
            with _file(bytes(16 * MIB)) as path:
                sending, behind = client.write_file(path), client.write_file(path)
                await turns()
                (client if end == "abort" else server).abort()
                for each in (sending, behind):
                    error = await raised(ConnectionClosed, each)
                    assert error.connection is client
                    assert type(error) is Aborted if end == "abort" else not error.is_clean
                await closed(client)
                assert client.of("error") == []


@check
async def a_file_after_the_end_is_refused_as_a_write_is(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (client, server):
        with _file(b"x") as path:
            client.close()
            raised_by(ClosedLocally, client.write_file, path)
            await closed(client)
            server.abort()
            await soon(server.wait_closed())
            await raised(Aborted, server.write_file(path))


@check
async def what_is_no_file_is_refused_at_the_call(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        with _file(b"x") as path, open(path) as text:
            raised_by(TypeError, client.write_file, text)
            raised_by(TypeError, client.write_file, 3.5)
            raised_by(TypeError, client.write_file, path, "1")
            raised_by(ValueError, client.write_file, path, -1)
            raised_by(ValueError, client.write_file, path, 0, -1)
        client.write(b"y")
        await until(lambda: server.data == b"y")


@check
async def a_file_is_sent_when_its_last_byte_is_out(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, write_high=64 * MIB, write_limit=64 * MIB) as (client, server):
        server.pause_reading()
        written = 0
        while client.bytes_out == written:  # until some of it waits
            client.write(bytes(64 * KIB))
            written += 64 * KIB
            await asyncio.sleep(0)
        with _file(bytes(1000)) as path:
            sending = client.write_file(path)
            await turns()
            assert not sending.done()
            server.on_read = lambda message: None
            server.resume_reading()
            await soon(sending)
            assert client.bytes_out == written + 1000
        assert client.names == ["connect"]


@check
async def a_file_goes_on_though_nobody_waits_for_it(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        with _file(bytes(16 * MIB)) as path:
            sending = client.write_file(path)
            sending.cancel()
            await turns()
            client.write(b"behind it")
            raised_by(Error, client.switch, Recorder)
            server.resume_reading()
            await until(lambda: server.bytes_in == 16 * MIB + 9)
            assert server.data.endswith(b"behind it")
            await until(lambda: not client.of("full") or client.of("drain"))
        other = client.switch(Recorder)
        await until(lambda: other.is_open)

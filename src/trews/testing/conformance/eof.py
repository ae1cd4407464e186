"""The peer's goodbye: an event in order, after which an answer is still possible."""

from __future__ import annotations

import asyncio
from typing import Any

from trews.connection import Connection
from trews.errors import ClosedByPeer, ClosedLocally, IncompleteMessage
from trews.framing import Line
from trews.testing.conformance.suite import (
    KIB,
    MIB,
    OpenPair,
    Recorder,
    check,
    closed,
    fill,
    raised,
    soon,
    turns,
    until,
)


@check
async def data_and_fin_together(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        client.write(b"last words")
        client.close()
        await closed(server)
        assert server.data == b"last words"
        assert server.names[-2:] == ["eof", "close"]
        assert isinstance(server.reason, ClosedByPeer)


@check
async def on_eof_comes_once_between_messages_and_on_close(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        async def on_read(self, message: Any) -> None:
            await turns(3)
            self.note("read", message)

        async def on_eof(self) -> None:
            await turns(3)
            self.note("eof")

    async with open_pair(Recorder, Slow, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        client.close()
        await closed(server)
        assert server.names == ["connect", "read", "read", "read", "eof", "close"]


@check
async def a_handler_answers_after_the_peers_fin(open_pair: OpenPair) -> None:
    async def upper(conn: Connection) -> None:
        async for line in conn:
            await turns(3)
            await conn.send(line.upper())
        await conn.send(b"bye")

    async with open_pair(Connection, upper, framer=Line()) as (client, _):
        client.write(b"hi\nthere\n")
        client.close_write()
        assert await soon(client.read_all()) == b"HI\r\nTHERE\r\nbye\r\n"


@check
async def callbacks_answer_after_the_peers_fin(open_pair: OpenPair) -> None:
    class Upper(Recorder):
        def on_read(self, message: Any) -> Any:
            self.send(message.upper())

        def on_eof(self) -> Any:
            self.send(b"bye")

    class Slow(Upper):
        async def on_read(self, message: Any) -> None:
            await turns(3)
            super().on_read(message)

        async def on_eof(self) -> None:
            await turns(3)
            super().on_eof()

    for cls in (Upper, Slow):
        async with open_pair(Connection, cls, framer=Line()) as (client, server):
            client.write(b"hi\nthere\n")
            client.close_write()
            assert await soon(client.read_all()) == b"HI\r\nTHERE\r\nbye\r\n"
            await closed(server)
            assert isinstance(server.reason, ClosedByPeer)


@check
async def a_large_answer_after_the_peers_fin_arrives(open_pair: OpenPair) -> None:
    class Answer(Recorder):
        def on_eof(self) -> None:
            self.write(bytes(8 * MIB))

    async with open_pair(Connection, Answer) as (client, _):
        client.close_write()
        assert len(await soon(client.read_all())) == 8 * MIB


@check
async def half_close_goes_on_after_the_peers_fin(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, half_close=True) as (client, server):
        client.write(b"question")
        client.close_write()
        await until(lambda: server.of("eof"))
        for word in (b"one", b"two"):
            await turns()
            server.write(word)
        await until(lambda: client.data == b"onetwo")
        assert server.is_open
        assert client.is_open
        server.close_write()
        await closed(server, client)
        assert server.names == ["connect", "read", "eof", "close"]


@check
async def half_close_in_the_other_direction(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, half_close=True) as (client, server):
        server.close_write()
        await until(lambda: client.of("eof"))
        client.write(b"still")
        client.write(b" here")
        await until(lambda: server.data == b"still here")
        client.close()
        await closed(server, client)
        assert isinstance(client.reason, ClosedLocally)
        assert isinstance(server.reason, ClosedByPeer)


@check
async def close_write_flushes_first(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (client, server):
        client.write(bytes(8 * MIB))
        client.close_write()
        client.close_write()
        assert len(await soon(server.read_all())) == 8 * MIB


@check
async def an_incomplete_last_message_is_told_to_read(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=4) as (client, server):
        client.write(b"fourtwo")
        client.close()
        assert await soon(server.read()) == b"four"
        exc = await raised(IncompleteMessage, server.read())
        assert exc.partial == b"two"
        assert exc.connection is server


@check
async def an_incomplete_last_message_is_told_to_on_close(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, framer=4) as (client, server):
        client.write(b"fourtwo")
        client.close()
        await closed(server)
        assert server.of("read") == [b"four"]
        assert isinstance(server.reason, IncompleteMessage)
        assert server.reason.partial == b"two"
        assert not server.of("error")


@check
async def an_unterminated_last_line_is_a_line(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, framer=Line()) as (client, server):
        client.write(b"a\nb")
        client.close()
        await closed(server)
        assert server.of("read") == [b"a", b"b"]
        assert server.reason.is_clean


@check
async def an_end_while_paused_waits_for_resume(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        client.write(b"x" * 10 * KIB)
        client.close()
        await closed(client)
        await turns()
        assert server.names == ["connect"]
        server.resume_reading()
        await closed(server)
        assert len(server.data) == 10 * KIB


@check
async def an_end_with_output_waiting_flushes_it(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        client.pause_reading()
        total = await fill(server)
        client.close_write()
        await until(lambda: server.of("eof"))
        client.resume_reading()
        await closed(server, client)
        assert len(client.data) == total


@check
async def a_read_that_waits_sees_the_end(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line()) as (client, server):
        reading = asyncio.ensure_future(server.read())
        await turns()
        client.close()
        assert (await raised(ClosedByPeer, reading)).connection is server

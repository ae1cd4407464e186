"""`switch`: the transport goes to another connection, with every byte, and the one that had it ends."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

from trews.connection import Connection
from trews.errors import Aborted, ClosedLocally, Error, Switched
from trews.testing.conformance.suite import (
    MIB,
    OpenPair,
    Recorder,
    check,
    closed,
    ended_by_reset,
    raised,
    raised_by,
    same,
    soon,
    turns,
    until,
)


class _Negotiating(Recorder):
    """Reads one line, then another class reads what is behind it."""

    framer = b"\n"

    def on_read(self, message: Any) -> Any:
        super().on_read(message)
        self.other = self.switch(_Rest)


class _Rest(Recorder):
    framer = 3


@check
async def a_switch_keeps_every_byte(open_pair: OpenPair) -> None:
    for pieces in (
        [b"first\nabcdef"],
        [b"first\n", b"abcdef"],
        [b"first\nab", b"cd", b"ef"],
        [b"fi", b"rst\na", b"bcdef"],
    ):
        async with open_pair(Recorder, _Negotiating) as (client, server):
            for piece in pieces:
                client.write(piece)
                await turns()
            await until(lambda: server.of("read"))
            await until(lambda: len(server.other.of("read")) == 2)
            assert server.of("read") == [b"first"]
            assert server.other.of("read") == [b"abc", b"def"]
            assert server.bytes_in + server.other.bytes_in == 12
            server.other.close()
            await closed(server.other)


@check
async def on_close_comes_once_after_a_switch(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, _Negotiating) as (client, server):
        client.write(b"first\n")
        await closed(server)
        await soon(server.wait_closed())
        assert server.names == ["connect", "read", "close"]
        assert type(server.reason) is Switched
        assert server.reason.is_clean
        await until(lambda: server.other.names == ["connect"])
        client.close()
        await closed(server.other)
        assert server.names == ["connect", "read", "close"]
        assert server.other.names == ["connect", "eof", "close"]


@check
async def a_switch_is_visible_to_those_who_wait(open_pair: OpenPair) -> None:
    async with open_pair(Connection, Recorder) as (client, server):
        reading, ending = (asyncio.ensure_future(each) for each in (client.read(), client.wait_closed()))
        await turns()
        other = client.switch(Recorder)
        assert not other.is_open
        await raised(Switched, reading)
        await soon(ending)
        server.write(b"x")
        await until(lambda: other.data == b"x")


@check
async def what_waits_at_a_switch_is_sent_first(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        data = bytes(range(251)) * 20_000
        client.write(data)
        other = client.switch(Recorder)
        await until(lambda: other.is_open)
        other.write(b"the other")
        await until(lambda: len(server.data) == len(data) + 9)
        same(server.data, data + b"the other")
        assert client.bytes_out + other.bytes_out == len(data) + 9
        assert other.names.count("full") == other.names.count("drain")
        server.write(b"answer")
        await until(lambda: other.data == b"answer")
        other.close()
        await closed(other)


@check
async def a_switch_after_the_peers_fin_tells_it_again(open_pair: OpenPair) -> None:
    class Rest(Recorder):
        half_close = True

    class Late(Recorder):
        framer = b"\n"

        def on_eof(self) -> None:
            super().on_eof()
            self.other = self.switch(Rest)

    async with open_pair(Recorder, Late, half_close=True) as (client, server):
        client.write(b"line\n")
        client.close_write()
        await closed(server)
        await until(lambda: server.other.of("eof"))
        server.other.write(b"last words")
        server.other.close()
        await until(lambda: client.data == b"last words")


@check
async def data_and_fin_behind_a_switch_reach_the_other(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, _Negotiating) as (client, server):
        client.write(b"first\nabcdef")
        client.close()
        await closed(server)
        await closed(server.other)
        assert server.other.names == ["connect", "read", "read", "eof", "close"]


@check
async def one_may_switch_again_and_again(open_pair: OpenPair) -> None:
    seen: list[bytes] = []

    class Turning(Recorder):
        framer = 1

        def on_read(self, message: Any) -> Any:
            seen.append(message)
            if message != b".":
                self.switch(Turning)
            else:
                self.close()

    async with open_pair(Recorder, Turning) as (client, server):
        client.write(b"abcdefghij" * 5 + b".")
        await until(lambda: seen[-1:] == [b"."])
        assert b"".join(seen) == b"abcdefghij" * 5 + b"."
        assert type(server.reason) is Switched
        await closed(client)


@check
async def the_others_facts_are_the_same(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        facts = server.server, server.remote_address, server.local_address
        other = server.switch(Recorder())
        assert (other.server, other.remote_address, other.local_address) == facts
        await until(lambda: other.is_open)
        assert (other.server, other.remote_address, other.local_address) == facts
        assert other.id != server.id
        if other.server is not None:
            assert other in other.server.connections
            assert server not in other.server.connections
            assert other.server.stats.open == 1
        client.abort()
        await closed(other)
        assert ended_by_reset(other.reason, open_pair)


@check
async def the_old_one_cannot_write_or_end_anything_any_more(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        other = client.switch(Recorder)
        for call in (client.write, client.send):
            error = raised_by(Switched, call, b"x")
            assert error.connection is client
        for end in (client.close, client.abort, client.close_write, client.pause_reading, client.resume_reading):
            end()
        await closed(client)
        other.write(b"alive")
        await until(lambda: server.data == b"alive")
        server.write(b"yes")
        await until(lambda: other.data == b"yes")


@check
async def a_switch_that_cannot_be_changes_nothing(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        for wrong in (object, 3, None, client, server):
            raised_by(TypeError, client.switch, wrong)
        with tempfile.TemporaryFile() as file:
            file.write(bytes(16 * MIB))
            server.pause_reading()
            sending = client.write_file(file)
            await turns()
            raised_by(Error, client.switch, Recorder)
            server.on_read = lambda message: None
            server.resume_reading()
            await soon(sending)
        client.close()
        raised_by(ClosedLocally, client.switch, Recorder)
        await closed(client)
        server.abort()
        raised_by(Aborted, server.switch, Recorder)

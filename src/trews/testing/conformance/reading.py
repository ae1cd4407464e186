"""Messages: that all of them come, in order, once, and to the right taker."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from trews.connection import Connection
from trews.errors import BusyError, ClosedByPeer, FramingError, MessageTooLong, TimedOut
from trews.framing import Line, Netstring
from trews.testing.conformance.suite import (
    KIB,
    OpenPair,
    Recorder,
    check,
    closed,
    noted,
    raised,
    raised_by,
    same,
    soon,
    turns,
    until,
)

_HEAD = struct.Struct("!H")


@check
async def bytes_arrive_in_order(open_pair: OpenPair) -> None:
    data = bytes(range(256)) * 2 * KIB
    async with open_pair(Recorder, Recorder) as (client, server):
        for start in range(0, len(data), 5000):
            client.write(data[start : start + 5000])
        await until(lambda: len(server.data) >= len(data))
        same(server.data, data)


@check
async def both_directions_at_once(open_pair: OpenPair) -> None:
    data = bytes(range(256)) * KIB
    async with open_pair(Recorder, Recorder) as (client, server):
        client.write(data)
        server.write(data[::-1])
        await until(lambda: len(server.data) >= len(data) <= len(client.data))
        same(server.data, data)
        same(client.data, data[::-1])


@check
async def on_connect_comes_before_on_read(open_pair: OpenPair) -> None:
    class Eager(Recorder):
        def on_connect(self) -> None:
            self.write(b"early")
            super().on_connect()

    async with open_pair(Eager, Eager) as (client, server):
        await until(lambda: client.data == server.data == b"early")
        assert client.names[0] == server.names[0] == "connect"


@check
async def an_async_on_connect_holds_back_messages(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        async def on_connect(self) -> None:
            self.gate = asyncio.Event()
            await self.gate.wait()
            super().on_connect()

    async with open_pair(Recorder, Slow) as (client, server):
        client.write(b"early")
        await until(lambda: server.bytes_in == 5)
        await turns()
        assert server.events == []
        server.gate.set()
        await until(lambda: server.names == ["connect", "read"])


@check
async def an_async_on_read_holds_back_the_next(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        async def on_read(self, message: Any) -> None:
            self.note("begin")
            await turns(3)
            self.note("read", message)

    async with open_pair(Recorder, Slow, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        await noted(server, "read", 3)
        assert server.of("read") == [b"a", b"b", b"c"]
        assert server.names == ["connect"] + ["begin", "read"] * 3


@check
async def messages_do_not_depend_on_chunking(open_pair: OpenPair) -> None:
    stream = b"one\r\n\r\nthree\r\n" + b"x" * 300 + b"\r\n"
    for size in (1, 2, 7, len(stream)):
        async with open_pair(Recorder, Recorder, framer=Line()) as (client, server):
            for start in range(0, len(stream), size):
                client.write(stream[start : start + size])
                await turns(1)
            await noted(server, "read", 4)
            assert server.of("read") == [b"one", b"", b"three", b"x" * 300]


@check
async def a_framer_changed_in_on_read_applies_to_what_is_buffered(open_pair: OpenPair) -> None:
    class Prefixed(Recorder):
        framer = _HEAD

        def on_read(self, message: Any) -> None:
            if self.framer is _HEAD:
                (self.framer,) = message
            else:
                self.framer = _HEAD
                self.note("read", message)

    async with open_pair(Recorder, Prefixed) as (client, server):
        client.write(b"\0\x03abc\0\x01d\0\0\0\x02ef")
        await noted(server, "read", 4)
        assert server.of("read") == [b"abc", b"d", b"", b"ef"]


@check
async def on_read_may_be_rebound_in_on_read(open_pair: OpenPair) -> None:
    class States(Recorder):
        def on_read(self, message: Any) -> None:
            self.note("name", message)
            self.on_read = self.on_rest  # type: ignore[assignment, method-assign]

        async def on_rest(self, message: Any) -> None:
            self.note("rest", message)

    async with open_pair(Recorder, States, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        await until(lambda: len(server.events) == 4)
        assert server.events[1:] == [("name", b"a"), ("rest", b"b"), ("rest", b"c")]


@check
async def a_message_of_no_bytes_comes_once(open_pair: OpenPair) -> None:
    class Zero(Recorder):
        framer = 0

    async with open_pair(Recorder, Zero) as (client, server):
        client.write(b"more")
        await until(lambda: server.bytes_in == 4)
        await turns()
        assert server.of("read") == [b""]
        server.framer = None
        client.write(b"!")
        await until(lambda: server.data == b"more!")


@check
async def close_in_on_read_stops_messages(open_pair: OpenPair) -> None:
    class Closing(Recorder):
        def on_read(self, message: Any) -> None:
            super().on_read(message)
            self.close()

    async with open_pair(Recorder, Closing, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        await closed(server)
        client.write(b"d\n")
        await turns()
        assert server.of("read") == [b"a"]


@check
async def abort_in_on_read_stops_messages(open_pair: OpenPair) -> None:
    class Aborting(Recorder):
        def on_read(self, message: Any) -> None:
            super().on_read(message)
            self.abort()

    async with open_pair(Recorder, Aborting, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        await closed(server, client)
        assert server.of("read") == [b"a"]


@check
async def pause_in_on_read_holds_the_rest(open_pair: OpenPair) -> None:
    class Pausing(Recorder):
        def on_read(self, message: Any) -> None:
            super().on_read(message)
            self.pause_reading()

    async with open_pair(Recorder, Pausing, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        for count in (1, 2, 3):
            await noted(server, "read", count)
            await turns()
            assert len(server.of("read")) == count
            server.resume_reading()
        assert server.of("read") == [b"a", b"b", b"c"]


@check
async def resume_in_on_read_undoes_a_pause(open_pair: OpenPair) -> None:
    class Wavering(Recorder):
        def on_read(self, message: Any) -> None:
            self.pause_reading()
            self.note("read", message)
            self.resume_reading()

    async with open_pair(Recorder, Wavering, framer=Line()) as (client, server):
        client.write(b"a\nb\n")
        await until(lambda: server.of("read") == [b"a", b"b"])
        client.write(b"c\n")
        await until(lambda: server.of("read") == [b"a", b"b", b"c"])


@check
async def a_waiting_read_takes_the_message_before_on_read(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, framer=Line()) as (client, server):
        reading = asyncio.ensure_future(server.read())
        await turns()
        client.write(b"a\nb\n")
        assert await soon(reading) == b"a"
        await until(lambda: server.of("read") == [b"b"])


@check
async def messages_wait_for_read(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line()) as (client, server):
        client.write(b"a\nb\nc")
        await until(lambda: server.bytes_in == 5)
        assert [await soon(server.read()), await soon(server.read())] == [b"a", b"b"]
        assert await soon(server.read(framer=1)) == b"c"
        client.write(b"d\n")
        assert await soon(server.read()) == b"d"


@check
async def a_cancelled_read_loses_nothing(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line()) as (client, server):
        for written in (b"", b"hal", b"hal"):  # nothing, a part, then the rest in the very turn of the cancellation
            client.write(written)
            reading = asyncio.ensure_future(server.read())
            await turns()
            reading.cancel()
            await asyncio.wait([reading])
        reading = asyncio.ensure_future(server.read())
        await turns()
        client.write(b"ves\n")
        while server.bytes_in < 10:
            await turns(1)
        reading.cancel()
        await asyncio.wait([reading])
        assert (await soon(server.read()) if reading.cancelled() else reading.result()) == b"halhalves"


@check
async def a_timed_out_read_loses_nothing(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line()) as (client, server):
        client.write(b"ha")
        await raised(TimedOut, server.read(timeout=0.01))
        assert server.is_open
        client.write(b"lf\n")
        assert await soon(server.read(timeout=10)) == b"half"


@check
async def a_second_reader_is_refused(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (client, server):
        reading = asyncio.ensure_future(server.read())
        await turns()
        await raised(BusyError, server.read())
        client.write(b"x")
        assert await soon(reading) == b"x"


@check
async def async_for_ends_at_the_peers_end(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line(encoding="utf-8")) as (client, server):
        client.send("a")
        client.send("é")
        client.close()

        async def lines() -> list[str]:
            return [line async for line in server]

        assert await soon(lines()) == ["a", "é"]


@check
async def read_all_is_everything(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (client, server):
        client.write(b"x" * 300 * KIB)
        client.close()
        same(await soon(server.read_all()), b"x" * 300 * KIB)
        assert (await raised(ClosedByPeer, server.read())).connection is server


@check
async def who_has_no_on_read_notices_the_peers_end(open_pair: OpenPair) -> None:
    class Deaf(Connection):
        read_high = 10

    async with open_pair(Recorder, Deaf) as (client, server):
        client.write(b"x" * 300 * KIB)
        client.close()
        await soon(server.wait_closed())
        assert isinstance(server.reason, ClosedByPeer)


@check
async def max_message_is_allowed_and_one_more_is_not(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, framer=Line(), max_message=10) as (client, server):
        client.write(b"x" * 10 + b"\r\n")
        await until(lambda: server.of("read") == [b"x" * 10])
        client.write(b"x" * 11)  # and no end of the line
        await closed(server)
        assert isinstance(server.reason, MessageTooLong)


@check
async def a_malformed_frame_ends_the_connection(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, framer=Netstring()) as (client, server):
        client.send(b"fine")
        client.write(b"x:oops")
        await closed(server)
        assert server.of("read") == [b"fine"]
        assert isinstance(server.reason, FramingError)


@check
async def send_encodes_with_the_framer(open_pair: OpenPair) -> None:
    async with open_pair(Connection, Connection, framer=struct.Struct("!Hb")) as (client, server):
        await soon(client.send((513, -1)))
        assert await soon(server.read()) == (513, -1)
        raised_by(Exception, client.send, (99999, 0))
        assert client.is_open

"""A transport that goes from one connection to another: in the next turn, with all that has come meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import struct

import pytest

import trews
from tests.connection.recorder import Recorder, SlowPeer, start
from tests.servers import NAME, turns, virtually
from trews.testing import run, wire


class Lines(Recorder):
    framer = b"\n"


class Other(Recorder):
    framer = b"\n"


class First(Lines):
    def on_read(self, message):
        super().on_read(message)
        self.other = self.switch(Other)


def test_what_was_not_delivered_goes_along():
    w = wire(First).feed(b"1\n2\n3\nhalf")
    assert w.connection.messages == [b"1"]
    assert w.connection.other.messages == [b"2", b"3"]
    assert w.feed(b" and half\n").connection.other.messages == [b"2", b"3", b"half and half"]


def test_the_other_is_told_in_the_next_turn_and_can_be_prepared_until_then():
    class Prepared(Other):
        name = ""

        def on_connect(self):
            self.events.append(("connect", self.name))

    class Preparing(Lines):
        def on_read(self, message):
            self.other = self.switch(Prepared)
            self.other.name = message
            assert self.other.events == []
            with pytest.raises(trews.Error, match="not connected yet"):
                self.other.write(b"x")

    assert wire(Preparing).feed(b"bob\n").connection.other.events == [("connect", b"bob")]


def test_an_object_may_be_given():
    class Tunnel(Other):
        def __init__(self, target):
            self.target = target

    w = wire(trews.Connection)
    other = w.connection.switch(Tunnel("there"))
    assert w.feed(b"1\n").connection.is_closed
    assert (other.target, other.messages) == ("there", [b"1"])


@pytest.mark.parametrize("lost", ["eof", "reset"])
def test_what_happens_between_the_two_is_told_to_the_other(lost):
    w = wire(Lines)
    other = w.connection.switch(Other)
    w._far.send(b"1\n2\n")
    if lost == "eof":
        w._far.shutdown(socket.SHUT_WR)
    else:
        w._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        w._far.close()
    w.settle()
    assert w.connection.names == ["connect", "close"]
    assert other.names[0] == "connect"
    assert other.names[-1] == "close"
    assert type(other.reason) is (trews.ClosedByPeer if lost == "eof" else trews.ConnectionReset)
    if lost == "eof":
        assert other.messages == [b"1", b"2"]


def test_a_transport_that_is_lost_already_is_lost_to_the_other():
    w = wire(Lines)
    w.connection._transport.core.lose(OSError("gone"))  # connection_lost comes in the next turn
    other = w.connection.switch(Other)
    w.settle()
    assert w.connection.names == ["connect", "close"]
    assert other.names == ["connect", "close"]


def test_a_backlog_goes_along_and_its_drain_is_told_to_the_other():
    class Small(Recorder):
        write_high, write_low = 100, 10

    with SlowPeer(Small, 1000) as peer:
        peer.connection.write(b"x" * 1500)
        other = peer.connection.switch(Small)
        peer.loop.settle()
        other.write(b"y" * 10)
        assert other.names == ["connect", "full"]
        assert peer.take(2000) + peer.take(2000) == b"x" * 1500 + b"y" * 10
        assert other.names == ["connect", "full", "drain"]
        assert (peer.connection.bytes_out, other.bytes_out) == (1000, 510)


def test_a_backlog_that_nobody_takes_ends_the_other():
    with SlowPeer(Recorder, 1000) as peer:
        peer.connection.write(b"x" * 1500)
        other = peer.connection.switch(Recorder)
        peer.advance(61)
        assert type(other.reason) is trews.WriteStalled


def test_a_paused_connection_hands_over_one_that_reads():
    w = wire(Lines)
    w.connection.pause_reading()
    w.feed(b"1\n")
    other = w.connection.switch(Other)
    assert w.feed(b"2\n").connection.messages == []
    assert other.messages == [b"1", b"2"]


def test_after_close_write_the_other_cannot_write_either():
    w = wire(Lines, half_close=True)
    w.connection.close_write()
    other = w.connection.switch(Other)
    w.feed(b"1\n")
    assert other.messages == [b"1"]
    with pytest.raises(trews.ClosedLocally):
        other.write(b"x")


def test_its_deadlines_are_its_own():
    class Idle(Other):
        idle_timeout = 5

    w = wire(Lines, idle_timeout=3)
    w.advance(2)
    other = w.connection.switch(Idle)
    w.advance(4.9)
    assert other.is_open
    w.advance(0.2)
    assert type(other.reason) is trews.IdleTooLong


def test_what_the_one_has_set_in_its_context_the_other_sees():
    user = contextvars.ContextVar("user", default="nobody")

    class Login(Lines):
        def on_read(self, message):
            user.set(message)
            self.other = self.switch(Session)

    class Session(Other):
        def on_connect(self):
            self.events.append(("user", user.get()))

    assert wire(Login).feed(b"bob\n").connection.other.events == [("user", b"bob")]
    assert user.get() == "nobody"


class TestCodeOfTheOld:
    def test_its_tasks_end_with_it(self):
        w = wire(Lines)
        task = w.connection.spawn(asyncio.sleep(1000))
        w.connection.switch(Other)
        w.settle()
        assert task.cancelled()

    def test_its_handler_may_go_on_and_on_close_waits_for_it(self):
        async def handler(conn):
            conn.other = conn.switch(Other)
            await asyncio.sleep(5)

        w = wire(handler).feed(b"1\n")
        assert w.connection.other.messages == [b"1"]
        task = start(w, w.connection.wait_closed())
        w.advance(4)
        assert not task.done()
        w.advance(1)
        assert task.done()
        assert w.connection.other.is_open

    def test_its_read_ends(self):
        async def handler(conn):
            conn.spawn(later(conn))
            with pytest.raises(trews.Switched):
                await conn.read()
            conn.ended = True

        async def later(conn):
            conn.other = conn.switch(Other)

        assert wire(handler).connection.ended

    def test_an_error_of_it_does_not_touch_the_other(self):
        class Failing(Lines):
            def on_read(self, message):
                self.other = self.switch(Other)
                raise ValueError("oops")

        w = wire(Failing).feed(b"1\n2\n")
        assert [repr(exc) for exc in w.connection.errors] == ["ValueError('oops')"]
        assert w.connection.other.messages == [b"2"]
        assert not w.closed


class TestServers:
    @virtually
    async def test_its_place_and_bytes_are_counted_once(self):
        server = trews.Server(First, max_connections=1).listen(NAME)
        async with server:
            async with trews.connect(NAME, framer=b"\n") as client:
                await client.send(b"1")
                await client.send(b"22")
                await turns()
                (other,) = server.connections
                assert isinstance(other, Other)
                assert other.server is server
                assert (server.stats.open, server.stats.accepted, server.stats.bytes_in) == (1, 1, 5)
                other.send(b"yes")
                assert await client.read() == b"yes"
            async with trews.connect(NAME, framer=b"\n") as client:  # there is room again
                await client.send(b"1")
                await turns()
                assert server.stats.open == 1
        assert (server.stats.open, server.stats.accepted, server.stats.bytes_out) == (0, 2, 4)

    @virtually
    async def test_a_stop_reaches_the_other(self):
        class Polite(Other):
            def on_stop(self):
                self.write(b"bye")
                self.close()

        class Turning(Lines):
            def on_read(self, message):
                self.switch(Polite)
                if message == b"stop":
                    self.server.stop(5)

        for word in (b"go", b"stop"):
            server = await trews.Server(Turning).listen(NAME).start()
            client = await trews.connect(NAME)
            client.write(word + b"\n")
            await turns()
            drained = server.stop(5)
            assert await client.read_all() == b"bye"
            assert (await drained).aborted == 0
            client.close()
            await client.wait_closed()


def test_in_debug_mode():
    class Loud(Lines):
        def on_read(self, message):
            self.write(message)
            self.switch(Echo)

    class Echo(Lines):
        def on_read(self, message):
            self.write(message)

    async def main():
        async with trews.Server(Loud).listen(NAME), trews.connect(NAME) as client:
            client.write(b"1\n2\n")
            return await client.read(framer=2)

    assert run(main(), debug=True) == b"12"

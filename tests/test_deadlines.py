"""The deadlines of a connection, on the virtual clock: never early, and on it exact.

`close_timeout` has a file of its own, tests/connection/test_close_timeout.py.
"""

from __future__ import annotations

import asyncio
from struct import Struct

import pytest

import trews
from tests.connection.recorder import Recorder, SlowPeer, start
from trews.framing import Delimiter, Exactly, JSONLines, Line, Netstring, Prefixed, Varint
from trews.handler import connection_class
from trews.testing import VirtualLoop, wire

MOMENT = 0.01


class Lines(Recorder):
    framer = b"\n"


class TestMessageTimeout:
    """`message_timeout`: from a message's first byte to its last."""

    @pytest.mark.parametrize(
        ("framer", "data"),
        [
            (3, b"ab"),
            (b"\r\n", b"ab"),
            (b"\r\n", b"ab\r"),
            (Struct("!I"), b"ab"),
            (Exactly(3), b"ab"),
            (Delimiter(b";"), b"ab"),
            (Line(), b"ab"),
            (Line(encoding="utf-8", final=False), b"ab"),
            (JSONLines(), b"[1"),
            (Netstring(), b"3"),
            (Netstring(), b"3:ab"),
            (Prefixed("!H"), b"\0"),
            (Prefixed("!H"), b"\0\3ab"),
            (Varint(), b"\x80"),
            (Varint(), b"\3ab"),
        ],
    )
    def test_with_every_framer(self, framer, data):
        w = wire(Recorder, framer=framer, message_timeout=10).feed(data)
        w.advance(10 - MOMENT)
        assert w.connection.is_open
        w.advance(MOMENT)
        assert type(w.reason) is trews.MessageTooSlow
        assert "10 s" in str(w.reason)
        assert w.connection.names[-1] == "close"

    def test_the_default_is_sixty_seconds(self):
        w = wire(Lines).feed(b"a").advance(60 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.MessageTooSlow

    def test_it_does_not_start_before_the_first_byte(self):
        w = wire(Lines).advance(10_000).feed(b"a").advance(59).feed(b"\n").advance(10_000)
        assert w.connection.messages == [b"a"]
        assert w.connection.is_open

    def test_more_bytes_do_not_extend_it(self):
        w = wire(Lines)
        for _ in range(12):
            w.feed(b"a").advance(5)
        assert type(w.reason) is trews.MessageTooSlow

    def test_not_with_framer_none(self):
        assert wire(Recorder).feed(b"a").advance(10_000).connection.is_open

    def test_none_is_no_limit(self):
        assert wire(Lines, message_timeout=None).feed(b"a").advance(1e6).connection.is_open

    def test_it_starts_anew_with_each_message(self):
        w = wire(Lines)
        for _ in range(5):
            w.feed(b"a").advance(50).feed(b"\n").advance(100)
        assert w.connection.messages == [b"a"] * 5

    def test_it_starts_anew_when_one_chunk_ends_one_message_and_begins_the_next(self):
        w = wire(Lines).feed(b"a")
        for _ in range(5):
            w.advance(50).feed(b"\nb")
        assert w.connection.is_open
        w.advance(60 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.MessageTooSlow

    def test_in_a_handler_too(self):
        async def handler(conn):
            async for _ in conn:
                pass

        w = wire(handler, framer=b"\n").feed(b"a")
        for _ in range(5):
            w.advance(50).feed(b"\nb")
        assert w.connection.is_open
        w.advance(60 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.MessageTooSlow

    def test_in_an_async_callback_that_reads(self):
        class Header(Lines):
            async def on_connect(self):
                await self.read(framer=4)

        w = wire(Header).feed(b"abc").advance(60)
        assert type(w.reason) is trews.MessageTooSlow
        assert w.connection.errors == []

    def test_the_waiting_read_gets_it(self):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.read())
        w.feed(b"a").advance(60)
        assert type(task.exception()) is trews.MessageTooSlow

    def test_it_stands_still_while_the_user_has_paused(self):
        w = wire(Lines).feed(b"a").advance(30)
        w.connection.pause_reading()
        w.advance(10_000)
        w.connection.resume_reading()
        w.advance(30 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(2 * MOMENT).reason) is trews.MessageTooSlow

    def test_it_stands_still_while_an_async_callback_runs(self):
        class Slow(Lines):
            async def on_read(self, message):
                await asyncio.sleep(1000)

        w = wire(Slow).feed(b"1\n2").advance(1000 + 60 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(2 * MOMENT).reason) is trews.MessageTooSlow

    def test_it_stands_still_while_the_handler_is_not_asking(self):
        async def handler(conn):
            while True:
                await conn.read()
                await asyncio.sleep(1000)

        w = wire(handler, framer=b"\n").feed(b"1\n2").advance(1000 + 60 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(2 * MOMENT).reason) is trews.MessageTooSlow

    def test_it_stands_still_while_nobody_reads_a_plain_connection(self):
        assert wire(trews.Connection, framer=b"\n").feed(b"a").advance(10_000).connection.is_open

    def test_with_an_on_read_of_the_instance_it_runs(self):
        w = wire(trews.Connection, framer=b"\n")
        w.connection.on_read = print
        assert type(w.feed(b"a").advance(60).reason) is trews.MessageTooSlow

    def test_assigned_on_the_instance_it_counts_for_the_next_message(self):
        class Login(Lines):
            message_timeout = 5

            def on_read(self, message):
                self.message_timeout = 500

        w = wire(Login).feed(b"user\nx").advance(499)
        assert w.connection.is_open
        assert type(w.advance(1).reason) is trews.MessageTooSlow

    def test_a_message_that_takes_no_byte_stops_no_clock(self):
        w = wire(trews.Connection, framer=b"\n")
        start(w, w.connection.read())
        w.feed(b"a").advance(59)
        assert w.connection.is_open


class TestIdleTimeout:
    """`idle_timeout`: without a byte either way."""

    def test_there_is_none_by_default(self):
        assert wire(Lines).advance(1e7).connection.is_open

    def test_silence_ends_it(self):
        w = wire(Lines, idle_timeout=10).advance(10 - MOMENT)
        assert w.connection.is_open
        w.advance(MOMENT)
        assert type(w.reason) is trews.IdleTooLong
        assert w.closed
        assert not w.was_reset

    @pytest.mark.parametrize(
        "act",
        [lambda w: w.feed(b"x"), lambda w: w.connection.write(b"x"), lambda w: w.connection.send(b"x")],
        ids=["in", "write", "send"],
    )
    @pytest.mark.parametrize("framer", [None, b"\n"])
    def test_a_byte_either_way_begins_it_anew(self, act, framer):
        w = wire(Recorder, framer=framer, idle_timeout=10, message_timeout=None)
        for _ in range(5):
            w.advance(9)
            act(w)
        w.advance(10 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.IdleTooLong

    def test_an_empty_write_does_not(self):
        w = wire(Recorder, idle_timeout=10).advance(9)
        w.connection.write(b"")
        assert type(w.advance(1).reason) is trews.IdleTooLong

    def test_it_stands_still_during_a_pause_by_the_user(self):
        w = wire(Recorder, idle_timeout=10)
        w.connection.pause_reading()
        w.advance(1000)
        w.connection.resume_reading()
        w.advance(10 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(2 * MOMENT).reason) is trews.IdleTooLong

    def test_it_runs_while_a_handler_works(self):
        async def handler(conn):
            await asyncio.sleep(1e6)

        assert type(wire(handler, idle_timeout=10).advance(10).reason) is trews.IdleTooLong

    @pytest.mark.parametrize("cls", [Recorder, Lines, trews.Connection], ids=["raw", "lines", "plain"])
    def test_assigned_on_the_instance_it_counts_from_the_next_byte(self, cls):
        w = wire(cls).advance(100)
        w.connection.idle_timeout = 10
        w.feed(b"x\n").advance(10 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.IdleTooLong

    def test_assigned_in_on_connect(self):
        class Impatient(Recorder):
            def on_connect(self):
                self.idle_timeout = 10

        assert type(wire(Impatient).advance(10).reason) is trews.IdleTooLong

    def test_lengthened_in_the_meantime(self):
        w = wire(Recorder, idle_timeout=10)
        w.connection.idle_timeout = 20
        w.advance(20 - MOMENT)
        assert w.connection.is_open
        assert type(w.advance(MOMENT).reason) is trews.IdleTooLong

    def test_taken_away_in_the_meantime(self):
        w = wire(Recorder, idle_timeout=10)
        w.connection.idle_timeout = None
        assert w.advance(1000).connection.is_open

    def test_with_half_close_too(self):
        w = wire(Recorder, idle_timeout=10, half_close=True).eof().advance(10)
        assert type(w.reason) is trews.IdleTooLong


class Narrow(Recorder):
    write_timeout = 10


class TestWriteTimeout:
    """`write_timeout`: with bytes waiting and none accepted by the peer."""

    def test_nothing_waiting_no_deadline(self):
        assert wire(Narrow).advance(1000).connection.is_open

    def test_none_accepted(self):
        with SlowPeer(Narrow) as peer:
            peer.advance(500)
            peer.connection.write(b"x" * 5000)
            peer.advance(10 - MOMENT)
            assert peer.connection.is_open
            peer.advance(MOMENT)
            assert type(peer.connection.reason) is trews.WriteStalled
            assert "4000" in str(peer.connection.reason)
            assert peer.connection.names[-1] == "close"

    def test_the_default_is_sixty_seconds(self):
        with SlowPeer(Recorder) as peer:
            peer.connection.write(b"x" * 5000)
            peer.advance(60 - MOMENT)
            assert peer.connection.is_open
            peer.advance(MOMENT)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_each_byte_accepted_begins_it_anew(self):
        with SlowPeer(Narrow) as peer:
            peer.connection.write(b"x" * 5000)
            for _ in range(20):
                peer.advance(9)
                assert peer.take(1) == b"x"
            assert peer.connection.is_open
            peer.advance(10)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_more_writes_do_not_extend_it(self):
        with SlowPeer(Narrow) as peer:
            for _ in range(11):
                peer.connection.write(b"x" * 5000)
                peer.advance(1)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_a_peer_that_sends_but_does_not_read(self):
        with SlowPeer(Narrow) as peer:
            peer.connection.write(b"x" * 5000)
            for _ in range(10):
                peer.far.send(b"y")
                peer.advance(1)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_all_accepted_ends_it(self):
        with SlowPeer(Narrow) as peer:
            peer.connection.write(b"x" * 1500)
            peer.advance(9)
            peer.take(1000)
            peer.advance(1000)
            assert peer.connection.is_open

    def test_none_is_no_limit(self):
        with SlowPeer(type("Patient", (Recorder,), {"write_timeout": None})) as peer:
            peer.connection.write(b"x" * 5000)
            peer.advance(1e6)
            assert peer.connection.is_open

    def test_assigned_on_the_instance_it_counts_from_the_next_write(self):
        with SlowPeer(Recorder) as peer:
            peer.connection.write_timeout = 5
            peer.connection.write(b"x" * 5000)
            peer.advance(5)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_after_close_write_too(self):
        with SlowPeer(Narrow) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close_write()
            peer.advance(10)
            assert type(peer.connection.reason) is trews.WriteStalled


class ForeignTransport(asyncio.Transport):
    """A transport of another loop: it does not tell what it has sent and when, but what still waits."""

    def __init__(self, connection):
        super().__init__()
        self.connection = connection
        self.waiting = 0

    def write(self, data):
        self.waiting += len(data)

    def get_write_buffer_size(self):
        return self.waiting

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def is_closing(self):
        return False

    def abort(self):
        self.connection.connection_lost(None)

    close = abort


@pytest.fixture
def foreign():
    """Makes connections with a transport that is not trews', on one virtual loop: `(loop, connection, transport)`."""
    loop = VirtualLoop()

    def make(**settings):
        connection = connection_class(Recorder, settings)()
        transport = ForeignTransport(connection)
        loop.call_soon(connection.connection_made, transport)
        loop.settle()
        return loop, connection, transport

    yield make
    loop.advance(3600)
    loop.close()


class TestForeignTransports:
    """Progress is found by looking now and then, so a deadline is late by at most 2 %, and never early."""

    def test_bytes_that_leave_count_for_idle_timeout(self, foreign):
        loop, connection, transport = foreign(idle_timeout=10, write_timeout=None)
        connection.write(b"x" * 10)
        for _ in range(5):
            loop.advance(8)
            transport.waiting -= 2
        loop.advance(9.9)
        assert connection.reason is None
        loop.advance(0.5)
        assert type(connection.reason) is trews.IdleTooLong

    def test_the_last_of_them_too(self, foreign):
        loop, connection, transport = foreign(idle_timeout=10, write_timeout=None)
        connection.write(b"x")
        loop.advance(8)
        transport.waiting = 0
        loop.advance(9.8)
        assert connection.reason is None
        loop.advance(0.5)
        assert type(connection.reason) is trews.IdleTooLong

    def test_bytes_that_stay_do_not(self, foreign):
        loop, connection, _ = foreign(idle_timeout=10, write_timeout=None)
        connection.write(b"x")
        loop.advance(9.9)
        assert connection.reason is None
        loop.advance(0.2)
        assert type(connection.reason) is trews.IdleTooLong

    def test_write_timeout(self, foreign):
        loop, connection, transport = foreign(write_timeout=10)
        connection.write(b"x" * 10)
        loop.advance(8)
        transport.waiting -= 1
        loop.advance(9.9)
        assert connection.reason is None
        loop.advance(0.4)
        assert type(connection.reason) is trews.WriteStalled

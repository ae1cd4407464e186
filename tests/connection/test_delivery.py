"""Who gets a message that no `read()` waits for, and when the peer is held back."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.testing import wire


class TestWhoGetsMessages:
    """Messages wait for `read()` on plain Connections and in handlers; a subclass without `on_read` discards them."""

    def test_plain_connection_keeps_them(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"1\n2\n")
        assert start(w, w.connection.read()).result() == b"1"
        w.advance(10)
        assert start(w, w.connection.read()).result() == b"2"

    def test_handler_functions_keep_them(self):
        async def handler(conn):
            await asyncio.sleep(10)
            conn.write(await conn.read())

        assert wire(handler, framer=b"\n").feed(b"hi\n").advance(10).sent() == b"hi"

    def test_a_subclass_that_only_takes_keywords_keeps_what_its_base_does(self):
        w = wire(trews.Connection, max_message=5, framer=b"\n").feed(b"1\n")
        assert start(w, w.connection.read()).result() == b"1"

    def test_subclass_without_on_read_discards_them(self):
        class Broadcaster(trews.Connection):
            framer = b"\n"

        w = wire(Broadcaster).feed(b"old\n")
        task = start(w, w.connection.read())
        assert not task.done()
        w.feed(b"new\n")
        assert task.result() == b"new"

    def test_it_discards_any_amount_and_notices_the_end(self):
        """So a broadcast-only server notices that its listeners left."""

        class Broadcaster(trews.Connection):
            framer = b"\n"
            closed_by: object = None

            def on_close(self, reason):
                self.closed_by = reason

        w = wire(Broadcaster).feed(b"x" * 1_000_000).eof()
        assert isinstance(w.connection.closed_by, trews.ClosedByPeer)

    def test_unless_its_async_on_connect_is_still_running(self):
        class Login(trews.Connection):
            framer = b"\n"
            user = None

            async def on_connect(self):
                await asyncio.sleep(5)
                self.user = await self.read()

        w = wire(Login).feed(b"ada\nignored\n").advance(5)
        assert w.connection.user == b"ada"
        task = start(w, w.connection.read())
        assert not task.done()

    def test_on_read_rebound_on_an_instance_counts(self):
        seen = []
        w = wire(trews.Connection, framer=b"\n")
        w.connection.on_read = seen.append
        w.feed(b"1\n2\n")
        assert seen == [b"1", b"2"]

    def test_on_read_rebound_on_an_instance_gets_messages_larger_than_read_high(self):
        seen = []
        w = wire(trews.Connection, framer=300_000, max_message=1 << 20)
        w.connection.on_read = seen.append
        w.feed(b"x" * 300_000)
        assert [len(message) for message in seen] == [300_000]

    def test_on_read_of_a_mixin_counts(self):
        seen = []

        class Mixin:
            def on_read(self, message):
                seen.append(message)

        class Mixed(Mixin, trews.Connection): ...

        wire(Mixed).feed(b"hi")
        assert seen == [b"hi"]


class TestPause:
    def test_nothing_is_delivered_until_resumed(self):
        w = wire(Recorder)
        w.connection.pause_reading()
        w.feed(b"hi")
        assert w.connection.messages == []
        w.connection.resume_reading()
        assert w.settle().connection.messages == [b"hi"]

    def test_the_peer_is_held_back(self):
        w = wire(Recorder)
        w.connection.pause_reading()
        with pytest.raises(BufferError, match="does not read"):
            w.feed(b"x" * 1_000_000)
        assert w.connection.bytes_in == 0

    def test_in_on_read_it_holds_back_the_next_message(self):
        class One(Recorder):
            framer = b"\n"

            def on_read(self, message):
                super().on_read(message)
                self.pause_reading()

        w = wire(One).feed(b"1\n2\n3\n")
        assert w.connection.messages == [b"1"]
        w.connection.resume_reading()
        assert w.settle().connection.messages == [b"1", b"2"]
        w.connection.resume_reading()
        assert w.settle().connection.messages == [b"1", b"2", b"3"]

    def test_pause_and_resume_at_once_change_nothing(self):
        w = wire(Recorder)
        w.connection.pause_reading()
        w.connection.pause_reading()
        w.connection.resume_reading()
        w.connection.resume_reading()
        assert w.feed(b"hi").connection.messages == [b"hi"]

    def test_the_end_waits_for_it_too(self):
        w = wire(Recorder)
        w.connection.pause_reading()
        w.feed(b"hi").eof()
        assert w.connection.names == ["connect"]
        w.connection.resume_reading()
        assert w.settle().connection.names == ["connect", "read", "eof", "close"]

    def test_closing_ends_it(self):
        w = wire(Recorder)
        w.connection.pause_reading()
        w.connection.close()
        assert w.settle().connection.names == ["connect", "close"]

    def test_after_the_end_both_are_harmless(self):
        w = wire(Recorder).eof()
        w.connection.pause_reading()
        w.connection.resume_reading()
        assert w.settle().connection.names == ["connect", "eof", "close"]


class TestReadHigh:
    """Complete but undelivered bytes held before the socket is paused."""

    def test_memory_is_bounded_while_nobody_reads(self):
        w = wire(trews.Connection, framer=b"\n", read_high=1000)
        with pytest.raises(BufferError, match="does not read"):
            w.feed(b"x\n" * 1_000_000)
        assert w.connection.bytes_in <= 1000 + 256 * 1024

    def test_assigned_on_the_instance(self):
        w = wire(trews.Connection, framer=b"\n", capacity=1000)
        w.connection.read_high = 10
        w.feed(b"x\n" * 10)
        assert w.connection.bytes_in == 20
        with pytest.raises(BufferError, match="does not read"):
            w.feed(b"x\n" * 1000)
        assert w.connection.bytes_in == 20

    def test_reading_lets_the_peer_go_on(self):
        w = wire(trews.Connection, framer=4, read_high=1000, capacity=1000)
        with pytest.raises(BufferError):
            w.feed(b"x" * 100_000)
        came = w.connection.bytes_in

        async def read_some():
            for _ in range(came // 4):
                await w.connection.read()

        start(w, read_some())
        assert w.settle().connection.bytes_in > came

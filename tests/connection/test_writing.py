"""Writing: what `write` takes, what waits for a slow peer, and when a write is refused, dropped or too much."""

from __future__ import annotations

import array
import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder, SlowPeer, start
from trews.testing import run, wire


def raised(task):
    assert task.done()
    return task.exception()


def clogged(cls=Recorder, capacity=10, **settings):
    """A connection whose peer has stopped reading, after `capacity` bytes."""
    return wire(cls, capacity=capacity, **settings).clog()


class TestTypes:
    """`write` takes bytes-like only (`TypeError` at the call otherwise; a memoryview counts `nbytes`)."""

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"abc", b"abc"),
            (bytearray(b"abc"), b"abc"),
            (memoryview(b"abc"), b"abc"),
            (memoryview(b"abcdef")[::2], b"ace"),
            (memoryview(array.array("I", [1, 2])), array.array("I", [1, 2]).tobytes()),
            (memoryview(b"abcd").cast("B", (2, 2)), b"abcd"),
            (type("Sub", (bytes,), {})(b"abc"), b"abc"),
            (b"", b""),
            (bytearray(), b""),
            (memoryview(b""), b""),
        ],
        ids=["bytes", "bytearray", "memoryview", "strided", "uint32", "2d", "subclass", "empty", "empty2", "empty3"],
    )
    @pytest.mark.parametrize("is_waiting", [False, True], ids=["at once", "behind others"])
    def test_bytes_like(self, data, expected, is_waiting):
        w = wire(Recorder, capacity=5)
        if is_waiting:
            w.clog().connection.write(b"before ")
        w.connection.write(data)
        w.unclog()
        assert w.sent() == (b"before " if is_waiting else b"") + expected
        assert w.connection.bytes_out == len(expected) + (7 if is_waiting else 0)

    @pytest.mark.parametrize("data", ["text", 7, 0, None, [1, 2], (b"a",), object(), True, {"a": 1}, 1.5])
    @pytest.mark.parametrize("state", ["open", "behind others", "closed by the peer", "closed here"])
    def test_others_raise_at_the_call(self, data, state):
        w = wire(Recorder, capacity=5)
        if state == "behind others":
            w.clog().connection.write(b"before ")
        elif state == "closed by the peer":
            w.eof()
        elif state == "closed here":
            w.connection.close()
        with pytest.raises(TypeError, match=f"bytes.*not {type(data).__name__}"):
            w.connection.write(data)
        assert w.connection.errors == []

    def test_str_is_told_what_to_do(self):
        with pytest.raises(TypeError, match="encode"):
            wire(Recorder).connection.write("text")

    def test_large_memoryview_counts_bytes(self):
        view = memoryview(array.array("Q", range(50_000)))
        w = clogged(write_limit=1 << 20)
        w.connection.write(view)
        assert w.unclog().sent() == view.tobytes()
        assert w.connection.bytes_out == 400_000


class TestCopies:
    """What is passed may be changed afterwards."""

    @pytest.mark.parametrize("make", [lambda b: b, memoryview], ids=["bytearray", "memoryview"])
    def test_reused_buffer(self, make):
        w = clogged()
        buffer = bytearray(20)
        expected = b""
        for fill in range(5):
            buffer[:] = bytes([65 + fill]) * 20
            expected += bytes(buffer)
            w.connection.write(make(buffer))
        buffer[:] = bytes(20)
        assert w.unclog().sent() == expected

    def test_bytearray_may_be_resized_while_it_waits(self):
        w = clogged()
        buffer = bytearray(b"x" * 100)
        w.connection.write(buffer)
        buffer.clear()  # BufferError if somebody still looked at it
        assert w.unclog().sent() == b"x" * 100


class TestOrder:
    """`write` never blocks and is never partial."""

    @pytest.mark.parametrize("capacity", [1, 7, 64 * 1024])
    def test_all_arrives_in_order(self, capacity):
        w = wire(Recorder, capacity=capacity).clog()
        pieces = [bytes([i]) * (i % 13) for i in range(200)]
        for piece in pieces:
            w.connection.write(piece)
        assert w.unclog().sent() == b"".join(pieces)

    def test_one_write_of_any_size_passes(self):
        """A write is refused if *already* more than `write_limit` waits; so one write of any size passes."""
        data = bytes(range(256)) * 40_000
        w = wire(Recorder, write_limit=1000)
        w.connection.write(data)
        assert w.sent() == data
        assert w.connection.is_open

    def test_an_overridden_write_is_used_by_all(self):
        class Counting(Recorder):
            count = 0

            def write(self, data):
                self.count += len(data)
                super().write(data)

        w = wire(Counting, framer=b"\n")
        w.connection.write(b"abc")
        w.connection.send(b"de")
        assert (w.connection.count, w.sent()) == (6, b"abcde\n")


class TestFullAndDrain:
    """`on_full`/`on_drain` at `write_high`/`write_low`, and where `drain()` waits."""

    def test_full_once_then_drain_once(self):
        with SlowPeer(type("Narrow", (Recorder,), {"write_high": 100, "write_low": 20}), capacity=10) as peer:
            peer.connection.write(b"x" * 110)  # 10 are under way, 100 wait
            peer.loop.settle()
            assert peer.connection.names == ["connect"]
            peer.connection.write(b"x")
            peer.connection.write(b"x" * 50)
            peer.loop.settle()
            assert peer.connection.names == ["connect", "full"]
            while peer.connection._transport.get_write_buffer_size() > 21:
                peer.take(1)
            assert peer.connection.names == ["connect", "full"]
            peer.take(1)
            assert peer.connection.names == ["connect", "full", "drain"]

    def test_on_full_is_not_called_inside_write(self):
        """Never user code from within a call: contexts are not re-entrant."""
        w = clogged(write_high=5)
        w.connection.write(b"x" * 100)
        assert w.connection.names == ["connect"]
        assert w.settle().connection.names == ["connect", "full"]

    def test_limits_assigned_later_count_from_the_next_write(self):
        w = clogged()
        w.connection.write(b"x" * 100)
        assert w.settle().connection.names == ["connect"]
        w.connection.write_high = 50
        w.connection.write(b"x")
        assert w.settle().connection.names == ["connect", "full"]

    def test_write_low_above_write_high_is_write_high(self):
        w = clogged(write_high=5, write_low=100)
        w.connection.write(b"x" * 100)
        w.unclog()
        assert w.connection.names == ["connect", "full", "drain"]

    def test_write_high_zero_is_any_byte_waiting(self):
        w = clogged(write_high=0)
        w.connection.write(b"x" * 11)
        assert w.settle().connection.names == ["connect", "full"]
        assert w.unclog().connection.names == ["connect", "full", "drain"]

    def test_writing_in_on_drain(self):
        class Pump(Recorder):
            write_high = 20
            write_low = 0
            left = 5

            def on_drain(self):
                super().on_drain()
                if self.left:
                    self.left -= 1
                    self.write(b"y" * 100)

        w = clogged(Pump)
        w.connection.write(b"x" * 100)
        assert w.settle().unclog().sent() == b"x" * 100 + b"y" * 500

    def test_no_callbacks_after_close(self):
        w = clogged(write_high=5, write_low=2)
        w.connection.write(b"x" * 100)
        w.connection.close()
        assert w.unclog().connection.names == ["connect", "close"]


class TestDrain:
    def test_it_waits_while_full(self):
        w = clogged(write_high=5, write_low=2)
        w.connection.write(b"x" * 100)
        task = start(w, w.connection.drain())
        assert not task.done()
        w.unclog()
        assert task.result() is None

    def test_it_does_not_wait_below_write_high(self):
        w = clogged()
        w.connection.write(b"x" * 100)
        assert start(w, w.connection.drain()).done()

    @pytest.mark.parametrize(
        ("end", "reason"),
        [
            (lambda w: w.reset(), trews.ConnectionReset),
            (lambda w: w.connection.abort(), trews.Aborted),
            (lambda w: w.advance(60), trews.WriteStalled),
            (lambda w: w.connection.close(), trews.WriteStalled),
        ],
        ids=["reset", "abort", "stall", "close that stalls"],
    )
    def test_waiters_get_the_reason_fresh_with_connection(self, end, reason):
        w = clogged(write_high=5)
        w.connection.write(b"x" * 100)
        tasks = [start(w, w.connection.drain()) for _ in range(2)]
        end(w)
        w.advance(30)
        assert [type(raised(task)) for task in tasks] == [reason, reason]
        assert all(raised(task).connection is w.connection for task in tasks)
        assert raised(tasks[0]) is not raised(tasks[1])

    def test_after_the_end_it_raises_the_reason(self):
        w = wire(Recorder).eof()
        assert type(raised(start(w, w.connection.drain()))) is trews.ClosedByPeer

    def test_while_closing_it_waits_for_the_flush(self):
        w = clogged(write_high=5, write_low=2)
        w.connection.write(b"x" * 100)
        task = start(w, w.connection.drain())
        w.connection.close()
        assert not task.done()
        w.unclog()
        assert task.exception() is None

    def test_a_handler_whose_peer_stalls_gets_the_reason(self):
        seen = []

        async def handler(conn):
            await conn.read()
            try:
                await conn.send(b"x" * 1_000_000)
            except trews.ConnectionClosed as exc:
                seen.append(type(exc))
                raise

        w = wire(handler).clog().feed(b"go").advance(100)
        assert seen == [trews.WriteStalled]
        assert type(w.reason) is trews.WriteStalled

    def test_a_peer_that_takes_everything_does_not_keep_the_others_from_running(self):
        ticks = []

        async def main():
            async def tick():
                while True:
                    ticks.append(1)
                    await asyncio.sleep(0)

            async def source(conn):
                for _ in range(100):
                    await conn.send(b"x" * 100_000)

            server = trews.Server(source).listen("memory:source")
            async with server:
                ticker = asyncio.create_task(tick())
                async with trews.connect("memory:source") as conn:
                    assert len(await conn.read_all()) == 10_000_000
                ticker.cancel()

        run(main())
        assert len(ticks) > 100


class TestWriteLimit:
    """A write is refused, and the connection ended with `WriteBufferFull`, if already more than this waits."""

    def test_exactly_the_limit_passes_and_one_more_does_not(self):
        w = clogged(write_limit=100)
        w.connection.write(b"x" * 110)  # 10 are under way, 100 wait: not more than the limit
        w.connection.write(b"y")
        assert w.connection.is_open
        w.connection.write(b"z")
        assert w.connection.is_closed
        assert w.settle().connection.names == ["connect", "close"]
        assert type(w.reason) is trews.WriteBufferFull
        assert "101" in str(w.reason)
        assert "100" in str(w.reason)

    def test_empty_writes_do_not_count(self):
        w = clogged(write_limit=100)
        w.connection.write(b"x" * 200)
        w.connection.write(b"")
        assert w.connection.is_open

    def test_memory_is_bounded(self):
        w = clogged(write_limit=1000)
        for _ in range(1000):
            w.connection.write(b"x" * 500)
        assert w.connection._transport.get_write_buffer_size() == 0
        assert w.settle().was_reset

    def test_assigned_on_the_instance_it_counts_from_the_next_write(self):
        w = clogged()
        w.connection.write(b"x" * 200)
        w.connection.write_limit = 100
        w.connection.write(b"y")
        assert type(w.settle().reason) is trews.WriteBufferFull

    def test_it_never_raises(self):
        w = clogged(write_limit=0)
        for _ in range(5):
            w.connection.write(b"x" * 500)
        assert w.settle().connection.errors == []


class TestAfterTheEnd:
    """Never raises for the network's reasons: it drops. After user code's own close or close_write it raises."""

    @pytest.mark.parametrize(
        "end",
        [
            lambda w: w.eof(),
            lambda w: w.reset(),
            lambda w: w.connection.abort(),
            lambda w: w.feed(b"x" * 100),
            lambda w: w.advance(1000),
        ],
        ids=["eof", "reset", "abort", "too long", "idle"],
    )
    def test_it_drops(self, end):
        w = wire(Recorder, framer=b"\n", max_message=10, idle_timeout=900)
        end(w)
        for _ in range(3):
            w.connection.write(b"x")
            w.connection.send(b"y")
            w.settle()
        assert w.sent() == b""
        assert w.connection.errors == []

    def test_to_a_peer_that_was_just_reset_it_disturbs_nobody(self):
        w = wire(Recorder)
        w._far.cut()
        w.connection.write(b"x")
        w.connection.write(b"y")
        assert w.settle().connection.names == ["connect", "close"]
        assert type(w.reason) is trews.ConnectionReset

    @pytest.mark.parametrize("call", ["close", "close_write"])
    @pytest.mark.parametrize("turns", [False, True], ids=["at once", "later"])
    def test_after_ones_own_close_it_raises(self, call, turns):
        w = wire(Recorder, framer=b"\n")
        getattr(w.connection, call)()
        if turns:
            w.settle()
        for write in (w.connection.write, w.connection.send):
            with pytest.raises(trews.ClosedLocally) as info:
                write(b"x")
            assert info.value.connection is w.connection

    def test_after_ones_own_close_while_it_flushes_too(self):
        w = clogged()
        w.connection.write(b"x" * 100)
        w.connection.close()
        with pytest.raises(trews.ClosedLocally):
            w.connection.write(b"x")
        assert w.unclog().sent() == b"x" * 100

    def test_the_network_first_then_ones_own_close_raises(self):
        w = wire(Recorder).reset()
        w.connection.close()
        with pytest.raises(trews.ClosedLocally):
            w.connection.write(b"x")

    def test_after_a_close_that_trews_began_it_drops(self):
        """The server is draining: `on_stop` closes, and who writes afterwards is not to blame."""
        seen = []

        async def main():
            server = trews.Server(Recorder).listen("memory:drain")
            async with server:
                async with trews.connect("memory:drain") as client:
                    await client.send(b"hello")
                    await asyncio.sleep(1)
                    (conn,) = server.connections
                    stopping = server.stop()
                    await client.wait_closed()
                    await conn.wait_closed()
                    conn.write(b"x")
                    conn.send(b"y")
                    seen.extend(conn.names)
                    await stopping

        run(main())
        assert seen == ["connect", "read", "close"]

    def test_in_a_plain_callback_the_mistake_is_an_error(self):
        class Hasty(Recorder):
            def on_read(self, message):
                self.close()
                self.write(b"too late")

        w = wire(Hasty).feed(b"x")
        assert [type(exc) for exc in w.connection.errors] == [trews.ClosedLocally]

    def test_a_handler_that_returned_is_no_close_of_ones_own(self):
        kept = []

        async def handler(conn):
            kept.append(conn)

        w = wire(handler)
        kept[0].write(b"late")
        assert w.settle().sent() == b""


class TestCloseWrite:
    """`close_write()`: tell the peer that nothing more will come, and go on reading."""

    def test_what_waits_is_sent_first(self):
        w = clogged()
        w.connection.write(b"x" * 100)
        w.connection.close_write()
        assert not w.settle().closed
        assert w.unclog().sent() == b"x" * 100
        assert w.closed
        assert w.connection.is_open

    def test_reading_goes_on(self):
        w = wire(Recorder)
        w.connection.close_write()
        w.feed(b"more")
        assert w.connection.messages == [b"more"]
        assert w.connection.is_open

    def test_twice_is_once(self):
        w = wire(Recorder)
        w.connection.close_write()
        w.connection.close_write()
        assert w.settle().closed
        assert w.connection.is_open

    def test_after_the_end_it_is_harmless(self):
        w = wire(Recorder).eof()
        w.connection.close_write()
        assert w.settle().connection.names == ["connect", "eof", "close"]

    def test_close_after_it(self):
        w = wire(Recorder)
        w.connection.close_write()
        w.connection.close()
        assert w.settle().connection.names == ["connect", "close"]
        assert type(w.reason) is trews.ClosedLocally

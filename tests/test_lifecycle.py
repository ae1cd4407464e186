"""What happens to a connection, and in which order its callbacks learn of it: EOF, ends, reasons.

Async callbacks and errors in callbacks are in test_calls.py, deadlines in test_deadlines.py.
"""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.framing import Line, Netstring
from trews.testing import run, wire


class Lines(Recorder):
    framer = b"\n"


def kinds(connection):
    """The events of a connection, with the class of the reason for `close`."""
    return [
        (event[0], type(event[1])) if event[0] in ("close", "error") else event if len(event) > 1 else event[0]
        for event in connection.events
    ]


def fail(*_):
    raise ValueError("oops")


def overflow(w):
    w.clog()
    w.connection.write(b"x" * 200_000)
    w.connection.write(b"x")


def stall(w):
    w.clog()
    w.connection.write(b"x" * 200_000)
    w.advance(60)


def close_and_stall(w):
    w.clog()
    w.connection.write(b"x" * 200_000)
    w.connection.close()
    w.advance(30)


def failing_write(w):
    w._far.cut()
    w.connection.write(b"x")
    w.connection.write(b"y")


def raise_in_on_read(w):
    w.connection.on_read = fail
    w.feed(b"hi\n")


async def _fail():
    raise ValueError("oops")


# How a connection may end: name, what to do, the class of the reason.
ENDS = [
    ("FIN", lambda w: w.eof(), trews.ClosedByPeer),
    ("FIN after data", lambda w: w.feed(b"a\nb\n").eof(), trews.ClosedByPeer),
    ("RST", lambda w: w.reset(), trews.ConnectionReset),
    ("cut link", lambda w: w._far.cut(), trews.ConnectionReset),
    ("close", lambda w: w.connection.close(), trews.ClosedLocally),
    ("close twice", lambda w: (w.connection.close(), w.connection.close()), trews.ClosedLocally),
    ("abort", lambda w: w.connection.abort(), trews.Aborted),
    ("abort twice", lambda w: (w.connection.abort(), w.connection.abort()), trews.Aborted),
    ("close, abort", lambda w: (w.connection.close(), w.connection.abort()), trews.Aborted),
    ("abort, close", lambda w: (w.connection.abort(), w.connection.close()), trews.Aborted),
    ("FIN, abort", lambda w: (w.eof(), w.connection.abort()), trews.ClosedByPeer),
    ("FIN, RST", lambda w: w.eof().reset(), trews.ClosedByPeer),
    ("RST, close", lambda w: (w.reset(), w.connection.close()), trews.ConnectionReset),
    ("close, FIN", lambda w: (w.connection.close(), w.eof()), trews.ClosedLocally),
    ("close, RST", lambda w: (w.connection.close(), w.settle(), w.reset()), trews.ClosedLocally),
    ("incomplete", lambda w: w.feed(b"par").eof(), trews.IncompleteMessage),
    ("too long", lambda w: w.feed(b"x" * 101), trews.MessageTooLong),
    ("too slow", lambda w: w.feed(b"x").advance(60), trews.MessageTooSlow),
    ("idle", lambda w: w.advance(900), trews.IdleTooLong),
    ("write_limit", overflow, trews.WriteBufferFull),
    ("write_timeout", stall, trews.WriteStalled),
    ("close_timeout", close_and_stall, trews.WriteStalled),
    ("failed write", failing_write, trews.ConnectionReset),
    ("on_read raises", raise_in_on_read, trews.Aborted),
    ("spawned task raises", lambda w: w.connection.spawn(_fail()), trews.Aborted),
    ("loop closes", lambda w: w.loop.close(), trews.Aborted),
]


class TestOnClose:
    """`on_close(reason)` runs exactly once for each `on_connect`, on every path."""

    @pytest.mark.parametrize(("end", "reason"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
    def test_exactly_once_with_the_right_reason(self, end, reason):
        w = wire(Lines, max_message=100, idle_timeout=900, write_limit=100_000)
        connection = w.connection
        end(w)
        if not w.loop.is_closed():
            w.advance(1000)
        assert [type(exc) for exc in connection.closes] == [reason]
        assert connection.names[0] == "connect"
        assert connection.names[-1] == "close"
        assert connection.reason is connection.closes[0]
        assert connection.reason.connection is connection
        assert connection.reason.is_clean is reason.is_clean
        assert connection.is_closed

    @pytest.mark.parametrize("end", [case[1] for case in ENDS[:-1]], ids=[case[0] for case in ENDS[:-1]])
    def test_waiters_are_all_released(self, end):
        w = wire(trews.Connection, framer=b"\n", max_message=100, idle_timeout=900, write_limit=100_000)
        w.connection.on_error = lambda exc: None
        closed = start(w, w.connection.wait_closed())

        async def read():
            while True:
                await w.connection.read()

        reader = start(w, read())

        async def drain():
            while True:
                await w.connection.drain()
                await asyncio.sleep(10)

        drainer = start(w, drain())
        end(w)
        w.advance(1000)
        assert closed.done()
        assert isinstance(reader.exception(), trews.ConnectionClosed | ValueError)
        assert isinstance(drainer.exception(), trews.ConnectionClosed)

    def test_writing_and_closing_in_on_close_is_harmless(self):
        class Late(Recorder):
            def on_close(self, reason):
                super().on_close(reason)
                self.write(b"bye")
                self.pause_reading()
                self.resume_reading()
                self.abort()

        w = wire(Late).eof()
        assert w.connection.names == ["connect", "eof", "close"]
        assert w.sent() == b""

    def test_closing_in_on_connect(self):
        class Rude(Recorder):
            def on_connect(self):
                super().on_connect()
                self.write(b"go away")
                self.close()

        w = wire(Rude)
        assert w.sent() == b"go away"
        assert w.closed
        assert kinds(w.connection) == ["connect", ("close", trews.ClosedLocally)]

    def test_aborting_in_on_connect(self):
        class Rude(Recorder):
            def on_connect(self):
                super().on_connect()
                self.abort()

        w = wire(Rude)
        assert w.was_reset
        assert kinds(w.connection) == ["connect", ("close", trews.Aborted)]


class TestReason:
    """The first reason counts, but a goodbye that came to nothing was none."""

    def test_reset_while_flushing(self):
        w = wire(Recorder, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.connection.close()
        w.settle().reset()
        assert kinds(w.connection)[-1] == ("close", trews.ConnectionReset)

    def test_abort_while_flushing(self):
        w = wire(Recorder, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.connection.close()
        w.connection.abort()
        assert kinds(w.settle().connection)[-1] == ("close", trews.Aborted)

    def test_a_failure_is_not_replaced_by_a_later_one(self):
        w = wire(Lines, max_message=5, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.feed(b"too long")
        w.connection.abort()
        assert kinds(w.settle().connection)[-1] == ("close", trews.MessageTooLong)

    def test_after_the_goodbye_was_sent_a_reset_changes_nothing(self):
        w = wire(Recorder)
        w.connection.close()
        w.settle().reset()
        assert type(w.reason) is trews.ClosedLocally

    def test_what_others_get_is_a_copy(self):
        w = wire(Recorder).reset()
        task = start(w, w.connection.drain())
        assert task.exception() is not w.reason
        assert task.exception().__cause__ is w.reason.__cause__


class TestDeliveredFirst:
    """What arrived before the peer or the network ended it is delivered first."""

    def test_data_and_fin_in_one_segment(self):
        w = wire(Lines)
        w._far.send(b"1\n2\n")
        w.eof()
        assert kinds(w.connection) == [
            "connect",
            ("read", b"1"),
            ("read", b"2"),
            "eof",
            ("close", trews.ClosedByPeer),
        ]

    @pytest.mark.parametrize("chunk", [None, 1])
    def test_unterminated_last_line(self, chunk):
        w = wire(Recorder, framer=Line()).feed(b"1\nlast", chunk=chunk).eof()
        assert kinds(w.connection) == [
            "connect",
            ("read", b"1"),
            ("read", b"last"),
            "eof",
            ("close", trews.ClosedByPeer),
        ]

    def test_messages_behind_a_slow_callback_when_the_connection_breaks(self):
        class Slow(Lines):
            async def on_read(self, message):
                self.events.append(("read", message))
                await asyncio.sleep(1)

        w = wire(Slow).feed(b"1\n2\n3\n").reset().advance(10)
        assert kinds(w.connection) == [
            "connect",
            ("read", b"1"),
            ("read", b"2"),
            ("read", b"3"),
            ("close", trews.ConnectionReset),
        ]

    def test_messages_of_a_paused_connection_that_breaks(self):
        class Pauser(Lines):
            def on_read(self, message):
                super().on_read(message)
                self.pause_reading()

        w = wire(Pauser).feed(b"1\n2\n3\n").reset()
        w.connection.write(b"x")
        w.settle()
        assert kinds(w.connection) == [
            "connect",
            ("read", b"1"),
            ("read", b"2"),
            ("read", b"3"),
            ("close", trews.ConnectionReset),
        ]

    def test_no_on_eof_when_it_breaks(self):
        assert wire(Recorder).feed(b"x").reset().connection.names == ["connect", "read", "close"]

    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_after_a_local_end_there_is_no_further_on_read(self, end):
        class Once(Lines):
            def on_read(self, message):
                super().on_read(message)
                getattr(self, end)()

        w = wire(Once).feed(b"1\n2\n3\n").feed(b"4\n").eof()
        assert w.connection.messages == [b"1"]
        assert w.connection.names == ["connect", "read", "close"]

    def test_after_a_local_close_input_is_read_and_discarded(self):
        w = wire(Recorder)
        w.connection.close()
        w.feed(b"x" * 1_000_000)
        assert w.connection.messages == []

    def test_while_flushing_too(self):
        w = wire(Recorder, capacity=1000).clog()
        w.connection.write(b"x" * 5000)
        w.connection.close()
        w.feed(b"y" * 50_000)
        assert w.unclog().sent() == b"x" * 5000
        assert w.connection.messages == []


class TestClose:
    """`close()`: flush; FIN; then `on_close` runs, while a lingering object keeps the fd."""

    def test_what_waits_is_sent_then_fin(self):
        w = wire(Recorder, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.connection.close()
        assert w.settle().connection.names == ["connect"]
        assert w.unclog().sent() == b"x" * 100
        assert w.closed
        assert not w.was_reset
        assert w.connection.names == ["connect", "close"]

    def test_on_close_does_not_wait_for_the_peer(self):
        w = wire(Recorder)
        w.connection.close()
        assert w.settle().connection.names == ["connect", "close"]

    def test_lingers_for_two_seconds_of_silence(self):
        w = wire(Recorder)
        w.connection.close()
        w.advance(1.9)
        assert not w._near._is_closed
        w.advance(0.2)
        assert w._near._is_closed

    def test_lingers_while_the_peer_sends_but_thirty_seconds_in_all(self):
        w = wire(Recorder)
        w.connection.close()
        for _ in range(29):
            w.feed(b"still sending").advance(1)
        assert not w._near._is_closed
        w.advance(1)
        assert w._near._is_closed

    def test_lingering_ends_at_the_peers_eof(self):
        w = wire(Recorder)
        w.connection.close()
        w.eof()
        assert w._near._is_closed

    def test_no_lingering_if_eof_was_seen(self):
        w = wire(Recorder).eof()
        assert w._near._is_closed

    def test_abort_drops_what_waits_and_resets(self):
        w = wire(Recorder, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.connection.abort()
        w.unclog()
        assert w.was_reset
        assert w._near._is_closed

    def test_abort_ends_lingering(self):
        w = wire(Recorder)
        w.connection.close()
        w.settle()
        w.connection.abort()
        assert w.settle()._near._is_closed
        assert len(w.connection.closes) == 1


class TestEof:
    """EOF is an event in order; until the close writes work."""

    def test_the_answer_comes_after_the_peers_fin(self):
        """`printf 'hi\\n' | nc` gets its answer."""

        async def handler(conn):
            line = await conn.read()
            await asyncio.sleep(5)
            await conn.send(b"you said " + line)

        w = wire(handler, framer=Line()).feed(b"hi\n").eof().advance(5)
        assert w.sent() == b"you said hi\r\n"
        assert w.closed

    def test_on_eof_may_still_write(self):
        class Summary(Recorder):
            def on_eof(self):
                super().on_eof()
                self.write(b"that was all")

        w = wire(Summary).eof()
        assert w.sent() == b"that was all"
        assert w.closed

    def test_async_on_eof_is_waited_for(self):
        class Summary(Recorder):
            async def on_eof(self):
                await asyncio.sleep(3)
                self.write(b"that was all")

        w = wire(Summary).eof().advance(2.9)
        assert not w.closed
        assert w.advance(0.1).sent() == b"that was all"
        assert w.closed

    def test_async_on_read_is_waited_for(self):
        class Slow(Lines):
            async def on_read(self, message):
                await asyncio.sleep(3)
                self.write(message)
                self.events.append(("read", message))

        w = wire(Slow).feed(b"1\n2\n").eof()
        w.advance(5.9)
        assert w.connection.names == ["connect", "read"]
        assert w.advance(0.1).sent() == b"12"
        assert w.connection.names == ["connect", "read", "read", "eof", "close"]

    def test_unread_messages_of_a_plain_connection_keep_it_open(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"1\n").eof().advance(100)
        assert w.connection.is_open
        assert start(w, w.connection.read()).result() == b"1"
        assert w.settle().closed

    def test_incomplete_last_message(self):
        w = wire(Recorder, framer=Netstring()).feed(b"2:ab,5:abc").eof()
        assert kinds(w.connection)[:2] == ["connect", ("read", b"ab")]
        assert kinds(w.connection)[-1] == ("close", trews.IncompleteMessage)
        assert w.reason.partial == b"5:abc"

    def test_incomplete_last_message_still_flushes(self):
        w = wire(Lines, capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.feed(b"par").eof()
        assert w.unclog().sent() == b"x" * 100
        assert type(w.reason) is trews.IncompleteMessage


class TestHalfClose:
    """`half_close=True`: do not close after the peer's EOF."""

    def test_it_stays_open_and_writes_arrive(self):
        w = wire(Recorder, half_close=True).feed(b"q").eof().advance(1000)
        assert w.connection.names == ["connect", "read", "eof"]
        w.connection.write(b"late answer")
        assert w.sent() == b"late answer"
        w.connection.close()
        assert kinds(w.settle().connection)[-1] == ("close", trews.ClosedLocally)
        assert w.closed

    def test_on_eof_once(self):
        w = wire(Recorder, half_close=True).eof()
        w.connection.pause_reading()
        w.connection.resume_reading()
        assert w.settle().connection.names == ["connect", "eof"]

    def test_read_ends_and_writing_goes_on(self):
        async def handler(conn):
            data = await conn.read_all()
            await asyncio.sleep(50)
            await conn.send(b"got %d" % len(data))

        assert wire(handler, half_close=True).feed(b"12345").eof().advance(50).sent() == b"got 5"

    @pytest.mark.parametrize("half_close", [False, True])
    def test_close_write_then_eof(self, half_close):
        w = wire(Recorder, half_close=half_close)
        w.connection.close_write()
        w.feed(b"rest").eof()
        assert kinds(w.connection) == ["connect", ("read", b"rest"), "eof", ("close", trews.ClosedByPeer)]

    def test_eof_then_close_write(self):
        w = wire(Recorder, half_close=True).eof()
        w.connection.write(b"bye")
        w.connection.close_write()
        assert w.sent() == b"bye"
        assert kinds(w.connection) == ["connect", "eof", ("close", trews.ClosedByPeer)]

    def test_close_write_in_on_eof(self):
        class Polite(Recorder):
            half_close = True

            def on_eof(self):
                super().on_eof()
                self.write(b"bye")
                self.close_write()

        w = wire(Polite).eof()
        assert w.sent() == b"bye"
        assert w.connection.names == ["connect", "eof", "close"]

    def test_assigned_in_on_eof_it_counts(self):
        class Stay(Recorder):
            def on_eof(self):
                self.half_close = True

        assert wire(Stay).eof().connection.is_open


class TestTurns:
    """The messages of one connection get 10 ms of a turn; then the others have theirs."""

    def test_slow_callbacks(self):
        class Slow(Lines):
            def on_read(self, message):
                super().on_read(message)
                self._loop.clock.tick += 0.006
                self._loop.call_soon(self.events.append, ("others",))

        w = wire(Slow).feed(b"1\n2\n3\n4\n5\n")
        assert w.connection.names == [
            *("connect", "read", "read", "others", "others"),
            *("read", "read", "others", "others", "read", "others"),
        ]

    def test_very_many_messages(self):
        class Quick(Recorder):
            framer = 1

            def on_read(self, message):
                if len(self.events) == 10:
                    self._loop.call_soon(self.events.append, ("others",))
                super().on_read(message)

        names = wire(Quick, read_high=1 << 20).feed(b"x" * 5000).connection.names
        assert names.count("read") == 5000
        assert names.index("others") < 1100

    @pytest.mark.parametrize(("seconds", "messages"), [(0, 130), (0.006, 4)], ids=["many", "slow"])
    def test_read_in_a_loop(self, seconds, messages):
        seen = []

        async def handler(conn):
            asyncio.get_running_loop().call_soon(seen.append, "others")
            async for message in conn:
                seen.append(message)
                conn._loop.clock.tick += seconds

        w = wire(handler, framer=1, read_high=1 << 20)
        seen.clear()
        w.loop.call_soon(lambda: w.loop.call_soon(seen.append, "others"))
        w.feed(b"x" * 1000)
        assert seen.count(b"x") == 1000
        assert seen.index("others") <= messages


def test_an_address_that_is_known_stays_known_when_the_peer_has_gone_already():
    class Transport(asyncio.Transport):
        def set_write_buffer_limits(self, high=None, low=None):
            pass

        def abort(self):
            pass

    async def main():
        connection = Recorder()
        connection._remote_address = ("192.0.2.1", 7)
        connection.connection_made(Transport())
        connection.connection_lost(None)
        await connection.wait_closed()
        return connection.remote_address

    assert run(main()) == ("192.0.2.1", 7)

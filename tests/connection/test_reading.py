"""`read`, `async for` and `read_all`."""

from __future__ import annotations

import asyncio
from struct import Struct

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.decoders import RAW_MAX
from trews.framing import JSONLines, Line, Netstring, Prefixed, Varint
from trews.testing import wire


def raised(task):
    """The exception that a task ended with."""
    assert task.done()
    return task.exception()


class TestRead:
    def test_what_is_there_is_returned_at_once(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"a\nb\n")
        assert start(w, w.connection.read()).result() == b"a"
        assert start(w, w.connection.read()).result() == b"b"

    def test_it_waits_for_the_rest(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"a")
        task = start(w, w.connection.read())
        w.feed(b"b")
        assert not task.done()
        w.feed(b"c\nd")
        assert task.result() == b"abc"

    @pytest.mark.parametrize("chunk", [None, 1, 2, 3])
    def test_messages_do_not_depend_on_chunking(self, chunk):
        seen = []

        async def handler(conn):
            async for line in conn:
                seen.append(line)

        wire(handler, framer=b"\r\n").feed(b"one\r\n\r\ntwo\r\n", chunk=chunk).eof()
        assert seen == [b"one", b"", b"two"]

    def test_with_framer_none_it_is_what_has_arrived(self):
        w = wire(trews.Connection).feed(b"abc").feed(b"def")
        assert start(w, w.connection.read()).result() == b"abcdef"

    def test_none_framing_has_bounded_pieces(self):
        """`None` framing has pieces of at most one read."""
        w = wire(trews.Connection, read_high=1 << 20, capacity=1 << 20).feed(b"x" * (RAW_MAX + 7))
        sizes = [len(start(w, w.connection.read()).result()) for _ in range(2)]
        assert sizes == [RAW_MAX, 7]

    @pytest.mark.parametrize(
        ("framer", "data", "expected"),
        [
            (None, b"4\nabcd", b"4\nabcd"),
            (3, b"abcd", b"abc"),
            (0, b"abcd", b""),
            (b"\n", b"ab\ncd", b"ab"),
            (Struct("!H"), b"\1\2\3", (258,)),
            (Line(encoding="utf-8"), b"ab\r\ncd", "ab"),
            (Netstring(), b"2:ab,c", b"ab"),
            (Prefixed("!B"), b"\2abc", b"ab"),
            (Varint(), b"\2abc", b"ab"),
            (JSONLines(), b"[1]\nx", [1]),
        ],
    )
    def test_framer_of_one_call(self, framer, data, expected):
        w = wire(trews.Connection, framer=99).feed(data)
        assert start(w, w.connection.read(framer=framer)).result() == expected
        assert w.connection.framer == 99

    def test_framer_of_the_next_call_applies_to_bytes_already_there(self):
        w = wire(trews.Connection).feed(b"5\nhello!rest")
        assert start(w, w.connection.read(framer=b"\n")).result() == b"5"
        assert start(w, w.connection.read(framer=5)).result() == b"hello"
        assert start(w, w.connection.read(framer=b"!")).result() == b""
        assert start(w, w.connection.read()).result() == b"rest"

    def test_the_setting_is_looked_at_when_it_is_called(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"a\nbb")
        assert start(w, w.connection.read()).result() == b"a"
        w.connection.framer = 2
        assert start(w, w.connection.read()).result() == b"bb"

    def test_max_message_is_looked_at_for_each(self):
        w = wire(trews.Connection, framer=b"\n", max_message=3).feed(b"abc\nabcde\n")
        assert start(w, w.connection.read()).result() == b"abc"
        w.connection.max_message = 5
        assert start(w, w.connection.read()).result() == b"abcde"

    def test_a_message_larger_than_read_high_arrives(self):
        w = wire(trews.Connection, framer=300_000, max_message=1 << 20)
        task = start(w, w.connection.read())
        w.feed(b"x" * 300_000)
        assert len(task.result()) == 300_000

    def test_a_waiting_read_takes_the_next_message_before_on_read(self):
        class Both(Recorder):
            framer = b"\n"

        w = wire(Both)
        task = start(w, w.connection.read())
        w.feed(b"1\n2\n3\n")
        assert task.result() == b"1"
        assert w.connection.messages == [b"2", b"3"]

    def test_a_second_reader_is_busy(self):
        w = wire(trews.Connection, framer=b"\n")
        first, second = (start(w, w.connection.read()) for _ in range(2))
        assert isinstance(raised(second), trews.BusyError)
        w.feed(b"hi\n")
        assert first.result() == b"hi"

    def test_read_all_and_async_for_are_readers_too(self):
        w = wire(trews.Connection, framer=b"\n")
        first = start(w, w.connection.read_all())
        assert isinstance(raised(start(w, w.connection.__anext__())), trews.BusyError)
        w.feed(b"hi").eof()
        assert first.result() == b"hi"

    def test_many_reads_in_a_row_of_one_feed(self):
        w = wire(trews.Connection, framer=b"\n", read_high=1 << 20)
        w.feed(b"x\n" * 5000)

        async def count():
            return [await w.connection.read() for _ in range(5000)]

        assert start(w, count()).result() == [b"x"] * 5000

    @pytest.mark.parametrize("has_on_read", [False, True])
    def test_a_task_that_reads_on_gets_them_all(self, has_on_read):
        """However often `read` lets the others run, it is waiting meanwhile: nobody else gets its messages."""

        class Reading(trews.Connection):
            framer = b"\n"

            def __init__(self):
                self.seen = []
                if has_on_read:
                    self.on_read = lambda message: self.seen.append("on_read")

            def on_connect(self):
                self.spawn(self.work())

            async def work(self):
                async for message in self:
                    self.seen.append(message)

        w = wire(Reading, read_high=1 << 20).feed(b"x\n" * 5000)
        assert w.connection.seen == [b"x"] * 5000

    def test_a_full_inbox_does_not_keep_the_others_from_running(self):
        ticks = []

        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0)

        async def count():
            for _ in range(5000):
                await w.connection.read()

        w = wire(trews.Connection, framer=b"\n", read_high=1 << 20).feed(b"x\n" * 5000)
        ticker = w.loop.create_task(tick())
        w.loop.run_until_complete(count())
        ticker.cancel()
        w.settle()
        assert len(ticks) > 10

    def test_cancelled_while_it_lets_the_others_run_it_loses_none(self):
        seen = []

        async def count():
            while True:
                seen.append(await w.connection.read())

        w = wire(trews.Connection, framer=b"\n", read_high=1 << 20)
        w.feed(b"".join(b"%d\n" % number for number in range(1000)))
        task = w.loop.create_task(count())
        w.loop.call_soon(task.cancel)
        w.settle()
        task = w.loop.create_task(count())
        w.settle()
        task.cancel()
        w.settle()
        assert seen == [b"%d" % number for number in range(1000)]


class TestTimeout:
    """Cancelled or timed out (`TimedOut`) it loses no byte and leaves the connection open."""

    def test_timed_out_is_exact_and_survives(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"par")
        task = start(w, w.connection.read(timeout=30))
        w.advance(29.99)
        assert not task.done()
        w.advance(0.01)
        assert isinstance(raised(task), trews.TimedOut)
        assert "30 s" in str(raised(task))
        assert w.connection.is_open
        again = start(w, w.connection.read())
        w.feed(b"tial\n")
        assert again.result() == b"partial"

    def test_it_is_a_timeout_error(self):
        w = wire(trews.Connection)
        assert isinstance(raised(start(w, w.connection.read(timeout=0))), TimeoutError)

    def test_timeout_zero_takes_what_is_there(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"a\n")
        assert start(w, w.connection.read(timeout=0)).result() == b"a"
        assert isinstance(raised(start(w, w.connection.read(timeout=0))), trews.TimedOut)

    @pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
    def test_no_time_is_below_zero(self, timeout):
        w = wire(trews.Connection, framer=b"\n").feed(b"a\n")
        error = raised(start(w, w.connection.read(timeout=timeout)))
        assert isinstance(error, ValueError)
        assert str(error).startswith("timeout is a number of seconds, 0 or more, or None for no limit, not ")
        assert start(w, w.connection.read(timeout=0)).result() == b"a"

    def test_a_message_in_time_leaves_no_timer(self):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.read(timeout=5))
        w.feed(b"a\n")
        assert task.result() == b"a"
        other = start(w, w.connection.read(timeout=50))
        w.advance(40)
        assert not other.done()

    def test_cancelled_it_loses_no_byte(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"par")
        task = start(w, w.connection.read())
        task.cancel()
        w.feed(b"tial\n")
        assert task.cancelled()
        assert start(w, w.connection.read()).result() == b"partial"

    def test_cancelled_in_the_turn_in_which_the_message_comes_it_loses_none(self):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.read())
        w.loop.call_soon(task.cancel)
        w.loop.call_soon(w.connection.data_received, b"hi\n")
        w.settle()
        assert task.cancelled()
        assert start(w, w.connection.read()).result() == b"hi"

    def test_cancelled_right_after_the_message_has_come_it_has_it(self):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.read())
        w.loop.call_soon(w.connection.data_received, b"hi\n")
        w.loop.call_soon(task.cancel)
        w.settle()
        assert task.result() == b"hi"

    def test_cancelled_after_it_was_woken_it_leaves_the_message(self):
        """Woken, not given it: what came in pieces is taken in the reader's own step."""
        w = wire(trews.Connection, framer=b"\n").feed(b"h")
        task = start(w, w.connection.read())
        w.loop.call_soon(w.connection.data_received, b"i\n")
        w.loop.call_soon(task.cancel)
        w.settle()
        assert task.cancelled()
        assert start(w, w.connection.read()).result() == b"hi"

    def test_asyncio_timeout_around_it(self):
        async def handler(conn):
            try:
                async with asyncio.timeout(5):
                    await conn.read()
            except TimeoutError:
                conn.write(b"too slow, ")
            conn.write(await conn.read())

        w = wire(handler, framer=b"\n").feed(b"a").advance(5)
        assert w.sent() == b"too slow, "
        assert w.feed(b"b\n").sent() == b"ab"

    def test_with_on_read_the_bytes_go_on_to_it(self):
        class Lines(Recorder):
            framer = b"\n"

        w = wire(Lines).feed(b"par")
        task = start(w, w.connection.read(timeout=1))
        w.advance(1)
        assert isinstance(raised(task), trews.TimedOut)
        w.feed(b"tial\n")
        assert w.connection.messages == [b"partial"]

    def test_cancelled_with_a_message_there_on_read_gets_it(self):
        class Lines(Recorder):
            framer = b"\n"

        w = wire(Lines)
        task = start(w, w.connection.read())
        w.loop.call_soon(task.cancel)
        w.loop.call_soon(w.connection.data_received, b"hi\n")
        w.settle()
        assert w.connection.messages == [b"hi"]


class TestEnds:
    """At a clean end `ClosedByPeer`; with part of a message `IncompleteMessage(partial)`."""

    @pytest.mark.parametrize("before", [False, True], ids=["waiting", "called afterwards"])
    def test_clean_end(self, before):
        w = wire(trews.Connection, framer=b"\n")
        if before:
            w.eof()
        task = start(w, w.connection.read())
        if not before:
            w.eof()
        assert type(raised(task)) is trews.ClosedByPeer
        assert raised(task).connection is w.connection

    @pytest.mark.parametrize(
        ("framer", "data"),
        [
            (5, b"abc"),
            (b"\r\n", b"abc\r"),
            (Struct("!I"), b"abc"),
            (Line(final=False), b"abc"),
            (Netstring(), b"5:abc"),
            (Prefixed("!H"), b"\0"),
            (Varint(), b"\x80"),
        ],
    )
    def test_part_of_a_message(self, framer, data):
        w = wire(trews.Connection, framer=framer)
        task = start(w, w.connection.read())
        w.feed(data).eof()
        assert type(raised(task)) is trews.IncompleteMessage
        assert raised(task).partial == data
        assert type(w.reason) is trews.IncompleteMessage
        assert w.reason.partial == data

    def test_line_yields_the_unterminated_last_line(self):
        w = wire(trews.Connection, framer=Line())
        w.feed(b"a\nlast").eof()
        assert [start(w, w.connection.read()).result() for _ in range(2)] == [b"a", b"last"]
        assert type(raised(start(w, w.connection.read()))) is trews.ClosedByPeer

    def test_messages_that_came_before_the_end_are_read_first(self):
        w = wire(trews.Connection, framer=b"\n")
        w.feed(b"1\n2\n").eof()
        assert [start(w, w.connection.read()).result() for _ in range(2)] == [b"1", b"2"]
        assert type(raised(start(w, w.connection.read()))) is trews.ClosedByPeer

    @pytest.mark.parametrize(
        ("end", "reason"),
        [
            (lambda w: w.reset(), trews.ConnectionReset),
            (lambda w: w.connection.abort(), trews.Aborted),
            (lambda w: w.connection.close(), trews.ClosedLocally),
            (lambda w: w.feed(b"x" * 12), trews.MessageTooLong),
            (lambda w: w.feed(b"x").advance(60), trews.MessageTooSlow),
        ],
    )
    def test_any_other_reason(self, end, reason):
        w = wire(trews.Connection, framer=b"\n", max_message=9)
        task = start(w, w.connection.read())
        end(w)
        w.settle()
        assert type(raised(task)) is reason
        assert type(raised(start(w, w.connection.read()))) is reason

    def test_each_is_a_fresh_exception(self):
        w = wire(trews.Connection).reset()
        first, second = (raised(start(w, w.connection.read())) for _ in range(2))
        assert first is not second
        assert first is not w.reason
        assert first.connection is second.connection is w.connection
        assert str(first) == str(second) == str(w.reason)

    def test_a_malformed_frame(self):
        w = wire(trews.Connection, framer=Netstring())
        task = start(w, w.connection.read())
        w.feed(b"nonsense")
        assert type(raised(task)) is trews.FramingError
        assert type(w.reason) is trews.FramingError

    def test_a_framer_that_is_none_raises_in_the_reader(self):
        w = wire(trews.Connection)
        with pytest.raises(TypeError, match="delimiter must be bytes"):
            start(w, w.connection.read(framer="\n")).result()
        assert w.connection.is_open


class TestAsyncFor:
    """`async for` ends quietly at a clean end and raises anything else."""

    @pytest.mark.parametrize(
        ("end", "expected"),
        [
            (lambda w: w.eof(), None),
            (lambda w: w.connection.close(), None),
            (lambda w: w.reset(), trews.ConnectionReset),
            (lambda w: w.feed(b"part").eof(), trews.IncompleteMessage),
            (lambda w: w.feed(b"x" * 12), trews.MessageTooLong),
        ],
        ids=["eof", "close", "reset", "incomplete", "too long"],
    )
    def test_ends(self, end, expected):
        async def loop(connection):
            return [message async for message in connection]

        w = wire(trews.Connection, framer=b"\n", max_message=9)
        task = start(w, loop(w.connection))
        w.feed(b"1\n2\n")
        end(w)
        w.settle()
        if expected is None:
            assert task.result() == [b"1", b"2"]
        else:
            assert type(raised(task)) is expected


class TestReadAll:
    def test_everything_until_the_end(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"a\nb")
        task = start(w, w.connection.read_all())
        w.feed(b"c" * 200_000).eof()
        assert task.result() == b"a\nb" + b"c" * 200_000

    def test_nothing(self):
        w = wire(trews.Connection).eof()
        assert start(w, w.connection.read_all()).result() == b""

    @pytest.mark.parametrize(("count", "error"), [(99, None), (100, None), (101, trews.MessageTooLong)])
    def test_limit(self, count, error):
        w = wire(trews.Connection)
        task = start(w, w.connection.read_all(limit=100))
        w.feed(b"x" * count, chunk=7).eof()
        if error is None:
            assert len(task.result()) == count
        else:
            assert type(raised(task)) is error
            assert "100" in str(raised(task))
            assert type(w.reason) is error

    def test_max_message_is_no_limit_of_it(self):
        w = wire(trews.Connection, framer=b"\n", max_message=10)
        task = start(w, w.connection.read_all())
        w.feed(b"x" * 1000).eof()
        assert len(task.result()) == 1000

    def test_other_ends_raise(self):
        w = wire(trews.Connection).feed(b"x")
        task = start(w, w.connection.read_all())
        w.reset()
        assert type(raised(task)) is trews.ConnectionReset


class TestPeek:
    """The bytes that are looked at stay for the next `read()` or `on_read`."""

    @pytest.mark.parametrize("chunk", [None, 1, 2])
    def test_it_waits_for_so_many_and_they_stay(self, chunk):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.peek(3))
        w.feed(b"ab", chunk=chunk)
        assert not task.done()
        w.feed(b"c\nd", chunk=chunk)
        assert task.result() == b"abc"
        assert start(w, w.connection.peek(5)).result() == b"abc\nd"
        assert start(w, w.connection.read()).result() == b"abc"
        assert start(w, w.connection.read(framer=1)).result() == b"d"

    def test_on_read_gets_them(self):
        class Sniffing(Recorder):
            framer = b"\n"

            async def on_connect(self):
                self.framer = 2 if await self.peek(1) == b"2" else b"\n"

        assert wire(Sniffing).feed(b"2233").connection.messages == [b"22", b"33"]
        assert wire(Sniffing).feed(b"line\n").connection.messages == [b"line"]

    def test_at_the_end_there_may_be_fewer_and_then_none(self):
        w = wire(trews.Connection).feed(b"ab")
        task = start(w, w.connection.peek(3))
        w.eof()
        assert task.result() == b"ab"
        assert start(w, w.connection.peek(1)).result() == b"a"
        assert start(w, w.connection.read()).result() == b"ab"
        assert isinstance(start(w, w.connection.peek(1)).exception(), trews.ClosedByPeer)

    def test_the_rest_of_an_exact_number_is_still_incomplete(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"ab").eof()
        assert start(w, w.connection.peek(9)).result() == b"ab"
        assert isinstance(start(w, w.connection.read()).exception(), trews.IncompleteMessage)

    def test_timeout(self):
        w = wire(trews.Connection).feed(b"ab")
        task = start(w, w.connection.peek(3, timeout=5))
        w.advance(5)
        assert isinstance(task.exception(), trews.TimedOut)
        assert start(w, w.connection.read()).result() == b"ab"

    def test_it_is_a_reader_like_read(self):
        w = wire(trews.Connection)
        task = start(w, w.connection.peek(3))
        assert isinstance(start(w, w.connection.read()).exception(), trews.BusyError)
        w.reset()
        assert isinstance(task.exception(), trews.ConnectionReset)

    @pytest.mark.parametrize("count", [0, -1, 101])
    def test_what_is_not_possible(self, count):
        w = wire(trews.Connection, max_message=100)
        assert "1 to 100 bytes (max_message)" in str(start(w, w.connection.peek(count)).exception())

    def test_no_more_than_that_is_read_ahead(self):
        w = wire(trews.Connection, read_high=10, max_message=1000, capacity=5000).feed(b"x" * 500)
        task = start(w, w.connection.peek(1000))
        w.feed(b"x" * 500)
        assert len(task.result()) == 1000

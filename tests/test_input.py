"""`read()` whose message comes while it waits: framers, errors, what is kept. Its tasks: test_input_tasks.py.

What matters to users is tried on all three loops; only on trews' own, and in memory, does the task go on inside the
event. What a read() returns in all cases is in connection/test_reading.py.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from contextlib import closing

import pytest

import trews
from tests.clients import LOOPS
from tests.connection.recorder import start
from tests.reading import run_on, waiting
from trews.decoders import OwnDecoder
from trews.framing import Decoder, Framer, JSONLines, Line, Netstring
from trews.testing import wire


@pytest.fixture(scope="module", autouse=True)
def _what_uvloop_opens_once_in_a_process():
    with closing(LOOPS["uvloop"]()):
        pass


@pytest.fixture(params=LOOPS)
def run(request):
    """`run(main, …)`: runs `main(conn, far)` on each loop."""
    return functools.partial(run_on, request.param)


class TestFramersInARow:
    def test_each_read_has_its_own(self, run):
        async def main(conn, far):
            seen = []

            async def reading():
                for framer in (b"\n", 3, Netstring(), Line(encoding="utf-8"), JSONLines(), b"\n", None):
                    seen.append(await conn.read(framer=framer))

            task = await waiting(reading())
            for piece in (b"a\n", b"bcd", b"2:ef,", b"g\r\n", b"[1]\n", b"h\n", b"rest"):
                count = len(seen)
                far.send(piece)
                while len(seen) == count:
                    await asyncio.sleep(0)
            await task
            assert seen == [b"a", b"bcd", b"ef", "g", [1], b"h", b"rest"]

        run(main)

    @pytest.mark.parametrize("size", [1, 2, 7, 100])
    def test_however_they_come(self, run, size):
        data = b"a\nbcd2:ef,g\r\nh\nij"

        async def main(conn, far):
            async def reading():
                return [await conn.read(framer=framer) for framer in (b"\n", 3, Netstring(), Line(), b"\n", 2)]

            task = await waiting(reading())
            for at in range(0, len(data), size):
                far.send(data[at : at + size])
                for _ in range(5):
                    await asyncio.sleep(0)
            assert await task == [b"a", b"bcd", b"ef", b"g", b"h", b"ij"]

        run(main)

    def test_nothing_takes_no_time(self, run):
        async def main(conn, far):
            assert [await conn.read(framer=0) for _ in range(3)] == [b""] * 3
            task = await waiting(conn.read(framer=b"\n"))
            far.send(b"x\n")
            assert await task == b"x"
            assert await conn.read(framer=0) == b""

        run(main)

    def test_the_next_read_of_another_framer_looks_at_what_is_left(self):
        w = wire(trews.Connection, framer=b"\n")

        async def reading():
            return [await w.connection.read(), await w.connection.read(framer=2), await w.connection.read()]

        task = start(w, reading())
        w.feed(b"a\nbbcc\n")
        assert task.result() == [b"a", b"bb", b"cc"]

    def test_a_smaller_limit_counts_for_the_next_message(self):
        w = wire(trews.Connection, framer=b"\n")

        async def reading():
            first = await w.connection.read()
            w.connection.max_message = 2
            return first, await w.connection.read()

        task = start(w, reading())
        w.feed(b"four\n")
        w.feed(b"four\n")
        assert isinstance(task.exception(), trews.MessageTooLong)


class Failing(Framer):
    """A framer of somebody's own, whose decoder raises where it is told to."""

    def __init__(self, decoder):
        self.make = decoder

    def decoder(self):
        return self.make()

    def encode(self, message):
        return message


class Decoding(Decoder):
    def decode(self, buffer, scanned):
        if len(buffer) < 2:
            return 2
        raise LookupError("decode")


class AtOnce(OwnDecoder):
    def decode(self, buffer, scanned):
        if buffer.startswith(b"ok"):
            return b"ok", 2
        if len(buffer) < 2:
            return len(buffer) + 1
        raise LookupError("decode")

    def whole(self, data):
        if data == b"ok":
            return data
        raise LookupError("whole")


class TestErrors:
    @pytest.mark.parametrize(
        ("framer", "error"), [("\n", TypeError), (-1, ValueError), (b"", ValueError), (Line, TypeError)]
    )
    @pytest.mark.parametrize("before", ["nothing", "a read", "bytes"])
    def test_what_is_no_framer_is_refused_at_once(self, run, framer, error, before):
        async def main(conn, far):
            if before == "a read":
                task = await waiting(conn.read(framer=b"\n"))
                far.send(b"x\n")
                await task
            elif before == "bytes":
                far.send(b"x")
                while not conn.bytes_in:
                    await asyncio.sleep(0)
            with pytest.raises(error):
                await conn.read(framer=framer)
            task = asyncio.create_task(conn.read(framer=b"\n"))
            await asyncio.sleep(0)
            far.send(b"y\n")
            assert await task == (b"xy" if before == "bytes" else b"y")

        run(main)

    @pytest.mark.parametrize("decoder", [Decoding, AtOnce])
    def test_what_a_framer_raises_comes_out_of_read_and_no_byte_is_lost(self, run, decoder):
        async def main(conn, far):
            task = await waiting(conn.read(framer=Failing(decoder)))
            far.send(b"no")
            with pytest.raises(LookupError):
                await task
            assert conn.is_open
            assert await conn.read(framer=2) == b"no"

        run(main)

    def test_what_whole_raises_after_good_messages(self, run):
        framer = Failing(AtOnce)

        async def main(conn, far):
            for _ in range(3):
                task = await waiting(conn.read(framer=framer))
                far.send(b"ok")
                assert await task == b"ok"
            task = await waiting(conn.read(framer=framer))
            far.send(b"no")
            with pytest.raises(LookupError):
                await task
            assert await conn.read(framer=None) == b"no"

        run(main)

    def test_a_malformed_frame_ends_the_connection_after_good_ones(self, run):
        async def main(conn, far):
            for _ in range(2):
                task = await waiting(conn.read())
                far.send(b"2:ok,")
                assert await task == b"ok"
            task = await waiting(conn.read())
            far.send(b"nonsense")
            with pytest.raises(trews.FramingError):
                await task
            await conn.wait_closed()
            assert isinstance(conn.reason, trews.FramingError)

        run(main, framer=Netstring())

    def test_what_the_task_raises_then_is_its_own(self, run):
        async def main(conn, far):
            async def reading():
                await conn.read()
                raise ZeroDivisionError

            task = await waiting(reading())
            far.send(b"x\n")
            with pytest.raises(ZeroDivisionError):
                await task
            assert conn.is_open

        run(main, framer=b"\n")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_who_wants_to_exit_does(self, error):
        async def handler(conn):
            await conn.read()
            raise error

        w = wire(handler, framer=b"\n")
        with pytest.raises(error):
            w.feed(b"x\n")
        w.settle()
        assert w.reason is not None


class TestSpare:
    """The reader of one read() is used by the next, if it has nothing left of it."""

    def read(self, w, data=b"x\n", **how):
        task = start(w, w.connection.read(**how))
        w.feed(data)
        return task

    def test_it_is_used_again(self):
        w = wire(trews.Connection, framer=b"\n")
        assert self.read(w).result() == b"x"
        spare = w.connection._spare_reader
        assert spare is not None
        task = start(w, w.connection.read())
        assert w.connection._reader is spare
        assert w.connection._spare_reader is None
        w.feed(b"y\n")
        assert task.result() == b"y"

    @pytest.mark.parametrize("end", ["cancelled", "timed out", "refused"])
    def test_not_after_an_end_that_was_none(self, end):
        w = wire(trews.Connection, framer=b"\n")
        self.read(w)
        used = w.connection._spare_reader
        how = {"framer": "bad"} if end == "refused" else {"timeout": 5}
        task = start(w, w.connection.read(**how))
        if end == "cancelled":
            task.cancel()
        w.advance(6)
        assert task.done()
        task.cancelled() or task.exception()
        assert w.connection._spare_reader is not used
        assert self.read(w, b"y\n").result() == b"y"

    def test_a_timeout_of_the_one_before_is_not_that_of_the_next(self):
        w = wire(trews.Connection, framer=b"\n")
        assert self.read(w, timeout=5).result() == b"x"
        task = start(w, w.connection.read())
        w.advance(6)
        assert not task.done()
        w.feed(b"y\n")
        assert task.result() == b"y"

    def test_a_message_in_the_turn_of_the_timeout_is_read_and_leaves_no_trace(self):
        w = wire(trews.Connection, framer=b"\n").feed(b"x")
        task = start(w, w.connection.read(timeout=5))
        w.loop.call_later(5, w.connection.data_received, b"\n")
        w.advance(5)
        assert task.result() == b"x"
        task = start(w, w.connection.read())
        w.advance(5)
        assert not task.done()
        w.feed(b"y\n")
        assert task.result() == b"y"

    def test_it_holds_no_message(self):
        w = wire(trews.Connection, framer=JSONLines())
        task = start(w, w.connection.read())
        w.feed(b'["kept by nobody"]\n')
        message = task.result()
        del task
        gc.collect()
        spare = w.connection._spare_reader
        assert not any(referrer is spare for referrer in gc.get_referrers(message))


def test_the_default_is_shown_as_what_it_means():
    assert repr(inspect.signature(trews.Connection.read).parameters["framer"].default) == "<the setting>"

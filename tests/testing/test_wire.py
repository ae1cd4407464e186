"""wire: one connection, and the test is its peer."""

import asyncio

import pytest

import trews
from trews import Connection
from trews.framing import Line
from trews.testing import run, wire


class Echo(Connection):
    def on_read(self, message):
        self.send(message)


class Noting(Connection):
    def __init__(self):
        self.reads = []

    def on_read(self, message):
        self.reads.append(message)


async def shout(conn):
    async for line in conn:
        await conn.send(line.upper())
    await conn.send("bye")


def test_what_is_fed_is_read_and_what_is_written_is_sent():
    with wire(Echo) as w:
        assert w.sent() == b""
        assert w.feed(b"hi").sent() == b"hi"
        assert w.sent() == b""
        assert not w.closed


@pytest.mark.parametrize(
    ("chunk", "reads"),
    [(None, [b"abcde"]), (1, [b"a", b"b", b"c", b"d", b"e"]), (2, [b"ab", b"cd", b"e"]), (9, [b"abcde"])],
)
def test_chunks_are_what_arrives_at_once(chunk, reads):
    with wire(Noting) as w:
        w.feed(b"abcde", chunk=chunk)
        assert w.connection.reads == reads


def test_more_than_the_wire_holds_goes_through():
    with wire(Echo, capacity=1000) as w:
        data = bytes(range(256)) * 1000
        assert w.feed(data).sent() == data


def test_feeding_a_connection_that_does_not_read_says_so():
    with wire(Noting, capacity=1000) as w:
        w.connection.pause_reading()
        with pytest.raises(BufferError, match="does not read"):
            w.feed(bytes(5000))


def test_settings_and_server_are_as_with_a_server():
    server = trews.Server(Noting)
    with wire(Noting, framer=Line(), server=server) as w:
        assert w.feed(b"a\nb").connection.reads == [b"a"]
        assert w.connection.server is server
        assert list(server.connections) == [w.connection]


def test_the_end_reaches_the_connection_and_its_answer_the_test():
    with wire(shout, framer=Line(encoding="utf-8")) as w:
        w.feed(b"hi\nyou").eof()
        assert w.sent() == b"HI\r\nYOU\r\nbye\r\n"
        assert w.closed
        assert not w.was_reset


def test_a_reset_is_a_reset():
    with wire(Noting) as w:
        w.reset()
        assert isinstance(w.reason, trews.ConnectionReset)
        assert w.connection.is_closed


@pytest.mark.parametrize(("end", "is_reset"), [("close", False), ("abort", True)])
def test_the_connections_own_end_is_seen(end, is_reset):
    with wire(Noting) as w:
        assert w.reason is None
        getattr(w.connection, end)()
        w.settle()
        assert w.closed
        assert w.was_reset is is_reset


def test_what_is_fed_after_the_end_is_lost():
    with wire(Noting) as w:
        w.connection.abort()
        w.feed(b"x")
        assert w.connection.reads == []


def test_a_clogged_peer_takes_nothing_until_it_is_unclogged():
    with wire(Noting, capacity=1000) as w:
        w.clog()
        w.connection.write(bytes(5000))
        assert w.sent() == b""
        assert w.unclog().sent() == bytes(5000)


def test_time_is_the_tests():
    with wire(Noting, idle_timeout=30) as w:
        w.advance(29).feed(b"x").advance(29)
        assert not w.closed
        w.advance(2)
        assert w.closed
        assert isinstance(w.reason, trews.IdleTooLong)


def test_timers_and_sleeps_run_on_its_time():
    async def late(conn):
        trews.after(5, conn.write, b"timer ")
        await asyncio.sleep(10)
        await conn.send(b"slept")

    with wire(late) as w:
        assert w.advance(4).sent() == b""
        assert w.advance(2).sent() == b"timer "
        assert w.advance(5).sent() == b"slept"
        assert w.closed


def test_async_callbacks_timeouts_and_task_groups_work():
    class Slow(Connection):
        framer = Line()

        async def on_read(self, message):
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(10))
            self.send(message)

    with wire(Slow) as w:
        w.feed(b"a\nb\n")
        assert w.sent() == b""
        assert w.advance(10).sent() == b"a\r\n"
        assert w.advance(10).sent() == b"b\r\n"


def test_it_works_inside_a_running_loop():
    async def main():
        outer = asyncio.get_running_loop()
        with wire(shout, framer=Line(encoding="utf-8")) as w:
            assert w.feed(b"hi\n").sent() == b"HI\r\n"
            assert w.loop is not outer
            w.advance(3600)
        assert asyncio.get_running_loop() is outer
        await asyncio.sleep(0)

    run(main())
    asyncio.run(main())


def test_wires_are_apart():
    with wire(Echo) as one, wire(Echo) as other:
        one.feed(b"1")
        other.feed(b"2")
        assert (one.sent(), other.sent()) == (b"1", b"2")


def test_it_need_not_be_ended():
    w = wire(shout, framer=Line(encoding="utf-8"))
    w.feed(b"hi\n")
    assert "shout" in repr(w)
    del w  # the leak check looks


def test_ending_it_tells_the_connection():
    reasons = []

    class Ending(Connection):
        def on_close(self, reason):
            reasons.append(type(reason))

    w = wire(Ending)
    w.end()
    w.end()
    assert reasons == [trews.Aborted]

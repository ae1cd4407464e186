"""The writing half: thresholds, limits, refusals, on our transport and on asyncio's."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

import trews
from trews import ClosedLocally, Connection, WriteBufferFull, WriteStalled
from trews.testing import run, wire


class Sink(Connection):
    """Says when it is full."""

    write_high = 100
    write_low = 20

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_full(self) -> None:
        self.events.append("full")

    def on_drain(self) -> None:
        self.events.append("drain")

    def on_close(self, reason: trews.ConnectionClosed) -> None:
        self.events.append(type(reason).__name__)


def clogged(**settings: Any) -> Any:
    """A wire that takes 10 bytes and no more."""
    w = wire(Sink, capacity=10, **settings)
    w.clog()
    w.connection.write(b"0123456789")
    return w


@pytest.mark.parametrize(("waiting", "is_full"), [(99, False), (100, False), (101, True)])
def test_full_is_more_than_write_high(waiting: int, is_full: bool) -> None:
    w = clogged()
    w.connection.write(b"x" * waiting)
    w.settle()
    assert w.connection.events == (["full"] if is_full else [])


def test_full_and_drain_come_in_pairs() -> None:
    w = clogged()
    for _ in range(3):
        w.connection.write(b"x" * 60)
        w.settle()
    assert w.connection.events == ["full"]
    w.unclog()
    assert w.sent() == b"0123456789" + b"x" * 180
    assert w.connection.events == ["full", "drain"]


def test_a_threshold_that_is_assigned_later_counts() -> None:
    w = clogged()
    w.connection.write_high = 5
    w.connection.write(b"x" * 6)
    w.settle()
    assert w.connection.events == ["full"]


def test_a_low_mark_above_the_high_one_is_the_high_one() -> None:
    w = clogged(write_high=10, write_low=1000)
    w.connection.write(b"x" * 11)
    w.unclog()
    w.settle()
    assert w.connection.events == ["full", "drain"]


def test_one_write_of_any_size_passes_the_limit() -> None:
    w = clogged(write_limit=50)
    w.connection.write(b"x" * 1000)
    w.unclog()
    assert len(w.sent()) == 1010
    assert w.reason is None


def test_a_write_upon_more_than_the_limit_ends_the_connection() -> None:
    w = clogged(write_limit=50)
    w.connection.write(b"x" * 50)
    w.connection.write(b"y")  # exactly the limit waits: this one is taken
    w.connection.write(b"z")
    w.settle()
    assert isinstance(w.reason, WriteBufferFull)
    assert str(w.reason) == "the peer does not read: 51 bytes wait, write_limit is 50"
    w.connection.write(b"more")  # dropped, no error
    assert w.connection.events[-1] == "WriteBufferFull"


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    w = clogged(write_timeout=60)
    w.connection.write(b"x")
    w.advance(59.9)
    assert w.reason is None
    w.advance(0.1)
    assert isinstance(w.reason, WriteStalled)


def test_each_byte_taken_gives_new_time() -> None:
    w = clogged(write_timeout=60)
    w.connection.write(b"x" * 30)
    w.advance(50)
    w.unclog()
    w.sent()
    w.clog()
    w.connection.write(b"y" * 30)
    w.advance(50)
    assert w.reason is None
    w.advance(10)
    assert isinstance(w.reason, WriteStalled)


def test_counts_are_of_what_left() -> None:
    w = clogged()
    w.connection.write(b"x" * 30)
    assert w.connection.bytes_out == 10
    w.unclog()
    w.settle()
    assert w.connection.bytes_out == 40


@pytest.mark.parametrize("loop_factory", [trews.new_event_loop, asyncio.SelectorEventLoop])
def test_the_rules_hold_on_every_transport(loop_factory: Any) -> None:
    async def main() -> None:
        async with trews.Server(Connection, read_high=0).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0], Sink, write_limit=1 << 20) as connection:
                while connection.reason is None:  # the server reads nothing beyond its first piece
                    connection.write(b"x" * 65536)
                    await asyncio.sleep(0)
                assert isinstance(connection.reason, WriteBufferFull)
                connection.write(b"dropped")
                await connection.wait_closed()
                assert connection.events.count("full") == 1
                assert connection.events[-1] == "WriteBufferFull"
            for other in server.connections:
                other.abort()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop_factory", [trews.new_event_loop, asyncio.SelectorEventLoop])
def test_after_an_own_close_write_raises(loop_factory: Any) -> None:
    async def main() -> None:
        async with trews.Server(Connection).listen("tcp:127.0.0.1:0") as server:
            connection = await trews.connect(server.endpoints[0], Sink)
            kept = connection.write
            connection.close()
            for write in (connection.write, kept):
                with pytest.raises(ClosedLocally) as caught:
                    write(b"x")
                assert caught.value.connection is connection
            await connection.wait_closed()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_a_file_in_pieces_lets_the_others_run_even_if_the_peer_takes_all_at_once() -> None:
    class Swallowing(asyncio.Transport):
        def write(self, data: Any) -> None:
            pass

        def get_write_buffer_size(self) -> int:
            return 0

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

        def abort(self) -> None:
            pass

    async def main() -> int:
        connection = Sink()
        connection.connection_made(Swallowing())
        sending = connection.write_file(io.BytesIO(bytes(8 << 20)))
        turns = 0
        while not sending.done():
            turns += 1
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await connection.wait_closed()
        return turns

    assert run(main()) > 8


def test_what_was_written_behind_a_file_is_not_told_as_too_much() -> None:
    """To know that a file is out, the transport's limit is 0 for a while; what follows has the connection's again."""

    class Slow(asyncio.Transport):
        def __init__(self, connection: Connection) -> None:
            super().__init__()
            self.connection, self.waiting, self.high, self.is_paused = connection, 0, 0, False

        def write(self, data: Any) -> None:
            self.waiting += len(data)
            self.look()

        def look(self) -> None:
            if self.waiting > self.high and not self.is_paused:
                self.is_paused = True
                self.connection.pause_writing()
            elif self.is_paused and not self.waiting:
                self.is_paused = False
                self.connection.resume_writing()

        def get_write_buffer_size(self) -> int:
            return self.waiting

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            self.high = high or 0
            self.look()

        def abort(self) -> None:
            pass

    async def main() -> list[str]:
        connection = Sink()
        transport = Slow(connection)
        connection.connection_made(transport)
        sending = connection.write_file(io.BytesIO(bytes(100)))
        connection.write(b"behind it")
        await asyncio.sleep(1)
        assert not sending.done()
        transport.waiting = 0
        transport.look()
        await asyncio.sleep(1)
        assert sending.done()
        assert transport.waiting == len(b"behind it")
        told = list(connection.events)
        connection.connection_lost(None)
        await connection.wait_closed()
        return told

    assert "full" not in run(main())

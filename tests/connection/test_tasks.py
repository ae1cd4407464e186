"""`wait_closed` and `spawn`: tasks that end with the connection."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.testing import wire


class TestWaitClosed:
    def test_it_waits_for_on_close(self):
        class SlowGoodbye(Recorder):
            async def on_close(self, reason):
                await asyncio.sleep(5)
                self.events.append(("close", reason))

        w = wire(SlowGoodbye)
        task = start(w, w.connection.wait_closed())
        w.connection.close()
        w.advance(4.9)
        assert not task.done()
        w.advance(0.1)
        assert task.done()
        assert w.connection.names == ["connect", "close"]

    def test_after_the_end_it_returns_at_once(self):
        w = wire(trews.Connection).eof()
        assert start(w, w.connection.wait_closed()).done()

    @pytest.mark.parametrize("waits_first", [False, True], ids=["in its first step", "later"])
    def test_from_its_own_handler_it_does_not_wait_for_itself(self, waits_first):
        steps = []

        async def handler(conn):
            if waits_first:
                await conn.read()
            conn.close()
            await conn.wait_closed()
            steps.append(conn.loop_time())

        class Timed(trews.Connection):
            def loop_time(self):
                return asyncio.get_running_loop().time()

            async def on_connect(self):
                await handler(self)

        w = wire(Timed)
        began = w.loop.time()
        w.feed(b"go")
        w.advance(40)
        assert steps == [began]

    def test_from_its_own_spawned_task_it_does_not_wait_for_itself(self):
        done = []

        class Spawner(Recorder):
            def on_connect(self):
                self.spawn(self.work())

            async def work(self):
                await self.read()
                self.close()
                try:
                    await self.wait_closed()
                finally:
                    done.append(self.reason)

        w = wire(Spawner).feed(b"go")
        assert len(done) == 1
        assert w.connection.names == ["close"]

    def test_many_may_wait(self):
        w = wire(trews.Connection)
        tasks = [start(w, w.connection.wait_closed()) for _ in range(3)]
        w.eof()
        assert all(task.done() for task in tasks)

    def test_a_cancelled_one_disturbs_nobody(self):
        w = wire(trews.Connection)
        one, other = (start(w, w.connection.wait_closed()) for _ in range(2))
        one.cancel()
        w.eof()
        assert other.done()
        assert not other.cancelled()


class TestSpawn:
    """`spawn(coro)` runs a task that lives and dies with the connection."""

    def test_it_runs_beside_the_callbacks(self):
        class Ticker(Recorder):
            def on_connect(self):
                self.task = self.spawn(self.tick())

            async def tick(self):
                while True:
                    await asyncio.sleep(1)
                    self.write(b"tick ")

        w = wire(Ticker)
        w.feed(b"hi").advance(2.5)
        assert w.sent() == b"tick tick "
        assert w.connection.messages == [b"hi"]

    @pytest.mark.parametrize("end", ["eof", "reset"])
    def test_it_is_cancelled_with_the_connection(self, end):
        w = wire(Recorder)
        task = w.connection.spawn(asyncio.sleep(1e6))
        getattr(w.settle(), end)()
        assert task.cancelled()
        assert w.connection.names[-1] == "close"
        assert w.connection.errors == []

    def test_on_close_comes_after_it_has_ended(self):
        order = []

        class Ordered(trews.Connection):
            def on_connect(self):
                self.spawn(self.work())

            async def work(self):
                try:
                    await asyncio.sleep(1e6)
                finally:
                    await asyncio.sleep(1)
                    order.append("work")

            def on_close(self, reason):
                order.append("close")

        w = wire(Ordered).eof()
        assert order == []
        w.advance(1)
        assert order == ["work", "close"]

    def test_its_error_is_the_connections(self):
        async def fail():
            raise ValueError("oops")

        w = wire(Recorder)
        w.connection.spawn(fail())
        w.settle()
        assert [str(exc) for exc in w.connection.errors] == ["oops"]
        assert isinstance(w.reason, trews.Aborted)
        assert w.was_reset

    def test_its_result_is_the_tasks(self):
        async def add():
            return 3

        w = wire(Recorder)
        task = w.connection.spawn(add())
        w.settle()
        assert task.result() == 3
        assert w.connection.is_open

    def test_cancelling_it_does_not_end_the_connection(self):
        w = wire(Recorder)
        task = w.connection.spawn(asyncio.sleep(1e6))
        task.cancel()
        w.settle()
        assert w.connection.is_open

    def test_after_the_end_it_raises_the_reason(self):
        w = wire(Recorder).reset()
        with pytest.raises(trews.ConnectionReset):
            w.connection.spawn(asyncio.sleep(1))  # and no "was never awaited"

    @pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has eager tasks")
    def test_it_works_in_a_callback_with_an_eager_task_factory(self):
        class Spawner(Recorder):
            def on_read(self, message):
                self.spawn(self.work())

            async def work(self):
                self.events.append(("worked",))

        w = wire(Spawner)
        w.loop.set_task_factory(asyncio.eager_task_factory)
        w.feed(b"x")
        assert w.connection.names == ["connect", "worked"]

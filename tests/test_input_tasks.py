"""`read()` whose message comes while it waits: the task that goes on inside the event, and those that are cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from contextlib import closing

import pytest

import trews
from tests.clients import LOOPS
from tests.connection.recorder import Recorder, start
from tests.reading import run_on, waiting
from trews.testing import wire

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="nothing")


@pytest.fixture(scope="module", autouse=True)
def _what_uvloop_opens_once_in_a_process():
    with closing(LOOPS["uvloop"]()):
        pass


@pytest.fixture(params=LOOPS)
def run(request):
    """`run(main, …)`: runs `main(conn, far)` on each loop."""
    return functools.partial(run_on, request.param)


class TestCancelled:
    def test_before_the_message(self, run):
        async def main(conn, far):
            task = await waiting(conn.read())
            task.cancel()
            far.send(b"x\n")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await conn.read() == b"x"

        run(main, framer=b"\n")

    def test_after_half_of_it(self, run):
        async def main(conn, far):
            task = await waiting(conn.read())
            far.send(b"x")
            while not conn.bytes_in:
                await asyncio.sleep(0)
            task.cancel()
            far.send(b"y\n")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await conn.read() == b"xy"

        run(main, framer=b"\n")

    def test_after_the_message_has_come_it_is_too_late(self):
        """The task has gone on already: the next thing that it waits for is cancelled."""
        w = wire(trews.Connection, framer=b"\n")
        seen = []

        async def reading():
            seen.append(await w.connection.read())
            await asyncio.sleep(9)

        task = start(w, reading())
        w.loop.call_soon(w.connection.data_received, b"x\n")
        w.loop.call_soon(task.cancel)
        w.settle()
        assert task.cancelled()
        assert seen == [b"x"]

    def test_who_goes_on_in_spite_of_it_reads_on(self, run):
        async def main(conn, far):
            async def stubborn():
                try:
                    await conn.read()
                except asyncio.CancelledError:
                    return await conn.read()

            task = await waiting(stubborn())
            task.cancel()
            await asyncio.sleep(0)
            far.send(b"x\n")
            assert await task == b"x"

        run(main, framer=b"\n")

    def test_by_asyncio_timeout(self, run):
        async def main(conn, far):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await conn.read()
            async with asyncio.timeout(20):
                far.send(b"x\n")
                assert await conn.read() == b"x"
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

        run(main, framer=b"\n")

    def test_by_wait_for(self, run):
        async def main(conn, far):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conn.read(), 0.001)
            task = await waiting(asyncio.wait_for(conn.read(), 20))
            far.send(b"x\n")
            assert await task == b"x"

        run(main, framer=b"\n")

    def test_by_a_task_group(self, run):
        async def main(conn, far):
            async def fail():
                await asyncio.sleep(0)
                raise ZeroDivisionError

            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(conn.read())
                    group.create_task(fail())
            assert [type(exc) for exc in caught.value.exceptions] == [ZeroDivisionError]
            assert reading.cancelled()
            far.send(b"x\n")
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(conn.read())
            assert reading.result() == b"x"

        run(main, framer=b"\n")

    def test_a_reader_that_goes_away_leaves_the_messages(self):
        """A coroutine that is closed while it reads, as at the end of a loop."""
        w = wire(trews.Connection, framer=b"\n")
        coroutine = w.connection.read()
        coroutine.send(None)
        coroutine.close()
        w.feed(b"x\n")
        assert start(w, w.connection.read()).result() == b"x"


class TestTasks:
    def test_any_task_may_read(self, run):
        """The handler, one that it has spawned, one of somebody else: one after the other."""

        class Handled(trews.Connection):
            framer = b"\n"

            def __init__(self):
                self.seen = []

            async def on_connect(self):
                self.seen.append(await self.read())
                await self.spawn(self.work())

            async def work(self):
                self.seen.append(await self.read())

        async def main(conn, far):
            far.send(b"1\n")
            while len(conn.seen) < 1:
                await asyncio.sleep(0)
            far.send(b"2\n")
            while len(conn.seen) < 2:
                await asyncio.sleep(0)
            task = await waiting(conn.read())
            far.send(b"3\n")
            assert (await task, conn.seen) == (b"3", [b"1", b"2"])

        run(main, Handled)

    def test_it_is_the_current_task_that_goes_on(self, run):
        async def main(conn, far):
            async def reading():
                before = asyncio.current_task()
                await conn.read()
                return before, asyncio.current_task()

            task = await waiting(reading())
            far.send(b"x\n")
            assert await task == (task, task)

        run(main, framer=b"\n")

    def test_it_goes_on_inside_the_event(self):
        w = wire(trews.Connection, framer=b"\n")
        task = start(w, w.connection.read())
        seen = []
        w.loop.call_soon(w.connection.data_received, b"x\n")
        w.loop.call_soon(lambda: seen.append(task.done()))
        w.settle()
        assert seen == [True]

    @pytest.mark.parametrize("framer", [None, b"\n", 2])
    def test_data_that_comes_inside_of_a_task_waits_until_that_has_returned(self, framer):
        """Two tasks of a loop cannot be in a step at once: a test, or a transport of somebody's, may do that."""
        w = wire(trews.Connection, framer=framer)
        task = start(w, w.connection.read())
        seen = []

        async def feeding():
            w.connection.data_received(b"x\n")
            seen.append(task.done())
            assert asyncio.current_task() is not task

        start(w, feeding()).result()
        assert seen == [False]
        assert task.result().startswith(b"x")

    @pytest.mark.parametrize("framer", [None, b"\n", 2])
    def test_and_is_not_lost_if_who_read_is_cancelled_before(self, framer):
        w = wire(trews.Connection, framer=framer)
        task = start(w, w.connection.read())

        async def feeding():
            w.connection.data_received(b"x\n")
            task.cancel()

        start(w, feeding()).result()
        assert task.cancelled()
        assert start(w, w.connection.read()).result().startswith(b"x")

    def test_data_that_comes_inside_of_a_task_of_another_loop_does_not(self):
        w = wire(trews.Connection, framer=b"\n")
        other = wire(trews.Connection, framer=b"\n")
        task, seen = start(w, w.connection.read()), []

        async def feeding():
            asyncio.get_running_loop().call_soon(seen.append, 1)
            other.connection.data_received(b"y\n")

        start(other, feeding()).result()
        w.feed(b"x\n")
        assert task.result() == b"x"
        assert start(other, other.connection.read()).result() == b"y"

    def test_contexts_are_those_of_the_tasks(self, run):
        async def main(conn, far):
            async def reading(name):
                VAR.set(name)
                await conn.read()
                before = VAR.get()
                VAR.set(name + " later")
                await conn.read()
                return before, VAR.get()

            for name in ("one", "two"):
                task = await waiting(reading(name))
                far.send(b"x\n")
                for _ in range(20):
                    await asyncio.sleep(0)
                far.send(b"y\n")
                assert await task == (name, f"{name} later")
                assert VAR.get() == "nothing"

        run(main, framer=b"\n")

    def test_the_context_of_a_handler_is_that_of_its_connection(self, run):
        seen = []

        class Handled(trews.Connection):
            framer = b"\n"

            async def on_connect(self):
                VAR.set("connected")
                await self.read()
                seen.append(VAR.get())
                VAR.set("read")

            def on_read(self, message):
                seen.append(VAR.get())

        async def main(conn, far):
            far.send(b"1\n")
            while len(seen) < 1:
                await asyncio.sleep(0)
            far.send(b"2\n")
            while len(seen) < 2:
                await asyncio.sleep(0)
            assert seen == ["connected", "read"]
            assert VAR.get() == "nothing"

        run(main, Handled)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
    def test_eager_tasks(self, run):
        async def main(conn, far):
            # Not by the loop's factory, which uvloop does not take on every version.
            task = asyncio.Task(conn.read(), loop=asyncio.get_running_loop(), eager_start=True)  # waits already
            far.send(b"x\n")
            assert await task == b"x"

        run(main, framer=b"\n")

    def test_two_connections_in_a_group(self, run):
        async def main(conn, far):
            async def one(count):
                return [await conn.read() for _ in range(count)]

            async with asyncio.TaskGroup() as group:
                first = group.create_task(one(3))
                second = group.create_task(asyncio.sleep(0, "slept"))
                far.send(b"1\n2\n3\n")
            assert (first.result(), second.result()) == ([b"1", b"2", b"3"], "slept")

        run(main, framer=b"\n")

    def test_the_end_of_the_connection_from_inside_the_event(self, run):
        """What a task does then may be anything: close, abort, take the connection over."""

        async def main(conn, far):
            async def reading():
                await conn.read()
                conn.write(b"bye")
                conn.close()
                await conn.wait_closed()
                return conn.reason

            task = await waiting(reading())
            far.send(b"x\n")
            assert await asyncio.to_thread(far.recv, 10) == b"bye"
            far.close()
            assert isinstance(await task, trews.ClosedLocally)

        run(main, framer=b"\n")

    def test_aborted_inside_the_event(self):
        async def handler(conn):
            await conn.read()
            conn.abort()
            await asyncio.sleep(9)

        w = wire(handler, framer=b"\n").feed(b"x\n")
        assert isinstance(w.reason, trews.Aborted)

    def test_switched_inside_the_event(self):
        class Other(Recorder):
            framer = b"\n"

        others = []

        async def handler(conn):
            await conn.read()
            others.append(conn.switch(Other))

        w = wire(handler, framer=b"\n").feed(b"x\n").feed(b"y\n")
        assert others[0].messages == [b"y"]
        assert w.connection is not others[0]

"""Who waits for the next message of a connection."""

from __future__ import annotations

import asyncio

import pytest

from trews.inbox import NEED
from trews.reader import Reader
from trews.testing import run


class Case:
    """A task that awaits a reader."""

    def __init__(self):
        self.reader = Reader(asyncio.get_running_loop())
        self.reader.is_waiting = True
        self.task = asyncio.create_task(self.wait())

    def give(self):
        return self.reader.give(self.reader.future._callbacks, b"hi")

    async def wait(self):
        return await self.reader.wait()


async def case():
    made = Case()
    assert not made.reader.future._callbacks  # no task awaits it yet
    await asyncio.sleep(0)
    assert made.reader.future._callbacks
    return made


def test_what_does_not_wait_is_woken_in_vain():
    async def main():
        reader = Reader(asyncio.get_running_loop())
        assert not reader.is_waiting
        reader.wake()
        assert await reader.wait() is NEED

    run(main())


def test_who_was_woken_before_it_awaits_does_not_wait():
    async def main():
        reader = Reader(asyncio.get_running_loop())
        reader.is_waiting = True
        reader.wake()
        assert await reader.wait() is NEED

    run(main())


def test_it_is_woken_once_in_the_next_turn():
    async def main():
        made = await case()
        made.reader.wake()
        made.reader.wake()
        assert not made.reader.is_waiting
        assert not made.task.done()
        assert await made.task is NEED

    run(main())


def test_what_is_given_is_there_at_once():
    """Outside of any task, as transports call."""

    async def main():
        made = await case()
        asyncio.get_running_loop().call_soon(made.give)
        asyncio.get_running_loop().call_soon(lambda: seen.append(made.task.done()))
        assert await made.task == b"hi"

    seen: list[bool] = []
    run(main())
    assert seen == [True]


def test_it_waits_again_for_the_same():
    async def main():
        made = await case()
        reader = made.reader
        future = reader.future
        asyncio.get_running_loop().call_soon(made.give)
        assert await made.task == b"hi"
        reader.is_waiting = True
        made.task = asyncio.create_task(made.wait())
        await asyncio.sleep(0)
        assert reader.future is future
        asyncio.get_running_loop().call_soon(made.give)
        assert await made.task == b"hi"

    run(main())


def test_cancelled_it_can_be_given_nothing():
    async def main():
        made = await case()
        made.task.cancel("enough")
        assert not made.reader.future._callbacks
        made.reader.wake()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await made.task

    run(main())


def test_cancelled_after_it_was_woken_the_task_is_cancelled():
    async def main():
        made = await case()
        made.reader.wake()
        assert not made.reader.future._callbacks
        made.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made.task

    run(main())


def test_who_has_waited_too_long_is_woken_and_told():
    async def main():
        made = await case()
        made.reader.time_out()
        assert await made.task is NEED
        assert made.reader.is_timed_out

    run(main())


@pytest.mark.parametrize("where", ["the task's own context", "another task"])
def test_where_the_task_cannot_go_on_it_is_given_nothing_and_waits(where):
    async def main():
        made = await case()
        if where == "another task":
            assert made.give() is False
        else:
            ((_, context),) = made.reader.future._callbacks
            asyncio.get_running_loop().call_soon(lambda: seen.append(context.run(made.give)))
            await asyncio.sleep(0)
            assert seen == [False]
        await asyncio.sleep(0)
        assert not made.task.done()
        assert made.reader.is_waiting
        asyncio.get_running_loop().call_soon(made.give)
        assert await made.task == b"hi"

    seen: list[bool] = []
    run(main())


def test_cancelled_where_it_could_be_given_nothing_it_is_cancelled():
    async def main():
        made = await case()
        assert made.give() is False
        made.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made.task

    run(main())


def test_an_error_of_the_loop_itself_is_not_mistaken_for_that():
    async def main():
        made = await case()
        future = made.reader.future
        ((_, context),) = future._callbacks

        def callback(_):
            made.reader._message = NEED  # taken, as by a task that goes on
            raise RuntimeError("the loop is broken")

        with pytest.raises(RuntimeError, match="broken"):
            made.reader.give([(callback, context)], b"hi")
        made.task.cancel()

    run(main())

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

    async def wait(self):
        return await self.reader


async def case():
    made = Case()
    assert made.reader.callback is None  # no task awaits it yet
    await asyncio.sleep(0)
    assert made.reader.callback is not None
    return made


def test_what_does_not_wait_is_woken_in_vain():
    async def main():
        reader = Reader(asyncio.get_running_loop())
        assert not reader.is_waiting
        reader.wake()
        reader.cancel()
        assert await reader is NEED

    run(main())


def test_who_was_woken_before_it_awaits_does_not_wait():
    async def main():
        reader = Reader(asyncio.get_running_loop())
        reader.is_waiting = True
        reader.wake()
        assert await reader is NEED

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
        asyncio.get_running_loop().call_soon(made.reader.give, b"hi")
        asyncio.get_running_loop().call_soon(lambda: seen.append(made.task.done()))
        assert await made.task == b"hi"

    seen: list[bool] = []
    run(main())
    assert seen == [True]


def test_cancelled_it_waits_no_more():
    async def main():
        made = await case()
        made.task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await made.task
        assert not made.reader.is_waiting
        assert made.reader.callback is None
        made.reader.wake()

    run(main())


def test_cancelled_after_it_was_woken_the_task_is_cancelled():
    async def main():
        made = await case()
        made.reader.wake()
        assert made.reader.cancel() is False
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


def test_given_inside_the_tasks_own_context_it_goes_on_in_the_next_turn():
    async def main():
        made = await case()
        made.reader._context.run(made.reader.give, b"hi")
        assert not made.task.done()
        assert await made.task == b"hi"

    run(main())

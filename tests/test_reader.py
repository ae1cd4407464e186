"""Who waits for the next message of a connection."""

from __future__ import annotations

import asyncio

from trews.reader import Reader
from trews.testing import run


def test_it_is_woken_once_and_waits_until_then():
    async def main():
        reader = Reader(None)
        assert not reader.is_waiting
        reader.wake()  # nobody waits yet
        reader.waiter = asyncio.get_running_loop().create_future()
        assert reader.is_waiting
        reader.wake()
        reader.wake()
        assert not reader.is_waiting
        await reader.waiter

    run(main())


def test_who_has_waited_too_long_is_woken_and_told():
    async def main():
        reader = Reader(b"\n")
        reader.waiter = asyncio.get_running_loop().create_future()
        reader.time_out()
        await reader.waiter
        assert reader.is_timed_out
        assert reader.framer == b"\n"

    run(main())

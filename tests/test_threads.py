"""From other threads into the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pytest

import trews
from trews.threads import call_from_thread


class Echo(trews.Connection):
    def on_read(self, data: bytes) -> None:
        self.write(data)


def test_a_call_runs_on_the_loop_and_its_result_comes_back() -> None:
    async def main() -> None:
        loop_thread = threading.get_ident()
        future = await asyncio.to_thread(call_from_thread, threading.get_ident)
        assert await asyncio.wrap_future(future) == loop_thread

    trews.run(main())


def test_it_wakes_a_loop_that_waits_for_nothing() -> None:
    """Row 23: a poll without a timeout is interrupted."""

    async def main() -> str:
        arrived = asyncio.get_running_loop().create_future()
        thread = threading.Thread(target=lambda: call_from_thread(arrived.set_result, "woken"))
        asyncio.get_running_loop().call_soon(thread.start)
        result: str = await arrived  # no timer is scheduled: only the call can end this
        thread.join()
        return result

    assert trews.run(main()) == "woken"


def test_an_error_comes_back_and_the_loop_goes_on() -> None:
    async def main() -> None:
        future = await asyncio.to_thread(call_from_thread, lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(future)

    trews.run(main())


def test_what_an_async_function_returns_comes_back() -> None:
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> None:
        future = await asyncio.to_thread(call_from_thread, double, 21)
        assert await asyncio.wrap_future(future) == 42

    trews.run(main())


def test_the_error_of_an_async_function_comes_back() -> None:
    async def fail() -> None:
        raise LookupError("x")

    async def main() -> None:
        future = await asyncio.to_thread(call_from_thread, fail)
        with pytest.raises(LookupError):
            await asyncio.wrap_future(future)

    trews.run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_a_connection_is_written_to(debug: bool) -> None:
    async def main() -> None:
        async with trews.Server(Echo).listen("memory:threads") as server:
            async with trews.connect(server.endpoints[0]) as connection:
                future = await asyncio.to_thread(call_from_thread, connection.write, b"hi")
                await asyncio.wrap_future(future)
                assert await connection.read() == b"hi"

    trews.run(main(), debug=debug)


def test_with_two_loops_the_connection_tells_which() -> None:
    """Another trews loop runs in a second thread all the while."""
    started, release = threading.Event(), threading.Event()

    async def other() -> None:
        started.set()
        await asyncio.to_thread(release.wait)

    async def main() -> None:
        async with trews.Server(Echo).listen("memory:two") as server:
            async with trews.connect(server.endpoints[0]) as connection:
                await asyncio.wrap_future(await asyncio.to_thread(call_from_thread, connection.write, b"hi"))
                assert await connection.read() == b"hi"
                with pytest.raises(RuntimeError, match=r"found 2 running loops; use loop.call_soon_threadsafe"):
                    await asyncio.to_thread(call_from_thread, print)

    thread = threading.Thread(target=lambda: trews.run(other()))
    thread.start()
    started.wait()
    try:
        trews.run(main())
    finally:
        release.set()
        thread.join()


def test_a_server_on_a_foreign_loop_is_found() -> None:
    async def main() -> None:
        async with trews.Server(Echo).listen("memory:foreign"):
            future = await asyncio.to_thread(call_from_thread, lambda: "found")
            assert await asyncio.wrap_future(future) == "found"

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


def test_without_a_loop_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="found no running loop"):
        call_from_thread(print)


def test_a_cancelled_call_does_not_happen() -> None:
    async def main() -> None:
        calls: list[int] = []
        futures: list[concurrent.futures.Future[Any]] = []

        def ask() -> None:
            futures.append(call_from_thread(calls.append, 1))
            futures[0].cancel()

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()  # the loop stands still until here, so the cancel comes first
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert futures[0].cancelled()
        assert calls == []

    trews.run(main())

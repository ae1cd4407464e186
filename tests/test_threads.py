"""From the loop into a thread, and from other threads into the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import trews
from trews.framing import Line
from trews.testing import VirtualLoop
from trews.threads import call_from_thread, in_thread

LOOPS = pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.SelectorEventLoop, VirtualLoop])


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


# -- in_thread


class Gate:
    """A function that blocks until it is let go, and tells when it has begun."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.has_ended = threading.Event()

    def __call__(self, result: Any = None) -> Any:
        self.has_begun.set()
        self.may_end.wait()
        self.has_ended.set()
        return result


def on(factory: Callable[[], asyncio.AbstractEventLoop], main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@LOOPS
def test_a_function_runs_in_another_thread_and_its_result_comes_back(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        assert await in_thread(divmod, 7, 2) == (3, 1)
        assert await in_thread(threading.get_ident) != threading.get_ident()

    on(factory, main())


def test_its_error_comes_back() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    trews.run(main())


def test_stop_iteration_comes_back_as_what_a_future_can_hold() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="next raised StopIteration in a thread") as info:
            await in_thread(next, iter(()))
        assert isinstance(info.value.__cause__, StopIteration)

    trews.run(main())


def test_the_loop_goes_on_meanwhile() -> None:
    async def main() -> None:
        gate = Gate()
        future = in_thread(gate, "done")
        while not gate.has_begun.is_set():
            await asyncio.sleep(0)
        assert not future.done()
        gate.may_end.set()
        assert await future == "done"

    trews.run(main())


def test_it_begins_when_called_and_need_not_be_awaited() -> None:
    """So a plain callback may call it."""

    class Slow(trews.Connection):
        framer = Line(encoding="ascii")

        def on_read(self, line: str) -> None:
            in_thread(line.upper).add_done_callback(lambda future: self.send(future.result()))

    async def main() -> None:
        async with trews.Server(Slow).listen("memory:plain") as server:
            async with trews.connect(server.endpoints[0], framer=Line(encoding="ascii")) as client:
                client.send("hello")
                assert await client.read() == "HELLO"

    trews.run(main())


def test_async_callbacks_and_handlers_await_it() -> None:
    class Slow(trews.Connection):
        framer = Line(encoding="ascii")

        async def on_read(self, line: str) -> None:
            self.send(await in_thread(line.upper))

    async def slow(conn: trews.Connection) -> None:
        async for line in conn:
            await conn.send(await in_thread(line.upper))

    async def main(handler: Any) -> None:
        async with trews.Server(handler, framer=Line(encoding="ascii")).listen("memory:async") as server:
            async with trews.connect(server.endpoints[0], framer=Line(encoding="ascii")) as client:
                for line in ("one", "two"):
                    client.send(line)
                assert [await client.read(), await client.read()] == ["ONE", "TWO"]

    trews.run(main(Slow))
    trews.run(main(slow))


def test_the_error_of_a_callback_that_awaits_it_is_the_connections() -> None:
    errors: list[BaseException] = []

    class Failing(trews.Connection):
        async def on_read(self, data: bytes) -> None:
            await in_thread(int, data)

        def on_error(self, exc: BaseException) -> None:
            errors.append(exc)

    async def main() -> None:
        async with trews.Server(Failing).listen("memory:fails") as server:
            async with trews.connect(server.endpoints[0]) as client:
                client.write(b"x")
                await client.wait_closed()

    trews.run(main())
    assert [type(error) for error in errors] == [ValueError]


def test_context_variables_go_along_and_do_not_come_back() -> None:
    name = contextvars.ContextVar("name", default="nobody")

    def work() -> str:
        found = name.get()
        name.set("thread")
        return found

    async def main() -> None:
        name.set("main")
        assert await in_thread(work) == "main"
        assert name.get() == "main"

    trews.run(main())


def test_the_thread_may_call_the_loop() -> None:
    async def main() -> None:
        loop_thread = threading.get_ident()

        def work() -> int:
            found: int = call_from_thread(threading.get_ident).result()
            return found

        assert await in_thread(work) == loop_thread

    trews.run(main())


def test_the_thread_calls_the_loop_it_was_called_from_though_there_are_two() -> None:
    started, release = threading.Event(), threading.Event()

    async def other() -> None:
        started.set()
        await in_thread(release.wait)

    async def main() -> None:
        loop_thread = threading.get_ident()
        assert await in_thread(lambda: call_from_thread(threading.get_ident).result()) == loop_thread

    def nested() -> None:
        """A thread of the loop's own executor serves another: the nearer one counts."""
        trews.run(main())

    thread = threading.Thread(target=lambda: trews.run(other()))
    thread.start()
    started.wait()
    try:
        trews.run(main())

        async def outer() -> None:
            await in_thread(nested)

        trews.run(outer())
    finally:
        release.set()
        thread.join()


def test_cancelling_who_waits_leaves_the_thread_working() -> None:
    async def main() -> None:
        gate = Gate()

        async def wait() -> None:
            await in_thread(gate)

        task = asyncio.create_task(wait())
        while not gate.has_begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not gate.has_ended.is_set()
        gate.may_end.set()
        gate.has_ended.wait()

    trews.run(main())


def test_a_call_that_is_cancelled_before_its_turn_does_not_happen() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        gate, calls = Gate(), list[int]()
        first, second = in_thread(gate), in_thread(calls.append, 1)
        second.cancel()
        for _ in range(3):  # the executor hears of it in a later turn
            await asyncio.sleep(0)
        gate.may_end.set()
        await first
        await in_thread(int)
        assert calls == []

    trews.run(main())


def test_the_number_of_threads_is_bounded() -> None:
    async def main() -> None:
        idents = await asyncio.gather(*(in_thread(threading.get_ident) for _ in range(500)))
        assert len(set(idents)) <= 32
        executor: Any = asyncio.get_running_loop()._default_executor  # type: ignore[attr-defined]
        assert len(executor._threads) <= 32

    trews.run(main())


def test_at_its_end_run_waits_for_a_thread_that_works() -> None:
    gate = Gate()

    async def main() -> None:
        in_thread(gate).add_done_callback(lambda future: None)
        while not gate.has_begun.is_set():
            await asyncio.sleep(0)
        # Called while the executor is being shut down: the loop still runs then.
        asyncio.get_running_loop().call_later(0.001, gate.may_end.set)

    before = threading.active_count()
    trews.run(main())
    assert gate.has_ended.is_set()
    assert threading.active_count() == before


SERVED = """
import threading, trews

gate, done = threading.Event(), []

def work():
    gate.wait()
    done.append("worked")

class Server(trews.Server):
    def on_start(self):
        trews.in_thread(work)
        trews.soon(print, "serving")
    def on_stop(self):
        done.append("stopped")
        gate.set()

print(trews.serve(Server(trews.Connection), "tcp:127.0.0.1:0"), done)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_serve_waits_for_a_thread_that_works() -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "-c", SERVED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "serving\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert err == ""
    assert process.returncode == 0
    assert out == "Drained(closed=0, aborted=0) ['stopped', 'worked']\n"


async def an_async_function() -> None: ...


class AsyncCall:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("fn", "sentence"),
    [
        (None, r"trews.in_thread takes a function, then its arguments, not None: trews.in_thread\(fn, 1, 2\)"),
        (b"x", r"takes a function, then its arguments, not b'x'"),
        (an_async_function, "for functions that block, and an_async_function is async: await it instead"),
        (functools.partial(an_async_function), "is async: await it instead"),
        (AsyncCall(), "is async: await it instead"),
    ],
    ids=["None", "bytes", "async", "partial", "callable"],
)
def test_what_is_no_blocking_function_is_refused(fn: Any, sentence: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=sentence):
            in_thread(fn)

    trews.run(main())


def test_a_coroutine_that_was_called_already_is_refused() -> None:
    async def main() -> None:
        coroutine = an_async_function()
        with pytest.raises(TypeError, match=r"takes a function, then its arguments, not <coroutine object"):
            in_thread(coroutine)  # type: ignore[arg-type]
        coroutine.close()

    trews.run(main())


def test_a_function_that_turns_out_to_be_async_is_an_error_not_a_lost_coroutine() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="returned a coroutine"):
            await in_thread(lambda: an_async_function())  # type: ignore[unused-coroutine]

    trews.run(main())


def test_outside_a_running_loop_it_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"trews.in_thread\(\) needs a running loop: call it in a callback"):
        in_thread(int)


def test_with_steps_the_result_comes_between_them() -> None:
    loop = trews.EventLoop()

    async def main() -> int:
        return await in_thread(int, "7")

    task = loop.create_task(main())
    while not task.done():
        loop.step(None)
    assert task.result() == 7
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_an_exit_in_it_ends_the_program_and_the_thread_that_waits() -> None:
    program = """
import sys, trews
async def main():
    await trews.in_thread(lambda: trews.call_from_thread(sys.exit, 3).result())
trews.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")

"""The virtual clock: still while there is something to do, then at the next deadline."""

import asyncio
import gc
import socket
import threading
import time

import pytest

import trews
from trews.testing import VirtualLoop, no_leaks, run
from trews.virtual import DetachedLoop


@pytest.fixture
def loop():
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_a_day_passes_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(86_400)
        return loop.time() - before

    real = time.monotonic()
    assert run(main()) == 86_400
    assert time.monotonic() - real < 3600


def test_timers_fire_in_order_each_at_its_time():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()

        async def at(delay):
            await asyncio.sleep(delay)
            seen.append((delay, round(loop.time() - start, 6)))

        start = loop.time()
        await asyncio.gather(*(at(delay) for delay in (3, 1, 2, 1, 0.5)))

    run(main())
    assert seen == [(0.5, 0.5), (1, 1), (1, 1), (2, 2), (3, 3)]


def test_time_stands_still_while_there_is_something_to_do():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        late = loop.call_later(0.001, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        late.cancel()
        return loop.time() - before

    assert run(main()) == 0


def test_timeouts_are_exact():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.Event().wait()
        return loop.time() - before

    assert run(main()) == 7


def test_time_begins_where_it_is_told():
    loop = VirtualLoop(start=5.0)
    assert loop.time() == 5.0
    loop.close()


def test_advance_stops_at_each_deadline_on_the_way(loop):
    seen = []

    def again():
        seen.append(loop.time() - 1000)
        if len(seen) < 5:
            loop.call_later(2, again)

    loop.call_later(2, again)
    loop.advance(5)
    assert seen == [2, 4]
    assert loop.time() == 1005
    loop.advance(1)
    assert seen == [2, 4, 6]


def test_settle_does_what_is_due_and_no_more(loop):
    seen = []
    loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(seen.append, "third")))
    late = loop.call_later(1, seen.append, "late")
    loop.settle()
    assert seen == ["third"]
    assert loop.time() == 1000
    late.cancel()


def test_settle_gives_up_on_a_program_that_never_rests(loop):
    def again():
        nonlocal handle
        handle = loop.call_soon(again)

    handle = loop.call_soon(again)
    loop.settle()
    handle.cancel()


@pytest.mark.parametrize("runner", [run, asyncio.run, trews.run])
def test_settle_works_inside_another_running_loop(runner):
    seen = []

    async def main():
        outer = asyncio.get_running_loop()
        inner = VirtualLoop()
        inner.call_later(60, lambda: seen.append(asyncio.get_running_loop() is inner))
        inner.settle()
        assert seen == []
        inner.advance(60)
        inner.close()
        assert asyncio.get_running_loop() is outer

    runner(main())
    assert seen == [True]


def test_timers_of_trews_run_on_it():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        timer = trews.every(10, lambda: seen.append(loop.time() - 1000))
        await asyncio.sleep(35)
        timer.cancel()

    run(main())
    assert seen == [10, 20, 30]


def test_deadlines_of_connections_are_exact():
    async def main():
        loop = asyncio.get_running_loop()
        async with trews.Server(trews.Connection, idle_timeout=33.3).listen("memory:clock") as server:
            conn = await trews.connect(server.endpoints[0])
            before = loop.time()
            await conn.wait_closed()
            return loop.time() - before

    assert run(main()) == pytest.approx(33.3)


def test_real_sockets_work_on_it():
    async def greet(conn):
        await conn.send(b"hi")

    async def main():
        async with trews.Server(greet).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                return await conn.read_all()

    assert run(main()) == b"hi"


# -- turned by hand


@pytest.fixture
def detached():
    loop = DetachedLoop()
    yield loop
    loop.close()


def test_a_detached_loop_passes_to_the_next_deadline_and_no_further(detached):
    seen = []
    start = detached.time()
    detached.call_later(5, seen.append, "five")
    detached.call_later(9, seen.append, "nine")
    assert detached.pass_time(start + 7)
    assert (seen, detached.time() - start) == (["five"], 5)
    assert detached.pass_time(start + 7)
    assert (seen, detached.time() - start) == (["five"], 7)
    assert not detached.pass_time(start + 7)


def test_a_detached_loop_says_that_nothing_can_come(detached):
    assert not detached.pass_time(detached.time() + 60)


def test_a_detached_loop_waits_for_threads_in_real_time(detached):
    hold = threading.Event()

    async def main():
        return await detached.run_in_executor(None, hold.wait)

    task = detached.create_task(main())
    detached.settle()
    start = detached.time()
    assert detached.pass_time(start + 3600)
    assert detached.time() - start < 3600  # real time has passed, and that is little
    hold.set()
    while not task.done():
        assert detached.pass_time(start + 3600)
    assert task.result() is True


def test_a_detached_loop_knows_that_its_threads_are_idle(detached):
    future = detached.run_in_executor(None, int)
    while not future.done():
        assert detached.pass_time(detached.time() + 3600)
    detached.settle()
    start = detached.time()
    detached.call_later(3600, print)
    assert detached.pass_time(start + 3600)
    assert detached.time() == start + 3600


def test_a_detached_loop_knows_threads_that_others_have_made(detached):
    waiter = detached.create_future()
    go = threading.Event()

    def work():
        go.wait()
        detached.call_soon_threadsafe(waiter.set_result, None)

    thread = threading.Thread(target=work)
    thread.start()
    until = detached.time() + 3600
    assert detached.pass_time(until)
    go.set()
    while not waiter.done():
        assert detached.pass_time(until)
    thread.join()


def test_a_detached_loop_waits_for_sockets(detached):
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        task = detached.create_task(detached.sock_recv(one, 10))
        detached.settle()
        until = detached.time() + 3600
        assert detached.pass_time(until)
        other.send(b"hi")
        while not task.done():
            assert detached.pass_time(until)
        assert task.result() == b"hi"


def test_a_detached_loop_may_be_told_that_time_is_real(detached):
    detached.is_real = True
    start = detached.time()
    assert detached.pass_time(start + 3600)
    assert detached.time() - start < 3600


def test_a_forgotten_detached_loop_leaves_nothing():
    with no_leaks():
        loop = DetachedLoop()
        loop.call_later(5, print)
        loop.settle()
        del loop
        gc.collect()

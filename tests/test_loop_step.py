"""`loop.step`: one turn at a time, for a program with a main loop of its own."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
from contextlib import closing

import pytest

import trews
from tests.polling import count_polls
from trews import EventLoop, Server
from trews.backends import BACKENDS, READ
from trews.testing import VirtualLoop


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


@pytest.fixture(params=BACKENDS)
def loop(request):
    with closing(EventLoop(request.param)) as made:
        yield made


@pytest.fixture
def virtual():
    with closing(VirtualLoop()) as made:
        yield made


# -- what a turn is


def test_nothing_to_do_is_nothing_done_and_zero_does_not_wait(loop):
    made = count_polls(loop.clock)
    assert loop.step(0) is False
    assert made == [0]


def test_a_turn_runs_what_was_ready_and_leaves_what_that_asked_for_to_the_next(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "second")

    loop.call_soon(first)
    assert loop.step(None) is True  # what is ready is not waited on
    assert seen == ["first"]
    assert loop.step(None) is True
    assert seen == ["first", "second"]
    assert loop.step(0) is False


def test_one_poll_a_turn(loop):
    made = count_polls(loop.clock)
    loop.call_soon(int)
    loop.step(10)
    loop.call_later(0.001, int)
    loop.step(0)
    assert made == [0, 0]


def test_it_waits_no_longer_than_it_may(loop):
    made = count_polls(loop.clock)
    loop.call_later(3600, int).cancel()
    assert loop.step(0.001) is False
    loop.call_later(3600, int)
    assert loop.step(0.001) is False
    assert made == [0.001, 0.001]


def test_a_very_long_time_is_a_day(loop):
    made = count_polls(loop.clock)
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        loop.add_reader(near, int)
        assert loop.step(1e12) is True
        loop.remove_reader(near)
    assert made == [24 * 3600]


def test_a_task_goes_one_step_further_in_each(loop):
    seen = []

    async def count():
        for number in range(3):
            seen.append(number)
            await asyncio.sleep(0)
        return "done"

    task = loop.create_task(count())
    for expected in ([0], [0, 1], [0, 1, 2]):
        assert loop.step(0) is True
        assert seen == expected
    loop.step(0)
    assert task.result() == "done"


def test_until_there_is_nothing_to_do_any_more(loop):
    async def main():
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(100)))
        return "done"

    task = loop.create_task(main())
    while loop.step(0):
        pass
    assert task.result() == "done"


# -- timers


def test_timers_are_never_early_and_a_step_ends_with_the_first(loop):
    begin = loop.time()
    times = []
    for delay in (0.002, 0.004):
        loop.call_later(delay, lambda: times.append(loop.time()))
    assert loop.step(None) is True
    while len(times) < 2:
        loop.step(None)
    for at, delay in zip(times, (0.002, 0.004), strict=True):
        assert at - begin >= delay - loop._clock_resolution


def test_on_virtual_time_timers_are_exact_and_a_step_takes_the_time_it_may(virtual):
    begin = virtual.time()
    seen = []

    async def main():
        trews.after(5, lambda: seen.append(virtual.time() - begin))

    virtual.run_until_complete(main())
    assert virtual.step(2) is False
    assert virtual.time() - begin == 2
    assert virtual.step(0) is False
    assert virtual.step(10) is True
    assert seen == [5]
    assert virtual.step(0) is False


def test_every_zero_is_every_step(loop):
    frames = []

    async def main():
        return trews.every(0, frames.append, 1)

    timer = loop.run_until_complete(main())
    frames.clear()
    for number in range(1, 6):
        assert loop.step(None) is True
        assert len(frames) == number
    timer.cancel()
    while loop.step(0):
        pass
    assert len(frames) == 5


# -- from outside


def test_a_call_from_a_thread_wakes_a_step_that_waits_for_nothing(loop):
    seen = []
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, "woken"))
    loop.call_soon(thread.start)
    loop.step(0)
    while not seen:
        assert loop.step(None) is True
    thread.join()


def test_call_from_thread_finds_a_loop_between_its_steps(loop):
    loop.step(0)
    futures = []
    thread = threading.Thread(target=lambda: futures.append(trews.call_from_thread(threading.get_ident)))
    thread.start()
    thread.join()
    while loop.step(0):
        pass
    assert futures[0].result(0) == threading.get_ident()


def test_a_loop_that_was_stepped_and_closed_is_not_found():
    with closing(EventLoop()) as made:
        made.step(0)
    with pytest.raises(RuntimeError, match="found no running loop"):
        trews.call_from_thread(int)


def test_readers_and_writers_of_other_libraries(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        seen = []
        loop.add_reader(near, lambda: seen.append(near.recv(100)))
        assert loop.step(0) is False
        far.send(b"hello")
        assert loop.step(None) is True
        assert seen == [b"hello"]
        loop.add_writer(near, lambda: (seen.append("writable"), loop.remove_writer(near)))
        assert loop.step(None) is True
        assert seen == [b"hello", "writable"]
        loop.remove_reader(near)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal on this system")
def test_a_signal_handler_is_called(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
    os.kill(os.getpid(), signal.SIGUSR1)
    while not seen:
        loop.step(None)
    loop.remove_signal_handler(signal.SIGUSR1)


# -- connections


def test_an_echo_is_served_and_asked_by_steps_alone(loop):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x" * 60_000)
                return len(await conn.read(framer=60_000))

    task = loop.create_task(main())
    while not task.done():
        loop.step(None)
    assert task.result() == 60_000


def test_a_server_lives_between_frames_with_clients_of_another_thread(loop):
    """The main loop is the program's; the clients block, as other programs would."""
    server = Server(Echo).listen("tcp:127.0.0.1:0")
    loop.run_until_complete(server.start())
    answers = []

    def client():
        with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
            for _ in range(20):
                sock.sendall(b"hello")
                answers.append(sock.recv(5, socket.MSG_WAITALL))

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    frames = 0
    while len(answers) < 60:
        frames += 1
        loop.step(0.01)
    for thread in threads:
        thread.join()

    async def stop():
        return await server.stop()

    assert loop.run_until_complete(stop()).aborted == 0
    assert answers == [b"hello"] * 60
    assert frames > 1


def test_a_virtual_loop_serves_by_steps(virtual):
    async def main():
        async with Server(Echo).listen("memory:steps") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x")
                answer = await conn.read()
                await asyncio.sleep(3600)
                return answer

    task = virtual.create_task(main())
    while not task.done():
        virtual.step(3600)
    assert task.result() == b"x"


def test_a_step_says_so_when_a_connection_had_an_event(loop):
    near, far = socket.socketpair()
    with near, far:

        class Watcher:
            def on_event(self, mask):
                near.recv(100)

        near.setblocking(False)
        loop._poller.watch(near.fileno(), Watcher(), READ)
        far.send(b"x")
        assert loop.step(None) is True
        assert loop.step(0) is False
        loop._poller.watch(near.fileno(), Watcher(), 0)


def test_debug_mode_may_be_turned_on_by_what_a_step_calls(loop):
    near, far = socket.socketpair()
    with near, far:

        class Watcher:
            def on_event(self, mask):
                near.recv(100)
                loop.set_debug(True)

        near.setblocking(False)
        loop._poller.watch(near.fileno(), Watcher(), READ)
        far.send(b"x")
        loop.step(None)
        assert loop.clock.is_reporting
        loop._poller.watch(near.fileno(), Watcher(), 0)


# -- what goes wrong


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["callback", "event"])
def test_an_interrupt_comes_out_and_the_next_step_goes_on(loop, error, where):
    seen = []
    near, far = socket.socketpair()

    def fail():
        raise error

    class Watcher:
        def on_event(self, mask):
            near.recv(100)
            fail()

    with near, far:
        near.setblocking(False)
        if where == "event":
            loop._poller.watch(near.fileno(), Watcher(), READ)
            far.send(b"x")
        else:
            loop.call_soon(fail)
        loop.call_soon(seen.append, "after")
        with pytest.raises(error):
            loop.step(0)
        assert not loop.is_running()
        assert loop._selector is loop._poller
        assert not loop.clock.is_reporting
        while loop.step(0):
            pass
        assert seen == ["after"]
        assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"
        loop._poller.watch(near.fileno(), Watcher(), 0)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread on this system")
def test_ctrl_c_while_it_waits():
    with closing(EventLoop()) as loop:
        thread = threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), signal.SIGINT))
        loop.call_soon(thread.start)
        with pytest.raises(KeyboardInterrupt):
            while True:
                loop.step(None)
        thread.join()
        assert loop.step(0) is False


def test_an_error_in_a_callback_is_logged_as_always(loop, caplog):
    loop.call_soon(lambda: 1 // 0)
    assert loop.step(0) is True
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_loop_that_runs_cannot_be_stepped(loop):
    async def main():
        with pytest.raises(RuntimeError, match=r"loop.step\(\) is for a main loop of your own"):
            loop.step(0)
        other = EventLoop()
        with closing(other), pytest.raises(RuntimeError, match="another loop is running"):
            other.step(0)

    loop.run_until_complete(main())
    assert loop.step(0) is False


def test_a_step_in_a_step_is_refused(loop):
    errors = []

    def again():
        try:
            loop.step(0)
        except RuntimeError as exc:
            errors.append(str(exc))

    loop.call_soon(again)
    loop.step(0)
    assert "this loop is running" in errors[0]
    assert loop.step(0) is False


def test_a_closed_loop_is_refused():
    loop = EventLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="loop is closed"):
        loop.step(0)


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf])
def test_no_time_at_all_is_refused(loop, timeout):
    with pytest.raises(ValueError, match="a time is a finite number of seconds, 0 or more"):
        loop.step(timeout)


def test_stop_is_harmless(loop):
    loop.stop()
    assert loop.step(0) is False
    loop.call_soon(loop.stop)
    assert loop.step(0) is True
    assert loop.run_until_complete(asyncio.sleep(0.001, "runs")) == "runs"

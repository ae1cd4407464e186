"""The dispatcher's `select`: it polls again while the loop has nothing else to do, and only then."""

from __future__ import annotations

import asyncio
import itertools
import os
import selectors
import signal
import socket
import threading
import types
from contextlib import closing, contextmanager

import pytest

from tests.polling import Watcher, pairs
from trews import EventLoop
from trews.backends import READ, WRITE
from trews.dispatcher import Dispatcher

# -- by itself


class Script:
    """A backend that answers what a test says, and nothing from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.timeouts: list[float | None] = []

    def poll(self, timeout):
        self.timeouts.append(timeout)
        return self.answers.pop(0) if self.answers else []

    def register(self, fd, mask):
        pass

    modify = register

    def unregister(self, fd):
        pass


class Turns:
    """A dispatcher with 3 watched descriptors (1 to 3) and a foreign one (9), under a loop that is idle."""

    def __init__(self, *answers):
        self.script = Script(*answers)
        self.loop = types.SimpleNamespace(_ready=[], _scheduled=[], _stopping=False, _timer_cancelled_count=0)
        self.dispatcher = Dispatcher(self.script)
        self.now = 100.0
        self.dispatcher.now = lambda: self.now
        self.dispatcher.loop = self.loop
        self.watchers = {fd: Watcher() for fd in (1, 2, 3)}
        for fd, watcher in self.watchers.items():
            self.dispatcher.watch(fd, watcher, READ)
        self.dispatcher.set_mask(9, READ)
        self.key = self.dispatcher.keys[9] = selectors.SelectorKey(9, 9, selectors.EVENT_READ, None)

    def act(self, what):
        """Have it done by the watcher of 1."""
        self.watchers[1].act = what

    def select(self, timeout=None):
        """What it returns, and after how many polls."""
        return self.dispatcher.select(timeout), len(self.script.timeouts)


ONE = [(1, READ)]


def test_it_polls_again_as_long_as_only_watchers_are_concerned():
    turns = Turns(ONE, [(2, READ)], [(1, READ), (3, READ)])
    assert turns.select() == ([], 4)
    assert [len(watcher.events) for watcher in turns.watchers.values()] == [2, 1, 1]


def test_without_a_loop_it_polls_once():
    turns = Turns(ONE, ONE)
    turns.dispatcher.loop = None
    assert turns.select() == ([], 1)
    assert turns.select() == ([], 2)


def test_a_turn_is_over_when_something_is_ready():
    turns = Turns(ONE, ONE)
    turns.act(lambda: turns.loop._ready.append(1))
    assert turns.select() == ([], 1)


def test_a_turn_is_over_when_the_loop_was_stopped():
    turns = Turns(ONE, ONE)
    turns.act(lambda: setattr(turns.loop, "_stopping", True))
    assert turns.select() == ([], 1)


def test_a_turn_is_over_when_a_foreign_event_came():
    turns = Turns(ONE, [(2, READ), (9, READ)], ONE)
    assert turns.select() == ([(turns.key, selectors.EVENT_READ)], 2)
    assert turns.watchers[2].events == [READ]


def test_a_turn_is_over_when_a_batch_is_not_finished():
    turns = Turns([(1, READ), (2, READ)], ONE)
    turns.act(lambda: setattr(turns, "now", turns.now + 1))
    assert turns.select() == ([], 1)
    assert turns.watchers[2].events == []
    assert turns.select() == ([], 1)  # the rest of it
    assert turns.watchers[2].events == [READ]


def test_a_turn_is_over_when_the_timeout_has_passed():
    turns = Turns(*[ONE] * 9)
    turns.act(lambda: setattr(turns, "now", turns.now + 0.25))
    assert turns.select(1.0) == ([], 4)
    assert turns.script.timeouts == [1.0, 0.75, 0.5, 0.25]  # a timer that is due is not late by other events


def test_a_turn_without_time_is_one_poll():
    turns = Turns(ONE, ONE)
    assert turns.select(0) == ([], 1)


@pytest.mark.parametrize("before", [[], [30]], ids=["no timer yet", "a later one"])
def test_a_turn_is_over_when_a_timer_was_set_that_is_the_next(before):
    turns = Turns(ONE, ONE)
    turns.loop._scheduled[:] = before
    turns.act(lambda: turns.loop._scheduled.insert(0, 10))
    assert turns.select() == ([], 1)


def test_a_later_timer_is_nothing_to_return_for():
    turns = Turns(ONE)
    turns.loop._scheduled[:] = [30]
    turns.act(lambda: turns.loop._scheduled.append(60))
    assert turns.select() == ([], 2)


@pytest.mark.parametrize("fd", [7, 9], ids=["nobody's", "not of that direction"])
def test_an_event_that_is_nobodys_keeps_nobody_from_its_own(fd):
    turns = Turns([(fd, WRITE), (1, READ)])
    assert turns.select() == ([], 2)
    assert turns.watchers[1].events == [READ]


def test_the_tick_is_that_of_the_last_event():
    turns = Turns(ONE)
    turns.act(lambda: setattr(turns, "now", 107.0))
    turns.select()
    assert turns.dispatcher.tick == 107.0


def test_the_tick_of_the_rest_of_a_batch_is_that_of_its_turn():
    turns = Turns([(1, READ), (2, READ)])
    seen = []
    turns.act(lambda: setattr(turns, "now", turns.now + 1))
    turns.watchers[2].act = lambda: seen.append(turns.dispatcher.tick)
    turns.select()
    turns.now = 200.0  # ready callbacks took so long
    turns.select()
    assert seen == [200.0]


# -- the same with a loop


@contextmanager
def busy_loop():
    """A loop with a watcher that is always ready; `act` is what it does."""
    with closing(EventLoop()) as loop, pairs() as make:
        near, far = make()
        far.send(b"x")
        watcher = Watcher()
        loop.clock.watch(near.fileno(), watcher, READ)
        yield loop, watcher
        loop.clock.watch(near.fileno(), watcher, 0)


def at(count, what):
    """Do it at the so many-th call."""
    calls = itertools.count(1)
    return lambda: what() if next(calls) == count else None


def test_the_loop_stops_though_a_watcher_is_always_ready():
    with busy_loop() as (loop, watcher):
        watcher.act = at(50, loop.stop)
        loop.run_forever()
        assert len(watcher.events) == 50


def test_what_a_watcher_asks_for_runs_next():
    with busy_loop() as (loop, watcher):
        watcher.act = at(50, lambda: loop.call_soon(loop.stop))
        loop.run_forever()
        # asyncio stops at the end of the turn in which stop() runs
        assert len(watcher.events) == 50


def test_a_timer_that_a_watcher_sets_is_kept():
    with busy_loop() as (loop, watcher):
        loop.call_later(3600, print)
        watcher.act = at(50, lambda: loop.call_later(0.001, loop.stop))
        loop.run_forever()  # ends
        assert len(watcher.events) >= 50


def test_a_timer_that_was_there_before_is_kept():
    with busy_loop() as (loop, watcher):
        loop.call_later(0.02, loop.stop)
        loop.run_forever()  # ends
        assert watcher.events


def test_a_call_from_a_thread_is_heard():
    with busy_loop() as (loop, watcher):
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
        watcher.act = at(50, thread.start)
        loop.run_forever()  # ends
        thread.join()


def test_a_reader_of_asyncio_is_heard():
    with busy_loop() as (loop, watcher), pairs() as make:
        near, far = make()
        loop.add_reader(near, loop.stop)
        watcher.act = at(50, lambda: far.send(b"x"))
        loop.run_forever()  # ends
        loop.remove_reader(near)


def test_a_task_goes_on_between_the_events():
    with busy_loop() as (loop, _):

        async def main():
            for _ in range(100):
                await asyncio.sleep(0)

        loop.run_until_complete(main())  # ends


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_ends_it_though_a_watcher_is_always_ready():
    with busy_loop() as (loop, watcher):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            watcher.act = at(50, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
            assert len(watcher.events) == 50
            watcher.act = at(10, loop.stop)
            loop.run_forever()
            assert len(watcher.events) == 60
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_handler_of_a_signal_runs_though_a_watcher_is_always_ready():
    with busy_loop() as (loop, watcher):
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        watcher.act = at(50, lambda: signal.raise_signal(signal.SIGUSR1))
        loop.run_forever()  # ends
        loop.remove_signal_handler(signal.SIGUSR1)


def test_cancelled_timers_do_not_pile_up_while_it_polls_again():
    """asyncio forgets them in a turn of its own: a timeout around each read() would leave thousands."""
    with closing(EventLoop()) as loop:
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)

            class Watcher:
                count = 0

                def on_event(self, mask):
                    self.count += 1
                    loop.call_later(3600 + self.count, int).cancel()
                    if self.count == 5000:
                        near.recv(1)
                        loop.stop()

            loop.clock.watch(near.fileno(), Watcher(), READ)
            far.send(b"x")
            loop.call_later(3599, int)  # the next timer stays the same
            loop.run_forever()
            assert len(loop._scheduled) < 1000
            loop.clock.watch(near.fileno(), Watcher(), 0)


def test_what_a_watcher_has_taken_away_is_not_returned():
    """A reader of asyncio's that was ready in the same poll: its socket is closed, or its number somebody else's."""
    with closing(EventLoop()) as loop:
        (near, far), (other, other_far) = socket.socketpair(), socket.socketpair()
        seen = []

        class Watcher:
            def on_event(self, mask):
                near.recv(1)
                loop.remove_reader(other)
                other.close()
                loop.call_soon(loop.stop)

        near.setblocking(False)
        loop.clock.watch(near.fileno(), Watcher(), READ)
        loop.add_reader(other, seen.append, "called")
        far.send(b"x")
        other_far.send(b"x")
        loop.run_forever()
        assert not seen
        loop.clock.watch(near.fileno(), Watcher(), 0)
        for sock in (near, far, other_far):
            sock.close()

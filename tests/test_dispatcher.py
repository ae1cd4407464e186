"""The dispatcher: whose events are delivered, and when a turn is over. (Another poll: test_dispatcher_polls.py.)

Past 400 lines: one test a rule, and all of them ask the same dispatcher of every poller.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import selectors
import socket
from contextlib import closing, contextmanager

import pytest

from tests.polling import NAMES, Watcher, count_polls, kqueue_everywhere, pairs
from trews import EventLoop
from trews.backends import BACKENDS, FAILED, READ, WRITE
from trews.dispatcher import CALLS_A_TURN, Dispatcher


@pytest.fixture(autouse=True)
def _kqueue_everywhere(monkeypatch):
    kqueue_everywhere(monkeypatch)


@pytest.fixture(params=NAMES)
def dispatcher(request):
    with closing(BACKENDS[request.param]()) as backend:
        made = Dispatcher(backend)
        made.now = lambda: 100.0  # a turn ends by time when a test wants it to
        yield made


@pytest.fixture
def pipes():
    with pairs() as make:
        yield make


def foreign_key(dispatcher, sock, events=selectors.EVENT_READ):
    """Register a socket as asyncio does, by way of the poller."""
    fd = sock.fileno()
    dispatcher.set_mask(fd, READ)
    key = dispatcher.keys[fd] = selectors.SelectorKey(sock, fd, events, None)
    return key


# -- watchers


def test_a_watcher_gets_the_events_it_asked_for(dispatcher, pipes):
    near, far = pipes()
    watcher = Watcher()
    dispatcher.watch(near.fileno(), watcher, READ)
    assert dispatcher.select(0) == []
    assert watcher.events == []
    far.send(b"x")
    assert dispatcher.select(None) == []  # it never gets to asyncio
    assert watcher.events == [READ]
    dispatcher.watch(near.fileno(), watcher, READ | WRITE)
    dispatcher.select(0)
    assert watcher.events == [READ, READ | WRITE]
    dispatcher.watch(near.fileno(), watcher, WRITE)
    dispatcher.select(0)
    assert watcher.events[2:] == [WRITE]
    dispatcher.watch(near.fileno(), watcher, 0)
    dispatcher.select(0)
    assert len(watcher.events) == 3


def test_a_hang_up_reaches_a_watcher_that_reads(dispatcher, pipes):
    near, far = pipes()
    watcher = Watcher()
    dispatcher.watch(near.fileno(), watcher, READ)
    far.close()
    dispatcher.select(0)
    assert len(watcher.events) == 1
    assert watcher.events[0] & (READ | FAILED)


def test_unwatching_what_is_not_watched_is_nothing(dispatcher, pipes):
    dispatcher.watch(pipes()[0].fileno(), Watcher(), 0)


def test_a_watched_descriptor_that_was_closed_first_can_be_let_go(dispatcher, pipes):
    near, _ = pipes()
    fd = near.fileno()
    dispatcher.watch(fd, Watcher(), READ)
    near.close()
    dispatcher.watch(fd, Watcher(), 0)
    assert dispatcher.select(0) == []


def test_a_descriptor_that_is_closed_while_it_is_watched_is_not_the_end_of_the_others(dispatcher, pipes):
    (near, far), (closed, _) = pipes(), pipes()
    watcher = Watcher()
    dispatcher.watch(near.fileno(), watcher, READ)
    fd = closed.fileno()
    foreign_key(dispatcher, closed)
    closed.close()
    far.send(b"x")
    dispatcher.select(0)
    dispatcher.select(0)
    assert READ in watcher.events
    dispatcher.unset(fd)


def test_an_event_is_not_delivered_to_who_took_over_the_number(dispatcher, pipes):
    """Two are ready in one batch; the first one's callback closes the other, whose number a third gets."""
    third, third_far = pipes()
    new = Watcher()
    taken = []

    def take_over(victim):
        if not taken:
            number = victim.fileno()
            dispatcher.watch(number, new, 0)
            victim.close()
            os.dup2(third.fileno(), number)
            taken.append(socket.socket(fileno=number))
            dispatcher.watch(number, new, READ)

    (a, a_far), (b, b_far) = pipes(), pipes()
    watchers = [Watcher(lambda: take_over(b)), Watcher(lambda: take_over(a))]
    for near, far, watcher in zip((a, b), (a_far, b_far), watchers, strict=True):
        dispatcher.watch(near.fileno(), watcher, READ)
        far.send(b"x")
    dispatcher.select(0)
    assert taken
    assert new.events == []
    assert sum(len(watcher.events) for watcher in watchers) == 1
    third_far.send(b"x")
    dispatcher.select(0)
    assert new.events == [READ]
    dispatcher.watch(taken[0].fileno(), new, 0)
    taken[0].close()


def test_who_was_unwatched_in_the_same_batch_gets_nothing(dispatcher, pipes):
    watchers = []
    for _ in range(5):
        near, far = pipes()
        watchers.append((near.fileno(), Watcher(lambda: [dispatcher.watch(fd, w, 0) for fd, w in watchers])))
        far.send(b"x")
    for fd, watcher in watchers:
        dispatcher.watch(fd, watcher, READ)
    dispatcher.select(0)
    dispatcher.select(0)
    assert sum(len(watcher.events) for _, watcher in watchers) == 1


# -- a turn


def make_ready(dispatcher, pipes, count, act=lambda: None, watched=None):
    called: list[Watcher] = []
    for _ in range(count):
        near, far = pipes()
        watcher = Watcher()
        watcher.act = lambda watcher=watcher: (called.append(watcher), act())
        dispatcher.watch(near.fileno(), watcher, READ)
        if watched is not None:
            watched[near.fileno()] = watcher
        far.send(b"x")
    return called


def test_a_turn_has_a_budget_of_calls_and_the_rest_waits_for_the_next(dispatcher, pipes):
    called = make_ready(dispatcher, pipes, 150)
    polls = count_polls(dispatcher)
    sizes = []
    for _ in range(3):
        before = len(called)
        dispatcher.select(None)
        sizes.append(len(called) - before)
    assert sizes == [CALLS_A_TURN, CALLS_A_TURN, 150 - 2 * CALLS_A_TURN]
    assert len(polls) == 1  # one poll for the batch
    assert len(set(called)) == 150  # everybody once: nobody is served twice before the others


def test_a_turn_has_a_budget_of_time(dispatcher, pipes):
    now = [100.0]
    dispatcher.now = lambda: now[0]

    def slow():
        now[0] += 0.004

    called = make_ready(dispatcher, pipes, 10, slow)
    dispatcher.select(0)
    assert len(called) == 3  # 4 ms each, 10 ms a turn
    dispatcher.select(0)
    assert len(called) == 6


def test_tick_follows_the_calls(dispatcher, pipes):
    now = [100.0]
    dispatcher.now = lambda: now[0]
    seen = []

    def slow():
        seen.append(dispatcher.tick)
        now[0] += 1

    make_ready(dispatcher, pipes, 2, slow)
    dispatcher.select(0)
    dispatcher.select(0)
    assert seen[:2] == [100, 101]


def test_what_is_ready_runs_between_the_parts_of_a_batch():
    with closing(EventLoop()) as loop, many_ready(loop, 200) as (called, _):
        seen = []

        def look():
            seen.append(len(called))
            if len(called) < 200:
                loop.call_soon(look)
            else:
                loop.stop()

        loop.call_soon(look)
        loop.run_forever()
        assert max(after - before for before, after in itertools.pairwise(seen)) <= CALLS_A_TURN
        assert len(seen) >= 4


def test_timers_are_not_starved_by_connections_that_are_always_ready():
    with closing(EventLoop()) as loop, many_ready(loop, 200) as (called, _):
        loop.call_later(0.02, loop.stop)
        loop.run_forever()  # ends, though every watcher stays ready: nobody reads
        assert called


@contextmanager
def many_ready(loop, count):
    pairs = [socket.socketpair() for _ in range(count)]
    called = []
    for near, far in pairs:
        far.send(b"x")
        watcher = Watcher(lambda: called.append(1))
        loop.clock.watch(near.fileno(), watcher, READ)
    try:
        yield called, pairs
    finally:
        for near, far in pairs:
            loop.clock.watch(near.fileno(), watcher, 0)
            near.close()
            far.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_watcher_loses_nothing_and_leaves_a_usable_loop(error):
    class Protocol(asyncio.Protocol):
        def __init__(self):
            self.data = b""

        def data_received(self, data):
            self.data += data
            if data == b"!" and not interrupted:
                interrupted.append(self)
                raise error

    interrupted: list[Protocol] = []
    with closing(EventLoop()) as loop:

        async def connect():
            near, far = socket.socketpair()
            transport, protocol = await loop.create_connection(Protocol, sock=near)
            return transport, protocol, far

        made = [loop.run_until_complete(connect()) for _ in range(10)]
        for _, _, far in made:
            far.send(b"!")
        with pytest.raises(error):
            loop.run_forever()
        for _, _, far in made:
            far.send(b"x")
        while any(protocol.data != b"!x" for _, protocol, _ in made):
            loop.run_until_complete(asyncio.sleep(0))
        for transport, _, far in made:
            transport.abort()
            far.close()
        loop.run_until_complete(asyncio.sleep(0))
        assert len(interrupted) == 1


def test_foreign_and_own_events_of_one_poll_are_both_served(dispatcher, pipes):
    (own, own_far), (foreign, foreign_far) = pipes(), pipes()
    watcher = Watcher()
    dispatcher.watch(own.fileno(), watcher, READ)
    key = foreign_key(dispatcher, foreign)
    own_far.send(b"x")
    foreign_far.send(b"x")
    assert dispatcher.select(0) == [(key, selectors.EVENT_READ)]
    assert watcher.events == [READ]


def test_calls_are_counted(dispatcher, pipes):
    make_ready(dispatcher, pipes, 3)
    foreign, far = pipes()
    foreign_key(dispatcher, foreign)
    far.send(b"x")
    before = dispatcher.calls
    dispatcher.select(0)
    assert dispatcher.calls == before + 3  # what asyncio gets is not counted


def test_calls_are_reported_with_their_time(dispatcher, pipes):
    now = [100.0]
    dispatcher.now = lambda: now[0]
    reports = []

    def slow():
        now[0] += 0.25

    called = make_ready(dispatcher, pipes, 2, slow)
    assert not dispatcher.is_reporting
    dispatcher.report_calls(lambda watcher, seconds: reports.append((watcher, seconds)))
    assert dispatcher.is_reporting
    dispatcher.select(0)
    assert len(called) == 1  # a turn ends by time here too
    dispatcher.select(0)
    assert reports == [(watcher, 0.25) for watcher in called]
    dispatcher.report_calls(None)
    dispatcher.select(0)
    assert len(reports) == 2


def test_who_is_not_called_is_not_reported(dispatcher, pipes):
    watchers = {}
    for _ in range(2):
        near, far = pipes()
        watchers[near.fileno()] = Watcher(lambda: [dispatcher.watch(fd, w, 0) for fd, w in watchers.items()])
        far.send(b"x")
    for fd, watcher in watchers.items():
        dispatcher.watch(fd, watcher, READ)
    reports = []
    dispatcher.report_calls(lambda watcher, seconds: reports.append(watcher))
    dispatcher.select(0)
    assert [watcher.events for watcher in reports] == [[READ]]


# -- descriptors that change hands while a batch is handed out


@pytest.mark.parametrize("same", [True, False], ids=["the same watcher", "another watcher"])
def test_who_is_watched_again_in_a_batch_has_its_event_with_the_next_poll(dispatcher, pipes, same):
    ends = [pipes(), pipes()]
    others = {}

    def again(me, victim):
        """Whoever is called first unwatches the other and watches it again."""
        if not others:
            fd = ends[victim][0].fileno()
            others[fd] = watchers[victim] if same else Watcher()
            dispatcher.watch(fd, watchers[victim], 0)
            dispatcher.watch(fd, others[fd], READ)
            ends[me][0].recv(9)

    watchers = [Watcher(lambda: again(0, 1)), Watcher(lambda: again(1, 0))]
    for (near, far), watcher in zip(ends, watchers, strict=True):
        dispatcher.watch(near.fileno(), watcher, READ)
        far.send(b"x")
    dispatcher.select(0)
    ((fd, other),) = others.items()
    assert other.events == []
    dispatcher.select(0)
    assert other.events == [READ]
    assert dispatcher.has_watcher(fd)


def test_who_is_watched_again_while_a_batch_waits_for_its_turn_gets_nothing_of_it(dispatcher, pipes):
    now = [100.0]
    dispatcher.now = lambda: now[0]

    def slow():
        now[0] += 1

    watched = {}
    called = make_ready(dispatcher, pipes, 3, slow, watched)
    dispatcher.select(0)
    assert len(called) == 1
    polls = count_polls(dispatcher)
    for fd, watcher in watched.items():
        dispatcher.watch(fd, watcher, 0)
        dispatcher.watch(fd, watcher, READ)
    dispatcher.select(0)
    assert (len(called), polls) == (1, [])  # the rest of the batch, which is nobody's now
    dispatcher.select(0)
    assert (len(called), polls) == (2, [0])


def test_a_watcher_that_takes_the_place_of_another_gets_its_events(dispatcher, pipes):
    """Without being unwatched: a handover of the same socket."""
    near, far = pipes()
    first, second = Watcher(), Watcher()
    dispatcher.watch(near.fileno(), first, READ)
    far.send(b"x")
    dispatcher.watch(near.fileno(), second, READ)
    dispatcher.select(0)
    assert (first.events, second.events) == ([], [READ])


def test_cleared_it_knows_nobody(dispatcher, pipes):
    near, far = pipes()
    watcher = Watcher()
    dispatcher.watch(near.fileno(), watcher, READ)
    far.send(b"x")
    dispatcher.clear()
    assert not dispatcher.has_watcher(near.fileno())
    dispatcher.select(0)
    assert watcher.events == []

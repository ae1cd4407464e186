"""The poller: whose events are delivered, when a turn is over, and that nothing is lost or spun on."""

from __future__ import annotations

import asyncio
import itertools
import os
import selectors
import socket
import struct
import time
from contextlib import closing, contextmanager

import pytest

from tests import kqueue
from trews import EventLoop
from trews.backends import BACKENDS, FAILED, READ, WRITE, _Kqueue
from trews.dispatcher import CALLS_A_TURN
from trews.poller import Poller

NAMES = list(dict.fromkeys([*BACKENDS, "kqueue"]))
EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _kqueue_everywhere(monkeypatch):
    """Where there is none an imitation stands for it: see tests/kqueue.py."""
    if "kqueue" not in BACKENDS:
        kqueue.install(monkeypatch)
        monkeypatch.setitem(BACKENDS, "kqueue", _Kqueue)


@pytest.fixture(params=NAMES)
def poller(request):
    with closing(Poller(request.param)) as made:
        made.dispatcher.now = lambda: 100.0  # a turn ends by time when a test wants it to
        yield made


@pytest.fixture
def pipes():
    """Makes connected, non-blocking pairs of sockets and closes them all."""
    made = []

    def make():
        pair = socket.socketpair()
        for end in pair:
            end.setblocking(False)
        made.extend(pair)
        return pair

    yield make
    for end in made:
        end.close()


class Watcher:
    """Notes its events, and does something at each."""

    def __init__(self, act=lambda: None):
        self.events: list[int] = []
        self.act = act

    def on_event(self, mask):
        self.events.append(mask)
        self.act()


def count_polls(poller: Poller) -> list[float | None]:
    """The timeouts of the polls that were made since."""
    polls: list[float | None] = []
    real = poller.dispatcher.poll

    def poll(timeout):
        polls.append(timeout)
        return real(timeout)

    poller.dispatcher.poll = poll
    return polls


# -- which one


def test_the_best_poller_is_taken_and_the_name_can_be_asked():
    with closing(Poller()) as best, closing(EventLoop()) as loop:
        assert best.name == loop.poller == next(iter(BACKENDS))


@EVERY
def test_a_poller_can_be_forced_by_name_or_as_an_object(name):
    with closing(EventLoop(name)) as loop:
        assert loop.poller == name
    with closing(EventLoop(Poller(name))) as loop:
        assert loop.poller == name


def test_an_unknown_poller_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no poller 'iocp' on this machine; there are: .*select"):
        Poller("iocp")


# -- watchers


def test_a_watcher_gets_the_events_it_asked_for(poller, pipes):
    near, far = pipes()
    watcher = Watcher()
    poller.watch(near.fileno(), watcher, READ)
    assert poller.select(0) == []
    assert watcher.events == []
    far.send(b"x")
    assert poller.select(None) == []  # it never gets to asyncio
    assert watcher.events == [READ]
    poller.watch(near.fileno(), watcher, READ | WRITE)
    poller.select(0)
    assert watcher.events == [READ, READ | WRITE]
    poller.watch(near.fileno(), watcher, WRITE)
    poller.select(0)
    assert watcher.events[2:] == [WRITE]
    poller.watch(near.fileno(), watcher, 0)
    poller.select(0)
    assert len(watcher.events) == 3


def test_a_hang_up_reaches_a_watcher_that_reads(poller, pipes):
    near, far = pipes()
    watcher = Watcher()
    poller.watch(near.fileno(), watcher, READ)
    far.close()
    poller.select(0)
    assert len(watcher.events) == 1
    assert watcher.events[0] & (READ | FAILED)


def test_unwatching_what_is_not_watched_is_nothing(poller, pipes):
    poller.watch(pipes()[0].fileno(), Watcher(), 0)


def test_a_watched_descriptor_that_was_closed_first_can_be_let_go(poller, pipes):
    near, _ = pipes()
    fd = near.fileno()
    poller.watch(fd, Watcher(), READ)
    near.close()
    poller.watch(fd, Watcher(), 0)
    assert poller.select(0) == []


def test_a_descriptor_that_is_closed_while_it_is_watched_is_not_the_end_of_the_others(poller, pipes):
    (near, far), (closed, _) = pipes(), pipes()
    watcher = Watcher()
    poller.watch(near.fileno(), watcher, READ)
    fd = closed.fileno()
    poller.register(closed, selectors.EVENT_READ)
    closed.close()
    far.send(b"x")
    poller.select(0)
    poller.select(0)
    assert READ in watcher.events
    poller.unregister(fd)


def test_an_event_is_not_delivered_to_who_took_over_the_number(poller, pipes):
    """Two are ready in one batch; the first one's callback closes the other, whose number a third gets."""
    third, third_far = pipes()
    new = Watcher()
    taken = []

    def take_over(victim):
        if not taken:
            number = victim.fileno()
            poller.watch(number, new, 0)
            victim.close()
            os.dup2(third.fileno(), number)
            taken.append(socket.socket(fileno=number))
            poller.watch(number, new, READ)

    (a, a_far), (b, b_far) = pipes(), pipes()
    watchers = [Watcher(lambda: take_over(b)), Watcher(lambda: take_over(a))]
    for near, far, watcher in zip((a, b), (a_far, b_far), watchers, strict=True):
        poller.watch(near.fileno(), watcher, READ)
        far.send(b"x")
    poller.select(0)
    assert taken
    assert new.events == []
    assert sum(len(watcher.events) for watcher in watchers) == 1
    third_far.send(b"x")
    poller.select(0)
    assert new.events == [READ]
    poller.watch(taken[0].fileno(), new, 0)
    taken[0].close()


def test_who_was_unwatched_in_the_same_batch_gets_nothing(poller, pipes):
    watchers = []
    for _ in range(5):
        near, far = pipes()
        watchers.append((near.fileno(), Watcher(lambda: [poller.watch(fd, w, 0) for fd, w in watchers])))
        far.send(b"x")
    for fd, watcher in watchers:
        poller.watch(fd, watcher, READ)
    poller.select(0)
    poller.select(0)
    assert sum(len(watcher.events) for _, watcher in watchers) == 1


# -- a turn


def make_ready(poller, pipes, count, act=lambda: None):
    called: list[Watcher] = []
    for _ in range(count):
        near, far = pipes()
        watcher = Watcher()
        watcher.act = lambda watcher=watcher: (called.append(watcher), act())
        poller.watch(near.fileno(), watcher, READ)
        far.send(b"x")
    return called


def test_a_turn_has_a_budget_of_calls_and_the_rest_waits_for_the_next(poller, pipes):
    called = make_ready(poller, pipes, 150)
    polls = count_polls(poller)
    sizes = []
    for _ in range(3):
        before = len(called)
        poller.select(None)
        sizes.append(len(called) - before)
    assert sizes == [CALLS_A_TURN, CALLS_A_TURN, 150 - 2 * CALLS_A_TURN]
    assert len(polls) == 1  # one poll for the batch
    assert len(set(called)) == 150  # everybody once: nobody is served twice before the others


def test_a_turn_has_a_budget_of_time(poller, pipes):
    now = [100.0]
    poller.dispatcher.now = lambda: now[0]

    def slow():
        now[0] += 0.004

    called = make_ready(poller, pipes, 10, slow)
    poller.select(0)
    assert len(called) == 3  # 4 ms each, 10 ms a turn
    poller.select(0)
    assert len(called) == 6


def test_tick_follows_the_calls(poller, pipes):
    now = [100.0]
    poller.dispatcher.now = lambda: now[0]
    seen = []

    def slow():
        seen.append(poller.dispatcher.tick)
        now[0] += 1

    make_ready(poller, pipes, 2, slow)
    poller.select(0)
    poller.select(0)
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
        loop._poller.watch(near.fileno(), watcher, READ)
    try:
        yield called, pairs
    finally:
        for near, far in pairs:
            loop._poller.watch(near.fileno(), watcher, 0)
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


def test_timeouts_are_rounded_up_so_that_no_timer_spins(poller):
    polls = count_polls(poller)
    begin = time.monotonic()
    poller.select(0.0011)
    assert time.monotonic() - begin >= 0.0011
    assert polls == [0.0011]


# -- the selectors interface, for asyncio


def test_foreign_events_come_back_as_keys(poller, pipes):
    near, far = pipes()
    key = poller.register(near, selectors.EVENT_READ, "data")
    assert poller.get_key(near) == poller.get_key(near.fileno()) == key
    assert poller.select(0) == []
    far.send(b"x")
    assert poller.select(0) == [(key, selectors.EVENT_READ)]
    key = poller.modify(near, selectors.EVENT_READ | selectors.EVENT_WRITE, "more")
    assert poller.select(0) == [(key, selectors.EVENT_READ | selectors.EVENT_WRITE)]
    assert poller.unregister(near) == key
    assert poller.select(0) == []
    with pytest.raises(KeyError):
        poller.get_key(near)


def test_the_map_knows_keys_by_object_and_by_number(poller, pipes):
    """asyncio of Python 3.13 asks it with whatever add_reader was given."""
    near, _ = pipes()
    keys = poller.get_map()
    assert keys.get(near) is None
    assert len(keys) == 0
    key = poller.register(near, selectors.EVENT_READ)
    assert keys[near] == keys[near.fileno()] == keys.get(near) == keys.get(near.fileno()) == key
    assert dict(keys) == {near.fileno(): key}
    assert near in keys
    near.close()
    assert keys.get(near) == key
    poller.unregister(near)
    with pytest.raises(ValueError, match="Invalid file descriptor"):
        keys.get(near)


def test_a_hang_up_is_an_event_for_whoever_asked_for_either_direction(poller, pipes):
    for events in (selectors.EVENT_READ, selectors.EVENT_WRITE):
        near, far = pipes()
        poller.register(near, events)
        far.close()
        assert [(key.fd, mask) for key, mask in poller.select(0)] == [(near.fileno(), events)]
        poller.unregister(near)


def test_misuse_is_refused_as_by_selectors(poller, pipes):
    near, _ = pipes()
    with pytest.raises(ValueError, match="Invalid events"):
        poller.register(near, 0)
    with pytest.raises(ValueError, match="Invalid file descriptor"):
        poller.register(-1, selectors.EVENT_READ)
    poller.register(near, selectors.EVENT_READ)
    with pytest.raises(KeyError, match="already registered"):
        poller.register(near, selectors.EVENT_READ)
    with pytest.raises(KeyError):
        poller.modify(pipes()[0], selectors.EVENT_READ)
    near.close()
    poller.unregister(near)  # by the object, though its number is gone


def test_foreign_and_own_events_of_one_poll_are_both_served(poller, pipes):
    (own, own_far), (foreign, foreign_far) = pipes(), pipes()
    watcher = Watcher()
    poller.watch(own.fileno(), watcher, READ)
    key = poller.register(foreign, selectors.EVENT_READ)
    own_far.send(b"x")
    foreign_far.send(b"x")
    assert poller.select(0) == [(key, selectors.EVENT_READ)]
    assert watcher.events == [READ]


# -- paused, and gone


@EVERY
def test_a_reset_while_paused_does_not_spin(name):
    with closing(EventLoop(name)) as loop, socket.create_server(("127.0.0.1", 0)) as server:

        async def main():
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
            near.setblocking(False)
            lost = loop.create_future()

            class Protocol(asyncio.Protocol):
                def connection_lost(self, exc):
                    lost.set_result(exc)

            transport, _ = await loop.create_connection(Protocol, sock=near)
            await asyncio.sleep(0)
            transport.pause_reading()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            for _ in range(3):
                await asyncio.sleep(0)
                # Its descriptor is not there at all: HUP is reported whatever is asked for.
                assert near.fileno() not in {fd for fd, _ in loop.clock.poll(0)}
            assert not lost.done()
            transport.resume_reading()
            assert isinstance(await lost, ConnectionResetError)

        loop.run_until_complete(main())


@EVERY
def test_an_echo_works_on_every_poller(name):
    async def main():
        async def echo(reader, writer):
            while data := await reader.read(100_000):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        data = os.urandom(1_000_000)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=lambda: EventLoop(name)) as runner:
        runner.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, where there are threads
@EVERY
def test_a_forked_child_has_a_poller_of_its_own(name, pipes):
    near, far = pipes()
    with closing(Poller(name)) as poller:
        watcher = Watcher()
        poller.watch(near.fileno(), watcher, READ)
        pid = os.fork()
        if not pid:
            try:
                poller.watch(near.fileno(), watcher, 0)  # would make the parent deaf on a shared epoll
                near.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        far.send(b"x")
        poller.select(0)
        assert watcher.events == [READ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@EVERY
def test_a_forked_child_goes_on_with_its_poller(name, pipes):
    near, far = pipes()
    with closing(Poller(name)) as poller:
        watcher = Watcher()
        poller.watch(near.fileno(), watcher, READ)
        pid = os.fork()
        if not pid:
            try:
                far.send(b"x")
                poller.select(None)
                os._exit(len(watcher.events))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        poller.select(0)
        assert watcher.events == [READ]

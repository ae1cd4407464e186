"""The poller: which one, what asyncio asks of it, and that nothing is lost or spun on. Turns are the dispatcher's."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import struct
import time
from contextlib import closing

import pytest

from tests.polling import NAMES, Watcher, count_polls, kqueue_everywhere, pairs
from trews import EventLoop
from trews.backends import BACKENDS, READ
from trews.poller import Poller

EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _kqueue_everywhere(monkeypatch):
    kqueue_everywhere(monkeypatch)


@pytest.fixture(params=NAMES)
def poller(request):
    with closing(Poller(request.param)) as made:
        yield made


@pytest.fixture
def pipes():
    with pairs() as make:
        yield make


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


# -- waiting


def test_timeouts_are_rounded_up_so_that_no_timer_spins(poller):
    polls = count_polls(poller.dispatcher)
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

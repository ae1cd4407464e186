"""What is particular to a backend of the poller: select's limit, kqueue's filters. The rest is in test_poller.py."""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
import sys
from contextlib import closing

import pytest

from tests import kqueue
from trews import EventLoop
from trews.backends import BACKENDS, READ, WRITE, _Kqueue
from trews.poller import Poller


@pytest.fixture(autouse=True)
def _kqueue_everywhere(monkeypatch):
    """Where there is none an imitation stands for it: see tests/kqueue.py."""
    if "kqueue" not in BACKENDS:
        kqueue.install(monkeypatch)
        monkeypatch.setitem(BACKENDS, "kqueue", _Kqueue)


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


# -- select


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors there are no small numbers")
def test_select_refuses_a_descriptor_that_it_cannot_watch_and_goes_on_with_the_others(pipes):
    """In the poll it would be an error for all. Only who is in question is told, or ended."""
    (near, far), (other, _) = pipes(), pipes()
    reasons = []

    class Refused(asyncio.Protocol):
        def connection_lost(self, exc):
            reasons.append(exc.errno)

    with closing(EventLoop("select")) as loop:
        high = dup_above(other, 1100)
        if high is None:
            pytest.skip("no descriptor from 1024 on may be open here")
        with closing(high):
            with pytest.raises(OSError, match="cannot watch descriptors from 1024 on"):
                loop.add_reader(high, int)
        loop.attach_stream(dup_above(other, 1100), Refused())
        seen = []
        loop.add_reader(near, lambda: seen.append(near.recv(1)))
        far.send(b"x")
        while not (seen and reasons):
            loop.step(None)
        loop.remove_reader(near)
    assert (seen, reasons) == ([b"x"], [errno.EMFILE])


def dup_above(sock, least):
    """The same socket under a number from `least` on; None where the process may have no such."""
    import fcntl

    try:
        fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, least)
    except OSError:
        return None
    made = socket.socket(fileno=fd)
    made.setblocking(False)
    return made


# -- kqueue


@pytest.fixture
def queue():
    with closing(_Kqueue()) as made:
        yield made


def test_a_kqueue_has_a_filter_for_each_direction_that_is_asked_for(queue, pipes):
    near, far = pipes()
    fd = near.fileno()
    queue.register(fd, READ)
    assert queue.poll(0) == []
    far.send(b"x")
    assert queue.poll(None) == [(fd, READ)]
    assert queue.poll(0) == [(fd, READ)]  # level-triggered
    queue.modify(fd, READ | WRITE)
    assert queue.poll(0) == [(fd, READ | WRITE)]
    queue.modify(fd, WRITE)
    assert queue.poll(0) == [(fd, WRITE)]
    queue.modify(fd, 0)
    assert queue.poll(0) == []
    queue.modify(fd, READ)
    queue.unregister(fd)
    assert queue.poll(0) == []


def test_a_kqueue_tells_both_directions_of_an_end(queue, pipes):
    near, far = pipes()
    queue.register(near.fileno(), READ | WRITE)
    far.close()
    assert queue.poll(0) == [(near.fileno(), READ | WRITE)]
    assert near.recv(1) == b""


def test_a_kqueue_forgets_a_descriptor_that_was_closed(queue, pipes):
    near, far = pipes()
    fd = near.fileno()
    queue.register(fd, READ | WRITE)
    far.send(b"x")
    near.close()
    assert queue.poll(0) == []
    with pytest.raises(OSError):
        queue.unregister(fd)  # which the poller takes as done
    assert queue.poll(0) == []
    third, third_far = pipes()
    if third.fileno() == fd:
        queue.register(fd, READ)
        assert queue.poll(0) == []
        third_far.send(b"x")
        assert queue.poll(0) == [(fd, READ)]


class OneWay:
    """A queue that refuses to watch for room to write: pipes that nobody reads are like that."""

    def __init__(self):
        self.filters = set()

    def control(self, changes, room, timeout):
        for change in changes:
            if change.flags & kqueue.KQ_EV_ADD and change.filter == kqueue.KQ_FILTER_WRITE:
                raise BrokenPipeError
            if change.flags & kqueue.KQ_EV_ADD:
                self.filters.add((change.ident, change.filter))
            else:
                self.filters.remove((change.ident, change.filter))
        return []

    def close(self):
        pass


def test_what_a_kqueue_takes_only_half_of_is_not_registered(queue):
    queue._queue.close()
    queue._queue = OneWay()
    with pytest.raises(BrokenPipeError):
        queue.register(5, READ | WRITE)
    assert queue._queue.filters == set()
    queue.register(5, READ)
    with pytest.raises(BrokenPipeError):
        queue.modify(5, READ | WRITE)
    assert queue._queue.filters == {(5, kqueue.KQ_FILTER_READ)}
    queue.unregister(5)
    assert queue._queue.filters == set()


def test_a_pipe_that_nobody_reads_is_an_error_where_it_is_registered():
    """On kqueue; the others report it as an event."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with closing(Poller("kqueue")) as poller:
            with pytest.raises(BrokenPipeError):
                poller.register(writer, selectors.EVENT_WRITE)
            assert len(poller.get_map()) == 0
            assert poller.select(0) == []
    finally:
        os.close(writer)

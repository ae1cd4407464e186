"""When a core says that the peer took a byte: of what is written in an event, when that is over."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.tlspeer import contexts, secured, settle
from tests.transport.cores import Case, Sock
from tests.transport.streams import on_ours
from trews.backends import READ
from trews.dispatcher import Dispatcher
from trews.transport.core import StreamCore
from trews.transport.tls import TLSSocket


class Event:
    """A core that a dispatcher polls for; `event` is one for it, at 5.0, and it is 9.0 when that is over."""

    def __init__(self):
        self.case = Case()
        self.dispatcher = Dispatcher(self)
        self.times = [5.0, 9.0]
        self.dispatcher.now = self.now
        self.case.clock = self.dispatcher
        self.core = StreamCore(self.case.sock, self.dispatcher, self.case, self.case)
        self.core.data_received = self.received
        self.core.starting = False
        self.core.watch()
        self.case.sock.incoming = [b"abc"]
        self.wrote: list[float] = []

    def register(self, fd, mask):
        pass

    modify = register

    def poll(self, timeout):
        return [(7, READ)]

    def now(self):
        return self.times.pop(0)

    def received(self, data):
        self.core.write(data)
        self.wrote.append(self.core.sent_at)

    def event(self):
        assert self.dispatcher.select(None) == []


@pytest.fixture
def event():
    return Event()


def test_what_is_written_in_its_own_event_is_stamped_when_that_is_over(event):
    """The clock is read then in any case; and code that took long before it wrote was not the peer's silence."""
    event.event()
    assert event.case.sock.sent == b"abc"
    assert (event.core.heard_at, event.core.sent_at, event.times) == (5.0, 9.0, [])


def test_an_event_without_a_write_stamps_none(event):
    event.core.data_received = lambda data: None
    before = event.core.sent_at
    event.event()
    assert (event.core.heard_at, event.core.sent_at) == (5.0, before)


def test_what_waits_in_its_own_event_is_stamped_at_once(event):
    """Its deadline counts from there, and not from when the event is over."""
    event.case.sock.takes = [2]
    event.times.insert(1, 6.0)
    event.event()
    assert (event.wrote, event.core.sent_at, event.times) == ([6.0], 6.0, [])


def test_a_write_and_then_one_that_waits(event):
    def received(data):
        event.core.write(b"all of it")
        event.core.write(b"not")

    event.core.data_received = received
    event.case.sock.takes = [9, BlockingIOError()]
    event.times.insert(1, 6.0)
    event.event()
    assert (event.core.waiting, event.core.sent_at) == (3, 6.0)


def test_what_is_written_to_another_in_an_event_is_stamped_at_once(event):
    other = StreamCore(Sock(), event.dispatcher, event.case, event.case)
    event.core.data_received = other.write
    event.times.insert(1, 6.0)
    event.event()
    assert other.sent_at == 6.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_event_that_is_interrupted_leaves_no_stamp_for_the_next(event, error):
    def interrupted(data):
        event.core.write(data)
        raise error

    event.core.data_received = interrupted
    with pytest.raises(error):
        event.event()
    assert (event.dispatcher.current, event.dispatcher.has_written) == (None, False)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_on_a_real_loop(is_tls):
    """Over TLS the dispatcher calls what is below, which says whose event it is."""
    client, server = contexts()
    seen = []

    class Late(trews.Connection):
        def on_read(self, data):
            self.write(data)
            core, dispatcher = self._transport.core, asyncio.get_running_loop().clock
            seen.append((core, dispatcher.current is core, dispatcher.has_written, core.sent_at, dispatcher.now()))

    async def main():
        scheme, options = ("tls", {"tls_context": server}) if is_tls else ("tcp", {})
        async with trews.Server(Late, **options).listen(f"{scheme}:127.0.0.1:0") as listening:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                listening.port,
                ssl=client if is_tls else None,
                server_hostname="localhost" if is_tls else None,
            )
            for _ in range(3):
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
            (core, *_) = seen[-1]
            stamps = [before for _, _, _, before, _ in seen[1:]] + [core.sent_at]
            writer.close()
        for (_, is_current, has_written, _, written_at), stamp in zip(seen, stamps, strict=True):
            assert is_current
            assert has_written
            assert stamp >= written_at

    trews.run(main())
    assert isinstance(seen[0][0].sock, TLSSocket) is is_tls


@on_ours
async def test_an_event_outside_of_a_poll_is_nobody_s():
    """Of sockets in memory the loop itself tells, and nobody would stamp later what is written there."""
    loop = asyncio.get_running_loop()
    async with secured() as (connection, peer):
        core = connection._transport.core
        seen = []

        def on_read(data):
            connection.write(data)
            seen.append((core.dispatcher is loop.clock, loop.clock.current, loop.clock.has_written, core.sent_at))

        connection.on_read = on_read
        begin = loop.time()
        await peer.send(peer.seal(b"ping"))
        await settle()
        ((*state, sent_at),) = seen
        assert state == [True, None, False]
        assert sent_at >= begin

"""Another loop's transport with the face of a socket: what a socket would do, and what a poller would tell."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.clients import LOOPS
from tests.servers import turns
from trews.backends import FAILED, READ, WRITE
from trews.transport.adapter import HIGH, TransportSocket
from trews.transport.memory import MemorySocket


class Pipe:
    """A transport in the test's hands."""

    def __init__(self):
        self.calls, self.written, self.waiting, self.is_stuck = [], [], 0, False
        self.protocol = None

    def __getattr__(self, name):
        return lambda *args: self.calls.append(name)

    def set_protocol(self, protocol):
        self.protocol = protocol

    def is_reading(self):
        return True

    def write(self, data):
        self.written.append(bytes(data))
        if self.is_stuck:
            self.waiting += len(data)
            self.protocol.pause_writing()

    def flush(self):
        self.waiting = 0
        self.is_stuck = False
        self.protocol.resume_writing()

    def get_write_buffer_size(self):
        return self.waiting

    def can_write_eof(self):
        return True

    def get_extra_info(self, name, default=None):
        return None


class Watcher:
    def __init__(self):
        self.events = []

    def on_event(self, ready):
        self.events.append(ready)


def on_one_loop(test):
    async def main():
        pipe, watcher = Pipe(), Watcher()
        adapter = TransportSocket(asyncio.get_running_loop())
        adapter.take(pipe)
        await test(adapter, pipe, watcher)

    def run():
        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


# -- as a socket


@on_one_loop
async def test_receiving(adapter, pipe, watcher):
    with pytest.raises(BlockingIOError):
        adapter.recv(10)
    adapter.data_received(b"hello ")
    adapter.data_received(b"world")
    assert adapter.recv(8) == b"hello wo"
    assert adapter.recv(100) == b"rld"
    assert adapter.eof_received()  # the transport stays open
    assert adapter.recv(100) == b""


@on_one_loop
async def test_what_has_come_before_the_end_comes_first(adapter, pipe, watcher):
    adapter.data_received(b"last")
    adapter.connection_lost(ConnectionResetError())
    assert adapter.recv(100) == b"last"
    with pytest.raises(ConnectionResetError):
        adapter.recv(100)
    with pytest.raises(ConnectionResetError):
        adapter.send(b"x")


@on_one_loop
async def test_a_transport_that_somebody_else_closed(adapter, pipe, watcher):
    adapter.connection_lost(None)
    with pytest.raises(ConnectionAbortedError, match="closed under the connection"):
        adapter.recv(100)


@on_one_loop
async def test_a_transport_that_ends_after_the_peer_did(adapter, pipe, watcher):
    adapter.eof_received()
    adapter.connection_lost(None)
    assert adapter.recv(100) == b""


@on_one_loop
async def test_sending_is_all_or_nothing(adapter, pipe, watcher):
    assert adapter.send(b"all") == 3
    pipe.is_stuck = True
    with pytest.raises(BlockingIOError):
        adapter.send(b"nothing yet")
    with pytest.raises(BlockingIOError):
        adapter.send(b"nothing yet")
    pipe.flush()
    assert adapter.send(b"nothing yet and more") == len(b"nothing yet")  # it was given to the transport once
    assert pipe.written == [b"all", b"nothing yet"]
    assert adapter.send(b" and more") == 9


@on_one_loop
async def test_a_transport_that_is_full_when_it_is_taken(adapter, pipe, watcher):
    pipe.waiting = 100
    adapter.take(pipe)
    with pytest.raises(BlockingIOError):
        adapter.send(b"x")
    assert pipe.written == []
    pipe.flush()
    assert adapter.send(b"x") == 1


@on_one_loop
async def test_the_end_of_sending(adapter, pipe, watcher):
    adapter.shutdown(socket.SHUT_WR)
    assert "write_eof" in pipe.calls


@on_one_loop
async def test_closing(adapter, pipe, watcher):
    adapter.close()
    adapter.close()
    assert pipe.calls.count("abort") == 1
    assert "close" not in pipe.calls


@on_one_loop
async def test_closing_over_what_is_still_to_be_sent(adapter, pipe, watcher):
    """Two seconds are given to it, as the kernel would: it may be an alert."""
    pipe.is_stuck = True
    with pytest.raises(BlockingIOError):
        adapter.send(b"alert")
    adapter.close()
    assert pipe.calls[-1] == "close"


@on_one_loop
async def test_a_reset_gives_no_time(adapter, pipe, watcher):
    pipe.is_stuck = True
    with pytest.raises(BlockingIOError):
        adapter.send(b"much")
    adapter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    adapter.close()
    assert pipe.calls[-1] == "abort"


# -- as a poller


@on_one_loop
async def test_events_are_of_what_is_watched(adapter, pipe, watcher):
    adapter.watch(-1, watcher, READ)
    await turns()
    assert watcher.events == []
    adapter.data_received(b"x")
    assert watcher.events == []  # uvloop calls this again and again in one turn
    await turns()
    assert set(watcher.events) == {READ}
    adapter.recv(100)
    watcher.events.clear()
    await turns()
    assert watcher.events == []
    adapter.watch(-1, watcher, 0)
    adapter.data_received(b"x")
    await turns()
    assert watcher.events == []


@on_one_loop
async def test_what_is_not_taken_is_told_again(adapter, pipe, watcher):
    """Level-triggered, as pollers are."""

    class Slow(Watcher):
        def on_event(self, ready):
            super().on_event(ready)
            adapter.recv(1)

    slow = Slow()
    adapter.watch(-1, slow, READ)
    adapter.data_received(b"abc")
    await turns()
    assert [ready & READ for ready in slow.events] == [READ] * 3


@on_one_loop
async def test_what_came_before_it_was_watched(adapter, pipe, watcher):
    adapter.data_received(b"x")
    adapter.watch(-1, watcher, READ)
    assert watcher.events == []  # not inside watch()
    await asyncio.sleep(0)
    assert watcher.events[0] & READ
    adapter.recv(10)


@on_one_loop
async def test_room_is_told(adapter, pipe, watcher):
    pipe.is_stuck = True
    with pytest.raises(BlockingIOError):
        adapter.send(b"x")
    adapter.watch(-1, watcher, WRITE)
    await turns()
    assert watcher.events == []
    pipe.flush()
    assert watcher.events == []  # the transport is in the middle of its own work
    await turns()
    assert watcher.events[0] & WRITE


@on_one_loop
async def test_the_loss_is_told_whatever_is_watched(adapter, pipe, watcher):
    adapter.watch(-1, watcher, WRITE)
    await turns(2)
    watcher.events.clear()
    adapter.connection_lost(None)
    await turns()
    assert watcher.events[0] & FAILED


@on_one_loop
async def test_after_the_end_of_sending_nothing_is_sent(adapter, pipe, watcher):
    """asyncio's transports raise RuntimeError for it, which is not what sockets do."""
    adapter.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        adapter.send(b"x")
    assert pipe.written == []


@on_one_loop
async def test_what_is_lost_is_called_no_more(adapter, pipe, watcher):
    """uvloop's transports raise RuntimeError and ValueError then."""
    adapter.connection_lost(None)
    pipe.calls.clear()
    adapter.shutdown(socket.SHUT_WR)
    adapter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"")
    with pytest.raises((BrokenPipeError, ConnectionAbortedError)):
        adapter.send(b"x")
    adapter.close()
    assert pipe.calls == []


@on_one_loop
async def test_who_is_closed_with_bytes_left_is_aborted_only_if_they_stay(adapter, pipe, watcher):
    loop = asyncio.get_running_loop()
    pipe.is_stuck = True
    with pytest.raises(BlockingIOError):
        adapter.send(b"x")
    adapter.close()
    assert pipe.calls[-1] == "close"
    timer = adapter._abort_timer
    assert timer.when() > loop.time()
    adapter.connection_lost(None)
    assert timer.cancelled()


@on_one_loop
async def test_reading_is_paused_when_nobody_takes_it(adapter, pipe, watcher):
    adapter.watch(-1, watcher, READ)
    adapter.data_received(bytes(HIGH + 1))
    assert pipe.calls.count("pause_reading") == 1
    adapter.recv(HIGH + 1)
    assert pipe.calls[-1] == "resume_reading"
    adapter.watch(-1, watcher, 0)
    assert pipe.calls[-1] == "pause_reading"
    adapter.watch(-1, watcher, READ)
    assert pipe.calls[-1] == "resume_reading"


# -- the very thing


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)
def test_on_real_transports(make):
    """1 MB through it, from a peer that does not read at first, and then its end."""

    async def main():
        one, other = socket.socketpair()
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(sock=other)
        made = loop.create_future()
        await loop.connect_accepted_socket(lambda: TransportSocket(loop, made.set_result), one)
        adapter = await made
        assert adapter.family == socket.AF_UNIX
        assert adapter.fileno() == -1
        data = bytes(range(256)) * 4096
        sent, got, is_over = 0, bytearray(), loop.create_future()

        class Echoing:
            def on_event(self, ready):
                nonlocal sent
                try:
                    if ready & READ:
                        piece = adapter.recv(10_000)
                        got.extend(piece)
                        if not piece:
                            adapter.watch(-1, self, 0)
                            is_over.set_result(None)
                            return
                except BlockingIOError:
                    pass
                try:
                    while ready & WRITE and sent < len(data):
                        sent += adapter.send(data[sent : sent + 70_000])
                except BlockingIOError:
                    pass
                adapter.watch(-1, self, READ if sent == len(data) else READ | WRITE)

        adapter.watch(-1, Echoing(), READ | WRITE)
        await asyncio.sleep(0.02)
        assert sent < len(data)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.write_eof()
        await asyncio.wait_for(is_over, 20)
        assert got == data
        adapter.shutdown(socket.SHUT_WR)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        adapter.close()
        writer.close()
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


def test_it_has_what_tls_asks_of_a_socket():
    for name in vars(MemorySocket):
        if name in ("recv", "send", "shutdown", "setsockopt", "close", "fileno", "getsockname", "getpeername", "watch"):
            assert hasattr(TransportSocket, name), name

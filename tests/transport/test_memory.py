"""In-memory sockets behave as TCP sockets do: each case runs on both kinds, so that the model cannot drift."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from contextlib import closing, contextmanager

import pytest
import uvloop

import trews
from trews import ConnectError, Endpoint, ListenError, Server, testing
from trews.testing import VirtualLoop
from trews.transport.memory import MemoryListener, find_listener, memory_pair

RESET = struct.pack("ii", 1, 0)


@contextmanager
def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for sock in (client, accepted):
        sock.setblocking(False)
    with client, accepted:
        yield client, accepted


@contextmanager
def in_memory():
    with closing(VirtualLoop()) as loop:
        pair = memory_pair(loop)
        yield pair
        for end in pair:
            end.close()


@pytest.fixture(params=[in_memory, tcp_pair], ids=["memory", "tcp"])
def ends(request):
    with request.param() as pair:
        yield pair


# -- the same as TCP


def test_bytes_arrive_in_order(ends):
    one, other = ends
    assert one.send(b"hello ") == 6
    assert one.sendmsg([b"wor", memoryview(b"ld")]) == 5
    assert other.recv(100) == b"hello world"


def test_recv_takes_no_more_than_asked(ends):
    one, other = ends
    one.send(b"abcdef")
    assert [other.recv(4), other.recv(4)] == [b"abcd", b"ef"]
    one.send(b"xyz")
    buffer = bytearray(2)
    assert (other.recv_into(buffer), buffer) == (2, b"xy")


def test_nothing_there_blocks(ends):
    with pytest.raises(BlockingIOError):
        ends[0].recv(10)


def test_nobody_reading_blocks_in_the_end_and_then_goes_on(ends):
    one, other = ends
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += one.send(bytes(50_000))
    received = 0
    while received < sent:
        received += len(other.recv(1_000_000))
    assert one.send(b"x") == 1


def test_half_close_is_eof_for_the_peer_which_may_go_on(ends):
    one, other = ends
    one.send(b"last")
    one.shutdown(socket.SHUT_WR)
    assert other.recv(10) == b"last"
    assert other.recv(10) == b""
    assert other.recv(10) == b""
    other.send(b"answer")
    assert one.recv(10) == b"answer"
    with pytest.raises(BrokenPipeError):
        one.send(b"x")


def test_closing_is_eof_for_the_peer(ends):
    one, other = ends
    one.send(b"bye")
    one.close()
    assert other.recv(10) == b"bye"
    assert other.recv(10) == b""


def test_writing_to_who_has_closed_fails(ends):
    one, other = ends
    one.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(3):  # TCP learns of it by the answer to the first
            other.send(b"x")


def test_closing_over_unread_input_resets_the_peer(ends):
    one, other = ends
    other.send(b"unread")
    one.close()
    with pytest.raises(ConnectionResetError):
        other.recv(10)


def test_closing_with_so_linger_0_resets_the_peer(ends):
    one, other = ends
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.close()
    with pytest.raises(ConnectionResetError):
        other.recv(10)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        other.send(b"x")


def test_sending_nothing_is_nothing(ends):
    one, other = ends
    assert one.send(b"") == 0
    with pytest.raises(BlockingIOError):
        other.recv(1)


# -- what only memory has


@pytest.fixture
def pair():
    with in_memory() as ends:
        yield ends


def test_capacity_is_exact_and_partial_sends_happen():
    with closing(VirtualLoop()) as loop:
        one, other = memory_pair(loop, capacity=10)
        assert one.send(b"x" * 7) == 7
        assert one.send(b"y" * 7) == 3
        with pytest.raises(BlockingIOError):
            one.send(b"z")
        assert other.recv(4) == b"xxxx"
        assert one.send(b"z" * 7) == 4
        assert other.inbound == 10


def test_of_many_pieces_those_that_fit_are_taken_and_no_others_looked_at():
    with closing(VirtualLoop()) as loop:
        one, other = memory_pair(loop, capacity=10)
        pieces = iter([b"abcd"] * 100)
        assert one.sendmsg(pieces) == 10
        assert len(list(pieces)) >= 96
        pieces = [b"abcd"] * 100
        with pytest.raises(BlockingIOError):
            one.sendmsg(pieces)
        assert one.sendmsg([]) == 0
        assert other.recv(100) == b"abcdabcdab"
        other.close()
        with pytest.raises(BrokenPipeError):
            one.sendmsg(pieces)


def test_chunk_is_the_most_that_a_recv_gives(pair):
    one, other = pair
    other.chunk = 2
    one.send(b"abcde")
    assert [other.recv(100) for _ in range(3)] == [b"ab", b"cd", b"e"]


def test_clogged_lets_nothing_through_until_it_is_not(pair):
    one, other = pair
    other.clog()
    one.send(b"x")
    one.shutdown(socket.SHUT_WR)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    other.unclog()
    assert [other.recv(1), other.recv(1)] == [b"x", b""]


def test_cut_resets_both_and_loses_what_was_under_way(pair):
    pair[0].send(b"lost")
    pair[0].cut()
    for end in pair:
        with pytest.raises(ConnectionResetError):
            end.recv(10)
        with pytest.raises(BrokenPipeError):
            end.send(b"x")


def test_closing_twice_is_once(pair):
    one, other = pair
    one.close()
    one.close()
    assert other.recv(1) == b""


def test_names(pair):
    one, other = pair
    assert one.getsockname() == other.getpeername() != other.getsockname()
    assert one.fileno() == -1


def test_events_are_level_triggered_and_told_from_the_loop_only():
    events = []

    class Watcher:
        def on_event(self, mask):
            events.append(mask)
            if len(events) == 3:
                assert other.recv(10) == b"x"

    with closing(VirtualLoop()) as loop:
        one, other = memory_pair(loop)
        one.send(b"x")
        other.watch(-1, Watcher(), 1)
        assert events == []
        loop.settle()
        assert events == [1, 1, 1]
        other.watch(-1, Watcher(), 0)
        one.send(b"y")
        loop.settle()
        assert events == [1, 1, 1]


# -- memory: endpoints


every_loop = pytest.mark.parametrize("new_loop", [trews.new_event_loop, asyncio.new_event_loop, uvloop.new_event_loop])


class Echo(trews.Connection):
    def on_read(self, message):
        self.send(message)


@every_loop
def test_a_name_belongs_to_one_server_of_one_loop(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        async with Server(trews.Connection).listen("memory:a"):
            assert find_listener(loop, "memory:a") is None
            assert find_listener(loop, "a") is not None
            with pytest.raises(ListenError, match="a server of this loop has that name already"):
                await Server(trews.Connection).listen("memory:a").start()
            assert find_listener(loop, "a") is not None
            with closing(new_loop()) as other:
                assert find_listener(other, "a") is None
        assert find_listener(loop, "a") is None
        async with Server(trews.Connection).listen("memory:a"):
            pass

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@every_loop
def test_a_listener_that_is_left_open_does_not_keep_its_loop(new_loop):
    loop = new_loop()
    listener = MemoryListener(Endpoint.parse("memory:a"))
    listener.start(loop, lambda sock, address: None, lambda: True)
    loop.close()
    gone = weakref.ref(loop)
    del listener, loop
    gc.collect()
    assert gone() is None


def test_who_finds_the_backlog_full_is_told_in_a_sentence():
    async def main():
        async with Server(Echo, max_connections=1).listen("memory:a?backlog=2"):
            first = await trews.connect("memory:a")
            await asyncio.sleep(0)
            waiting = [await trews.connect("memory:a") for _ in range(2)]
            with pytest.raises(ConnectError) as caught:
                await trews.connect("memory:a")
            assert str(caught.value) == (
                "cannot connect to memory:a: the server's backlog is full: 2 connections wait for it to accept them"
            )
            for conn in (first, *waiting):
                await conn.send(b"hi")
                assert await conn.read() == b"hi"
                conn.close()
                await conn.wait_closed()
            async with trews.connect("memory:a"):
                pass

    testing.run(main())


def test_a_server_may_connect_to_itself():
    """In the first step of its code, too, which runs in what accepts."""

    class Relay(trews.Connection):
        async def on_connect(self):
            if len(self.server.connections) == 1:
                async with trews.connect("memory:a") as other:
                    await self.send(await other.read())
            else:
                await self.send(b"hi")

    async def main():
        async with Server(Relay).listen("memory:a"), trews.connect("memory:a") as conn:
            assert await conn.read() == b"hi"

    testing.run(main())


def test_who_waits_when_a_listener_closes_is_reset():
    with closing(VirtualLoop()) as loop:
        listener = MemoryListener(Endpoint.parse("memory:a"))
        taken = []
        listener.start(loop, lambda sock, address: taken.append(sock), lambda: False)
        theirs = listener.connect()
        loop.settle()
        listener.close()
        with pytest.raises(ConnectionResetError):
            theirs.recv(1)
        assert not taken
        with pytest.raises(ConnectError, match="cannot connect to memory:a: the server listens no more"):
            listener.connect()


def test_a_paused_listener_keeps_them_in_order():
    with closing(VirtualLoop()) as loop:
        listener = MemoryListener(Endpoint.parse("memory:a"))
        taken = []
        listener.start(loop, lambda sock, address: taken.append(sock.peer), lambda: True)
        listener.pause()
        waiting = [listener.connect() for _ in range(3)]
        loop.settle()
        assert not taken
        listener.resume()
        assert taken == waiting
        listener.close()

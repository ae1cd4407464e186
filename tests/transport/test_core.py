"""The core of the stream transport: what it asks of its socket, what it keeps, and what it tells, event by event.

Most of it is a core by itself, between a socket that does what a test says and owners that note.
"""

from __future__ import annotations

import asyncio
import io
import socket

import pytest

import trews
from tests.transport.cores import Case, Sock
from tests.transport.streams import Protocol, connected, ended, memory_transport, on_ours, until
from trews.backends import FAILED, READ, WRITE
from trews.transport import core
from trews.transport.core import CLOSING, LOST, NOTHING, OPEN, PIECES_A_SEND, SMALL, StreamCore
from trews.transport.filepart import FilePart


@pytest.fixture
def case():
    return Case()


@pytest.fixture
def full():
    """One whose peer takes nothing: b"ab" waits."""
    made = Case()
    made.sock.takes = [BlockingIOError()]
    made.core.write(b"ab")
    assert made.notes == ["backlogged"]
    made.notes.clear()
    return made


# -- reading


def test_what_comes_is_counted_stamped_and_handed_on(case):
    assert (case.core.total_in, case.core.heard_at) == (0, 1.0)
    case.sock.incoming = [b"abc", b"d"]
    case.tick = 2.0
    case.core.on_event(READ)
    assert (case.data, case.core.total_in, case.core.heard_at) == (b"abc", 3, 2.0)
    case.tick = 3.0
    case.core.on_event(READ)
    assert (case.data, case.core.total_in, case.core.heard_at) == (b"abcd", 4, 3.0)


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
def test_nothing_there_is_nothing(case, error):
    case.sock.incoming = [error]
    case.tick = 2.0
    case.core.on_event(READ)
    assert (case.data, case.core.heard_at, case.core.state) == (b"", 1.0, OPEN)


@pytest.mark.parametrize("mask", [READ, FAILED, READ | FAILED, READ | WRITE])
def test_one_event_is_one_recv(case, mask):
    case.sock.incoming = [b"a", b"b"]
    case.core.on_event(mask)
    assert case.data == b"a"


@pytest.mark.parametrize("mask", [WRITE, FAILED])
def test_a_paused_one_does_not_read(case, mask):
    case.core.paused = True
    case.core.watch()
    case.sock.incoming = [b"a"]
    case.core.on_event(mask)
    assert (case.data, case.watched) == (b"", [READ, 0])


def test_before_its_start_it_polls_for_nothing():
    fresh = StreamCore(Sock(), made := Case(), made, made)
    fresh.watch()
    assert fresh.mask == 0


def test_the_size_of_a_recv_follows_what_comes(case):
    def comes(size):
        case.sock.incoming = [bytes(size)]
        case.core.on_event(READ)
        return case.core.size

    least, then, most = core.RECV_MIN, core.RECV_NEXT, core.RECV_MAX
    assert comes(least - 1) == least
    assert comes(least) == then
    assert comes(then - 1) == then
    assert comes(then) == 2 * then
    assert comes(then // 2) == 2 * then  # a quarter is no reason to shrink
    assert comes(then // 2 - 1) == then
    while case.core.size > least:
        before = case.core.size
        assert comes(1) == max(least, before // 2)
    assert comes(1) == least
    while case.core.size < most:
        comes(case.core.size)
    assert comes(most) == most
    assert max(case.sock.sizes) == most


def test_the_end_is_told_once_and_not_polled_for(case):
    case.sock.incoming = [b""]
    case.core.on_event(READ)
    assert (case.notes, case.core.eof_seen, case.watched[-1]) == (["eof"], True, 0)
    assert case.core.state == OPEN


def test_the_end_closes_if_the_protocol_says_so(case):
    case.keeps_open = False
    case.sock.incoming = [b""]
    case.core.on_event(READ)
    case.run_soon()
    assert case.notes == ["eof", ("lost", None)]


def test_an_error_of_the_socket_is_the_end(case):
    error = ConnectionResetError()
    case.sock.incoming = [error]
    case.core.on_event(READ)
    assert case.core.state == LOST
    assert case.notes == []  # in the next turn
    case.run_soon()
    assert case.notes == [("lost", error)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_wants_to_exit_gets_out_and_the_rest_is_there(case, error):
    def leave(data):
        raise error

    case.core.data_received = leave
    case.sock.incoming = [b"a", b"b"]
    with pytest.raises(error):
        case.core.on_event(READ)
    assert (case.core.state, case.core.total_in) == (OPEN, 1)
    case.core.data_received = case.received
    case.core.on_event(READ)
    assert case.data == b"b"


def test_what_a_protocol_raises_is_told_to_the_face(case):
    def fail(data):
        raise asyncio.CancelledError

    case.core.data_received = fail
    case.sock.incoming = [b"a"]
    case.core.on_event(READ)
    assert case.notes[0][0] is asyncio.CancelledError
    assert case.core.state == LOST


# -- writing


def test_a_write_that_is_taken_leaves_nothing(case):
    case.core.write(b"abc")
    case.core.write(b"")
    assert (case.sock.sent, case.core.total_out, case.core.waiting) == (b"abc", 3, 0)
    assert case.core.buffer is NOTHING
    assert case.notes == []
    assert case.watched == [READ]


def test_what_is_not_taken_waits_and_the_buffer_is_nothing_again_when_it_is_gone(case):
    case.sock.takes = [1, 1]
    case.core.write(b"abc")
    assert (case.sock.sent, case.core.total_out, case.core.waiting, case.core.offset) == (b"a", 3, 2, 1)
    assert (case.notes, case.watched[-1]) == (["backlogged"], READ | WRITE)
    case.core.on_event(WRITE)
    assert (case.core.waiting, case.core.offset) == (1, 2)
    case.core.on_event(WRITE)
    assert (case.sock.sent, case.core.waiting, case.core.offset) == (b"abc", 0, 0)
    assert case.core.buffer is NOTHING
    assert case.watched[-1] == READ


def test_every_write_waits_behind_the_first(full):
    for data in (bytearray(b"c"), memoryview(b"d"), b"", b"e" * SMALL, b"f"):
        full.core.write(data)
    assert full.core.waiting == full.core.total_out == 5 + SMALL
    full.core.on_event(WRITE)
    assert full.sock.sent == b"abcd" + b"e" * SMALL + b"f"
    assert full.core.buffer is NOTHING


def test_small_writes_share_a_piece_and_large_ones_do_not(full):
    for _ in range(SMALL):
        full.core.write(b"xy")
    assert [len(piece) for piece in full.core.buffer] == [2, SMALL, SMALL]
    full.core.write(bytes(SMALL))
    full.core.write(b"x")
    assert [len(piece) for piece in full.core.buffer] == [2, SMALL, SMALL, SMALL, 1]


def test_one_send_has_a_bound_of_pieces(full):
    for _ in range(2 * PIECES_A_SEND):
        full.core.write(bytes(SMALL))
    while full.core.buffer:
        full.core.on_event(WRITE)
    assert full.sock.pieces == [PIECES_A_SEND, PIECES_A_SEND]  # and the last one alone, by send
    assert len(full.sock.sent) == 2 + 2 * PIECES_A_SEND * SMALL


@pytest.mark.parametrize("step", [7, 100, 4097, 1_000_000])
def test_however_much_a_send_takes_all_of_it_is_sent_in_order(full, step):
    expected = b"ab"
    for number in range(20):
        data = bytes([number]) * (1 + number * 300)
        expected += data
        full.core.write(data)
    full.sock.takes = [step] * (len(expected) // step + 1)
    while full.core.buffer:
        full.core.on_event(WRITE)
    assert full.sock.sent == expected
    assert (full.core.waiting, full.core.total_out) == (0, len(expected))


def test_a_write_may_follow_from_the_room_that_there_is(full):
    """`resume_writing` writes, inside of a flush."""
    full._maybe_resume_protocol = lambda: full.core.write(b"more") if len(full.sock.sent) == 2 else None
    full.core.on_event(WRITE)
    assert full.sock.sent == b"abmore"
    assert full.core.buffer is NOTHING
    assert full.core.mask == READ


def test_the_stamp_is_of_what_the_peer_takes(full):
    assert full.core.sent_at == 10.0  # the write's own time, not that of the last event
    full.tick = 20.0
    full.sock.takes = [BlockingIOError(), 0, 1]
    full.core.on_event(WRITE)
    full.core.on_event(WRITE)
    assert full.core.sent_at == 10.0
    full.core.on_event(WRITE)
    assert full.core.sent_at == 20.0


def test_more_is_added_only_if_the_owner_admits_it(full):
    full.admits = False
    full.core.write(b"c")
    assert (full.core.waiting, full.core.total_out, full.notes) == (2, 2, [])


@pytest.mark.parametrize("bad", ["text", 3, None, [1], 1.5])
def test_what_is_not_bytes_is_refused(bad):
    with pytest.raises(TypeError, match=r"it takes bytes, bytearray or memoryview, not "):
        core.as_bytes(bad, "it")


def test_a_gate_gets_the_data_instead(case):
    seen = []
    case.core.gate = seen.append
    case.core.write(bytearray(b"x"))
    assert (seen, type(seen[0]), case.sock.sent) == ([b"x"], bytes, b"")


# -- files


def part(data, done):
    return FilePart(io.BytesIO(data), 0, None, done)


def test_a_part_of_a_file_is_sent_between_what_is_written_before_and_after(full):
    done = []
    full.core.write_file(part(b"file", done.append))
    full.core.write(b"after")
    assert (full.core.waiting, full.core.file_bytes) == (11, 4)
    for _ in range(3):
        assert done == ([] if b"file" not in full.sock.sent else [None])
        full.core.on_event(WRITE)
    assert full.sock.sent == b"abfileafter"
    assert (full.core.waiting, full.core.file_bytes, done) == (0, 0, [None])
    assert full.core.buffer is NOTHING


@pytest.mark.parametrize("after", [b"", b"after"])
def test_a_file_that_has_become_shorter_is_dropped_and_the_rest_goes_on(case, after):
    done = []
    file = io.BytesIO(b"file")
    case.core.write_file(FilePart(file, 0, 4, done.append))
    case.core.write(after)
    file.truncate(1)
    for _ in range(4):
        case.core.on_event(WRITE)
    assert case.sock.sent == b"f" + after
    assert isinstance(done[0], EOFError)
    assert (case.core.waiting, case.core.file_bytes, case.core.offset) == (0, 0, 0)
    assert case.core.total_out == 1 + len(after)  # what was never sent does not count
    assert case.core.buffer is NOTHING
    assert case.core.mask == READ


def test_files_that_are_not_sent_are_let_go(full, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    piece = FilePart(path, 0, None, lambda exc: None)
    full.core.write_file(piece)
    full.core.lose(None)
    assert piece._file.closed
    assert full.core.file_bytes == 0


# -- ends


def test_closing_waits_for_what_waits(full):
    full.core.close()
    full.core.close()
    assert full.core.state == CLOSING
    full.core.write(b"late")
    assert full.notes == [("refused", b"late")]
    assert full.watched[-1] == WRITE  # nothing is read any more
    full.core.on_event(WRITE)
    assert full.sock.sent == b"ab"
    full.run_soon()
    assert full.notes[-1] == ("lost", None)


def test_losing_drops_what_waits_and_happens_once(full):
    error = OSError("gone")
    full.core.lose(error)
    full.core.lose(None)
    assert (full.core.state, full.core.waiting, full.core.total_out) == (LOST, 0, 0)
    assert full.core.buffer is NOTHING
    assert full.watched[-1] == 0
    full.run_soon()
    assert full.notes == [("lost", error)]


def test_the_end_of_writing_comes_after_what_waits(full):
    full.core.write_eof()
    full.core.write_eof()
    assert full.sock.shut == []
    full.core.on_event(WRITE)
    assert full.sock.shut == [socket.SHUT_WR]
    assert full.core.state == OPEN


def test_after_the_end_of_writing_no_write(case):
    case.core.write_eof()
    assert case.sock.shut == [socket.SHUT_WR]
    case.core.write(b"x")
    assert (case.sock.sent, case.notes) == (b"", [("refused", b"x")])


@pytest.mark.parametrize("where", ["write", "flush"])
def test_after_a_failed_send_what_has_come_is_delivered_first(case, where):
    error = BrokenPipeError()
    case.sock.takes = [error] if where == "write" else [0, error]
    case.core.write(b"x")
    if where == "flush":
        case.core.on_event(WRITE)
    assert (case.core.state, case.core.waiting) == (CLOSING, 0)
    case.sock.incoming = [b"last ", b"words", b""]
    case.run_soon()
    assert case.data == b"last words"
    assert case.notes[-1] == ("lost", error)


def test_how_much_is_delivered_then_has_a_bound(case):
    case.sock.takes = [BrokenPipeError()]
    case.core.write(b"x")
    case.sock.incoming = [b"x"] * 1000
    case.run_soon()
    assert len(case.data) == core.SALVAGE
    assert case.core.state == LOST


def test_nothing_is_salvaged_for_who_does_not_read(case):
    case.core.paused = True
    case.core.watch()
    case.sock.takes = [BrokenPipeError()]
    case.sock.incoming = [b"x"]
    case.core.write(b"x")
    assert case.core.state == LOST
    case.run_soon()
    assert case.data == b""


def test_who_waits_until_all_is_sent_learns_of_either_end(full):
    class Waiter:
        result = None

        def done(self):
            return self.result is not None

        def set_result(self, result):
            self.result = "sent"

        def set_exception(self, exc):
            self.result = exc

    for end, expected in ((lambda: full.core.on_event(WRITE), "sent"), (lambda: full.core.lose(None), ConnectionError)):
        full.core.empty_waiter = waiter = Waiter()
        end()
        assert waiter.result == expected or isinstance(waiter.result, expected)


# -- with real sockets and those in memory


@on_ours
async def test_a_fast_peer_gets_larger_reads_and_a_slow_one_small_ones():
    sizes = []

    class Sizes(Protocol):
        def data_received(self, data):
            sizes.append(len(data))

    transport, protocol, far = await connected(Sizes)
    loop = asyncio.get_running_loop()
    assert transport.core.size == core.RECV_MIN
    await loop.sock_sendall(far, bytes(8_000_000))
    await until(lambda: sum(sizes) == 8_000_000)
    assert max(sizes) > core.RECV_MIN
    assert max(sizes) <= core.RECV_MAX
    for _ in range(10):
        before = len(sizes)
        far.send(b"x")
        await until(lambda before=before: len(sizes) > before)
    assert transport.core.size == core.RECV_MIN
    await ended(transport, protocol, far)


@on_ours
async def test_what_the_peer_said_before_it_left_is_delivered_when_a_send_fails():
    transport, protocol, far = await connected()
    far.send(b"last words")
    transport.write(b"unread")  # so that its close() is a reset
    far.close()
    transport.write(b"x")
    transport.write(b"x")
    await protocol.lost
    assert protocol.notes == ["made", "lost"]
    assert protocol.data == b"last words"


def test_closing_flushes_and_aborting_drops():
    for way, expected in (("close", 200_000), ("abort", 65_536)):
        with memory_transport() as (loop, far, transport, protocol):
            transport.write(bytes(200_000))
            getattr(transport, way)()
            received = 0
            for _ in range(20):
                loop.run_until_complete(asyncio.sleep(0))
                try:
                    received += len(far.recv(1_000_000))
                except OSError:
                    pass
            assert received == expected
            assert protocol.notes[-1] == "lost"
            far.close()


def test_many_small_writes_to_a_slow_peer_are_sent_in_order():
    with memory_transport() as (loop, far, transport, protocol):
        for number in range(50_000):
            transport.write(b"%05d" % number)
        received = b""
        while len(received) < 250_000:
            received += far.recv(1_000_000)
            loop.run_until_complete(asyncio.sleep(0))
        assert received == b"".join(b"%05d" % number for number in range(50_000))
        transport.abort()
        loop.run_until_complete(protocol.lost)
        far.close()


def test_a_write_is_stamped_when_it_is_made_and_not_with_the_last_poll():
    # Else code that blocked the loop and then writes would have its deadline early.
    async def main():
        async with trews.Server(trews.Connection).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                core = conn._transport.core
                core.now = lambda: core.poller.tick + 5
                conn.write(b"x")
                return core.sent_at - core.poller.tick

    assert trews.run(main()) == pytest.approx(5)

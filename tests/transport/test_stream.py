"""Our stream transport under asyncio's own protocols: streams, buffered ones, TLS, sendfile, subprocesses.

What `Connection` does on it is in the conformance suite. Here it is what an unmodified asyncio library sees. What
moves the bytes is in test_core.py.
"""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

import trews
from tests.transport.streams import RESET, Protocol, connected, ended, on_ours, receive, until

# -- asyncio's streams


@on_ours
async def test_a_writer_that_only_drains_stays_bounded_and_lets_others_run():
    """`while True: w.write(x); await w.drain()`: pause_writing must come from inside write()."""
    highest = 0
    others = 0

    async def write(writer):
        nonlocal highest
        while True:
            writer.write(bytes(50_000))
            highest = max(highest, writer.transport.get_write_buffer_size())
            await writer.drain()

    near, far = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=near)
    task = asyncio.create_task(write(writer))
    far.setblocking(False)
    for _ in range(200):
        others += 1
        await asyncio.sleep(0)
        if others % 10 == 0:
            try:
                far.recv(20_000)
            except BlockingIOError:
                pass
    assert others == 200
    assert highest <= 64 * 1024 + 50_000
    task.cancel()
    await asyncio.wait([task])
    writer.transport.abort()
    far.close()
    await asyncio.sleep(0)


# -- the contract with protocols


@on_ours
async def test_the_order_of_a_life():
    transport, protocol, far = await connected()
    far.send(b"x")
    await until(lambda: protocol.data)
    far.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in protocol.notes)
    transport.write(b"still")  # eof_received returned true
    assert await receive(far, 5) == b"still"
    transport.close()
    assert protocol.notes == ["made", "eof"]  # never from inside close()
    assert await protocol.lost is None
    assert protocol.notes == ["made", "eof", "lost"]
    far.close()


@on_ours
async def test_pause_and_resume_writing_alternate_and_the_limits_are_those_that_were_set():
    transport, protocol, far = await connected()
    transport.set_write_buffer_limits(high=10_000, low=5_000)
    assert transport.get_write_buffer_limits() == (5_000, 10_000)
    while transport.get_write_buffer_size() <= 10_000:
        transport.write(bytes(100_000))
    assert protocol.notes == ["made", "pause"]  # at once: drain() relies on it
    size = transport.get_write_buffer_size()
    transport.write(bytes(100))
    assert transport.get_write_buffer_size() == size + 100
    while transport.get_write_buffer_size():
        try:
            far.recv(1_000_000)
        except BlockingIOError:
            await asyncio.sleep(0)
    assert protocol.notes == ["made", "pause", "resume"]
    await ended(transport, protocol, far)


@on_ours
async def test_large_writes_of_all_kinds_arrive_in_order_and_may_be_changed_afterwards():
    transport, protocol, far = await connected()
    expected = b""
    for number in range(300):
        data = bytearray(os.urandom(20_000 if number % 3 else 1))
        expected += data
        transport.write([data, memoryview(data), bytes(data)][number % 3])
        data[:] = bytes(len(data))
    transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    transport.close()
    assert transport.is_closing()
    assert await receive(far, len(expected) + 10) == expected + b"abc"
    assert await protocol.lost is None
    far.close()


@pytest.mark.parametrize("bad", ["text", 3, None, [1]])
def test_what_is_not_bytes_is_refused_where_it_is_written(bad):
    async def main():
        transport, protocol, far = await connected()
        with pytest.raises(TypeError, match=r"write\(\) takes bytes, bytearray or memoryview, not"):
            transport.write(bad)
        assert await ended(transport, protocol, far) is None

    trews.run(main())


@on_ours
async def test_write_eof_comes_after_what_waits_and_no_write_after_it():
    transport, protocol, far = await connected()
    transport.write(bytes(5_000_000))
    assert transport.can_write_eof()
    transport.write_eof()
    transport.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        transport.write(b"x")
    assert len(await receive(far, 6_000_000)) == 5_000_000
    far.send(b"answer")
    await until(lambda: protocol.data == b"answer")
    await ended(transport, protocol, far)


@on_ours
async def test_nothing_is_read_while_paused_and_everything_after():
    transport, protocol, far = await connected()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    far.send(b"x")
    for _ in range(5):
        await asyncio.sleep(0)
    assert protocol.data == b""
    transport.resume_reading()
    assert transport.is_reading()
    await until(lambda: protocol.data == b"x")
    await ended(transport, protocol, far)


@on_ours
async def test_a_reset_is_told_as_connection_reset_error():
    transport, protocol, far = await connected()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    far.close()
    assert isinstance(await protocol.lost, ConnectionResetError)
    assert protocol.notes == ["made", "lost"]
    assert transport.is_closing()


@on_ours
async def test_writes_to_a_lost_connection_are_dropped_and_warned_of_once(caplog):
    transport, protocol, far = await connected()
    transport.abort()
    for _ in range(20):
        transport.write(b"x")
    await protocol.lost
    assert protocol.notes == ["made", "lost"]
    transport.close()
    transport.abort()
    far.close()
    await asyncio.sleep(0)
    assert protocol.notes == ["made", "lost"]
    assert [record.getMessage() for record in caplog.records] == ["socket.send() raised exception."]


@pytest.mark.parametrize("method", ["data_received", "eof_received", "get_buffer", "buffer_updated"])
def test_a_protocol_that_raises_is_reported_and_its_connection_lost(method):
    reports = []

    def fail(*args):
        raise LookupError(method)

    base = Buffered if method in ("get_buffer", "buffer_updated") else Protocol
    fragile = type("Fragile", (base,), {method: fail})

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        transport, protocol, far = await connected(fragile)
        far.send(b"x")
        far.shutdown(socket.SHUT_WR)
        assert isinstance(await protocol.lost, LookupError)
        assert transport.is_closing()
        far.close()

    trews.run(main())
    assert len(reports) == 1
    assert f"protocol.{method}() call failed" in reports[0]["message"]


@on_ours
async def test_extra_info_and_repr():
    transport, protocol, far = await connected()
    assert transport.get_extra_info("peername") == far.getsockname()
    assert transport.get_extra_info("sockname") == far.getpeername()
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert transport.get_extra_info("nothing", 7) == 7
    assert "<StreamTransport open fd=" in repr(transport)
    await ended(transport, protocol, far)
    assert "<StreamTransport closed fd=" in repr(transport)


@on_ours
async def test_another_protocol_may_take_over():
    transport, protocol, far = await connected()
    other = Protocol()
    transport.set_protocol(other)
    assert transport.get_protocol() is other
    far.send(b"x")
    await until(lambda: other.data == b"x")
    assert protocol.data == b""
    await ended(transport, other, far)


# -- buffered protocols


class Buffered(asyncio.BufferedProtocol):
    """Takes what comes in a buffer of its own, of seven bytes."""

    def __init__(self):
        self.buffer = bytearray(7)
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@on_ours
async def test_a_buffered_protocol_gets_its_bytes_in_its_own_buffer():
    _, protocol, far = await connected(Buffered)
    far.send(b"hello, buffered world")
    await until(lambda: protocol.data == b"hello, buffered world")
    far.close()
    assert await protocol.lost is None  # the default eof_received closes


@on_ours
async def test_an_empty_buffer_is_an_error():
    class Empty(Buffered):
        def get_buffer(self, sizehint):
            return bytearray()

    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    _, protocol, far = await connected(Empty)
    far.send(b"x")
    assert isinstance(await protocol.lost, RuntimeError)
    assert len(reports) == 1
    far.close()


# -- files, as asyncio sends them


@pytest.mark.parametrize("before", [b"", b"head" * 100_000], ids=["empty buffer", "with bytes waiting"])
def test_sendfile_sends_after_what_waits_and_refuses_writes_meanwhile(tmp_path, before):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_000))

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, far = await connected()
        transport.write(before)
        with open(path, "rb") as file:
            task = asyncio.create_task(loop.sendfile(transport, file, 100))
            await asyncio.sleep(0)
            if not before:
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"x")
            data = await receive(far, len(before) + 999_900)
            assert await task == 999_900
        assert data == before + path.read_bytes()[100:]
        transport.write(b"after")
        assert await receive(far, 5) == b"after"
        await ended(transport, protocol, far)

    trews.run(main())


def test_sendfile_to_a_peer_that_leaves_is_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(20_000_000))

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, far = await connected()
        with open(path, "rb") as file:
            task = asyncio.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            far.close()
            with pytest.raises(ConnectionError):
                await task
        transport.abort()
        await protocol.lost

    trews.run(main())


# -- who owns the descriptor


@on_ours
async def test_the_descriptor_of_a_transport_is_not_for_add_reader_or_sock_recv():
    loop = asyncio.get_running_loop()
    transport, protocol, far = await connected()
    fd = transport.get_extra_info("socket").fileno()
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(fd, print)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_writer(fd, print)
    await ended(transport, protocol, far)


@pytest.mark.parametrize("ours", [True, False], ids=["a connection of ours", "an asyncio protocol"])
def test_the_descriptor_is_closed_after_connection_lost_and_not_before(ours):
    seen = []

    class Looking(Protocol):
        def connection_lost(self, exc):
            seen.append(self.transport.get_extra_info("socket").fileno())
            super().connection_lost(exc)

    async def main():
        if ours:
            near, far = socket.socketpair()
            near.setblocking(False)
            protocol = Looking()
            transport = asyncio.get_running_loop().attach_stream(near, protocol)
        else:
            transport, protocol, far = await connected(Looking)
        await ended(transport, protocol, far)
        assert seen[0] >= 0
        assert transport.get_extra_info("socket").fileno() == -1

    trews.run(main())

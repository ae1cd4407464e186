"""What tests of the stream transport share: a protocol that notes, and transports with somebody at the other end."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from contextlib import contextmanager

import trews
from trews import EventLoop
from trews.transport.memory import memory_pair
from trews.transport.stream import StreamTransport

RESET = struct.pack("ii", 1, 0)


def on_ours(main):
    """Run a test, a coroutine function, on our loop."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        trews.run(main(*args, **kwargs))

    return test


class Protocol(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self):
        self.notes: list[str] = []
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.notes.append("made")

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.notes.append("eof")
        return True

    def pause_writing(self):
        self.notes.append("pause")

    def resume_writing(self):
        self.notes.append("resume")

    def connection_lost(self, exc):
        self.notes.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)


async def connected(factory=Protocol):
    """Our transport, its protocol, and a plain socket at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=near)
    assert isinstance(transport, StreamTransport)
    return transport, protocol, far


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def receive(far, count):
    data = b""
    while len(data) < count:
        piece = await asyncio.get_running_loop().sock_recv(far, 1_000_000)
        if not piece:
            break
        data += piece
    return data


async def ended(transport, protocol, far):
    transport.abort()
    far.close()
    return await protocol.lost


@contextmanager
def memory_transport():
    loop = EventLoop()
    near, far = memory_pair(loop)

    async def make():
        protocol = Protocol()
        transport = StreamTransport(loop, near, protocol, near)  # type: ignore[arg-type]
        transport.start()
        return transport, protocol

    yield loop, far, *loop.run_until_complete(make())
    loop.close()

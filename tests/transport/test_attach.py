"""Joining a socket and a protocol: on every loop, at once where that can be, and with nothing left if it fails."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from trews import EventLoop
from trews.testing import VirtualLoop, no_leaks
from trews.transport.attach import attach
from trews.transport.memory import memory_pair
from trews.transport.stream import StreamTransport

OURS = {"trews": EventLoop, "virtual": VirtualLoop}
LOOPS = {**OURS, "asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module", autouse=True)
def _what_uvloop_opens_once_in_a_process():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


class Protocol(asyncio.Protocol):
    def __init__(self):
        self.transport = None
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        return False

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def unexpected(exc):
    raise exc


def on(loop_name, main):
    with no_leaks(), asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(main())


def ends(kind, loop):
    if kind == "memory":
        return memory_pair(loop)
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("kind", ["socket", "memory"])
def test_bytes_and_the_end_come_through_on_every_loop(name, kind):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = ends(kind, loop)
        protocol = Protocol()
        attach(loop, near, protocol, None, unexpected)
        far.send(b"hello")
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.data == b"hello"
        far.close()

    on(name, main)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ["socket", "memory"])
def test_on_our_loop_the_protocol_is_told_at_once(name, kind):
    async def main():
        near, far = ends(kind, asyncio.get_running_loop())
        protocol = Protocol()
        attach(asyncio.get_running_loop(), near, protocol, None, unexpected)
        assert isinstance(protocol.transport, StreamTransport)
        protocol.transport.abort()
        await protocol.lost
        far.close()

    on(name, main)


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_memory_is_at_once_and_ours_on_other_loops_too(name):
    async def main():
        near, far = memory_pair(asyncio.get_running_loop())
        protocol = Protocol()
        attach(asyncio.get_running_loop(), near, protocol, None, unexpected)
        assert isinstance(protocol.transport, StreamTransport)
        protocol.transport.abort()
        await protocol.lost
        far.close()

    on(name, main)


def test_the_address_that_accept_told_is_not_asked_for_again():
    async def main():
        near, far = ends("socket", None)
        protocol = Protocol()
        attach(asyncio.get_running_loop(), near, protocol, ("192.0.2.1", 7), unexpected)
        assert protocol.transport.get_extra_info("peername") == ("192.0.2.1", 7)
        protocol.transport.abort()
        await protocol.lost
        far.close()

    on("trews", main)


def test_a_transport_that_cannot_be_made_is_told_and_the_socket_closed(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()

        async def fails(factory, sock):
            raise OSError(107, "not connected any more")

        monkeypatch.setattr(loop, "connect_accepted_socket", fails)
        near, far = ends("socket", loop)
        failure = loop.create_future()
        attach(loop, near, Protocol(), None, failure.set_result)
        assert isinstance(await failure, OSError)
        assert near.fileno() == -1
        far.close()

    on("asyncio", main)


@pytest.mark.leaks_ok("the loop ends while a transport is being made, on purpose")
def test_a_loop_that_ends_meanwhile_leaves_no_socket(monkeypatch):
    failures = []

    async def main():
        loop = asyncio.get_running_loop()

        async def never(factory, sock):
            await loop.create_future()

        monkeypatch.setattr(loop, "connect_accepted_socket", never)
        near, far = ends("socket", loop)
        attach(loop, near, Protocol(), None, failures.append)
        far.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(main())
    assert [type(exc) for exc in failures] == [asyncio.CancelledError]

"""A relay of datagrams: senders kept apart, forgotten and bounded."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

import trews
from tests.clients import LOOPS
from trews.protocols import datagram_relay
from trews.protocols.datagram_relay import DatagramRelay


class Shout(trews.Datagram):
    def on_read(self, data, address):
        self.server.seen.append(address)
        self.write(data.upper(), address)


def on(loop, main):
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(main(), 20))


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def loop(request):
    return request.param


def relay_to(target):
    return trews.Server(type("Relay", (DatagramRelay,), {"target": target})).listen("udp:127.0.0.1:0")


def shouting():
    server = trews.Server(Shout).listen("udp:127.0.0.1:0")
    server.seen = []
    return server


def test_each_sender_gets_its_own_answers(loop):
    async def main():
        async with shouting() as target, relay_to(target.endpoints[0]) as relay:
            async with trews.connect(relay.endpoints[0]) as one, trews.connect(relay.endpoints[0]) as other:
                for data in (b"a", b"", bytes(60_000), b"the last"):
                    one.write(data)
                    other.write(data + b"x")
                    assert (await one.read(timeout=10))[0] == data.upper()
                    assert (await other.read(timeout=10))[0] == data.upper() + b"X"
                assert len(set(target.seen)) == 2
                assert len(relay.datagrams[0].senders) == 2

    on(loop, main)


def test_nobody_there_is_survived_and_not_the_end(loop, caplog):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
            holder.bind(("127.0.0.1", 0))
            port = holder.getsockname()[1]
        async with relay_to(trews.Endpoint.parse(f"udp:127.0.0.1:{port}")) as relay:
            async with trews.connect(relay.endpoints[0]) as one:
                one.write(b"hello")
                while "connection refused" not in caplog.text:
                    await asyncio.sleep(0.001)
                async with trews.Server(Shout).listen(f"udp:127.0.0.1:{port}") as target:
                    target.seen = []
                    one.write(b"again")
                    assert (await one.read(timeout=10))[0] == b"AGAIN"

    caplog.set_level(logging.INFO, "trews")
    on(loop, main)


def test_the_first_gives_way_when_there_are_too_many(loop, monkeypatch):
    monkeypatch.setattr(datagram_relay, "SENDERS", 2)

    async def main():
        async with shouting() as target, relay_to(target.endpoints[0]) as relay:
            clients = [await trews.connect(relay.endpoints[0], trews.Datagram) for _ in range(3)]
            for client in clients:
                client.write(b"x")
                assert (await client.read(timeout=10))[0] == b"X"
            assert len(relay.datagrams[0].senders) == 2
            clients[0].write(b"back")  # it is a new one
            assert (await clients[0].read(timeout=10))[0] == b"BACK"
            assert len(relay.datagrams[0].senders) == 2
            for client in clients:
                client.close()
                await client.wait_closed()

    on(loop, main)


def test_who_is_quiet_is_forgotten(loop, monkeypatch):
    monkeypatch.setattr(datagram_relay, "IDLE", 0.05)

    async def main():
        async with shouting() as target, relay_to(target.endpoints[0]) as relay:
            async with trews.connect(relay.endpoints[0]) as one:
                one.write(b"x")
                assert (await one.read(timeout=10))[0] == b"X"
                while relay.datagrams[0].senders:
                    await asyncio.sleep(0.01)

    on(loop, main)


def test_a_target_that_cannot_be_had_is_told_once_a_minute(caplog):
    """Senders can be forged, and must not fill the log."""

    async def main():
        async with relay_to(trews.Endpoint.parse("udp:127.0.0.1:9?source=[::1]")) as relay:
            datagram = relay.datagrams[0]
            for number in range(5):
                datagram.on_read(b"x", ("127.0.0.1", 10_000 + number))
            while datagram.senders:
                await asyncio.sleep(0)

    trews.run(main())
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_what_comes_before_its_socket_is_there_is_kept_to_a_bound():
    async def main():
        async with shouting() as target, relay_to(target.endpoints[0]) as relay:
            datagram = relay.datagrams[0]
            for number in range(datagram_relay.WAITING + 10):
                datagram.on_read(b"%d" % number, ("127.0.0.1", 9))
            assert len(datagram.senders[("127.0.0.1", 9)]._waiting) == datagram_relay.WAITING

    trews.run(main())

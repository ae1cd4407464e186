"""Many connections, few of them active (features.md 15)."""

from __future__ import annotations

import asyncio
import resource
import socket

import pytest

import trews

IDLE = 3000
ACTIVE = 16
ROUNDS = 50


class Echo(trews.Connection):
    def on_read(self, data: bytes) -> None:
        self.write(data)


@pytest.fixture
def many_descriptors() -> None:
    """Two for each connection, as both ends are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (IDLE + ACTIVE) + 500
    if soft < wanted:
        if hard < wanted:
            pytest.skip(f"the hard limit of open files is {hard}, this takes {wanted}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("many_descriptors")
def test_thousands_of_idle_connections_cost_the_active_ones_nothing() -> None:
    """Descriptors go past select's FD_SETSIZE, and only connections with something to do are handled at all."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = trews.Server(Echo).listen("tcp:127.0.0.1:0")
        async with server:
            address = ("127.0.0.1", server.port)
            idle = [socket.create_connection(address) for _ in range(IDLE)]
            while len(server.connections) < IDLE:
                await asyncio.sleep(0)
            assert max(sock.fileno() for sock in idle) > 1024
            before = {connection.id: connection.bytes_in for connection in server.connections}

            async def talk(number: int) -> None:
                async with trews.connect(f"tcp:127.0.0.1:{server.port}", framer=8) as connection:
                    for round_ in range(ROUNDS):
                        message = b"%4d%4d" % (number, round_)
                        connection.write(message)
                        assert await connection.read() == message

            calls = 0
            poller = loop.clock  # type: ignore[attr-defined]

            def count(watcher: object, seconds: float) -> None:
                nonlocal calls
                calls += 1

            poller.report_calls(count)
            await asyncio.gather(*(talk(number) for number in range(ACTIVE)))
            poller.report_calls(None)
            # An event for each message at each end, and for each goodbye; none for those that are idle.
            assert calls <= ACTIVE * (2 * ROUNDS + 8)
            assert {c.id: c.bytes_in for c in server.connections if c.id in before} == before
            for sock in idle:
                sock.close()

    trews.run(main())

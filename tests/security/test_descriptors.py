"""The loop and its descriptors, as they failed others: spinning on a half-closed peer, events for what is gone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import trews
from tests.hostile.attack import HERE, RESET, dial, until
from trews.backends import BACKENDS
from trews.testing import no_leaks


def _polls(loop: Any) -> list[int]:
    """Have the polls of a loop counted that found something."""
    counts = [0]
    real = loop.clock.poll

    def poll(timeout: float | None) -> Any:
        events = real(timeout)
        counts[0] += bool(events)
        return events

    loop.clock.poll = poll
    return counts


@pytest.mark.parametrize("how", ["fin", "rst while paused", "fin and rst", "fin while writing is blocked"])
@pytest.mark.parametrize("poller", ["epoll", "poll", "select"])
def test_cve_2024_49769_a_half_closed_peer_does_not_make_the_loop_spin(how: str, poller: str) -> None:
    """waitress polled a half-closed socket for ever. Counted: what is not wanted is not polled for."""

    async def main() -> int:
        counts = _polls(asyncio.get_running_loop())
        made: list[trews.Connection] = []

        class Waiting(trews.Connection):
            half_close = True

            def on_connect(self) -> None:
                made.append(self)
                if "paused" in how:
                    self.pause_reading()
                if "blocked" in how:
                    self.write(bytes(10_000_000))

        server = trews.Server(Waiting).listen(HERE)
        async with server:
            client = await asyncio.to_thread(dial, server.port or 0)
            await until(lambda: made)
            if "fin" in how:
                client.shutdown(socket.SHUT_WR)
            if "rst" in how:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            before = counts[0]
            for _ in range(300):  # turns, each with a poll that finds nothing
                await asyncio.sleep(0)
            spent = counts[0] - before
            for connection in made:
                connection.abort()
            client.close()
        return spent

    if poller not in BACKENDS:
        pytest.skip(f"no {poller} here")
    with no_leaks(), asyncio.Runner(loop_factory=lambda: trews.EventLoop(poller)) as runner:
        assert runner.run(main()) < 20


def test_cve_2022_31015_a_socket_closed_before_the_poll_is_nobodys_crash() -> None:
    """waitress died of a socket that was closed between two selects; the server must go on."""

    class Closing(trews.Connection):
        def on_read(self, data: bytes) -> None:
            if data == b"close":
                for connection in self.server.connections:
                    if connection is not self:
                        connection.abort()  # their events may be in this very batch
            self.write(data)

    async def main(poller: str) -> None:
        server = trews.Server(Closing).listen(HERE)
        async with server:
            for _ in range(20):
                clients = [await asyncio.to_thread(dial, server.port or 0) for _ in range(5)]
                await until(lambda: len(server.connections) == 5)
                for client in clients:
                    client.sendall(b"close")
                last = dial(server.port or 0)
                last.sendall(b"hello")
                assert await asyncio.to_thread(last.recv, 5) in (b"hello", b"")
                for client in (*clients, last):
                    client.close()
                await until(lambda: not server.connections)

    for poller in ("poll", "select"):
        with no_leaks(), asyncio.Runner(loop_factory=lambda poller=poller: trews.EventLoop(poller)) as runner:  # type: ignore[misc]
            try:
                runner.run(main(poller))
            except ConnectionResetError:
                pass  # the last one was among those that are aborted


def test_cve_2022_31015_an_event_for_a_reused_descriptor_reaches_nobody_else() -> None:
    """All in one batch: the first aborts the others, and their numbers are taken at once by new sockets."""
    log: list[str] = []

    class Named(trews.Connection):
        def on_read(self, data: bytes) -> None:
            log.append(f"{self.id - first_id} {data!r}")
            for connection in list(all_of):
                if connection is not self and not connection.is_closed:
                    connection.abort()

    all_of: list[trews.Connection] = []
    first_id = 0

    async def main() -> None:
        nonlocal first_id
        loop: Any = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(10)]
        for near, _ in pairs:
            near.setblocking(False)
            connection: trews.Connection = Named()
            loop.attach_stream(near, connection)
            all_of.append(connection)
        first_id = all_of[0].id
        for _, far in pairs:
            far.sendall(b"now")
        await until(lambda: all(connection._is_ended or connection is survivor() for connection in all_of))
        fresh = [socket.socketpair() for _ in range(9)]  # most of the numbers again
        for near, _ in fresh:
            near.setblocking(False)
            loop.add_reader(near, lambda: log.append("an event for nobody"))
        for _ in range(10):
            await asyncio.sleep(0)
        for near, far in fresh:
            loop.remove_reader(near)
            near.close()
            far.close()
        for connection in all_of:
            connection.abort()
        for _, far in pairs:
            far.close()
        await until(lambda: all(connection._is_ended for connection in all_of))

    def survivor() -> trews.Connection | None:
        return next((connection for connection in all_of if not connection.is_closed), None)

    with no_leaks():
        trews.run(main())
    assert len(log) == 1
    assert log[0].endswith("b'now'")

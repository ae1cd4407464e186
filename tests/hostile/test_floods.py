"""Floods against a live server: it serves everybody else meanwhile, and afterwards nothing of them is left."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import random
import socket
from typing import Any

import pytest

import trews
from tests.hostile.attack import HERE, RESET, dial, is_empty, logged, reset, still_serves, until
from tests.hostile.program import FRAMERS
from trews.framing import Line
from trews.testing import no_leaks

LOOPS: dict[str, Any] = {"trews": trews.EventLoop, "asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:  # no wheel for this system
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


class Counting(trews.Server):
    """Counts what its connections are told."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.opened = self.closed = self.errors = 0
        self.reasons: set[type] = set()

    def on_error(self, connection: trews.Connection, exc: BaseException) -> None:
        self.errors += 1


class Echo(trews.Connection):
    server: Counting

    def on_connect(self) -> Any:
        self.server.opened += 1

    def on_read(self, data: bytes) -> Any:
        self.write(data)

    def on_close(self, reason: trews.ConnectionClosed) -> None:
        self.server.closed += 1
        self.server.reasons.add(type(reason))


class Mute(Echo):
    def on_read(self, data: Any) -> None:
        """Nothing is sent back."""


def on_every_loop(test: Any) -> Any:
    """The test is a coroutine function; it runs on each loop and must leave nothing open."""

    @pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)
    def run(loop_factory: Any) -> None:
        with no_leaks(), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def rst_before_accept(port: int) -> None:
    sock = dial(port)
    sock.sendall(b"x")
    reset(sock)


def half_open(port: int) -> None:
    sock = dial(port)
    sock.shutdown(socket.SHUT_WR)
    sock.close()


def rst_in_an_answer(port: int) -> None:
    sock = dial(port)
    sock.sendall(bytes(100_000))
    sock.recv(1)
    reset(sock)


def gone_unread(port: int) -> None:
    sock = dial(port)
    sock.sendall(b"answer me")
    sock.close()


def silent(port: int) -> None:
    dial(port).close()


ATTACKS = [rst_before_accept, half_open, rst_in_an_answer, gone_unread, silent]


@on_every_loop
async def test_storms_of_dying_clients_leave_nothing() -> None:
    server = Counting(Echo).listen(HERE)

    def storm() -> None:
        for number in range(150):
            ATTACKS[number % len(ATTACKS)](server.port or 0)

    with logged() as records:
        async with server:
            await asyncio.to_thread(storm)
            await still_serves(server.port or 0)
            await until(lambda: server.stats.accepted == 151)
            await until(lambda: server.opened == server.closed == 151)
            await until(lambda: is_empty(server))
    assert server.errors == 0
    assert [record.getMessage() for record in records] == []


@on_every_loop
async def test_clients_that_vanish_while_their_handlers_run_end_them() -> None:
    cancelled = 0

    async def handler(conn: trews.Connection) -> None:
        nonlocal cancelled
        await conn.read()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    server = Counting(handler, close_timeout=0.05).listen(HERE)
    async with server:
        clients = [await asyncio.to_thread(dial, server.port or 0) for _ in range(30)]
        for client in clients:
            client.sendall(b"x")
        await until(lambda: sum(conn.bytes_in for conn in server.connections) == 30)
        for client in clients:
            reset(client)
        await until(lambda: is_empty(server))
    assert cancelled == 30
    assert server.errors == 0


@on_every_loop
async def test_callbacks_that_raise_in_a_flood_cost_only_their_own_connections() -> None:
    class Fragile(Echo):
        def on_read(self, data: bytes) -> Any:
            if data.startswith(b"alive?"):
                return super().on_read(data)
            raise ZeroDivisionError(data)

    server = Counting(Fragile).listen(HERE)
    async with server:
        steady = await asyncio.to_thread(dial, server.port or 0)

        def flood() -> None:
            for _ in range(100):
                with dial(server.port or 0) as sock:
                    sock.sendall(b"boom")
                    with pytest.raises(ConnectionResetError):
                        sock.recv(1)

        await asyncio.to_thread(flood)
        assert server.errors == 100
        steady.sendall(b"alive?")
        assert await asyncio.to_thread(steady.recv, 6) == b"alive?"
        steady.close()
        await until(lambda: is_empty(server))


@on_every_loop
async def test_peers_that_send_while_we_close_lose_no_answer() -> None:
    class Goodbye(trews.Connection):
        def on_connect(self) -> None:
            self.write(b"goodbye" * 1000)
            self.close()

    server = Counting(Goodbye).listen(HERE)

    def chatter() -> int:
        whole = 0
        for _ in range(30):
            with dial(server.port or 0) as sock:
                sock.sendall(b"I am still talking" * 1000)
                received = bytearray()
                while data := sock.recv(65536):
                    received += data
                whole += received == b"goodbye" * 1000
        return whole

    async with server:
        assert await asyncio.to_thread(chatter) == 30
        await until(lambda: is_empty(server))


@on_every_loop
async def test_garbage_for_every_framer_ends_with_a_reason_and_once() -> None:
    rng = random.Random(20)
    for framer in FRAMERS.values():
        server = Counting(Mute, framer=framer, max_message=1000, message_timeout=None).listen(HERE)
        pieces = [rng.randbytes(rng.randint(1, 3000)) for _ in range(15)]

        def spit(port: int, pieces: list[bytes]) -> None:
            for piece in pieces:
                with dial(port) as sock:
                    try:
                        sock.sendall(piece)
                        sock.shutdown(socket.SHUT_WR)
                        sock.recv(1)
                    except OSError:
                        pass  # the answer to garbage

        async with server:
            await asyncio.to_thread(spit, server.port or 0, pieces)
            await until(functools.partial(is_empty, server))
        allowed = {trews.ClosedByPeer, trews.FramingError, trews.MessageTooLong, trews.IncompleteMessage}
        assert server.opened == server.closed == len(pieces)
        assert server.reasons <= allowed | {trews.ConnectionReset}
        assert server.errors == 0


def test_a_flood_of_tiny_messages_do_not_keep_the_others_waiting() -> None:
    """Counted, not timed: so many messages at most are handed out before everything else gets its turn."""

    async def run(handler: Any) -> int:
        taken = at_turn = most = 0

        def count() -> None:
            nonlocal taken, at_turn, most
            taken += 1
            most = max(most, taken - at_turn)

        def tick() -> None:
            nonlocal at_turn
            at_turn = taken
            if taken < 150_000:
                asyncio.get_running_loop().call_soon(tick)

        server = trews.Server(handler(count), framer=Line()).listen(HERE)
        async with server:
            client = await asyncio.to_thread(dial, server.port or 0)
            tick()
            await asyncio.to_thread(client.sendall, b"\n" * 150_000)
            await until(lambda: taken == 150_000)
            client.close()
        return most

    def callbacks(count: Any) -> Any:
        class Lines(trews.Connection):
            def on_read(self, line: bytes) -> None:
                count()

        return Lines

    def coroutine(count: Any) -> Any:
        async def lines(conn: trews.Connection) -> None:
            async for _ in conn:
                count()

        return lines

    for handler in (callbacks, coroutine):
        assert trews.run(run(handler)) <= 3000


def test_two_thousand_connections_in_a_burst_are_all_accepted() -> None:
    async def main() -> None:
        server = Counting(Echo).listen(HERE)
        socks = []
        for _ in range(2000):  # before anything is accepted
            sock = socket.socket()
            sock.setblocking(False)
            try:
                sock.connect(("127.0.0.1", server.port))
            except BlockingIOError:
                pass
            socks.append(sock)
        async with server:
            await until(lambda: server.opened == 2000)
            assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for sock in socks)
            for sock in socks:
                reset(sock)
            await until(lambda: is_empty(server))

    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6000 if hard == resource.RLIM_INFINITY else min(6000, hard)
    if max(soft, wanted) < 4500:
        pytest.skip(f"4,500 descriptors are needed, {wanted} can be had")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        trews.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stop_accepts_what_waits_but_not_for_ever() -> None:
    """Each one that is accepted lets in another, as in a flood."""
    clients: list[socket.socket] = []

    class Flooded(trews.Server):
        def on_accept(self, connection: trews.Connection) -> None:
            if len(clients) < 400:
                sock = socket.socket()
                sock.setblocking(False)
                clients.append(sock)
                try:
                    sock.connect(("127.0.0.1", self.port))
                except BlockingIOError:
                    pass

    async def main() -> None:
        server = Flooded(trews.Connection).listen("tcp:127.0.0.1:0?backlog=20")
        await server.start()
        first = dial(server.port or 0)
        stopping = server.stop(1)
        assert 1 <= server.stats.accepted <= 20
        await stopping
        for sock in (first, *clients):
            sock.close()

    trews.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)
def test_nothing_is_kept_of_ten_thousand_connections(loop_factory: Any) -> None:
    """Neither objects nor descriptors nor memory, after a first thousand has warmed everything up."""

    def clients(port: int, count: int) -> None:
        for number in range(count):
            with dial(port) as sock:
                if number % 3:
                    sock.sendall(b"hello")
                    sock.recv(5)
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    async def main() -> tuple[list[int], list[int], list[int]]:
        server = Counting(Echo).listen(HERE)
        objects, descriptors, blocks = [], [], []
        async with server:
            for count in (1000, 3000, 3000, 3000):
                await asyncio.to_thread(clients, server.port or 0, count)
                await until(lambda: is_empty(server))
                gc.collect()
                objects.append(sum(isinstance(thing, trews.Connection) for thing in gc.get_objects()))
                descriptors.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
                blocks.append(_rss())
        return objects, descriptors, blocks

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        objects, descriptors, resident = runner.run(main())
    assert max(objects) <= 1
    assert max(descriptors) - min(descriptors) <= 2
    assert resident[-1] - resident[1] < 6 << 20  # a KiB kept of each would be six


def _rss() -> int:
    """Bytes of memory in use, 0 where that cannot be known."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.mark.parametrize("name", LOOPS)
def test_a_writer_that_never_waits_learns_that_its_peer_has_gone(name: str) -> None:
    """drain() lets the loop run when a write has failed: who only writes and drains would turn for ever, and alone."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with trews.connect(listener.getsockname()) as conn:
                peer, _ = listener.accept()
                reset(peer)
                with pytest.raises(trews.ConnectionClosed):
                    for _ in range(1000):  # far less than what lets the others run
                        conn.write(b"x")
                        await conn.drain()

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())

"""The loop: its options, connections that outlive it, debug mode, forks, and asyncio's own programs on it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import trustme

import trews
from trews import EventLoop, Server
from trews.transport.stream import StreamTransport


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


def on_ours(main, **options):
    with asyncio.Runner(loop_factory=lambda: EventLoop(**options)) as runner:
        return runner.run(main)


def really(main):
    """Run a test, a coroutine function, on our loop."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        trews.run(main(*args, **kwargs))

    return test


def socket_pair():
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


# -- run, and which loop


def test_run_returns_the_result_on_our_loop():
    async def main():
        assert isinstance(asyncio.get_running_loop(), EventLoop)
        return 42

    assert trews.run(main()) == 42


def test_run_raises_what_main_raises_and_can_run_again():
    async def main():
        raise LookupError("x")

    for _ in range(2):
        with pytest.raises(LookupError):
            trews.run(main())


@pytest.mark.leaks_ok("a task is left over on purpose")
def test_run_cancels_what_is_left_over():
    cancelled = []

    async def forever():
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append(True)

    async def main():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    assert trews.run(main()).cancelled()
    assert cancelled


@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug_mode(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert trews.run(main(), debug=debug) is debug


def test_no_policy_is_touched():
    # Policies are deprecated from Python 3.14 on; a fresh process, as tests may have set one.
    code = "import asyncio.events as e, trews\nasync def main(): pass\ntrews.run(main())\nprint(e._event_loop_policy)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr) == ("None", "")


def test_the_name_of_the_poller_is_known_and_an_unknown_kind_of_transport_refused():
    with closing(EventLoop()) as loop:
        assert loop.poller in ("epoll", "kqueue", "poll", "select")
    with pytest.raises(ValueError, match="transports is 'trews' or 'asyncio', not 'twisted'"):
        EventLoop(transports="twisted")


@pytest.mark.parametrize(("transports", "is_ours"), [("trews", True), ("asyncio", False)])
def test_asyncio_libraries_get_our_transport_or_the_stock_one(transports, is_ours):
    async def main():
        near, far = socket_pair()
        reader, writer = await asyncio.open_connection(sock=near)
        assert isinstance(writer.transport, StreamTransport) is is_ours
        far.send(b"hello")
        far.close()
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()

    on_ours(main(), transports=transports)


@pytest.mark.parametrize("transports", ["trews", "asyncio"])
def test_our_own_connections_work_either_way(transports):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x")
                assert await conn.read() == b"x"

    on_ours(main(), transports=transports)


# -- its end


def test_closing_the_loop_under_open_connections_runs_plain_on_close_exactly_once():
    reasons = []

    class Noting(trews.Connection):
        def on_close(self, reason):
            reasons.append((type(self).__name__, type(reason).__name__))

    class Client(Noting):
        pass

    async def main():
        server = await Server(Noting).listen("tcp:127.0.0.1:0").start()
        conn = await trews.connect(server.endpoints[0], Client)
        while not server.connections:
            await asyncio.sleep(0)
        server._close_listeners()
        return server, conn

    loop = EventLoop()
    held = loop.run_until_complete(main())
    loop.close()
    assert sorted(reasons) == [("Client", "Aborted"), ("Noting", "Aborted")]
    loop.close()  # twice is once
    assert len(reasons) == 2
    del held


def test_a_transport_that_nobody_closed_is_a_resource_warning():
    loop = EventLoop()
    near, far = socket_pair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=near))
    # As if the loop were gone without close(): nothing refers to the transport any more.
    loop._poller.watch(near.fileno(), transport.core, 0)
    loop._transports.clear()
    del transport
    with pytest.warns(ResourceWarning, match="unclosed transport <StreamTransport"):
        gc.collect()
    far.close()
    loop.close()


# -- debug mode


def test_slow_events_are_reported_in_debug_mode_only(caplog):
    class Slow(trews.Connection):
        def on_read(self, data):
            now[0] += 0.5
            self.write(data)

    async def main(loop):
        loop.clock.now = lambda: now[0]
        async with Server(Slow).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x")
                await conn.read()

    for debug in (False, True):
        now = [time.monotonic()]
        caplog.clear()
        with closing(EventLoop()) as loop:
            loop.set_debug(debug)
            loop.run_until_complete(main(loop))
        slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
        slow = [message for message in slow if "Handling an event of" in message]
        assert len(slow) == debug
    assert "<Slow #" in slow[0]
    assert "took 0.500 seconds" in slow[0]
    caplog.clear()


def test_debug_mode_can_be_left(caplog):
    with closing(EventLoop()) as loop:
        loop.set_debug(True)
        loop.set_debug(False)
        assert not loop.clock.is_reporting


# -- asyncio inside


def test_connections_have_a_context_each():
    name = contextvars.ContextVar("name", default="nobody")
    seen = []

    class Named(trews.Connection):
        def on_connect(self):
            seen.append(name.get())
            name.set(f"#{self.id}")

        async def on_read(self, data):
            await asyncio.sleep(0)
            self.write(name.get().encode())

    async def main():
        name.set("main")
        async with Server(Named).listen("tcp:127.0.0.1:0") as server:
            clients = [await trews.connect(server.endpoints[0]) for _ in range(3)]
            answers = set()
            for client in clients:
                client.write(b"?")
                answers.add(await client.read())
            assert len(answers) == 3
            assert name.get() == "main"
            for client in clients:
                client.close()
                await client.wait_closed()

    trews.run(main())
    assert len(set(seen)) == 1


def test_timeouts_task_groups_and_current_task_work_in_handlers():
    async def handler(conn):
        async with asyncio.timeout(10):
            assert asyncio.current_task() is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(conn.drain())
            try:
                async with asyncio.timeout(0.001):
                    await conn.read()
            except TimeoutError:
                await conn.send(b"slow")

    async def main():
        async with Server(handler).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                assert await conn.read() == b"slow"

    trews.run(main())


def test_threads_wake_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set_result, 7))
        thread.start()
        assert await woken == 7
        thread.join()
        assert await asyncio.to_thread(lambda: 8) == 8
        await loop.shutdown_default_executor()

    trews.run(main())


def test_signals_reach_their_handlers():
    async def main():
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, came.set_result, "usr1")
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await came == "usr1"
        loop.remove_signal_handler(signal.SIGUSR1)

    trews.run(main())


def test_subprocesses_talk_through_their_pipes():
    async def main():
        code = "import sys; sys.stdout.write(sys.stdin.read().upper())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out, _ = await process.communicate(b"hello")
        assert (out, process.returncode) == (b"HELLO", 0)

    trews.run(main())


@pytest.mark.leaks_ok("the interrupted task is cancelled by the runner, on purpose")
def test_keyboard_interrupt_in_a_callback_comes_out_of_run_and_the_connection_is_told():
    reasons = []

    class Interrupted(trews.Connection):
        def on_read(self, data):
            raise KeyboardInterrupt

        def on_close(self, reason):
            reasons.append(type(reason).__name__)

    async def main():
        async with Server(Interrupted).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x")
                await conn.wait_closed()

    with pytest.raises(KeyboardInterrupt):
        trews.run(main())
    gc.collect()
    assert len(reasons) == 1


# -- asyncio's own streams and TLS


@really
async def test_a_writer_whose_peer_takes_everything_lets_others_run_too():
    """drain() does not wait then; asyncio's own promise is only that the loop's callbacks get their turn."""
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far_reader, far_writer = await asyncio.open_connection(sock=far)

    async def write():
        for _ in range(100):
            writer.write(bytes(100_000))
            await writer.drain()
        writer.write_eof()

    task = asyncio.create_task(write())
    assert len(await far_reader.read()) == 10_000_000
    await task
    for each in (writer, far_writer):
        each.close()
    assert await reader.read() == b""
    await writer.wait_closed()
    await far_writer.wait_closed()


@really
async def test_stream_servers_and_clients_work_unmodified():
    async def upper(reader, writer):
        while line := await reader.readline():
            writer.writelines([b"> ", line.upper()])
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(upper, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert isinstance(writer.transport, StreamTransport)
        writer.write(b"one\ntwo\n")
        writer.write_eof()
        assert await reader.read() == b"> ONE\n> TWO\n"
        writer.close()
        await writer.wait_closed()


@pytest.fixture(scope="module")
def certificates():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_asyncios_tls_runs_over_our_transport(certificates):
    server_context, client_context = certificates

    async def echo(reader, writer):
        writer.write(await reader.readexactly(300_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context, server_hostname="localhost"
            )
            data = os.urandom(300_000)
            writer.write(data)
            assert await reader.readexactly(300_000) == data
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    trews.run(main())


def test_start_tls_by_asyncio_upgrades_a_connection_that_has_talked_already(certificates):
    server_context, client_context = certificates

    async def upgrade(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server_context)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        async with await asyncio.start_server(upgrade, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client_context, server_hostname="localhost")
            writer.write(b"secret\n")
            assert await reader.readline() == b"SECRET\n"
            writer.close()
            await writer.wait_closed()

    trews.run(main())


# -- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, where there are threads
@pytest.mark.parametrize("way", ["abort", "close"])
def test_a_child_that_drops_its_copies_does_not_make_the_parent_deaf(way):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0]) as conn:
                conn.write(b"x")
                assert await conn.read() == b"x"
                pid = os.fork()
                if not pid:
                    try:
                        for transport in list(asyncio.get_running_loop()._streams):
                            core = transport.core
                            if way == "close":
                                core.poller.watch(core.fd, core, 0)
                                os.close(core.fd)
                            else:
                                transport.abort()
                    finally:
                        os._exit(0)
                _, status = os.waitpid(pid, 0)
                assert status == 0
                conn.write(b"y")
                async with asyncio.timeout(10):
                    assert await conn.read() == b"y"

    trews.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_can_run_a_loop_of_its_own():
    async def nothing():
        await asyncio.sleep(0)
        return 3

    async def main():
        pid = os.fork()
        if not pid:
            try:
                asyncio._set_running_loop(None)
                os._exit(trews.run(nothing()))
            finally:
                os._exit(1)
        return os.waitpid(pid, 0)[1]

    assert os.waitstatus_to_exitcode(trews.run(main())) == 3

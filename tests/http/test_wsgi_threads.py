"""Applications in threads: what they wait for ends, whatever the client and the server do."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import threading

import pytest
import uvloop

import trews
from tests.http import gateways
from tests.http.gateways import get, parts, send
from tests.servers import until

LOOPS = {"trews": trews.EventLoop, "asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvloop")


@pytest.fixture(params=LOOPS)
def run(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run


# Bodies as they come; otherwise nothing of them concerns a thread.
served = functools.partial(gateways.served, stream_input=True)


class App:
    """Notes how its calls end."""

    def __init__(self, body):
        self.body = body
        self.ends = []
        self.closed = 0

    def __call__(self, environ, start_response):
        try:
            blocks = self.body(environ, start_response)
        except BaseException as exc:
            self.ends.append(exc)
            raise
        outer = self

        class Result:
            def __iter__(self):
                return blocks if hasattr(blocks, "__next__") else iter(blocks)

            def close(self):
                outer.closed += 1
                getattr(blocks, "close", lambda: None)()

        return Result()


async def connect(server):
    return await asyncio.open_connection("127.0.0.1", server.port)


def endless(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536


def test_requests_wait_for_a_thread_in_order_and_hold_none(run):
    """Two threads, five requests: two are worked on, the others follow."""
    gate = threading.Semaphore(0)
    begun = []

    def app(environ, start_response):
        begun.append(environ["PATH_INFO"])
        gate.acquire()
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async def main():
        async with served(app, 2) as server:
            answers = []
            for number in range(5):
                answers.append(asyncio.ensure_future(send(server, get(f"/{number}"))))
                count = min(2, number + 1)
                await until(lambda count=count, number=number: len(begun) >= count and len(server.connections) > number)
            await asyncio.sleep(0.02)
            first = list(begun)
            for _ in range(5):
                gate.release()
            return first, [parts(answer)[2] for answer in await asyncio.gather(*answers)]

    first, answers = run(main())
    assert first == ["/0", "/1"]
    assert answers == [b"/%d" % number for number in range(5)]
    assert begun == [f"/{number}" for number in range(5)]


def test_the_loop_goes_on_while_an_application_waits(run):
    gate = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/slow":
            gate.wait()
        return [environ["PATH_INFO"].encode()]

    async def main():
        async with served(app, 2) as server:
            slow = asyncio.ensure_future(send(server, get("/slow")))
            fast = await send(server, get("/fast"))
            assert not slow.done()
            gate.set()
            return parts(fast)[2], parts(await slow)[2]

    assert run(main()) == (b"/fast", b"/slow")


def test_a_client_that_goes_while_it_is_answered(run):
    app = App(endless)

    async def main():
        async with served(app, 2) as server:
            reader, writer = await connect(server)
            writer.write(get())
            await reader.readexactly(100_000)
            writer.transport.abort()
            await until(lambda: app.closed)
            return server.errors

    assert run(main()) == []
    assert app.closed == 1


def test_a_client_that_goes_in_the_middle_of_its_body(run):
    def body(environ, start_response):
        read = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [read]

    app = App(body)

    async def main():
        async with served(app, 2) as server:
            _, writer = await connect(server)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
            await until(lambda: server.connections and next(iter(server.connections)).request is not None)
            writer.transport.abort()
            await until(lambda: app.ends)
            return server.errors

    assert run(main()) == []
    assert isinstance(app.ends[0], OSError)


def test_a_body_comes_while_it_is_read(run):
    """Streaming both ways: what was read is answered before the rest has come."""

    def app(environ, start_response):
        start_response("200 OK", [])
        stream = environ["wsgi.input"]
        for line in stream:
            yield line.upper()

    async def main():
        async with served(app, 2) as server:
            reader, writer = await connect(server)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            got = b""
            for line in (b"one\n", b"two\n"):
                writer.write(b"4\r\n" + line + b"\r\n")
                while line.upper() not in got:
                    got += await reader.read(1000)
            writer.write(b"0\r\n\r\n")
            while not got.endswith(b"0\r\n\r\n"):
                got += await reader.read(1000)
            writer.close()
            return got

    assert parts(run(main()))[2] == b"ONE\nTWO\n"


def test_a_body_that_nobody_reads_is_held_back(run):
    gate = threading.Event()
    sizes = []

    def app(environ, start_response):
        gate.wait()
        sizes.append(len(environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"x"]

    async def main():
        async with served(app, 2, max_body=None) as server:
            reader, writer = await connect(server)
            writer.write(get(method="POST", body=b"x" * 20_000_000))
            await until(lambda: server.connections)
            connection = next(iter(server.connections))
            seen = -1
            while seen != connection.bytes_in:
                seen = connection.bytes_in
                await asyncio.sleep(0.02)
            gate.set()
            answer = await reader.read()
            writer.close()
            return seen, answer

    seen, answer = run(main())
    assert seen < 2_000_000
    assert sizes == [20_000_000]
    assert b"200 OK" in answer


def test_a_reader_that_stalls_is_ended_by_its_deadline(run):
    app = App(endless)

    async def main():
        async with served(app, 1, write_timeout=0.1, close_timeout=0.1) as server:
            _, writer = await connect(server)
            writer.write(get())
            await until(lambda: app.closed)
            answer = await send(server, get("/other", method="HEAD"))
            writer.close()
            return answer

    assert run(main()).startswith(b"HTTP/1.1 200")  # its one thread is free again


def test_a_body_that_is_too_slow_is_an_error_and_then_the_answer(run):
    def body(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"never"]

    app = App(body)

    async def main():
        async with served(app, 2, body_timeout=0.05, min_body_rate=1e6) as server:
            return await send(server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"), server.errors

    answer, errors = run(main())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert isinstance(app.ends[0], OSError)
    assert errors == []


def test_an_application_may_answer_to_a_body_that_is_too_large(run):
    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError:
            start_response("400 Enough", [])
            return [b"enough"]
        start_response("200 OK", [])
        return [b"never"]

    async def main():
        async with served(app, 2, max_body=10) as server:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            return await send(server, head, b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n")

    assert run(main()).startswith((b"HTTP/1.1 400 Enough", b"HTTP/1.1 413 "))


def test_a_stop_waits_for_who_is_answering(run):
    gate = threading.Event()

    def app(environ, start_response):
        gate.wait()
        start_response("200 OK", [])
        return iter([b"done", b"."])

    async def main():
        async with served(app, 2) as server:
            answer = asyncio.ensure_future(send(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
            await until(lambda: server.connections and next(iter(server.connections)).request is not None)
            stopping = asyncio.ensure_future(server.stop(5))
            await asyncio.sleep(0.02)
            assert not stopping.done()
            gate.set()
            await stopping
            return parts(await answer)

    line, fields, body = run(main())
    assert (line, fields["connection"], body) == ("HTTP/1.1 200 OK", "close", b"done.")


def test_a_stop_without_grace_lets_the_threads_go(run):
    app = App(endless)

    async def main():
        async with served(app, 2) as server:
            reader, writer = await connect(server)
            writer.write(get())
            await reader.readexactly(100_000)
            await server.stop(0)
            writer.close()
            await until(lambda: app.closed)

    run(main())
    assert app.closed == 1


def test_a_loop_that_ends_lets_the_threads_go():
    app = App(endless)
    servers = []

    async def main():
        context = served(app, 2)
        server = await context.__aenter__()
        servers.append((context, server))
        _, writer = await connect(server)
        writer.write(get())
        await until(lambda: server.connections and next(iter(server.connections))._is_full)
        writer.transport.abort()
        await server.stop(0)

    trews.run(main())
    deadline = threading.Event()
    while not app.closed:
        deadline.wait(0.01)
    assert app.closed == 1


def test_what_is_not_begun_when_its_client_goes_is_not_called(run):
    gate = threading.Event()
    called = []

    def app(environ, start_response):
        called.append(environ["PATH_INFO"])
        gate.wait()
        start_response("200 OK", [])
        return [b"x"]

    async def main():
        async with served(app, 1) as server:
            first = asyncio.ensure_future(send(server, get("/1")))
            await until(lambda: called)
            _, writer = await connect(server)
            writer.write(get("/2"))
            await until(lambda: len(server.connections) == 2)
            second = max(server.connections, key=lambda connection: connection.id)
            await until(lambda: second.request is not None)
            # A reset: one that only ends what it sends gets its answer.
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await until(lambda: second.is_closed)
            gate.set()
            await first
            await send(server, get("/3"))

    run(main())
    assert called == ["/1", "/3"]


def test_clients_that_send_slowly_hold_no_thread(run):
    """Unless it is asked for: as many of them as there are threads would keep all others waiting."""
    bodies = []

    def app(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"ok"]

    async def main():
        async with gateways.served(app, 2) as server:
            slow = [await connect(server) for _ in range(4)]
            for _, writer in slow:
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n" + b"a" * 600_000)
            assert parts(await send(server, get()))[2] == b"ok"
            assert bodies == [b""]
            for reader, writer in slow:
                writer.write(b"b" * 100_000)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
                writer.close()
        assert bodies[1:] == [b"a" * 600_000 + b"b" * 100_000] * 4

    run(main())

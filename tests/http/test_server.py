"""http.Server: what it is given, and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trews
from tests.clients import LOOPS
from tests.http.serving import answers, get, post, serve, statuses, told
from tests.servers import until, virtually
from tests.tlspeer import authority, contexts
from trews import http
from trews.http.deadlines import LAST_CALL
from trews.http.server import with_alpn
from trews.registry import State

NAME = "memory:http"


def path(request: http.Request) -> str:
    return request.path


async def waits(request: http.Request) -> str:
    await asyncio.sleep(5)
    return request.path


@contextlib.asynccontextmanager
async def serving(app: Any, **settings: Any) -> Any:
    server = http.Server(app, **settings).listen(NAME)
    async with server:
        yield server


async def opened(first: bytes = b"") -> Any:
    connection = await trews.connect(NAME)
    if first:
        connection.write(first)
    return connection


async def rest_of(connection: Any) -> list[Any]:
    """All that the server has to say, up to its end."""
    return answers(await connection.read_all(), ended=True)


# -- what it is given


@pytest.mark.parametrize(
    ("call", "right"),
    [
        (lambda: http.serve(path), "http.serve takes the handler, then"),
        (lambda: http.serve("localhost:8080", path), "http.serve takes the handler, then"),
        (lambda: http.serve(path, "localhost", 8080), "http.serve takes the handler, then"),
        (lambda: http.serve(path, host="localhost", port=8080), "http.serve takes the handler, then"),
        (lambda: http.serve(8080, path), "http.serve takes the handler, then"),
        (lambda: http.Server(path).serve(8080), r"`await http\.Server\(app\)\.listen\(\.\.\.\)\.serve\(\)`"),
        (lambda: http.Server(path, *[8080]), "http.Server takes the handler; where"),
        (lambda: http.Server(path, port=8080), "http.Server takes the handler; where"),
    ],
)
def test_who_calls_it_wrongly_is_told_the_right_call(call: Any, right: str) -> None:
    with pytest.raises(TypeError, match=right):
        call()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_haed": 1}, TypeError),
        ({"framer": b"\n"}, TypeError),
        ({"half_close": False}, TypeError),
        ({"max_head": None}, TypeError),
        ({"max_head": 1.5}, TypeError),
        ({"max_head": 0}, ValueError),
        ({"max_fields": True}, TypeError),
        ({"max_body": -1}, ValueError),
        ({"head_timeout": 0}, ValueError),
        ({"head_timeout": "10"}, TypeError),
        ({"keep_alive_timeout": float("nan")}, ValueError),
        ({"min_body_rate": -1}, ValueError),
        ({"min_body_rate": None}, TypeError),
        ({"write_timeout": -1}, ValueError),
        ({"debug": 1}, TypeError),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        http.Server(path, **settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_body": "10MB"}, "max_body is a number of bytes, or None for no limit, not '10MB'"),
        ({"max_body": 0}, "max_body is a number of bytes, 1 or more, or None for no limit, not 0"),
        ({"max_body": -1}, "max_body is a number of bytes, 1 or more, or None for no limit, not -1"),
        ({"max_head": "32k"}, "max_head is a number of bytes, not '32k'"),
        ({"max_fields": "x"}, "max_fields is a number of fields, not 'x'"),
        ({"reload": True}, "there is no setting 'reload'; there are access_log, "),
        ({"max_bdy": 5}, "there is no setting 'max_bdy'; did you mean 'max_body'?"),
        ({"trusted_proxies": "*"}, "trusted_proxies='*' would believe every client"),
    ],
)
def test_what_is_said_of_them(settings: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        http.Server(path, **settings)
    assert str(caught.value).startswith(says)


@virtually
async def test_serve_within_a_loop_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match=r"^http\.serve\(\) blocks .* `await http\.Server\(app\)\.listen"):
        http.serve(path, 0)


def test_an_endpoint_that_is_refused_is_shown_as_it_was_written() -> None:
    with pytest.raises(trews.EndpointError, match=r"^tls:8187: a server needs a certificate"):
        http.Server(path).listen("tls:8187")


def test_settings_of_connections_and_of_servers_are_taken() -> None:
    server = http.Server(path, max_connections=5, write_timeout=7, max_body=None, head_timeout=None)
    assert server.max_connections == 5
    w = serve(path, write_timeout=7, max_body=None)
    assert (w.connection.write_timeout, w.connection.max_body) == (7, None)


def test_one_server_does_not_set_what_another_has() -> None:
    one, other = serve(path, max_body=1), serve(path)
    one.feed(post(b"ab"))
    other.feed(post(b"ab"))
    assert (statuses(one), statuses(other)) == ([413], [200])


# -- its stop


@virtually
async def test_idle_connections_are_closed_at_once() -> None:
    async with serving(path) as server:
        connection = await opened(get())
        assert await connection.read(b"\r\n\r\n")
        begun = asyncio.get_running_loop().time()
        stopping = server.stop()
        await connection.read_all()
        assert asyncio.get_running_loop().time() - begun < LAST_CALL
        assert await stopping == (1, 0)


@virtually
async def test_a_connection_that_has_just_come_may_ask_once() -> None:
    """It could not know of the stop, and a client may not send again what it sent on a new connection."""
    async with serving(path) as server:
        silent, quick = await opened(), await opened()
        await until(lambda: len(server.connections) == 2)
        stopping = server.stop()
        await asyncio.sleep(LAST_CALL / 2)
        quick.write(get("/asked"))
        (answer,) = await rest_of(quick)
        assert (answer.body, answer.fields["connection"]) == (b"/asked", "close")
        assert await rest_of(silent) == []
        assert await stopping == (2, 0)


@virtually
async def test_requests_in_progress_end_with_connection_close() -> None:
    async with serving(waits) as server:
        connections = [await opened(get(f"/{n}")) for n in range(5)]
        await until(lambda: all(connection._exchange for connection in server.connections) and server.connections)
        stopping = server.stop()
        for n, connection in enumerate(connections):
            (answer,) = await rest_of(connection)
            assert (answer.body, answer.fields["connection"]) == (b"/%d" % n, "close")
        assert await stopping == (5, 0)


@virtually
async def test_pipelined_requests_that_have_come_are_all_answered() -> None:
    async with serving(waits) as server:
        connection = await opened(get("/a") + get("/b") + get("/c"))
        await until(lambda: any(one._exchange for one in server.connections))
        stopping = server.stop(grace=60)
        found = await rest_of(connection)
        assert [answer.body for answer in found] == [b"/a", b"/b", b"/c"]
        assert [answer.fields.get("connection") for answer in found] == [None, None, "close"]
        assert await stopping == (1, 0)


@virtually
async def test_heads_and_bodies_that_have_begun_may_be_completed() -> None:
    async with serving(path) as server:
        head, body = await opened(get("/head")[:10]), await opened(post(b"abc", "/body")[:-1])
        await until(lambda: len(server.connections) == 2 and all(one.bytes_in for one in server.connections))
        stopping = server.stop()
        await asyncio.sleep(5)
        head.write(get("/head")[10:])
        body.write(b"c")
        for connection in (head, body):
            (answer,) = await rest_of(connection)
            assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert await stopping == (2, 0)


@virtually
async def test_a_head_that_is_not_completed_has_its_deadline() -> None:
    async with serving(path) as server:
        connection = await opened(get()[:10])
        await until(lambda: any(one.bytes_in for one in server.connections))
        stopping = server.stop(grace=60)
        (answer,) = await rest_of(connection)
        assert answer.status == 408
        assert await stopping == (1, 0)


@virtually
async def test_a_stream_that_said_keep_alive_ends_the_connection_all_the_same() -> None:
    async def app(request: http.Request) -> None:
        request.start()
        for _ in range(5):
            request.write("piece")
            await asyncio.sleep(1)
        request.finish()

    async with serving(app) as server:
        connection = await opened(get())
        assert await connection.read(b"\r\n\r\n")
        begun = asyncio.get_running_loop().time()
        stopping = server.stop()
        assert (await connection.read_all()).endswith(b"0\r\n\r\n")
        assert asyncio.get_running_loop().time() - begun <= 5.1
        assert await stopping == (1, 0)


@virtually
async def test_what_is_not_done_at_the_end_of_the_grace_is_aborted() -> None:
    log: list[str] = []

    async def app(request: http.Request) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async with serving(app) as server:
        connection = await opened(get())
        await until(lambda: any(one._exchange for one in server.connections))
        assert await server.stop(grace=3) == (0, 1)
        assert log == ["cancelled"]
        with pytest.raises(trews.ConnectionClosed):
            await connection.read()


@virtually
async def test_work_after_the_answer_is_waited_for() -> None:
    log: list[str] = []

    class Noting(http.Server):
        def on_stop(self) -> None:
            log.append("stop")

    async def app(request: http.Request) -> None:
        request.respond("early")
        await asyncio.sleep(5)
        log.append("done")

    async with Noting(app).listen(NAME) as server:
        connection = await opened(get(Connection="close"))
        assert [answer.body for answer in await rest_of(connection)] == [b"early"]
        await server.stop()
        assert log == ["done", "stop"]


@virtually
async def test_work_after_the_answer_is_cancelled_at_the_end_of_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    async def app(request: http.Request) -> None:
        request.respond("early")
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            log.append("cancelled")
            if request.path == "/stubborn":
                await asyncio.sleep(1000)

    for target in ("/", "/stubborn"):
        log.clear()
        async with serving(app) as server:
            connection = await opened(get(target, Connection="close"))
            assert len(await rest_of(connection)) == 1
            begun = asyncio.get_running_loop().time()
            await server.stop(grace=3)
            assert asyncio.get_running_loop().time() - begun < 60
            assert log == ["cancelled"]
    assert "ignores the end of its server" in caplog.text
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


class Client:
    """Asks again and again; what a close before any byte of an answer leaves on a used connection, it asks again."""

    def __init__(self) -> None:
        self.answered = 0
        self.lost: list[str] = []

    async def run(self, server: http.Server) -> None:
        while server._state <= State.SERVING:
            try:
                connection = await trews.connect(NAME)
            except trews.ConnectError:
                return
            uses = 0
            try:
                while True:
                    connection.write(get("/x"))
                    head = await connection.read(b"\r\n\r\n")
                    assert await connection.read(2) == b"/x"
                    uses += 1
                    self.answered += 1
                    await asyncio.sleep(0)
                    if b"Connection: close" in head:
                        break
            except trews.ConnectionClosed as exc:
                if isinstance(exc, trews.IncompleteMessage) or not uses:
                    self.lost.append(repr(exc))
            connection.close()
            await connection.wait_closed()


@pytest.mark.parametrize("app", [path, waits])
@virtually
async def test_under_load_no_request_that_was_received_is_lost(app: Any) -> None:
    served = 0

    async def counted(request: http.Request) -> Any:
        nonlocal served
        result = app(request)
        result = await result if asyncio.iscoroutine(result) else result
        served += 1
        return result

    for turns in range(5, 25):
        served = 0
        server = http.Server(counted).listen(NAME)
        await server.start()
        clients = [Client() for _ in range(20)]
        tasks = [asyncio.create_task(client.run(server)) for client in clients]
        for _ in range(turns):
            await asyncio.sleep(0 if app is path else 0.7)
        await server.stop(grace=30)
        await asyncio.gather(*tasks)
        assert [client.lost for client in clients] == [[]] * 20
        assert sum(client.answered for client in clients) == served


# -- its own names


def test_a_wire_is_served_by_the_class_of_its_server() -> None:
    class Mine(http.Server):
        pass

    w = serve(path, Mine)
    w.feed(get("/a"))
    assert told(w)[0].body == b"/a"
    assert isinstance(w.connection.server, Mine)


@pytest.mark.parametrize("name", ["_app", "_beside", "_adopt", "_alive"])
def test_a_subclass_takes_no_name_that_the_server_needs(name: str) -> None:
    with pytest.raises(TypeError, match="a name that trews uses itself"):
        type("Mine", (http.Server,), {name: None})


# -- TLS


@pytest.mark.parametrize(
    ("endpoint", "alpn"),
    [("tls:443?cert=c&key=k", "http/1.1"), ("tls:443?cert=c&key=k&alpn=other", "other"), ("tcp:80", None)],
)
def test_tls_says_what_is_spoken(endpoint: str, alpn: str | None) -> None:
    assert with_alpn(trews.Endpoint.parse(endpoint)).get("alpn") == ((alpn,) if alpn else None)


@pytest.mark.parametrize("loop", LOOPS)
def test_over_tls(loop: str, tmp_path: Path) -> None:
    def app(request: http.Request) -> list[Any]:
        assert request.tls is not None
        return [request.scheme, request.tls.alpn, request.tls.version, request.path]

    async def main() -> None:
        issued = authority().issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "all.pem"))
        context = contexts()[0]
        context.set_alpn_protocols(["h2", "http/1.1"])
        server = http.Server(app).listen(f"tls:127.0.0.1:0?cert={tmp_path}/all.pem")
        async with server:
            for requests in (1, 20):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
                )
                writer.write(get("/a") * (requests - 1) + get("/a", Connection="close"))
                found = answers(await reader.read())
                assert [answer.body for answer in found] == [b'["https","http/1.1","TLSv1.3","/a"]'] * requests
                writer.close()
                await writer.wait_closed()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


# -- until Ctrl-C

PROGRAM = """
import os
from trews import http

class Server(http.Server):
    def on_start(self):
        print(self.port, flush=True)

def app(request):
    return request.path

print(http.serve(Server(app), "127.0.0.1:0"))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_serve_until_a_signal() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(get("/asked"))
        data = client.recv(1000)
        assert [answer.body for answer in answers(data)] == [b"/asked"]
        process.send_signal(signal.SIGINT)
        assert client.recv(1000) == b""
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    assert b"Drained(closed=1, aborted=0)" in out


def test_serve_refuses_settings_beside_a_server() -> None:
    with pytest.raises(TypeError):
        http.serve(http.Server(path), "127.0.0.1:0", max_body=1)

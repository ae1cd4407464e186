"""ASGI applications behind a server, over real sockets and on every loop: what the specification says, in its order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

import pytest

from tests.asgi import LOOPS, START, LastAsked, answers, ask, body, body_of, get, of_requests, on, post, sends, serving
from tests.servers import until
from trews import http
from trews.http.asgi_handler import Disconnected

every_loop = pytest.mark.parametrize("loop", LOOPS)


def says(function):
    """An application that answers with what a function makes of the scope and the body."""

    async def app(scope, receive, send):
        content = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            content += message["body"]
            if not message["more_body"]:
                break
        await send(START)
        await send(body(function(scope, content)))

    return of_requests(app)


# -- the scope


@every_loop
def test_the_scope(loop):
    found = {}

    def note(scope, content):
        found.update(scope)
        return b"ok"

    async def main():
        async with serving(says(note)) as server:
            await ask(server, get("/a%20b?c=d", "X-Two: 1", "x-two: 2"))
            assert found.pop("server") == ("127.0.0.1", server.port)

    on(loop, main())
    host, port = found.pop("client")
    assert host == "127.0.0.1"
    assert isinstance(port, int)
    assert found.pop("asgi") == {"version": "3.0", "spec_version": "2.5"}
    assert sorted(found.pop("extensions")) == [
        "http.response.early_hint",
        "http.response.pathsend",
        "http.response.trailers",
    ]
    assert found.pop("headers") == [
        (b"host", b"example.org"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"connection", b"close"),
    ]
    assert found == {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=d",
        "root_path": "",
        "state": {},
    }


def test_a_unix_socket_has_a_path_and_no_client(tmp_path):
    found = {}

    async def main():
        server = http.Server(http.asgi(says(lambda scope, content: found.update(scope) or b"")))
        async with server.listen(f"unix:{tmp_path}/sock"):
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/sock")
            writer.write(get())
            await reader.read()
            writer.close()
            await writer.wait_closed()

    on("trews", main())
    assert found["client"] is None
    assert found["server"] == (f"{tmp_path}/sock", None)


def test_the_scope_of_each_request_that_a_proxy_brings_is_its_own():
    def client(scope, content):
        return f"{scope['client']} {scope['scheme']}".encode()

    async def main():
        async with serving(says(client), {"trusted_proxies": ["127.0.0.1"]}) as server, LastAsked(server) as client_:
            found = []
            for number in (1, 2):
                fields = f"X-Forwarded-For: 192.0.2.{number}", "X-Forwarded-Proto: https"
                client_.write(get("/", *fields, last=False))
                found.append((await client_.answer())[1].decode())
            return found

    first, second = on("trews", main())
    assert "192.0.2.1" in first
    assert "192.0.2.2" in second
    assert first.endswith("https")


# -- receive


@every_loop
@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
def test_a_body_comes_whole(loop, size):
    content = os.urandom(size)
    app = says(lambda scope, content: content)
    assert body_of(answers(loop, app, post("/", content))) == content


def test_a_chunked_body_comes_without_its_chunks():
    data = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert body_of(answers("trews", says(lambda scope, content: content), data)) == b"abcde"


@every_loop
def test_a_body_comes_as_it_is_sent_and_100_continue_when_it_is_asked_for(loop):
    pieces = asyncio.Queue()

    @of_requests
    async def app(scope, receive, send):
        await asyncio.sleep(0)
        while True:
            message = await receive()
            pieces.put_nowait((message["body"], message["more_body"]))
            if not message["more_body"]:
                break
        await send(START)
        await send(body(b"ok"))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            assert (await client.answer())[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.write(b"ab")
            assert await pieces.get() == (b"ab", True)
            client.write(b"cd")
            assert await pieces.get() == (b"cd", False)
            assert (await client.answer())[1] == b"ok"

    on(loop, main())


def test_who_answers_without_the_body_says_no_100_continue():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    answer = answers("trews", sends(START, body(b"no")), data)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer


@every_loop
def test_a_peer_is_held_back_while_its_body_is_not_taken(loop):
    go = asyncio.Event()
    total = 8 * 1024 * 1024

    @of_requests
    async def app(scope, receive, send):
        await go.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        await send(START)
        await send(body(b"%d" % size))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            client.write(post("/", b"x" * total))
            await until(lambda: server.connections and server.stats.bytes_in > 65536)
            for _ in range(200):
                await asyncio.sleep(0)
            held = server.stats.bytes_in
            assert held < total // 2
            go.set()
            assert (await client.answer())[1] == b"%d" % total

    on(loop, main())


@every_loop
def test_after_the_answer_receive_says_disconnect(loop):
    told = []

    @of_requests
    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.request"
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await send(START)
        await send(body(b"ok"))
        told.append(await waiting)
        told.append(await receive())

    assert body_of(answers(loop, app, get())) == b"ok"
    assert told == [{"type": "http.disconnect"}] * 2


@every_loop
def test_receive_tells_of_a_client_that_has_gone_and_send_raises(loop, caplog):
    told = []

    @of_requests
    async def app(scope, receive, send):
        await receive()
        told.append("begun")
        told.append(await receive())
        try:
            await send(START)
        except OSError as exc:
            told.append(exc)
            raise

    async def main():
        async with serving(app) as server:
            async with LastAsked(server) as client:
                client.write(get())
                await until(lambda: told)
                client.abort()
            await until(lambda: len(told) == 3)
            await until(lambda: not server.connections)

    on(loop, main())
    assert told[1] == {"type": "http.disconnect"}
    assert isinstance(told[2], Disconnected)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@every_loop
@pytest.mark.parametrize("answers_it", [True, False])
def test_a_client_that_only_ends_what_it_sends_may_still_be_answered(loop, answers_it, caplog):
    @of_requests
    async def app(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        if answers_it:
            await send(START)
            await send(body(b"still"))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            client.write(get())
            client.write_eof()
            if answers_it:
                assert (await client.answer())[1] == b"still"
            else:
                with contextlib.suppress(ConnectionResetError):
                    assert await client.reader.read() == b""

    on(loop, main())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_polling_for_the_end_of_the_client_leaves_nothing_behind():
    kept = []

    @of_requests
    async def app(scope, receive, send):
        await receive()
        for _ in range(100):
            task = asyncio.create_task(receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        kept.append(receive.__self__.request._waiters)
        await send(START)
        await send(body(b"ok"))

    assert body_of(answers("trews", app, get())) == b"ok"
    assert kept == [None]


BAD_BODIES = [
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 400 "),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n", b"HTTP/1.1 413 "),
]


@every_loop
@pytest.mark.parametrize("pause", [0, 3], ids=["at once", "later"])
@pytest.mark.parametrize(("data", "expected"), BAD_BODIES)
def test_a_body_that_cannot_be_taken_is_a_disconnect_and_answered_with_its_status(loop, pause, data, expected, caplog):
    told = []

    @of_requests
    async def app(scope, receive, send):
        for _ in range(pause):
            await asyncio.sleep(0)
        while (message := await receive())["type"] == "http.request":
            pass
        told.append(message)
        raise ValueError("the framework's own way to say so")

    head, _, rest = data.partition(b"\r\n\r\n")

    async def main():
        async with serving(app, {"max_body": 10}) as server, LastAsked(server) as client:
            client.write(head + b"\r\n\r\n")
            for _ in range(10):
                await asyncio.sleep(0)
            client.write(rest)
            return await client.reader.read()

    assert on(loop, main()).startswith(expected)
    assert told == [{"type": "http.disconnect"}]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


# -- send


def test_an_answer_of_two_messages_has_its_length_and_leaves_the_connection_open():
    async def main():
        async with serving(sends(START, body(b"hello"))) as server, LastAsked(server) as client:
            for _ in range(3):
                client.write(get(last=False))
                head, content = await client.answer()
                assert content == b"hello"
                assert b"Content-Length: 5\r\n" in head
                assert b"Connection" not in head
                assert b"chunked" not in head

    on("trews", main())


@every_loop
def test_pipelined_requests_are_answered_in_order(loop):
    @of_requests
    async def app(scope, receive, send):
        if "slow" in scope["path"]:
            await asyncio.sleep(0.001)
        await send(START)
        await send(body(scope["path"].encode()))

    paths = ["/1", "/slow2", "/3", "/4", "/slow5", "/slow6", "/7"]
    data = b"".join(get(path, last=path == "/7") for path in paths)
    answer = answers(loop, app, data)
    assert answer.count(b"HTTP/1.1 200") == 7
    positions = [answer.find(b"\r\n\r\n" + path.encode()) for path in paths]
    assert -1 not in positions
    assert positions == sorted(positions)


# (name, messages, head has, body)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GOOD = [
    ("pieces", [START, body(b"ab", True), body(b"c", True), body(b"")], CHUNKED, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
    ("last with more", [START, body(b"ab", True), body(b"c")], CHUNKED, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
    ("defaults", [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}], b"200 OK", b""),
    (
        "a length",
        [{**START, "headers": [(b"content-length", b"3")]}, body(b"ab", True), body(b"c")],
        b"Content-Length: 3\r\n",
        b"abc",
    ),
    ("a status without words", [{**START, "status": 299}, body(b"x")], b"HTTP/1.1 299 ", b"x"),
    ("no content", [{**START, "status": 204, "headers": []}, body(b"")], b"HTTP/1.1 204 ", b""),
    (
        "bytearray",
        [START, body(bytearray(b"ab"), True), body(memoryview(b"c"))],
        CHUNKED,
        b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ),
    (
        "transfer-encoding is the server's",
        [{**START, "headers": iter([(b"Transfer-Encoding", b"chunked"), (b"x", b"y")])}, body(b"ab")],
        b"x: y\r\n",
        b"ab",
    ),
    ("lists as pairs", [{**START, "headers": [[b"x", b"y"]]}, body(b"ab")], b"x: y\r\n", b"ab"),
    ("more than is wanted", [START, body(b"ab"), body(b"more"), START], b"200 OK", b"ab"),
]


@pytest.mark.parametrize(("messages", "has", "content"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_answers(messages, has, content):
    answer = answers("trews", sends(*messages), get())
    assert has in answer.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert body_of(answer) == content


def test_head_gets_no_body():
    app = sends(START, body(b"hello", True), body(b""))
    data = b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert body_of(answers("trews", app, data)) == b""
    answer = answers("trews", sends(START, body(b"hello")), data)
    assert b"Content-Length: 5\r\n" in answer
    assert body_of(answer) == b""


def test_http_1_0_gets_no_chunks():
    app = sends(START, body(b"hel", True), body(b"lo"))
    answer = answers("trews", app, b"GET / HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer
    assert body_of(answer) == b"hello"


# (name, messages, what is said, what the client gets begins with): the first is answered, the other is cut off
_500 = b"HTTP/1.1 500 "
BAD = [
    ("nothing", [], "sent no 'http.response.start'", _500),
    ("only a start", [START], "no body after it", _500),
    ("no end", [START, body(b"a", True)], "in the middle of its answer", b""),
    ("a body first", [body(b"a")], "after 'http.response.start'", _500),
    ("two starts", [START, START], "once", _500),
    ("two starts later", [START, body(b"a", True), START], "once", b""),
    ("no such message", [{"type": "http.response.nonsense"}], "cannot send 'http.response.nonsense'", _500),
    ("no type", [{}], "cannot send None", _500),
    ("not a message", ["http.response.start"], "has no attribute", _500),
    ("no status", [{"type": "http.response.start"}], "has a status", _500),
    ("an interim status", [{**START, "status": 103}, body(b"")], "has a status", _500),
    ("a status in words", [{**START, "status": "200"}], "has a status", _500),
    ("a text", [START, body("text")], "is bytes, not str", _500),
    ("a bad name", [{**START, "headers": [(b"a b", b"c")]}, body(b"")], "cannot be the name", _500),
    ("a split value", [{**START, "headers": [(b"a", b"b\r\nc: d")]}, body(b"")], "control character", _500),
    ("too much", [{**START, "headers": [(b"content-length", b"1")]}, body(b"ab")], "more bytes than", _500),
    ("too little", [{**START, "headers": [(b"content-length", b"3")]}, body(b"ab")], "fewer bytes than", _500),
    (
        "too much in pieces",
        [{**START, "headers": [(b"content-length", b"1")]}, body(b"a", True), body(b"b")],
        "more bytes than",
        b"",
    ),
    (
        "too little in pieces",
        [{**START, "headers": [(b"content-length", b"3")]}, body(b"a", True), body(b"b")],
        "fewer bytes than",
        b"",
    ),
    ("trailers unannounced", [START, body(b"a", True), {"type": "http.response.trailers"}], "only if", b""),
    ("trailers missing", [{**START, "trailers": True}, body(b"a")], "without the trailers", b""),
]


@pytest.mark.parametrize(
    ("messages", "says", "begins"), [case[1:] for case in BAD], ids=[case[0].replace(" ", "_") for case in BAD]
)
def test_what_is_no_answer_is_said_and_the_client_sees_it(messages, says, begins, caplog):
    answer = answers("trews", sends(*messages), get())
    if begins:
        assert answer.startswith(begins)
        assert says.encode() not in answer  # it is the log's business
    else:
        assert not answer.endswith(b"0\r\n\r\n")
        assert b" 500 " not in answer
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert says in str(record.exc_info[1])
    assert record.exc_info[2] is not None


@every_loop
def test_send_waits_for_a_peer_that_does_not_read(loop):
    sent = []

    @of_requests
    async def app(scope, receive, send):
        await send(START)
        for number in range(200):
            await send(body(b"x" * 100_000, True))
            sent.append(number)
        await send(body(b""))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            client.write(get())
            await until(lambda: server.connections and any(c._is_full for c in server.connections))
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(sent) < 150
            assert len(await client.reader.read()) > 20_000_000
        assert len(sent) == 200

    on(loop, main())


@every_loop
def test_who_streams_to_a_client_that_leaves_is_told_and_nothing_is_logged(loop, caplog):
    ended = []

    @of_requests
    async def app(scope, receive, send):
        await send(START)
        try:
            while True:
                await send(body(b"x" * 100_000, True))
        except OSError as exc:
            ended.append(exc)
            raise RuntimeError("a framework's own") from exc

    async def main():
        async with serving(app) as server:
            async with LastAsked(server) as client:
                client.write(get())
                await client.reader.readexactly(100)
                client.abort()
            await until(lambda: ended)

    on(loop, main())
    assert isinstance(ended[0], Disconnected)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]

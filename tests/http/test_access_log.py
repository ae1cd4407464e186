"""The access log: what each format says, that a peer's bytes are never more than text, and one line a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import pytest

from tests.asking import wire
from tests.clients import LOOPS
from tests.servers import until
from trews import http
from trews.http import access_log
from trews.http.access_log import LOGGER, MAX_FIELD, Entry, escaped, read_access_log

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nReferer: http://r/\r\nUser-Agent: curl\r\n\r\n"
NOW = 1_792_584_900.25  # 2026-10-21 12:15:00 UTC


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(access_log, "time", lambda: NOW)
    monkeypatch.setattr(access_log, "_second", -1)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    return lambda: [record.getMessage() for record in caplog.records if record.name == LOGGER]


class Entries(list):
    """A function of entries that keeps what they say."""

    def __call__(self, entry):
        self.append((entry.line, entry.status, entry.size, entry.is_complete))


def hello(request):
    return "hello"


# -- formats


def test_common(lines):
    wire(hello, access_log="common").feed(GET)
    assert lines() == ['127.0.0.1 - - [21/Oct/2026:12:15:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5']


def test_combined(lines):
    wire(hello, access_log="combined").feed(GET)
    assert lines() == ['127.0.0.1 - - [21/Oct/2026:12:15:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5 "http://r/" "curl"']


def test_combined_of_what_is_not_there(lines):
    wire(lambda request: 204, access_log="combined").feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert lines()[0].endswith('"GET / HTTP/1.1" 204 - "-" "-"')


def test_json(lines):
    wired = wire(lambda request: request.id, access_log="json")
    request_id = wired.feed(GET).sent()[-16:].decode()
    assert json.loads(lines()[0]) == {
        "time": "2026-10-21T12:15:00Z",
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/a?b=1",
        "version": "1.1",
        "host": "example.org",
        "status": 200,
        "size": 16,
        "duration": 0.0,
        "complete": True,
        "referer": "http://r/",
        "agent": "curl",
        "id": request_id,
    }


def test_the_duration_is_that_of_the_answer():
    durations = []

    async def slowly(request):
        await asyncio.sleep(2.5)
        return "late"

    wired = wire(slowly, access_log=lambda entry: durations.append(entry.duration)).feed(GET)
    assert durations == []
    wired.advance(2.5)
    assert durations == [2.5]


def test_the_time_is_made_once_a_second(monkeypatch, lines):
    asked = []
    monkeypatch.setattr(access_log, "gmtime", lambda now: asked.append(now) or (2026, 1, 2, 3, 4, 5, 0, 0, 0))
    wired = wire(hello, access_log="common").feed(GET * 3)
    assert asked == [int(NOW)]
    monkeypatch.setattr(access_log, "time", lambda: NOW + 1)
    wired.feed(GET)
    assert asked == [int(NOW), int(NOW) + 1]
    assert "[02/Jan/2026:03:04:05 +0000]" in lines()[0]


def test_a_logger(caplog):
    caplog.set_level(logging.INFO)
    wire(hello, access_log=logging.getLogger("mine")).feed(GET)
    (record,) = [record for record in caplog.records if record.name == "mine"]
    assert record.levelno == logging.INFO
    assert record.getMessage().endswith('200 5 "http://r/" "curl"')


def test_a_logger_that_takes_nothing_has_nothing_made_for_it(monkeypatch):
    quiet = logging.Logger("quiet", logging.WARNING)
    monkeypatch.setattr(access_log, "Entry", None)  # would fail if it were called
    wired = wire(hello, access_log=quiet).feed(GET)
    assert b"hello" in wired.sent()


def test_a_function_gets_the_entry():
    entries = []
    wire(hello, access_log=entries.append).feed(GET)
    (entry,) = entries
    assert isinstance(entry, Entry)
    assert (entry.client, entry.line, entry.status, entry.size) == ("127.0.0.1", "GET /a?b=1 HTTP/1.1", 200, 5)
    assert (entry.referer, entry.agent, entry.is_complete) == ("http://r/", "curl", True)
    assert entry.request.path == "/a"
    assert entry.id == entry.request.id
    assert entry.connection is entry.request.connection
    assert repr(entry) == "<Entry GET /a?b=1 HTTP/1.1 200 5>"


def test_a_function_that_raises_harms_nobody(caplog):
    def broken(entry):
        raise ValueError("mine")

    sent = wire(hello, access_log=broken).feed(GET + GET).sent()
    assert sent.count(b"hello") == 2
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "the access_log function failed"
    ] * 2


async def _asynchronous(entry): ...


class _AsynchronousToo:
    async def __call__(self, entry): ...


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ("nginx", ValueError, "'common', 'combined', 'json', a logger or a function, not 'nginx'"),
        (True, TypeError, "not True"),
        (5, TypeError, "not 5"),
        (list, TypeError, "list"),
        (_asynchronous, TypeError, "plain function"),
        (_AsynchronousToo(), TypeError, "plain function"),
    ],
)
def test_what_is_no_access_log(value, error, says):
    with pytest.raises(error, match=says):
        http.Server(hello, access_log=value)


@pytest.mark.parametrize("value", [None, False])
def test_no_access_log(value):
    assert read_access_log(value) is None
    assert wire(hello, access_log=value).connection._pipeline.is_logged is False


# -- what a peer sends is text (CVE-2020-7694)

ATTACKS = [
    (b'"', '\\"'),
    (b"\\", "\\\\"),
    (b'\\" 200 5 "', '\\\\\\" 200 5 \\"'),
    (b"a\tb", "a\\x09b"),
    (b"\x9b31m", "\\x9b31m"),  # CSI in one byte
    (b"\xe2\x80\xae", "\\xe2\\x80\\xae"),  # right-to-left override, in UTF-8
    (b"\xff", "\\xff"),
]


@pytest.mark.parametrize(("raw", "shown"), ATTACKS)
def test_in_fields(raw, shown, lines):
    fields = b"Referer: " + raw + b"\r\nUser-Agent: " + raw + b"\r\n\r\n"
    wire(hello, access_log="combined").feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields)
    assert lines()[0].endswith(f' 200 5 "{shown}" "{shown}"')
    assert lines()[0].isprintable()
    assert lines()[0].isascii()


@pytest.mark.parametrize(("raw", "shown"), ATTACKS)
def test_in_json(raw, shown, lines):
    wire(hello, access_log="json").feed(b"GET / HTTP/1.1\r\nHost: a\r\nReferer: " + raw + b"\r\n\r\n")
    assert lines()[0].isprintable()
    assert lines()[0].isascii()
    assert json.loads(lines()[0])["referer"] == raw.decode("latin-1")


def test_in_the_target(lines):
    wire(hello, access_log="common").feed(b'GET /%1b[31m%0a"\\ HTTP/1.1\r\nHost: a\r\n\r\n')
    assert '"GET /%1b[31m%0a\\"\\\\ HTTP/1.1" 200 5' in lines()[0]


@pytest.mark.parametrize("byte", [b"\x1b", b"\x00", b"\n", b"\x7f", b"\xe9"])
def test_what_cannot_be_in_a_target_is_not_in_the_log(byte, lines):
    wire(hello, access_log="common").feed(b"GET /" + byte + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    (line,) = lines()
    assert line.startswith('127.0.0.1 - - [21/Oct/2026:12:15:00 +0000] "-" 400 ')


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/tmp/a b\n", "/tmp/a\\x20b\\x0a"),
        ("/tmp/\u202e\x1b", "/tmp/\\u202e\\x1b"),
        ("/tmp/\udcff\U0001f600", "/tmp/\\udcff\\U0001f600"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_in_the_name_of_a_unix_client(path, shown, lines):
    wire(hello, path, access_log="common").feed(GET)
    assert lines()[0].startswith(f"{shown} - - [")


def test_in_the_id(lines):
    ask = b'GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: "}\\\r\n\r\n'
    wire(hello, access_log="json", trusted_proxies="127.0.0.1").feed(ask)
    assert json.loads(lines()[0])["id"] == '"}\\'


def test_del_is_escaped_in_json(lines):
    wire(hello, "/tmp/\x7f", access_log="json").feed(GET)
    assert "\\u007f" in lines()[0]
    assert json.loads(lines()[0])["client"] == "/tmp/\x7f"


def test_nothing_that_is_sent_makes_a_line_long(lines):
    agent = b"\xff" * 20_000
    wire(hello, access_log="combined").feed(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + b"\r\n\r\n")
    assert len(lines()[0]) < 4 * MAX_FIELD + 200


def test_every_character_is_escaped_or_harmless():
    for code in range(0x300):
        shown = escaped(f"<{chr(code)}>")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown.count('"') == shown.count('\\"')


def test_the_client_is_whom_the_proxy_speaks_for(lines):
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    wire(hello, access_log="common", trusted_proxies="127.0.0.1").feed(ask)
    assert lines()[0].startswith("1.2.3.4 - - ")


# -- one line a request, whatever becomes of it


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /a\x00b HTTP/1.1\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_heads_that_are_refused(data, status):
    entries = Entries()
    wire(hello, access_log=entries).feed(data)
    ((line, logged, size, complete),) = entries
    assert (line, logged, complete) == ("-", status, True)
    assert size > 0


def test_a_head_that_takes_too_long():
    entries = Entries()
    wire(hello, access_log=entries).feed(b"GET / HTTP/1.1\r\n").advance(11)
    assert [entry[:2] for entry in entries] == [("-", 408)]


def test_bodies_that_are_refused():
    entries = Entries()
    wire(hello, access_log=entries, max_body=10).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
    wire(hello, access_log=entries).feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
    wire(hello, access_log=entries).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nx").advance(11)
    assert [entry[:2] for entry in entries] == [
        ("POST / HTTP/1.1", 413),
        ("POST / HTTP/1.1", 400),
        ("POST / HTTP/1.1", 408),
    ]


def test_pipelined_requests_each_have_theirs():
    entries = Entries()
    wire(hello, access_log=entries).feed(GET * 70)
    assert entries == [("GET /a?b=1 HTTP/1.1", 200, 5, True)] * 70


def failing(request):
    raise RuntimeError("mine")


def missing(request):
    raise http.Error(404)


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (missing, 404),
        (lambda request: 204, 204),
        (lambda request: (201, "x"), 201),
        (lambda request: {"a": 1}, 200),
        (lambda request: b"x", 200),
        (lambda request: iter(["a", "b"]), 200),
        (lambda request: http.Response("x", 202), 202),
        (lambda request: request.start(203).finish("x"), 203),
    ],
)
def test_answers_of_every_kind(app, status):
    entries = Entries()
    wire(app, access_log=entries).feed(GET)
    assert [entry[1] for entry in entries] == [status]
    assert entries[0][3] is True


def test_answers_of_async_handlers():
    async def app(request):
        await asyncio.sleep(0)
        return "hello"

    entries = Entries()
    wire(app, access_log=entries).feed(GET + GET)
    assert entries == [("GET /a?b=1 HTTP/1.1", 200, 5, True)] * 2


def test_answers_of_wsgi_and_asgi_applications():
    def wsgi(environ, start_response):
        start_response("203 Fine", [])
        return [b"hello"]

    async def asgi(scope, receive, send):
        await send({"type": "http.response.start", "status": 203})
        await send({"type": "http.response.body", "body": b"hello"})

    for app in (http.wsgi(wsgi, threads=0), http.asgi(asgi)):
        entries = Entries()
        wire(app, access_log=entries).feed(GET + GET)
        assert entries == [("GET /a?b=1 HTTP/1.1", 203, 5, True)] * 2


def test_an_error_in_the_handler():
    entries = Entries()
    wired = wire(failing, access_log=entries)
    with pytest.raises(RuntimeError, match="mine"):
        wired.feed(GET)
    assert [entry[:2] for entry in entries] == [("GET /a?b=1 HTTP/1.1", 500)]


def test_the_answer_to_head_has_no_bytes():
    entries = Entries()
    wire(hello, access_log=entries).feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    wire(lambda request: iter(["hello"]), access_log=entries).feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert entries == [("HEAD / HTTP/1.1", 200, 0, True)] * 2


def test_a_client_that_goes_before_its_answer():
    async def app(request):
        await request.disconnected()
        return "nobody hears it"

    entries = Entries()
    wire(app, access_log=entries).feed(GET).reset()
    assert entries == [("GET /a?b=1 HTTP/1.1", 499, 0, False)]


def test_a_client_that_goes_before_an_answer_that_comes_later():
    requests = []

    def app(request):
        request.defer()
        requests.append(request)

    entries = Entries()
    wired = wire(app, access_log=entries).feed(GET).reset()
    requests[0].respond("nobody hears it")
    wired.settle()
    assert entries == [("GET /a?b=1 HTTP/1.1", 499, 0, False)]


def test_a_client_that_goes_in_the_middle_of_its_body():
    entries = Entries()
    wire(hello, access_log=entries).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nx").reset()
    assert entries == [("POST / HTTP/1.1", 499, 0, False)]


def test_a_client_that_goes_in_the_middle_of_its_answer():
    async def app(request):
        request.start(206).write("part")
        await request.disconnected()
        request.finish("the rest")

    async def piece_by_piece(request):
        async def body():
            yield "part"
            await request.disconnected()
            yield "the rest"

        return 206, body()

    entries = Entries()
    for handler in (app, piece_by_piece):
        wire(handler, access_log=entries).feed(GET).reset()
    assert entries == [("GET /a?b=1 HTTP/1.1", 206, 4, False)] * 2


def test_a_client_that_ended_before_its_answer_may_have_gone():
    """Or may wait for it yet, having ended its own half only. The log says what is sent, not that it is complete."""

    async def late(request):
        await asyncio.sleep(2)
        return "late"

    async def pieces(request):
        async def body():
            yield "part"
            await asyncio.sleep(2)
            yield ", rest"

        return http.Response(body(), 201)

    async def app(scope, receive, send):
        await asyncio.sleep(2)
        await send({"type": "http.response.start", "status": 202})
        await send({"type": "http.response.body", "body": b"asgi"})

    entries = Entries()
    for handler in (late, pieces, http.asgi(app)):
        assert b"HTTP/1.1 20" in wire(handler, access_log=entries).feed(GET).eof().advance(3).sent()
    line = "GET /a?b=1 HTTP/1.1"
    assert entries == [(line, 200, 4, False), (line, 201, 10, False), (line, 202, 4, False)]


def test_an_answer_that_was_there_at_once_is_complete():
    entries = Entries()
    wire(hello, access_log=entries).feed(GET).eof()
    assert entries == [("GET /a?b=1 HTTP/1.1", 200, 5, True)]


def _wsgi_file(path):
    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    return http.wsgi(app, threads=0)


def _asgi_file(path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        with contextlib.suppress(OSError):
            await send({"type": "http.response.pathsend", "path": str(path)})

    return http.asgi(app)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("handler", [_wsgi_file, _asgi_file])
def test_of_a_file_that_is_cut_off_there_is_what_was_sent(handler, name, tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(64 * 2**20)  # more than the buffers of sockets hold
    entries = Entries()

    async def main():
        async with http.Server(handler(path), access_log=entries).listen("127.0.0.1:0") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(100_000)
            writer.transport.abort()
            await until(lambda: entries)

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())
    ((_, status, size, is_complete),) = entries
    assert (status, is_complete) == (200, False)
    assert 100_000 <= size < 64 * 2**20


@pytest.mark.parametrize("handler", [_wsgi_file, _asgi_file])
def test_of_a_file_that_is_sent_there_is_its_size(handler, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000))
    entries = Entries()
    wire(handler(path), access_log=entries).feed(GET * 2)
    assert entries == [("GET /a?b=1 HTTP/1.1", 200, 300_000, True)] * 2


def test_an_answer_that_fails_in_the_middle():
    def body():
        yield "part"
        raise ValueError("mine")

    entries = Entries()
    wired = wire(lambda request: body(), access_log=entries)
    with pytest.raises(ValueError, match="mine"):
        wired.feed(GET)
    assert entries == [("GET /a?b=1 HTTP/1.1", 200, 4, False)]


def test_who_asks_nothing_is_not_in_the_log():
    entries = Entries()
    wire(hello, access_log=entries).eof()
    wire(hello, access_log=entries).feed(b"GET / HT").reset()
    wire(hello, access_log=entries).advance(80)
    assert entries == []


# -- over sockets, on each loop


@pytest.mark.parametrize("name", LOOPS)
def test_on_every_loop(name, lines):
    async def main():
        async def app(request):
            await asyncio.sleep(0)
            return request.path

        async with http.Server(app, access_log="common").listen("127.0.0.1:0") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n")
            assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 2
            writer.close()
            await until(lambda: len(lines()) == 3)

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())
    assert [line.partition('"')[2] for line in lines()][:2] == ['GET /1 HTTP/1.1" 200 2', 'GET /2 HTTP/1.1" 200 2']
    assert '"-" 400 ' in lines()[2]

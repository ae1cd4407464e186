"""Request: what a handler sees of what was sent, whatever was sent, and each way to answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.asking import Peer, get, request_of, wire
from trews import http
from trews.errors import ConnectionClosed
from trews.http.errors import Error
from trews.http.multi import Headers
from trews.http.request import Answer

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


# -- what was asked


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "raw_query"),
    [
        ("/", "/", "/", ""),
        ("/a/b", "/a/b", "/a/b", ""),
        ("/a%20b?x=1", "/a%20b", "/a b", "x=1"),
        ("/?", "/", "/", ""),
        ("/a?b?c", "/a", "/a", "b?c"),
        ("/a+b", "/a+b", "/a+b", ""),
        ("/%C3%A9", "/%C3%A9", "/é", ""),
        ("/%2F", "/%2F", "//", ""),
        ("/%3Fa", "/%3Fa", "/?a", ""),
        ("/a;b=1", "/a;b=1", "/a;b=1", ""),
        # what a path may not be taken for
        ("//evil.org/a", "//evil.org/a", "//evil.org/a", ""),
        ("///evil.org", "///evil.org", "///evil.org", ""),
        ("/http://evil.org", "/http://evil.org", "/http://evil.org", ""),
        ("/../a/./b", "/../a/./b", "/../a/./b", ""),
        ("/%2e%2e/a", "/%2e%2e/a", "/../a", ""),
        ("/\\a", "/\\a", "/\\a", ""),
        ("/%00", "/%00", "/\0", ""),
        ("/%0d%0aA:b", "/%0d%0aA:b", "/\r\nA:b", ""),
        # no lone surrogates come of bytes that are no UTF-8
        ("/%ff", "/%ff", "/\ufffd", ""),
        ("/%ed%a0%80", "/%ed%a0%80", "/\ufffd\ufffd\ufffd", ""),
        # URLs, as proxies get them
        ("http://example.org", "/", "/", ""),
        ("http://example.org/", "/", "/", ""),
        ("http://example.org/a%20b?c=d", "/a%20b", "/a b", "c=d"),
        ("http://example.org?a=/b", "/", "/", "a=/b"),
        ("HTTP://example.org/a", "/a", "/a", ""),
        ("http://example.org//a", "//a", "//a", ""),
    ],
)
def test_paths(target, raw_path, path, raw_query):
    request = get(target)
    assert (request.raw_path, request.path, request.raw_query) == (raw_path, path, raw_query)
    assert request.target == target.encode()
    request.path.encode()


def test_options_of_the_server():
    request = get("*", method="OPTIONS")
    assert (request.path, request.raw_query, len(request.query)) == ("*", "", 0)


@pytest.mark.parametrize("method", ["GET", "get", "POST", "PROPFIND", "M-SEARCH"])
def test_methods_are_as_they_were_sent(method):
    assert get(method=method).method == method


def test_query():
    query = get("/?a=1&b=%20&a=2").query
    assert query.items() == [("a", "1"), ("b", " "), ("a", "2")]
    assert query["a"] == "1"


def test_what_is_made_is_made_once():
    request = get("/?a=1", "Cookie: a=1")
    assert request.query is request.query
    assert request.headers is request.headers
    assert request.cookies is request.cookies
    assert request.id is request.id


def test_too_many_parameters_are_the_client_s_fault():
    wired = wire(lambda request: request.query.get("a", ""), max_target=20_000, max_head=30_000)
    assert wired.feed(GET.replace(b"/ ", b"/?" + b"&".join([b"a=1"] * 1001) + b" ")).sent().startswith(b"HTTP/1.1 400 ")


def test_headers():
    headers = get("/", "Accept: a", "accept:b", "X-Bytes: \xe9\xff ", "Empty:").headers
    assert headers["ACCEPT"] == "a, b"
    assert headers["X-Bytes"] == "\xe9\xff"
    assert headers["Empty"] == ""
    assert headers["Host"] == "example.org"
    assert isinstance(headers, Headers)


def test_cookies():
    assert get("/").cookies == {}
    assert get("/", "Cookie: a=1; b=2", "Cookie: c=3").cookies == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "1.1"),
        (b"GET / HTTP/1.0\r\n\r\n", "1.0"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "1.1"),
    ],
)
def test_version(data, version):
    assert request_of(data).version == version


@pytest.mark.parametrize(
    ("data", "host"),
    [
        (b"GET / HTTP/1.1\r\nHost: Example.org:80\r\n\r\n", "Example.org:80"),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "[::1]:80"),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", ""),
        (b"GET / HTTP/1.0\r\n\r\n", ""),
        (b"GET http://b.org/ HTTP/1.0\r\n\r\n", "b.org"),
    ],
)
def test_host(data, host):
    assert request_of(data).host == host


def test_scheme_client_tls():
    request = get()
    assert (request.scheme, request.client, request.tls) == ("http", ("127.0.0.1", 4000), None)

    class Over(Peer):
        tls = object()
        remote_address = "/run/x.sock"

    request = get(peer=Over())
    assert (request.scheme, request.client, request.tls) == ("https", "/run/x.sock", Over.tls)


def test_ids_are_random():
    found = {get().id for _ in range(100)}
    assert len(found) == 100
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in found)


def test_repr_has_no_secrets():
    assert repr(get("/a?token=x")) == "<Request GET /a>"


def test_attributes_may_be_added():
    request = get()
    request.user = "me"
    assert request.user == "me"


# -- its body


def test_a_plain_handler_has_it():
    seen = []

    def app(request):
        seen.append((request.content, request.text))
        return request.json()

    sent = wire(app).feed(POST + b'["a"]').sent()
    assert seen == [(b'["a"]', '["a"]')]
    assert sent.endswith(b'["a"]')


def test_a_body_that_comes_in_pieces():
    assert wire(lambda request: request.content).feed(POST + b"hello", chunk=1).sent().endswith(b"hello")


def test_no_body_is_no_bytes():
    request = get()
    assert (request.content, request.text) == (b"", "")
    with pytest.raises(Error, match="no JSON"):
        request.json()


def test_an_async_handler_reads_it():
    async def app(request):
        for what in (lambda: request.content, lambda: request.text, request.json):
            with pytest.raises(RuntimeError, match=r"not read yet: await request\.read\(\)"):
                what()
        first = await request.read()
        assert await request.read() is first is request.content
        return request.text

    wired = wire(app).feed(POST)
    assert wired.feed(b"hello").sent().endswith(b"hello")


def test_nothing_to_read():
    async def app(request):
        return [len(await request.read()), [piece async for piece in request]]

    assert wire(app).feed(GET).sent().endswith(b"[0,[]]")


def test_pieces_as_they_come():
    pieces = []

    async def app(request):
        async for piece in request:
            pieces.append(piece)
        return 204

    wired = wire(app).feed(CHUNKED).feed(b"2\r\nab\r\n").feed(b"1\r\nc\r\n1\r\nd\r\n")
    assert pieces == [b"ab", b"cd"]
    assert wired.feed(b"0\r\n\r\n").sent().startswith(b"HTTP/1.1 204 ")


def test_the_rest_of_what_was_taken_piece_by_piece():
    async def app(request):
        async for _ in request:
            break
        return await request.read()

    assert wire(app).feed(POST).feed(b"he").feed(b"llo").sent().endswith(b"llo")


def test_reading_that_was_given_up_loses_nothing():
    async def app(request):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await request.read()
        return await request.read()

    assert wire(app).feed(POST).feed(b"he").advance(2).feed(b"llo").sent().endswith(b"hello")


def test_one_reads_it():
    async def app(request):
        first = asyncio.ensure_future(request.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await request.read()
        return await first

    assert wire(app).feed(POST).feed(b"hello").sent().endswith(b"hello")


def test_a_client_that_ends_before_its_body_does():
    raised = []

    async def app(request):
        try:
            await request.read()
        except ConnectionClosed as exc:
            raised.append(exc)
            raise

    assert wire(app).feed(POST + b"he").eof().sent().startswith(b"HTTP/1.1 400 ")
    assert "middle" in str(raised[0])


def test_a_body_that_is_none():
    async def app(request):
        await request.read()

    assert wire(app).feed(CHUNKED + b"x\r\n").sent().startswith(b"HTTP/1.1 400 ")
    assert wire(app, max_body=4).feed(CHUNKED + b"5\r\nhello\r\n").sent().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("content_type", "content", "answered"),
    [
        (b"text/plain; charset=utf-16-be", b"\x00a\x00b", b"ab"),
        (b"text/plain; charset=iso-8859-1", b"\xe9", "é".encode()),
        (b"text/plain", b"\xe9", b"400 "),
        (b"text/plain; charset=nonsense", b"a", b"415 "),
    ],
)
def test_text(content_type, content, answered):
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (
        content_type,
        len(content),
    )
    assert answered in wire(lambda request: request.text).feed(head + content).sent()


def test_what_is_no_json_is_the_client_s_fault():
    assert wire(lambda request: request.json()).feed(POST + b"[NaN]").sent().startswith(b"HTTP/1.1 400 ")


def test_what_json_can_say_can_be_sent_back():
    wired = wire(lambda request: request.json())
    assert wired.feed(POST.replace(b"5", b"10") + b'["\\ud800"]').sent().endswith(b'["\\ud800"]')


def test_trailers():
    async def app(request):
        before = dict(request.trailers)
        await request.read()
        return [before, request.trailers["x-sum"], "x-sum" in request.headers]

    wired = wire(app).feed(CHUNKED)
    assert wired.feed(b"1\r\na\r\n0\r\nX-Sum: 5\r\n\r\n").sent().endswith(b'[{},"5",false]')
    assert dict(get().trailers) == {}


# -- its answer, step by step


def test_start_write_finish():
    def app(request):
        request.start(201, {"X-A": "b"}, "Fine").write("é")
        request.write(b"x")
        request.finish(bytearray(b"end"))

    sent = wire(app).feed(GET).sent()
    assert sent.startswith(b"HTTP/1.1 201 Fine\r\n")
    assert b"X-A: b\r\n" in sent
    assert b"Transfer-Encoding: chunked" in sent
    assert body_of(sent) == b"2\r\n\xc3\xa9\r\n1\r\nx\r\n3\r\nend\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "3"}, Headers({"content-length": "3"}), [("Content-Length", "3")]]
)
def test_a_length_that_was_said(headers):
    sent = wire(lambda request: request.start(200, headers).finish("abc")).feed(GET).sent()
    assert b"chunked" not in sent
    assert body_of(sent) == b"abc"


def test_trailers_of_an_answer():
    sent = wire(lambda request: request.start().finish("a", trailers={"X-Sum": "5"})).feed(GET).sent()
    assert body_of(sent) == b"1\r\na\r\n0\r\nX-Sum: 5\r\n\r\n"


@pytest.mark.parametrize("data", [5, None, ["a"], True])
def test_what_is_no_piece_of_a_body(data):
    def app(request):
        request.start()
        with pytest.raises(TypeError, match="str or bytes"):
            request.write(data)
        request.finish()

    assert body_of(wire(app).feed(GET).sent()) == b"0\r\n\r\n"


def test_it_is_no_plain_iterable():
    with pytest.raises(TypeError, match=r"`async for piece in request`.* has all of it in request\.content"):
        list(get())


@pytest.mark.parametrize(
    "call",
    [
        lambda request: request.start(200, ["A: b"]),
        lambda request: request.start(200, "A: b"),
        lambda request: request.inform(103, {"A: b"}),
    ],
)
def test_fields_that_are_none(call):
    def app(request):
        with pytest.raises(TypeError, match="fields are a mapping or pairs"):
            call(request)
        return "fine"

    assert wire(app).feed(GET).sent().endswith(b"fine")


def test_a_status_with_its_words():
    def app(request):
        with pytest.raises(TypeError, match=r"a status is a number such as 200, not '200 OK'; its words, .* `reason=`"):
            request.start("200 OK")
        return "fine"

    assert wire(app).feed(GET).sent().endswith(b"fine")


def test_the_order_of_steps():
    def app(request):
        with pytest.raises(RuntimeError, match=r"between start\(\) and finish\(\)"):
            request.write("x")
        with pytest.raises(RuntimeError, match=r"after start\(\)"):
            request.finish()
        request.start()
        for again in (request.start, request.inform, request.respond):
            with pytest.raises(RuntimeError, match="has its answer already"):
                again(103)
        request.finish()
        with pytest.raises(RuntimeError, match=r"between start\(\)"):
            request.write("x")
        with pytest.raises(RuntimeError, match="once"):
            request.finish()

    assert body_of(wire(app).feed(GET).sent()) == b"0\r\n\r\n"


def test_more_than_was_said():
    def app(request):
        request.start(200, {"Content-Length": "3"})
        with pytest.raises(http.BadAnswer):
            request.write("abcd")
        request.finish("abc")

    assert body_of(wire(app).feed(GET).sent()) == b"abc"


def test_less_than_was_said_aborts_the_connection():
    def app(request):
        request.start(200, {"Content-Length": "3"}).write("ab")
        with pytest.raises(http.BadAnswer):
            request.finish()

    wired = wire(app).feed(GET)
    assert wired.connection.is_closed
    assert not wired.connection.reason.is_clean


@pytest.mark.parametrize("status", [99, 1000, "200"])
def test_what_cannot_be_sent_is_not_begun(status):
    def app(request):
        with pytest.raises((ValueError, TypeError)):
            request.start(status)
        return "fine"

    assert wire(app).feed(GET).sent().endswith(b"fine")


def test_later():
    requests = []

    def app(request):
        request.defer()
        requests.append(request)

    wired = wire(app).feed(GET)
    assert wired.sent() == b""
    requests[0].respond({"a": 1})
    assert wired.sent().endswith(b'{"a":1}')
    with pytest.raises(RuntimeError, match="already"):
        requests[0].respond("again")
    assert requests[0]._state is Answer.DONE


@pytest.mark.parametrize(
    ("result", "error"), [(None, TypeError), (True, TypeError), (700, ValueError), (object(), TypeError)]
)
def test_what_is_no_answer_can_be_mended(result, error):
    requests = []

    def app(request):
        request.defer()
        requests.append(request)

    wired = wire(app).feed(GET)
    with pytest.raises(error):
        requests[0].respond(result)
    assert wired.sent() == b""
    requests[0].respond("mended")
    assert wired.sent().endswith(b"mended")


@pytest.mark.parametrize("fields", [{"Link": "</a>"}, [("Link", "</a>")], Headers({"Link": "</a>"})])
def test_inform(fields):
    def app(request):
        request.inform(103, fields)
        return "x"

    sent = wire(app).feed(GET).sent()
    assert sent.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert wire(app).feed(b"GET / HTTP/1.0\r\n\r\n").sent().startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("status", [101, 99, 200])
def test_what_is_no_interim_answer(status):
    def app(request):
        with pytest.raises(ValueError, match="101"):
            request.inform(status)
        return "x"

    assert wire(app).feed(GET).sent().startswith(b"HTTP/1.1 200 OK\r\n")


def test_drain_waits_for_a_slow_client():
    steps = []

    async def app(request):
        request.start()
        request.write(b"x" * 1_000_000)
        steps.append("written")
        await request.drain()
        steps.append("drained")
        request.finish()

    wired = wire(app)
    wired.clog()
    wired.feed(GET)
    assert steps == ["written"]
    wired.unclog()
    assert len(wired.sent()) > 1_000_000
    assert steps == ["written", "drained"]


# -- who has gone


def test_disconnected():
    seen = []

    async def app(request):
        seen.append(request.is_disconnected)
        await request.disconnected()
        await request.disconnected()
        seen.append(request.is_disconnected)
        return "nobody"

    wired = wire(app).feed(GET)
    assert seen == [False]
    wired.reset()
    assert seen == [False, True]


def test_several_may_wait_and_give_up():
    async def app(request):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await request.disconnected()
        assert not request._waiters  # who gave up is forgotten
        await asyncio.gather(request.disconnected(), request.disconnected())
        told.append(True)
        return 204

    told = []
    wire(app).feed(GET).advance(4).reset()
    assert told == [True]


def test_who_only_ends_what_it_sends_gets_its_answer():
    async def app(request):
        await request.disconnected()
        return "still there"

    assert wire(app).feed(GET).eof().sent().endswith(b"still there")

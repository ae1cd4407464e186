"""http.wsgi over real requests: what PEP 3333 asks of a server, inline and in threads."""

from __future__ import annotations

import asyncio
import logging
import wsgiref.validate

import pytest
import uvloop

import trews
from tests.http.gateways import MODES, Body, ask, environ_of, fails, get, hello, parts, returns, send, served
from trews import http

LOOPS = {"trews": trews.EventLoop, "asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TEXT = [("Content-Type", "text/plain")]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvloop")


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def threads(request):
    return request.param


# -- what the application is called with


def test_the_environ(threads):
    environ = environ_of(get("/a%20b?c=d", "X-E: f"), threads=threads)
    assert type(environ) is dict
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "REQUEST_URI": "/a%20b?c=d",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "trews",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.org",
        "HTTP_X_E": "f",
        "HTTP_CONNECTION": "close",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert set(environ) - set(expected) == {
        "SERVER_PORT",
        "REMOTE_PORT",
        "wsgi.input",
        "wsgi.errors",
        "wsgi.file_wrapper",
    }
    assert environ["SERVER_PORT"].isdigit()
    assert environ["REMOTE_PORT"].isdigit()


def test_each_request_has_an_environ_of_its_own(threads):
    seen = []

    def app(environ, start_response):
        seen.append(dict(environ))
        environ["HTTP_MINE"] = environ["wsgi.input"] = "x"
        start_response("200 OK", [])
        return [b"."]

    answer = ask(app, b"GET /1 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n\r\n" + get("/2"), threads=threads)
    assert answer.count(b"200 OK") == 2
    assert "HTTP_X_ONE" not in seen[1]
    assert "HTTP_MINE" not in seen[1]
    assert seen[1]["wsgi.input"].read() == b""


def test_the_context_of_each_request_is_its_own(threads):
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    def app(environ, start_response):
        start_response("200 OK", [])
        before = variable.get()
        variable.set(before + 1)
        return [b"%d" % before]

    answer = ask(app, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + get("/2"), threads=threads)
    assert answer.count(b"\r\n\r\n0") == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_validated(threads, loop):
    """PEP 3333, as far as wsgiref can tell, on all loops: both sides of each request."""

    @wsgiref.validate.validator
    def app(environ, start_response):
        environ["wsgi.errors"].flush()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["PATH_INFO"] == "/write":
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"written, ")
            return [b"returned"]
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "b")])
        return iter([b"", b"a", b"b" + body]) if environ["PATH_INFO"] == "/stream" else [b"one" + body]

    for path, method, body, expected in [
        ("/", "GET", b"", b"one"),
        ("/", "POST", b"+body", b"one+body"),
        ("/stream", "GET", b"", b"ab"),
        ("/stream", "POST", b"+" * 200_000, b"ab" + b"+" * 200_000),
        ("/write", "GET", b"", b"written, returned"),
        ("/?a=b", "GET", b"", b"one"),
    ]:
        answer = ask(app, get(path, method=method, body=body), threads=threads, loop_factory=LOOPS[loop])
        line, _, got = parts(answer)
        assert (path, line, got) == (path, "HTTP/1.1 200 OK", expected)


def test_behind_a_known_proxy(threads):
    fields = ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
    settings = {"trusted_proxies": ["127.0.0.1"], "proxy_fields": [field.partition(":")[0] for field in fields]}
    environ = environ_of(get("/", *fields), threads=threads, **settings)
    assert environ["REMOTE_ADDR"] == "10.1.2.3"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "shop.example"
    environ = environ_of(get("/", *fields), threads=threads)
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "example.org"


# -- framing of the answer


def test_one_block_is_one_piece_with_its_length(threads):
    line, fields, body = parts(ask(hello, get(), threads=threads))
    assert line == "HTTP/1.1 200 OK"
    assert fields["content-length"] == "13"
    assert fields["content-type"] == "text/plain"
    assert "date" in fields
    assert body == b"Hello, world!"


def test_what_is_there_goes_on_and_is_sent_at_once(threads):
    """Connections go on; pipelined requests are answered in order."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask(hello, request * 4 + get(), threads=threads)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert answer.count(b"Hello, world!") == 5


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_stream_is_chunked_or_ends_with_the_connection(threads, version):
    body = Body([b"", b"a", b"", b"b" * 5000])
    answer = ask(returns(body), get(version=version), threads=threads)
    _, fields, got = parts(answer)
    assert got == b"a" + b"b" * 5000
    assert fields.get("transfer-encoding") == ("chunked" if version == "1.1" else None)
    assert "content-length" not in fields
    assert body.closed == 1


def test_several_blocks_in_a_list_are_one_body(threads):
    _, fields, body = parts(ask(returns([b"a", b"", b"bc"]), get(), threads=threads))
    assert (fields["content-length"], body) == ("3", b"abc")


@pytest.mark.parametrize("body", [[], (), [b""], iter([]), iter([b"", b""])])
def test_no_body(body):
    _, fields, got = parts(ask(returns(body), get()))
    assert (fields["content-length"], got) == ("0", b"")


def test_a_length_that_is_said_is_the_frame(threads):
    body = Body([b"a" * 10, b"b" * 10])
    app = returns(body, headers=[("Content-Length", "20")])
    _, fields, got = parts(ask(app, get(), threads=threads))
    assert (fields["content-length"], len(got)) == ("20", 20)
    assert "transfer-encoding" not in fields
    assert body.closed == 1


@pytest.mark.parametrize("blocks", [[b"a" * 20], [b"a" * 9, b"b" * 9, b"c"]])
@pytest.mark.parametrize("kind", [list, Body])
def test_more_than_was_said_is_not_sent(threads, caplog, blocks, kind):
    """PEP 3333: should not transmit more bytes than the header allows, and should stop iterating."""
    with caplog.at_level(logging.ERROR):
        app = returns(kind(blocks), headers=[("Content-Length", "10")])
        _, _, got = parts(ask(app, get(), threads=threads))
    assert got == b"".join(blocks)[:10]
    assert "more than its Content-Length" in caplog.text


def test_less_than_was_said_cannot_be_taken_for_all(threads):
    """PEP 3333: should close the connection, and log."""

    async def main(body):
        async with served(returns(body, headers=[("Content-Length", "10")]), threads) as server:
            return await send(server, get()), server.errors

    answer, errors = trews.run(main(Body([b"abc", b"d"])))
    assert b"Content-Length: 10" in answer or answer == b"reset"
    assert "fewer bytes" in str(errors[0])
    answer, errors = trews.run(main([b"abc"]))
    assert b"HTTP/1.1 200" not in answer
    assert "fewer bytes" in str(errors[0])


@pytest.mark.parametrize("body", [[b"abc"], [], Body([b"a", b"bc"])])
def test_head_has_no_body(body):
    for threads in MODES.values():
        answer = ask(returns(body, headers=[("X-A", "b")]), get(method="HEAD"), threads=threads)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: 0" not in answer


def test_the_length_that_head_would_have(threads):
    app = returns([], headers=[("Content-Length", "5000")])
    assert b"Content-Length: 5000\r\n" in ask(app, get(method="HEAD"), threads=threads)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[], [b"no"], (b for b in [b"no"])])
def test_a_status_without_a_body(status, body):
    for threads in MODES.values():
        answer = ask(returns(body, status), get(), threads=threads)
        assert answer.startswith(f"HTTP/1.1 {status}\r\n".encode())
        assert answer.endswith(b"\r\n\r\n")
        assert b"chunked" not in answer


def test_the_words_of_a_status_and_repeated_fields(threads):
    headers = [("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"), ("X-Latin", "\xe9"), ("X-Tab", "a\tb")]
    answer = ask(returns([b"x"], "418 Short and stout", headers), get(), threads=threads)
    assert answer.startswith(b"HTTP/1.1 418 Short and stout\r\n")
    for line in (b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"X-Latin: \xe9", b"X-Tab: a\tb"):
        assert b"\r\n" + line + b"\r\n" in answer


def test_a_date_of_its_own(threads):
    answer = ask(returns([b"x"], headers=[("Date", "long ago")]), get(), threads=threads)
    assert answer.count(b"Date:") == 1
    assert b"Date: long ago\r\n" in answer


def test_a_large_body_to_a_slow_reader(threads):
    """What is made waits for the peer: no more of it is made than fits."""
    taken = []

    def blocks():
        for number in range(400):
            taken.append(number)
            yield b"x" * 65536

    async def main():
        async with served(returns(blocks()), threads) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(get())
            await reader.readuntil(b"\r\n\r\n")
            made = -1
            while made != len(taken):  # until nothing more is made
                made = len(taken)
                await asyncio.sleep(0.05)
            rest = await reader.read(-1)
            writer.close()
            return made, len(unchunked_size(rest))

    made, size = trews.run(main())
    assert made < 300
    assert size == 400 * 65536


def unchunked_size(data):
    from tests.http.gateways import unchunked

    return unchunked(data)


# -- bodies


def echo(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def lengths(environ, start_response):
    start_response("200 OK", [])
    stream = environ["wsgi.input"]
    return [repr((stream.read(3), stream.readline(), stream.readline(2), list(stream), stream.read(5))).encode()]


def test_the_ways_to_read(threads):
    body = b"abcdef\nghij\nkl\nm"
    expected = repr((b"abc", b"def\n", b"gh", [b"ij\n", b"kl\n", b"m"], b"")).encode()
    assert parts(ask(lengths, get(method="POST", body=body), threads=threads))[2] == expected


CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    b"3\r\nabc\r\n",
    b"2\r\nde\r\n0\r\n\r\n",
)


def test_a_chunked_body_ends_by_itself(threads):
    seen = []

    def app(environ, start_response):
        seen.append((environ.get("CONTENT_LENGTH"), environ.get("wsgi.input_terminated")))
        return echo(environ, start_response)

    assert parts(ask(app, *CHUNKED, threads=threads))[2] == b"abcde"
    assert seen == [(None, True)]


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
def test_bodies_of_any_size(threads, size):
    body = bytes(range(256)) * (size // 256 + 1)
    assert parts(ask(echo, get(method="POST", body=body), threads=threads))[2] == body


def test_a_body_that_is_not_read(threads):
    answer = ask(hello, get("/", method="POST", body=b"x" * 50_000).replace(b"Connection: close\r\n", b"") + get())
    assert answer.count(b"Hello") == 2


def test_a_body_that_is_too_large(threads):
    answer = ask(echo, get(method="POST", body=b"x" * 1000), threads=threads, max_body=999)
    assert answer.startswith(b"HTTP/1.1 413 ")
    big = (CHUNKED[0], b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")
    answer = ask(echo, *big, threads=threads, max_body=999)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_continue_is_said_when_somebody_reads(threads):
    request = get("/", "Expect: 100-continue", method="POST", body=b"abc")
    answer = ask(echo, request[:-3], request[-3:], threads=threads)
    assert answer.startswith((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 200 OK"))
    assert answer.endswith(b"abc")


# -- files


def sends(path, headers=(), offset=0, **how):
    def app(environ, start_response):
        file = open(path, "rb")  # noqa: SIM115  # file_wrapper closes it
        file.seek(offset)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, **how)

    return app


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 8000)
    return path


@pytest.mark.parametrize("loop", LOOPS)
def test_a_file(threads, big, loop):
    _, fields, body = parts(ask(sends(big), get(), threads=threads, loop_factory=LOOPS[loop]))
    assert body == big.read_bytes()
    assert fields["content-length"] == str(len(body))


def test_a_part_of_a_file(threads, big):
    app = sends(big, [("Content-Length", "1000")], offset=300)
    _, fields, body = parts(ask(app, get(), threads=threads))
    assert body == big.read_bytes()[300:1300]
    assert fields["content-length"] == "1000"


def test_a_file_and_head(threads, big):
    answer = ask(sends(big), get(method="HEAD"), threads=threads)
    assert f"Content-Length: {big.stat().st_size}\r\n".encode() in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_file_shorter_than_was_said(threads, big):
    answer, errors = fails(sends(big, [("Content-Length", "3000000")]), threads)
    assert len(parts(answer)[2]) <= big.stat().st_size
    assert "fewer bytes" in str(errors[0])


def test_what_is_no_file_is_read_in_blocks(threads):
    import io

    class Closing(io.BytesIO):
        closed_count = 0

        def close(self):
            type(self).closed_count += 1
            super().close()

    file = Closing(b"abc" * 1000)

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file, 100)

    assert parts(ask(app, get(), threads=threads))[2] == b"abc" * 1000
    assert Closing.closed_count >= 1


# -- what is refused


@pytest.mark.parametrize("app", [None, 5, "module:app", lambda request: "", type])
def test_what_is_no_application(app):
    with pytest.raises(TypeError, match="WSGI application"):
        http.wsgi(app)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("4", TypeError)])
def test_what_is_no_number_of_threads(value, error):
    with pytest.raises(error, match="threads is"):
        http.wsgi(hello, threads=value)


@pytest.mark.parametrize(("settings", "error"), [({"threads": 0}, ValueError), ({}, TypeError)])
def test_what_cannot_stream_its_input(settings, error):
    with pytest.raises(error, match="stream_input"):
        http.wsgi(hello, stream_input=True if settings else 1, **settings)


def test_threads_are_the_default():
    assert 4 < http.wsgi(hello).threads <= 32
    assert "threads=" in repr(http.wsgi(hello))


def test_an_access_log_has_all_answers(threads):
    noted = []

    def log(entry):
        noted.append((entry.request.method, entry.request.raw_path, entry.status, entry.size))

    assert parts(ask(hello, get("/a?b"), threads=threads, access_log=log))[2] == b"Hello, world!"
    assert noted == [("GET", "/a", 200, 13)]

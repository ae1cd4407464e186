"""What handlers may be and what they may return, and what the client gets of it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import sys
from typing import Any

import pytest

from tests.http.serving import Noting, answer_of, get, later, post, serve, statuses, told
from trews import http

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"


# -- what a handler may return

FORMS: list[tuple[str, Any, int, str | None, bytes]] = [
    ("str", "grüß", 200, TEXT, "grüß".encode()),
    ("empty str", "", 200, TEXT, b""),
    ("bytes", b"\x00\xff", 200, BYTES, b"\x00\xff"),
    ("bytearray", bytearray(b"ab"), 200, BYTES, b"ab"),
    ("memoryview", memoryview(b"ab"), 200, BYTES, b"ab"),
    ("dict", {"a": 1}, 200, JSON, b'{"a": 1}'),
    ("list", [1, "two"], 200, JSON, b'[1, "two"]'),
    ("status", 404, 404, TEXT, b"404 Not Found\n"),
    ("204", 204, 204, None, b""),
    ("304", 304, 304, None, b""),
    ("(status, body)", (201, {"a": 1}), 201, JSON, b'{"a": 1}'),
    ("(status, None)", (201, None), 201, None, b""),
    ("(status, body, headers)", (200, "a", {"Content-Type": "text/csv"}), 200, "text/csv", b"a"),
    ("Response", http.Response("a", 202, content_type="text/x"), 202, "text/x", b"a"),
    ("html", http.html("<p>"), 200, "text/html; charset=utf-8", b"<p>"),
    ("(status, html)", (404, http.html("<p>")), 404, "text/html; charset=utf-8", b"<p>"),
]
EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=[form[0] for form in FORMS])


def check(answer: Any, form: tuple[str, Any, int, str | None, bytes]) -> None:
    _, _, status, content_type, body = form
    assert answer.status == status
    assert answer.fields.get("content-type") == content_type
    assert answer.body.replace(b'":1', b'": 1').replace(b",", b", ").replace(b",  ", b", ") == body


@EVERY_FORM
def test_a_form_from_a_def(form: Any) -> None:
    check(answer_of(lambda request: form[1]), form)


@EVERY_FORM
def test_a_form_from_an_async_def(form: Any) -> None:
    async def app(request: http.Request) -> Any:
        return form[1]

    check(answer_of(app), form)


@EVERY_FORM
def test_a_form_from_an_async_def_that_waits(form: Any) -> None:
    w = serve(lambda request: later(form[1]))
    w.feed(get())
    assert w.sent() == b""
    w.advance(1)
    (answer,) = told(w)
    check(answer, form)


@EVERY_FORM
def test_a_form_by_respond(form: Any) -> None:
    def app(request: http.Request) -> None:
        request.defer()
        asyncio.get_running_loop().call_later(1, request.respond, form[1])

    w = serve(app)
    w.feed(get()).advance(1)
    (answer,) = told(w)
    check(answer, form)


NO_FORMS: list[tuple[str, Any, str]] = [
    ("None", None, "handler returned None"),
    ("list of bytes", [b"a"], "bytes"),
    ("bool", True, "handler returned True"),
    ("status of none", 99, "a status is 200 to 599"),
    ("status 100", 100, "a status is 200 to 599"),
    ("object", object(), ""),
    ("short tuple", (200,), "a tuple of 1"),
    ("long tuple", (200, "a", {}, 1), "a tuple of 4"),
    ("tuple in another order", ("a", 200), "the order is"),
    ("what JSON has not", {"a": object()}, ""),
    ("lone surrogate", "\ud800", ""),
    ("field with CR LF", (200, "a", {"X": "a\r\nY: b"}), "control character"),
]


@pytest.mark.parametrize(("value", "says"), [c[1:] for c in NO_FORMS], ids=[c[0] for c in NO_FORMS])
@pytest.mark.parametrize("kind", ["def", "async", "waiting"])
def test_what_is_no_answer_is_a_500_and_an_error(value: Any, says: str, kind: str) -> None:
    async def at_once(request: http.Request) -> Any:
        return value

    apps: dict[str, Any] = {"def": lambda request: value, "async": at_once, "waiting": lambda request: later(value)}
    w = serve(apps[kind], Noting)
    w.feed(get("/here")).advance(1)
    if isinstance(value, str) and kind == "def":  # on the short way what is no text becomes '?'
        assert told(w)[0].status in (200, 500)
        return
    (answer,) = told(w)
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
    ((path, error),) = w.connection.server.errors
    assert path == "/here"
    assert says in error
    assert not w.closed
    w.feed(get()).advance(1)
    assert statuses(w) == [500]


def test_none_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    w = serve(lambda request: None)
    w.feed(get("/x?secret=1"))
    assert "GET /x [" in caplog.text
    assert "handler returned None" in caplog.text
    assert statuses(w) == [500]


def test_a_plain_def_may_return_a_future() -> None:
    def app(request: http.Request) -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, future.set_result, "done")
        return future

    w = serve(app)
    w.feed(get()).advance(1)
    assert told(w)[0].body == b"done"


# -- what a handler may be


class Callable_:
    def __call__(self, request: http.Request) -> str:
        return "called"

    def method(self, request: http.Request) -> str:
        return "bound"

    async def waiting(self, request: http.Request) -> bytes:
        return await request.read()


class AsyncCallable:
    async def __call__(self, request: http.Request) -> bytes:
        return await request.read()


def with_word(word: str, request: http.Request) -> str:
    return word


async def reads(word: str, request: http.Request) -> bytes:
    return word.encode() + await request.read()


@pytest.mark.parametrize(
    ("app", "body"),
    [
        (Callable_(), b"called"),
        (Callable_().method, b"bound"),
        (Callable_().waiting, b"abc"),
        (AsyncCallable(), b"abc"),
        (functools.partial(with_word, "part"), b"part"),
        (functools.partial(reads, "part"), b"partabc"),
        (lambda request: request.content, b"abc"),
    ],
)
def test_a_handler_is_anything_that_can_be_called(app: Any, body: bytes) -> None:
    assert answer_of(app, post(b"abc")).body == body


@pytest.mark.parametrize(
    ("app", "says"),
    [
        (None, "not None"),
        (Callable_, "the class Callable_"),
        (lambda: "x", "with one argument"),
        (lambda environ, start_response: [], "http.wsgi"),
        (lambda scope, receive, send: None, "http.asgi"),
    ],
)
def test_what_is_no_handler_is_refused_at_once(app: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        http.Server(app)


# -- when it is called


def test_a_def_gets_its_body_first() -> None:
    called = []

    def app(request: http.Request) -> bytes:
        called.append(request.content)
        return request.content

    w = serve(app)
    w.feed(post(b"abc")[:-1])
    assert called == []
    w.feed(b"c")
    assert called == [b"abc"]


def test_an_async_def_starts_at_the_head() -> None:
    called = []

    async def app(request: http.Request) -> bytes:
        called.append(request.path)
        return await request.read()

    w = serve(app)
    w.feed(post(b"abc")[:-3])
    assert called == ["/"]
    w.feed(b"abc")
    assert told(w)[0].body == b"abc"


def test_what_of_the_body_has_come_with_the_head_is_there_without_a_wait() -> None:
    async def app(request: http.Request) -> bytes:
        body = await request.read()
        assert body == await request.read() == request.content
        return body

    w = serve(app)
    w.feed(post(b"abc"))
    assert told(w)[0].body == b"abc"


# -- tasks


def test_an_async_handler_is_a_task() -> None:
    async def app(request: http.Request) -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        except TimeoutError:
            pass
        async with asyncio.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(1, "one"))
            other = group.create_task(asyncio.sleep(1, "other"))
        assert asyncio.current_task() is task
        return one.result() + other.result()

    w = serve(app)
    w.feed(get()).advance(2)
    assert told(w)[0].body == b"oneother"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
def test_an_async_handler_begins_at_once() -> None:
    sent: list[bytes] = []

    async def app(request: http.Request) -> str:
        return "now"

    w = serve(app)
    w.connection._loop.call_soon(lambda: sent.append(b""))
    w.feed(get() * 3)
    assert [answer.body for answer in told(w)] == [b"now"] * 3


def test_context_of_one_request_does_not_leak_into_the_next() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    def plain(request: http.Request) -> str:
        before = variable.get()
        variable.set("plain")
        return before

    async def waiting(request: http.Request) -> str:
        before = variable.get()
        variable.set("waiting")
        await asyncio.sleep(1)
        assert variable.get() == "waiting"
        return before

    for app in (plain, waiting):
        w = serve(app)
        w.feed(get() * 3).advance(3)
        assert [answer.body for answer in told(w)] == [b"none"] * 3
    assert variable.get() == "none"


def test_a_stream_sees_the_context_of_its_handler() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def pieces() -> Any:
        yield variable.get()

    async def app(request: http.Request) -> Any:
        variable.set("mine")
        await asyncio.sleep(0)
        return http.Response(pieces())

    def plain(request: http.Request) -> Any:
        variable.set("mine")
        return http.Response(pieces())

    def by_respond(request: http.Request) -> None:
        variable.set("mine")
        request.respond(pieces())

    for handler in (app, plain, by_respond):
        assert answer_of(handler).body == b"mine"


class _File(io.BytesIO):
    """A file that notes how it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int | None] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.sizes.append(size)
        return super().read(size)

    def __next__(self) -> bytes:
        raise AssertionError("it is read by lines")


@pytest.mark.parametrize("content", [b"", b"one\ntwo\n", b"\n" * 200_000])
def test_a_file_is_read_in_blocks_and_closed(content: bytes) -> None:
    files: list[_File] = []

    def app(request: http.Request) -> http.Response:
        files.append(_File(content))
        return http.Response(files[-1], headers={"Content-Length": str(len(content))})

    w = serve(app)
    w.feed(get())
    assert [(a.body, a.fields["content-length"]) for a in told(w)] == [(content, str(len(content)))]
    assert set(files[0].sizes) == {64 * 1024}
    assert len(files[0].sizes) == -(-len(content) // (64 * 1024)) + 1
    assert files[0].closed


def test_what_can_only_be_read_is_a_body_too() -> None:
    class Reading:
        left = 2

        def read(self, size: int) -> str:
            self.left -= 1
            return "text" if self.left >= 0 else ""

    w = serve(lambda request: Reading())
    w.feed(get())
    assert [a.body for a in told(w)] == [b"texttext"]

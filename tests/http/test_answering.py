"""What handlers may be, what they may return or raise, and what the client gets of it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
from typing import Any

import pytest

from tests.http.serving import answers, get, post, serve, statuses, told
from trews import http

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"


class Noting(http.Server):
    """Notes what its handlers raise, and with which request."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.errors: list[tuple[str, str]] = []

    def on_error(self, connection: Any, exc: BaseException, /) -> Any:
        self.errors.append((connection.request.path, f"{type(exc).__name__}: {exc}"))


async def later(value: Any) -> Any:
    await asyncio.sleep(1)
    return value


def answer_of(app: Any, request: bytes | None = None, **settings: Any) -> Any:
    w = serve(app, **settings)
    w.feed(request if request is not None else get())
    (answer,) = told(w)
    return answer


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
    ("tuple without status", ("a", 200), "a status is a number"),
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


# -- errors


@pytest.mark.parametrize("kind", ["def", "async", "waiting", "deferred"])
def test_raise_error_is_that_status(kind: str) -> None:
    def plain(request: http.Request) -> Any:
        raise http.Error(404, "no such thing", {"X-Why": "gone"})

    async def at_once(request: http.Request) -> Any:
        plain(request)

    async def waiting(request: http.Request) -> Any:
        await asyncio.sleep(1)
        plain(request)

    def deferred(request: http.Request) -> Any:
        request.defer()
        plain(request)

    apps: dict[str, Any] = {"def": plain, "async": at_once, "waiting": waiting, "deferred": deferred}
    w = serve(apps[kind], Noting)
    w.feed(get()).advance(1)
    (answer,) = told(w)
    assert (answer.status, answer.body, answer.fields["x-why"]) == (404, b"no such thing", "gone")
    assert w.connection.server.errors == []
    assert not w.closed


@pytest.mark.parametrize("kind", ["def", "async", "waiting", "cancelled"])
def test_an_error_is_a_500_without_details_and_a_traceback_in_the_log(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(request: http.Request) -> Any:
        raise ValueError("the secret")

    async def at_once(request: http.Request) -> Any:
        plain(request)

    async def waiting(request: http.Request) -> Any:
        await asyncio.sleep(1)
        plain(request)

    async def cancelled(request: http.Request) -> Any:
        raise asyncio.CancelledError

    apps: dict[str, Any] = {"def": plain, "async": at_once, "waiting": waiting, "cancelled": cancelled}
    w = serve(apps[kind])
    w.feed(get("/some/where?token=x", "DELETE")).advance(1)
    (answer,) = told(w)
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
    assert "DELETE /some/where [" in caplog.text
    assert "token" not in caplog.text
    assert "Traceback" in caplog.text or kind == "cancelled"
    w.feed(get()).advance(1)
    assert statuses(w) == [500]


def test_on_error_may_be_async_and_is_not_cut_off_by_the_end_of_the_connection() -> None:
    done: list[str] = []

    class Slow(http.Server):
        async def on_error(self, connection: Any, exc: BaseException, /) -> None:
            await asyncio.sleep(5)
            done.append(str(exc))

    def app(request: http.Request) -> Any:
        raise ValueError("first")

    w = serve(app, Slow)
    w.feed(get(Connection="close"))
    assert statuses(w) == [500]
    assert w.closed
    w.eof().advance(5)
    assert done == ["first"]


def test_on_error_may_answer_itself() -> None:
    class Polite(http.Server):
        def on_error(self, connection: Any, exc: BaseException, /) -> None:
            connection.request.respond((503, "sorry"))

    def app(request: http.Request) -> Any:
        raise ValueError

    async def waiting(request: http.Request) -> Any:
        await asyncio.sleep(1)
        raise ValueError

    for handler in (app, waiting):
        w = serve(handler, Polite)
        w.feed(get() * 2).advance(2)
        assert [(a.status, a.body) for a in told(w)] == [(503, b"sorry")] * 2


def test_an_on_error_that_fails_is_logged_and_the_client_still_gets_its_500(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(http.Server):
        def on_error(self, connection: Any, exc: BaseException, /) -> None:
            raise RuntimeError("on_error, too")

    def app(request: http.Request) -> Any:
        raise ValueError

    w = serve(app, Broken)
    w.feed(get())
    assert statuses(w) == [500]
    assert "on_error, too" in caplog.text


@pytest.mark.parametrize("kind", ["def", "async", "stream", "waiting stream", "short", "long"])
def test_an_error_after_the_head_aborts_so_that_the_client_can_tell(kind: str) -> None:
    def plain(request: http.Request) -> Any:
        request.start(200).write("begun")
        raise ValueError("late")

    async def waiting(request: http.Request) -> Any:
        request.start(200).write("begun")
        await asyncio.sleep(1)
        raise ValueError("late")

    def stream(request: http.Request) -> Any:
        def pieces() -> Any:
            yield "begun"
            raise ValueError("late")

        return pieces()

    def waiting_stream(request: http.Request) -> Any:
        async def pieces() -> Any:
            yield "begun"
            await asyncio.sleep(1)
            raise ValueError("late")

        return pieces()

    def short(request: http.Request) -> Any:
        request.start(200, {"Content-Length": "10"}).write("begun")
        request.finish()

    async def long(request: http.Request) -> Any:
        request.start(200, {"Content-Length": "5"}).write("begun")
        await request.drain()
        request.write("more")

    apps: dict[str, Any] = {
        "def": plain,
        "async": waiting,
        "stream": stream,
        "waiting stream": waiting_stream,
        "short": short,
        "long": long,
    }
    w = serve(apps[kind], Noting)
    w.feed(get("/fails")).advance(1)
    data = w.sent()
    assert w.was_reset
    assert b"\r\n0\r\n\r\n" not in data
    assert b"500" not in data
    ((path, error),) = w.connection.server.errors
    assert path == "/fails"
    assert error.startswith(("ValueError: late", "BadAnswer: "))


def test_answers_before_one_that_is_aborted_are_whole() -> None:
    def app(request: http.Request) -> Any:
        if request.path == "/fails":
            request.start(200)
            raise ValueError
        return "whole"

    w = serve(app, Noting)
    w.feed(get() + get("/fails"))
    data = w.sent()
    assert answers(data.partition(b"whole")[0] + b"whole")[0].body == b"whole"
    assert w.was_reset


def test_an_answer_that_was_begun_must_be_ended_or_deferred() -> None:
    async def app(request: http.Request) -> None:
        request.start(200).write("begun")

    w = serve(app, Noting)
    w.feed(get())
    assert w.was_reset
    assert "without finish() or defer()" in w.connection.server.errors[0][1]


def test_what_a_handler_returns_after_it_has_answered_is_an_error_and_no_second_answer() -> None:
    def plain(request: http.Request) -> str:
        request.respond("one")
        return "two"

    async def waiting(request: http.Request) -> str:
        await asyncio.sleep(1)
        request.respond("one")
        return "two"

    w = serve(plain, Noting)
    w.feed(get() * 2)
    assert [a.body for a in told(w)] == [b"one"] * 2
    assert len(w.connection.server.errors) == 2
    w = serve(waiting, Noting)
    w.feed(get()).advance(1)
    assert [a.body for a in told(w)] == [b"one"]


def test_a_second_answer_is_refused() -> None:
    def app(request: http.Request) -> None:
        request.respond("one")
        with pytest.raises(RuntimeError, match="has its answer already"):
            request.respond("two")
        with pytest.raises(RuntimeError, match="has its answer already"):
            request.start()
        with pytest.raises(RuntimeError, match="between start"):
            request.write(b"x")
        with pytest.raises(RuntimeError, match="comes once"):
            request.finish()
        with pytest.raises(RuntimeError, match="has its answer already"):
            request.inform(103)

    w = serve(app)
    w.feed(get())
    assert [a.body for a in told(w)] == [b"one"]


def test_respond_with_what_is_no_answer_raises_and_leaves_the_request_open() -> None:
    def app(request: http.Request) -> None:
        with pytest.raises(TypeError):
            request.respond([b"x"])
        request.respond("right")

    w = serve(app)
    w.feed(get())
    assert [a.body for a in told(w)] == [b"right"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["def", "second", "gathered", "async", "waiting"])
@pytest.mark.leaks_ok("an interrupted task")
def test_interrupts_propagate_and_leave_a_legal_state(stop: type[BaseException], kind: str) -> None:
    async def waiting(request: http.Request) -> None:
        await asyncio.sleep(1)
        raise stop

    async def at_once(request: http.Request) -> None:
        raise stop

    def plain(request: http.Request) -> str:
        if kind != "second" or request.path == "/last":
            raise stop
        return "first"

    w = serve({"async": at_once, "waiting": waiting}.get(kind, plain), Noting)
    with pytest.raises(stop):
        w.feed(post(b"abc") if kind == "gathered" else get() + get("/last")).advance(2)
    w.settle()
    assert w.was_reset
    assert w.connection.is_closed
    assert w.connection.server.errors == []


# -- step by step


def test_start_write_and_finish_are_chunked_without_a_length() -> None:
    def app(request: http.Request) -> None:
        request.start(201, [("X-A", "1")], "Made").write("one")
        request.write(b"two")
        request.finish("three", [("X-Sum", "3")])

    w = serve(app)
    w.feed(get())
    data = w.sent()
    assert data.startswith(b"HTTP/1.1 201 Made\r\n")
    (answer,) = answers(data)
    assert (answer.body, answer.fields["x-a"], answer.trailers) == (b"onetwothree", "1", {"x-sum": "3"})


def test_start_with_a_length_is_as_long_as_it_says() -> None:
    def app(request: http.Request) -> None:
        request.start(headers={"Content-Length": "6"}).write("one")
        request.finish("two")

    w = serve(app)
    w.feed(get() * 2)
    assert [(a.body, a.fields["content-length"]) for a in told(w)] == [(b"onetwo", "6")] * 2


def test_an_answer_may_come_from_elsewhere_later() -> None:
    requests: list[http.Request] = []

    def app(request: http.Request) -> None:
        request.defer()
        requests.append(request)

    w = serve(app)
    w.feed(get("/a") + get("/b"))
    (first,) = requests
    first.start().write("a")
    w.settle()
    assert len(requests) == 1
    first.finish()
    w.settle()
    requests[1].respond("b")
    assert [a.body for a in told(w)] == [b"a", b"b"]


def test_interim_answers_go_first_and_not_to_http_1_0() -> None:
    def app(request: http.Request) -> str:
        request.inform(103, [("Link", "</a.css>")])
        with pytest.raises(ValueError, match="101"):
            request.inform(101)
        return "final"

    w = serve(app)
    w.feed(get())
    assert [(a.status, a.fields.get("link")) for a in told(w)] == [(103, "</a.css>"), (200, None)]
    w.feed(get(version="1.0"))
    assert statuses(w) == [200]


def test_a_task_that_answers_with_a_stream_and_goes_on() -> None:
    log: list[str] = []

    def pieces() -> Any:
        yield "a"
        yield "b"

    async def at_once(request: http.Request) -> None:
        request.respond(pieces())
        await asyncio.sleep(10)
        log.append("went on")

    async def after_a_wait(request: http.Request) -> None:
        await asyncio.sleep(0)
        request.respond(pieces())
        await asyncio.sleep(10)
        log.append("went on")

    async def returns(request: http.Request) -> None:
        request.respond(pieces())
        log.append("went on")

    for app in (at_once, after_a_wait, returns):
        log.clear()
        w = serve(app)
        w.feed(get() * 2)
        assert [a.body for a in told(w)] == [b"ab"] * 2
        w.advance(10)
        assert log == ["went on"] * 2


# -- handlers that go on after their answer


def background(log: list[str], fails: bool = False) -> Any:
    async def app(request: http.Request) -> None:
        request.respond("early")
        await asyncio.sleep(10)
        if fails:
            raise ValueError("late")
        log.append(request.path)

    return app


def test_work_after_the_answer_holds_up_nobody() -> None:
    log: list[str] = []
    w = serve(background(log))
    w.feed(get("/a") + get("/b"))
    w.feed(get("/c"))
    assert [a.body for a in told(w)] == [b"early"] * 3
    assert log == []
    w.advance(10)
    assert log == ["/a", "/b", "/c"]


@pytest.mark.parametrize("leave", ["eof", "reset"])
def test_work_after_the_answer_is_not_cancelled_by_the_client(leave: str) -> None:
    log: list[str] = []
    w = serve(background(log), close_timeout=1)
    w.feed(get("/a"))
    getattr(w, leave)()
    w.advance(10)
    assert log == ["/a"]


def test_errors_of_work_after_the_answer_are_told_with_their_own_request() -> None:
    w = serve(background([], fails=True), Noting)
    w.feed(get("/a"))
    w.advance(1)
    w.feed(get("/b"))
    w.advance(9)
    assert w.connection.server.errors == [("/a", "ValueError: late")]
    assert statuses(w) == [200, 200]
    assert not w.closed


def test_a_closed_connection_ends_its_handler_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: http.Request) -> None:
        request.start()
        while True:
            request.write("again")
            await request.drain()
            await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING):
        w = serve(app)
        w.feed(get()).advance(3)
        w.reset().advance(3)
    assert w.connection._is_ended
    assert caplog.text == ""

"""Handlers that fail: what the client gets, and who is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http.serving import Noting, answers, get, post, serve, statuses, told
from trews import http

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


@pytest.mark.parametrize("kind", ["at once", "waiting"])
def test_a_coroutine_that_a_coroutine_returns_was_to_be_awaited(kind: str) -> None:
    async def app(request: http.Request) -> Any:
        if kind == "waiting":
            await asyncio.sleep(1)
        return request.read()

    w = serve(app, Noting)
    w.feed(get()).advance(1)
    assert statuses(w) == [500]
    ((_, error),) = w.connection.server.errors
    assert error.startswith("TypeError: a handler returned the coroutine Request.read, which nobody has awaited;")


@pytest.mark.parametrize("piece", [5, {"a": 1}, None, ["a"]])
def test_a_stream_of_what_is_no_text_says_what_it_is(piece: Any) -> None:
    w = serve(lambda request: iter([piece]), Noting)
    w.feed(get())
    assert w.was_reset
    ((_, error),) = w.connection.server.errors
    assert error == f"TypeError: a piece of a body is str or bytes, not {type(piece).__name__}"


@pytest.mark.parametrize("kind", ["function", "object"])
def test_the_log_names_the_handler(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    class Items(http.Resource):
        def get(self, request: http.Request) -> Any:
            return {1, 2}

    def listed(request: http.Request) -> Any:
        return {1, 2}

    w = serve(listed if kind == "function" else Items())
    w.feed(get())
    assert statuses(w) == [500]
    name = (listed if kind == "function" else Items).__qualname__
    assert caplog.records[0].getMessage().endswith(f"] failed in {name}")
    assert "a handler cannot return set" in caplog.text
